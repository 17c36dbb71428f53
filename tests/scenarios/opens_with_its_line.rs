//! The pinhole of a client's announcement opens with its line, and closes when the server refuses
//! it.
//!
//! Only the server of the control connection may connect, and by connecting it agrees. A server may
//! connect before it answers (pyftpdlib answers 200 only after it has connected).

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use ftp_alg::proto::{expect::ExpectError, flow::Settings, ftp::Role};

use crate::{
    harness::{
        dialogue::{Script, Turn, after_login, client, server},
        link::Link,
        topology::Topology,
    },
    play::{decisions, heard_by, play, play_open, session, withdrawals},
};

/// The endpoint of `PORT 10,0,0,2,19,137`.
const DESTINATION: &str = "10.0.0.2:5001";

fn is_open_for(link: &Link, source: &str) -> bool {
    let destination: SocketAddr = DESTINATION.parse().unwrap();
    let source: IpAddr = source.parse().unwrap();
    link.kernel.admits(source, destination).is_some()
}

fn is_open(link: &Link) -> bool {
    is_open_for(link, "198.51.100.7")
}

#[test]
fn a_port_is_open_before_the_server_has_answered_it_and_for_that_server_alone() {
    let link = play_open(Topology::Routed, &[client("PORT 10,0,0,2,19,137")]);
    assert!(is_open(&link));
    for other in ["198.51.100.8", "10.0.0.3", "203.0.113.1"] {
        assert!(!is_open_for(&link, other), "{other}");
    }
}

#[test]
fn it_is_open_before_the_line_reaches_the_server() {
    let script = Script::open(&after_login(&[client("PORT 10,0,0,2,19,137")]));
    let mut link = Link::of_script(Topology::Routed.tuples(0), &script);
    let has_heard = |link: &Link| {
        link.hosts[1]
            .received
            .ends_with(b"PORT 10,0,0,2,19,137\r\n")
    };
    link.run_while(|link| !has_heard(link));
    assert!(is_open(&link));
}

#[test]
fn a_port_that_the_server_refuses_is_closed_again() {
    for answer in ["500 no", "425 no", "331 what"] {
        let link = play_open(
            Topology::Routed,
            &[client("PORT 10,0,0,2,19,137"), server(answer)],
        );
        assert!(!is_open(&link), "{answer}");
        assert_eq!(withdrawals(&link), ["rejected"], "{answer}");
    }
}

#[test]
fn the_answer_to_another_command_and_a_preliminary_one_close_nothing() {
    for turns in [
        &[
            client("NOOP"),
            client("PORT 10,0,0,2,19,137").pipelined(),
            server("500 no").ahead_of(1),
        ][..],
        &[client("PORT 10,0,0,2,19,137"), server("120 wait")],
        &[client("PORT 10,0,0,2,19,137"), server("200 ok")],
    ] {
        assert!(is_open(&play_open(Topology::Routed, turns)));
    }
}

#[test]
fn rein_quit_and_a_newer_announcement_close_the_pinhole() {
    for (next, reason) in [
        ("REIN", "abandoned"),
        ("QUIT", "abandoned"),
        ("PORT 10,0,0,2,19,138", "superseded"),
    ] {
        let turns = [
            client("PORT 10,0,0,2,19,137"),
            server("200 ok"),
            client(next),
        ];
        let link = play_open(Topology::Routed, &turns);
        assert!(!is_open(&link), "{next}");
        assert_eq!(withdrawals(&link), [reason], "{next}");
    }
}

#[test]
fn the_commands_behind_a_port_go_on_at_once() {
    let burst = Turn::new(Role::Client, "PORT 10,0,0,2,19,137\r\nRETR a\r\n");
    let script = Script::open(&after_login(&[burst]));
    let mut link = Link::of_script(Topology::Routed.tuples(0), &script);
    link.run_for(Duration::from_millis(50));
    assert!(is_open(&link));
    assert_eq!(
        heard_by(Role::Server, &link),
        "PORT 10,0,0,2,19,137\r\nRETR a\r\n"
    );
}

#[test]
fn a_client_that_waits_for_no_answer_gets_each_of_its_transfers() {
    let commands: String = (5..9)
        .map(|port| format!("PORT 10,0,0,2,4,{port}\r\nRETR a\r\n"))
        .collect();
    let mut turns = vec![Turn::new(Role::Client, commands)];
    for left in (0..4).rev() {
        turns.push(server("200 ok").ahead_of(2 * left + 1));
        turns.push(server("150 here").ahead_of(2 * left));
        turns.push(server("226 done").ahead_of(2 * left));
    }
    for topology in [Topology::Routed, Topology::Snat] {
        let link = play(topology, &turns);
        assert_eq!(decisions(&link), ["PORT expect"; 4]);
        assert_eq!(link.kernel.expected.len(), 4);
        assert_eq!(withdrawals(&link), ["finished"; 4]);
    }
}

#[test]
fn a_client_that_announces_again_and_again_has_no_more_open_than_one() {
    let commands: String = (5..30)
        .map(|port| format!("PORT 10,0,0,2,4,{port}\r\n"))
        .collect();
    let link = play_open(Topology::Routed, &[Turn::new(Role::Client, commands)]);
    assert_eq!(link.kernel.live.len(), 1);
}

#[test]
fn a_client_that_asks_for_transfer_after_transfer_has_few_open() {
    let commands: String = (5..20)
        .map(|port| format!("PORT 10,0,0,2,4,{port}\r\nRETR a\r\n"))
        .collect();
    let link = play_open(Topology::Routed, &[Turn::new(Role::Client, commands)]);
    assert_eq!(link.kernel.live.len(), 1 + 8, "one, and eight in use");
}

#[test]
fn an_unanswered_port_is_closed_after_its_timeout() {
    let turns = session(&[client("PORT 10,0,0,2,19,137")]);
    let mut link = Link::new(Settings {
        expectation_timeout: Duration::from_secs(3),
        ..Settings::default()
    });
    link.add(Topology::Routed.tuples(0), &Script::open(&turns[..6]));
    link.run_for(Duration::from_secs(4));
    assert!(!is_open(&link));
    assert_eq!(withdrawals(&link), ["expired"]);
}

#[test]
fn an_announcement_that_the_kernel_refuses_gives_its_port_back() {
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
    link.kernel.expect_answers = [Err(ExpectError::TableFull)].into();
    link.add(
        Topology::Snat.tuples(0),
        &Script::open(&session(&turns)[..9]),
    );
    link.run_for(Duration::from_millis(100));
    assert_eq!(
        decisions(&link),
        ["PORT expectation_table_full", "PORT expect"]
    );
    assert_eq!(link.kernel.expected.len(), 1, "the second one was opened");
    assert!(heard_by(Role::Client, &link).starts_with("550 "));
}
