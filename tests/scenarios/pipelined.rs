//! Commands and replies that share segments.

use ftp_alg::proto::{flow::Settings, ftp::Role};

use crate::{
    harness::{
        dialogue::{Script, Turn, client, server},
        link::Link,
        topology::Topology,
    },
    play::{decisions, heard_by, play, session, withdrawals},
};

#[test]
fn an_announcement_in_the_middle_of_a_burst_is_found() {
    let burst = "NOOP\r\nPORT 10,0,0,2,4,5\r\nNOOP\r\n";
    let turns = [
        Turn::new(Role::Client, burst),
        Turn::new(Role::Server, "200 a\r\n200 b\r\n200 c\r\n"),
    ];
    let link = play(Topology::Snat, &turns);
    assert_eq!(
        heard_by(Role::Server, &link),
        "NOOP\r\nPORT 203,0,113,1,4,5\r\nNOOP\r\n"
    );
}

#[test]
fn several_replies_in_a_segment_are_all_read() {
    let turns = [
        Turn::new(Role::Client, "NOOP\r\nPASV\r\nEPSV\r\n"),
        Turn::new(
            Role::Server,
            "200 ok\r\n227 =10,0,0,5,19,137\r\n229 ok (|||5002|)\r\n",
        ),
    ];
    let link = play(Topology::Dnat, &turns);
    assert_eq!(decisions(&link), ["PASV expect", "EPSV expect"]);
}

#[test]
fn the_end_of_a_transfer_does_not_withdraw_the_announcement_for_the_next() {
    let turns = [
        client("PORT 10,0,0,2,4,5"),
        server("200 ok"),
        client("RETR a"),
        client("PORT 10,0,0,2,4,6").pipelined(),
        server("150 here"),
        server("226 done"),
        server("200 ok"),
        client("RETR b"),
        server("150 here"),
    ];
    let settings = Settings {
        max_per_session: 2,
        ..Settings::default()
    };
    let mut link = Link::new(settings);
    link.add(Topology::Routed.tuples(0), &Script::new(&session(&turns)));
    link.run_while(|link| !String::from_utf8_lossy(&link.hosts[1].received).contains("RETR b"));
    assert_eq!(withdrawals(&link), ["finished"]);
    assert!(
        link.kernel
            .admits(
                "198.51.100.7".parse().unwrap(),
                "10.0.0.2:1030".parse().unwrap()
            )
            .is_some(),
        "{:?}",
        link.kernel.live
    );
}
