//! Packets that passed unseen, because the queue failed open.

use std::time::Duration;

use ftp_alg::proto::{
    event::{Event, EventKind, LossCause},
    flow::CLOSED_MAX,
    ftp::Role,
};

use crate::{
    harness::{
        dialogue::{Script, Turn, client, server},
        link::Link,
        topology::Topology,
    },
    play::{decisions, play_open, session},
};

/// The daemon sees nothing between the first and the second of `lines` at the server.
fn unseen_between(lines: [&str; 2], turns: &[Turn]) -> Link {
    let mut link = Link::of_script(Topology::Snat.tuples(0), &Script::new(&session(turns)));
    for (line, is_absent) in lines.into_iter().zip([true, false]) {
        link.run_while(|link| !link.hosts[1].received.ends_with(line.as_bytes()));
        link.kernel.is_absent = is_absent;
    }
    link.run();
    assert_eq!(link.faults(), Vec::<&String>::new());
    assert!(link.kernel.has_lost_sync());
    link
}

#[test]
fn the_connection_is_read_again_from_the_next_line_on() {
    let turns = [
        client("NOOP"),
        server("200 ok"),
        client("SYST"),
        server("215 UNIX"),
        client("PORT 10,0,0,2,4,5"),
        server("200 ok"),
    ];
    let link = unseen_between(["NOOP\r\n", "SYST\r\n"], &turns);
    assert_eq!(decisions(&link), ["PORT expect"]);
}

#[test]
fn a_long_reply_that_passed_unseen_does_not_stop_the_server() {
    let listing = "211-x\r\n".repeat(400) + "211 end\r\n";
    let turns = [
        client("STAT"),
        Turn::new(Role::Server, listing).cut(&[10, 1500, 2700], Duration::from_millis(20)),
        client("NOOP"),
        server("200 ok"),
    ];
    let mut link = Link::of_script(Topology::Snat.tuples(0), &Script::new(&session(&turns)));
    link.run_while(|link| link.hosts[0].received.len() < 40);
    link.kernel.is_absent = true;
    link.run_while(|link| link.hosts[0].received.len() < 1500);
    link.kernel.is_absent = false;
    link.run();
    assert!(link.hosts[0].received.ends_with(b"200 ok\r\n221 bye\r\n"));
}

#[test]
fn the_first_loss_of_a_connection_tells_its_cause() {
    let turns: Vec<_> = (0..6)
        .flat_map(|_| [client("NOOP"), server("200 ok")])
        .collect();
    for loss in [
        LossCause::Unknown,
        LossCause::Offloaded,
        LossCause::Renumbered,
    ] {
        let script = Script::new(&session(&turns));
        let mut link = Link::of_script(Topology::Snat.tuples(0), &script);
        link.kernel.loss = loss;
        for (commands, is_absent) in [(1, true), (2, false), (3, true), (4, false)] {
            link.run_while(|link| noops(&link.hosts[1].received) < commands);
            link.kernel.is_absent = is_absent;
        }
        link.run();
        let losses: Vec<_> = link.kernel.events.iter().filter_map(loss_of).collect();
        assert_eq!(losses[0], (loss, true));
        assert!(losses.len() > 1 && losses[1..].iter().all(|(_, is_first)| !is_first));
    }
}

fn noops(received: &[u8]) -> usize {
    received
        .split(|octet| *octet == b'\n')
        .filter(|line| line.starts_with(b"NOOP"))
        .count()
}

fn loss_of(event: &Event) -> Option<(LossCause, bool)> {
    let EventKind::LostSync { cause, is_first } = event.kind else {
        return None;
    };
    Some((cause, is_first))
}

#[test]
fn an_end_that_passed_unseen_is_found_while_conntrack_knows_of_it() {
    let turns = [client("PORT 10,0,0,2,4,5"), server("200 ok")];
    for is_told in [true, false] {
        let mut link = play_open(Topology::Snat, &turns);
        link.kernel.is_absent = true;
        link.client().abort();
        link.run_for(Duration::from_millis(10));
        link.kernel.is_absent = false;
        if is_told {
            link.kernel.alg.handle_unseen();
        }
        // Conntrack knows of a reset for ten seconds.
        link.run_for(Duration::from_secs(10));
        link.kernel.conntrack.clear();
        link.run_for(CLOSED_MAX);
        let left = (link.kernel.alg.flow_count(), link.kernel.saved.len());
        assert_eq!(left, if is_told { (0, 0) } else { (1, 1) });
    }
}

#[test]
fn the_port_of_a_connection_that_conntrack_has_lost_is_given_back_within_minutes() {
    let turns = [client("EPSV"), server("229 ok (|||50001|)")];
    let mut link = play_open(Topology::Dnat, &turns);
    assert!(link.kernel.saved.is_empty(), "the line has kept its length");
    link.run_for(Duration::from_secs(600));
    assert_eq!(link.kernel.alg.flow_count(), 1, "conntrack knows it");
    link.kernel.conntrack.clear();
    link.run_for(Duration::from_secs(90));
    assert_eq!(link.kernel.alg.flow_count(), 0);
}
