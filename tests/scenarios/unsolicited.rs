//! Replies that look like announcements but answer no PASV (VU#328867).

use std::time::Duration;

use ftp_alg::proto::ftp::Role;

use crate::{
    harness::{
        dialogue::{Turn, client, server},
        topology::Topology,
    },
    play::{decisions, heard_by, play, play_open},
};

const PASSIVE: &str = "227 Entering Passive Mode (10,0,0,5,19,137).";

#[test]
fn an_unsolicited_227_opens_nothing_and_passes_unchanged() {
    let link = play(Topology::Dnat, &[client("NOOP"), server(PASSIVE)]);
    assert_eq!(decisions(&link), ["PASV unsolicited_reply"]);
    assert_eq!(heard_by(Role::Client, &link), format!("{PASSIVE}\r\n"));
    assert!(link.kernel.expected.is_empty());
}

#[test]
fn a_227_within_a_longer_reply_is_text() {
    let help = format!("214-help\r\n{PASSIVE}\r\n214 end\r\n");
    let turns = [client("PASV"), Turn::new(Role::Server, help.as_str())];
    let link = play(Topology::Dnat, &turns);
    assert_eq!(decisions(&link), Vec::<String>::new());
    assert_eq!(heard_by(Role::Client, &link), help);
}

#[test]
fn a_227_after_quit_is_unsolicited() {
    let turns = [client("QUIT"), server("221 bye"), server(PASSIVE)];
    let link = play(Topology::Dnat, &turns);
    assert!(link.kernel.expected.is_empty());
}

#[test]
fn a_second_227_to_one_pasv_is_refused() {
    let turns = [client("PASV"), server(PASSIVE), server(PASSIVE)];
    let link = play(Topology::Dnat, &turns);
    assert_eq!(decisions(&link), ["PASV expect", "PASV unsolicited_reply"]);
}

#[test]
fn a_client_that_acknowledges_ahead_does_not_choose_where_a_line_begins() {
    let begun = "211-Status:\r\na file ";
    let rest = format!("{PASSIVE}\r\n211 End\r\n");
    for ahead in [1, rest.len() as u32, 1000] {
        let status = Turn::new(Role::Server, begun);
        let mut link = play_open(Topology::Routed, &[client("STAT"), status]);
        link.client().send_odd(|frame| {
            frame.ack = frame.ack.wrapping_add(ahead);
            frame.payload = b"PASV\r\n".to_vec();
        });
        link.run_for(Duration::from_millis(10));
        link.server_says(&[Turn::new(Role::Server, rest.as_str())]);
        link.run_for(Duration::from_millis(100));
        assert_eq!(decisions(&link), Vec::<String>::new(), "{ahead}");
        assert!(link.kernel.expected.is_empty());
    }
}

#[test]
fn a_227_behind_a_lf_that_the_server_repeats_answers_no_pasv() {
    for reply in [
        format!("257 \"/x\n{PASSIVE}\" is the current directory\r\n"),
        format!("257 \"/x\n{PASSIVE}\n\" is the current directory\r\n"),
    ] {
        let turns = [
            Turn::new(Role::Client, "PWD\r\nPASV\r\n"),
            Turn::new(Role::Server, reply.as_str()),
        ];
        let link = play(Topology::Dnat, &turns);
        assert_eq!(decisions(&link), ["PASV unsolicited_reply"], "{reply:?}");
        assert_eq!(heard_by(Role::Client, &link), reply);
    }
}

#[test]
fn a_server_may_end_all_its_lines_with_lf_or_its_227_alone() {
    let with_lf = format!("{PASSIVE}\n");
    let turns = [
        client("PASV"),
        Turn::new(Role::Server, with_lf.as_str()),
        client("PASV"),
        Turn::new(Role::Server, with_lf.as_str()),
    ];
    let link = play(Topology::Dnat, &turns);
    assert_eq!(decisions(&link), ["PASV expect", "PASV expect"]);
}
