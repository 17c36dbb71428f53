//! A server behind a port-forward announces its private address (DESIGN.md §1, third row).

use ftp_alg::proto::ftp::Role;

use crate::{
    harness::{
        dialogue::{client, server},
        topology::Topology,
    },
    told::{heard_by, told, told_open},
};

#[test]
fn a_227_names_the_address_the_client_connected_to_and_keeps_its_length() {
    let said = "227 Entering Passive Mode (10,0,0,5,19,137).";
    let link = told(Topology::Dnat, &[client("PASV"), server(said)]);
    let heard = heard_by(Role::Client, &link);
    assert!(heard.contains("(203,0,113,1,19,137)"), "{heard}");
    assert_eq!(heard.trim_end().len(), said.len());
}

#[test]
fn a_227_without_words_to_spare_grows() {
    let turns = [client("PASV"), server("227 =10,0,0,5,4,5")];
    let link = told(Topology::Dnat, &turns);
    assert_eq!(heard_by(Role::Client, &link), "227 (203,0,113,1,4,5)\r\n");
}

#[test]
fn a_229_with_a_port_of_the_range_passes_unchanged() {
    let said = "229 Entering Extended Passive Mode (|||5001|)";
    let link = told(Topology::Dnat, &[client("EPSV"), server(said)]);
    assert_eq!(heard_by(Role::Client, &link), format!("{said}\r\n"));
}

#[test]
fn the_data_connection_is_let_in_at_the_outside_endpoint_and_sent_to_the_server() {
    let turns = [
        client("PASV"),
        server("227 Entering Passive Mode (10,0,0,5,19,137)."),
    ];
    let link = told_open(Topology::Dnat, &turns);
    let outside = "203.0.113.1:5001".parse().unwrap();
    let client = "198.51.100.99".parse().unwrap();
    assert_eq!(
        link.kernel.admits(client, outside),
        Some("10.0.0.5:5001".parse().unwrap())
    );
    assert_eq!(
        link.kernel
            .admits("198.51.100.98".parse().unwrap(), outside),
        None,
        "nobody else"
    );
}
