//! A retransmission leaves with the bytes of the first time, also when it is cut in another way.

use std::{collections::VecDeque, time::Duration};

use ftp_alg::proto::{flow::Settings, ftp::Role};

use crate::{
    harness::{
        dialogue::{Script, Turn, client, server},
        host::Config,
        link::{Ends, Fate, Link},
        topology::Topology,
    },
    play::{decisions, heard_by, session},
};

/// Loses the `lost`-th packet and sends it again in pieces of `recuts` bytes.
fn losing(lost: usize, recuts: &[u16]) -> Link {
    let port = Turn::new(
        Role::Client,
        "NOOP\r\nPORT 10,0,0,2,4,5\r\nEPRT |1|10.0.0.2|5005|\r\n",
    );
    let replies = [
        server("200 a").ahead_of(2),
        server("200 b").ahead_of(1),
        server("200 c"),
    ];
    let config = Config {
        recuts: VecDeque::from(recuts.to_vec()),
        ..Config::default()
    };
    let mut link = Link::new(Settings::default());
    link.fates = vec![Fate::Pass; lost].into();
    link.fates.push_back(Fate::Drop);
    let script = Script::new(&session(&[&[port], &replies[..]].concat()));
    link.add_with(
        Topology::Snat.tuples(0),
        Ends {
            client: config,
            server: Config::default(),
        },
        &script,
    );
    link.run();
    assert_eq!(link.faults(), Vec::<&String>::new());
    link
}

#[test]
fn a_lost_packet_is_repeated_and_announces_nothing_twice() {
    for lost in 0..60 {
        for recuts in [&[][..], &[7, 3, 9, 30], &[1; 40], &[45]] {
            let link = losing(lost, recuts);
            assert_eq!(
                heard_by(Role::Server, &link),
                "NOOP\r\nPORT 203,0,113,1,4,5\r\nEPRT |1|203.0.113.1|5005|\r\n"
            );
            assert_eq!(decisions(&link), ["PORT expect", "EPRT expect"]);
        }
    }
}

#[test]
fn a_repeated_segment_whose_bytes_were_forgotten_is_answered() {
    let turns = [
        client("PORT 10,0,0,2,4,5"),
        server("200 ok"),
        client("NOOP"),
        server("200 ok"),
    ];
    let mut link = crate::play::play_open(Topology::Snat, &turns);
    let start = link.client().next_to_send();
    let line = b"PORT 10,0,0,2,4,5\r\n";
    let back = (line.len() + "NOOP\r\n".len()) as u32;
    let heard = link.delivered.len();
    link.client().send_odd(|frame| {
        frame.seq = start.wrapping_sub(back);
        // Without its end, all of it is a forgotten edit.
        frame.payload = line[..line.len() - 2].to_vec();
    });
    link.run_for(Duration::from_millis(10));
    let answer = &link.delivered[heard..];
    assert!(
        answer.iter().any(|frame| frame.ack == start),
        "the client learns that all of it has arrived: {answer:?}"
    );
}
