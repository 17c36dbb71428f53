//! A partial line is acknowledged locally, because its sender may wait under Nagle's algorithm.

use std::time::Duration;

use ftp_alg::proto::{flow::LOCAL_ACK_DELAY, flow::Settings};

use crate::{
    harness::{
        dialogue::{Script, after_login, client, server},
        frame::{ACK, Frame},
        host::Config,
        link::{Ends, Link},
        topology::Topology,
    },
    play::play_open,
};

/// The client has sent the beginning of PORT, and `wait` has passed.
fn after_a_beginning(has_timestamps: bool, wait: Duration) -> Link {
    let mut link = Link::new(Settings::default());
    let config = Config {
        has_timestamps,
        ..Config::default()
    };
    let ends = Ends::alike(config);
    let script = Script::open(&after_login(&[]));
    link.add_with(Topology::Snat.tuples(0), ends, &script);
    link.run_for(Duration::from_secs(2));
    let turns = [client("PORT 10,0,0,2,19,137").cut(&[9], Duration::from_secs(5))];
    link.client_says(&turns);
    link.run_for(Duration::from_millis(1) + wait);
    link
}

#[test]
fn the_local_acknowledgement_is_like_one_of_the_receiver() {
    for has_timestamps in [true, false] {
        let mut link = after_a_beginning(has_timestamps, Duration::from_millis(20));
        let [ack] = &link.kernel.injected.clone()[..] else {
            panic!("{:?}", link.kernel.injected);
        };
        let sent = link.client().next_to_send();
        let sample: Vec<&Frame> = link
            .delivered
            .iter()
            .filter(|frame| frame.destination == ack.destination && !frame.payload.is_empty())
            .collect();
        let last = sample.last().expect("a segment of the server");
        assert_eq!(
            (ack.source, ack.destination),
            (last.source, last.destination)
        );
        assert_eq!(ack.seq, last.seq.wrapping_add(last.payload.len() as u32));
        assert_eq!((ack.ack, ack.flags, ack.payload.len()), (sent, ACK, 0));
        assert_eq!(ack.window, last.window);
        assert_eq!(ack.timestamps.is_some(), has_timestamps);
        assert!(link.client().is_acknowledged(), "the sender believes it");
        assert!(link.server().received.ends_with(b"PASS secret\r\n"));
    }
}

#[test]
fn a_line_is_acknowledged_locally_after_the_delay_and_once() {
    let link = after_a_beginning(true, LOCAL_ACK_DELAY - Duration::from_millis(1));
    assert_eq!(link.kernel.injected.len(), 0);
    let link = after_a_beginning(true, Duration::from_secs(4));
    assert_eq!(link.kernel.injected.len(), 1);
}

#[test]
fn a_connection_that_cannot_be_set_liberal_is_not_acknowledged_locally_but_goes_on() {
    let script = Script::open(&after_login(&[]));
    let mut link = Link::of_script(Topology::Snat.tuples(0), &script);
    link.kernel.refuses_liberal = true;
    link.run_for(Duration::from_millis(100));
    let nagle = [
        client("PORT 10,0,0,2,19,137").cut(&[9], Duration::from_millis(1)),
        server("200 ok"),
    ];
    link.hosts[0].config.has_nagle = true;
    link.client_says(&nagle);
    link.run_for(Duration::from_secs(2));
    assert_eq!(link.kernel.injected.len(), 0);
    assert!(
        link.server()
            .received
            .ends_with(b"PORT 10,0,0,2,19,137\r\n")
    );
}

#[test]
fn an_unsolicited_reply_is_not_held() {
    let turns = [
        client("NOOP"),
        server("227 =198,51,100,7,19,137").cut(&[2], Duration::from_millis(100)),
    ];
    let link = play_open(Topology::Snat, &turns);
    assert!(!link.kernel.is_liberal(&Topology::Snat.tuples(0)));
    assert_eq!(link.kernel.injected.len(), 0);
}
