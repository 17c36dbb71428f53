//! The kernel's own expectations: asked for by us, used once, translated like their master.
//!
//! They need a kernel that takes helpers of ours (`CONFIG_NF_CT_NETLINK_HELPER`). On another one
//! each of these tests says so and checks nothing; the virtual machine's kernel has it.

use std::{
    net::{SocketAddr, TcpListener, TcpStream},
    time::Duration,
};

use ftp_alg::{
    daemon::adoption::{Adopted, adopt},
    io::{
        cthelper,
        ctnetlink::{AttachedHelper, ChildNat, Conntrack, ConntrackExpectations},
        nftables::{Table, probe},
    },
    proto::{
        expect::{ExpectError, Expectation, ExpectationId},
        net::{ConntrackTuples, Direction, Tuple},
    },
    ruleset::{Backend, HELPER, Params, Ruleset},
};

use super::{
    expectations::connect_from,
    lab::{Lab, REFUSAL, accept, endpoint, ip},
};

const ID: ExpectationId = ExpectationId(1);

/// What an operator has: established and related, and a masqueraded client.
const OPERATOR: &str = "table inet operator {
        chain forward {
            type filter hook forward priority 0; policy drop;
            ct state established,related accept
            tcp dport 21 accept
            meta l4proto ipv6-icmp accept
        }
        chain nat {
            type nat hook postrouting priority 100
            oifname out masquerade
        }
    }";

/// A gateway with a control connection from the inside host to the outside one.
struct Control {
    lab: Lab,
    _table: Table,
    store: ConntrackExpectations,
    conntrack: Conntrack,
    _ends: (TcpStream, TcpStream),
    tuples: ConntrackTuples,
    helper: Option<AttachedHelper>,
}

impl Control {
    /// None on a kernel without helpers of ours.
    fn open(server: &str) -> Option<Self> {
        let lab = Lab::new();
        let found = lab.gateway.inside(|| probe().unwrap());
        if let Some((name, why)) = found.obstacle(Backend::Conntrack) {
            eprintln!("not checked on this kernel: {name}: {why}");
            return None;
        }
        lab.gateway.load(OPERATOR).unwrap();
        cthelper::register(HELPER).unwrap();
        let params = Params {
            backend: Backend::Conntrack,
            data_sources: vec![NETWORK.parse().unwrap()],
            ..Params::default()
        };
        let table = lab
            .gateway
            .inside(|| super::table::load(&Ruleset::build(&params)).unwrap());
        let listener = lab.outside.listen(server);
        let client = lab.inside.connect(server).unwrap();
        let served = accept(&listener).0;
        let (store, mut conntrack) = lab.gateway.inside(|| {
            (
                ConntrackExpectations::open(ChildNat::FollowMaster).unwrap(),
                Conntrack::open().unwrap(),
            )
        });
        let entry = conntrack
            .resolve(&Tuple::new(
                client.local_addr().unwrap(),
                client.peer_addr().unwrap(),
            ))
            .unwrap()
            .expect("an established connection has an entry");
        Some(Self {
            lab,
            _table: table,
            store,
            conntrack,
            _ends: (client, served),
            tuples: entry.tuples,
            helper: entry.helper,
        })
    }

    fn listing(&self) -> String {
        self.lab.gateway.run("conntrack", &["-L", "expect"])
    }

    /// Whether a connection from the outside host to the gateway's public port arrives.
    fn arrives(&self, to: &str, listener: &TcpListener) -> bool {
        let connected = self.lab.outside.connect_within(to, REFUSAL).is_ok();
        if connected {
            accept(listener);
        }
        connected
    }
}

/// From the outside host to port 5000 of the gateway's address, for the inside client.
fn to_client() -> Expectation {
    Expectation {
        source: ip("203.0.113.2"),
        source_prefix: None,
        destination: endpoint("203.0.113.1:5000"),
        translated_destination: endpoint("10.0.0.2:6000"),
        translated_source: ip("203.0.113.2"),
        denied_iif: None,
        timeout: Duration::from_secs(60),
    }
}

/// The network of the outside host's first addresses.
const NETWORK: &str = "203.0.113.0/29";
const SERVER: &str = "203.0.113.2:21";
const PUBLIC: &str = "203.0.113.1:5000";

#[test]
#[ignore = "needs root"]
fn a_control_connection_has_our_helper() {
    let Some(control) = Control::open(SERVER) else {
        return;
    };
    assert_eq!(control.helper, Some(AttachedHelper::Ours));
}

