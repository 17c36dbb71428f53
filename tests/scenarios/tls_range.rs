//! `tls_data = "range"`: the data connections of encrypted sessions (RFC 4217).

use std::{net::SocketAddr, time::Duration};

use ftp_alg::proto::{
    event::EventKind,
    expect::ExpectError,
    flow::{IDLE_MAX, Settings},
    ftp::Role,
    ftps::{TlsRefusal, TlsSettings},
    net::{Direction, Tuple},
};

use crate::{
    harness::{
        dialogue::{Script, Turn, after_login, client, server},
        link::{Fate, Link},
        topology::Topology,
    },
    play::session,
};

fn settings() -> Settings {
    Settings {
        tls: TlsSettings {
            ports: Some(50_000..=50_009),
            at_once: 2,
            ..TlsSettings::default()
        },
        ..Settings::default()
    }
}

/// AUTH before the login, as in RFC 4217.
fn encrypted() -> [Turn; 4] {
    [
        server("220 hello"),
        client("AUTH TLS"),
        server("234 go on"),
        hello(),
    ]
}

/// The first bytes of TLS from a client.
fn hello() -> Turn {
    Turn::new(Role::Client, b"\x16\x03\x01\x02\x00\x01 hello".to_vec())
}

fn play(topology: Topology, settings: Settings, turns: &[Turn]) -> Link {
    let mut link = Link::new(settings);
    link.add(topology.tuples(0), &Script::open(turns));
    link.run_for(Duration::from_millis(100));
    assert_eq!(link.faults(), Vec::<&String>::new());
    link
}

/// The tuple of a data connection of the session, from this port of the client.
fn data(topology: Topology, source: u16, port: u16) -> Tuple {
    let original = topology.tuples(0).of(Direction::Original);
    Tuple::new(
        SocketAddr::new(original.source.ip(), source),
        SocketAddr::new(original.destination.ip(), port),
    )
}

/// Dials a data connection, and gives the endpoint that it reaches.
fn dial(link: &mut Link, tuple: Tuple) -> Option<SocketAddr> {
    let now = link.now;
    link.kernel.dial(tuple, 1, now)
}

#[test]
fn a_data_connection_comes_through_every_kind_of_nat_to_the_port_that_was_dialled() {
    for topology in Topology::ALL {
        let mut link = play(topology, settings(), &encrypted());
        assert!(link.kernel.is_opaque(&topology.tuples(0)));
        let to = dial(&mut link, data(topology, 3000, 50_003));
        let server = topology.tuples(0).sender(Direction::Reply).ip();
        assert_eq!(to, Some(SocketAddr::new(server, 50_003)), "{topology:?}");
        let seen = topology
            .tuples(0)
            .sender_seen_by_peer(Direction::Original)
            .ip();
        assert_eq!(link.kernel.expected[0].translated_source, seen);
    }
}

#[test]
fn without_the_setting_an_encrypted_session_has_no_grant() {
    let mut link = play(Topology::Snat, Settings::default(), &encrypted());
    assert!(link.kernel.granted.is_empty());
    assert_eq!(dial(&mut link, data(Topology::Snat, 3000, 50_003)), None);
}

#[test]
fn a_port_outside_the_range_another_client_and_another_server_get_nothing() {
    let topology = Topology::Snat;
    let mut link = play(topology, settings(), &encrypted());
    let own = data(topology, 3000, 50_003);
    let mut others = vec![
        data(topology, 3000, 49_999),
        data(topology, 3000, 50_010),
        own.inverted(),
    ];
    for host in ["10.0.0.3", "198.51.100.7"] {
        let mut other = own;
        other.source.set_ip(host.parse().unwrap());
        others.push(other);
    }
    let mut other = own;
    other.destination.set_ip("198.51.100.8".parse().unwrap());
    others.push(other);
    for other in others {
        assert_eq!(dial(&mut link, other), None, "{other}");
    }
    assert_eq!(link.kernel.expected, []);
    assert!(dial(&mut link, own).is_some());
}

#[test]
fn each_opening_is_for_one_connection() {
    let topology = Topology::Snat;
    let mut link = play(topology, settings(), &encrypted());
    let first = data(topology, 3000, 50_003);
    assert!(dial(&mut link, first).is_some());
    assert!(dial(&mut link, first).is_some(), "repeated");
    assert_eq!(link.kernel.expected.len(), 1);
    assert!(link.kernel.live.is_empty(), "nothing is left open");
}

