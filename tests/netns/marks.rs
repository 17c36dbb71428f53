//! Several uplinks, chosen by marks: ours is no bit of them, and a data connection has its control
//! connection's.

use std::{
    io::{Read, Write},
    net::TcpStream,
    thread,
    time::Duration,
};

use ftp_alg::{
    io::{
        ctnetlink::{Conntrack, ConntrackEntry},
        nftables::{ExpectationStore, TableOwner},
    },
    proto::{expect::ExpectationId, net::Tuple},
    ruleset::Labels,
};

use super::{
    expectations::{MASTER, to_inside_host},
    lab::{Lab, Namespace, accept},
    table::apply,
    tls::{Gateway, say},
};

/// The uplink of control connections.
const UPLINK: u32 = 2;

/// What the netfilter HOWTOs have for several uplinks: without masks, so that each connection's
/// first packet decides.
const HOWTO: &str = "
    iptables -t mangle -A PREROUTING -j CONNMARK --restore-mark
    iptables -t mangle -A PREROUTING -m mark ! --mark 0 -j ACCEPT
    iptables -t mangle -A PREROUTING -p tcp --dport 21 -j MARK --set-mark 2
    iptables -t mangle -A PREROUTING -p tcp ! --dport 21 -j MARK --set-mark 1
    iptables -t mangle -A PREROUTING -j CONNMARK --save-mark";

/// Counts the packets that would leave by the uplink of control connections, and all others.
const UPLINKS: &str = "table inet uplinks {
        counter right {}
        counter wrong {}
        chain prerouting {
            type filter hook prerouting priority -140
            meta l4proto != tcp return
            meta mark 2 counter name right
            meta mark != 2 counter name wrong
        }
    }";

/// Loads what the operator has, and counts.
fn choose_uplinks(gateway: &Namespace) {
    gateway.run("sh", &["-ec", HOWTO]);
    gateway.load(UPLINKS).unwrap();
}

/// The packets so far: by the right uplink, by another.
fn packets(gateway: &Namespace) -> [u64; 2] {
    ["right", "wrong"].map(|counter| {
        let listing = gateway.run("nft", &["list", "counter", "inet", "uplinks", counter]);
        let count = listing.split("packets ").nth(1).unwrap();
        count.split(' ').next().unwrap().parse().unwrap()
    })
}

fn entry(gateway: &Namespace, connection: &TcpStream) -> ConntrackEntry {
    let mut conntrack = gateway.inside(|| Conntrack::open().unwrap());
    let (source, destination) = (connection.local_addr(), connection.peer_addr());
    let tuple = Tuple::new(source.unwrap(), destination.unwrap());
    conntrack.resolve(&tuple).unwrap().expect("it has an entry")
}

#[test]
#[ignore = "needs root"]
fn a_control_connection_keeps_its_uplink_when_a_line_grows_and_its_data_take_the_same() {
    let gateway = Gateway::prepare("", "backend = \"nftables\"").running();
    choose_uplinks(&gateway.lab.gateway);
    let control = gateway.listen(21);
    let data = gateway.listen(40_000);
    let mut client = gateway.lab.inside.connect("203.0.113.2:21").unwrap();
    let (mut server, _) = accept(&control);
    server.set_nonblocking(false).unwrap();
    say(&mut server, &mut client, b"220 hello\r\n");
    say(&mut client, &mut server, b"USER me\r\n");
    say(&mut server, &mut client, b"230 in\r\n");
    client.write_all(b"PORT 10,0,0,2,4,1\r\n").unwrap();
    let mut heard = [0; 64];
    let count = server.read(&mut heard).unwrap();
    assert!(heard.starts_with(b"PORT 203,0,113,1,"));
    assert!(count > b"PORT 10,0,0,2,4,1\r\n".len(), "it has grown");
    say(&mut server, &mut client, b"200 well\r\n");
    say(&mut client, &mut server, b"EPSV\r\n");
    say(&mut server, &mut client, b"229 go (|||40000|)\r\n");
    let Labels {
        adjust,
        data: data_bit,
        ..
    } = Labels::default();
    let found = entry(&gateway.lab.gateway, &client);
    assert_eq!((found.mark, found.label), (UPLINK, adjust.into()));

    let transfer = gateway.lab.inside.connect("203.0.113.2:40000").unwrap();
    accept(&data);
    let found = entry(&gateway.lab.gateway, &transfer);
    assert_eq!((found.mark, found.label), (UPLINK, data_bit.into()));
    let [right, wrong] = packets(&gateway.lab.gateway);
    assert!(right > 15, "{right}");
    assert_eq!(wrong, 0);
}

