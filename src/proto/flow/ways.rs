//! Where the packets of a connection are seen, and which way packets of our own go.

use super::Flow;
use crate::proto::{
    egress::OwnPacket,
    net::{Direction, Ingress},
    packet::Segment,
};

impl Flow {
    /// Whether a packet passes once more that was seen when it came in: VRF and IPVS send forwarded
    /// packets through the output hook as well, and with `br_netfilter` a bridge shows each packet
    /// at two layers.
    #[must_use]
    pub fn passes_again(
        &self,
        direction: Direction,
        segment: &Segment<'_>,
        ingress: Option<Ingress>,
    ) -> bool {
        // Bytes that have not left yet were not read either.
        ingress.is_some_and(|ingress| self.ingress.passes_again(direction, ingress))
            && self.relay.has_left(direction, segment)
    }

    /// Adds how a packet of our own on this connection goes: as the packets came of the end whose
    /// name it bears; if there was none, as those of the other end.
    pub fn add_ways(&self, packet: &mut OwnPacket) {
        let Ok(segment) = Segment::parse(&packet.bytes) else {
            return;
        };
        let receiver = segment.tuple.destination;
        let is_to = |direction: &Direction| self.tuples().sender(!*direction) == receiver;
        if let Some(direction) = Direction::BOTH.into_iter().find(is_to) {
            let [of_sender, of_receiver] = [direction, !direction].map(|d| self.ingress.latest(d));
            packet.ingress = of_sender.or(of_receiver);
            packet.of_receiver = of_receiver;
        }
    }
}
