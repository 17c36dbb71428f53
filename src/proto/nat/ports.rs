//! The outside ports, and the choice of one for an announcement.

use std::{
    collections::{HashSet, VecDeque},
    net::{IpAddr, SocketAddr},
    ops::RangeInclusive,
};

use serde::Deserialize;

use crate::proto::ftp::Announcement;

/// The most ports that one search tries. Each try takes a hash look-up, and a range with so many
/// leased ports in a row is as good as full.
const TRIES_MAX: u32 = 8192;

/// One port for each combination of lengths that the two halves of a port number, and the whole
/// number, have in decimal. The length of a rewritten line depends on them alone.
const PORTS_OF_EACH_LENGTH: [u16; 9] = [
    0x0405, 0x0432, 0x04ff, 0x0a05, 0x0a32, 0x0aff, 0x6405, 0x6432, 0x64ff,
];

/// The most endpoints in quarantine. The one that has been there longest leaves first.
///
/// A server that connects from its port 20 cannot connect to the same endpoint again while its last
/// connection is in TIME-WAIT (RFC 9293 §3.6.1). That lasts a minute on Linux. Its transfer would
/// fail with a 425. The same holds for a client that always uses one port.
const QUARANTINE_MAX: usize = 1024;

/// The most gateways that share an address. conntrackd synchronises no more than a handful.
const SHARES_MAX: u16 = 16;

/// The slice of the outside ports that this gateway leases, of several that share an address.
///
/// Slices are disjoint. After a failover the new gateway does not know which ports of the old one
/// are still in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct PortShare {
    /// The number of the slice, from 1 on.
    pub part: u16,
    /// The number of slices.
    pub of: u16,
}

impl PortShare {
    /// All ports.
    pub const WHOLE: Self = Self { part: 1, of: 1 };

    fn has(self, port: u16) -> bool {
        port.checked_rem(self.of) == self.part.checked_sub(1)
    }
}

impl TryFrom<String> for PortShare {
    type Error = String;

    fn try_from(written: String) -> Result<Self, String> {
        let share = written.split_once('/').and_then(|(part, of)| {
            Some(Self {
                part: part.parse().ok()?,
                of: of.parse().ok()?,
            })
        });
        share
            .filter(|share| (1..=share.of).contains(&share.part) && share.of <= SHARES_MAX)
            .ok_or_else(|| {
                format!("`{written}` is not a share such as \"1/2\", of at most {SHARES_MAX}")
            })
    }
}

impl Default for PortShare {
    fn default() -> Self {
        Self::WHOLE
    }
}

/// The leased outside endpoints, and those in quarantine.
#[derive(Clone, Debug, Default)]
pub struct LeaseTable {
    leased: HashSet<SocketAddr>,
    quarantined: HashSet<SocketAddr>,
    /// The same endpoints, the longest in quarantine first.
    quarantine_order: VecDeque<SocketAddr>,
    /// The control ports. A data connection to one would be taken for a control connection.
    reserved: Vec<u16>,
    share: PortShare,
}

impl LeaseTable {
    /// A table without leases, of the ports in `share` that are not `reserved`.
    #[must_use]
    pub fn reserving(reserved: Vec<u16>, share: PortShare) -> Self {
        Self {
            reserved,
            share,
            ..Self::default()
        }
    }

    /// Leases an endpoint. `false` where it is leased already, or not to be leased.
    pub fn lease(&mut self, outside: SocketAddr) -> bool {
        let port = outside.port();
        self.share.has(port) && !self.reserved.contains(&port) && self.leased.insert(outside)
    }

    /// Leases an endpoint that is not in quarantine.
    pub fn lease_unquarantined(&mut self, outside: SocketAddr) -> bool {
        !self.quarantined.contains(&outside) && self.lease(outside)
    }

    /// How many endpoints are leased.
    #[must_use]
    pub fn len(&self) -> usize {
        self.leased.len()
    }

    /// Whether none is leased.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.leased.is_empty()
    }

    /// Ends a lease, and puts the endpoint in quarantine.
    pub fn release(&mut self, outside: SocketAddr) {
        let was_leased = self.leased.remove(&outside);
        debug_assert!(was_leased, "{outside} was released twice");
        // The announced port is leased also from the quarantine. It keeps its place in the order.
        if !was_leased || !self.quarantined.insert(outside) {
            return;
        }
        self.quarantine_order.push_back(outside);
        if self.quarantine_order.len() > QUARANTINE_MAX
            && let Some(oldest) = self.quarantine_order.pop_front()
        {
            self.quarantined.remove(&oldest);
        }
    }

    /// Ends the quarantine of all endpoints.
    pub fn clear_quarantine(&mut self) {
        self.quarantined.clear();
        self.quarantine_order.clear();
    }
}

