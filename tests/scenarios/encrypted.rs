//! After AUTH TLS no line is read (RFC 4217).

use ftp_alg::proto::{event::EventKind, ftp::Role};

use crate::{
    harness::{
        dialogue::{Turn, client, server},
        topology::Topology,
    },
    play::{decisions, play, play_open},
};

#[test]
fn after_an_accepted_auth_the_connection_is_left_alone() {
    let turns = [
        client("AUTH TLS"),
        server("234 go on"),
        client("PORT 10,0,0,2,19,137"),
        server("200 ok"),
    ];
    let link = play_open(Topology::Snat, &turns);
    assert!(link.kernel.is_opaque(&Topology::Snat.tuples(0)));
    assert_eq!(decisions(&link), Vec::<String>::new());
    assert!(
        link.hosts[1]
            .received
            .ends_with(b"PORT 10,0,0,2,19,137\r\n")
    );
}

#[test]
fn a_connection_with_an_offset_stays_in_the_queue_and_passes() {
    let turns = [
        client("PORT 10,0,0,2,4,5"),
        server("200 ok"),
        client("AUTH TLS"),
        server("234 go on"),
        Turn::new(Role::Client, b"\x16\x03\x01PORT \x00\xff\n".to_vec()),
        Turn::new(Role::Server, b"\x16\x03\x01227 \x00\xff\n".to_vec()),
    ];
    let link = play(Topology::Snat, &turns);
    assert!(!link.kernel.is_opaque(&Topology::Snat.tuples(0)));
    assert_eq!(decisions(&link), ["PORT expect"]);
    assert!(link.kernel.event_kinds().contains(&EventKind::Opaque));
}

#[test]
fn a_refused_auth_changes_nothing() {
    let turns = [
        client("AUTH TLS"),
        server("504 no"),
        client("PORT 10,0,0,2,19,137"),
        server("200 ok"),
    ];
    assert_eq!(decisions(&play(Topology::Snat, &turns)), ["PORT expect"]);
}

#[test]
fn an_auth_that_is_accepted_in_other_words_is_encrypted_once_the_client_begins_so() {
    let hello = Turn::new(Role::Client, b"\x16\x03\x01PORT \x00\xff\n".to_vec());
    for (auth, answer, is_opaque) in [
        (
            "AUTH TLS",
            "200 AUTH command ok; starting SSL connection",
            true,
        ),
        ("AUTH SSL", "334 go on", true),
        ("AUTH GSSAPI", "334 ADAT=", false),
        ("AUTH TLS", "500 what", false),
    ] {
        let turns = [client(auth), server(answer), hello.clone()];
        let link = play_open(Topology::Snat, &turns);
        let found = link.kernel.event_kinds().contains(&EventKind::Opaque);
        assert_eq!(found, is_opaque, "{auth} {answer}");
    }
}

#[test]
fn words_of_a_client_that_are_no_tls_are_read_on() {
    let port = [client("PORT 10,0,0,2,19,137"), server("200 ok")];
    for answer in ["200 ok", "334 go on"] {
        let turns = [&[client("AUTH TLS"), server(answer)], &port[..]].concat();
        assert_eq!(
            decisions(&play(Topology::Snat, &turns)),
            ["PORT expect"],
            "{answer}"
        );
    }
}
