//! The addresses by which the world knows this gateway, where another router translates beyond it.

use std::{collections::BTreeMap, net::IpAddr};

use super::{Addresses, ConntrackTuples, Direction};

/// Outside addresses of this gateway, each with its public address: the one that a router beyond
/// translates it to, one to one (a cloud's gateway, or the outer one of two home routers).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PublicAddresses(BTreeMap<IpAddr, IpAddr>);

impl PublicAddresses {
    /// With these pairs: an outside address, and its public one.
    #[must_use]
    pub fn new(pairs: impl IntoIterator<Item = (IpAddr, IpAddr)>) -> Self {
        Self(pairs.into_iter().collect())
    }

    /// The addresses of the end that sends in `direction`.
    #[must_use]
    pub fn addresses_of(&self, tuples: &ConntrackTuples, direction: Direction) -> Addresses {
        let addresses = Addresses::of(tuples, direction);
        let Some(public) = self.0.get(&addresses.seen).copied() else {
            return addresses;
        };
        let peer = tuples.sender(!direction).ip();
        Addresses {
            public: Some(public),
            told: if is_beyond(peer, public) {
                public
            } else {
                addresses.seen
            },
            ..addresses
        }
    }
}

/// Whether packets from `peer` come through the router that translates to `public`. A private
/// address does not cross a router to the public Internet. So a peer that has one is on this side:
/// it is a host behind this gateway, or between the two routers. Where the address beyond is a
/// private one itself, nothing tells, and most peers are beyond.
const fn is_beyond(peer: IpAddr, public: IpAddr) -> bool {
    is_private(public) || !is_private(peer)
}

/// Whether an address is for use within a site (RFC 1918, 3927, 4193, 6598) or a host.
const fn is_private(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => {
            let [first, second, ..] = address.octets();
            let is_shared = first == 100 && second & 0xc0 == 64;
            address.is_private() || address.is_link_local() || address.is_loopback() || is_shared
        }
        IpAddr::V6(address) => {
            let is_local = address.is_unique_local() || address.is_unicast_link_local();
            is_local || address.is_loopback()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::net::Tuple;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    /// A client 10.0.0.2 behind 172.31.0.4 talks to `server`.
    fn told_to(server: &str, public: &PublicAddresses) -> Addresses {
        let [client, seen] = ["10.0.0.2:4000", "172.31.0.4:4000"].map(|end| end.parse().unwrap());
        let server = format!("{server}:21").parse().unwrap();
        let tuples = ConntrackTuples::new(Tuple::new(client, server), Tuple::new(server, seen));
        public.addresses_of(&tuples, Direction::Original)
    }

    #[test]
    fn a_peer_beyond_the_outer_router_is_told_the_public_address_and_one_before_it_is_not() {
        let public = PublicAddresses::new([(ip("172.31.0.4"), ip("203.0.113.9"))]);
        let beyond = told_to("198.51.100.7", &public);
        assert_eq!(beyond.told, ip("203.0.113.9"));
        assert!(beyond.has(ip("203.0.113.9")) && beyond.has(ip("172.31.0.4")));
        for here in [
            "172.31.0.99",
            "10.9.9.9",
            "192.168.1.1",
            "100.64.0.1",
            "169.254.1.1",
        ] {
            let before = told_to(here, &public);
            assert_eq!(before.told, ip("172.31.0.4"), "{here}");
            assert!(
                before.has(ip("203.0.113.9")),
                "it may have been told to announce it"
            );
        }
    }

    #[test]
    fn where_the_address_beyond_is_private_itself_every_peer_is_told_it() {
        let public = PublicAddresses::new([(ip("172.31.0.4"), ip("10.200.0.1"))]);
        assert_eq!(told_to("10.99.0.1", &public).told, ip("10.200.0.1"));
    }

    #[test]
    fn an_end_whose_address_is_not_listed_has_no_public_one() {
        let public = PublicAddresses::new([(ip("172.31.0.5"), ip("203.0.113.9"))]);
        let addresses = told_to("198.51.100.7", &public);
        assert_eq!((addresses.public, addresses.told), (None, ip("172.31.0.4")));
        assert!(!addresses.has(ip("203.0.113.9")));
    }
}
