//! In which conntrack zone a packet is.
//!
//! Most kernels tell it with the packet. Others (without `CONFIG_NETFILTER_NETLINK_GLUE_CT`) do
//! not. There the zone in which the connections of an interface were found last is a guess that
//! conntrack confirms with each look-up, and a connection that is in no guessed zone is searched in
//! the whole table.

use std::{collections::HashMap, time::Instant};

use crate::{
    io::{ctnetlink::SEARCHES_A_SECOND, nfqueue::QueuedPacket},
    proto::{
        budget::TokenBucket,
        net::{IfIndex, Zone},
    },
};

/// What one worker knows of zones.
#[derive(Debug, Default)]
pub(super) struct Zones {
    /// Where connections were found last, by the interface of their packets.
    guesses: HashMap<IfIndex, Zone>,
    /// The interface of the packet at hand, if the kernel did not tell its zone.
    guessed_by: Option<IfIndex>,
    searches: TokenBucket,
}

impl Zones {
    /// The zone of the packet at hand.
    pub(super) fn of_packet(&mut self, packet: &QueuedPacket<'_>) -> Zone {
        if let Some(tracked) = packet.tracked {
            self.guessed_by = None;
            return tracked.zone;
        }
        let iif = packet.ingress.iif;
        self.guessed_by = Some(iif);
        self.guesses.get(&iif).copied().unwrap_or_default()
    }

    /// Whether the connection of the packet at hand, which was not found where it was guessed, may
    /// be searched in all zones.
    pub(super) fn may_search(&mut self, now: Instant) -> bool {
        self.guessed_by.is_some() && self.searches.take_one(SEARCHES_A_SECOND, now)
    }

    /// The connection of the packet at hand was found in this zone.
    pub(super) fn learn(&mut self, zone: Zone) {
        if let Some(iif) = self.guessed_by {
            self.guesses.insert(iif, zone);
        }
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

    #[test]
    fn what_was_found_by_an_interface_is_guessed_for_it_alone() {
        let mut zones = Zones::default();
        assert_eq!(zones.of_packet(&packet(2, None)), Zone(0));
        assert!(zones.may_search(clock::now()));
        zones.learn(Zone(7));
        assert_eq!(zones.of_packet(&packet(3, None)), Zone(0));
        assert_eq!(zones.of_packet(&packet(2, None)), Zone(7));
    }

    #[test]
    fn where_the_kernel_tells_nothing_is_searched_or_learnt() {
        let mut zones = Zones::default();
        assert_eq!(zones.of_packet(&packet(2, Some(9))), Zone(9));
        assert!(!zones.may_search(clock::now()));
        zones.learn(Zone(7));
        assert_eq!(zones.of_packet(&packet(2, None)), Zone(0));
    }

    #[test]
    fn a_flood_of_unknown_connections_searches_no_more_than_so_often() {
        let mut zones = Zones::default();
        zones.of_packet(&packet(2, None));
        let now = clock::now();
        let searches = (0..1000).filter(|_| zones.may_search(now)).count();
        assert_eq!(searches, SEARCHES_A_SECOND as usize);
    }
}
