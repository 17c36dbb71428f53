//! A new connection with the tuple of an older one.

use std::time::Duration;

use ftp_alg::proto::{
    flow::Settings,
    ftp::Role,
    net::{ConntrackTuples, Direction},
};

use crate::{
    harness::{
        dialogue::{Script, Turn, after_login, client, server},
        host::Config,
        link::{Ends, Link},
        topology::Topology,
    },
    play::{decisions, heard_by, play_open},
};

fn again(isn: u32) -> Ends {
    let config = Config {
        isn,
        ..Config::default()
    };
    Ends::alike(config)
}

#[test]
fn a_new_connection_has_none_of_the_old_ones_offset_and_expectations() {
    let announced = [client("PORT 10,0,0,2,4,5"), server("200 ok")];
    let mut link = play_open(Topology::Snat, &announced);
    assert_eq!(link.kernel.live.len(), 1);
    let script = Script::new(&after_login(&[client("NOOP"), server("200 ok")]));
    link.hosts.clear();
    link.kernel.forget_marks();
    link.add_with(Topology::Snat.tuples(0), again(77), &script);
    link.run();
    assert_eq!(link.faults(), Vec::<&String>::new());
    assert_eq!(link.kernel.live.len(), 0);
    assert_eq!(link.kernel.alg.flow_count(), 1);
}

#[test]
fn a_new_connection_whose_other_tuple_differs_is_looked_up_again() {
    let mut link = Link::new(Settings::default());
    let old = Topology::Snat.tuples(0);
    let script = Script::open(&after_login(&[]));
    link.add_with(old, again(77), &script);
    link.run_for(Duration::from_millis(100));
    // Another client gets the same outside endpoint.
    let original = old.of(Direction::Original);
    let mut other = original;
    other.source = "10.0.0.3:40000".parse().unwrap();
    let tuples = ConntrackTuples::new(other, old.of(Direction::Reply));
    link.hosts.clear();
    link.kernel.conntrack.clear();
    let turns = after_login(&[client("PORT 10,0,0,3,4,5"), server("200 ok")]);
    link.add_with(tuples, again(99_999), &Script::open(&turns));
    link.run_for(Duration::from_millis(100));
    assert_eq!(decisions(&link), ["PORT expect"]);
    assert_eq!(
        link.kernel.expected[0].translated_destination,
        "10.0.0.3:1029".parse().unwrap()
    );
    assert!(
        link.kernel
            .event_kinds()
            .iter()
            .filter(|kind| matches!(
                kind,
                ftp_alg::proto::event::EventKind::Started {
                    is_from_start: true
                }
            ))
            .count()
            == 2
    );
}

/// What became of the old connection before its tuple was used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Old {
    /// Both ends closed, and conntrack has it in TIME_WAIT.
    Closed,
    /// Conntrack has forgotten it.
    Forgotten,
}

/// Uses the tuple of a connection again, whose handshake is seen or not.
fn reused(topology: Topology, old: Old, is_seen: bool, keeps_ids: bool) -> Link {
    let turns = after_login(&[client("PORT 10,0,0,2,9,9"), server("200 ok")]);
    let script = match old {
        Old::Closed => Script::new(&turns),
        Old::Forgotten => Script::open(&turns),
    };
    let mut link = Link::of_script(topology.tuples(0), &script);
    link.kernel.states.keeps_ids = keeps_ids;
    link.run_for(Duration::from_millis(200));
    link.hosts.clear();
    if old == Old::Forgotten {
        link.kernel.forget_marks();
    }
    link.kernel.is_absent = !is_seen;
    let turns = after_login(&[client("PORT 10,0,0,2,4,5"), server("200 ok")]);
    link.add_with(topology.tuples(0), again(77), &Script::open(&turns));
    link.run_for(Duration::from_millis(5));
    link.kernel.is_absent = false;
    link.run_for(Duration::from_millis(100));
    link
}

