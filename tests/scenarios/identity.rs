//! A SYN/ACK in mid-connection begins no connection.
//!
//! Conntrack lets such a segment pass as established, without a check of its window. Only its TCP
//! state says that a connection begins anew.

use std::time::Duration;

use ftp_alg::proto::{
    event::EventKind,
    flow::Settings,
    ftp::Role,
    kernel::LookUpError,
    net::{ConntrackTuples, Direction, IfIndex, Zone},
};

use crate::{
    harness::{
        dialogue::{Script, Turn, after_login, client, server},
        frame::{ACK, SYN},
        host::Config,
        link::{Ends, Link},
        topology::Topology,
    },
    play::{decisions, heard_by, play_open, withdrawals},
};

const PORT: &str = "PORT 10,0,0,2,19,137";

/// The server sends SYN/ACK in mid-connection, as if its next byte were its first.
fn server_begins_anew(link: &mut Link) {
    link.server().send_odd(|frame| {
        frame.flags = SYN | ACK;
        frame.seq = frame.seq.wrapping_sub(1);
    });
    link.run_for(Duration::from_millis(5));
}

#[test]
fn a_server_that_begins_anew_does_not_make_a_browser_a_client_of_ftp() {
    // A policy applies, so that the connection stays in the queue.
    let mut link = Link::new(crate::command_policy::deny());
    let script = Script::open(&[client("POST / HTTP/1.1\r\nHost: x\r\n"), server("wait")]);
    link.add(Topology::Routed.tuples(0), &script);
    link.run_for(Duration::from_millis(50));
    server_begins_anew(&mut link);
    link.server_says(&[Turn::new(
        Role::Server,
        "220 hello\r\n331 and?\r\n230 welcome\r\n",
    )]);
    link.run_for(Duration::from_millis(50));
    link.client_says(&[Turn::new(
        Role::Client,
        format!("USER a\r\nPASS b\r\n{PORT}\r\n"),
    )]);
    link.run_for(Duration::from_millis(50));
    assert_eq!(decisions(&link), ["PORT not_ftp"]);
    assert_eq!(link.kernel.live.len(), 0);
}

#[test]
fn a_client_cannot_hide_its_lines_behind_a_syn_ack_in_the_servers_name() {
    for iif in [1, 2] {
        let mut link = play_open(Topology::Routed, &[client("NOOP"), server("200 ok")]);
        // The client's own side, or as if it came from the server's.
        link.kernel.iifs[Direction::Reply] = IfIndex(iif);
        let ahead = link.client().next_to_send().wrapping_add(1 << 20);
        link.server().send_odd(|frame| {
            frame.flags = SYN | ACK;
            frame.ack = ahead;
        });
        link.run_for(Duration::from_millis(5));
        link.kernel.iifs[Direction::Reply] = IfIndex(2);
        link.client_says(&[client("PORT 192,0,2,9,19,137")]);
        link.run_for(Duration::from_millis(50));
        assert_eq!(decisions(&link), ["PORT third_party_address"], "{iif}");
        let heard = heard_by(Role::Server, &link);
        assert!(!heard.contains("192,0,2,9"), "{iif}: {heard}");
    }
}

#[test]
fn a_syn_ack_in_mid_connection_ends_nothing_of_the_session() {
    for topology in [Topology::Snat, Topology::Dnat] {
        let turns = [client("PORT 10,0,0,2,4,5"), server("200 ok")];
        let mut link = play_open(topology, &turns);
        let live = link.kernel.live.len();
        server_begins_anew(&mut link);
        link.client().send_odd(|frame| {
            frame.flags = SYN | ACK;
            frame.seq = frame.seq.wrapping_sub(1);
        });
        link.run_for(Duration::from_millis(5));
        assert_eq!(link.kernel.live.len(), live);
        assert_eq!(withdrawals(&link), Vec::<&str>::new());
        link.client_says(&[client("NOOP")]);
        link.run_for(Duration::from_millis(50));
        assert!(heard_by(Role::Server, &link).ends_with("NOOP\r\n"));
        assert_eq!(link.faults(), Vec::<&String>::new());
    }
}

