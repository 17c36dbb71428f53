//! Expectations in force: once, in time, translated.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener},
    thread,
    time::Duration,
};

use ftp_alg::{
    io::nftables::{ExpectationStore, Master, TableOwner, probe},
    proto::{
        expect::{ExpectError, Expectation, ExpectationId},
        net::{Layer, Tuple, Zone},
    },
    ruleset::{Params, Ruleset},
};

use super::{
    lab::{Lab, Namespace, REFUSAL, accept, endpoint, ip},
    table::{apply, load, now, params},
};

const ID: ExpectationId = ExpectationId(1);

/// A control connection, for the comment.
pub(crate) const MASTER: Master = Master {
    original: Tuple::new(
        SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2)), 40_000),
        SocketAddr::new(IpAddr::V4(Ipv4Addr::new(203, 0, 113, 2)), 21),
    )
    .in_zone(Zone(7)),
    mark: 2,
    layer: Layer::Routed,
};

fn store(gateway: &Namespace) -> ExpectationStore {
    gateway.inside(|| ExpectationStore::new(TableOwner::open().unwrap()))
}

/// Without NAT.
pub(crate) fn plain(source: &str, destination: &str) -> Expectation {
    Expectation {
        source: ip(source),
        source_prefix: None,
        destination: endpoint(destination),
        translated_destination: endpoint(destination),
        translated_source: ip(source),
        denied_iif: None,
        timeout: Duration::from_secs(60),
    }
}

/// From the outside host to port 5000 of the gateway's address, for the inside host.
pub(crate) fn to_inside_host() -> Expectation {
    Expectation {
        translated_destination: endpoint("10.0.0.2:6000"),
        ..plain("203.0.113.2", "203.0.113.1:5000")
    }
}

pub(crate) fn elements(gateway: &Namespace, set: &str) -> usize {
    let kind = if set.starts_with("expect") {
        "set"
    } else {
        "map"
    };
    let text = gateway.run("nft", &["list", kind, "inet", "ftp_alg", set]);
    text.matches("expires").count()
}

pub(crate) fn is_answered(from: &Namespace, to: &str, listener: &TcpListener) -> bool {
    let answered = from.connect_within(to, REFUSAL).is_ok();
    if answered {
        accept(listener);
    }
    answered
}

#[test]
#[ignore = "needs root"]
fn an_expected_connection_passes_once() {
    let lab = Lab::new();
    lab.guard("");
    let _table = apply(&lab.gateway);
    for (source, destination) in [
        ("10.0.0.2", "203.0.113.2:5000"),
        ("fd00:1::2", "[2001:db8::2]:5000"),
    ] {
        let listener = lab.outside.listen(destination);
        assert!(
            !is_answered(&lab.inside, destination, &listener),
            "nothing is expected yet"
        );
        store(&lab.gateway)
            .expect(ID, &plain(source, destination), MASTER)
            .unwrap();
        assert!(is_answered(&lab.inside, destination, &listener));
        assert!(
            !is_answered(&lab.inside, destination, &listener),
            "it was for one connection"
        );
    }
}

#[test]
#[ignore = "needs root"]
fn only_the_expected_source_and_port_pass() {
    let lab = Lab::new();
    lab.guard("");
    let _table = apply(&lab.gateway);
    lab.inside.ip("addr add 10.0.0.3/24 dev eth0");
    let right = lab.outside.listen("203.0.113.2:5000");
    let wrong = lab.outside.listen("203.0.113.2:5001");
    store(&lab.gateway)
        .expect(ID, &plain("10.0.0.3", "203.0.113.2:5000"), MASTER)
        .unwrap();
    assert!(
        !is_answered(&lab.inside, "203.0.113.2:5000", &right),
        "from 10.0.0.2"
    );
    assert!(!is_answered(&lab.inside, "203.0.113.2:5001", &wrong));
    assert_eq!(elements(&lab.gateway, "expect4"), 1);
}

#[test]
#[ignore = "needs root"]
fn an_announcer_behind_nat_is_reached_and_withdrawing_leaves_nothing() {
    let lab = Lab::new();
    lab.guard("");
    let _table = apply(&lab.gateway);
    let listener = lab.inside.listen("10.0.0.2:6000");
    let mut store = store(&lab.gateway);
    store.expect(ID, &to_inside_host(), MASTER).unwrap();
    assert_eq!(elements(&lab.gateway, "dnat4"), 1);
    assert_eq!(elements(&lab.gateway, "mark4"), 1);
    lab.outside.connect("203.0.113.1:5000").unwrap();
    assert_eq!(accept(&listener).1.ip(), ip("203.0.113.2"));
    store.unexpect(ID, &to_inside_host());
    store.flush();
    assert_eq!(
        ["expect4", "dnat4", "mark4"].map(|set| elements(&lab.gateway, set)),
        [0; 3]
    );
}

