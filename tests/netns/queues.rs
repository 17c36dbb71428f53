//! Control connections through the queue.

use std::{
    io::{Read, Write},
    net::{TcpStream, UdpSocket},
    sync::{Arc, Mutex},
    thread::{self, JoinHandle},
    time::Duration,
};

use ftp_alg::{
    io::{
        clock,
        ctnetlink::Conntrack,
        nfqueue::{
            LossCounters, Queue, QueueError, QueueEvent, QueueLosses, QueueVerdict, QueuedPacket,
            Waker,
        },
        nftables::{Table, probe},
    },
    proto::net::Direction,
    ruleset::{Labels, Params, QueueStatement, Rule, Ruleset, Statement, WhenAbsent},
};

use super::{
    lab::{Lab, Namespace, REFUSAL, accept},
    table::{load, params},
};

/// A thread that gives each packet of one queue the verdict `decide` says.
struct Worker {
    waker: Waker,
    seen: Arc<Mutex<Vec<Vec<u8>>>>,
    thread: Option<JoinHandle<()>>,
}

impl Worker {
    fn start(
        namespace: &Namespace,
        number: u16,
        mut decide: impl FnMut(QueuedPacket<'_>) -> Option<Vec<u8>> + Send + 'static,
    ) -> Self {
        let mut queue = namespace.inside(|| Queue::open(number).unwrap());
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (waker, log) = (queue.waker(), Arc::clone(&seen));
        let thread = thread::spawn(move || {
            while let QueueEvent::Packet(packet) = queue.recv(None).unwrap() {
                log.lock().unwrap().push(packet.bytes.to_vec());
                let (id, replacement) = (packet.id, decide(packet));
                let verdict = replacement
                    .as_deref()
                    .map_or(QueueVerdict::Accept, QueueVerdict::Replace);
                queue.verdict(id, verdict).unwrap();
            }
        });
        Self {
            waker,
            seen,
            thread: Some(thread),
        }
    }

    fn payloads(&self) -> Vec<String> {
        let seen = self.seen.lock().unwrap();
        seen.iter()
            .map(|bytes| String::from_utf8_lossy(&bytes[payload_at(bytes)..]).into_owned())
            .filter(|text| !text.is_empty())
            .collect()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.waker.wake();
        self.thread.take().unwrap().join().unwrap();
    }
}

fn payload_at(packet: &[u8]) -> usize {
    let header = if packet[0] >> 4 == 4 {
        usize::from(packet[0] & 15) * 4
    } else {
        40
    };
    header + usize::from(packet[header + 12] >> 4) * 4
}

fn apply(gateway: &Namespace, change: impl FnOnce(Params) -> Params + Send) -> Table {
    gateway.inside(|| load(&Ruleset::build(&change(params(&probe().unwrap())))).unwrap())
}

/// Says a line and hears the answer.
fn converse(client: &TcpStream, server: &TcpStream, line: &str, answer: &str) {
    for (mut from, mut to, text) in [(client, server, line), (server, client, answer)] {
        from.write_all(text.as_bytes()).unwrap();
        let mut heard = vec![0; text.len()];
        to.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        to.read_exact(&mut heard).unwrap();
        assert_eq!(heard, text.as_bytes());
    }
}

#[test]
#[ignore = "needs root"]
fn both_directions_of_a_translated_connection_reach_the_same_worker() {
    let lab = Lab::new();
    lab.guard(
        "chain nat {
             type nat hook postrouting priority 100
             oifname out masquerade
         }",
    );
    let _table = apply(&lab.gateway, |params| Params {
        queues: 0..=1,
        ..params
    });
    let workers = [0, 1].map(|number| Worker::start(&lab.gateway, number, |_| None));
    let listener = lab.outside.listen("203.0.113.2:21");
    for round in 0..16 {
        let (mine, yours) = (
            format!("USER {round:02}\r\n"),
            format!("331 {round:02}\r\n"),
        );
        let client = lab.inside.connect("203.0.113.2:21").unwrap();
        converse(&client, &accept(&listener).0, &mine, &yours);
        let seen = workers.iter().filter(|worker| {
            let payloads = worker.payloads();
            assert_eq!(
                payloads.contains(&mine),
                payloads.contains(&yours),
                "round {round}"
            );
            payloads.contains(&mine)
        });
        assert_eq!(seen.count(), 1, "round {round}");
    }
    assert!(
        workers.iter().all(|worker| !worker.payloads().is_empty()),
        "both have work"
    );
}

