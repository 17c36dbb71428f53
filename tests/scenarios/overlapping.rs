//! The same positions with other bytes: the first bytes count, here and for the receiver.

use std::time::Duration;

use crate::{
    harness::{
        dialogue::{client, server},
        link::Fate,
        topology::Topology,
    },
    play::{decisions, play_open},
};

#[test]
fn bytes_that_were_read_are_not_replaced_by_later_ones() {
    let mut link = play_open(Topology::Snat, &[]);
    let start = link.client().next_to_send();
    // The first segment is read, and lost behind the gateway.
    link.fates = [Fate::Pass, Fate::Drop].into();
    link.client().send_odd(|frame| {
        frame.payload = b"SITE harmless words\r\n".to_vec();
    });
    link.run_for(Duration::from_millis(3));
    link.client().send_odd(|frame| {
        frame.seq = start;
        frame.payload = b"PORT 10,0,0,2,19,13\r\nNOOP\r\n".to_vec();
    });
    link.run_for(Duration::from_millis(10));
    assert!(
        link.server()
            .received
            .ends_with(b"SITE harmless words\r\nNOOP\r\n")
    );
    assert_eq!(decisions(&link), Vec::<String>::new());
}

#[test]
fn an_announcement_over_bytes_that_have_left_opens_nothing() {
    let turns = [client("NOOP"), server("200 ok")];
    let mut link = play_open(Topology::Snat, &turns);
    let start = link.client().next_to_send();
    link.client().send_odd(|frame| {
        frame.payload = b"SITE ".to_vec();
    });
    link.run_for(Duration::from_millis(3));
    link.client().send_odd(|frame| {
        frame.seq = start;
        frame.payload = b"PORT 10,0,0,2,19,137\r\n".to_vec();
    });
    link.run_for(Duration::from_millis(10));
    assert!(
        link.server()
            .received
            .ends_with(b"SITE 10,0,0,2,19,137\r\n")
    );
    assert!(link.kernel.expected.is_empty());
}
