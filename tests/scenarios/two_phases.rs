//! What a client announces is opened once its server has accepted it, and not before.

use std::{net::SocketAddr, time::Duration};

use ftp_alg::proto::{action::EventKind, expect::ExpectError, flow::Settings, ftp::Role};

use crate::{
    harness::{
        dialogue::{Script, Turn, after_login, client, server},
        host::Config,
        link::Link,
        topology::Topology,
    },
    told::{decisions, heard_by, session, told, told_open, withdrawals},
};

/// Where the server is told to connect by `PORT 10,0,0,2,19,137`.
const DESTINATION: &str = "10.0.0.2:5001";

fn is_open(link: &Link) -> bool {
    let destination: SocketAddr = DESTINATION.parse().unwrap();
    let server = "198.51.100.7".parse().unwrap();
    link.kernel.admits(server, destination).is_some()
}

fn is_reserved(link: &Link) -> bool {
    let destination: SocketAddr = DESTINATION.parse().unwrap();
    let server = "198.51.100.7".parse().unwrap();
    link.kernel.reserved.contains(&(server, destination))
}

#[test]
fn a_port_is_reserved_until_the_server_accepts_it() {
    let asked = [client("PORT 10,0,0,2,19,137")];
    let link = told_open(Topology::Routed, &asked);
    assert!(is_reserved(&link) && !is_open(&link));
    let accepted = [&asked[..], &[server("200 ok")]].concat();
    let link = told_open(Topology::Routed, &accepted);
    assert!(is_open(&link) && !is_reserved(&link));
}

#[test]
fn a_rejected_port_never_opens() {
    for answer in ["500 no", "425 no", "331 what"] {
        let link = told_open(
            Topology::Routed,
            &[client("PORT 10,0,0,2,19,137"), server(answer)],
        );
        assert_eq!(link.kernel.expected, [], "{answer}");
        assert!(!is_reserved(&link));
        assert_eq!(withdrawals(&link), ["rejected"]);
    }
}

#[test]
fn an_acceptance_of_another_command_opens_nothing() {
    let turns = [
        client("NOOP"),
        client("PORT 10,0,0,2,19,137").pipelined(),
        server("200 well").ahead_of(1),
    ];
    let link = told_open(Topology::Routed, &turns);
    assert!(is_reserved(&link) && !is_open(&link));
}

#[test]
fn a_preliminary_reply_is_no_acceptance() {
    let turns = [client("PORT 10,0,0,2,19,137"), server("120 wait")];
    assert!(!is_open(&told_open(Topology::Routed, &turns)));
    let turns = [&turns[..], &[server("200 ok")]].concat();
    assert!(is_open(&told_open(Topology::Routed, &turns)));
}

#[test]
fn the_transfer_command_behind_a_port_waits_until_its_connection_may_come() {
    let burst = Turn::new(Role::Client, "PORT 10,0,0,2,19,137\r\nRETR a\r\n");
    let script = Script::open(&after_login(&[burst]));
    let mut link = Link::of_script(Topology::Routed.tuples(0), &script);
    link.run_for(Duration::from_millis(50));
    assert!(!is_open(&link));
    assert_eq!(heard_by(Role::Server, &link), "PORT 10,0,0,2,19,137\r\n");
    let now = link.now;
    link.server()
        .say(Script::open(&[server("200 ok")]).server, now);
    link.run_for(Duration::from_millis(3));
    assert!(is_open(&link));
    assert_eq!(
        heard_by(Role::Server, &link),
        "PORT 10,0,0,2,19,137\r\nRETR a\r\n",
        "its sender has not repeated it yet"
    );
}

#[test]
fn a_client_that_waits_for_no_answer_gets_each_of_its_transfers() {
    let commands = "PORT 10,0,0,2,4,5\r\nRETR a\r\nPORT 10,0,0,2,4,6\r\nRETR b\r\n";
    let turns = [
        Turn::new(Role::Client, commands),
        server("200 ok").ahead_of(3),
        server("150 here").ahead_of(2),
        server("226 done").ahead_of(2),
        server("200 ok").ahead_of(1),
        server("150 here"),
        server("226 done"),
    ];
    for topology in [Topology::Routed, Topology::Snat] {
        let link = told(topology, &turns);
        assert_eq!(decisions(&link), ["PORT expect", "PORT expect"]);
        assert_eq!(link.kernel.expected.len(), 2);
        let opened = |kind: &EventKind| matches!(kind, EventKind::Opened { .. });
        let events = link.kernel.event_kinds();
        assert_eq!(events.iter().filter(|kind| opened(kind)).count(), 2);
        assert_eq!(withdrawals(&link), ["finished", "finished"]);
    }
}

