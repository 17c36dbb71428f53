//! The safe defaults: each refuses something, and passes it for the servers that
//! the operator names (`docs/defaults.md` lists all of them).

use std::time::Duration;

use ftp_alg::proto::flow::Settings;

use crate::{
    harness::{
        dialogue::{Script, Turn, after_login, client, server},
        link::Link,
        topology::Topology,
    },
    play::decisions,
};

const PASSIVE: &str = "227 =198,51,100,7,19,137";

/// The decisions with these settings, after a login.
fn decided(turns: &[Turn], settings: Settings) -> Vec<String> {
    let mut link = Link::new(settings);
    let script = Script::open(&after_login(turns));
    link.add(Topology::Routed.tuples(0), &script);
    link.run_for(Duration::from_millis(500));
    assert_eq!(link.faults(), Vec::<&String>::new());
    decisions(&link)
}

#[test]
fn an_unsolicited_227_opens_something_for_named_servers_only() {
    let settings = |network: &str| Settings {
        unsolicited_replies: vec![network.parse().unwrap()],
        ..Settings::default()
    };
    let turns = [client("NOOP"), server(PASSIVE)];
    for (network, decision) in [
        ("198.51.100.0/24", "PASV expect"),
        ("198.51.101.0/24", "PASV unsolicited_reply"),
    ] {
        assert_eq!(decided(&turns, settings(network)), [decision]);
    }
    // Text opens nothing for any server.
    let help = format!("214-help\r\n{PASSIVE}\r\n214 end");
    let turns = [client("HELP"), server(&help)];
    assert_eq!(decided(&turns, settings("0.0.0.0/0")), Vec::<String>::new());
    let turns = [client("NOOP"), server("227 =198,51,100,7,19,1370")];
    assert_eq!(decided(&turns, settings("0.0.0.0/0")), ["PASV malformed"]);
}

#[test]
fn after_epsv_all_other_announcements_open_something_for_named_servers_only() {
    let settings = |network: &str| Settings {
        after_epsv_all: vec![network.parse().unwrap()],
        ..Settings::default()
    };
    let promise = [client("EPSV ALL"), server("200 ok")];
    for (announcing, kind) in [
        ([client("PASV"), server(PASSIVE)], "PASV"),
        ([client("PORT 10,0,0,2,19,137"), server("200 ok")], "PORT"),
    ] {
        let turns = [&promise[..], &announcing[..]].concat();
        for (network, decision) in [("198.51.100.7", "expect"), ("10.0.0.2", "after_epsv_all")] {
            let expected = [format!("{kind} {decision}")];
            assert_eq!(decided(&turns, settings(network)), expected);
        }
    }
    let turns = [&promise[..], &[client("EPSV"), server("229 (|||5001|)")]].concat();
    assert_eq!(decided(&turns, Settings::default()), ["EPSV expect"]);
}

#[test]
fn no_exemption_lets_an_end_announce_like_the_other() {
    let everywhere = || vec!["0.0.0.0/0".parse().unwrap()];
    let settings = Settings {
        unsolicited_replies: everywhere(),
        after_epsv_all: everywhere(),
        unproven_servers: everywhere(),
        third_party_data: everywhere(),
        privileged_ports: everywhere(),
        ..Settings::default()
    };
    let turns = [
        client(PASSIVE),
        server("PORT 198,51,100,7,19,137"),
        server("500 what"),
    ];
    assert_eq!(decided(&turns, settings), Vec::<String>::new());
}