#[test]
#[ignore = "needs root"]
fn a_connector_behind_nat_appears_under_its_outside_address() {
    let lab = Lab::new();
    // The operator's own masquerading would choose 203.0.113.1.
    lab.guard(
        "chain nat {
             type nat hook postrouting priority 100
             oifname out masquerade
         }",
    );
    lab.gateway.ip("addr add 203.0.113.9/24 dev out");
    let _table = apply(&lab.gateway);
    let listener = lab.outside.listen("203.0.113.2:5000");
    let translated_source = ip("203.0.113.9");
    let expectation = Expectation {
        translated_source,
        ..plain("10.0.0.2", "203.0.113.2:5000")
    };
    store(&lab.gateway)
        .expect(ID, &expectation, MASTER)
        .unwrap();
    lab.inside.connect("203.0.113.2:5000").unwrap();
    assert_eq!(accept(&listener).1.ip(), translated_source);
}

#[test]
#[ignore = "needs root"]
fn both_ends_can_be_translated_over_ipv6() {
    let lab = Lab::new();
    lab.guard("");
    let _table = apply(&lab.gateway);
    lab.gateway.ip("-6 addr add 2001:db8::9/64 dev out nodad");
    let listener = lab.outside.listen("[2001:db8::2]:6000");
    let expectation = Expectation {
        translated_destination: endpoint("[2001:db8::2]:6000"),
        translated_source: ip("2001:db8::9"),
        ..plain("fd00:1::2", "[fd00:1::1]:5000")
    };
    let mut store = store(&lab.gateway);
    store.expect(ID, &expectation, MASTER).unwrap();
    lab.inside.connect("[fd00:1::1]:5000").unwrap();
    assert_eq!(accept(&listener).1.ip(), ip("2001:db8::9"));
    store.unexpect(ID, &expectation);
    store.flush();
    assert_eq!(
        ["dnat6", "snat6", "mark6"].map(|map| elements(&lab.gateway, map)),
        [0; 3]
    );
}

/// The outside host connects from another of its addresses.
pub(crate) fn connect_from(outside: &Namespace, source: &str) {
    outside.ip(&format!("addr replace {source}/24 dev eth0"));
    outside.ip(&format!(
        "route replace 203.0.113.0/24 dev eth0 src {source}"
    ));
}

#[test]
#[ignore = "needs root"]
fn a_server_of_a_network_connects_once_from_any_of_its_addresses() {
    let lab = Lab::new();
    lab.guard("");
    let network = "203.0.113.0/29".parse().unwrap();
    let _table = lab.gateway.inside(|| {
        let params = Params {
            data_sources: vec![network],
            ..params(&probe().unwrap())
        };
        load(&Ruleset::build(&params)).unwrap()
    });
    let listener = lab.inside.listen("10.0.0.2:6000");
    let mut store = store(&lab.gateway);
    let expectation = to_inside_host().with_sources(network);
    store.expect(ID, &expectation, MASTER).unwrap();
    connect_from(&lab.outside, "203.0.113.9");
    assert!(!is_answered(&lab.outside, "203.0.113.1:5000", &listener));
    connect_from(&lab.outside, "203.0.113.6");
    assert_eq!(store.is_used(&expectation, MASTER.original), Some(false));
    lab.outside.connect("203.0.113.1:5000").unwrap();
    // It seems to come from the server that the client knows.
    assert_eq!(accept(&listener).1.ip(), ip("203.0.113.2"));
    assert_eq!(store.is_used(&expectation, MASTER.original), Some(true));
    assert!(!is_answered(&lab.outside, "203.0.113.1:5000", &listener));
    store.unexpect(ID, &expectation);
    store.flush();
    assert_eq!(
        ["expect4", "dnat4", "snat4", "mark4"].map(|set| elements(&lab.gateway, set)),
        [0; 4]
    );
}

#[test]
#[ignore = "needs root"]
fn no_nat_rule_of_the_operator_catches_an_expected_connection() {
    let lab = Lab::new();
    lab.guard(
        "chain redirect_all {
             type nat hook prerouting priority -100
             tcp dport 5000 redirect to 9
         }
         chain nat {
             type nat hook postrouting priority 100
             oifname out masquerade
         }",
    );
    let _table = apply(&lab.gateway);
    let listener = lab.outside.listen("203.0.113.2:5000");
    lab.outside.ip("route add 10.0.0.0/24 via 203.0.113.1");
    store(&lab.gateway)
        .expect(ID, &plain("10.0.0.2", "203.0.113.2:5000"), MASTER)
        .unwrap();
    lab.inside.connect("203.0.113.2:5000").unwrap();
    assert_eq!(accept(&listener).1.ip(), ip("10.0.0.2"));
}

