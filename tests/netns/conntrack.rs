//! Conntrack entries of real connections.

use std::{
    io::{Read, Write},
    net::{IpAddr, SocketAddr, TcpStream},
    time::Duration,
};

use ftp_alg::{
    io::ctnetlink::{Conntrack, TcpState},
    proto::net::{ConntrackTuples, Direction, Tuple},
    ruleset::{Label, Labels},
};

use super::lab::{Lab, accept, endpoint};

/// The tuple of a packet.
pub(crate) fn tuple_of(packet: &[u8]) -> Tuple {
    let address = |at: usize| IpAddr::from(<[u8; 4]>::try_from(&packet[at..at + 4]).unwrap());
    let port = |at: usize| u16::from_be_bytes([packet[at], packet[at + 1]]);
    Tuple::new(
        SocketAddr::new(address(12), port(20)),
        SocketAddr::new(address(16), port(22)),
    )
}

/// The IPv4 packet with another payload, lengths and checksums put right.
pub(crate) fn with_payload(packet: &[u8], payload: &[u8]) -> Vec<u8> {
    let data = 20 + usize::from(packet[32] >> 4) * 4;
    let mut packet = [&packet[..data], payload].concat();
    let length = u16::try_from(packet.len()).unwrap();
    packet[2..4].copy_from_slice(&length.to_be_bytes());
    packet[10..12].fill(0);
    let sum = checksum(packet[..20].to_vec());
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    packet[36..38].fill(0);
    let segment = (length - 20).to_be_bytes();
    let pseudo = [&packet[12..20], &[0, 6], &segment, &packet[20..]].concat();
    let sum = checksum(pseudo);
    packet[36..38].copy_from_slice(&sum.to_be_bytes());
    packet
}

pub(crate) fn checksum(mut bytes: Vec<u8>) -> u16 {
    bytes.resize(bytes.len().next_multiple_of(2), 0);
    let sum: u32 = bytes
        .chunks(2)
        .map(|two| u32::from(u16::from_be_bytes([two[0], two[1]])))
        .sum();
    let sum = (sum & 0xffff) + (sum >> 16);
    !((sum & 0xffff) + (sum >> 16)) as u16
}

fn conntrack(lab: &Lab) -> Conntrack {
    // Without a rule that asks for it, a namespace has no conntrack, and an entry no room for a
    // label.
    lab.guard("chain label_room { ct label set 1; }");
    lab.gateway.inside(|| Conntrack::open().unwrap())
}

/// Both ends' own view of a connection.
fn ends(client: &TcpStream, server: &TcpStream) -> ConntrackTuples {
    let tuple =
        |stream: &TcpStream| Tuple::new(stream.local_addr().unwrap(), stream.peer_addr().unwrap());
    ConntrackTuples::new(tuple(client), tuple(server))
}

/// Both kinds of NAT, for port 21 and a port-forward to it.
const NAT: &str = "table inet nat {
     chain prerouting {
         type nat hook prerouting priority -100
         tcp dport 2121 meta nfproto ipv4 dnat ip to 203.0.113.2:21
         tcp dport 2121 meta nfproto ipv6 dnat ip6 to [2001:db8::2]:21
     }
     chain postrouting {
         type nat hook postrouting priority 100
         tcp dport 21 oifname out masquerade
     }
 }";

/// What the client dials, and where its server listens.
const DIALLED: [(&str, &str); 4] = [
    ("203.0.113.2:21", "203.0.113.2:21"),
    ("10.0.0.1:2121", "203.0.113.2:21"),
    ("[2001:db8::2]:21", "[2001:db8::2]:21"),
    ("[fd00:1::1]:2121", "[2001:db8::2]:21"),
];

