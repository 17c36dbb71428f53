//! Packets of our own making.

use std::{
    io::ErrorKind,
    net::{SocketAddr, UdpSocket},
    time::Duration,
};

use ftp_alg::{
    io::injector::{InjectError, Injector},
    proto::{
        egress::OwnPacket,
        net::{IfIndex, Ingress, MacAddress, Path},
    },
};

use super::{
    lab::{Lab, Namespace, endpoint, ip},
    table::apply,
};

/// A UDP datagram "hi" from port 53 of a host that is not this one.
fn datagram(source: &str, destination: &str) -> Vec<u8> {
    let (source, destination) = (ip(source), endpoint(destination));
    let [high, low] = destination.port().to_be_bytes();
    // IPv4 lets a datagram go without checksum; the one for IPv6 is computed below.
    let mut udp = vec![0, 53, high, low, 0, 10, 0, 0, b'h', b'i'];
    let mut packet = Vec::new();
    match (source, destination.ip()) {
        (std::net::IpAddr::V4(source), std::net::IpAddr::V4(destination)) => {
            packet.extend([0x45, 0, 0, 30, 0, 0, 0, 0, 64, 17, 0, 0]);
            packet.extend([source.octets(), destination.octets()].concat());
            let sum = super::conntrack::checksum(packet.clone());
            packet[10..12].copy_from_slice(&sum.to_be_bytes());
        }
        (std::net::IpAddr::V6(source), std::net::IpAddr::V6(destination)) => {
            packet.extend([0x60, 0, 0, 0, 0, 10, 17, 64]);
            packet.extend([source.octets(), destination.octets()].concat());
            let pseudo = [&packet[8..40], &[0, 0, 0, 10, 0, 0, 0, 17], &udp].concat();
            let sum = super::conntrack::checksum(pseudo);
            udp[6..8].copy_from_slice(&sum.to_be_bytes());
        }
        _ => unreachable!("one family"),
    }
    [packet, udp].concat()
}

/// Receives a datagram, whatever interrupts the wait: a machine that is paused does so to a wait
/// with a time limit.
fn receive(socket: &UdpSocket, bytes: &mut [u8]) -> (usize, SocketAddr) {
    loop {
        match socket.recv_from(bytes) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            received => return received.unwrap(),
        }
    }
}

/// The datagram, to go the way of packets that came so.
fn going_with(ingress: Ingress, source: &str, destination: &str) -> OwnPacket {
    OwnPacket {
        bytes: datagram(source, destination),
        ingress: Some(ingress),
        of_receiver: None,
    }
}

/// From the outside to the inside.
const WAYS: [(&str, &str); 2] = [
    ("203.0.113.2", "10.0.0.2:4000"),
    ("2001:db8::2", "[fd00:1::2]:4000"),
];

#[test]
#[ignore = "needs root"]
fn a_packet_takes_the_route_of_its_connections_mark() {
    let lab = Lab::new();
    let mut injector = lab.gateway.inside(|| Injector::open().unwrap());
    for family in ["-4", "-6"] {
        lab.gateway
            .ip(&format!("{family} rule add fwmark 2 prohibit"));
    }
    for (source, destination) in WAYS {
        let with_mark = |mark| {
            let ingress = Ingress {
                mark,
                ..Ingress::default()
            };
            going_with(ingress, source, destination)
        };
        injector.inject(&with_mark(0)).unwrap();
        let refused = injector.inject(&with_mark(2)).unwrap_err();
        let InjectError::Socket(error) = refused else {
            panic!("{refused}")
        };
        assert_eq!(error.raw_os_error(), Some(libc::EACCES));
        injector.inject(&with_mark(3)).unwrap();
    }
}

/// The number and the Ethernet address of an interface.
fn link(namespace: &Namespace, name: &str) -> (IfIndex, MacAddress) {
    let shown = namespace.run("ip", &["-o", "link", "show", name]);
    let (number, rest) = shown.split_once(':').unwrap();
    let address = rest.split("link/ether ").nth(1).unwrap();
    let octets = address.split(' ').next().unwrap().split(':');
    let octets: Vec<_> = octets
        .map(|octet| u8::from_str_radix(octet, 16).unwrap())
        .collect();
    (
        IfIndex(number.parse().unwrap()),
        MacAddress(octets.try_into().unwrap()),
    )
}

#[test]
#[ignore = "needs root"]
fn beside_bridged_packets_a_frame_leaves_by_the_receivers_port_and_no_route_is_asked() {
    let lab = Lab::new();
    let mut injector = lab.gateway.inside(|| Injector::open().unwrap());
    for family in ["-4", "-6"] {
        lab.gateway.ip(&format!("{family} rule add prohibit"));
    }
    let (port, own) = link(&lab.gateway, "in");
    let (_, host) = link(&lab.inside, "eth0");
    let bridged = |sender| {
        let path = Path::Bridged { port, sender };
        let routed = Ingress::default();
        Some(Ingress { path, ..routed })
    };
    for (source, destination) in WAYS {
        let receiver = lab.inside.inside(|| UdpSocket::bind(destination).unwrap());
        let wait = Duration::from_millis(200);
        receiver.set_read_timeout(Some(wait)).unwrap();
        for (sender, of_receiver, arrives) in [
            (Some(own), bridged(Some(host)), true),
            (Some(own), bridged(None), false),
            (None, bridged(Some(host)), false),
            (Some(own), None, false),
        ] {
            let packet = OwnPacket {
                bytes: datagram(source, destination),
                ingress: bridged(sender),
                of_receiver,
            };
            injector.inject(&packet).unwrap();
            assert_eq!(receiver.recv(&mut [0; 10]).is_ok(), arrives);
        }
    }
}

#[test]
#[ignore = "needs root"]
fn an_output_chain_that_drops_is_named() {
    let lab = Lab::new();
    let chain = "table inet closed {
         chain output { type filter hook output priority 0; policy drop; }
     }";
    lab.gateway.load(chain).unwrap();
    let mut injector = lab.gateway.inside(|| Injector::open().unwrap());
    let (source, destination) = WAYS[0];
    let packet = going_with(Ingress::default(), source, destination);
    let error = injector.inject(&packet).unwrap_err();
    assert!(matches!(error, InjectError::Filtered), "{error}");
    let _table = apply(&lab.gateway);
    let rule = "add rule inet closed output ct state untracked accept";
    lab.gateway.load(rule).unwrap();
    injector.inject(&packet).unwrap();
}

#[test]
#[ignore = "needs root"]
fn a_packet_arrives_in_the_other_ends_name_and_conntrack_never_saw_it() {
    let lab = Lab::new();
    lab.guard("");
    let _table = apply(&lab.gateway);
    let mut injector = lab.gateway.inside(|| Injector::open().unwrap());
    for (source, destination) in WAYS {
        let receiver = lab.inside.inside(|| UdpSocket::bind(destination).unwrap());
        receiver
            .set_read_timeout(Some(Duration::from_secs(5)))
            .unwrap();
        let packet = going_with(Ingress::default(), source, destination);
        injector.inject(&packet).unwrap();
        let mut bytes = [0; 10];
        let (length, from) = receive(&receiver, &mut bytes);
        assert_eq!(
            (&bytes[..length], from.ip(), from.port()),
            (&b"hi"[..], ip(source), 53)
        );
    }
    let known = lab.gateway.run("cat", &["/proc/net/nf_conntrack"]);
    assert!(!known.contains("dport=4000"), "{known}");
}
