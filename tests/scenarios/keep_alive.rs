//! Keep-alives change nothing, with and without a byte of garbage (RFC 1122 §4.2.3.6).

use std::time::Duration;

use ftp_alg::proto::{flow::Settings, ftp::Role};

use crate::{
    harness::{
        dialogue::{Script, client, server},
        host::Config,
        link::{Ends, Link},
        topology::Topology,
    },
    play::{decisions, heard_by, session},
};

#[test]
fn keep_alives_between_and_within_lines_are_answered_and_change_nothing() {
    for keeps_alive_with_byte in [false, true] {
        let config = Config {
            keep_alive: Some(Duration::from_millis(50)),
            keeps_alive_with_byte,
            ..Config::default()
        };
        let gap = Duration::from_millis(400);
        let turns = [
            client("PORT 10,0,0,2,4,5").cut(&[3, 12], gap),
            server("200 ok"),
            client("PASV").cut(&[3], gap),
            server("227 =198,51,100,7,19,137").cut(&[3, 12], gap),
        ];
        let mut link = Link::new(Settings::default());
        let ends = Ends::alike(config);
        link.add_with(
            Topology::Snat.tuples(0),
            ends,
            &Script::new(&session(&turns)),
        );
        link.run();
        assert_eq!(link.faults(), Vec::<&String>::new());
        assert_eq!(decisions(&link), ["PORT expect", "PASV expect"]);
        assert_eq!(
            heard_by(Role::Server, &link),
            "PORT 203,0,113,1,4,5\r\nPASV\r\n"
        );
    }
}