#[test]
fn beyond_the_number_at_a_time_no_data_connection_is_admitted_until_one_is_over() {
    let topology = Topology::Dnat;
    let mut link = play(topology, settings(), &encrypted());
    let tuple = |n: u16| data(topology, 3000 + n, 50_000 + n);
    for n in 0..2 {
        assert!(dial(&mut link, tuple(n)).is_some());
    }
    assert_eq!(dial(&mut link, tuple(2)), None);
    let refused = EventKind::TlsRefused {
        port: 50_002,
        reason: TlsRefusal::TooManyData,
    };
    assert!(link.kernel.event_kinds().contains(&refused));
    link.kernel.children.remove(&tuple(0));
    assert!(dial(&mut link, tuple(2)).is_some());
    assert_eq!(dial(&mut link, tuple(3)), None);
}

#[test]
fn refusals_are_reported_at_a_bounded_rate() {
    let topology = Topology::Snat;
    let mut link = play(topology, settings(), &encrypted());
    for n in 0..200 {
        dial(&mut link, data(topology, 3000 + n, 50_000));
    }
    let kinds = link.kernel.event_kinds().into_iter();
    let refused = kinds.filter(|kind| matches!(kind, EventKind::TlsRefused { .. }));
    assert!((1..=10).contains(&refused.count()));
}

#[test]
fn the_grant_ends_with_the_first_fin_or_rst_of_the_control_connection() {
    let topology = Topology::Snat;
    for is_reset in [false, true] {
        let mut link = play(topology, settings(), &encrypted());
        assert_eq!(link.kernel.granted.len(), 1);
        let flags = if is_reset { 0x04 } else { 0x11 };
        link.client().send_odd(|frame| frame.flags = flags);
        link.run_for(Duration::from_millis(10));
        assert!(link.kernel.granted.is_empty());
        assert_eq!(dial(&mut link, data(topology, 3000, 50_003)), None);
    }
}

#[test]
fn the_grant_ends_with_a_control_connection_whose_end_was_not_seen() {
    let topology = Topology::Snat;
    let mut link = play(topology, settings(), &encrypted());
    link.kernel.conntrack.clear();
    assert_eq!(dial(&mut link, data(topology, 3000, 50_003)), None);
    assert!(link.kernel.granted.is_empty());
}

#[test]
fn the_grant_ends_with_a_quiet_session_that_conntrack_has_forgotten() {
    let mut link = play(Topology::Snat, settings(), &encrypted());
    link.kernel.conntrack.clear();
    link.run_for(2 * IDLE_MAX);
    assert!(link.kernel.granted.is_empty());
    assert_eq!(link.kernel.alg.flow_count(), 0);
}

#[test]
fn a_quiet_session_keeps_its_grant() {
    let topology = Topology::Snat;
    let mut link = play(topology, settings(), &encrypted());
    link.run_for(4 * IDLE_MAX);
    assert!(dial(&mut link, data(topology, 3000, 50_003)).is_some());
}

#[test]
fn a_connection_that_is_not_ftp_has_no_grant() {
    let turns = [
        client("GET / HTTP/1.1"),
        client("AUTH TLS").pipelined(),
        server("220 hello"),
        server("500 what?").pipelined(),
        server("234 go on").pipelined(),
        hello(),
    ];
    // Where no policy applies, the connection is left alone before its AUTH is answered.
    let with_policy = Settings {
        command_policy: crate::command_policy::deny().command_policy,
        ..settings()
    };
    for (settings, is_read) in [(settings(), false), (with_policy, true)] {
        let link = play(Topology::Snat, settings, &turns);
        let kinds = link.kernel.event_kinds();
        assert_eq!(kinds.contains(&EventKind::Opaque), is_read);
        assert!(link.kernel.granted.is_empty());
    }
}

#[test]
fn a_session_whose_auth_was_refused_has_no_grant() {
    let turns = after_login(&[client("AUTH TLS"), server("504 no")]);
    let link = play(Topology::Snat, settings(), &turns);
    assert!(link.kernel.granted.is_empty());
}

#[test]
fn a_hello_whose_halves_come_in_the_wrong_order_is_recognised() {
    let mut link = play(Topology::Snat, settings(), &encrypted()[..3]);
    link.fates = [Fate::Delay(5)].into();
    let rest = Turn::new(Role::Client, b"and its second half".to_vec());
    link.client_says(&[hello().pipelined(), rest.pipelined()]);
    link.run_for(Duration::from_millis(500));
    assert_eq!(link.kernel.granted.len(), 1);
    assert!(link.server().received.ends_with(b"and its second half"));
}

