//! A connection that existed before the daemon.

use std::time::Duration;

use ftp_alg::proto::{
    event::EventKind,
    flow::{IDLE_MAX, SILENT_MAX},
    ftp::Role,
};

use crate::{
    harness::{
        dialogue::{Script, Turn, after_login, client, server},
        link::Link,
        topology::Topology,
    },
    play::{decisions, heard_by, play_open, session},
};

/// The daemon starts once the server has received `seen`.
fn picked_up_after(seen: &str, turns: &[Turn]) -> Link {
    let mut link = Link::of_script(Topology::Snat.tuples(0), &Script::new(&session(turns)));
    link.kernel.is_absent = true;
    link.run_while(|link| !link.hosts[1].received.ends_with(seen.as_bytes()));
    link.kernel.is_absent = false;
    link.run();
    assert_eq!(link.faults(), Vec::<&String>::new());
    assert!(link.kernel.event_kinds().contains(&EventKind::Started {
        is_from_start: false
    }));
    link
}

#[test]
fn a_connection_in_its_middle_is_read_from_the_next_line_on() {
    let turns = [
        client("NOOP"),
        server("200 ok"),
        client("PORT 10,0,0,2,4,5"),
        server("200 ok"),
    ];
    let link = picked_up_after("NOOP\r\n", &turns);
    assert_eq!(
        heard_by(Role::Server, &link),
        "NOOP\r\nPORT 203,0,113,1,4,5\r\n"
    );
}

#[test]
fn the_rest_of_a_line_is_skipped_unless_it_reads_as_a_line_of_its_own() {
    let gap = Duration::from_millis(20);
    for (begun, rest, read) in [
        ("SITE ", "x PORT 10,0,0,2,4,5", 1),
        // It looks like a line of its own. Its endpoint is the client's, so nothing else opens.
        ("SITE ", "PORT 10,0,0,2,4,5", 2),
    ] {
        let turns = [
            client(&[begun, rest].concat()).cut(&[begun.len()], gap),
            server("200 ok"),
            client("PORT 10,0,0,2,4,6"),
            server("200 ok"),
        ];
        assert_eq!(decisions(&picked_up_after(begun, &turns)).len(), read);
    }
}

#[test]
fn a_reply_whose_command_was_not_seen_opens_nothing() {
    let turns = [client("PASV"), server("227 =198,51,100,7,19,137")];
    let link = picked_up_after("PASV\r\n", &turns);
    assert_eq!(decisions(&link), ["PASV unsolicited_reply"]);
}

#[test]
fn a_connection_that_is_picked_up_at_its_greeting_has_to_log_in() {
    let port = [client("PORT 10,0,0,2,4,5"), server("200 ok")];
    for (turns, decision) in [
        (after_login(&port), "PORT expect"),
        (
            [&[server("220 hello")], &port[..]].concat(),
            "PORT not_logged_in",
        ),
    ] {
        let script = Script::open(&turns);
        let mut link = Link::of_script(Topology::Snat.tuples(0), &script);
        link.kernel.is_absent = true;
        link.hosts[1].script[0].delay = Duration::from_millis(100);
        link.run_for(Duration::from_millis(50));
        link.kernel.is_absent = false;
        link.run_for(Duration::from_secs(1));
        assert_eq!(decisions(&link), [decision]);
    }
}

#[test]
fn a_handshake_alone_is_forgotten_earlier_than_a_session() {
    let idle = |turns: &[Turn], time| {
        let mut link = Link::of_script(Topology::Snat.tuples(0), &Script::open(turns));
        link.run_for(time);
        link.kernel.alg.flow_count()
    };
    let just_after = SILENT_MAX + Duration::from_secs(1);
    assert_eq!(idle(&[], SILENT_MAX - Duration::from_secs(1)), 1);
    assert_eq!(idle(&[], just_after), 0);
    assert_eq!(idle(&after_login(&[]), just_after), 1);
}

#[test]
fn a_quiet_session_with_an_offset_is_kept_for_as_long_as_conntrack_knows_it() {
    let turns = [client("PORT 10,0,0,2,4,5"), server("200 ok")];
    for is_forgotten in [false, true] {
        let mut link = play_open(Topology::Snat, &turns);
        assert_eq!(link.kernel.saved.len(), 1);
        if is_forgotten {
            link.kernel.conntrack.clear();
        }
        link.run_for(4 * IDLE_MAX);
        let left = (link.kernel.alg.flow_count(), link.kernel.saved.len());
        assert_eq!(left, if is_forgotten { (0, 0) } else { (1, 1) });
    }
}
