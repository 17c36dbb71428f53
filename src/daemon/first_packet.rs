//! What becomes of a packet in the middle of a control connection that conntrack has forgotten, and
//! that has no sequence offset.
//!
//! If it passed, conntrack would pick the connection up at it, and nobody would have read it: an
//! entry cannot be found, and has no NAT, before its first packet has left. With a packet of the
//! server the new entry would even have the server's direction for its original one, and no rule
//! would know it for one of a control connection.
//!
//! So a keep-alive of the client passes in the place of its bytes, and the server answers it. Then
//! the connection is established, and the bytes, which their sender repeats, are read like those of
//! any connection that is picked up. A host that sends in the client's name from another conntrack
//! zone gets no answer there, and none of its bytes pass.
//!
//! Where a packet makes no entry of the right direction, a keep-alive asks the client for one.

use crate::proto::{
    egress::OwnPacket,
    net::{Ingress, Layer, MacAddress, Path},
    packet::{Segment, keep_alive, keep_alive_to_sender},
};

/// The fate of such a packet.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum FirstPacket {
    /// It passes: there is nothing to read in it.
    Pass,
    /// Something else passes.
    Replaced {
        /// What passes in its place, if anything does.
        by: Option<Vec<u8>>,
        /// What asks the client for a packet without payload.
        asking: Option<OwnPacket>,
    },
}

impl FirstPacket {
    /// `receiver` is the Ethernet address to which a bridged packet goes.
    pub(super) fn of(
        segment: &Segment<'_>,
        is_of_server: bool,
        ingress: Ingress,
        receiver: Option<MacAddress>,
    ) -> Self {
        let (flags, is_bare) = (segment.flags, segment.payload.is_empty());
        // No receiver takes what comes with a RST for bytes (RFC 9293 §3.10.7.4). And with a FIN or
        // a RST conntrack picks nothing up.
        if flags.is_rst() || (is_bare && (flags.is_fin() || !is_of_server)) {
            return Self::Pass;
        }
        if is_of_server {
            let asking = (!is_bare).then(|| keep_alive(segment).ok()).flatten();
            return Self::Replaced {
                by: None,
                asking: asking.map(|bytes| OwnPacket {
                    bytes,
                    ingress: Some(ingress),
                    of_receiver: None,
                }),
            };
        }
        // Linux 7.2 drops a bridged packet whose verdict has other bytes (`nfqnl_recv_verdict`).
        let is_bridged = ingress.layer == Layer::Bridged;
        let by = (!is_bridged && segment.ack.is_some()).then(|| keep_alive(segment).ok());
        let asking = (is_bridged || flags.is_fin()).then(|| keep_alive_to_sender(segment));
        Self::Replaced {
            by: by.flatten(),
            asking: asking.flatten().map(|bytes| OwnPacket {
                bytes,
                ingress: Some(way_of(receiver, ingress)),
                of_receiver: of_bridge(ingress),
            }),
        }
    }
}

/// The way of the packets of the end to which a packet goes, as far as that packet shows it.
fn way_of(receiver: Option<MacAddress>, of_sender: Ingress) -> Ingress {
    let path = match of_sender.path {
        Path::Routed => Path::Routed,
        Path::Bridged { port, .. } => Path::Bridged {
            port,
            sender: receiver,
        },
    };
    Ingress { path, ..of_sender }
}

