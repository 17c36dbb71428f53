//! Transfers between two servers (FXP, RFC 959 §5.2): a client announces the endpoint of one server
//! to the other. It is refused, unless `policy.third_party_data` has the host of the endpoint.

use std::{net::SocketAddr, time::Duration};

use ftp_alg::proto::{flow::Settings, ftp::Role, net::Direction, session::OUTSTANDING_MAX};

use crate::{
    harness::{
        dialogue::{Script, Turn, client, server},
        link::Link,
        topology::Topology,
    },
    play::{decisions, heard_by, play_open, session},
};

/// 192.0.2.9:5001 is on neither end of the control connection.
const PORT: &str = "PORT 192,0,2,9,19,137";
const OTHER: &str = "192.0.2.9:5001";

fn play_with(topology: Topology, turns: &[Turn], listed: &str) -> Link {
    let mut link = Link::new(Settings {
        third_party_data: vec![listed.parse().unwrap()],
        ..Settings::default()
    });
    link.add(
        topology.tuples(0),
        &Script::open(&session(turns)[..5 + turns.len()]),
    );
    link.run_for(Duration::from_millis(500));
    assert_eq!(link.faults(), Vec::<&String>::new());
    link
}

#[test]
fn a_client_may_announce_an_exempt_host_to_its_server_and_only_that_server_may_connect() {
    let other: SocketAddr = OTHER.parse().unwrap();
    for topology in [Topology::Routed, Topology::Snat, Topology::Dnat] {
        let link = play_with(topology, &[client(PORT), server("200 ok")], "192.0.2.0/24");
        assert_eq!(decisions(&link), ["PORT expect"], "{topology:?}");
        assert_eq!(heard_by(Role::Server, &link), format!("{PORT}\r\n"));
        let tuples = topology.tuples(0);
        let (its_client, its_server) = (
            tuples.sender(Direction::Original).ip(),
            tuples.sender(Direction::Reply).ip(),
        );
        assert_eq!(link.kernel.admits(its_server, other), Some(other));
        assert_eq!(link.kernel.admits(its_client, other), None);
        assert_eq!(link.kernel.expected[0].translated_source, {
            // The third host sees the server's public address.
            tuples.sender_seen_by_peer(Direction::Reply).ip()
        });
    }
}

#[test]
fn a_server_may_announce_an_exempt_host_to_its_client() {
    let passive = "227 =192,0,2,9,19,137";
    let link = play_with(
        Topology::Routed,
        &[client("PASV"), server(passive)],
        "192.0.2.9",
    );
    assert_eq!(decisions(&link), ["PASV expect"]);
    let other = OTHER.parse().unwrap();
    let its_client = "10.0.0.2".parse().unwrap();
    assert_eq!(link.kernel.admits(its_client, other), Some(other));
    let its_server = "198.51.100.7".parse().unwrap();
    assert_eq!(link.kernel.admits(its_server, other), None);
}

#[test]
fn the_announcement_of_any_other_host_is_refused_and_does_not_reach_the_server() {
    let link = play_with(
        Topology::Routed,
        &[client(PORT), server("200 ok")],
        "192.0.2.8/31",
    );
    assert_eq!(decisions(&link), ["PORT expect"]);
    let link = play_with(
        Topology::Routed,
        &[client(PORT), server("200 ok")],
        "192.0.2.10/31",
    );
    assert_eq!(decisions(&link), ["PORT third_party_address"]);
    assert_eq!(link.kernel.expected, []);
    let nothing = format!("NOOP{}\r\n", " ".repeat(PORT.len() - 4));
    assert_eq!(heard_by(Role::Server, &link), nothing);
    assert_eq!(heard_by(Role::Client, &link), "550 No\r\n");
}

#[test]
fn a_privileged_port_of_an_exempt_host_is_refused() {
    let turns = [client("PORT 192,0,2,9,0,22"), server("200 ok")];
    let link = play_with(Topology::Routed, &turns, "192.0.2.0/24");
    assert_eq!(decisions(&link), ["PORT privileged_port"]);
}

#[test]
fn an_announcement_behind_more_commands_than_are_tracked_does_not_reach_the_server_either() {
    let noops = "NOOP\r\n".repeat(OUTSTANDING_MAX);
    let heard_after = |announced: &str| {
        let all = format!("{noops}{announced}\r\n");
        let mut link = play_open(Topology::Routed, &[]);
        link.client_says(&[Turn::new(Role::Client, all)]);
        link.run_for(Duration::from_millis(100));
        let heard = String::from_utf8_lossy(&link.hosts[1].received).into_owned();
        (heard.contains("PORT"), link.hosts[1].was_reset)
    };
    assert_eq!(heard_after(PORT), (false, true));
    assert_eq!(heard_after("PORT 10,0,0,2,0,22"), (false, true));
    assert_eq!(heard_after("PORT 10,0,0,2,19,137"), (true, false));
}
