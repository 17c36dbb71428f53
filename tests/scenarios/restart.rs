//! The daemon is killed and started again. A connection goes on with its saved flow. Without it, a
//! connection with an offset ends.

use std::time::Duration;

use ftp_alg::proto::{
    event::EventKind,
    expect::ExpectError,
    flow::{CLOSED_MAX, Settings},
    ftp::Role,
};

use crate::{
    harness::{
        dialogue::{Script, Turn, client, server},
        host::Step,
        link::{Fate, Link},
        topology::Topology,
    },
    play::{heard_by, play_open, session},
};

/// Plays `turns`, and kills the daemon at `at`.
fn killed_at(turns: &[Turn], at: Duration) -> Link {
    let mut link = Link::of_script(Topology::Snat.tuples(0), &Script::new(&session(turns)));
    link.run_for(at);
    link.kernel.restart(Settings::default());
    link.run();
    assert_eq!(link.faults(), Vec::<&String>::new());
    link
}

#[test]
fn a_connection_with_an_offset_or_a_held_line_goes_on_at_whatever_time_the_daemon_dies() {
    let gap = Duration::from_millis(30);
    let turns = [
        client("PORT 10,0,0,2,4,5").cut(&[9], gap),
        server("200 ok"),
        client("NOOP"),
        server("200 ok"),
        client("SITE x"),
        server("200 ok"),
    ];
    for at in 0..110 {
        let link = killed_at(&turns, Duration::from_millis(at));
        let heard = heard_by(Role::Server, &link);
        let lines: Vec<_> = heard.split("\r\n").collect();
        assert_eq!(lines[1..], ["NOOP", "SITE x", ""], "killed at {at} ms");
        let announced = ["PORT 10,0,0,2,4,5", "PORT 203,0,113,1,4,5"];
        assert!(announced.contains(&lines[0]), "killed at {at} ms: {heard}");
    }
}

#[test]
fn an_announcement_that_is_repeated_after_the_restart_is_not_rewritten_twice() {
    let turns = [
        client("PORT 10,0,0,2,4,5"),
        server("200 ok"),
        client("NOOP"),
        server("200 ok"),
    ];
    for (lost, at) in (0..40).flat_map(|lost| (10..40).map(move |at| (lost, at))) {
        let mut link = Link::of_script(Topology::Snat.tuples(0), &Script::new(&session(&turns)));
        link.fates = vec![Fate::Pass; lost].into();
        link.fates.push_back(Fate::Drop);
        link.run_for(Duration::from_millis(at));
        link.kernel.restart(Settings::default());
        link.run();
        let case = format!("packet {lost} is lost, and the daemon killed at {at} ms");
        assert_eq!(link.faults(), Vec::<&String>::new(), "{case}");
        let heard = heard_by(Role::Server, &link);
        let announced = ["PORT 10,0,0,2,4,5", "PORT 203,0,113,1,4,5"];
        let lines: Vec<_> = heard.split("\r\n").collect();
        assert!(announced.contains(&lines[0]), "{case}: {heard}");
        assert_eq!(lines[1..], ["NOOP", ""], "{case}");
    }
}

#[test]
fn a_line_that_was_given_up_before_the_restart_is_not_rewritten_after_it() {
    let gap = Duration::from_secs(12);
    let line = "227 (10,0,0,5,4,5)";
    let turns = [client("PASV"), server(line).cut(&[9], gap)];
    let mut link = Link::of_script(Topology::Dnat.tuples(0), &Script::new(&session(&turns)));
    // The client gets the first half, and its acknowledgements are lost until the restart.
    let is_given_up = |link: &Link| {
        let kinds = link.kernel.event_kinds();
        kinds.contains(&EventKind::PartialLineExpired)
    };
    link.run_while(|link| !is_given_up(link));
    link.fates = [Fate::Drop, Fate::Pass].repeat(8).into();
    link.run_for(Duration::from_millis(1900));
    link.kernel.restart(Settings::default());
    link.run();
    assert_eq!(link.faults(), Vec::<&String>::new());
    assert_eq!(heard_by(Role::Client, &link), format!("{line}\r\n"));
}

