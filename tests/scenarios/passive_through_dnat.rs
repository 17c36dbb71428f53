//! A server behind a port-forward announces its private address.

use ftp_alg::proto::ftp::Role;

use crate::{
    harness::{
        dialogue::{client, server},
        topology::Topology,
    },
    play::{heard_by, play, play_open},
};

#[test]
fn a_227_names_the_address_the_client_connected_to_and_keeps_its_length() {
    let line = "227 Entering Passive Mode (10,0,0,5,19,137).";
    let link = play(Topology::Dnat, &[client("PASV"), server(line)]);
    let heard = heard_by(Role::Client, &link);
    assert!(heard.contains("(203,0,113,1,19,137)"), "{heard}");
    assert_eq!(heard.trim_end().len(), line.len());
}

#[test]
fn a_227_without_words_to_spare_grows() {
    let turns = [client("PASV"), server("227 =10,0,0,5,4,5")];
    let link = play(Topology::Dnat, &turns);
    assert_eq!(heard_by(Role::Client, &link), "227 (203,0,113,1,4,5)\r\n");
}

#[test]
fn a_229_with_a_port_of_the_range_passes_unchanged() {
    let line = "229 Entering Extended Passive Mode (|||5001|)";
    let link = play(Topology::Dnat, &[client("EPSV"), server(line)]);
    assert_eq!(heard_by(Role::Client, &link), format!("{line}\r\n"));
}

#[test]
fn the_data_connection_to_the_outside_endpoint_reaches_the_server() {
    let turns = [
        client("PASV"),
        server("227 Entering Passive Mode (10,0,0,5,19,137)."),
    ];
    let link = play_open(Topology::Dnat, &turns);
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