/// Leases an outside endpoint for an announcement. `None` where no port of the range is free.
///
/// A port that keeps the length of the line comes first, because such a line needs no sequence
/// offset. The announced port comes next, and then any other.
#[must_use]
pub fn choose_port(
    line: &[u8],
    announcement: &Announcement,
    address: IpAddr,
    ports: &RangeInclusive<u16>,
    leases: &mut LeaseTable,
) -> Option<SocketAddr> {
    let announced = announcement.port.get();
    let keeps_length =
        |port: u16| announcement.delta_for(line, SocketAddr::new(address, port)) == Some(0);
    let mut find = |wanted: &dyn Fn(u16) -> bool| {
        let find_once = |leases: &mut LeaseTable| {
            find_port(announced, ports, wanted, |port| {
                let outside = SocketAddr::new(address, port);
                // The client has chosen the announced port itself, and knows best whether its last
                // connection is over.
                let is_leased = if port == announced {
                    leases.lease(outside)
                } else {
                    leases.lease_unquarantined(outside)
                };
                is_leased.then_some(outside)
            })
        };
        find_once(leases).or_else(|| {
            // A port out of quarantine may fail. A refusal fails for certain.
            leases.clear_quarantine();
            find_once(leases)
        })
    };
    // Without this check a line that cannot keep its length would search the whole range in vain.
    let can_keep_length = PORTS_OF_EACH_LENGTH.into_iter().any(keeps_length);
    let kept = can_keep_length.then(|| find(&keeps_length)).flatten();
    kept.or_else(|| find(&|_| true))
}

/// Leases the first wanted port: from the announced one to the end of the range, and then from the
/// start of the range.
fn find_port(
    announced: u16,
    ports: &RangeInclusive<u16>,
    wanted: impl Fn(u16) -> bool,
    mut lease: impl FnMut(u16) -> Option<SocketAddr>,
) -> Option<SocketAddr> {
    let (low, high) = (u32::from(*ports.start()), u32::from(*ports.end()));
    let count = (high + 1).saturating_sub(low).max(1);
    let first = if ports.contains(&announced) {
        u32::from(announced)
    } else {
        // Clients then begin their searches at different ports, and rarely meet.
        low + u32::from(announced) % count
    };
    let mut tries = 0..TRIES_MAX;
    for (mut at, end) in [(first, high + 1), (low, first)] {
        while at < end {
            let port = at as u16;
            if !wanted(port) {
                // The next ports have the same digits, and are wanted no more than this one.
                at = next_digits(at);
                continue;
            }
            tries.next()?;
            let found = lease(port);
            if found.is_some() {
                return found;
            }
            at += 1;
        }
    }
    None
}

