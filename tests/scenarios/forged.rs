//! Packets in one end's name that come from the other end's side: whoever is there knows every sequence number.

use std::time::Duration;

use ftp_alg::proto::{
    event::EventKind,
    ftp::Role,
    net::{Direction, IfIndex as Port},
};

use crate::{
    harness::{
        dialogue::{Script, after_login, client, server},
        link::Link,
        topology::Topology,
    },
    told::{decisions, told_open},
};

const CLIENT_SIDE: Port = Port(1);
const SERVER_SIDE: Port = Port(2);

/// A session in which the client says PORT, or what bears its name does, by this link; and what the server hears of it.
fn said_by(link_of_port: Port, session: &mut Link) -> bool {
    session.kernel.links[Direction::Original] = link_of_port;
    let before = session.server().received.len();
    session
        .client()
        .send_odd(|frame| frame.payload = b"PORT 10,0,0,2,19,137\r\n".to_vec());
    session.run_for(Duration::from_millis(10));
    session.server().received.len() > before
}

fn session() -> Link {
    told_open(Topology::Routed, &[client("NOOP"), server("200 ok")])
}

#[test]
fn an_announcement_in_the_clients_name_from_the_servers_side_is_dropped_and_told_once() {
    let mut link = session();
    for _ in 0..3 {
        assert!(!said_by(SERVER_SIDE, &mut link));
    }
    assert_eq!(decisions(&link), Vec::<String>::new());
    let forged = EventKind::Forged {
        name: Role::Client,
        iif: SERVER_SIDE,
    };
    let told = link.kernel.event_kinds().into_iter();
    assert_eq!(told.filter(|kind| *kind == forged).count(), 1);
}

#[test]
fn the_connection_goes_on_as_if_nothing_had_come() {
    let mut link = session();
    assert!(!said_by(SERVER_SIDE, &mut link));
    assert!(said_by(CLIENT_SIDE, &mut link));
    assert_eq!(decisions(&link), ["PORT expect"]);
}

#[test]
fn a_route_may_change_to_a_third_link() {
    let mut link = session();
    assert!(said_by(Port(3), &mut link));
    assert_eq!(decisions(&link), ["PORT expect"]);
}

#[test]
fn both_directions_may_have_come_by_one_link_all_along() {
    let mut link = Link::of_script(
        Topology::Routed.tuples(0),
        &Script::open(&after_login(&[client("NOOP"), server("200 ok")])),
    );
    link.kernel.links[Direction::Reply] = CLIENT_SIDE;
    link.run_for(Duration::from_millis(500));
    assert!(said_by(CLIENT_SIDE, &mut link));
    assert_eq!(decisions(&link), ["PORT expect"]);
}

#[test]
fn a_data_connection_does_not_come_by_its_announcers_link() {
    let passive = [
        client("PASV"),
        server("227 Entering Passive Mode (198,51,100,7,19,137)."),
    ];
    let active = [client("PORT 10,0,0,2,19,137"), server("200 ok")];
    for (turns, denied_iif) in [(&passive[..], SERVER_SIDE), (&active, CLIENT_SIDE)] {
        let link = told_open(Topology::Routed, turns);
        assert_eq!(link.kernel.expected[0].denied_iif, Some(denied_iif));
    }
}

#[test]
fn where_both_ends_are_by_one_link_it_is_barred_to_nobody() {
    let turns = [client("PORT 10,0,0,2,19,137"), server("200 ok")];
    let mut link = Link::of_script(
        Topology::Routed.tuples(0),
        &Script::open(&after_login(&turns)),
    );
    link.kernel.links[Direction::Reply] = CLIENT_SIDE;
    link.run_for(Duration::from_millis(500));
    assert_eq!(link.kernel.expected[0].denied_iif, None);
}
