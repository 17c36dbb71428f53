//! What our queue sees and sends on, as an independent reader sees it: the crate `nfq`.
//!
//! Two chains at one hook queue every packet, to us first and to `nfq` behind us. Whatever our own
//! messages to the kernel got wrong, the other reader would see.

use std::{
    net::UdpSocket,
    thread,
    time::{Duration, Instant},
};

use ftp_alg::{
    io::{
        nfqueue::{Queue, QueueEvent, QueueVerdict},
        nftables::probe,
    },
    ruleset::{Chain, Hook, QueueStatement, Rule, Ruleset, Statement},
};

use super::{
    conntrack::checksum,
    lab::Lab,
    table::{load, now, params},
};

const OURS: u16 = 0;
const THEIRS: u16 = 1;

/// Where the datagrams go that are compared.
const PORT: u16 = 4321;
const IP_HEADER: usize = 20;
const PAYLOAD_AT: usize = IP_HEADER + 8;

/// A packet as a reader sees it: the interface that it came by, and its bytes.
type Seen = (u32, Vec<u8>);

/// A table that queues everything that comes in, twice.
fn queueing_twice() -> Ruleset {
    let params = params(&probe().unwrap());
    let mut ruleset = Ruleset::build(&params);
    let prerouting = ruleset.chains.iter().find(|one| one.name == "prerouting");
    let hook = prerouting.and_then(|chain| chain.hook).unwrap();
    ruleset.chains = [("ours", OURS, -150), ("theirs", THEIRS, -140)]
        .map(|(name, number, priority)| Chain {
            why: "",
            name,
            hook: Some(Hook { priority, ..hook }),
            rules: vec![Rule {
                why: "",
                statements: vec![Statement::Queue {
                    number,
                    bypass: false,
                    through_xt: params.queue_statement == QueueStatement::XtTarget,
                }],
            }],
        })
        .into();
    ruleset
}

fn is_compared(packet: &[u8]) -> bool {
    let is_udp = packet[0] == 0x45 && packet[9] == libc::IPPROTO_UDP as u8;
    is_udp && packet[IP_HEADER + 2..IP_HEADER + 4] == PORT.to_be_bytes()
}

fn ends(packet: &[u8]) -> bool {
    packet.ends_with(b"end")
}

/// The same datagram with another payload.
fn with_payload(packet: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut changed = [&packet[..PAYLOAD_AT], payload].concat();
    let length = |from: usize| u16::try_from(PAYLOAD_AT + payload.len() - from).unwrap();
    changed[2..4].copy_from_slice(&length(0).to_be_bytes());
    changed[IP_HEADER + 4..IP_HEADER + 6].copy_from_slice(&length(IP_HEADER).to_be_bytes());
    // A datagram of IPv4 may go without a checksum.
    changed[IP_HEADER + 6..PAYLOAD_AT].fill(0);
    changed[10..12].fill(0);
    let sum = checksum(changed[..IP_HEADER].to_vec());
    changed[10..12].copy_from_slice(&sum.to_be_bytes());
    changed
}

/// Reads our queue to its end: passes, drops or replaces as the payload says. Returns what went on.
fn read_ours(mut queue: Queue) -> Vec<Seen> {
    let mut sent_on = Vec::new();
    loop {
        let QueueEvent::Packet(packet) = queue.recv(None).unwrap() else {
            continue;
        };
        let (id, iif, bytes) = (packet.id, packet.ingress.iif.0, packet.bytes.to_vec());
        let replacement = bytes
            .ends_with(b"replace")
            .then(|| with_payload(&bytes, &[b'x'; 900]));
        let verdict = match &replacement {
            Some(replacement) => QueueVerdict::Replace(replacement),
            None if bytes.ends_with(b"drop") => QueueVerdict::Drop,
            None => QueueVerdict::Accept,
        };
        queue.verdict(id, verdict).unwrap();
        if is_compared(&bytes) && verdict != QueueVerdict::Drop {
            sent_on.push((iif, replacement.unwrap_or_else(|| bytes.clone())));
        }
        if ends(&bytes) {
            return sent_on;
        }
    }
}

/// Reads the other queue to its end, accepts everything, and returns what it saw.
fn read_theirs(mut queue: nfq::Queue, deadline: Instant) -> Vec<Seen> {
    queue.set_nonblocking(true);
    let mut seen = Vec::new();
    while now() < deadline {
        let Ok(mut message) = queue.recv() else {
            thread::sleep(Duration::from_millis(1));
            continue;
        };
        let bytes = message.get_payload().to_vec();
        if is_compared(&bytes) {
            seen.push((message.get_indev(), bytes.clone()));
        }
        message.set_verdict(nfq::Verdict::Accept);
        queue.verdict(message).unwrap();
        if ends(&bytes) {
            break;
        }
    }
    seen
}

#[test]
#[ignore = "needs root"]
fn another_reader_behind_our_queue_sees_what_we_say_we_have_sent_on() {
    let lab = Lab::new();
    let (ours, theirs) = lab.gateway.inside(|| {
        let mut theirs = nfq::Queue::open().unwrap();
        theirs.bind(THEIRS).unwrap();
        (Queue::open(OURS).unwrap(), theirs)
    });
    let _table = lab.gateway.inside(|| load(&queueing_twice()).unwrap());
    let deadline = now() + Duration::from_secs(10);
    let ours = thread::spawn(move || read_ours(ours));
    let theirs = thread::spawn(move || read_theirs(theirs, deadline));
    let receiver = lab
        .gateway
        .inside(|| UdpSocket::bind(("10.0.0.1", PORT)).unwrap());
    let sender = lab.inside.inside(|| UdpSocket::bind("10.0.0.2:0").unwrap());
    for payload in ["pass", "drop", "replace", "end"] {
        sender
            .send_to(payload.as_bytes(), ("10.0.0.1", PORT))
            .unwrap();
    }
    let sent_on = ours.join().unwrap();
    assert_eq!(theirs.join().unwrap(), sent_on);
    let payloads: Vec<_> = sent_on
        .iter()
        .map(|(_, bytes)| &bytes[PAYLOAD_AT..])
        .collect();
    assert_eq!(payloads, [&b"pass"[..], &[b'x'; 900], b"end"]);
    assert!(sent_on.iter().all(|(interface, _)| *interface != 0));
    receiver
        .set_read_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    for payload in payloads {
        let mut received = [0; 1000];
        let length = receiver.recv(&mut received).unwrap();
        assert_eq!(&received[..length], payload);
    }
}