#[test]
fn a_handshake_that_comes_once_more_in_mid_connection_begins_nothing() {
    let turns = [client("PORT 10,0,0,2,4,5"), server("200 ok")];
    let mut link = play_open(Topology::Snat, &turns);
    let isn = Config::default().isn;
    link.client().send_odd(|frame| {
        frame.flags = SYN;
        frame.seq = isn;
    });
    link.run_for(Duration::from_millis(5));
    // Conntrack believes from here on that both ends begin anew.
    link.server().send_odd(|frame| {
        frame.flags = SYN | ACK;
        frame.seq = isn;
        frame.ack = isn.wrapping_add(1);
    });
    link.run_for(Duration::from_millis(5));
    link.client_says(&[client("NOOP")]);
    link.run_for(Duration::from_millis(50));
    assert!(heard_by(Role::Server, &link).ends_with("NOOP\r\n"));
    assert_eq!(link.faults(), Vec::<&String>::new());
    let events = link.kernel.event_kinds();
    assert!(!link.kernel.has_lost_sync(), "{events:?}");
}

#[test]
fn a_connection_that_is_not_known_here_does_not_begin_with_a_syn_ack_in_its_middle() {
    let mut link = play_open(Topology::Routed, &[client("NOOP"), server("200 ok")]);
    link.kernel.restart(Settings::default());
    server_begins_anew(&mut link);
    assert_eq!(link.kernel.alg.flow_count(), 0);
    let from_start = EventKind::Started {
        is_from_start: true,
    };
    let started = link.kernel.event_kinds();
    assert_eq!(
        started.iter().filter(|kind| **kind == from_start).count(),
        1
    );
}

#[test]
fn a_connection_that_conntrack_begins_anew_is_followed_from_its_start() {
    let mut link = play_open(Topology::Routed, &[client("NOOP"), server("200 ok")]);
    let config = Config {
        isn: 77,
        ..Config::default()
    };
    link.hosts.clear();
    let script = Script::open(&after_login(&[client(PORT), server("200 ok")]));
    link.add_with(Topology::Routed.tuples(0), Ends::alike(config), &script);
    link.run_for(Duration::from_millis(100));
    assert_eq!(decisions(&link), ["PORT expect"]);
}

#[test]
fn a_connection_passes_unread_where_conntrack_cannot_be_asked_unless_a_policy_must_read_it() {
    let deny = crate::command_policy::deny;
    for (settings, error, passes) in [
        (Settings::default(), LookUpError::Failed, true),
        (deny(), LookUpError::Failed, false),
        // Its sender repeats it, and it is asked for again.
        (Settings::default(), LookUpError::Postponed, false),
    ] {
        let mut link = Link::new(settings);
        link.kernel.refuses_look_up = Some(error);
        let script = Script::open(&after_login(&[]));
        link.add(Topology::Routed.tuples(0), &script);
        link.run_for(Duration::from_millis(100));
        assert_eq!(!link.client().received.is_empty(), passes);
        assert_eq!(link.kernel.alg.flow_count(), 0);
    }
}

#[test]
fn a_connection_is_one_although_its_packets_are_looked_up_in_a_zone_that_was_guessed() {
    let guessed = Topology::Snat.tuples(0);
    let own = Direction::BOTH.map(|direction| guessed.of(direction).in_zone(Zone(7)));
    let script = Script::new(&after_login(&[client(PORT), server("200 ok")]));
    let mut link = Link::of_script(ConntrackTuples::new(own[0], own[1]), &script);
    link.run();
    assert_eq!(link.faults(), Vec::<&String>::new());
    let begun = |kind: &&EventKind| matches!(kind, EventKind::Started { .. });
    assert_eq!(link.kernel.event_kinds().iter().filter(begun).count(), 1);
    assert_eq!(decisions(&link), ["PORT expect"]);
}
