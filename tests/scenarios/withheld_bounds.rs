//! Bytes are withheld for a bounded time and up to a bounded number.

use std::time::Duration;

use ftp_alg::proto::{action::EventKind, flow::WITHHOLD_MAX, stream::LINE_MAX};

use crate::{
    harness::{
        dialogue::{client, server},
        link::Fate,
        topology::Topology,
    },
    told::{decisions, told, told_open},
};

#[test]
fn a_line_that_does_not_end_leaves_unread_after_ten_seconds() {
    let turns = [
        client("PORT 10,0,0,2,4,5").cut(&[9], WITHHOLD_MAX + Duration::from_secs(1)),
        server("500 late"),
    ];
    let link = told(Topology::Snat, &turns);
    assert!(
        link.kernel
            .event_kinds()
            .contains(&EventKind::WithholdExpired)
    );
    assert_eq!(decisions(&link), Vec::<String>::new());
    let received = String::from_utf8_lossy(&link.hosts[1].received).into_owned();
    assert!(received.contains("PORT 10,0,0,2,4,5\r\n"), "{received}");
}

#[test]
fn what_left_unread_is_sent_again_until_it_arrives_although_its_sender_forgot_it() {
    let turns = [client("PORT 10,0,0,2,4,5").cut(&[9], Duration::from_secs(60))];
    let mut link = told_open(Topology::Snat, &turns[..0]);
    link.client_says(&turns);
    link.run_for(WITHHOLD_MAX - Duration::from_secs(1));
    assert!(link.hosts[1].received.ends_with(b"PASS secret\r\n"));
    link.fates = vec![Fate::Drop; 3].into();
    link.run_for(Duration::from_secs(5));
    assert!(link.fates.is_empty());
    assert!(link.hosts[1].received.ends_with(b"PORT 10,0"));
}

#[test]
fn an_endless_line_is_not_withheld() {
    let long = format!("PORT {}", " ".repeat(2 * LINE_MAX));
    let turns = [client(&long).cut(&[LINE_MAX - 1, LINE_MAX + 20], Duration::from_secs(20))];
    let mut link = told_open(Topology::Snat, &turns[..0]);
    link.client_says(&turns);
    link.run_for(Duration::from_secs(21));
    let received = link.hosts[1].received.len() - "USER ann\r\nPASS secret\r\n".len();
    assert!(received > LINE_MAX, "{received}");
}