#[test]
#[ignore = "needs root"]
fn a_client_on_the_gateway_itself_is_admitted_by_the_output_chain() {
    let lab = Lab::new();
    lab.gateway
        .load(
            "table inet operator {
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
    let listener = lab.outside.listen("203.0.113.2:5000");
    assert!(!is_answered(&lab.gateway, "203.0.113.2:5000", &listener));
    store(&lab.gateway)
        .expect(ID, &plain("203.0.113.1", "203.0.113.2:5000"), MASTER)
        .unwrap();
    assert!(is_answered(&lab.gateway, "203.0.113.2:5000", &listener));
}

#[test]
#[ignore = "needs root"]
fn a_retransmitted_syn_still_passes() {
    let lab = Lab::new();
    lab.guard("");
    let _table = apply(&lab.gateway);
    let listener = lab.inside.listen("10.0.0.2:6000");
    store(&lab.gateway)
        .expect(ID, &to_inside_host(), MASTER)
        .unwrap();
    // Once through the gateway the first SYN is lost: its retransmission is no new connection.
    lab.inside
        .load(
            "table inet loss {
                 chain input {
                     type filter hook input priority 0
                     tcp dport 6000 drop
                 }
             }",
        )
        .unwrap();
    thread::scope(|scope| {
        let connecting = scope.spawn(|| lab.outside.connect("203.0.113.1:5000"));
        thread::sleep(Duration::from_millis(400));
        let others = lab.outside.connect("203.0.113.1:5000");
        assert!(others.is_err(), "the first SYN has used it");
        lab.inside.run("nft", &["delete", "table", "inet", "loss"]);
        connecting.join().unwrap().unwrap();
    });
    accept(&listener);
}

#[test]
#[ignore = "needs root"]
fn an_expectation_expires() {
    let lab = Lab::new();
    lab.guard("");
    let _table = apply(&lab.gateway);
    let listener = lab.inside.listen("10.0.0.2:6000");
    let timeout = Duration::from_millis(300);
    let expectation = Expectation {
        timeout,
        ..to_inside_host()
    };
    let mut store = store(&lab.gateway);
    store.expect(ID, &expectation, MASTER).unwrap();
    thread::sleep(timeout * 2);
    assert!(!is_answered(&lab.outside, "203.0.113.1:5000", &listener));
    // What the map still holds is in nobody's way.
    store.expect(ID, &to_inside_host(), MASTER).unwrap();
    assert!(is_answered(&lab.outside, "203.0.113.1:5000", &listener));
}

#[test]
#[ignore = "needs root"]
fn the_newest_announcement_of_a_connection_counts_and_the_older_session_does_not_withdraw_it() {
    let lab = Lab::new();
    lab.guard("");
    let _table = apply(&lab.gateway);
    let owner = lab.gateway.inside(|| TableOwner::open().unwrap());
    // Two workers.
    let mut stores = [(); 2].map(|()| ExpectationStore::new(owner.clone()));
    let listener = lab.inside.listen("10.0.0.2:7000");
    let newer = Expectation {
        translated_destination: endpoint("10.0.0.2:7000"),
        ..to_inside_host()
    };
    stores[0].expect(ID, &to_inside_host(), MASTER).unwrap();
    stores[1].expect(ExpectationId(2), &newer, MASTER).unwrap();
    stores[0].unexpect(ID, &to_inside_host());
    stores[0].flush();
    assert_eq!(elements(&lab.gateway, "expect4"), 1);
    assert!(is_answered(&lab.outside, "203.0.113.1:5000", &listener));
    stores[1].unexpect(ExpectationId(2), &newer);
    stores[0].flush();
    assert_eq!(elements(&lab.gateway, "expect4"), 0);
}

#[test]
#[ignore = "needs root"]
fn many_announcements_of_one_connection_cost_little() {
    let lab = Namespace::new("a");
    let _table = apply(&lab);
    let mut store = store(&lab);
    let begun = now();
    for round in 0..2000 {
        store
            .expect(ExpectationId(round), &to_inside_host(), MASTER)
            .unwrap();
    }
    // A transaction that fails costs some ten milliseconds.
    assert!(now() - begun < Duration::from_secs(2));
    assert_eq!(elements(&lab, "expect4"), 1);
}

#[test]
#[ignore = "needs root"]
fn a_used_expectation_can_be_expected_again_at_once() {
    let lab = Lab::new();
    lab.guard("");
    let _table = apply(&lab.gateway);
    let listener = lab.inside.listen("10.0.0.2:6000");
    let mut store = store(&lab.gateway);
    for round in 0..20 {
        store
            .expect(ExpectationId(round), &to_inside_host(), MASTER)
            .unwrap();
        assert!(
            is_answered(&lab.outside, "203.0.113.1:5000", &listener),
            "round {round}"
        );
        store.unexpect(ExpectationId(round), &to_inside_host());
    }
}

#[test]
#[ignore = "needs root"]
fn without_the_table_an_expectation_is_refused_by_name() {
    let namespace = Namespace::new("a");
    assert_eq!(
        store(&namespace).expect(ID, &to_inside_host(), MASTER),
        Err(ExpectError::Gone)
    );
}