#[test]
#[ignore = "needs root"]
fn an_entry_that_was_deleted_is_made_again_with_its_nat_and_its_label() {
    let lab = Lab::new();
    let mut conntrack = conntrack(&lab);
    lab.gateway.load(NAT).unwrap();
    for (dialled, listening) in DIALLED {
        let listener = lab.outside.listen(listening);
        let mut client = lab.inside.connect(dialled).unwrap();
        let (mut server, _) = accept(&listener);
        let tuples = ends(&client, &server);
        lab.gateway.run(
            "conntrack",
            &[
                "-D",
                "-p",
                "tcp",
                "--dport",
                &dialled[dialled.rfind(':').unwrap() + 1..],
            ],
        );
        assert_eq!(
            conntrack.resolve(&tuples.of(Direction::Reply)).unwrap(),
            None
        );
        let adjust = Labels::default().adjust;
        conntrack.create(&tuples, adjust, false).unwrap();
        let again = conntrack.create(&tuples, adjust, false).unwrap_err();
        assert!(again.is(libc::EEXIST), "{again}");
        // The server speaks first: without its NAT the gateway would answer with a reset.
        server.write_all(b"220 hello\r\n").unwrap();
        let mut heard = [0; 11];
        client.set_nonblocking(false).unwrap();
        client.read_exact(&mut heard).unwrap();
        assert_eq!(&heard, b"220 hello\r\n");
        client.write_all(b"NOOP\r\n").unwrap();
        let mut heard = [0; 6];
        server.set_nonblocking(false).unwrap();
        server.read_exact(&mut heard).unwrap();
        assert_eq!(&heard, b"NOOP\r\n");
        let entry = conntrack
            .resolve(&tuples.of(Direction::Reply))
            .unwrap()
            .unwrap();
        assert_eq!(entry.tuples, tuples, "{dialled}");
        assert_eq!((entry.label, entry.is_liberal), (adjust.into(), true));
    }
}

#[test]
#[ignore = "needs root"]
fn an_entry_is_found_by_either_directions_tuple_and_shows_the_nat() {
    let lab = Lab::new();
    let mut conntrack = conntrack(&lab);
    lab.gateway.load(NAT).unwrap();
    for (dialled, listening) in DIALLED {
        let listener = lab.outside.listen(listening);
        let client = lab.inside.connect(dialled).unwrap();
        let (server, peer) = accept(&listener);
        assert_ne!(peer.ip(), client.local_addr().unwrap().ip(), "masqueraded");
        let tuples = ends(&client, &server);
        for direction in Direction::BOTH {
            let found = conntrack
                .resolve(&tuples.of(direction))
                .unwrap()
                .expect(dialled);
            assert_eq!(found.tuples, tuples, "{dialled} {direction:?}");
            assert_eq!(found.tcp_state, Some(TcpState::ESTABLISHED));
            assert_eq!((found.mark, found.label), (0, Label::NONE));
        }
    }
}

#[test]
#[ignore = "needs root"]
fn a_label_changes_only_under_its_mask_and_the_mark_does_not() {
    let lab = Lab::new();
    let mut conntrack = conntrack(&lab);
    let marking = "table inet marking { chain prerouting {
        type filter hook prerouting priority -150; ct mark set 2; }; }";
    lab.gateway.load(marking).unwrap();
    let listener = lab.outside.listen("203.0.113.2:21");
    let client = lab.inside.connect("203.0.113.2:21").unwrap();
    let (server, _) = accept(&listener);
    let tuples = ends(&client, &server);
    let Labels {
        data,
        adjust,
        opaque,
    } = Labels::default();
    let mut label_after = |value: Label, mask: Label| {
        conntrack.set_label(&tuples, value, mask).unwrap();
        let entry = conntrack.resolve(&tuples.of(Direction::Original));
        let entry = entry.unwrap().unwrap();
        assert_eq!((entry.mark, entry.is_liberal), (2, false));
        entry.label
    };
    let both = Label::from(data) | Label::from(opaque);
    assert_eq!(label_after(data.into(), data.into()), data.into());
    assert_eq!(label_after(opaque.into(), opaque.into()), both);
    assert_eq!(label_after(Label::NONE, data.into()), opaque.into());
    conntrack.set_liberal(&tuples, adjust).unwrap();
    let mut found = Vec::new();
    conntrack
        .list_labelled(adjust, |entry| found.push(*entry))
        .unwrap();
    assert_eq!(found.len(), 1);
    let both = Label::from(adjust) | Label::from(opaque);
    assert_eq!((found[0].label, found[0].is_liberal), (both, true));
    assert_eq!((found[0].mark, found[0].tuples), (2, tuples));
    assert_eq!(found[0].tcp_state, Some(TcpState::ESTABLISHED));
    conntrack
        .list_labelled(data, |entry| panic!("{entry:?}"))
        .unwrap();
}

