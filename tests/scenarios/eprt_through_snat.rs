//! A client behind NAT announces its private address in the extended form (RFC 2428 §2).

use ftp_alg::proto::ftp::Role;

use crate::{
    harness::{
        dialogue::{client, server},
        topology::Topology,
    },
    play::{heard_by, play},
};

fn server_hears(topology: Topology, announced: &str, outgoing: &str) {
    let link = play(topology, &[client(announced), server("200 ok")]);
    assert_eq!(heard_by(Role::Server, &link), format!("{outgoing}\r\n"));
    assert_eq!(link.kernel.expected.len(), 1);
}

#[test]
fn ipv4_in_the_extended_form_is_rewritten_with_the_usual_delimiter() {
    server_hears(
        Topology::SnatShorter,
        "EPRT !1!192.168.100.200!5001!",
        "EPRT |1|9.9.9.9|5001|",
    );
}

#[test]
fn ipv6_is_rewritten() {
    server_hears(
        Topology::Snat6,
        "EPRT |2|fd00::2|50001|",
        "EPRT |2|2001:db8::1|50001|",
    );
}

#[test]
fn ipv6_without_nat_passes_unchanged_and_is_expected() {
    server_hears(
        Topology::Routed6,
        "EPRT |2|2001:db8:a::2|5001|",
        "EPRT |2|2001:db8:a::2|5001|",
    );
}
