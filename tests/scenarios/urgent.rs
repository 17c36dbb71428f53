//! ABOR with Telnet's synch (RFC 959 §4.1.3): the urgent pointer keeps pointing at its byte.

use std::time::Duration;

use ftp_alg::proto::ftp::Role;

use crate::{
    harness::{
        dialogue::{Turn, client, server},
        topology::Topology,
    },
    play::play,
};

#[test]
fn the_urgent_pointer_follows_its_byte_through_an_offset() {
    let synch = Turn::new(Role::Client, b"\xff\xf4\xff\xf2".to_vec()).urgent();
    let turns = [
        client("PORT 10,0,0,2,4,5"),
        server("200 ok"),
        synch,
        client("ABOR").cut(&[2], Duration::from_millis(5)),
        server("226 ok"),
    ];
    let mut link = play(Topology::Snat, &turns);
    let server = link.server();
    let mark = server
        .received
        .windows(4)
        .position(|four| four == b"\xff\xf4\xff\xf2");
    assert_eq!(server.urgent_received, mark.map(|at| at as u32 + 4));
}

#[test]
fn an_urgent_byte_within_a_line_is_read_like_any_other() {
    // A server whose system removes urgent bytes would read PORT.
    let turns = [
        Turn::new(Role::Client, b"POx".to_vec()).urgent(),
        client("RT 192,0,2,9,4,5").pipelined(),
        server("500 what"),
    ];
    let mut link = play(Topology::Routed, &turns);
    let server = link.server();
    assert_eq!(server.urgent_received, None);
    assert!(
        server
            .received
            .ends_with(b"POxRT 192,0,2,9,4,5\r\nQUIT\r\n")
    );
}
