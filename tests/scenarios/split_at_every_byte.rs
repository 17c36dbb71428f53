//! An announcement is cut in two at each byte, with and without Nagle's algorithm. It leaves soon,
//! and as if it had come in one piece.

use std::time::Duration;

use ftp_alg::proto::{flow::Settings, ftp::Role};

use crate::{
    harness::{
        dialogue::{Script, Turn, client, server},
        host::Config,
        link::{Ends, Link},
        topology::Topology,
    },
    play::{decisions, heard_by, play, session},
};

/// The most time that a split announcement takes beyond one in one piece. It has two round trips of
/// the link, the wait before the local acknowledgement, and the time between the writes.
const DELAY_MAX: Duration = Duration::from_millis(50);

pub(crate) fn split_everywhere(topology: Topology, turns: &[Turn], announcing: usize) {
    let whole = play(topology, turns);
    let base = whole
        .now
        .saturating_duration_since(crate::harness::origin());
    for has_nagle in [false, true] {
        for gap in [0, 1, 20] {
            for at in 1..turns[announcing].text.len() {
                let mut turns = turns.to_vec();
                turns[announcing].cuts = vec![at];
                turns[announcing].gap = Duration::from_millis(gap);
                let mut link = Link::new(Settings::default());
                let config = Config {
                    has_nagle,
                    delayed_ack: Some(Duration::from_millis(40)),
                    ..Config::default()
                };
                let script = Script::new(&session(&turns));
                link.add_with(topology.tuples(0), Ends::alike(config), &script);
                link.run();
                let context = format!("nagle {has_nagle}, gap {gap}, cut at {at}");
                assert_eq!(link.faults(), Vec::<&String>::new(), "{context}");
                assert_eq!(decisions(&link), decisions(&whole), "{context}");
                for role in [Role::Client, Role::Server] {
                    assert_eq!(heard_by(role, &link), heard_by(role, &whole), "{context}");
                }
                let took = link.now.saturating_duration_since(crate::harness::origin());
                // The ends may delay their acknowledgements when they close.
                assert!(
                    took < base + DELAY_MAX + Duration::from_millis(gap + 100),
                    "{context}: {took:?} and not {base:?}"
                );
            }
        }
    }
}

#[test]
fn port_through_snat() {
    let turns = [client("PORT 10,0,0,2,4,5"), server("200 ok")];
    split_everywhere(Topology::Snat, &turns, 0);
    split_everywhere(Topology::SnatSameLength, &turns, 0);
}

#[test]
fn eprt_through_snat() {
    let turns = [client("EPRT |1|10.0.0.2|50001|"), server("200 ok")];
    split_everywhere(Topology::Snat, &turns, 0);
    let turns = [client("EPRT |2|fd00::2|50001|"), server("200 ok")];
    split_everywhere(Topology::Snat6, &turns, 0);
}

#[test]
fn a_227_through_dnat() {
    let turns = [
        client("PASV"),
        server("227 Entering Passive Mode (10,0,0,5,19,137)."),
    ];
    split_everywhere(Topology::Dnat, &turns, 1);
}

#[test]
fn a_227_without_text_through_dnat() {
    let turns = [client("PASV"), server("227 =10,0,0,5,4,5")];
    split_everywhere(Topology::Dnat, &turns, 1);
}

#[test]
fn a_229_through_dnat() {
    let turns = [
        client("EPSV"),
        server("229 Entering Extended Passive Mode (|||50001|)"),
    ];
    split_everywhere(Topology::Dnat, &turns, 1);
}

#[test]
fn port_without_nat() {
    let turns = [client("PORT 10,0,0,2,4,5"), server("200 ok")];
    split_everywhere(Topology::Routed, &turns, 0);
}
