//! Servers that name an address which is not their own: a private one, loopback, or that of a
//! router further out. Today's clients connect to the server that they talk to (curl's
//! `--ftp-skip-pasv-ip`, Python's ftplib), and so the gateway opens that server's port.
//!
//! The twin is a server that would have the gateway open a third host (RFC 2577).

use std::net::{IpAddr, SocketAddr};

use ftp_alg::proto::{event::EventKind, ftp::Role, net::Direction};

use crate::{
    harness::{
        dialogue::{client, server},
        link::Link,
        topology::Topology,
    },
    play::{decisions, heard_by, play_open},
};

const FOREIGN: [&str; 5] = [
    "10,0,0,7",
    "127,0,0,1",
    "192,168,77,7",
    "203,0,113,250",
    "255,255,255,255",
];

/// The addresses of other hosts in whose place a server was taken.
fn misnamed(link: &Link) -> Vec<IpAddr> {
    let reports = link.kernel.events.iter().filter_map(|event| {
        let EventKind::Announcement(report) = &event.kind else {
            return None;
        };
        let named = report.endpoint.map(|(address, _)| address);
        named.filter(|_| report.is_misnamed)
    });
    reports.collect()
}

#[test]
fn the_server_of_the_control_connection_is_meant_and_the_client_reads_its_address() {
    for topology in [
        Topology::Routed,
        Topology::Snat,
        Topology::Dnat,
        Topology::Double,
    ] {
        for named in FOREIGN {
            let line = format!("227 Entering Passive Mode ({named},19,137).");
            let link = play_open(topology, &[client("PASV"), server(&line)]);
            assert_eq!(decisions(&link), ["PASV expect"], "{topology:?} {named}");
            let address: IpAddr = named.replace(',', ".").parse().unwrap();
            assert_eq!(misnamed(&link), [address]);
            let tuples = topology.tuples(0);
            let dialled = tuples.of(Direction::Original).destination.ip();
            let its_own = SocketAddr::new(tuples.sender(Direction::Reply).ip(), 5001);
            let its_client = tuples.sender(Direction::Original).ip();
            let outside = link.kernel.expected[0].destination;
            assert_eq!(outside.ip(), dialled);
            assert_eq!(link.kernel.admits(its_client, outside), Some(its_own));
            let text = format!("({},19,137)", dialled.to_string().replace('.', ","));
            assert!(heard_by(Role::Client, &link).contains(&text));
        }
    }
}

#[test]
fn nothing_opens_towards_the_named_host_nor_from_it() {
    for topology in [Topology::Routed, Topology::Snat, Topology::Dnat] {
        let line = "227 Entering Passive Mode (192,0,2,9,19,137).";
        let link = play_open(topology, &[client("PASV"), server(line)]);
        let third: SocketAddr = "192.0.2.9:5001".parse().unwrap();
        let tuples = topology.tuples(0);
        let [its_client, its_server] = Direction::BOTH.map(|end| tuples.sender(end).ip());
        for source in [its_client, its_server, third.ip()] {
            assert_eq!(link.kernel.admits(source, third), None);
        }
        let towards = |one: &&ftp_alg::proto::expect::Expectation| {
            one.translated_destination.ip() == third.ip() || one.source == third.ip()
        };
        assert_eq!(link.kernel.expected.iter().find(towards), None);
        let dialled = SocketAddr::new(tuples.of(Direction::Original).destination.ip(), 5001);
        assert_eq!(link.kernel.admits(third.ip(), dialled), None);
        assert_eq!(link.kernel.admits(its_server, dialled), None);
    }
}

#[test]
fn a_privileged_port_opens_nothing_whatever_address_is_named() {
    for named in ["198,51,100,7", "192,0,2,9"] {
        let line = format!("227 Entering Passive Mode ({named},0,22).");
        let link = play_open(Topology::Routed, &[client("PASV"), server(&line)]);
        assert_eq!(decisions(&link), ["PASV privileged_port"]);
        assert_eq!(link.kernel.expected, []);
    }
}

#[test]
fn a_foreign_227_that_nobody_asked_for_opens_nothing() {
    let line = "227 Entering Passive Mode (192,0,2,9,19,137).";
    let link = play_open(Topology::Routed, &[client("NOOP"), server(line)]);
    assert_eq!(decisions(&link), ["PASV unsolicited_reply"]);
    assert_eq!(link.kernel.expected, []);
}

#[test]
fn a_228_is_taken_like_a_227() {
    let line = "228 Entering Long Passive Mode (4,4,10,0,0,7,2,19,137)";
    let link = play_open(Topology::Snat, &[client("LPSV"), server(line)]);
    assert_eq!(decisions(&link), ["LPSV expect"]);
    assert!(heard_by(Role::Client, &link).contains("(4,4,198,51,100,7,2,19,137)"));
}

/// The client of an IPv6 connection can use the port alone. The address is its server's.
#[test]
fn a_227_over_ipv6_opens_its_port_at_the_server_and_names_no_other_host() {
    for topology in [Topology::Routed6, Topology::Snat6] {
        for named in ["0,0,0,0", "10,0,0,7"] {
            let line = format!("227 Entering Passive Mode ({named},195,80).");
            let link = play_open(topology, &[client("PASV"), server(&line)]);
            assert_eq!(decisions(&link), ["PASV expect"], "{topology:?} {named}");
            let tuples = topology.tuples(0);
            let its_own = SocketAddr::new(tuples.sender(Direction::Reply).ip(), 50_000);
            let its_client = tuples.sender(Direction::Original).ip();
            assert_eq!(link.kernel.admits(its_client, its_own), Some(its_own));
            assert!(heard_by(Role::Client, &link).contains("(0,0,0,0,195,80)"));
        }
    }
}
