//! Each announcement leaves in one spelling, with NAT or without.

use ftp_alg::proto::ftp::Role;

use crate::{
    harness::{
        dialogue::{client, server},
        topology::Topology,
    },
    play::{decisions, heard_by, play},
};

#[test]
fn an_announcement_of_a_client_without_nat_leaves_in_the_canonical_spelling() {
    for line in [
        "port 10,0,0,2,19,137",
        "  PORT   10,0,0,2,19,137 ",
        "PORT 10,0,0,2,19,137",
    ] {
        let link = play(Topology::Routed, &[client(line), server("200 ok")]);
        assert_eq!(decisions(&link), ["PORT expect"], "{line}");
        assert_eq!(heard_by(Role::Server, &link), "PORT 10,0,0,2,19,137\r\n");
    }
    let line = "EPRT !1!10.0.0.2!5001!";
    let link = play(Topology::Routed, &[client(line), server("200 ok")]);
    assert_eq!(heard_by(Role::Server, &link), "EPRT |1|10.0.0.2|5001|\r\n");
}

#[test]
fn an_announcement_of_a_server_without_nat_leaves_in_its_own_length() {
    for (line, heard) in [
        (
            "227 Entering Passive Mode (198,51,100,7,19,137).",
            "227 Entering Passive Mode (198,51,100,7,19,137).",
        ),
        (
            "227 Entering Passive Mode 198,51,100,7,19,137",
            "227 Entering Passive    (198,51,100,7,19,137)",
        ),
        // Without words there is no room for parentheses.
        ("227 =198,51,100,7,19,137", "227 =198,51,100,7,19,137"),
        ("227 198,51,100,7,19,137", "227 198,51,100,7,19,137"),
        ("227(198,51,100,7,19,137)", "227(198,51,100,7,19,137)"),
        (
            "227 Entering (198, 51, 100, 7, 019, 137)",
            "227 Entering       (198,51,100,7,19,137)",
        ),
    ] {
        let link = play(Topology::Routed, &[client("PASV"), server(line)]);
        assert_eq!(decisions(&link), ["PASV expect"], "{line}");
        assert_eq!(heard_by(Role::Client, &link), format!("{heard}\r\n"));
    }
}
