//! An end closes in the middle of a line that could have become an announcement.

use std::time::Duration;

use ftp_alg::proto::ftp::Role;

use crate::{
    harness::{
        dialogue::Turn,
        host::Step,
        link::{Fate, Link},
        topology::Topology,
    },
    play::play_open,
};

/// Sends a partial line and closes after `delay`. The `lost`-th packet from the end of the login on
/// is lost.
fn closes_after(delay: Duration, lost: Option<usize>) -> Link {
    let mut link = play_open(Topology::Snat, &[]);
    let begun = Turn::new(Role::Client, "PORT 10,0");
    link.client_says(&[begun]);
    link.hosts[0].script.push_back(Step {
        delay,
        closes: true,
        ..Step::default()
    });
    let now = link.now;
    let closes = Step {
        delay: Duration::from_secs(1),
        closes: true,
        ..Step::default()
    };
    link.server().say(vec![closes], now);
    if let Some(lost) = lost {
        link.fates = vec![Fate::Pass; lost].into();
        link.fates.push_back(Fate::Drop);
    }
    link.run();
    link
}

#[test]
fn the_beginning_of_a_line_arrives_with_the_fin() {
    for delay in [0, 3, 8, 100] {
        let link = closes_after(Duration::from_millis(delay), None);
        assert!(link.hosts[1].received.ends_with(b"PORT 10,0"));
        assert_eq!(link.faults(), Vec::<&String>::new());
        assert!(link.kernel.expected.is_empty());
    }
}

#[test]
fn the_beginning_of_a_line_arrives_also_if_a_packet_is_lost() {
    for delay in [0, 8, 100] {
        for lost in 0..20 {
            let link = closes_after(Duration::from_millis(delay), Some(lost));
            assert!(link.hosts[1].received.ends_with(b"PORT 10,0"));
            assert_eq!(link.faults(), Vec::<&String>::new());
        }
    }
}

#[test]
fn a_fin_beyond_a_gap_does_not_end_the_stream_before_it() {
    let mut link = play_open(Topology::Snat, &[]);
    let begun = Turn::new(Role::Client, "PORT 10,0");
    link.client_says(&[begun]);
    link.run_for(Duration::from_millis(100));
    link.client().send_odd(|frame| {
        frame.seq = frame.seq.wrapping_add(30);
        frame.flags |= crate::harness::frame::FIN;
    });
    link.run_for(Duration::from_millis(100));
    assert_eq!(link.faults(), Vec::<&String>::new());
    assert!(!link.hosts[1].has_heard_fin());
}
