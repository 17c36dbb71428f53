//! Every announcement leaves in one spelling, NAT or not; what can be read in two ways does not leave.

use ftp_alg::proto::ftp::Role;

use crate::{
    harness::{
        dialogue::{client, server},
        topology::Topology,
    },
    told::{decisions, heard_by, told},
};

#[test]
fn what_a_client_announces_without_nat_leaves_in_the_canonical_spelling() {
    for said in [
        "port 10,0,0,2,19,137",
        "  PORT   10,0,0,2,19,137 ",
        "PORT 10,0,0,2,19,137",
    ] {
        let link = told(Topology::Routed, &[client(said), server("200 ok")]);
        assert_eq!(decisions(&link), ["PORT expect"], "{said}");
        assert_eq!(heard_by(Role::Server, &link), "PORT 10,0,0,2,19,137\r\n");
    }
    let said = "EPRT !1!10.0.0.2!5001!";
    let link = told(Topology::Routed, &[client(said), server("200 ok")]);
    assert_eq!(heard_by(Role::Server, &link), "EPRT |1|10.0.0.2|5001|\r\n");
}

#[test]
fn what_a_server_announces_without_nat_leaves_in_parentheses_and_its_own_words() {
    for (said, heard) in [
        (
            "227 Entering Passive Mode (198,51,100,7,19,137).",
            "227 Entering Passive Mode (198,51,100,7,19,137).",
        ),
        (
            "227 Entering Passive Mode 198,51,100,7,19,137",
            "227 Entering Passive    (198,51,100,7,19,137)",
        ),
        ("227 =198,51,100,7,19,137", "227 (198,51,100,7,19,137)"),
    ] {
        let link = told(Topology::Routed, &[client("PASV"), server(said)]);
        assert_eq!(decisions(&link), ["PASV expect"], "{said}");
        assert_eq!(heard_by(Role::Client, &link), format!("{heard}\r\n"));
    }
}