#[test]
#[ignore = "needs root"]
fn a_data_connection_has_its_control_connections_mark_from_its_first_packet_on_and_nothing_of_ours()
{
    let lab = Lab::new();
    lab.guard("");
    let _table = apply(&lab.gateway);
    choose_uplinks(&lab.gateway);
    let mut store = lab
        .gateway
        .inside(|| ExpectationStore::new(TableOwner::open().unwrap()));
    let listener = lab.inside.listen("10.0.0.2:6000");
    let id = ExpectationId(1);
    store.expect(id, &to_inside_host(), MASTER).unwrap();
    let mut client = lab.outside.connect("203.0.113.1:5000").unwrap();
    let (mut server, _) = accept(&listener);
    server.set_nonblocking(false).unwrap();
    say(&mut client, &mut server, b"some data");
    let found = entry(&lab.gateway, &client);
    assert_eq!(found.mark, MASTER.mark, "the bit for the filter has gone");
    assert_eq!(found.label, Labels::default().data.into());
    let [right, wrong] = packets(&lab.gateway);
    // A handshake, data and its acknowledgement.
    assert!(right >= 5, "{right}");
    assert_eq!(wrong, 0);
}

/// The operator's line is by the mark, which has our bit for each packet that begins the
/// connection.
#[test]
#[ignore = "needs root"]
fn a_first_packet_that_is_repeated_passes_the_operators_line_and_leaves_no_bit() {
    let lab = Lab::new();
    lab.guard("");
    let _table = apply(&lab.gateway);
    let mut store = lab
        .gateway
        .inside(|| ExpectationStore::new(TableOwner::open().unwrap()));
    let listener = lab.inside.listen("10.0.0.2:6000");
    let id = ExpectationId(1);
    store.expect(id, &to_inside_host(), MASTER).unwrap();
    let loss = "table inet loss { chain input {
        type filter hook input priority 0; tcp dport 6000 drop; }; }";
    lab.inside.load(loss).unwrap();
    thread::scope(|scope| {
        let connecting = scope.spawn(|| lab.outside.connect("203.0.113.1:5000"));
        thread::sleep(Duration::from_millis(400));
        let mut conntrack = lab.gateway.inside(|| Conntrack::open().unwrap());
        let mut marks = Vec::new();
        conntrack
            .list_labelled(Labels::default().data, |entry| marks.push(entry.mark))
            .unwrap();
        assert_eq!(
            marks,
            [MASTER.mark],
            "between the first packet and the next"
        );
        lab.inside.run("nft", &["delete", "table", "inet", "loss"]);
        connecting.join().unwrap().unwrap();
    });
    accept(&listener);
}

/// A packet that the filter drops does not reach the chains that take the bit back.
#[test]
#[ignore = "needs root"]
fn a_repetition_that_the_filter_drops_leaves_no_bit_to_the_next_packet() {
    let lab = Lab::new();
    lab.guard("");
    let _table = apply(&lab.gateway);
    choose_uplinks(&lab.gateway);
    let mut store = lab
        .gateway
        .inside(|| ExpectationStore::new(TableOwner::open().unwrap()));
    let id = ExpectationId(1);
    store.expect(id, &to_inside_host(), MASTER).unwrap();
    let listener = lab.inside.listen("10.0.0.2:6000");
    let loss = |hook| {
        format!(
            "table inet loss {{ chain {hook} {{
                 type filter hook {hook} priority 10; tcp dport 6000 drop; }}; }}"
        )
    };
    let end = ["delete", "table", "inet", "loss"];
    lab.inside.load(&loss("input")).unwrap();
    thread::scope(|scope| {
        let connecting = scope.spawn(|| lab.outside.connect("203.0.113.1:5000"));
        thread::sleep(Duration::from_millis(400));
        lab.inside.run("nft", &end);
        lab.gateway.load(&loss("forward")).unwrap();
        // The SYN is sent again after one second and after three.
        thread::sleep(Duration::from_millis(1200));
        lab.gateway.run("nft", &end);
        connecting.join().unwrap().unwrap();
    });
    accept(&listener);
    let [right, wrong] = packets(&lab.gateway);
    assert!(right >= 5, "{right}");
    assert_eq!(wrong, 0);
}

