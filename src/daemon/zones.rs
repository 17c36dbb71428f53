//! In which conntrack zone a packet is.
//!
//! Most kernels tell it with the packet. Others (without `CONFIG_NETFILTER_NETLINK_GLUE_CT`) do
//! not. There it is guessed: one of the zones in which connections of the packet's interface were
//! found, namely that in which the packet's connection is followed, or else the latest. A
//! connection that is not there is looked up in every other zone that is known, and then searched
//! in the whole table.

use std::time::Instant;

use crate::{
    io::{ctnetlink::SEARCHES_A_SECOND, nfqueue::QueuedPacket},
    proto::{
        budget::TokenBucket,
        net::{IfIndex, Zone},
    },
};

/// How many zones of interfaces are remembered. A look-up in each takes 15 µs.
const KNOWN_MAX: usize = 64;

/// What one worker knows of zones.
#[derive(Debug, Default)]
pub(super) struct Zones {
    /// Where connections were found, by the interface of their packets; the latest first.
    known: Vec<(IfIndex, Zone)>,
    /// The interface of the packet at hand, if the kernel did not tell its zone.
    guessed_by: Option<IfIndex>,
    searches: TokenBucket,
}

impl Zones {
    /// The zone of the packet at hand. `is_followed` says whether the packet's connection is
    /// followed in a zone.
    pub(super) fn of_packet(
        &mut self,
        packet: &QueuedPacket<'_>,
        is_followed: impl Fn(Zone) -> bool,
    ) -> Zone {
        if let Some(tracked) = packet.tracked {
            self.guessed_by = None;
            return tracked.zone;
        }
        let iif = packet.ingress.iif;
        self.guessed_by = Some(iif);
        let own = self.known.iter().filter(|(by, _)| *by == iif);
        let mut own = own.map(|(_, zone)| *zone).chain([Zone::default()]);
        let latest = own.clone().next().unwrap_or_default();
        own.find(|zone| is_followed(*zone)).unwrap_or(latest)
    }

    /// There is no packet at hand: every tuple that is looked up has its true zone.
    pub(super) fn end_packet(&mut self) {
        self.guessed_by = None;
    }

    /// Where else the connection of the packet at hand may be, which was not found in the zone that
    /// was guessed.
    pub(super) fn others(&self, guessed: Zone) -> Vec<Zone> {
        if self.guessed_by.is_none() {
            return Vec::new();
        }
        let known = self.known.iter().map(|(_, zone)| *zone);
        let mut others: Vec<_> = known.chain([Zone::default()]).collect();
        others.sort_unstable();
        others.dedup();
        others.retain(|zone| *zone != guessed);
        others
    }

    /// Whether the connection of the packet at hand, which was not found where it was guessed, may
    /// be searched in all zones.
    pub(super) fn may_search(&mut self, now: Instant) -> bool {
        self.guessed_by.is_some() && self.searches.take_one(SEARCHES_A_SECOND, now)
    }

    /// Whether a connection that was not searched may be in a zone that is not known: the kernel
    /// does not tell that of the packet at hand, and there are zones.
    pub(super) fn may_be_elsewhere(&self) -> bool {
        self.guessed_by.is_some() && self.known.iter().any(|(_, zone)| !zone.is_default())
    }

    /// The connection of the packet at hand was found in this zone.
    pub(super) fn learn(&mut self, zone: Zone) {
        let Some(iif) = self.guessed_by else {
            return;
        };
        self.known.retain(|known| *known != (iif, zone));
        self.known.truncate(KNOWN_MAX - 1);
        self.known.insert(0, (iif, zone));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        io::{clock, nfqueue::QueuedPacketId},
        proto::net::{Ingress, Tuple},
    };

    fn packet(iif: u32, zone: Option<u16>) -> QueuedPacket<'static> {
        let end = ([10, 0, 0, 2], 21).into();
        QueuedPacket {
            id: QueuedPacketId::default(),
            ingress: Ingress {
                iif: IfIndex(iif),
                ..Ingress::default()
            },
            receiver: None,
            tracked: zone.map(|zone| Tuple::new(end, end).in_zone(Zone(zone))),
            bytes: &[],
        }
    }

    fn guess(zones: &mut Zones, iif: u32, followed: Option<u16>) -> Zone {
        zones.of_packet(&packet(iif, None), |zone| Some(zone.0) == followed)
    }

    #[test]
    fn what_was_found_by_an_interface_is_guessed_for_it_alone() {
        let mut zones = Zones::default();
        assert_eq!(guess(&mut zones, 2, None), Zone(0));
        assert!(zones.may_search(clock::now()));
        zones.learn(Zone(7));
        assert_eq!(guess(&mut zones, 3, None), Zone(0));
        assert_eq!(zones.others(Zone(0)), [Zone(7)]);
        assert_eq!(guess(&mut zones, 2, None), Zone(7));
        assert_eq!(zones.others(Zone(7)), [Zone(0)]);
    }

    #[test]
    fn of_several_zones_of_an_interface_that_counts_where_the_connection_is_followed() {
        let mut zones = Zones::default();
        guess(&mut zones, 2, None);
        zones.learn(Zone(7));
        zones.learn(Zone(8));
        assert_eq!(guess(&mut zones, 2, None), Zone(8));
        assert_eq!(guess(&mut zones, 2, Some(7)), Zone(7));
        assert_eq!(guess(&mut zones, 2, Some(0)), Zone(0));
        assert_eq!(guess(&mut zones, 2, Some(9)), Zone(8));
    }

    #[test]
    fn where_the_kernel_tells_nothing_is_searched_or_learnt() {
        let mut zones = Zones::default();
        let told = zones.of_packet(&packet(2, Some(9)), |_| false);
        assert_eq!(told, Zone(9));
        assert!(!zones.may_search(clock::now()));
        zones.learn(Zone(7));
        assert_eq!(guess(&mut zones, 2, None), Zone(0));
        assert!(!zones.may_be_elsewhere());
    }

    #[test]
    fn only_where_there_are_zones_what_is_not_found_may_be_in_another_one() {
        let mut zones = Zones::default();
        guess(&mut zones, 2, None);
        zones.learn(Zone(0));
        assert!(!zones.may_be_elsewhere());
        zones.learn(Zone(7));
        assert!(zones.may_be_elsewhere());
        zones.of_packet(&packet(2, Some(7)), |_| false);
        assert!(!zones.may_be_elsewhere());
    }

    #[test]
    fn a_flood_of_unknown_connections_searches_no_more_than_so_often() {
        let mut zones = Zones::default();
        guess(&mut zones, 2, None);
        let now = clock::now();
        let searches = (0..1000).filter(|_| zones.may_search(now)).count();
        assert_eq!(searches, SEARCHES_A_SECOND as usize);
    }

    #[test]
    fn no_more_zones_are_remembered_than_so_many() {
        let mut zones = Zones::default();
        guess(&mut zones, 2, None);
        (0..1000).map(Zone).for_each(|zone| zones.learn(zone));
        assert_eq!(zones.known.len(), KNOWN_MAX);
        assert_eq!(guess(&mut zones, 2, None), Zone(999));
    }
}