/// A flood of handshakes passes unseen (`HANDSHAKES_A_SECOND`), and so does what comes while there
/// is no daemon.
#[test]
fn a_new_connection_is_read_from_its_greeting_whether_its_handshake_was_seen_or_not() {
    let flags = [false, true];
    let cases = [Topology::Routed, Topology::Snat]
        .into_iter()
        .flat_map(|it| [(it, Old::Closed), (it, Old::Forgotten)])
        .flat_map(|(it, old)| flags.map(|is_seen| (it, old, is_seen)))
        .flat_map(|(it, old, is_seen)| flags.map(|keeps_ids| (it, old, is_seen, keeps_ids)));
    for (topology, old, is_seen, keeps_ids) in cases {
        // Nothing tells such a connection from the old one, if that had no offset: the entry has
        // the same id and the same marks, and neither end was seen to close.
        let is_same = old == Old::Forgotten && keeps_ids && topology == Topology::Routed;
        if is_same && !is_seen {
            continue;
        }
        let case = format!("{topology:?} {old:?}, seen: {is_seen}, keeps ids: {keeps_ids}");
        let mut link = reused(topology, old, is_seen, keeps_ids);
        assert_eq!(decisions(&link), ["PORT expect"; 2], "{case}");
        let outside = if topology == Topology::Snat {
            "PORT 203,0,113,1,4,5\r\n"
        } else {
            "PORT 10,0,0,2,4,5\r\n"
        };
        assert_eq!(heard_by(Role::Server, &link), outside, "{case}");
        assert_eq!(link.faults(), Vec::<&String>::new(), "{case}");
        assert!(link.client().is_acknowledged(), "{case}");
        assert_eq!(link.kernel.live.len(), 1, "{case}");
    }
}

#[test]
fn a_client_cannot_hide_a_line_behind_the_numbers_of_its_last_connection() {
    // Its lines have the numbers of earlier ones, which are older than what is kept.
    let chatter = Turn::new(Role::Client, "NOOP\r\n".repeat(2000));
    let mut link = Link::new(crate::command_policy::deny());
    let script = Script::open(&after_login(&[chatter]));
    link.add_with(Topology::Routed.tuples(0), again(5000), &script);
    link.run_for(Duration::from_secs(5));
    assert!(link.server().received.len() > 11_000);
    link.hosts.clear();
    link.kernel.forget_marks();
    link.kernel.is_absent = true;
    // The server's first number is near its last one, as after TIME-WAIT.
    let ends = Ends {
        client: again(5000).client,
        server: again(7000).server,
    };
    link.add_with(Topology::Routed.tuples(0), ends, &Script::open(&[]));
    link.run_for(Duration::from_millis(5));
    link.kernel.is_absent = false;
    link.client_says(&[Turn::new(Role::Client, "NOOP\r\nDELE x\r\n")]);
    link.run_for(Duration::from_secs(1));
    let heard = String::from_utf8_lossy(&link.server().received).into_owned();
    assert!(
        heard.starts_with("NOOP\r\n") && !heard.contains("DELE"),
        "{heard}"
    );
}

/// Beyond a rate the segments that conntrack would have to be asked about are dropped.
#[test]
fn segments_from_afar_cost_a_bounded_number_of_questions() {
    let mut link = play_open(Topology::Routed, &[client("NOOP"), server("200 ok")]);
    let before = link.kernel.look_ups;
    for distance in 0..5000u32 {
        link.client().send_odd(|frame| {
            frame.seq = frame.seq.wrapping_add((1 << 28) + distance * 1000);
            frame.payload = b"x".to_vec();
        });
    }
    link.run_for(Duration::from_millis(100));
    let asked = link.kernel.look_ups - before;
    assert!((500..=600).contains(&asked), "{asked}");
    link.client_says(&[client("SYST")]);
    link.run_for(Duration::from_millis(100));
    assert!(heard_by(Role::Server, &link).ends_with("SYST\r\n"));
}

#[test]
fn an_entry_that_was_put_back_is_of_the_same_connection() {
    let turns = [client("PORT 10,0,0,2,4,5"), server("200 ok")];
    let mut link = play_open(Topology::Snat, &turns);
    assert_eq!((link.kernel.live.len(), link.kernel.saved.len()), (1, 1));
    link.kernel.put_back_entry();
    // A stranger's segment, far away from both streams, makes the core ask conntrack.
    link.server().send_odd(|frame| {
        frame.seq = frame.seq.wrapping_add(1 << 21);
        frame.payload = b"200 noted\r\n".to_vec();
    });
    link.run_for(Duration::from_millis(5));
    assert_eq!((link.kernel.live.len(), link.kernel.saved.len()), (1, 1));
    link.client_says(&[client("NOOP")]);
    link.run_for(Duration::from_millis(50));
    assert!(heard_by(Role::Server, &link).ends_with("NOOP\r\n"));
}