fn of_bridge(ingress: Ingress) -> Option<Ingress> {
    matches!(ingress.path, Path::Bridged { .. }).then_some(ingress)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::{
        net::{IfIndex, SeqNumber, Tuple},
        packet::{Flags, Injected, Timestamps},
    };

    const CLIENT_PORT: u16 = 40_000;
    const HERE: MacAddress = MacAddress([2, 0, 0, 0, 0, 1]);
    const THERE: MacAddress = MacAddress([2, 0, 0, 0, 0, 2]);

    fn packet(is_of_server: bool, flags: Flags, payload: &[u8]) -> Vec<u8> {
        let (client, server) = (([10, 0, 0, 2], CLIENT_PORT), ([203, 0, 113, 2], 21));
        let tuple = Tuple::new(client.into(), server.into());
        let packet = Injected {
            tuple: if is_of_server {
                tuple.inverted()
            } else {
                tuple
            },
            seq: SeqNumber(1000),
            ack: Some(SeqNumber(2000)),
            flags,
            window: 500,
            timestamps: Some(Timestamps { value: 7, echo: 9 }),
            payload,
        };
        packet.encode().unwrap()
    }

    fn fate(bytes: &[u8], ingress: Ingress) -> FirstPacket {
        let segment = Segment::parse(bytes).unwrap();
        let is_of_server = segment.tuple.source.port() == 21;
        FirstPacket::of(&segment, is_of_server, ingress, Some(THERE))
    }

    fn routed(is_of_server: bool, flags: Flags, payload: &[u8]) -> FirstPacket {
        fate(&packet(is_of_server, flags, payload), Ingress::default())
    }

    /// A bare acknowledgement, by its numbers: seq, ack, and its timestamps.
    fn numbers(bytes: &[u8]) -> (u32, u32, u32, u32) {
        let segment = Segment::parse(bytes).unwrap();
        assert!(segment.payload.is_empty() && segment.flags == Flags::ACK);
        let Timestamps { value, echo } = segment.timestamps().unwrap();
        (segment.seq.0, segment.ack.unwrap().0, value, echo)
    }

    #[test]
    fn what_has_nothing_to_read_and_may_come_first_passes() {
        let none = Flags::empty();
        assert_eq!(routed(false, none, b""), FirstPacket::Pass);
        for is_of_server in [false, true] {
            assert_eq!(routed(is_of_server, Flags::FIN, b""), FirstPacket::Pass);
            assert_eq!(routed(is_of_server, Flags::RST, b"x"), FirstPacket::Pass);
        }
    }

    #[test]
    fn in_the_place_of_a_line_the_clients_keep_alive_passes() {
        let FirstPacket::Replaced { by, asking } = routed(false, Flags::PSH, b"DELE x\r\n") else {
            panic!("it passes");
        };
        assert_eq!(numbers(&by.unwrap()), (999, 2000, 7, 9));
        assert_eq!(asking, None);
    }

    #[test]
    fn a_line_with_a_fin_also_asks_its_sender_for_a_packet_that_conntrack_takes() {
        let FirstPacket::Replaced { by, asking } = routed(false, Flags::FIN, b"QUIT\r\n") else {
            panic!("it passes");
        };
        assert_eq!(numbers(&by.unwrap()), (999, 2000, 7, 9));
        let asking = asking.unwrap().bytes;
        assert_eq!(numbers(&asking), (1999, 1000, 9, 7));
        let to = Segment::parse(&asking).unwrap().tuple.destination;
        assert_eq!(to.port(), CLIENT_PORT);
    }

    #[test]
    fn the_server_never_comes_first_and_what_it_says_asks_its_client() {
        let nothing = FirstPacket::Replaced {
            by: None,
            asking: None,
        };
        assert_eq!(routed(true, Flags::empty(), b""), nothing);
        let FirstPacket::Replaced { by, asking } = routed(true, Flags::PSH, b"226 done\r\n") else {
            panic!("it passes");
        };
        assert_eq!(by, None);
        let asking = asking.unwrap().bytes;
        assert_eq!(numbers(&asking), (999, 2000, 7, 9));
        let to = Segment::parse(&asking).unwrap().tuple.destination;
        assert_eq!(to.port(), CLIENT_PORT);
    }

    #[test]
    fn a_bridged_line_is_dropped_and_a_frame_of_its_receivers_asks_its_sender() {
        let bridged = |sender| Ingress {
            layer: Layer::Bridged,
            path: Path::Bridged {
                port: IfIndex(3),
                sender: Some(sender),
            },
            ..Ingress::default()
        };
        let FirstPacket::Replaced { by, asking } =
            fate(&packet(false, Flags::PSH, b"NOOP\r\n"), bridged(HERE))
        else {
            panic!("it passes");
        };
        assert_eq!(by, None);
        let asking = asking.unwrap();
        assert_eq!(asking.ingress, Some(bridged(THERE)));
        assert_eq!(asking.of_receiver, Some(bridged(HERE)));
        assert_eq!(numbers(&asking.bytes), (1999, 1000, 9, 7));
    }
}