#[test]
fn an_announcement_that_was_refused_before_the_restart_is_not_rewritten_after_it() {
    let turns = [
        client("PORT 10,0,0,2,4,5"),
        server("200 ok"),
        client("PORT 10,0,0,2,4,6"),
        server("200 ok"),
    ];
    for (lost, at) in (10..40).flat_map(|lost| (20..40).map(move |at| (lost, at))) {
        let mut link = Link::of_script(Topology::Snat.tuples(0), &Script::new(&session(&turns)));
        // The second announcement needs two refusals, because the first clash is tried again.
        let answers = [Ok(()), Err(ExpectError::Clash), Err(ExpectError::Clash)];
        link.kernel.expect_answers = answers.into();
        link.fates = vec![Fate::Pass; lost].into();
        link.fates.extend([Fate::Drop; 2]);
        link.run_for(Duration::from_millis(at));
        link.kernel.restart(Settings::default());
        link.run();
        let case = format!("packet {lost} and the next are lost, and the daemon killed at {at} ms");
        assert_eq!(link.faults(), Vec::<&String>::new(), "{case}");
    }
}

#[test]
fn a_fin_that_overtakes_the_last_line_after_a_restart_does_not_keep_it_back() {
    let mut link = play_open(Topology::Routed, &[client("QUIT")]);
    link.kernel.restart(Settings::default());
    let closes = |delay| Step {
        closes: true,
        delay,
        ..Step::default()
    };
    let bye = Step {
        bytes: b"221 bye\r\n".to_vec(),
        ..Step::default()
    };
    let now = link.now;
    let soon = Duration::from_millis(5);
    link.server().say(vec![bye, closes(soon)], now);
    link.fates = [Fate::Drop].into();
    link.run_for(Duration::from_secs(2));
    assert!(heard_by(Role::Client, &link).is_empty());
    assert!(link.client().received.ends_with(b"221 bye\r\n"));
    assert!(link.client().has_heard_fin());
}

/// A connection with an offset and without a saved flow, as after a failover: another gateway has
/// conntrack's entry and its mark.
fn forgotten() -> Link {
    let turns = [client("PORT 10,0,0,2,4,5"), server("200 ok")];
    let mut link = play_open(Topology::Snat, &turns);
    link.kernel.restart(Settings::default());
    link.kernel.saved.clear();
    link
}

#[test]
fn a_connection_whose_offset_is_saved_nowhere_is_reset_and_nothing_of_it_passes() {
    let mut link = forgotten();
    let before = heard_by(Role::Server, &link);
    link.client_says(&[client("DELE x")]);
    link.run_for(Duration::from_secs(1));
    assert!(link.client().was_reset);
    assert_eq!(heard_by(Role::Server, &link), before);
}

#[test]
fn the_server_of_such_a_connection_is_reset_when_it_sends() {
    let mut link = forgotten();
    link.server_says(&[server("421 timeout")]);
    link.run_for(Duration::from_secs(1));
    assert!(link.server().was_reset);
    assert!(!heard_by(Role::Client, &link).contains("421"));
}

#[test]
fn the_end_of_a_connection_is_known_after_a_restart() {
    let mut link = play_open(
        Topology::Snat,
        &[client("PORT 10,0,0,2,4,5"), server("200 ok")],
    );
    link.client().abort();
    link.run_for(Duration::from_millis(10));
    let saved: Vec<_> = link.kernel.saved.values().cloned().collect();
    assert!(
        saved.len() == 1 && saved[0].is_closed,
        "it serves repeated segments"
    );
    // The server has not heard of the reset, and repeats what it said. The end passed before.
    link.kernel.restart(Settings::default());
    link.server()
        .send_odd(|frame| frame.payload = b"200 ok\r\n".to_vec());
    link.run_for(Duration::from_millis(10));
    link.kernel.conntrack.clear();
    link.run_for(CLOSED_MAX + Duration::from_secs(1));
    assert_eq!(link.kernel.saved.len(), 0);
}
