//! `--nat INSIDE=OUTSIDE`: the NAT of the gateway that a capture is replayed for.
//!
//! A capture may have been taken on either side of the gateway, or on both. Before NAT, as the core
//! sees packets, a sender has its inside address and the peer it names its outside one; a packet
//! captured after NAT is put back into that form.

use std::{
    net::{IpAddr, SocketAddr},
    str::FromStr,
};

use ipnetwork::IpNetwork;

use crate::proto::net::{ConntrackTuples, Tuple};

/// One address or prefix inside, and what it is outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mapping {
    inside: IpNetwork,
    outside: IpNetwork,
}

/// All mappings of one gateway; where two fit, the first one counts.
#[derive(Clone, Debug, Default)]
pub(super) struct Mappings(Vec<Mapping>);

impl Mappings {
    pub(super) fn new(mappings: &[Mapping]) -> Self {
        Self(mappings.to_vec())
    }

    /// The tuple that a captured packet had when it arrived at the gateway.
    pub(super) fn arriving(&self, captured: Tuple) -> Tuple {
        Tuple::new(
            self.inside_of(captured.source),
            self.outside_of(captured.destination),
        )
    }

    /// The entry that connection tracking has for a connection whose first packet arrived so.
    pub(super) fn entry_of(&self, original: Tuple) -> ConntrackTuples {
        ConntrackTuples::new(original, self.opposite(original))
    }

    /// The tuple with which packets of the other direction arrive.
    pub(super) fn opposite(&self, arriving: Tuple) -> Tuple {
        self.arriving(arriving.inverted())
    }

    fn outside_of(&self, end: SocketAddr) -> SocketAddr {
        self.moved(end, |mapping| (mapping.inside, mapping.outside))
    }

    fn inside_of(&self, end: SocketAddr) -> SocketAddr {
        self.moved(end, |mapping| (mapping.outside, mapping.inside))
    }

    fn moved(
        &self,
        end: SocketAddr,
        way: impl Fn(&Mapping) -> (IpNetwork, IpNetwork),
    ) -> SocketAddr {
        let mut ways = self.0.iter().map(way);
        let found = ways.find(|(from, _)| from.contains(end.ip()));
        let address = found.map_or(end.ip(), |(_, to)| with_host_of(to, end.ip()));
        SocketAddr::new(address, end.port())
    }
}

impl FromStr for Mapping {
    type Err = String;

    /// `10.0.0.2=203.0.113.1` or `10.0.0.0/24=203.0.113.0/24`
    fn from_str(written: &str) -> Result<Self, String> {
        let (inside, outside) = written
            .split_once('=')
            .ok_or("write INSIDE=OUTSIDE, such as 10.0.0.2=203.0.113.1")?;
        let (inside, outside) = (network(inside)?, network(outside)?);
        if inside.is_ipv4() != outside.is_ipv4() {
            return Err("both sides must be IPv4, or both IPv6".to_owned());
        }
        if inside.prefix() != outside.prefix() {
            return Err("both prefixes must have the same length".to_owned());
        }
        Ok(Self { inside, outside })
    }
}

/// `10.0.0.2` or `10.0.0.0/24`
fn network(written: &str) -> Result<IpNetwork, String> {
    let network: IpNetwork = written
        .parse()
        .map_err(|_| format!("`{written}` is neither an IP address nor a prefix (10.0.0.0/24)"))?;
    if network.ip() != network.network() {
        return Err(format!("`{written}` has bits beyond its prefix length"));
    }
    Ok(network)
}

