//! Segments far from the next expected byte are never read.

use std::time::Duration;

use crate::{
    harness::{
        dialogue::{client, server},
        topology::Topology,
    },
    play::{decisions, play_open},
};

#[test]
fn an_announcement_far_ahead_or_long_ago_opens_nothing() {
    for distance in [
        1,
        100,
        1 << 20,
        1 << 30,
        u32::MAX - 100,
        u32::MAX - (1 << 30),
    ] {
        let turns = [client("NOOP"), server("200 ok")];
        let mut link = play_open(Topology::Snat, &turns);
        link.client().send_odd(|frame| {
            frame.seq = frame.seq.wrapping_add(distance);
            frame.payload = b"PORT 10,0,0,2,19,137\r\n".to_vec();
        });
        link.run_for(Duration::from_millis(10));
        assert_eq!(decisions(&link), Vec::<String>::new(), "{distance}");
        assert!(link.server().received.ends_with(b"NOOP\r\n"));
    }
}

#[test]
fn a_forged_acknowledgement_from_afar_does_not_make_a_connection_lose_sync() {
    let turns = [client("PORT 10,0,0,2,4,5"), server("200 ok")];
    let mut link = play_open(Topology::Snat, &turns);
    for (host, forged_seq) in [(0, 1 << 30), (1, 1 << 29)] {
        link.hosts[host].send_odd(|frame| {
            frame.seq = frame.seq.wrapping_add(forged_seq);
            frame.ack = frame.ack.wrapping_add(1 << 20);
            frame.payload = b"x".to_vec();
        });
    }
    link.run_for(Duration::from_millis(10));
    assert!(!link.kernel.has_lost_sync());
}
