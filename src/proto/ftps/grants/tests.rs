//! The decisions on first packets.

use std::time::Duration;

use super::*;
use crate::proto::ftps::TLS_TIMEOUT;

fn master(port: u16) -> ConntrackTuples {
    ConntrackTuples::new(
        Tuple::new(
            SocketAddr::new("10.0.0.2".parse().unwrap(), port),
            "198.51.100.7:21".parse().unwrap(),
        ),
        Tuple::new(
            "198.51.100.7:21".parse().unwrap(),
            SocketAddr::new("203.0.113.1".parse().unwrap(), port),
        ),
    )
}

fn granted(port: u16) -> FtpsSession {
    FtpsSession {
        session: SessionId(port.into()),
        master: master(port),
        iifs: PerDirection {
            original: Some(IfIndex(1)),
            reply: Some(IfIndex(2)),
        },
    }
}

fn syn(source: u16, port: u16) -> DataSyn {
    DataSyn {
        tuple: Tuple::new(
            SocketAddr::new("10.0.0.2".parse().unwrap(), source),
            SocketAddr::new("198.51.100.7".parse().unwrap(), port),
        ),
        seq: SeqNumber(7),
        iif: Some(IfIndex(1)),
    }
}

fn settings(at_once: usize) -> TlsSettings {
    TlsSettings {
        ports: Some(50_000..=50_009),
        at_once,
        ..TlsSettings::default()
    }
}

fn admitted(syn: &DataSyn, now: Instant) -> AdmittedData {
    let destination = syn.tuple.destination;
    AdmittedData {
        tuple: syn.tuple,
        seq: syn.seq,
        id: ExpectationId(1),
        expectation: Expectation {
            source: syn.tuple.source.ip(),
            source_prefix: None,
            destination,
            translated_destination: destination,
            translated_source: "203.0.113.1".parse().unwrap(),
            denied_iif: None,
            timeout: TLS_TIMEOUT,
        },
        until: now + TLS_TIMEOUT,
    }
}

/// A table of this many sessions, with these data connections.
fn table(sessions: u16, connections: &[DataSyn], now: Instant) -> GrantTable {
    let mut table = GrantTable::default();
    for port in 0..sessions {
        assert!(table.begin(granted(4000 + port)));
    }
    for one in connections {
        table.record(admitted(one, now));
    }
    table
}

fn start() -> Instant {
    crate::proto::test_origin()
}

fn look_up(table: &mut GrantTable, syn: &DataSyn, at_once: usize, now: Instant) -> SynDecision {
    table.look_up(syn, &settings(at_once), &Limits::default(), now)
}

#[test]
fn only_a_granted_pair_and_port_is_asked_about() {
    let now = start();
    let mut table = table(1, &[], now);
    let control = master(4000).of(Direction::Original);
    assert_eq!(
        look_up(&mut table, &syn(1, 50_009), 4, now),
        SynDecision::Ask(vec![control])
    );
    for port in [49_999, 50_010] {
        assert_eq!(
            look_up(&mut table, &syn(1, port), 4, now),
            SynDecision::Pass
        );
    }
    let mut other = syn(1, 50_000);
    other.tuple.source.set_ip("10.0.0.3".parse().unwrap());
    assert_eq!(look_up(&mut table, &other, 4, now), SynDecision::Pass);
    let mut other = syn(1, 50_000);
    other
        .tuple
        .destination
        .set_ip("198.51.100.8".parse().unwrap());
    assert_eq!(look_up(&mut table, &other, 4, now), SynDecision::Pass);
}

#[test]
fn a_repeated_first_packet_passes_and_another_one_of_the_same_tuple_is_asked_about() {
    let (now, first) = (start(), syn(1, 50_000));
    let mut table = table(1, &[first], now);
    assert_eq!(look_up(&mut table, &first, 4, now), SynDecision::Pass);
    let again = DataSyn {
        seq: SeqNumber(8),
        ..first
    };
    assert!(matches!(
        look_up(&mut table, &again, 4, now),
        SynDecision::Ask(_)
    ));
    let (step, over) = table.admit(&again, &[], &[], &settings(1), now);
    assert_eq!(step, SynDecision::Open(granted(4000)));
    assert_eq!(over, [admitted(&first, now)]);
}

#[test]
fn a_full_session_may_have_another_data_connection_once_one_is_over() {
    let (now, open) = (start(), [syn(1, 50_000), syn(2, 50_001)]);
    let mut table = table(1, &open, now);
    let third = syn(3, 50_002);
    let SynDecision::Ask(asked) = look_up(&mut table, &third, 2, now) else {
        panic!("it is full")
    };
    assert_eq!(asked[1..], open.map(|one| one.tuple));
    let (step, over) = table.admit(&third, &asked, &asked, &settings(2), now);
    let full = SynDecision::Refuse(granted(4000), TlsRefusal::TooManyData);
    assert_eq!((step, over), (full, Vec::new()));
    let live = [asked[0], open[1].tuple];
    let (step, over) = table.admit(&third, &asked, &live, &settings(2), now);
    assert_eq!(step, SynDecision::Open(granted(4000)));
    assert_eq!(over, [admitted(&open[0], now)]);
}

