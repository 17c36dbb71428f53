//! The deployments of a gateway, as conntrack tuples.

use ftp_alg::proto::net::{ConntrackTuples, Direction, Tuple};

/// A control connection through the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Topology {
    /// A routing firewall.
    Routed,
    /// The client 10.0.0.2 is behind 203.0.113.1, a longer address: lines grow.
    Snat,
    /// The client 192.168.100.200 is behind 9.9.9.9: lines shrink.
    SnatShorter,
    /// The client 10.0.0.2 is behind 10.9.9.9: lines keep their length.
    SnatSameLength,
    /// The server 10.0.0.5:2121 is reached at 203.0.113.1:21.
    Dnat,
    /// Both at once.
    Double,
    /// Client and server in one network, which meet at the public address.
    Hairpin,
    /// A routing firewall, IPv6.
    Routed6,
    /// The client fd00::2 is behind 2001:db8::1.
    Snat6,
    /// The server fd00::5 is reached at 2001:db8::1.
    Dnat6,
}

impl Topology {
    pub(crate) const ALL: [Self; 9] = [
        Self::Routed,
        Self::Snat,
        Self::SnatShorter,
        Self::SnatSameLength,
        Self::Dnat,
        Self::Double,
        Self::Hairpin,
        Self::Routed6,
        Self::Snat6,
    ];

    /// The tuples of the `nth` connection.
    pub(crate) fn tuples(self, nth: u16) -> ConntrackTuples {
        let port = 40_000 + nth;
        // client, server as the client knows it, server, client as the server knows it
        let (client, called, server, seen) = match self {
            Self::Routed => ("10.0.0.2", "198.51.100.7:21", "198.51.100.7:21", "10.0.0.2"),
            Self::Snat => (
                "10.0.0.2",
                "198.51.100.7:21",
                "198.51.100.7:21",
                "203.0.113.1",
            ),
            Self::SnatShorter => (
                "192.168.100.200",
                "198.51.100.7:21",
                "198.51.100.7:21",
                "9.9.9.9",
            ),
            Self::SnatSameLength => ("10.0.0.2", "198.51.100.7:21", "198.51.100.7:21", "10.9.9.9"),
            Self::Dnat => (
                "198.51.100.99",
                "203.0.113.1:21",
                "10.0.0.5:2121",
                "198.51.100.99",
            ),
            Self::Double => ("172.16.0.9", "203.0.113.1:21", "10.0.0.5:21", "10.0.0.1"),
            Self::Hairpin => ("10.0.0.2", "203.0.113.1:21", "10.0.0.5:21", "203.0.113.1"),
            Self::Routed6 => (
                "2001:db8:a::2",
                "[2001:db8:b::7]:21",
                "[2001:db8:b::7]:21",
                "2001:db8:a::2",
            ),
            Self::Snat6 => (
                "fd00::2",
                "[2001:db8:b::7]:21",
                "[2001:db8:b::7]:21",
                "2001:db8::1",
            ),
            Self::Dnat6 => (
                "2001:db8:a::2",
                "[2001:db8::1]:21",
                "[fd00::5]:21",
                "2001:db8:a::2",
            ),
        };
        let end = |address: &str| {
            std::net::SocketAddr::new(address.parse().expect("a literal address"), port)
        };
        let original = Tuple::new(end(client), called.parse().expect("a literal endpoint"));
        let reply = Tuple::new(server.parse().expect("a literal endpoint"), end(seen));
        ConntrackTuples::new(original, reply)
    }

    pub(crate) fn is_ipv6(self) -> bool {
        self.tuples(0).sender(Direction::Original).is_ipv6()
    }
}