/// The next port with another number of digits in one of its halves or in the whole number.
fn next_digits(port: u32) -> u32 {
    let half = port & 0xff00;
    let next = match port & 0xff {
        0..=9 => half + 10,
        10..=99 => half + 100,
        _ => half + 256,
    };
    let whole = [10, 100, 1000, 10_000].into_iter().find(|&at| at > port);
    whole.map_or(next, |whole| next.min(whole))
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;
    use crate::proto::ftp::Command;

    /// The order in which ports are tried.
    fn tried(announced: u16, ports: &RangeInclusive<u16>) -> Vec<u16> {
        let tried = RefCell::new(Vec::new());
        let lease = |port| {
            tried.borrow_mut().push(port);
            None
        };
        assert_eq!(find_port(announced, ports, |_| true, lease), None);
        tried.into_inner()
    }

    #[test]
    fn the_announced_port_comes_first_and_every_port_of_the_range_once() {
        assert_eq!(
            tried(10_004, &(10_000..=10_009)),
            [
                10_004, 10_005, 10_006, 10_007, 10_008, 10_009, 10_000, 10_001, 10_002, 10_003
            ]
        );
    }

    #[test]
    fn a_port_outside_the_range_is_never_tried() {
        let all = tried(40_000, &(1024..=1026));
        assert_eq!(all.len(), 3);
        assert!(all.iter().all(|port| (1024..=1026).contains(port)));
    }

    #[test]
    fn the_search_ends_after_its_most_tries_in_any_range() {
        assert_eq!(tried(65_535, &(1..=65_535)).len(), TRIES_MAX as usize);
    }

    #[test]
    fn no_port_of_the_wanted_digits_is_left_out() {
        let digits = |n: u16| n.to_string().len();
        let halves = |port: u16| digits(port >> 8) + digits(port & 0xff);
        for announced in [1, 999, 5001, 9_999, 40_000, 65_535] {
            for length in 2..=6 {
                for of in [&halves as &dyn Fn(u16) -> usize, &digits] {
                    let wanted = |port: u16| of(port) == length;
                    let lease = |port| Some(SocketAddr::from(([0; 4], port)));
                    let found = find_port(announced, &(1..=65_535), wanted, lease);
                    let naive = (announced..=65_535)
                        .chain(1..announced)
                        .find(|&p| wanted(p));
                    assert_eq!(found.map(|found| found.port()), naive);
                }
            }
        }
    }

    #[test]
    fn the_sample_ports_have_every_combination_of_digits() {
        let digits = |n: u16| n.to_string().len();
        let halves: HashSet<_> = PORTS_OF_EACH_LENGTH
            .iter()
            .map(|port| (digits(port >> 8), digits(port & 0xff)))
            .collect();
        assert_eq!(halves.len(), 9);
        let wholes: HashSet<_> = PORTS_OF_EACH_LENGTH
            .iter()
            .map(|&port| digits(port))
            .collect();
        assert_eq!(wholes, HashSet::from([4, 5]));
    }

    #[test]
    fn a_reserved_port_is_never_leased() {
        let mut leases = LeaseTable::reserving(vec![2121], PortShare::WHOLE);
        assert!(!leases.lease("203.0.113.1:2121".parse().unwrap()));
        assert!(leases.lease("203.0.113.1:2122".parse().unwrap()));
    }

    #[test]
    fn a_leased_endpoint_is_not_leased_again_until_it_is_released() {
        let mut leases = LeaseTable::default();
        let outside = "203.0.113.1:5000".parse().unwrap();
        assert!(leases.lease(outside));
        assert!(!leases.lease(outside));
        leases.release(outside);
        assert!(leases.lease(outside));
    }

    #[test]
    fn two_gateways_never_lease_the_same_port_and_leave_none_out() {
        let leased_by = |part| {
            let share = PortShare { part, of: 2 };
            let mut leases = LeaseTable::reserving(Vec::new(), share);
            let endpoint = |port| SocketAddr::from(([203, 0, 113, 1], port));
            (1..=u16::MAX)
                .filter(|&port| leases.lease(endpoint(port)))
                .collect::<HashSet<_>>()
        };
        let (first, second) = (leased_by(1), leased_by(2));
        assert!(first.is_disjoint(&second));
        assert_eq!(first.len() + second.len(), usize::from(u16::MAX));
    }

    #[test]
    fn a_released_endpoint_stays_in_quarantine_while_as_many_others_are_released() {
        let mut leases = LeaseTable::default();
        let endpoint = |port| SocketAddr::from(([203, 0, 113, 1], port));
        let use_once = |leases: &mut LeaseTable, port| {
            assert!(leases.lease_unquarantined(endpoint(port)));
            leases.release(endpoint(port));
        };
        use_once(&mut leases, 5000);
        let others = 10_000..10_000 + QUARANTINE_MAX as u16;
        for port in others {
            assert!(!leases.lease_unquarantined(endpoint(5000)), "before {port}");
            use_once(&mut leases, port);
        }
        use_once(&mut leases, 5000);
    }

    /// The outside port for each of these announced ports, of a client with a longer address. Each
    /// is released before the next is announced.
    fn leased_for(announced: &[u16], ports: &RangeInclusive<u16>) -> Vec<u16> {
        let mut leases = LeaseTable::default();
        let outside = "203.0.113.1".parse().unwrap();
        let mut choose = |port: &u16| {
            let line = format!("PORT 10,0,0,10,{},{}", port >> 8, port & 0xff);
            let Command::Announce(_, Ok(announcement)) = Command::parse(line.as_bytes()) else {
                panic!("{line} announces");
            };
            let leased = choose_port(line.as_bytes(), &announcement, outside, ports, &mut leases);
            leases.release(leased.unwrap());
            leased.unwrap().port()
        };
        announced.iter().map(&mut choose).collect()
    }

    #[test]
    fn one_transfer_after_the_other_has_another_port_each() {
        // The port loses two characters: its first half has one digit, and its second half two.
        let announced: Vec<u16> = (0..50).map(|n| (164 << 8) + 10 + n).collect();
        let leased = leased_for(&announced, &(1024..=65535));
        let different: HashSet<_> = leased.iter().collect();
        assert_eq!(different.len(), leased.len(), "{leased:?}");
        assert!(leased.iter().all(|port| (0x040a..=0x0963).contains(port)));
    }

    #[test]
    fn where_each_port_that_keeps_the_length_is_quarantined_they_are_leased_again_in_turn() {
        let announced = [(164 << 8) + 10; 5];
        assert_eq!(
            leased_for(&announced, &(1034..=1036)),
            [1034, 1035, 1036, 1034, 1035]
        );
    }
}
