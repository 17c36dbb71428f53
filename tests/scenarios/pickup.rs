//! A connection that existed before the daemon.

use ftp_alg::proto::{action::EventKind, ftp::Role};

use crate::{
    harness::{
        dialogue::{Script, Turn, client, server},
        link::Link,
        topology::Topology,
    },
    told::{decisions, heard_by, session},
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
    let gap = std::time::Duration::from_millis(20);
    for (begun, rest, read) in [
        ("SITE ", "x PORT 10,0,0,2,4,5", 1),
        // Nobody can tell; it is the client's own endpoint all the same.
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
