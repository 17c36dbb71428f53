//! A full segment that grows is cut into two. It is not truncated, nor longer than the path allows.

use ftp_alg::proto::{flow::Settings, ftp::Role};

use crate::{
    harness::{
        dialogue::{Script, Turn},
        host::Config,
        link::{Ends, Fate, Link},
        topology::Topology,
    },
    play::session,
};

/// A burst that fills a segment of 536 bytes, with an announcement in it. The `lost`-th packet
/// is lost.
fn burst(lost: Option<usize>) -> Link {
    let mut text = format!("SITE {}\r\n", "x".repeat(251)).repeat(2);
    text.push_str("PORT 10,0,0,2,4,5\r\n");
    text.push_str(&"NOOP\r\n".repeat(40));
    let replies = |count| Turn::new(Role::Server, "200 ok\r\n".repeat(count));
    let mut link = Link::new(Settings::default());
    if let Some(lost) = lost {
        link.fates = vec![Fate::Pass; lost].into();
        link.fates.push_back(Fate::Drop);
    }
    let config = Config {
        mss: 536,
        ..Config::default()
    };
    let turns = [
        Turn::new(Role::Client, text),
        replies(3).ahead_of(40),
        replies(40),
    ];
    let script = Script::new(&session(&turns));
    link.add_with(Topology::Snat.tuples(0), Ends::alike(config), &script);
    link.run();
    link
}

#[test]
fn no_packet_is_longer_than_the_longest_of_its_sender() {
    let link = burst(None);
    let largest = link
        .delivered
        .iter()
        .map(|frame| frame.encode().len())
        .max();
    assert!(largest.is_some_and(|largest| largest <= 536 + 40 + 12));
    assert!(!link.kernel.injected.is_empty());
    let received = String::from_utf8_lossy(&link.hosts[1].received).into_owned();
    assert!(received.contains("x\r\nPORT 203,0,113,1,4,5\r\nNOOP\r\n"));
    assert_eq!(link.faults(), Vec::<&String>::new());
}

#[test]
fn each_packet_of_the_burst_may_be_lost() {
    for lost in 0..50 {
        let link = burst(Some(lost));
        assert_eq!(link.faults(), Vec::<&String>::new());
        assert_eq!(link.hosts[1].received.len(), 23 + 2 * 258 + 22 + 40 * 6 + 6);
    }
}
