//! Servers that announce their public address, or none at all.

use ftp_alg::proto::ftp::Role;

use crate::{
    harness::{
        dialogue::{client, server},
        topology::Topology,
    },
    play::{decisions, heard_by, play},
};

fn client_hears(topology: Topology, line: &str) -> String {
    let link = play(topology, &[client("PASV"), server(line)]);
    assert_eq!(decisions(&link), ["PASV expect"]);
    heard_by(Role::Client, &link)
}

#[test]
fn a_server_that_announces_its_public_address_is_left_alone() {
    let line = "227 Entering Passive Mode (203,0,113,1,19,137).";
    assert_eq!(client_hears(Topology::Dnat, line), format!("{line}\r\n"));
}

#[test]
fn a_zero_address_becomes_the_one_the_client_knows() {
    let line = "227 Entering Passive Mode (0,0,0,0,19,137).";
    assert!(client_hears(Topology::Dnat, line).contains("(203,0,113,1,19,137)"));
    assert!(client_hears(Topology::Routed, line).contains("(198,51,100,7,19,137)"));
}
