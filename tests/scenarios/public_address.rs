//! A gateway that stands behind another translation (`nat.public`): a cloud's 1:1 NAT, or a second
//! router. What leaves has the address that the world sees, and what is expected is what arrives.
//!
//! The twin is FTP bounce (RFC 2577 §3): a client that names a public address which is not its own.

use std::net::{IpAddr, SocketAddr};

use ftp_alg::proto::{
    flow::Settings,
    ftp::Role,
    net::{Direction, PublicAddresses},
};

use crate::{
    harness::{
        dialogue::{Script, Turn, after_login, client, server},
        link::Link,
        topology::Topology,
    },
    play::{decisions, heard_by},
};

/// In all of these deployments 203.0.113.1 is the gateway's outside address.
const OUTSIDE: &str = "203.0.113.1";
const PUBLIC: &str = "192.0.2.200";

fn play(topology: Topology, turns: &[Turn], public: &str) -> Link {
    let pair: [IpAddr; 2] = [OUTSIDE, public].map(|address| address.parse().unwrap());
    let mut link = Link::new(Settings {
        public: PublicAddresses::new([pair.into()]),
        ..Settings::default()
    });
    link.add(topology.tuples(0), &Script::open(&after_login(turns)));
    link.run_for(std::time::Duration::from_millis(500));
    assert_eq!(link.faults(), Vec::<&String>::new());
    link
}

#[test]
fn the_port_of_a_client_leaves_with_the_public_address_and_comes_to_the_outside_one() {
    for announced in ["10,0,0,2", "192,0,2,200", "203,0,113,1", "0,0,0,0"] {
        let turns = [
            client(&format!("PORT {announced},195,80")),
            server("200 ok"),
        ];
        let link = play(Topology::Snat, &turns, PUBLIC);
        assert_eq!(decisions(&link), ["PORT expect"], "{announced}");
        assert_eq!(heard_by(Role::Server, &link), "PORT 192,0,2,200,195,80\r\n");
        let its_server = Topology::Snat.tuples(0).sender(Direction::Reply).ip();
        let [outside, public]: [SocketAddr; 2] =
            [OUTSIDE, PUBLIC].map(|at| format!("{at}:50000").parse().unwrap());
        let inside = "10.0.0.2:50000".parse().unwrap();
        assert_eq!(link.kernel.admits(its_server, outside), Some(inside));
        assert_eq!(link.kernel.admits(its_server, public), None);
    }
}

#[test]
fn the_227_of_a_server_leaves_with_the_public_address_and_comes_to_the_outside_one() {
    for announced in [
        "10,0,0,5",
        "192,0,2,200",
        "203,0,113,1",
        "0,0,0,0",
        "10,9,9,9",
    ] {
        let line = format!("227 Entering Passive Mode ({announced},195,80).");
        let link = play(Topology::Dnat, &[client("PASV"), server(&line)], PUBLIC);
        assert_eq!(decisions(&link), ["PASV expect"], "{announced}");
        assert!(heard_by(Role::Client, &link).contains("(192,0,2,200,195,80)"));
        let its_client = Topology::Dnat.tuples(0).sender(Direction::Original).ip();
        let outside = format!("{OUTSIDE}:50000").parse().unwrap();
        let inside = "10.0.0.5:50000".parse().unwrap();
        assert_eq!(link.kernel.admits(its_client, outside), Some(inside));
    }
}

#[test]
fn a_client_on_this_side_of_the_outer_router_reads_the_address_that_it_has_dialled() {
    for topology in [Topology::Double, Topology::Hairpin] {
        let line = "227 Entering Passive Mode (192,0,2,200,195,80).";
        let link = play(topology, &[client("PASV"), server(line)], PUBLIC);
        assert_eq!(decisions(&link), ["PASV expect"], "{topology:?}");
        assert!(heard_by(Role::Client, &link).contains("(203,0,113,1,195,80)"));
    }
}

#[test]
fn the_public_address_of_nobody_here_is_a_third_host_in_a_port_command() {
    let port = "PORT 192,0,2,200,195,80";
    let turns = [client(port), server("200 ok")];
    // Without the key, and with another address in it: the line asks for a connection to a host
    // that may be anybody's.
    for public in ["192.0.2.201", "192.0.2.1"] {
        let link = play(Topology::Snat, &turns, public);
        assert_eq!(decisions(&link), ["PORT third_party_address"]);
        assert_eq!(link.kernel.expected, []);
        assert!(!heard_by(Role::Server, &link).contains("PORT"));
    }
    // The key names the public address of 203.0.113.1, and this client has another address.
    let link = play(Topology::SnatShorter, &turns, PUBLIC);
    assert_eq!(decisions(&link), ["PORT third_party_address"]);
    assert_eq!(link.kernel.expected, []);
}
