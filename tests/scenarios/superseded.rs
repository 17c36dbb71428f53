//! A newer announcement supersedes an older one.

use crate::{
    harness::{
        dialogue::{client, server},
        topology::Topology,
    },
    play::{play_open, withdrawals},
};

#[test]
fn a_newer_announcement_replaces_the_older_one() {
    let turns = [
        client("PORT 10,0,0,2,19,137"),
        server("200 ok"),
        client("EPRT |1|10.0.0.2|5555|"),
        server("200 ok"),
    ];
    let link = play_open(Topology::Routed, &turns);
    assert_eq!(withdrawals(&link), ["superseded"]);
    let live: Vec<_> = link.kernel.live.keys().collect();
    assert_eq!(
        live,
        [&(
            "198.51.100.7".parse().unwrap(),
            "10.0.0.2:5555".parse().unwrap()
        )]
    );
}

#[test]
fn a_newer_announcement_replaces_all_that_a_pipelining_client_has_announced_before() {
    let pipelined = [
        client("PASV"),
        client("PORT 10,0,0,2,19,137").pipelined(),
        server("227 Entering Passive Mode (198,51,100,7,19,200)").ahead_of(1),
        server("200 ok"),
    ];
    let link = play_open(Topology::Routed, &pipelined);
    assert_eq!(link.kernel.live.len(), 2, "each answers its own command");
    let turns = [&pipelined[..], &[client("PORT 10,0,0,2,19,138")]].concat();
    let link = play_open(Topology::Routed, &turns);
    assert_eq!(withdrawals(&link), ["superseded"; 2]);
    let destinations: Vec<_> = link.kernel.live.keys().map(|key| key.1).collect();
    assert_eq!(destinations, ["10.0.0.2:5002".parse().unwrap()]);
}
