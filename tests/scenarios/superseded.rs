//! A newer announcement takes an older one's place.

use crate::{
    harness::{
        dialogue::{client, server},
        topology::Topology,
    },
    told::{told_open, withdrawals},
};

#[test]
fn a_newer_announcement_replaces_the_older_one() {
    let turns = [
        client("PORT 10,0,0,2,19,137"),
        server("200 ok"),
        client("EPRT |1|10.0.0.2|5555|"),
        server("200 ok"),
    ];
    let link = told_open(Topology::Routed, &turns);
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