#[test]
fn a_session_without_tls_after_its_auth_has_no_grant() {
    for words in [
        &b"ENC 1234\r\n"[..],
        b"PORT 10,0,0,2,19,137\r\n",
        b"\x17\x03\x03",
    ] {
        let mut turns = encrypted();
        turns[3] = Turn::new(Role::Client, words.to_vec());
        let link = play(Topology::Snat, settings(), &turns);
        assert!(link.kernel.is_opaque(&Topology::Snat.tuples(0)));
        assert!(link.kernel.granted.is_empty());
    }
}

#[test]
fn where_servers_are_named_only_their_sessions_have_a_grant() {
    for (network, count) in [("10.0.0.5", 1), ("203.0.113.1", 1), ("198.51.100.0/24", 0)] {
        let mut named = settings();
        named.tls.servers = vec![network.parse().unwrap()];
        let link = play(Topology::Dnat, named, &encrypted());
        assert_eq!(link.kernel.granted.len(), count, "{network}");
    }
}

#[test]
fn a_data_connection_that_the_kernel_refuses_is_not_admitted_and_the_next_may_be() {
    let topology = Topology::Snat;
    let mut link = play(topology, settings(), &encrypted());
    link.kernel.expect_answers = [Err(ExpectError::TableFull)].into();
    assert_eq!(dial(&mut link, data(topology, 3000, 50_003)), None);
    let refused = EventKind::TlsRefused {
        port: 50_003,
        reason: TlsRefusal::Kernel(ExpectError::TableFull),
    };
    assert!(link.kernel.event_kinds().contains(&refused));
    assert!(dial(&mut link, data(topology, 3001, 50_003)).is_some());
}

#[test]
fn an_older_expectation_of_the_same_port_makes_way() {
    let topology = Topology::Snat;
    let mut link = play(topology, settings(), &encrypted());
    link.kernel.expect_answers = [Err(ExpectError::Clash)].into();
    assert!(dial(&mut link, data(topology, 3000, 50_003)).is_some());
}

#[test]
fn a_port_that_is_leased_to_an_announcement_is_not_opened_for_an_encrypted_session() {
    let topology = Topology::Dnat;
    let mut both = settings();
    both.ports = 50_000..=50_000;
    let mut link = play(topology, both, &encrypted());
    let turns = after_login(&[client("PASV"), server("227 =10,0,0,5,19,137")]);
    link.add(topology.tuples(1), &Script::open(&turns));
    link.run_for(Duration::from_millis(100));
    let announced = SocketAddr::new("10.0.0.5".parse().unwrap(), 5001);
    assert_eq!(
        dial(&mut link, data(topology, 3000, 50_000)),
        Some(announced)
    );
    let refused = EventKind::TlsRefused {
        port: 50_000,
        reason: TlsRefusal::PortGiven,
    };
    assert!(link.kernel.event_kinds().contains(&refused));
}

#[test]
fn a_connection_with_an_offset_is_granted_the_same() {
    let topology = Topology::Snat;
    let turns = session(&[
        client("PORT 10,0,0,2,4,5"),
        server("200 ok"),
        client("AUTH TLS"),
        server("234 go on"),
        hello(),
    ]);
    let turns = &turns[..turns.len() - 2];
    let mut link = play(topology, settings(), turns);
    assert!(!link.kernel.is_opaque(&topology.tuples(0)));
    assert!(dial(&mut link, data(topology, 3000, 50_003)).is_some());
    link.client().send_odd(|frame| frame.flags = 0x14);
    link.run_for(Duration::from_millis(10));
    assert!(link.kernel.granted.is_empty());
}

#[test]
fn after_a_restart_there_is_no_grant_and_the_session_is_left_alone() {
    let topology = Topology::Snat;
    let mut link = play(topology, settings(), &encrypted());
    link.kernel.restart(settings());
    assert_eq!(dial(&mut link, data(topology, 3000, 50_003)), None);
    let record = b"zzzz not a line, but it begins as one".to_vec();
    link.client_says(&[Turn::new(Role::Client, record.clone())]);
    link.run_for(Duration::from_millis(10));
    assert!(link.server().received.ends_with(&record));
    assert!(link.kernel.is_opaque(&topology.tuples(0)));
}
