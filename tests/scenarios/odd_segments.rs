//! Late and odd segments of the handshake, of the end of a connection, and between them.

use std::{sync::Arc, time::Duration};

use ftp_alg::proto::{
    budget::Limits,
    command_policy::{CommandPolicy, PolicyAction, PolicyEntry, PolicyMatcher, Scope, Verb},
    event::EventKind,
    flow::{CLOSED_MAX, SILENT_MAX, Settings},
    ftp::Role,
};

use crate::{
    harness::{
        dialogue::{Script, Turn, after_login, client, server},
        frame::{ACK, FIN, PSH, RST, SYN},
        host::{Config, Host, Step},
        link::{Fate, Link},
        topology::Topology,
    },
    play::{decisions, heard_by, play_open, session, withdrawals},
};

const PORT: &str = "PORT 10,0,0,2,19,137";

fn closes() -> Step {
    Step {
        closes: true,
        ..Step::default()
    }
}

#[test]
fn a_browser_stays_one_after_its_server_has_closed_and_waited() {
    let mut link = Link::new(Settings::default());
    let script = Script::open(&[client("POST / HTTP/1.1\r\nHost: x\r\n"), server("wait")]);
    link.add(Topology::Routed.tuples(0), &script);
    link.run_for(Duration::from_millis(50));
    let now = link.now;
    link.server().say(vec![closes()], now);
    link.run_for(SILENT_MAX + Duration::from_secs(1));
    assert!(link.client().has_heard_fin());
    link.client_says(&[client(PORT)]);
    link.run_for(Duration::from_millis(50));
    assert_eq!(link.kernel.expected, []);
}

/// Sends a SYN/ACK that seems to answer the peer's SYN, with another first number.
fn answers_again(end: &mut Host) {
    end.send_odd(|frame| {
        frame.flags = SYN | ACK;
        frame.seq = frame.seq.wrapping_add(5000);
        frame.ack = Config::default().isn + 1;
    });
}

#[test]
fn a_late_syn_ack_moves_no_stream() {
    let first = [client("PASV"), server("227 =10,0,0,5,19,136")];
    let mut link = play_open(Topology::Dnat, &first);
    answers_again(link.server());
    link.run_for(Duration::from_millis(5));
    link.client_says(&[client("PASV")]);
    link.run_for(Duration::from_millis(5));
    link.server_says(&[server("227 =10,0,0,5,19,137")]);
    link.run_for(Duration::from_secs(20));
    assert_eq!(decisions(&link), ["PASV expect"; 2]);
    assert_eq!(link.faults(), Vec::<&String>::new());
}

#[test]
fn a_client_does_not_hide_a_line_behind_a_syn_ack_to_its_servers() {
    let mut link = play_open(Topology::Routed, &[client("NOOP"), server("200 ok")]);
    answers_again(link.client());
    link.run_for(Duration::from_millis(5));
    link.client_says(&[client("PORT 192,0,2,9,19,137")]);
    link.run_for(Duration::from_millis(50));
    assert!(!heard_by(Role::Server, &link).contains("192,0,2,9"));
}

fn policy(action: PolicyAction) -> Settings {
    let entry = PolicyEntry {
        name: "no".into(),
        scope: Scope::default(),
        matcher: PolicyMatcher {
            commands: vec![Verb::parse("DELE").unwrap()],
            ..PolicyMatcher::default()
        },
        action,
        text: None,
    };
    Settings {
        command_policy: Arc::new(CommandPolicy::new(vec![entry])),
        ..Settings::default()
    }
}

#[test]
fn a_connection_is_aborted_once() {
    let mut link = Link::new(policy(PolicyAction::Reset));
    let script = Script::open(&after_login(&[]));
    link.add(Topology::Routed.tuples(0), &script);
    link.run_for(Duration::from_millis(100));
    link.client().send_odd(|frame| {
        frame.payload = b"DELE a\r\nDE".to_vec();
        frame.flags = ACK | PSH | FIN;
    });
    link.run_for(Duration::from_millis(100));
    let kinds = link.kernel.event_kinds();
    let aborted = kinds.iter().filter(|kind| **kind == EventKind::Aborted);
    assert_eq!(aborted.count(), 1);
    let resets = link.kernel.injected.iter().filter(|frame| frame.has(RST));
    assert_eq!(resets.count(), 2);
}