/// The address of a network with the same host part as `other`, which is of the same family.
fn with_host_of(network: IpNetwork, other: IpAddr) -> IpAddr {
    match (network, other) {
        (IpNetwork::V4(network), IpAddr::V4(other)) => {
            (network.ip() | (other & !network.mask())).into()
        }
        (IpNetwork::V6(network), IpAddr::V6(other)) => {
            (network.ip() | (other & !network.mask())).into()
        }
        (IpNetwork::V4(_), IpAddr::V6(_)) | (IpNetwork::V6(_), IpAddr::V4(_)) => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mappings(written: &[&str]) -> Mappings {
        let parsed: Vec<Mapping> = written.iter().map(|text| text.parse().unwrap()).collect();
        Mappings::new(&parsed)
    }

    fn tuple(source: &str, destination: &str) -> Tuple {
        Tuple::new(source.parse().unwrap(), destination.parse().unwrap())
    }

    #[test]
    fn without_mappings_nothing_is_moved() {
        let tuple = tuple("10.0.0.2:4000", "198.51.100.7:21");
        assert_eq!(mappings(&[]).arriving(tuple), tuple);
        assert_eq!(
            mappings(&[]).entry_of(tuple),
            ConntrackTuples::untranslated(tuple)
        );
    }

    #[test]
    fn an_inside_client_looks_the_same_whichever_side_was_captured() {
        let nat = mappings(&["10.0.0.2=203.0.113.1"]);
        let original = tuple("10.0.0.2:4000", "198.51.100.7:21");
        let reply = tuple("198.51.100.7:21", "203.0.113.1:4000");
        assert_eq!(nat.arriving(original), original);
        assert_eq!(
            nat.arriving(tuple("203.0.113.1:4000", "198.51.100.7:21")),
            original
        );
        assert_eq!(nat.arriving(reply), reply);
        assert_eq!(
            nat.arriving(tuple("198.51.100.7:21", "10.0.0.2:4000")),
            reply
        );
        assert_eq!(
            nat.entry_of(original),
            ConntrackTuples::new(original, reply)
        );
        assert_eq!(nat.opposite(reply), original);
    }

    #[test]
    fn an_inside_server_looks_the_same_whichever_side_was_captured() {
        let nat = mappings(&["192.168.1.0/24=203.0.113.0/24"]);
        let original = tuple("198.51.100.7:4000", "203.0.113.9:21");
        let reply = tuple("192.168.1.9:21", "198.51.100.7:4000");
        assert_eq!(
            nat.arriving(tuple("198.51.100.7:4000", "192.168.1.9:21")),
            original
        );
        assert_eq!(
            nat.arriving(tuple("203.0.113.9:21", "198.51.100.7:4000")),
            reply
        );
        assert_eq!(
            nat.entry_of(original),
            ConntrackTuples::new(original, reply)
        );
    }

    #[test]
    fn both_ends_may_be_translated() {
        let nat = mappings(&["10.0.0.2=203.0.113.1", "10.0.0.9=203.0.113.9"]);
        let original = tuple("10.0.0.2:4000", "203.0.113.9:21");
        let reply = tuple("10.0.0.9:21", "203.0.113.1:4000");
        assert_eq!(
            nat.entry_of(original),
            ConntrackTuples::new(original, reply)
        );
    }

    #[test]
    fn ipv6_prefixes_are_mapped_host_by_host() {
        let nat = mappings(&["fd00:1::/64=2001:db8:5::/64"]);
        let outside = nat.outside_of("[fd00:1::42]:21".parse().unwrap());
        assert_eq!(outside, "[2001:db8:5::42]:21".parse().unwrap());
        assert_eq!(nat.inside_of(outside), "[fd00:1::42]:21".parse().unwrap());
        let other = "[fd00:2::42]:21".parse().unwrap();
        assert_eq!(nat.outside_of(other), other);
    }

    #[test]
    fn a_prefix_of_one_family_never_fits_an_address_of_the_other() {
        let nat = mappings(&["0.0.0.0/0=0.0.0.0/0", "::/0=::/0"]);
        for end in ["10.0.0.2:1", "[::a00:2]:1"] {
            let end = end.parse().unwrap();
            assert_eq!(nat.outside_of(end), end);
        }
    }

    #[test]
    fn a_mapping_that_makes_no_sense_is_refused_with_its_reason() {
        let cases = [
            ("10.0.0.2", "write INSIDE=OUTSIDE"),
            ("=", "`` is neither an IP address nor a prefix"),
            ("10.0.0=1.2.3.4", "`10.0.0` is neither"),
            (
                "10.0.0.2=2001:db8::1",
                "both sides must be IPv4, or both IPv6",
            ),
            ("10.0.0.0/24=203.0.113.0/25", "the same length"),
            ("10.0.0.0/33=203.0.113.0/33", "`10.0.0.0/33` is neither"),
            ("10.0.0.0/x=203.0.113.0/x", "`10.0.0.0/x` is neither"),
            ("::/129=::/129", "`::/129` is neither"),
            (
                "10.0.0.2/24=203.0.113.2/24",
                "bits beyond its prefix length",
            ),
        ];
        for (written, reason) in cases {
            let refusal = written.parse::<Mapping>().unwrap_err();
            assert!(refusal.contains(reason), "{written} gave {refusal}");
        }
    }
}