#[test]
fn lines_behind_a_port_that_is_never_answered_go_on_when_its_time_is_up() {
    let turns = [
        Turn::new(Role::Client, "PORT 10,0,0,2,19,137\r\nNOOP\r\n"),
        server("200 well"),
    ];
    let settings = Settings {
        expectation_timeout: Duration::from_secs(3),
        ..Settings::default()
    };
    let mut link = Link::new(settings);
    let ends = (Config::default(), Config::default());
    let script = Script::open(&session(&turns)[..6]);
    link.add(Topology::Routed.tuples(0), ends, &script);
    link.run_for(Duration::from_secs(4));
    assert!(heard_by(Role::Server, &link).ends_with("NOOP\r\n"));
    assert_eq!(link.kernel.expected, []);
    assert_eq!(withdrawals(&link), ["expired"]);
}

#[test]
fn what_follows_a_port_is_held_within_a_bound_and_arrives() {
    let filler = format!("SITE {}\r\n", "x".repeat(400));
    let count = 40;
    let commands = format!("PORT 10,0,0,2,19,137\r\n{}", filler.repeat(count));
    let turns = [
        Turn::new(Role::Client, commands.clone()),
        server("200 ok").ahead_of(count),
        Turn::new(Role::Server, "200 well\r\n".repeat(count)),
    ];
    let link = told(Topology::Routed, &turns);
    assert_eq!(heard_by(Role::Server, &link), commands);
}

#[test]
fn one_that_the_kernel_does_not_open_is_told_of_and_gives_its_port_back() {
    let turns = [
        client("PORT 10,0,0,2,19,137"),
        server("200 ok"),
        client("PORT 10,0,0,2,19,137"),
        server("200 ok"),
    ];
    let mut link = Link::new(Settings {
        ports: 6000..=6000,
        ..Settings::default()
    });
    link.kernel.expect_answers = [Ok(()), Err(ExpectError::TableFull)].into();
    let ends = (Config::default(), Config::default());
    link.add(
        Topology::Snat.tuples(0),
        ends,
        &Script::open(&session(&turns)[..9]),
    );
    link.run_for(Duration::from_millis(100));
    let refused = |kind: &EventKind| {
        matches!(
            kind,
            EventKind::NotOpened {
                error: ExpectError::TableFull,
                ..
            }
        )
    };
    assert!(link.kernel.event_kinds().iter().any(refused));
    assert_eq!(link.kernel.expected.len(), 1, "the second one was opened");
}

#[test]
fn what_is_announced_to_an_early_server_is_open_before_it_answers() {
    for (network, is_early) in [
        ("198.51.100.0/24", true),
        ("198.51.100.7", true),
        ("10.0.0.0/8", false),
    ] {
        let mut link = Link::new(Settings {
            early_servers: vec![network.parse().unwrap()],
            ..Settings::default()
        });
        let script = Script::open(&after_login(&[client("PORT 10,0,0,2,19,137")]));
        let ends = (Config::default(), Config::default());
        link.add(Topology::Routed.tuples(0), ends, &script);
        link.run_for(Duration::from_millis(50));
        assert_eq!(is_open(&link), is_early, "{network}");
        assert_eq!(is_reserved(&link), !is_early, "{network}");
    }
}

#[test]
fn a_server_that_takes_long_to_answer_is_told_of_once() {
    let script = Script::open(&after_login(&[client("PORT 10,0,0,2,19,137")]));
    let mut link = Link::of_script(Topology::Routed.tuples(0), &script);
    link.run_for(Duration::from_secs(10));
    let unanswered = |kind: &EventKind| matches!(kind, EventKind::Unanswered { .. });
    let events = link.kernel.event_kinds();
    assert_eq!(events.iter().filter(|kind| unanswered(kind)).count(), 1);
}
