//! The timeouts of expectations and of flows.

use std::time::Duration;

use crate::{
    harness::{
        dialogue::{client, server},
        topology::Topology,
    },
    play::{play_open, withdrawals},
};

#[test]
fn an_unused_expectation_is_withdrawn_after_its_time_and_not_before() {
    let turns = [client("PORT 10,0,0,2,19,137"), server("200 ok")];
    let mut link = play_open(Topology::Routed, &turns);
    link.run_for(Duration::from_secs(299));
    assert_eq!(link.kernel.live.len(), 1);
    link.run_for(Duration::from_secs(2));
    assert_eq!(link.kernel.live.len(), 0);
    assert_eq!(withdrawals(&link), ["expired"]);
}

#[test]
fn a_connection_without_offset_is_forgotten_after_three_silent_hours() {
    let turns = [client("NOOP"), server("200 ok")];
    let mut link = play_open(Topology::Routed, &turns);
    link.run_for(Duration::from_secs(3 * 3600 - 1));
    assert_eq!(link.kernel.alg.flow_count(), 1);
    link.run_for(Duration::from_secs(2));
    assert_eq!(link.kernel.alg.flow_count(), 0);
}

#[test]
fn a_connection_with_an_offset_is_kept_as_long_as_conntrack_keeps_it() {
    let turns = [client("PORT 10,0,0,2,4,5"), server("200 ok")];
    let mut link = play_open(Topology::Snat, &turns);
    link.run_for(Duration::from_secs(4 * 24 * 3600));
    assert_eq!(link.kernel.alg.flow_count(), 1);
}
