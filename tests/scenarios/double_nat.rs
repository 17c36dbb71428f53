//! SNAT and DNAT on one connection, and two ends in one network that meet at its outside address.

use ftp_alg::proto::ftp::Role;

use crate::{
    harness::{
        dialogue::{client, server},
        topology::Topology,
    },
    play::{heard_by, play, play_open},
};

#[test]
fn each_end_is_announced_by_the_address_that_its_peer_knows() {
    let turns = [
        client("PASV"),
        server("227 Entering Passive Mode (10,0,0,5,19,137)."),
        client("PORT 172,16,0,9,4,5"),
        server("200 ok"),
    ];
    let link = play(Topology::Double, &turns);
    assert!(heard_by(Role::Client, &link).contains("(203,0,113,1,19,137)"));
    assert!(heard_by(Role::Server, &link).contains("PORT 10,0,0,1,"));
    let [passive, active] = link.kernel.expected[..] else {
        panic!("{:?}", link.kernel.expected);
    };
    assert_eq!(
        passive.source,
        "172.16.0.9".parse::<std::net::IpAddr>().unwrap()
    );
    assert!(passive.has_translated_source() && passive.has_translated_destination());
    assert_eq!(
        active.source,
        "10.0.0.5".parse::<std::net::IpAddr>().unwrap()
    );
    assert!(active.has_translated_source() && active.has_translated_destination());
}

#[test]
fn a_hairpin_connection_is_translated_too() {
    let turns = [
        client("PASV"),
        server("227 Entering Passive Mode (10,0,0,5,19,137)."),
    ];
    let link = play_open(Topology::Hairpin, &turns);
    assert!(heard_by(Role::Client, &link).contains("(203,0,113,1,19,137)"));
    assert_eq!(
        link.kernel.admits(
            "10.0.0.2".parse().unwrap(),
            "203.0.113.1:5001".parse().unwrap()
        ),
        Some("10.0.0.5:5001".parse().unwrap())
    );
}