#[test]
#[ignore = "needs root"]
fn the_label_is_a_line_for_the_operator_as_well() {
    let lab = Lab::new();
    let by_label = "table inet operator { chain forward {
        type filter hook forward priority 0; policy drop;
        ct state established accept
        ct label 125 accept
        meta l4proto ipv6-icmp accept
    }; }";
    lab.gateway.load(by_label).unwrap();
    let _table = apply(&lab.gateway);
    let mut store = lab
        .gateway
        .inside(|| ExpectationStore::new(TableOwner::open().unwrap()));
    let listener = lab.inside.listen("10.0.0.2:6000");
    assert!(lab.outside.connect("203.0.113.1:5000").is_err());
    let id = ExpectationId(1);
    store.expect(id, &to_inside_host(), MASTER).unwrap();
    lab.outside.connect("203.0.113.1:5000").unwrap();
    accept(&listener);
}

/// A client on the gateway itself: its packets pass the output chains, and the input chains of a
/// server there.
#[test]
#[ignore = "needs root"]
fn the_gateways_own_connections_have_the_mark_and_lose_the_bit() {
    let lab = Lab::new();
    lab.gateway
        .load(
            "table inet operator {
                 chain input {
                     type filter hook input priority 0; policy drop;
                     ct state established accept
                     ct mark & 0x10000000 != 0 accept
                     meta l4proto ipv6-icmp accept
                 }
                 chain output {
                     type filter hook output priority 0; policy drop;
                     ct state established accept
                     ct mark & 0x10000000 != 0 accept
                     meta l4proto ipv6-icmp accept
                 }
             }",
        )
        .unwrap();
    let _table = apply(&lab.gateway);
    let mut store = lab
        .gateway
        .inside(|| ExpectationStore::new(TableOwner::open().unwrap()));
    for (from, to, source) in [
        (
            &lab.gateway,
            (&lab.outside, "203.0.113.2:5000"),
            "203.0.113.1",
        ),
        (
            &lab.outside,
            (&lab.gateway, "203.0.113.1:5000"),
            "203.0.113.2",
        ),
        (&lab.gateway, (&lab.gateway, "10.0.0.1:5001"), "10.0.0.1"),
    ] {
        let (host, destination) = to;
        let listener = host.listen(destination);
        let expectation = super::expectations::plain(source, destination);
        let id = ExpectationId(1);
        store.expect(id, &expectation, MASTER).unwrap();
        let client = from.connect(destination).unwrap();
        accept(&listener);
        let found = entry(&lab.gateway, &client);
        assert_eq!(found.mark, MASTER.mark, "{destination}");
    }
}

/// A connection that is older than our table has no room for a label.
#[test]
#[ignore = "needs root"]
fn an_older_connection_is_refused_what_needs_a_label_and_the_log_says_so_once() {
    let policy = "unproven_servers = [\"203.0.113.2\"]";
    let gateway = Gateway::prepare(policy, "backend = \"nftables\"");
    let control = gateway.listen(21);
    let mut client = gateway.lab.inside.connect("203.0.113.2:21").unwrap();
    let (mut server, _) = accept(&control);
    server.set_nonblocking(false).unwrap();
    say(&mut server, &mut client, b"220 hello\r\n");
    let gateway = gateway.running();
    say(&mut client, &mut server, b"USER me\r\n");
    say(&mut server, &mut client, b"230 in\r\n");
    for _ in 0..3 {
        client.write_all(b"PORT 10,0,0,2,4,1\r\n").unwrap();
        let mut heard = [0; 64];
        let count = server.read(&mut heard).unwrap();
        assert!(heard.starts_with(b"NOOP"), "{:?}", heard[..count].to_vec());
        server.write_all(b"200 well\r\n").unwrap();
        let count = client.read(&mut heard).unwrap();
        assert!(heard.starts_with(b"550"), "{:?}", heard[..count].to_vec());
    }
    // What needs no label works.
    let transfer = gateway.listen(40_000);
    say(&mut client, &mut server, b"EPSV\r\n");
    say(&mut server, &mut client, b"229 go (|||40000|)\r\n");
    gateway.lab.inside.connect("203.0.113.2:40000").unwrap();
    accept(&transfer);
    let told = gateway.log();
    let lines = told.matches("the connection began before our table was loaded");
    assert_eq!(lines.count(), 1, "{told}");
}