#[test]
#[ignore = "needs root"]
fn only_payload_and_the_ends_of_a_connection_are_queued() {
    let lab = Lab::new();
    let _table = apply(&lab.gateway, |params| Params {
        queues: 0..=0,
        ..params
    });
    let worker = Worker::start(&lab.gateway, 0, |_| None);
    for (address, wildcard) in [
        ("203.0.113.2:21", "0.0.0.0:21"),
        ("[2001:db8::2]:21", "[::]:21"),
    ] {
        let listener = lab.outside.listen(wildcard);
        let client = lab.inside.connect(address).unwrap();
        let server = accept(&listener).0;
        converse(&client, &server, "NOOP\r\n", "200\r\n");
        drop((client, server, listener));
        thread::sleep(Duration::from_millis(100));
        let seen = std::mem::take(&mut *worker.seen.lock().unwrap());
        let flags = |bytes: &[u8]| bytes[(if bytes[0] >> 4 == 4 { 20 } else { 40 }) + 13] & 0x17;
        let has_payload = |bytes: &[u8]| payload_at(bytes) < bytes.len();
        // SYN/ACK, both lines, FIN or RST; a packet may come twice, but no SYN and no bare ACK.
        for bytes in &seen {
            let flags = flags(bytes);
            assert!(
                flags == 0x12 || flags & 0x05 != 0 || has_payload(bytes),
                "{flags:x}"
            );
        }
        assert!(seen.iter().any(|bytes| flags(bytes) == 0x12), "{address}");
        assert!(
            seen.iter().filter(|bytes| has_payload(bytes)).count() >= 2,
            "{address}"
        );
        assert!(
            seen.iter().filter(|bytes| flags(bytes) & 0x05 != 0).count() >= 2,
            "{address}"
        );
    }
}

#[test]
#[ignore = "needs root"]
fn of_a_flood_of_handshakes_the_daemon_sees_some_and_all_pass() {
    let lab = Lab::new();
    let (flood, shown) = (200, 5);
    let _table = apply_with_handshakes(&lab.gateway, shown);
    let worker = Worker::start(&lab.gateway, 0, |_| None);
    let listener = lab.outside.listen("203.0.113.2:21");
    let begin = clock::now();
    let mut ends = Vec::new();
    for _ in 0..flood {
        let client = lab.inside.connect("203.0.113.2:21").unwrap();
        ends.push((client, accept(&listener).0));
    }
    let seen = worker.seen.lock().unwrap().len();
    let most = shown as usize * (begin.elapsed().as_secs() as usize + 2);
    assert!(
        (shown as usize..=most.min(flood / 2)).contains(&seen),
        "{seen} of {flood}"
    );
    // One that was not seen is, as soon as somebody speaks.
    let (client, server) = ends.last().unwrap();
    converse(client, server, "NOOP\r\n", "200\r\n");
    assert_eq!(worker.payloads(), ["NOOP\r\n", "200\r\n"]);
}

/// The table, but for the number of handshakes that are shown a second.
fn apply_with_handshakes(gateway: &Namespace, shown: u32) -> Table {
    gateway.inside(|| {
        let mut ruleset = Ruleset::build(&Params {
            queues: 0..=0,
            ..params(&probe().unwrap())
        });
        let statements = ruleset
            .chains
            .iter_mut()
            .flat_map(|chain| &mut chain.rules)
            .flat_map(|rule| &mut rule.statements);
        for statement in statements {
            if let Statement::Beyond(rate) = statement {
                *rate = shown;
            }
        }
        load(&ruleset).unwrap()
    })
}

#[test]
#[ignore = "needs root"]
fn a_connection_of_the_gateway_to_itself_is_queued_once() {
    let gateway = Namespace::new("a");
    let _table = apply(&gateway, |params| Params {
        queues: 0..=0,
        ..params
    });
    let worker = Worker::start(&gateway, 0, |_| None);
    let listener = gateway.listen("127.0.0.1:21");
    let client = gateway.connect("127.0.0.1:21").unwrap();
    converse(&client, &accept(&listener).0, "NOOP\r\n", "200\r\n");
    assert_eq!(worker.payloads(), ["NOOP\r\n", "200\r\n"]);
}

#[test]
#[ignore = "needs root"]
fn a_packet_can_be_replaced_by_a_longer_one_once_the_window_is_liberal() {
    let lab = Lab::new();
    let _table = apply(&lab.gateway, |params| Params {
        queues: 0..=0,
        ..params
    });
    let mut conntrack = lab.gateway.inside(|| Conntrack::open().unwrap());
    let worker = Worker::start(&lab.gateway, 0, move |packet| {
        let text = &packet.bytes[payload_at(packet.bytes)..];
        (text == b"PORT\r\n").then(|| {
            let tuple = super::conntrack::tuple_of(packet.bytes);
            let entry = conntrack_entry(&mut conntrack, &tuple);
            let adjust = Labels::default().adjust;
            conntrack.set_liberal(&entry, adjust).unwrap();
            super::conntrack::with_payload(packet.bytes, b"PORT 1\r\n")
        })
    });
    let listener = lab.outside.listen("203.0.113.2:21");
    let mut client = lab.inside.connect("203.0.113.2:21").unwrap();
    let mut server = accept(&listener).0;
    client.write_all(b"PORT\r\n").unwrap();
    let mut heard = [0; 8];
    server.read_exact(&mut heard).unwrap();
    assert_eq!(&heard, b"PORT 1\r\n");
    drop(worker);
}