#[test]
fn each_session_of_a_pair_adds_to_its_room_and_the_last_one_ends_the_grant() {
    let (now, open) = (start(), [syn(1, 50_000)]);
    let mut table = table(2, &open, now);
    let next = syn(2, 50_001);
    let SynDecision::Ask(asked) = look_up(&mut table, &next, 1, now) else {
        panic!("there is room")
    };
    assert_eq!(asked.len(), 1, "there is room without asking");
    assert!(!table.end(&master(4001)));
    assert!(
        matches!(look_up(&mut table, &next, 1, now), SynDecision::Ask(asked) if asked.len() == 2)
    );
    assert!(table.end(&master(4000)));
    assert!(table.is_empty());
    assert_eq!(look_up(&mut table, &next, 1, now), SynDecision::Pass);
    assert!(!table.end(&master(4000)), "it has ended already");
}

#[test]
fn an_older_expectation_to_the_same_port_makes_way_once_and_only_while_it_may_exist() {
    let (now, open) = (start(), syn(1, 50_000));
    let next = syn(2, 50_000);
    let over = |table: &mut GrantTable, now| table.admit(&next, &[], &[], &settings(4), now).1;
    let mut early = table(1, &[open], now);
    assert_eq!(over(&mut early, now).len(), 1);
    assert_eq!(over(&mut early, now), []);
    let mut late = table(1, &[open], now);
    assert_eq!(over(&mut late, now + TLS_TIMEOUT), []);
}

#[test]
fn a_packet_with_the_clients_address_by_the_servers_interface_is_refused() {
    let now = start();
    let mut table = table(1, &[], now);
    let by = |iif| DataSyn {
        iif,
        ..syn(1, 50_000)
    };
    let forged = SynDecision::Refuse(granted(4000), TlsRefusal::Forged);
    assert_eq!(look_up(&mut table, &by(Some(IfIndex(2))), 4, now), forged);
    for iif in [None, Some(IfIndex(1)), Some(IfIndex(3))] {
        assert!(matches!(
            look_up(&mut table, &by(iif), 4, now),
            SynDecision::Ask(_)
        ));
    }
}

#[test]
fn a_flood_of_first_packets_asks_the_kernel_no_more_often_than_a_session_may_open() {
    let (now, limits) = (
        start(),
        Limits {
            session_openings: 1,
            ..Limits::default()
        },
    );
    let mut table = table(1, &[], now);
    let mut asked = 0;
    for source in 0..100 {
        let step = table.look_up(&syn(source, 50_000), &settings(4), &limits, now);
        asked += usize::from(matches!(step, SynDecision::Ask(_)));
    }
    assert_eq!(asked, 10);
    let later = now + Duration::from_secs(11);
    let step = table.look_up(&syn(1, 50_000), &settings(4), &limits, later);
    assert!(matches!(step, SynDecision::Ask(_)));
}

#[test]
fn the_connections_of_a_pair_with_many_sessions_are_bounded_and_asked_about_in_turn() {
    let now = start();
    let open: Vec<_> = (0..ADMITTED_MAX as u16).map(|n| syn(n, 50_000)).collect();
    let mut table = table(300, &open, now);
    let next = syn(60_000, 50_001);
    let SynDecision::Ask(first) = look_up(&mut table, &next, 16, now) else {
        panic!("it is full")
    };
    assert_eq!(first.len(), 1 + ASKED_MAX);
    let (step, _) = table.admit(&next, &first, &first, &settings(16), now);
    assert_eq!(
        step,
        SynDecision::Refuse(granted(4299), TlsRefusal::TooManyData)
    );
    let SynDecision::Ask(second) = look_up(&mut table, &next, 16, now) else {
        panic!("it is full")
    };
    assert_eq!(second[1], open[ASKED_MAX].tuple);
}

#[test]
fn a_pair_beyond_the_bound_has_no_grant() {
    let mut table = GrantTable::default();
    let nth = |nth: u32| {
        let client = std::net::Ipv4Addr::from(nth);
        let mut original = master(1).of(Direction::Original);
        original.source.set_ip(client.into());
        FtpsSession {
            master: ConntrackTuples::untranslated(original),
            ..granted(1)
        }
    };
    for number in 0..GRANTS_MAX as u32 {
        assert!(table.begin(nth(number)));
    }
    assert!(!table.begin(nth(GRANTS_MAX as u32)));
    assert!(table.begin(nth(0)), "one that is there already");
    assert_eq!(table.len(), GRANTS_MAX);
}