#[test]
#[ignore = "needs root"]
fn an_expected_connection_is_related_translated_and_let_in_once() {
    let Some(mut control) = Control::open(SERVER) else {
        return;
    };
    let listener = control.lab.inside.listen("10.0.0.2:6000");
    assert!(!control.arrives(PUBLIC, &listener));
    let tuples = control.tuples;
    control.store.expect(ID, &to_client(), &tuples).unwrap();
    let listing = control.listing();
    assert!(
        listing.contains("dport=5000") && listing.contains("helper=ftp-alg"),
        "{listing}"
    );
    assert!(control.arrives(PUBLIC, &listener));
    assert!(!control.listing().contains("dport=5000"), "it is used up");
    assert!(!control.arrives(PUBLIC, &listener));
    assert_eq!(control.store.unexpect(ID, &to_client(), &tuples), Ok(false));
}

#[test]
#[ignore = "needs root"]
fn a_server_of_a_network_connects_once_from_any_of_its_addresses() {
    let Some(mut control) = Control::open(SERVER) else {
        return;
    };
    let listener = control.lab.inside.listen("10.0.0.2:6000");
    let tuples = control.tuples;
    let expectation = to_client().with_sources(NETWORK.parse().unwrap());
    control.store.expect(ID, &expectation, &tuples).unwrap();
    connect_from(&control.lab.outside, "203.0.113.9");
    assert!(!control.arrives(PUBLIC, &listener));
    connect_from(&control.lab.outside, "203.0.113.6");
    assert_eq!(control.store.is_used(&expectation, &tuples), Some(false));
    control.lab.outside.connect(PUBLIC).unwrap();
    // It seems to come from the server that the client knows.
    assert_eq!(accept(&listener).1.ip(), ip("203.0.113.2"));
    assert_eq!(control.store.is_used(&expectation, &tuples), Some(true));
    assert!(!control.arrives(PUBLIC, &listener));
}

#[test]
#[ignore = "needs root"]
fn an_expectation_that_is_renewed_has_its_time_again_unless_it_was_used() {
    let Some(mut control) = Control::open(SERVER) else {
        return;
    };
    let listener = control.lab.inside.listen("10.0.0.2:6000");
    let tuples = control.tuples;
    let short = Expectation {
        timeout: Duration::from_secs(2),
        ..to_client()
    };
    control.store.expect(ID, &short, &tuples).unwrap();
    for _ in 0..3 {
        std::thread::sleep(Duration::from_secs(1));
        assert_eq!(control.store.is_used(&short, &tuples), Some(false));
        control.store.renew(ID, &short, &tuples).unwrap();
    }
    assert!(control.arrives(PUBLIC, &listener));
    assert_eq!(control.store.renew(ID, &short, &tuples), Ok(()));
    assert!(!control.arrives(PUBLIC, &listener));
}

#[test]
#[ignore = "needs root"]
fn what_the_server_rejects_is_gone() {
    let Some(mut control) = Control::open(SERVER) else {
        return;
    };
    let tuples = control.tuples;
    control.store.expect(ID, &to_client(), &tuples).unwrap();
    assert!(control.listing().contains("dport=5000"));
    assert_eq!(control.store.unexpect(ID, &to_client(), &tuples), Ok(true));
    assert!(!control.listing().contains("dport=5000"));
}

#[test]
#[ignore = "needs root"]
fn a_connection_of_the_client_leaves_from_its_masters_address() {
    let Some(mut control) = Control::open(SERVER) else {
        return;
    };
    let listener = control.lab.outside.listen("203.0.113.2:5000");
    let passive = Expectation {
        source: ip("10.0.0.2"),
        source_prefix: None,
        destination: endpoint("203.0.113.2:5000"),
        translated_destination: endpoint("203.0.113.2:5000"),
        translated_source: ip("203.0.113.1"),
        denied_iif: None,
        timeout: Duration::from_secs(60),
    };
    let tuples = control.tuples;
    control.store.expect(ID, &passive, &tuples).unwrap();
    control.lab.inside.connect("203.0.113.2:5000").unwrap();
    assert_eq!(accept(&listener).1.ip(), ip("203.0.113.1"));
}

#[test]
#[ignore = "needs root"]
fn ipv6_without_nat_is_expected_as_well() {
    let Some(mut control) = Control::open("[2001:db8::2]:21") else {
        return;
    };
    let listener = control.lab.outside.listen("[2001:db8::2]:5000");
    let to = endpoint("[2001:db8::2]:5000");
    let seen: SocketAddr = control.tuples.sender_seen_by_peer(Direction::Original);
    let expectation = Expectation {
        source: ip("fd00:1::2"),
        source_prefix: None,
        destination: to,
        translated_destination: to,
        translated_source: seen.ip(),
        denied_iif: None,
        timeout: Duration::from_secs(60),
    };
    let tuples = control.tuples;
    control.store.expect(ID, &expectation, &tuples).unwrap();
    control.lab.inside.connect("[2001:db8::2]:5000").unwrap();
    assert_eq!(accept(&listener).1.ip(), seen.ip());
}

