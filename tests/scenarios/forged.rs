//! Packets with the address of one end that come from the other end's side, where all sequence
//! numbers are known.

use std::time::Duration;

use ftp_alg::proto::{
    event::EventKind,
    ftp::Role,
    net::{Direction, IfIndex, Layer},
};

use crate::{
    harness::{
        dialogue::{Script, after_login, client, server},
        link::Link,
        topology::Topology,
    },
    play::{decisions, play_open},
};

const CLIENT_SIDE: IfIndex = IfIndex(1);
const SERVER_SIDE: IfIndex = IfIndex(2);

/// Whether a PORT with the client's address, by this interface, reaches the server.
fn reaches_server(iif: IfIndex, session: &mut Link) -> bool {
    session.kernel.iifs[Direction::Original] = iif;
    let before = session.server().received.len();
    session
        .client()
        .send_odd(|frame| frame.payload = b"PORT 10,0,0,2,19,137\r\n".to_vec());
    session.run_for(Duration::from_millis(10));
    session.server().received.len() > before
}

fn session() -> Link {
    play_open(Topology::Routed, &[client("NOOP"), server("200 ok")])
}

#[test]
fn a_forged_announcement_from_the_servers_side_is_dropped_and_reported_once() {
    let mut link = session();
    for _ in 0..3 {
        assert!(!reaches_server(SERVER_SIDE, &mut link));
    }
    assert_eq!(decisions(&link), Vec::<String>::new());
    let forged = EventKind::Forged {
        name: Role::Client,
        iif: SERVER_SIDE,
    };
    let kinds = link.kernel.event_kinds().into_iter();
    assert_eq!(kinds.filter(|kind| *kind == forged).count(), 1);
}

#[test]
fn the_connection_goes_on_after_forged_packets() {
    let mut link = session();
    assert!(!reaches_server(SERVER_SIDE, &mut link));
    assert!(reaches_server(CLIENT_SIDE, &mut link));
    assert_eq!(decisions(&link), ["PORT expect"]);
}

#[test]
fn a_route_may_change_to_a_third_interface() {
    let mut link = session();
    assert!(reaches_server(IfIndex(3), &mut link));
    assert_eq!(decisions(&link), ["PORT expect"]);
}

/// VRF and IPVS send what was seen at the prerouting hook through the output hook as well.
#[test]
fn a_packet_that_passes_once_more_is_not_read_twice() {
    let mut link = session();
    assert!(reaches_server(CLIENT_SIDE, &mut link));
    let queued = link.kernel.event_kinds().len();
    reaches_server(IfIndex(0), &mut link);
    assert_eq!(decisions(&link), ["PORT expect"]);
    assert_eq!(link.kernel.event_kinds().len(), queued);
}

/// Somebody on the server's side may have forged the first packet in the name of a client on the
/// gateway. What the client then says is read all the same.
#[test]
fn what_this_machine_says_is_read_whoever_spoke_in_its_name_before() {
    let mut link = session();
    assert!(reaches_server(IfIndex(0), &mut link));
    assert_eq!(decisions(&link), ["PORT expect"]);
    assert!(!reaches_server(SERVER_SIDE, &mut link));
}

#[test]
fn both_directions_may_come_by_one_interface_from_the_start() {
    let mut link = Link::of_script(
        Topology::Routed.tuples(0),
        &Script::open(&after_login(&[client("NOOP"), server("200 ok")])),
    );
    link.kernel.iifs[Direction::Reply] = CLIENT_SIDE;
    link.run_for(Duration::from_millis(500));
    assert!(reaches_server(CLIENT_SIDE, &mut link));
    assert_eq!(decisions(&link), ["PORT expect"]);
}

#[test]
fn a_data_connection_is_denied_at_its_announcers_interface() {
    let passive = [
        client("PASV"),
        server("227 Entering Passive Mode (198,51,100,7,19,137)."),
    ];
    let active = [client("PORT 10,0,0,2,19,137"), server("200 ok")];
    for (turns, denied_iif) in [(&passive[..], SERVER_SIDE), (&active, CLIENT_SIDE)] {
        let link = play_open(Topology::Routed, turns);
        assert_eq!(link.kernel.expected[0].denied_iif, Some(denied_iif));
    }
}

#[test]
fn where_both_ends_share_an_interface_it_is_not_denied() {
    let turns = [client("PORT 10,0,0,2,19,137"), server("200 ok")];
    let mut link = Link::of_script(
        Topology::Routed.tuples(0),
        &Script::open(&after_login(&turns)),
    );
    link.kernel.iifs[Direction::Reply] = CLIENT_SIDE;
    link.run_for(Duration::from_millis(500));
    assert_eq!(link.kernel.expected[0].denied_iif, None);
}

/// With `br_netfilter` beside a bridge's own conntrack both of our tables queue each packet.
#[test]
fn what_was_read_at_one_layer_passes_the_other_one_as_it_is() {
    for layers in [Layer::BOTH, [Layer::Bridged, Layer::Routed]] {
        let mut link = Link::of_script(
            Topology::Routed.tuples(0),
            &Script::open(&after_login(&[client("NOOP"), server("200 ok")])),
        );
        link.kernel.layer = layers[0];
        link.run_for(Duration::from_millis(500));
        assert!(reaches_server(CLIENT_SIDE, &mut link));
        link.kernel.layer = layers[1];
        reaches_server(CLIENT_SIDE, &mut link);
        assert_eq!(decisions(&link), ["PORT expect"]);
    }
}
