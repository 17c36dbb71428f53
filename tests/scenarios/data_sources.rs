//! Servers that connect from another of their addresses (`policy.data_sources`).
//!
//! The twin is whoever else connects to the announced port (RFC 2577 §4).

use std::net::{IpAddr, SocketAddr};

use ftp_alg::proto::{flow::Settings, net::Direction};

use crate::{
    harness::{
        dialogue::{Script, Turn, after_login, client, server},
        link::Link,
        topology::Topology,
    },
    play::decisions,
};

fn play(topology: Topology, turns: &[Turn], networks: &[&str]) -> Link {
    let mut link = Link::new(Settings {
        data_sources: networks.iter().map(|one| one.parse().unwrap()).collect(),
        ..Settings::default()
    });
    link.add(topology.tuples(0), &Script::open(&after_login(turns)));
    link.run_for(std::time::Duration::from_millis(500));
    assert_eq!(link.faults(), Vec::<&String>::new());
    link
}

fn admitted(link: &Link, sources: &[&str], to: SocketAddr) -> Vec<bool> {
    let admits = |source: &&str| link.kernel.admits(source.parse().unwrap(), to).is_some();
    sources.iter().map(admits).collect()
}

#[test]
fn a_server_in_a_named_network_connects_from_any_address_of_it_and_no_other() {
    let turns = [client("PORT 10,0,0,2,195,80"), server("200 ok")];
    for topology in [Topology::Routed, Topology::Snat] {
        let link = play(topology, &turns, &["198.51.100.0/24", "198.51.100.4/30"]);
        assert_eq!(decisions(&link), ["PORT expect"]);
        let one = link.kernel.expected[0];
        // Its client knows it by one address.
        let known: IpAddr = "198.51.100.7".parse().unwrap();
        assert_eq!(one.translated_source, known);
        let others = [
            "198.51.100.7",
            "198.51.100.4",
            "198.51.100.5",
            "198.51.100.8",
            "192.0.2.9",
        ];
        let wanted = [true, true, true, false, false];
        assert_eq!(
            admitted(&link, &others, one.destination),
            wanted,
            "{topology:?}"
        );
    }
}

#[test]
fn a_server_outside_the_named_networks_connects_from_its_own_address_alone() {
    let turns = [client("PORT 10,0,0,2,195,80"), server("200 ok")];
    let link = play(Topology::Snat, &turns, &["198.51.100.8/29"]);
    let one = link.kernel.expected[0];
    assert_eq!(one.source_prefix, None);
    let sources = ["198.51.100.7", "198.51.100.6", "198.51.100.9"];
    assert_eq!(
        admitted(&link, &sources, one.destination),
        [true, false, false]
    );
}

#[test]
fn the_neighbours_of_a_client_may_not_use_its_passive_connection() {
    let line = "227 Entering Passive Mode (198,51,100,7,195,80).";
    let link = play(
        Topology::Routed,
        &[client("PASV"), server(line)],
        &["10.0.0.0/24"],
    );
    let one = link.kernel.expected[0];
    assert_eq!(
        one.source,
        Topology::Routed.tuples(0).sender(Direction::Original).ip()
    );
    assert_eq!(
        admitted(&link, &["10.0.0.2", "10.0.0.3"], one.destination),
        [true, false]
    );
}