fn conntrack_entry(
    conntrack: &mut Conntrack,
    tuple: &ftp_alg::proto::net::Tuple,
) -> ftp_alg::proto::net::ConntrackTuples {
    let entry = conntrack
        .resolve(tuple)
        .unwrap()
        .expect("the connection is known");
    assert_eq!(entry.tuples.direction_of(*tuple), Some(Direction::Original));
    entry.tuples
}

#[test]
#[ignore = "needs root"]
fn without_a_daemon_packets_pass_or_not_as_configured() {
    let lab = Lab::new();
    let listener = lab.outside.listen("203.0.113.2:21");
    for (when_absent, passes) in [(WhenAbsent::Bypass, true), (WhenAbsent::Drop, false)] {
        let _table = apply(&lab.gateway, |params| Params {
            when_absent,
            ..params
        });
        let connected = lab.inside.connect_within("203.0.113.2:21", REFUSAL);
        assert_eq!(connected.is_ok(), passes, "{when_absent:?}");
        if passes {
            accept(&listener);
        }
    }
}

#[test]
#[ignore = "needs root"]
fn a_queue_number_in_use_is_named() {
    let namespace = Namespace::new("a");
    namespace.inside(|| {
        let first = Queue::open(7).unwrap();
        let error = Queue::open(7).unwrap_err();
        assert!(matches!(error, QueueError::InUse(7)), "{error:?}");
        drop(first);
        Queue::open(7).unwrap();
    });
}

#[test]
#[ignore = "needs root"]
fn a_wait_ends_by_time_or_by_a_waker() {
    let namespace = Namespace::new("a");
    let mut queue = namespace.inside(|| Queue::open(7).unwrap());
    assert!(matches!(
        queue.recv(Some(Duration::ZERO)).unwrap(),
        QueueEvent::TimedOut
    ));
    assert!(matches!(
        queue.recv(Some(Duration::from_millis(20))).unwrap(),
        QueueEvent::TimedOut
    ));
    let waker = queue.waker();
    for _ in 0..3 {
        thread::scope(|scope| {
            scope.spawn(|| {
                thread::sleep(Duration::from_millis(20));
                waker.wake();
            });
            assert!(matches!(queue.recv(None).unwrap(), QueueEvent::Woken));
        });
    }
    waker.wake();
    assert!(
        matches!(queue.recv(None).unwrap(), QueueEvent::Woken),
        "wakes a later wait as well"
    );
    assert!(matches!(
        queue.recv(Some(Duration::from_millis(20))).unwrap(),
        QueueEvent::TimedOut
    ));
}

#[test]
#[ignore = "needs root"]
fn what_a_full_queue_loses_is_counted() {
    let (sent, queue_length) = (5000, 4096);
    let gateway = Namespace::new("a");
    let _table = gateway.inside(|| load(&queueing_all_output()).unwrap());
    let (_queue, mut counters) =
        gateway.inside(|| (Queue::open(0).unwrap(), LossCounters::open().unwrap()));
    let lost = |packets| QueueLosses { queue: 0, packets };
    assert_eq!(counters.read().unwrap(), [lost(0)]);
    gateway.inside(|| send_datagrams(sent));
    assert_eq!(counters.read().unwrap(), [lost(sent - queue_length)]);
}

/// Our table, but everything that this machine sends is queued.
fn queueing_all_output() -> Ruleset {
    let params = params(&probe().unwrap());
    let mut ruleset = Ruleset::build(&params);
    let output = ruleset
        .chains
        .iter_mut()
        .find(|chain| chain.name == "output");
    output.unwrap().rules = vec![Rule {
        why: "",
        statements: vec![Statement::Queue {
            number: 0,
            bypass: false,
            through_xt: params.queue_statement == QueueStatement::XtTarget,
        }],
    }];
    ruleset
}

/// From several sockets, because what waits in a queue counts for its socket.
fn send_datagrams(count: u32) {
    for _ in 0..count / 100 {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        for _ in 0..100 {
            socket.send_to(b"x", "127.0.0.1:9").unwrap();
        }
    }
}
