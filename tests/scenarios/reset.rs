//! An RST that its receiver accepts withdraws the pinholes.

use std::time::Duration;

use ftp_alg::proto::ftp::Role;

use crate::{
    harness::{
        dialogue::{Turn, client, server},
        frame::{PSH, RST},
        topology::Topology,
    },
    play::{play_open, withdrawals},
};

#[test]
fn a_reset_withdraws_and_passes() {
    let turns = [client("PORT 10,0,0,2,4,5"), server("200 ok")];
    let mut link = play_open(Topology::Snat, &turns);
    link.server().abort();
    link.run_for(Duration::from_millis(10));
    assert!(link.client().was_reset);
    assert_eq!(withdrawals(&link), ["closed"]);
}

#[test]
fn a_reset_behind_a_held_line_has_the_number_that_its_receiver_accepts() {
    for wait in [2, 100] {
        let mut link = play_open(Topology::Snat, &[]);
        let begun = Turn::new(Role::Client, "PORT 10,0");
        link.client_says(&[begun]);
        link.run_for(Duration::from_millis(wait));
        link.client().abort();
        link.run_for(Duration::from_millis(10));
        assert!(link.server().was_reset);
    }
}

#[test]
fn a_reset_with_a_wrong_number_keeps_it() {
    let mut link = play_open(Topology::Snat, &[]);
    let begun = Turn::new(Role::Client, "PORT 10,0");
    link.client_says(&[begun]);
    link.run_for(Duration::from_millis(100));
    link.client().send_odd(|frame| {
        frame.seq = frame.seq.wrapping_add(1000);
        frame.flags = RST | (frame.flags & !PSH);
    });
    link.run_for(Duration::from_millis(10));
    assert!(!link.server().was_reset);
}
