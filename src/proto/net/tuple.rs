//! The tuples of a connection.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
};

use serde::{Deserialize, Serialize};

use super::{Direction, PerDirection};

/// The addresses and ports that identify a TCP connection in one direction
/// (`struct nf_conntrack_tuple`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Tuple {
    /// The sender of the packets of this direction.
    pub source: SocketAddr,
    /// Their receiver.
    pub destination: SocketAddr,
    /// The conntrack zone of the packets of this direction. Files of earlier versions have none.
    #[serde(default, skip_serializing_if = "Zone::is_default")]
    pub zone: Zone,
}

/// A conntrack zone (`struct nf_conntrack_zone`). Networks whose addresses overlap have zones of
/// their own. A rule of the operator's puts a packet into one; others are in zone 0.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
pub struct Zone(pub u16);

impl Zone {
    /// Whether it is the zone of packets that no rule has put into one.
    #[must_use]
    pub const fn is_default(&self) -> bool {
        self.0 == 0
    }
}

impl Tuple {
    /// A tuple in zone 0.
    #[must_use]
    pub const fn new(source: SocketAddr, destination: SocketAddr) -> Self {
        Self {
            source,
            destination,
            zone: Zone(0),
        }
    }

    /// The same addresses and ports in this zone.
    #[must_use]
    pub const fn in_zone(self, zone: Zone) -> Self {
        Self { zone, ..self }
    }

    /// Whether the addresses and ports are the same, in whatever zones.
    #[must_use]
    pub fn has_endpoints_of(&self, other: &Self) -> bool {
        (self.source, self.destination) == (other.source, other.destination)
    }

    /// The tuple of the other direction, without NAT between.
    #[must_use]
    pub const fn inverted(self) -> Self {
        Self {
            source: self.destination,
            destination: self.source,
            zone: self.zone,
        }
    }
}

impl fmt::Display for Tuple {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} -> {}", self.source, self.destination)?;
        if self.zone.is_default() {
            return Ok(());
        }
        write!(f, " in zone {}", self.zone.0)
    }
}

/// The two tuples of a conntrack entry. Without NAT the reply tuple is the original one inverted.
/// The difference between the two is the NAT.
///
/// Each tuple is that of packets as they arrive at the gateway, *before* NAT. `of(d).source` is the
/// sender's own address, and `of(d).destination` is the peer's address as the sender knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConntrackTuples(PerDirection<Tuple>);

impl ConntrackTuples {
    /// An entry with these tuples.
    #[must_use]
    pub const fn new(original: Tuple, reply: Tuple) -> Self {
        Self(PerDirection { original, reply })
    }

    /// An entry without NAT.
    #[must_use]
    pub const fn untranslated(original: Tuple) -> Self {
        Self::new(original, original.inverted())
    }

    /// The tuple of one direction, before NAT.
    #[must_use]
    pub fn of(&self, direction: Direction) -> Tuple {
        self.0[direction]
    }

    /// The own address and port of the end that sends in `direction`.
    #[must_use]
    pub fn sender(&self, direction: Direction) -> SocketAddr {
        self.of(direction).source
    }

    /// The address and port, after NAT, by which the peer knows the end that sends in `direction`.
    #[must_use]
    pub fn sender_seen_by_peer(&self, direction: Direction) -> SocketAddr {
        self.of(!direction).destination
    }

    /// The direction of a packet with the addresses and ports of this tuple; `None` if it is of
    /// another connection. The zone was compared where the entry was looked up.
    #[must_use]
    pub fn direction_of(&self, tuple: Tuple) -> Option<Direction> {
        Direction::BOTH
            .into_iter()
            .find(|&direction| self.of(direction).has_endpoints_of(&tuple))
    }
}

/// The addresses of one end of a control connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// Its own address.
    pub own: IpAddr,
    /// The address, after NAT, by which its peer knows it.
    pub seen: IpAddr,
    /// The address that a router beyond this gateway translates `seen` to, where that is known
    /// ([`PublicAddresses`](super::PublicAddresses)).
    pub public: Option<IpAddr>,
    /// The one of them that its peer has to be told.
    pub told: IpAddr,
}

impl Addresses {
    /// The addresses of the end that sends in `direction`.
    #[must_use]
    pub fn of(tuples: &ConntrackTuples, direction: Direction) -> Self {
        let seen = tuples.sender_seen_by_peer(direction).ip();
        Self {
            own: tuples.sender(direction).ip(),
            seen,
            public: None,
            told: seen,
        }
    }

    /// Whether an announced address is this end's. A zero address stands for that of the control
    /// connection. An IPv4-mapped IPv6 address is the IPv4 address (RFC 4291 §2.5.5.2).
    #[must_use]
    pub fn has(&self, announced: IpAddr) -> bool {
        let announced = announced.to_canonical();
        announced == self.own
            || announced == self.seen
            || Some(announced) == self.public
            || announced.is_unspecified()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tuple(source: &str, destination: &str) -> Tuple {
        Tuple::new(source.parse().unwrap(), destination.parse().unwrap())
    }

    /// A client 10.0.0.2 behind 203.0.113.1 talks to 198.51.100.7.
    fn behind_snat() -> ConntrackTuples {
        ConntrackTuples::new(
            tuple("10.0.0.2:4000", "198.51.100.7:21"),
            tuple("198.51.100.7:21", "203.0.113.1:4000"),
        )
    }

    #[test]
    fn the_server_sees_the_outside_address_of_a_translated_client() {
        let tuples = behind_snat();
        assert_eq!(
            tuples.sender(Direction::Original),
            "10.0.0.2:4000".parse().unwrap()
        );
        assert_eq!(
            tuples.sender_seen_by_peer(Direction::Original),
            "203.0.113.1:4000".parse().unwrap()
        );
        assert_eq!(
            tuples.sender(Direction::Reply),
            tuples.sender_seen_by_peer(Direction::Reply)
        );
    }

    #[test]
    fn the_direction_of_a_packet_is_that_of_its_tuple() {
        let tuples = behind_snat();
        assert_eq!(
            tuples.direction_of(tuple("198.51.100.7:21", "203.0.113.1:4000")),
            Some(Direction::Reply)
        );
        assert_eq!(
            tuples.direction_of(tuple("198.51.100.7:21", "10.0.0.2:4000")),
            None
        );
    }
}
