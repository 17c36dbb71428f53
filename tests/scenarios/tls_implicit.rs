//! Implicit FTPS: a connection that begins with TLS, on a port of `implicit_ports`.

use std::{net::SocketAddr, time::Duration};

use ftp_alg::proto::{
    event::EventKind,
    flow::Settings,
    ftp::Role,
    ftps::TlsSettings,
    net::{Direction, Tuple},
};

use crate::{
    harness::{
        dialogue::{Script, Turn, client, server},
        link::{Fate, Link},
        topology::Topology,
    },
    play::decisions,
};

const TOPOLOGY: Topology = Topology::Dnat;

fn settings(implicit_ports: &[u16]) -> Settings {
    Settings {
        tls: TlsSettings {
            ports: Some(50_000..=50_009),
            at_once: 2,
            implicit_ports: implicit_ports.to_vec(),
            ..TlsSettings::default()
        },
        ..Settings::default()
    }
}

fn hello() -> [Turn; 2] {
    let record = |bytes: &[u8]| Turn::new(Role::Client, bytes.to_vec()).pipelined();
    [
        record(b"\x16\x03\x01\x07\x00\x01 a long hello"),
        record(b"and its second half"),
    ]
}

fn play(settings: Settings, turns: &[Turn], answer: &[u8]) -> Link {
    let mut link = Link::new(settings);
    link.add(TOPOLOGY.tuples(0), &Script::open(turns));
    link.run_for(Duration::from_millis(20));
    link.server_says(&[Turn::new(Role::Server, answer.to_vec())]);
    link.run_for(Duration::from_millis(20));
    assert_eq!(link.faults(), Vec::<&String>::new());
    link
}

fn dial(link: &mut Link) -> Option<SocketAddr> {
    let original = TOPOLOGY.tuples(0).of(Direction::Original);
    let tuple = Tuple::new(
        SocketAddr::new(original.source.ip(), 3000),
        SocketAddr::new(original.destination.ip(), 50_001),
    );
    let now = link.now;
    link.kernel.dial(tuple, 1, now)
}

#[test]
fn a_connection_on_which_both_begin_with_tls_is_left_alone_and_has_its_grant() {
    // The client dialled port 21, and the server listens on port 2121.
    for port in [21, 2121] {
        let mut link = play(settings(&[port]), &hello(), b"\x16\x03\x03\x00\x7a\x02");
        assert!(link.kernel.is_opaque(&TOPOLOGY.tuples(0)));
        assert!(dial(&mut link).is_some());
        link.client().send_odd(|frame| frame.flags = 0x04);
        link.run_for(Duration::from_millis(10));
        assert!(link.kernel.granted.is_empty());
    }
}

#[test]
fn a_hello_whose_halves_come_in_the_wrong_order_is_recognised() {
    let mut link = play(settings(&[21]), &[], b"");
    link.fates = [Fate::Delay(5)].into();
    link.client_says(&hello());
    link.run_for(Duration::from_millis(20));
    link.fates = [Fate::Delay(5)].into();
    let answer = |bytes: &[u8]| Turn::new(Role::Server, bytes.to_vec()).pipelined();
    link.server_says(&[answer(b"\x16\x03\x03\x00\x7a\x02"), answer(b" more")]);
    link.run_for(Duration::from_millis(500));
    assert!(link.kernel.is_opaque(&TOPOLOGY.tuples(0)));
    assert!(dial(&mut link).is_some());
    assert!(link.server().received.ends_with(b"and its second half"));
    assert!(link.client().received.ends_with(b" more"));
}

#[test]
fn a_session_whose_server_does_not_answer_with_tls_has_no_grant_and_is_not_read() {
    for answer in [&b"220 hello\r\n"[..], b"\x15\x03\x01\x00\x02\x02\x28"] {
        let mut link = play(settings(&[21]), &hello(), answer);
        assert!(link.kernel.is_opaque(&TOPOLOGY.tuples(0)));
        assert!(link.kernel.granted.is_empty());
        assert_eq!(dial(&mut link), None);
    }
}

#[test]
fn on_any_other_control_port_tls_is_no_ftp() {
    let link = play(settings(&[990]), &hello(), b"\x16\x03\x03\x00\x7a\x02");
    assert!(link.kernel.granted.is_empty());
    assert!(!link.kernel.is_opaque(&TOPOLOGY.tuples(0)));
}

#[test]
fn clear_ftp_on_a_port_for_tls_is_read() {
    let turns = [
        server("220 hello"),
        client("USER ann"),
        server("230 welcome"),
        client("PASV"),
        server("227 =10,0,0,5,19,137"),
    ];
    let link = play(settings(&[21]), &turns, b"");
    assert_eq!(decisions(&link), ["PASV expect"]);
}

/// An attacker whose server a browser visits knows the keys, and chooses the bytes of the browser.
/// So the ciphertext can be any text.
#[test]
fn text_like_a_command_on_an_implicit_connection_is_never_read() {
    let mut link = play(settings(&[21]), &hello(), b"\x16\x03\x03\x00\x7a\x02");
    for _ in 0..2 {
        link.client_says(&[client("PORT 198,51,100,99,19,137")]);
        link.run_for(Duration::from_millis(10));
        link.server_says(&[server("200 ok")]);
        link.run_for(Duration::from_millis(10));
        // A restarted daemon knows only the mark of the connection, and does not read it either.
        link.kernel.restart(settings(&[21]));
    }
    assert_eq!(decisions(&link), Vec::<String>::new());
    assert!(!link.kernel.event_kinds().contains(&EventKind::Readable));
    assert!(link.kernel.is_opaque(&TOPOLOGY.tuples(0)));
}
