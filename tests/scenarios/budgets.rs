//! The budgets of one session, and of all sessions of one host.

use std::time::Duration;

use ftp_alg::proto::{
    budget::{Limits, SEGMENT_MIN},
    event::EventKind,
    flow::Settings,
};

use crate::{
    harness::{
        dialogue::{Script, Turn, after_login, client, server},
        host::Host,
        link::Link,
        topology::Topology,
    },
    play::{decisions, session},
};

fn link_with(limits: Limits) -> Link {
    Link::new(Settings {
        limits,
        ..Settings::default()
    })
}

fn add(link: &mut Link, nth: u16, turns: &[Turn]) {
    link.add(
        Topology::Routed.tuples(nth),
        &Script::open(&after_login(turns)),
    );
}

fn ports(count: u16) -> Vec<Turn> {
    let turns = (0..count).flat_map(|n| {
        let port = client(&format!("PORT 10,0,0,2,19,{n}"));
        [port, server("200 ok")]
    });
    turns.collect()
}

fn refused(link: &Link) -> usize {
    let decisions = decisions(link);
    decisions
        .iter()
        .filter(|decision| decision.ends_with(" too_many_openings"))
        .count()
}

fn openings_a_second(session: u32, host: u32) -> Limits {
    Limits {
        session_openings: session,
        host_openings: host,
        ..Limits::default()
    }
}

#[test]
fn announcements_beyond_the_budget_of_a_session_are_refused_and_the_session_goes_on() {
    let mut link = link_with(openings_a_second(2, 100));
    add(&mut link, 0, &ports(30));
    link.run_for(Duration::from_millis(400));
    // One token came in again meanwhile.
    let (opened, refused) = (link.kernel.expected.len(), refused(&link));
    assert_eq!((opened, refused), (21, 9));
    assert!(
        link.client().received.ends_with(b"550 No\r\n"),
        "as much as fits"
    );
    link.run_for(Duration::from_secs(1));
    link.client_says(&[client("PORT 10,0,0,2,20,1")]);
    link.run_for(Duration::from_millis(10));
    assert_eq!(decisions(&link).last().unwrap(), "PORT expect");
}

#[test]
fn the_sessions_of_a_host_have_one_budget() {
    let mut link = link_with(openings_a_second(100, 2));
    add(&mut link, 0, &ports(15));
    add(&mut link, 1, &ports(15));
    link.run_for(Duration::from_millis(400));
    assert_eq!((decisions(&link).len(), refused(&link)), (30, 9));
}

#[test]
fn a_raised_limit_lets_more_through() {
    for (limits, expected) in [
        (openings_a_second(3, 100), 0),
        (openings_a_second(100, 3), 0),
        (openings_a_second(1, 100), 19),
    ] {
        let mut link = link_with(limits);
        add(&mut link, 0, &ports(30));
        link.run_for(Duration::from_millis(400));
        assert_eq!(refused(&link), expected, "{limits:?}");
    }
}

/// The time until a hundred commands have arrived that were sent at once.
fn time_of_a_hundred(limits: Limits) -> (Duration, Link) {
    let mut link = link_with(limits);
    let commands: Vec<Turn> = (0..100)
        .map(|n| client(&format!("NOOP {n}")).pipelined())
        .collect();
    add(&mut link, 0, &commands);
    let begin = link.now;
    link.run_while(|link| !link.hosts[1].received.ends_with(b"NOOP 99\r\n"));
    assert_eq!(link.faults(), Vec::<&String>::new());
    (link.now - begin, link)
}

#[test]
fn commands_beyond_the_budget_wait_and_all_arrive() {
    for (session_commands, host_commands) in [(5, 1000), (1000, 5)] {
        let (time, link) = time_of_a_hundred(Limits {
            session_commands,
            host_commands,
            ..Limits::default()
        });
        assert!(time > Duration::from_millis(100), "{time:?}");
        let kinds = link.kernel.event_kinds();
        let slowed = kinds.iter().filter(|kind| **kind == EventKind::Slowed);
        assert_eq!(slowed.count(), 1);
    }
    let (time, link) = time_of_a_hundred(Limits::default());
    assert!(time < Duration::from_millis(100), "{time:?}");
    assert!(!link.kernel.event_kinds().contains(&EventKind::Slowed));
}

/// The time until a long line and the line behind it have arrived, from one of the ends.
fn time_of_a_long_line(limits: Limits, say: fn(&str) -> Turn) -> (Duration, Link) {
    let mut link = link_with(limits);
    let long = format!("200 {}", "x".repeat(100_000));
    add(&mut link, 0, &[say(&long), say("200 last").pipelined()]);
    let begin = link.now;
    link.run_while(|link| {
        let heard = |host: &Host| host.received.ends_with(b"200 last\r\n");
        !link.hosts.iter().any(heard)
    });
    assert_eq!(link.faults(), Vec::<&String>::new());
    (link.now - begin, link)
}

