//! A partial line is held for a bounded time, and up to a bounded number of bytes.

use std::time::Duration;

use ftp_alg::proto::{event::EventKind, flow::PARTIAL_LINE_TIMEOUT, ftp::Role, stream::LINE_MAX};

use crate::{
    harness::{
        dialogue::{client, server},
        link::Fate,
        topology::Topology,
    },
    play::{decisions, heard_by, play, play_open},
};

const PASSIVE: &str = "227 (10,0,0,5,4,5)";

#[test]
fn a_partial_line_of_a_server_leaves_unread_after_ten_seconds() {
    let late = server(PASSIVE).cut(&[9], PARTIAL_LINE_TIMEOUT + Duration::from_secs(1));
    let link = play(Topology::Dnat, &[client("PASV"), late]);
    assert!(
        link.kernel
            .event_kinds()
            .contains(&EventKind::PartialLineExpired)
    );
    assert_eq!(decisions(&link), Vec::<String>::new());
    assert_eq!(heard_by(Role::Client, &link), format!("{PASSIVE}\r\n"));
}

#[test]
fn an_expired_partial_line_is_retransmitted_until_it_arrives() {
    let mut link = play_open(Topology::Dnat, &[client("PASV")]);
    link.server_says(&[server(PASSIVE).cut(&[9], Duration::from_secs(60))]);
    link.run_for(PARTIAL_LINE_TIMEOUT - Duration::from_secs(1));
    assert!(link.hosts[0].received.ends_with(b"welcome\r\n"));
    link.fates = vec![Fate::Drop; 3].into();
    link.run_for(Duration::from_secs(5));
    assert!(link.fates.is_empty());
    assert!(link.hosts[0].received.ends_with(b"227 (10,0"));
}

#[test]
fn a_partial_line_of_a_client_is_held_until_it_ends() {
    for (line, decision) in [
        ("PORT 10,0,0,2,4,5", "PORT expect"),
        ("PORT 192,0,2,9,4,5", "PORT third_party_address"),
    ] {
        let mut link = play_open(Topology::Routed, &[]);
        link.client_says(&[client(line).cut(&[9], Duration::from_secs(60))]);
        link.run_for(Duration::from_secs(59));
        assert!(link.hosts[1].received.ends_with(b"PASS secret\r\n"));
        link.run_for(Duration::from_secs(2));
        assert_eq!(decisions(&link), [decision]);
        let heard = String::from_utf8_lossy(&link.hosts[1].received).into_owned();
        assert_eq!(
            heard.ends_with(&format!("{line}\r\n")),
            decision == "PORT expect",
            "{heard}"
        );
    }
}

#[test]
fn an_endless_line_is_not_held() {
    let long = format!("PORT {}", " ".repeat(2 * LINE_MAX));
    let turns = [client(&long).cut(&[LINE_MAX - 1, LINE_MAX + 20], Duration::from_secs(20))];
    let mut link = play_open(Topology::Snat, &turns[..0]);
    link.client_says(&turns);
    link.run_for(Duration::from_secs(21));
    let received = link.hosts[1].received.len() - "USER ann\r\nPASS secret\r\n".len();
    assert!(received > LINE_MAX, "{received}");
}
