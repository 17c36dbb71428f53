//! A new connection with the tuple of an older one.

use std::time::Duration;

use ftp_alg::proto::{
    flow::Settings,
    net::{ConntrackTuples, Direction},
};

use crate::{
    harness::{
        dialogue::{Script, after_login, client, server},
        host::Config,
        link::{Ends, Link},
        topology::Topology,
    },
    play::{decisions, play_open},
};

fn again(isn: u32) -> Ends {
    let config = Config {
        isn,
        ..Config::default()
    };
    Ends::alike(config)
}

#[test]
fn a_new_connection_has_none_of_the_old_ones_offset_and_expectations() {
    let announced = [client("PORT 10,0,0,2,4,5"), server("200 ok")];
    let mut link = play_open(Topology::Snat, &announced);
    assert_eq!(link.kernel.live.len(), 1);
    let script = Script::new(&after_login(&[client("NOOP"), server("200 ok")]));
    link.hosts.clear();
    link.kernel.forget_marks();
    link.add_with(Topology::Snat.tuples(0), again(77), &script);
    link.run();
    assert_eq!(link.faults(), Vec::<&String>::new());
    assert_eq!(link.kernel.live.len(), 0);
    assert_eq!(link.kernel.alg.flow_count(), 1);
}

#[test]
fn a_new_connection_whose_other_tuple_differs_is_looked_up_again() {
    let mut link = Link::new(Settings::default());
    let old = Topology::Snat.tuples(0);
    let script = Script::open(&after_login(&[]));
    link.add_with(old, again(77), &script);
    link.run_for(Duration::from_millis(100));
    // Another client gets the same outside endpoint.
    let original = old.of(Direction::Original);
    let mut other = original;
    other.source = "10.0.0.3:40000".parse().unwrap();
    let tuples = ConntrackTuples::new(other, old.of(Direction::Reply));
    link.hosts.clear();
    link.kernel.conntrack.clear();
    let turns = after_login(&[client("PORT 10,0,0,3,4,5"), server("200 ok")]);
    link.add_with(tuples, again(99_999), &Script::open(&turns));
    link.run_for(Duration::from_millis(100));
    assert_eq!(decisions(&link), ["PORT expect"]);
    assert_eq!(
        link.kernel.expected[0].translated_destination,
        "10.0.0.3:1029".parse().unwrap()
    );
    assert!(
        link.kernel
            .event_kinds()
            .iter()
            .filter(|kind| matches!(
                kind,
                ftp_alg::proto::event::EventKind::Started {
                    is_from_start: true
                }
            ))
            .count()
            == 2
    );
}