#[test]
#[ignore = "needs root"]
fn what_is_withdrawn_is_shut_and_another_sessions_is_not_withdrawn() {
    let Some(mut control) = Control::open(SERVER) else {
        return;
    };
    let listener = control.lab.inside.listen("10.0.0.2:6000");
    let tuples = control.tuples;
    let another =
        ConntrackTuples::untranslated(Tuple::new(endpoint("10.0.0.2:9"), endpoint(SERVER)));
    control.store.expect(ID, &to_client(), &tuples).unwrap();
    assert_eq!(
        control.store.unexpect(ID, &to_client(), &another),
        Ok(false)
    );
    assert!(control.listing().contains("dport=5000"));
    assert_eq!(control.store.unexpect(ID, &to_client(), &tuples), Ok(true));
    assert!(!control.listing().contains("dport=5000"));
    assert!(!control.arrives(PUBLIC, &listener));
}

#[test]
#[ignore = "needs root"]
fn the_newest_expectation_of_the_same_connection_counts() {
    let Some(mut control) = Control::open(SERVER) else {
        return;
    };
    let listener = control.lab.inside.listen("10.0.0.2:7000");
    let tuples = control.tuples;
    control.store.expect(ID, &to_client(), &tuples).unwrap();
    let newer = Expectation {
        translated_destination: endpoint("10.0.0.2:7000"),
        ..to_client()
    };
    control
        .store
        .expect(ExpectationId(2), &newer, &tuples)
        .unwrap();
    assert!(control.arrives(PUBLIC, &listener));
}

#[test]
#[ignore = "needs root"]
fn an_expectation_has_its_own_timeout_whatever_the_helpers_policy_says() {
    let Some(mut control) = Control::open(SERVER) else {
        return;
    };
    let listener = control.lab.inside.listen("10.0.0.2:6000");
    let brief = Expectation {
        timeout: Duration::from_secs(1),
        ..to_client()
    };
    let tuples = control.tuples;
    control.store.expect(ID, &brief, &tuples).unwrap();
    std::thread::sleep(Duration::from_millis(1200));
    assert!(!control.arrives(PUBLIC, &listener));
}

/// What conntrackd makes of an expectation that it brings from another gateway: all but the NAT.
fn bring_without_translation(control: &Control) {
    let brought = || ConntrackExpectations::open(ChildNat::Absent).unwrap();
    let mut brought = control.lab.gateway.inside(brought);
    brought.expect(ID, &to_client(), &control.tuples).unwrap();
}

#[test]
#[ignore = "needs root"]
fn an_expectation_that_came_without_its_translation_is_found_and_completed() {
    let Some(control) = Control::open(SERVER) else {
        return;
    };
    let listener = control.lab.inside.listen("10.0.0.2:6000");
    bring_without_translation(&control);
    let minute = Duration::from_secs(60);
    let adopt_all = || control.lab.gateway.inside(|| adopt(minute).unwrap());
    let adopted = |completed| Adopted {
        completed,
        refused: 0,
    };
    assert_eq!(adopt_all(), adopted(1));
    assert_eq!(adopt_all(), adopted(0), "it is complete");
    assert!(control.arrives(PUBLIC, &listener));
}

#[test]
#[ignore = "needs root"]
fn without_its_translation_it_leads_nowhere() {
    let Some(control) = Control::open(SERVER) else {
        return;
    };
    let listener = control.lab.inside.listen("10.0.0.2:6000");
    bring_without_translation(&control);
    assert!(!control.arrives(PUBLIC, &listener));
}

#[test]
#[ignore = "needs root"]
fn each_refusal_has_its_name() {
    let Some(mut control) = Control::open(SERVER) else {
        return;
    };
    let stranger =
        ConntrackTuples::untranslated(Tuple::new(endpoint("10.0.0.2:9"), endpoint(SERVER)));
    assert_eq!(
        control.store.expect(ID, &to_client(), &stranger),
        Err(ExpectError::Gone)
    );
    // A connection that is no control connection has no helper.
    let listener = control.lab.outside.listen("203.0.113.2:22");
    control.lab.gateway.run(
        "nft",
        &[
            "add", "rule", "inet", "operator", "forward", "tcp", "dport", "22", "accept",
        ],
    );
    let other = control.lab.inside.connect("203.0.113.2:22").unwrap();
    accept(&listener);
    let entry = control.conntrack.resolve(&Tuple::new(
        other.local_addr().unwrap(),
        other.peer_addr().unwrap(),
    ));
    let tuples = entry.unwrap().unwrap().tuples;
    assert_eq!(
        control.store.expect(ID, &to_client(), &tuples),
        Err(ExpectError::NoHelper)
    );
}
