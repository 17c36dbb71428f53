//! Data connections that come late because the server is at work: mainframes recall tapes, and say
//! 125 meanwhile. The announcement stays open for as long as the server says 1yz of its transfer.
//!
//! The twin is a pinhole that anybody keeps open for good.

use std::time::Duration;

use ftp_alg::proto::flow::Settings;

use crate::{
    harness::{
        dialogue::{Script, after_login, client, server},
        link::Link,
        topology::Topology,
    },
    play::withdrawals,
};

const TIMEOUT: Duration = Duration::from_secs(60);

fn after_port() -> Link {
    let mut link = Link::new(Settings {
        expectation_timeout: TIMEOUT,
        ..Settings::default()
    });
    let turns = after_login(&[
        client("PORT 10,0,0,2,195,80"),
        server("200 ok"),
        client("RETR 'A.B'"),
    ]);
    link.add(Topology::Snat.tuples(0), &Script::open(&turns));
    link.run_for(Duration::from_millis(500));
    link
}

fn is_open(link: &Link) -> bool {
    let server = "198.51.100.7".parse().unwrap();
    let outside = "203.0.113.1:50000".parse().unwrap();
    link.kernel.admits(server, outside).is_some()
}

#[test]
fn an_announcement_stays_open_while_the_server_says_1yz_of_its_transfer() {
    let mut link = after_port();
    for minute in 0..10 {
        link.server_says(&[server("125-Waiting for the recall of A.B")]);
        link.run_for(Duration::from_secs(55));
        assert!(is_open(&link), "after {minute} lines");
    }
    link.run_for(Duration::from_secs(10));
    assert!(!is_open(&link), "a timeout after the last of them");
    assert_eq!(withdrawals(&link), ["expired"]);
}

#[test]
fn without_1yz_it_closes_after_its_timeout() {
    let mut link = after_port();
    link.run_for(TIMEOUT - Duration::from_secs(2));
    assert!(is_open(&link));
    link.run_for(Duration::from_secs(3));
    assert!(!is_open(&link));
}

#[test]
fn no_server_keeps_it_open_for_more_than_an_hour() {
    let mut link = after_port();
    for _ in 0..70 {
        link.server_says(&[server("125-Waiting for the recall of A.B")]);
        link.run_for(Duration::from_secs(55));
    }
    assert!(!is_open(&link));
}

#[test]
fn a_1yz_that_answers_no_transfer_keeps_nothing_open() {
    let mut link = after_port();
    link.server_says(&[server("226 done")]);
    link.run_for(Duration::from_millis(50));
    link.client_says(&[client("PORT 10,0,0,2,195,81"), client("NOOP")]);
    link.run_for(Duration::from_millis(50));
    link.server_says(&[server("200 ok")]);
    let outside = "203.0.113.1:50001".parse().unwrap();
    let its_server = "198.51.100.7".parse().unwrap();
    for _ in 0..3 {
        link.server_says(&[server("120 wait")]);
        link.run_for(Duration::from_secs(19));
        assert!(link.kernel.admits(its_server, outside).is_some());
    }
    link.server_says(&[server("120 wait")]);
    link.run_for(Duration::from_secs(10));
    assert_eq!(link.kernel.admits(its_server, outside), None);
}

/// A 150 comes with every transfer, and a transaction of the kernel for each would cost too much.
#[test]
fn a_1yz_that_comes_at_once_or_behind_the_data_connection_renews_nothing() {
    let mut link = after_port();
    let until = |link: &Link| link.kernel.live.values().next().map(|(_, until)| *until);
    let before = until(&link);
    link.server_says(&[server("150 here it comes")]);
    link.run_for(Duration::from_millis(50));
    assert_eq!(until(&link), before);
    let connection = ftp_alg::proto::net::Tuple::new(
        "198.51.100.7:20".parse().unwrap(),
        "203.0.113.1:50000".parse().unwrap(),
    );
    let now = link.now;
    assert!(link.kernel.dial(connection, 1, now).is_some());
    link.run_for(Duration::from_secs(30));
    link.server_says(&[server("150-half of it")]);
    link.run_for(Duration::from_secs(1));
    assert!(!is_open(&link), "a used pinhole is not opened again");
}
