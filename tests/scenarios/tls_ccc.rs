//! An encrypted control connection that goes back to clear text (CCC, RFC 4217 §12) is read again.

use std::time::Duration;

use ftp_alg::proto::{event::EventKind, flow::Settings, ftp::Role, ftps::TlsSettings};

use crate::{
    harness::{
        dialogue::{Script, Turn, after_login, client, server},
        link::Link,
        topology::Topology,
    },
    play::decisions,
};

fn settings() -> Settings {
    Settings {
        tls: TlsSettings {
            ports: Some(50_000..=50_009),
            at_once: 2,
            ..TlsSettings::default()
        },
        ..Settings::default()
    }
}

/// TLS records. One of the segments begins like text.
fn records(from: Role) -> [Turn; 3] {
    let record = |bytes: &[u8]| Turn::new(from, bytes.to_vec()).pipelined();
    [
        record(b"\x16\x03\x03\x01\x00\xff\x00\x80 and so on"),
        record(b"PORT 10,0,0,2,19,137 and on it goes\x00"),
        record(b"\x15\x03\x03\x00\x1a\xff\x00\x80 close_notify"),
    ]
}

/// Plays `before`, a part in TLS, and `after` in clear text.
fn play(topology: Topology, before: &[Turn], after: &[Turn]) -> Link {
    play_with(settings(), topology, before, after)
}

fn play_with(settings: Settings, topology: Topology, before: &[Turn], after: &[Turn]) -> Link {
    let mut turns = after_login(before);
    turns.extend([client("AUTH TLS"), server("234 go on")]);
    let mut link = Link::new(settings);
    link.add(topology.tuples(0), &Script::open(&turns));
    link.run_for(Duration::from_millis(100));
    for role in [Role::Client, Role::Server] {
        for turn in records(role) {
            match role {
                Role::Client => link.client_says(&[turn]),
                Role::Server => link.server_says(&[turn]),
            }
            link.run_for(Duration::from_millis(10));
        }
    }
    assert!(!link.kernel.event_kinds().contains(&EventKind::Readable));
    for turn in after {
        let turn = turn.clone().pipelined();
        match turn.from {
            Role::Client => link.client_says(&[turn]),
            Role::Server => link.server_says(&[turn]),
        }
        link.run_for(Duration::from_millis(10));
    }
    assert_eq!(link.faults(), Vec::<&String>::new());
    link
}

#[test]
fn the_first_clear_announcement_of_the_server_opens_and_the_grant_is_over() {
    for (topology, passive) in [
        (Topology::Snat, "227 =198,51,100,7,19,137"),
        (Topology::Dnat, "227 =10,0,0,5,19,137"),
        (Topology::Routed, "227 =198,51,100,7,19,137"),
    ] {
        let link = play(topology, &[], &[client("PASV"), server(passive)]);
        assert_eq!(decisions(&link), ["PASV expect"], "{topology:?}");
        assert!(link.kernel.event_kinds().contains(&EventKind::Readable));
        assert!(!link.kernel.is_opaque(&topology.tuples(0)));
        assert!(link.kernel.granted.is_empty());
    }
}

/// An attacker who knows the keys can make the client send ciphertext that looks like a command.
#[test]
fn an_announcement_of_the_client_after_ccc_opens_something_for_named_servers_only() {
    let after = [client("PORT 10,0,0,2,19,137"), server("200 ok")];
    let link = play(Topology::Snat, &[], &after);
    assert_eq!(decisions(&link), ["PORT after_tls"]);
    assert_eq!(link.kernel.expected, []);
    let mut named = settings();
    named.unproven_servers = vec!["198.51.100.7".parse().unwrap()];
    let mut link = play_with(named, Topology::Snat, &[], &after);
    assert_eq!(decisions(&link), ["PORT expect"]);
    assert_eq!(link.kernel.expected.len(), 1);
    let heard = String::from_utf8_lossy(&link.server().received).into_owned();
    assert!(heard.contains("PORT 203,0,113,1,"), "{heard}");
}

#[test]
fn a_connection_with_an_offset_is_read_again_where_it_is() {
    let before = [client("PORT 10,0,0,2,4,5"), server("200 ok")];
    let after = [
        client("EPSV"),
        server("229 (|||5001|)"),
        client("PORT 10,0,0,2,4,6"),
        server("200 ok"),
    ];
    let mut named = settings();
    named.unproven_servers = vec!["198.51.100.7".parse().unwrap()];
    let mut link = play_with(named, Topology::Snat, &before, &after);
    assert_eq!(
        decisions(&link),
        ["PORT expect", "EPSV expect", "PORT expect"]
    );
    let heard = String::from_utf8_lossy(&link.server().received).into_owned();
    assert_eq!(heard.matches("PORT 203,0,113,1,").count(), 2, "{heard}");
}

#[test]
fn a_line_that_is_no_known_command_or_has_not_ended_is_no_clear_text() {
    for line in [&b"zzzz 1\r\n"[..], b"PASV", b"0123456789\n", b"227 =1\r\n"] {
        let turn = Turn::new(Role::Client, line.to_vec());
        let mut link = play(Topology::Snat, &[], &[turn]);
        assert!(link.kernel.is_opaque(&Topology::Snat.tuples(0)), "{line:?}");
        assert!(link.server().received.ends_with(line));
    }
}

#[test]
fn the_server_alone_cannot_make_it_readable() {
    let after = [server("227 =198,51,100,7,19,137"), server("200 ok")];
    let link = play(Topology::Snat, &[], &after);
    assert_eq!(decisions(&link), Vec::<String>::new());
    assert!(link.kernel.is_opaque(&Topology::Snat.tuples(0)));
}