#[test]
#[ignore = "needs root"]
fn a_connection_that_began_without_a_rule_that_sets_labels_stays_as_it_is() {
    let lab = Lab::new();
    lab.guard("");
    let mut conntrack = lab.gateway.inside(|| Conntrack::open().unwrap());
    let listener = lab.outside.listen("203.0.113.2:21");
    let client = lab.inside.connect("203.0.113.2:21").unwrap();
    let (server, _) = accept(&listener);
    let tuples = ends(&client, &server);
    lab.gateway
        .load("table inet late { chain label_room { ct label set 1; }; }")
        .unwrap();
    let adjust = Labels::default().adjust;
    let refused = conntrack.set_liberal(&tuples, adjust).unwrap_err();
    assert!(refused.is(libc::ENOSPC), "{refused}");
    let entry = conntrack.resolve(&tuples.of(Direction::Original));
    let entry = entry.unwrap().unwrap();
    assert_eq!((entry.label, entry.is_liberal), (Label::NONE, false));
    // The next one has room.
    drop((client, server));
    let client = lab.inside.connect("203.0.113.2:21").unwrap();
    let (server, _) = accept(&listener);
    conntrack
        .set_liberal(&ends(&client, &server), adjust)
        .unwrap();
}

#[test]
#[ignore = "needs root"]
fn an_idle_connection_stays_for_as_long_as_it_is_given() {
    let lab = Lab::new();
    let mut conntrack = conntrack(&lab);
    let setting = "net.netfilter.nf_conntrack_tcp_timeout_established=3";
    lab.gateway.run("sysctl", &["-qw", setting]);
    let listener = lab.outside.listen("203.0.113.2:21");
    let [kept, other] = [(); 2].map(|()| {
        let client = lab.inside.connect("203.0.113.2:21").unwrap();
        (client, accept(&listener).0)
    });
    let tuple =
        |client: &TcpStream| Tuple::new(client.local_addr().unwrap(), client.peer_addr().unwrap());
    let mut lifetime = |client: &TcpStream| {
        let found = conntrack.resolve(&tuple(client)).unwrap();
        found.map(|entry| (entry.tuples, entry.lifetime.unwrap()))
    };
    let (tuples, left) = lifetime(&kept.0).unwrap();
    assert!(left <= Duration::from_secs(3));
    lab.gateway
        .inside(|| {
            Conntrack::open()
                .unwrap()
                .set_lifetime(&tuples, Duration::from_secs(60))
        })
        .unwrap();
    std::thread::sleep(Duration::from_secs(4));
    let (_, left) = lifetime(&kept.0).unwrap();
    assert!(left > Duration::from_secs(50));
    assert_eq!(lifetime(&other.0), None);
}

#[test]
#[ignore = "needs root"]
fn an_unknown_connection_is_none_and_cannot_be_changed() {
    let lab = Lab::new();
    let mut conntrack = conntrack(&lab);
    let nobody = Tuple::new(endpoint("10.9.9.9:1"), endpoint("10.9.9.8:2"));
    assert_eq!(conntrack.resolve(&nobody).unwrap(), None);
    let error = conntrack
        .set_liberal(
            &ConntrackTuples::untranslated(nobody),
            Labels::default().adjust,
        )
        .unwrap_err();
    assert!(error.is(libc::ENOENT), "{error}");
}