#[test]
fn a_port_that_is_announced_twice_ahead_is_open_for_the_second_transfer() {
    let turns = [
        client(PORT),
        server("200 ok"),
        client("RETR a"),
        server("150 here"),
        client(PORT),
        server("226 done"),
        server("200 ok"),
    ];
    let link = play_open(Topology::Routed, &turns);
    assert_eq!(decisions(&link), ["PORT expect"; 2]);
    assert_eq!(link.kernel.live.len(), 1, "{:?}", withdrawals(&link));
}

#[test]
fn late_payload_of_a_closed_session_does_not_count_it_again() {
    let mut link = Link::new(Settings {
        limits: Limits {
            host_sessions: 1,
            ..Limits::default()
        },
        ..Settings::default()
    });
    link.add(Topology::Routed.tuples(0), &Script::new(&session(&[])));
    link.run();
    link.server().send_odd(|frame| {
        frame.seq = frame.seq.wrapping_sub(10);
        frame.payload = b"221 bye\r\n".to_vec();
    });
    link.run_for(Duration::from_millis(10));
    link.add(Topology::Routed.tuples(1), &Script::open(&after_login(&[])));
    link.run_for(Duration::from_millis(100));
    assert!(!link.hosts[2].was_reset);
}

#[test]
fn a_liberal_flow_is_saved_although_its_line_is_not_acknowledged_locally() {
    let long = format!("211-help\r\n{}211 end\r\n", " line\r\n".repeat(900));
    let turns = [
        Turn::new(Role::Client, "HELP\r\nPASV\r\n"),
        Turn::new(Role::Server, long).ahead_of(1),
        Turn::new(Role::Server, "227 (10,0,0,"),
    ];
    let script = Script::open(&after_login(&turns));
    let mut link = Link::of_script(Topology::Dnat.tuples(0), &script);
    let tuples = Topology::Dnat.tuples(0);
    link.run_while(|link| !link.kernel.is_liberal(&tuples));
    assert_eq!(link.kernel.saved.len(), 1);
}

#[test]
fn a_browser_stays_one_after_a_reset_that_it_does_not_get() {
    let mut link = Link::new(Settings::default());
    let script = Script::open(&[client("POST / HTTP/1.1\r\nHost: x\r\n"), server("wait")]);
    link.add(Topology::Routed.tuples(0), &script);
    link.run_for(Duration::from_millis(50));
    link.fates = [Fate::Pass, Fate::Drop].into();
    link.server().send_odd(|frame| frame.flags = RST | ACK);
    link.run_for(CLOSED_MAX + Duration::from_secs(1));
    link.client_says(&[client(PORT)]);
    link.run_for(Duration::from_millis(50));
    assert!(!link.client().was_reset);
    assert_eq!(link.kernel.expected, []);
}

/// Sends an acknowledgement far from its sender's window, of bytes far from what was ever sent: a
/// stranger has guessed both.
fn strays(end: &mut Host) {
    end.send_odd(|frame| {
        frame.flags = ACK;
        frame.seq = frame.seq.wrapping_add(100_000);
        frame.ack = frame.ack.wrapping_add(100_000);
    });
}

#[test]
fn a_stray_acknowledgement_after_a_restart_does_not_keep_the_client_from_closing() {
    let mut link = play_open(Topology::Snat, &[]);
    link.kernel.restart(Settings::default());
    link.client_says(&[client("PORT 10,0,0,2,4,5")]);
    link.run_for(Duration::from_millis(5));
    strays(link.server());
    link.run_for(Duration::from_millis(5));
    link.client_says(&[client("NOOP")]);
    link.run_for(Duration::from_millis(5));
    let now = link.now;
    link.client().say(vec![closes()], now);
    link.run_for(Duration::from_secs(2));
    assert!(link.server().has_heard_fin());
}

#[test]
fn a_stray_segment_is_not_moved_into_its_receivers_window_while_a_line_is_held() {
    let mut link = play_open(Topology::Snat, &[Turn::new(Role::Client, "PORT 10,0")]);
    link.run_for(Duration::from_millis(20));
    strays(link.client());
    link.run_for(Duration::from_millis(5));
    assert_eq!(link.faults(), Vec::<&String>::new());
}
