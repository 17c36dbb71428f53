//! `--nat INSIDE=OUTSIDE`: the NAT of the gateway that a capture is replayed for.
//!
//! A capture may have been taken on either side of the gateway, or on both. Before NAT, as the core
//! sees packets, a sender has its inside address and the peer it names its outside one; a packet
//! captured after NAT is put back into that form.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    str::FromStr,
};

use crate::proto::net::{ConntrackTuples, Tuple};

/// One address or prefix inside, and what it is outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mapping {
    inside: Prefix,
    outside: Prefix,
}

/// All mappings of one gateway; where two fit, the first one counts.
#[derive(Clone, Debug, Default)]
pub(super) struct Mappings(Vec<Mapping>);

/// The addresses that share their first `length` bits with `address`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Prefix {
    address: IpAddr,
    length: u8,
}

impl Mappings {
    pub(super) fn new(mappings: &[Mapping]) -> Self {
        Self(mappings.to_vec())
    }

    /// The tuple that a captured packet had when it arrived at the gateway.
    pub(super) fn arriving(&self, captured: Tuple) -> Tuple {
        Tuple {
            source: self.inside_of(captured.source),
            destination: self.outside_of(captured.destination),
        }
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

    fn moved(&self, end: SocketAddr, way: impl Fn(&Mapping) -> (Prefix, Prefix)) -> SocketAddr {
        let mut ways = self.0.iter().map(way);
        let found = ways.find(|(from, _)| from.contains(end.ip()));
        let address = found.map_or(end.ip(), |(_, to)| to.with_host_of(end.ip()));
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
        let (inside, outside) = (inside.parse::<Prefix>()?, outside.parse::<Prefix>()?);
        if inside.address.is_ipv4() != outside.address.is_ipv4() {
            return Err("both sides must be IPv4, or both IPv6".to_owned());
        }
        if inside.length != outside.length {
            return Err("both prefixes must have the same length".to_owned());
        }
        Ok(Self { inside, outside })
    }
}

impl FromStr for Prefix {
    type Err = String;

    fn from_str(written: &str) -> Result<Self, String> {
        let (address, length) = match written.split_once('/') {
            Some((address, length)) => (address, Some(length)),
            None => (written, None),
        };
        let address: IpAddr = address
            .parse()
            .map_err(|_| format!("`{address}` is not an IP address"))?;
        let bits = bits_of(address);
        let length = length.map_or(Ok(bits), str::parse);
        let Some(length) = length.ok().filter(|&length| length <= bits) else {
            return Err(format!("`{written}` has no prefix length from 0 to {bits}"));
        };
        let prefix = Self { address, length };
        if prefix.host_of(address) != 0 {
            return Err(format!("`{written}` has bits beyond its prefix length"));
        }
        Ok(prefix)
    }
}

impl Prefix {
    fn contains(self, address: IpAddr) -> bool {
        let is_same_family = address.is_ipv4() == self.address.is_ipv4();
        is_same_family && number_of(address) ^ self.host_of(address) == number_of(self.address)
    }

    /// This prefix's address with the same host part as `other`.
    fn with_host_of(self, other: IpAddr) -> IpAddr {
        let number = number_of(self.address) | self.host_of(other);
        match self.address {
            // The upper 96 bits of an IPv4 address's number are zero.
            IpAddr::V4(_) => Ipv4Addr::from_bits(number as u32).into(),
            IpAddr::V6(_) => Ipv6Addr::from_bits(number).into(),
        }
    }

    fn host_of(self, address: IpAddr) -> u128 {
        let host_bits = u32::from(bits_of(self.address) - self.length);
        number_of(address) & !u128::MAX.checked_shl(host_bits).unwrap_or(0)
    }
}

const fn bits_of(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

fn number_of(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(address.to_bits()),
        IpAddr::V6(address) => address.to_bits(),
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
        Tuple {
            source: source.parse().unwrap(),
            destination: destination.parse().unwrap(),
        }
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
            ("=", "`` is not an IP address"),
            ("10.0.0=1.2.3.4", "`10.0.0` is not an IP address"),
            (
                "10.0.0.2=2001:db8::1",
                "both sides must be IPv4, or both IPv6",
            ),
            ("10.0.0.0/24=203.0.113.0/25", "the same length"),
            ("10.0.0.0/33=203.0.113.0/33", "from 0 to 32"),
            ("10.0.0.0/x=203.0.113.0/x", "from 0 to 32"),
            ("::/129=::/129", "from 0 to 128"),
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
