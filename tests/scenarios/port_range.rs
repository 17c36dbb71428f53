//! Outside ports: a configured range, shared by all sessions.

use std::{collections::HashSet, time::Duration};

use ftp_alg::proto::flow::Settings;

use crate::{
    harness::{
        dialogue::{Script, after_login, client, server},
        link::Link,
        topology::Topology,
    },
    play::decisions,
};

/// This many clients behind one address, each with one announcement.
fn sessions(count: u16, ports: std::ops::RangeInclusive<u16>) -> Link {
    let mut link = Link::new(Settings {
        ports,
        ..Settings::default()
    });
    let turns = after_login(&[client("PORT 10,0,0,2,19,137"), server("200 ok")]);
    for nth in 0..count {
        link.add(Topology::Snat.tuples(nth), &Script::open(&turns));
        link.run_for(Duration::from_millis(100));
    }
    link
}

#[test]
fn two_sessions_never_share_an_outside_endpoint() {
    let link = sessions(50, 1024..=65_535);
    let outside: HashSet<_> = link
        .kernel
        .expected
        .iter()
        .map(|expectation| expectation.destination)
        .collect();
    assert_eq!(outside.len(), 50);
}

#[test]
fn a_range_of_ten_serves_ten_sessions_and_refuses_the_eleventh() {
    let link = sessions(11, 10_000..=10_009);
    let mut wanted = vec!["PORT expect"; 10];
    wanted.push("PORT no_free_port");
    assert_eq!(decisions(&link), wanted);
    assert!(
        link.hosts[21]
            .received
            .ends_with(b"NOOP                \r\n"),
        "the refused line does not reach the server"
    );
}

#[test]
fn a_session_that_ends_frees_its_port() {
    let mut link = sessions(10, 10_000..=10_009);
    link.hosts[0].abort();
    link.run_for(Duration::from_millis(10));
    let turns = after_login(&[client("PORT 10,0,0,2,19,137"), server("200 ok")]);
    link.add(Topology::Snat.tuples(10), &Script::open(&turns));
    link.run_for(Duration::from_millis(100));
    assert_eq!(decisions(&link), ["PORT expect"; 11]);
}

#[test]
fn a_newer_announcement_of_a_session_needs_no_second_port() {
    let mut link = Link::new(Settings {
        ports: 10_000..=10_000,
        ..Settings::default()
    });
    let turns = after_login(&[
        client("PORT 10,0,0,2,19,137"),
        server("200 ok"),
        client("PORT 10,0,0,2,19,138"),
        server("200 ok"),
    ]);
    link.add(Topology::Snat.tuples(0), &Script::open(&turns));
    link.run_for(Duration::from_millis(100));
    assert_eq!(decisions(&link), ["PORT expect", "PORT expect"]);
}

#[test]
fn a_port_whose_line_cannot_be_rewritten_is_released() {
    let mut link = Link::new(Settings {
        ports: 10_000..=10_000,
        ..Settings::default()
    });
    let turns = after_login(&[
        client("PORT 0,0,0,0,19,137"),
        server("500 no"),
        client("EPRT |2|fd00::2|5001|"),
        server("200 ok"),
    ]);
    link.add(Topology::Snat6.tuples(0), &Script::open(&turns));
    link.run_for(Duration::from_millis(100));
    assert_eq!(
        decisions(&link),
        ["PORT third_party_address", "EPRT expect"]
    );
}
