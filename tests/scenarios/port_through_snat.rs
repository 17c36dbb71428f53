//! A client behind NAT announces its private address (PORT, RFC 959).

use ftp_alg::proto::ftp::Role;

use crate::{
    harness::{
        dialogue::{client, server},
        topology::Topology,
    },
    play::{heard_by, play},
};

fn server_hears(topology: Topology, announced: &str, outgoing: &str) {
    let port = client(&format!("PORT {announced}"));
    let turns = [port, server("200 ok"), client("NOOP"), server("200 ok")];
    let link = play(topology, &turns);
    assert_eq!(
        heard_by(Role::Server, &link),
        format!("PORT {outgoing}\r\nNOOP\r\n")
    );
}

#[test]
fn a_longer_address_makes_the_line_longer_and_nothing_else_changes() {
    server_hears(Topology::Snat, "10,0,0,2,4,5", "203,0,113,1,4,5");
}

#[test]
fn a_shorter_address_makes_the_line_shorter_and_nothing_else_changes() {
    server_hears(
        Topology::SnatShorter,
        "192,168,100,200,19,137",
        "9,9,9,9,19,137",
    );
}

#[test]
fn an_address_of_the_same_length_keeps_the_announced_port() {
    server_hears(
        Topology::SnatSameLength,
        "10,0,0,2,19,137",
        "10,9,9,9,19,137",
    );
}

#[test]
fn the_announced_port_is_kept_wherever_it_is_free() {
    server_hears(Topology::Snat, "10,0,0,2,19,137", "203,0,113,1,19,137");
}

#[test]
fn a_port_that_rests_gives_way_to_one_that_keeps_the_length() {
    let port = || client("PORT 10,0,0,2,19,137");
    let transfer = || [client("LIST"), server("150 here"), server("226 done")];
    let turns: Vec<_> = [port(), server("200 ok")]
        .into_iter()
        .chain(transfer())
        .chain([port(), server("200 ok")])
        .chain(transfer())
        .collect();
    let link = play(Topology::Snat, &turns);
    assert_eq!(
        heard_by(Role::Server, &link),
        "PORT 203,0,113,1,19,137\r\nLIST\r\nPORT 203,0,113,1,4,0\r\nLIST\r\n"
    );
}
