//! Which first packets are asked about, admitted, refused.

use std::time::Duration;

use super::*;
use crate::proto::tls::TLS_TIMEOUT;

fn master(port: u16) -> ConntrackTuples {
    ConntrackTuples::new(
        Tuple {
            source: SocketAddr::new("10.0.0.2".parse().unwrap(), port),
            destination: "198.51.100.7:21".parse().unwrap(),
        },
        Tuple {
            source: "198.51.100.7:21".parse().unwrap(),
            destination: SocketAddr::new("203.0.113.1".parse().unwrap(), port),
        },
    )
}

fn granted(port: u16) -> Granted {
    Granted {
        session: SessionId(port.into()),
        master: master(port),
        links: PerDirection {
            original: Some(Link(1)),
            reply: Some(Link(2)),
        },
    }
}

fn newcomer(source: u16, port: u16) -> Newcomer {
    Newcomer {
        tuple: Tuple {
            source: SocketAddr::new("10.0.0.2".parse().unwrap(), source),
            destination: SocketAddr::new("198.51.100.7".parse().unwrap(), port),
        },
        seq: SeqNumber(7),
        link: Some(Link(1)),
    }
}

fn settings(at_once: usize) -> TlsSettings {
    TlsSettings {
        ports: Some(50_000..=50_009),
        at_once,
        ..TlsSettings::default()
    }
}

fn admitted(newcomer: &Newcomer, now: Instant) -> Admitted {
    let destination = newcomer.tuple.destination;
    Admitted {
        tuple: newcomer.tuple,
        seq: newcomer.seq,
        id: ExpectationId(1),
        expectation: Expectation {
            source: newcomer.tuple.source.ip(),
            destination,
            translated_destination: destination,
            translated_source: "203.0.113.1".parse().unwrap(),
            barred: None,
            timeout: TLS_TIMEOUT,
        },
        until: now + TLS_TIMEOUT,
    }
}

/// A table in which these connections were let in, of so many sessions.
fn table(sessions: u16, connections: &[Newcomer], now: Instant) -> GrantTable {
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
    crate::io::clock::now()
}

fn look_at(table: &mut GrantTable, newcomer: &Newcomer, at_once: usize, now: Instant) -> Step {
    table.look_at(newcomer, (&settings(at_once), &Limits::default()), now)
}

#[test]
fn only_a_granted_pair_and_port_is_asked_about() {
    let now = start();
    let mut table = table(1, &[], now);
    let control = master(4000).of(Direction::Original);
    assert_eq!(
        look_at(&mut table, &newcomer(1, 50_009), 4, now),
        Step::Ask(vec![control])
    );
    for port in [49_999, 50_010] {
        assert_eq!(look_at(&mut table, &newcomer(1, port), 4, now), Step::Pass);
    }
    let mut other = newcomer(1, 50_000);
    other.tuple.source.set_ip("10.0.0.3".parse().unwrap());
    assert_eq!(look_at(&mut table, &other, 4, now), Step::Pass);
    let mut other = newcomer(1, 50_000);
    other
        .tuple
        .destination
        .set_ip("198.51.100.8".parse().unwrap());
    assert_eq!(look_at(&mut table, &other, 4, now), Step::Pass);
}

#[test]
fn a_repeated_first_packet_passes_and_another_one_of_the_same_tuple_is_looked_at() {
    let (now, first) = (start(), newcomer(1, 50_000));
    let mut table = table(1, &[first], now);
    assert_eq!(look_at(&mut table, &first, 4, now), Step::Pass);
    let again = Newcomer {
        seq: SeqNumber(8),
        ..first
    };
    assert!(matches!(look_at(&mut table, &again, 4, now), Step::Ask(_)));
    let (step, over) = table.admit(&again, (&[], &[]), &settings(1), now);
    assert_eq!(step, Step::Open(granted(4000)));
    assert_eq!(over, [admitted(&first, now)]);
}