#[test]
fn bytes_beyond_the_budget_wait_and_all_arrive_in_both_directions() {
    let session = Limits {
        session_bytes: 5_000,
        ..Limits::default()
    };
    let host = Limits {
        host_bytes: 5_000,
        ..Limits::default()
    };
    for (limits, say, waits) in [
        (session, client as fn(&str) -> Turn, true),
        (session, server, true),
        (host, client, true),
        // The bytes of servers do not count for the host of their client.
        (host, server, false),
        (Limits::default(), client, false),
        (Limits::default(), server, false),
    ] {
        let (time, link) = time_of_a_long_line(limits, say);
        assert_eq!(time > Duration::from_secs(5), waits, "{limits:?} {time:?}");
        let was_reported = link.kernel.event_kinds().contains(&EventKind::Slowed);
        assert_eq!(was_reported, waits, "{limits:?}");
    }
}

#[test]
fn a_segment_costs_at_least_one_command_and_some_bytes() {
    for (limits, waits) in [
        (
            Limits {
                session_commands: 5,
                ..Limits::default()
            },
            true,
        ),
        (
            Limits {
                session_bytes: 50 * SEGMENT_MIN / 10,
                ..Limits::default()
            },
            true,
        ),
        (Limits::default(), false),
    ] {
        let mut link = link_with(limits);
        let line = format!("NOOP {}", "x".repeat(100));
        let cuts: Vec<usize> = (1..100).collect();
        let bits = client(&line).cut(&cuts, Duration::from_millis(1));
        add(&mut link, 0, &[bits]);
        let begin = link.now;
        link.run_while(|link| !link.hosts[1].received.ends_with(b"x\r\n"));
        assert_eq!(
            link.kernel.event_kinds().contains(&EventKind::Slowed),
            waits,
            "{limits:?} {:?}",
            link.now - begin
        );
    }
}

/// Three sessions fetch 800 small files each, one after the other, over a wire of 1 ms.
#[test]
fn a_client_that_fetches_thousands_of_small_files_meets_no_limit() {
    let mut link = Link::new(Settings::default());
    let file = [
        client("PASV"),
        server("227 =198,51,100,7,19,137"),
        client("RETR file"),
        server("150 here"),
        server("226 done"),
    ];
    for nth in 0..3 {
        add(&mut link, nth, &vec![file.clone(); 800].concat());
    }
    link.run_for(Duration::from_secs(20));
    assert_eq!(link.kernel.expected.len(), 2400);
    assert_eq!(refused(&link), 0);
    assert!(!link.kernel.event_kinds().contains(&EventKind::Slowed));
}

#[test]
fn a_session_beyond_the_limit_of_its_host_is_reset_towards_both_ends() {
    let mut link = link_with(Limits {
        host_sessions: 1,
        ..Limits::default()
    });
    add(&mut link, 0, &[]);
    link.run_for(Duration::from_millis(100));
    add(&mut link, 1, &[]);
    link.run_for(Duration::from_millis(100));
    let was_reset: Vec<_> = link.hosts.iter().map(|host| host.was_reset).collect();
    assert_eq!(was_reset, [false, false, true, true]);
    assert!(
        link.kernel
            .event_kinds()
            .contains(&EventKind::TooManySessions)
    );
    assert!(link.client().received.ends_with(b"230 welcome\r\n"));
}

#[test]
fn a_closed_session_stops_counting_at_once() {
    let mut link = link_with(Limits {
        host_sessions: 1,
        ..Limits::default()
    });
    link.add(Topology::Routed.tuples(0), &Script::new(&session(&[])));
    link.run();
    add(&mut link, 1, &[]);
    link.run_for(Duration::from_millis(100));
    assert!(link.hosts.iter().all(|host| !host.was_reset));
}

/// A handshake can be forged in a host's name. The payload of its server cannot.
#[test]
fn a_session_without_payload_does_not_count() {
    let mut link = link_with(Limits {
        host_sessions: 1,
        ..Limits::default()
    });
    for nth in 0..5 {
        link.add(Topology::Routed.tuples(nth), &Script::open(&[]));
    }
    link.run_for(Duration::from_millis(100));
    assert_eq!(link.kernel.alg.flow_count(), 5);
    add(&mut link, 5, &[]);
    link.run_for(Duration::from_millis(100));
    assert!(link.hosts.iter().all(|host| !host.was_reset));
    assert!(link.hosts[10].received.ends_with(b"230 welcome\r\n"));
}

#[test]
fn a_raised_number_of_sessions_lets_more_begin() {
    for (host_sessions, is_enough) in [(1, false), (2, true)] {
        let mut link = link_with(Limits {
            host_sessions,
            ..Limits::default()
        });
        add(&mut link, 0, &[]);
        add(&mut link, 1, &[]);
        link.run_for(Duration::from_millis(100));
        assert_eq!(link.hosts.iter().all(|host| !host.was_reset), is_enough);
    }
}