#[test]
fn a_full_session_gets_one_more_once_one_is_over() {
    let (now, open) = (start(), [newcomer(1, 50_000), newcomer(2, 50_001)]);
    let mut table = table(1, &open, now);
    let third = newcomer(3, 50_002);
    let Step::Ask(asked) = look_at(&mut table, &third, 2, now) else {
        panic!("it is full")
    };
    assert_eq!(asked[1..], open.map(|one| one.tuple));
    let (step, over) = table.admit(&third, (&asked, &asked), &settings(2), now);
    let full = Step::Refuse(granted(4000), TlsRefusal::TooManyData);
    assert_eq!((step, over), (full, Vec::new()));
    let live = [asked[0], open[1].tuple];
    let (step, over) = table.admit(&third, (&asked, &live), &settings(2), now);
    assert_eq!(step, Step::Open(granted(4000)));
    assert_eq!(over, [admitted(&open[0], now)]);
}

#[test]
fn each_session_of_a_pair_brings_its_own_number_and_the_last_takes_all_with_it() {
    let (now, open) = (start(), [newcomer(1, 50_000)]);
    let mut table = table(2, &open, now);
    let next = newcomer(2, 50_001);
    let Step::Ask(asked) = look_at(&mut table, &next, 1, now) else {
        panic!("there is room")
    };
    assert_eq!(asked.len(), 1, "there is room without asking");
    assert!(!table.end(&master(4001)));
    assert!(matches!(look_at(&mut table, &next, 1, now), Step::Ask(asked) if asked.len() == 2));
    assert!(table.end(&master(4000)));
    assert!(table.is_empty());
    assert_eq!(look_at(&mut table, &next, 1, now), Step::Pass);
    assert!(!table.end(&master(4000)), "it has ended already");
}

#[test]
fn an_older_expectation_to_the_same_port_makes_way_once_and_only_while_it_may_be_there() {
    let (now, open) = (start(), newcomer(1, 50_000));
    let next = newcomer(2, 50_000);
    let over = |table: &mut GrantTable, now| table.admit(&next, (&[], &[]), &settings(4), now).1;
    let mut early = table(1, &[open], now);
    assert_eq!(over(&mut early, now).len(), 1);
    assert_eq!(over(&mut early, now), []);
    let mut late = table(1, &[open], now);
    assert_eq!(over(&mut late, now + TLS_TIMEOUT), []);
}

#[test]
fn what_comes_by_the_servers_link_in_the_clients_name_is_refused() {
    let now = start();
    let mut table = table(1, &[], now);
    let by = |link| Newcomer {
        link,
        ..newcomer(1, 50_000)
    };
    let forged = Step::Refuse(granted(4000), TlsRefusal::Forged);
    assert_eq!(look_at(&mut table, &by(Some(Link(2))), 4, now), forged);
    for link in [None, Some(Link(1)), Some(Link(3))] {
        assert!(matches!(
            look_at(&mut table, &by(link), 4, now),
            Step::Ask(_)
        ));
    }
}

#[test]
fn a_flood_of_first_packets_is_asked_about_no_more_than_a_session_may_open() {
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
        let step = table.look_at(&newcomer(source, 50_000), (&settings(4), &limits), now);
        asked += usize::from(matches!(step, Step::Ask(_)));
    }
    assert_eq!(asked, 10);
    let later = now + Duration::from_secs(11);
    let step = table.look_at(&newcomer(1, 50_000), (&settings(4), &limits), later);
    assert!(matches!(step, Step::Ask(_)));
}

#[test]
fn however_many_sessions_a_pair_has_its_connections_are_bounded_and_asked_about_in_turn() {
    let now = start();
    let open: Vec<_> = (0..ADMITTED_MAX as u16)
        .map(|n| newcomer(n, 50_000))
        .collect();
    let mut table = table(300, &open, now);
    let next = newcomer(60_000, 50_001);
    let Step::Ask(first) = look_at(&mut table, &next, 16, now) else {
        panic!("it is full")
    };
    assert_eq!(first.len(), 1 + ASKED_MAX);
    let (step, _) = table.admit(&next, (&first, &first), &settings(16), now);
    assert_eq!(step, Step::Refuse(granted(4299), TlsRefusal::TooManyData));
    let Step::Ask(second) = look_at(&mut table, &next, 16, now) else {
        panic!("it is full")
    };
    assert_eq!(second[1], open[ASKED_MAX].tuple);
}

#[test]
fn pairs_beyond_the_bound_are_granted_nothing() {
    let mut table = GrantTable::default();
    let nth = |nth: u32| {
        let client = std::net::Ipv4Addr::from(nth);
        let mut original = master(1).of(Direction::Original);
        original.source.set_ip(client.into());
        Granted {
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
