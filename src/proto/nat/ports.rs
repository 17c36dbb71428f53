//! The outside ports, and the choice of one for an announcement.

use std::{
    collections::HashSet,
    net::{IpAddr, SocketAddr},
    ops::RangeInclusive,
    time::Instant,
};

use serde::Deserialize;

use super::{port_set::PortSet, resting::Resting};
use crate::proto::ftp::{Announcement, Role};

/// The most ports that one search tries. Each try takes a hash look-up, and a range with so many
/// leased ports in a row is as good as full.
const TRIES_MAX: u32 = 8192;

/// One port for each combination of lengths that the two halves of a port number, and the whole
/// number, have in decimal. The length of a rewritten line depends on them alone.
const PORTS_OF_EACH_LENGTH: [u16; 9] = [
    0x0405, 0x0432, 0x04ff, 0x0a05, 0x0a32, 0x0aff, 0x6405, 0x6432, 0x64ff,
];

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

/// The leased outside endpoints, and those that rest after a lease.
#[derive(Clone, Debug, Default)]
pub struct LeaseTable {
    leased: HashSet<SocketAddr>,
    resting: Resting,
    /// The control ports. A data connection to one would be taken for a control connection.
    reserved: Vec<u16>,
    /// Ports that no announcement is given.
    avoided: PortSet,
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

    /// Gives no announcement these ports from now on. What is leased already stays so.
    pub fn avoid(&mut self, ports: PortSet) {
        self.avoided = ports;
    }

    /// Leases an endpoint. `false` where it is leased already, or not to be leased.
    pub fn lease(&mut self, outside: SocketAddr) -> bool {
        let port = outside.port();
        self.share.has(port) && !self.reserved.contains(&port) && self.leased.insert(outside)
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

    /// Ends a lease. The endpoint rests towards the peer that may have connected to it.
    pub fn release(&mut self, outside: SocketAddr, peer: IpAddr, now: Instant) {
        let was_leased = self.leased.remove(&outside);
        debug_assert!(was_leased, "{outside} was released twice");
        if was_leased {
            self.resting.begin(outside, peer, now);
        }
    }

    /// Leases an endpoint that an announcement may be given.
    fn lease_chosen(&mut self, outside: SocketAddr) -> bool {
        !self.avoided.contains(outside.port()) && self.lease(outside)
    }
}

/// What an outside port is chosen for.
#[derive(Clone, Copy, Debug)]
pub struct PortWish<'a> {
    /// The announcing line.
    pub line: &'a [u8],
    /// What it announces.
    pub announcement: &'a Announcement,
    /// The address to which connections come here.
    pub outside: IpAddr,
    /// The address that the line is given.
    pub told: IpAddr,
    /// The address from which the connection comes.
    pub peer: IpAddr,
    /// The ports that may be chosen.
    pub ports: &'a RangeInclusive<u16>,
    /// The time.
    pub now: Instant,
}

impl PortWish<'_> {
    /// Leases an outside endpoint. `None` where no port of the range is free.
    ///
    /// The announced port comes first: a router beyond this gateway may forward no other. A port
    /// that keeps the length of the line comes next, because such a line needs no sequence offset.
    /// Then comes any other. What was in use a short time ago comes last, and of that the port that
    /// has rested longest: it may fail, but a refusal fails for certain.
    #[must_use]
    pub fn lease(&self, leases: &mut LeaseTable) -> Option<SocketAddr> {
        let keeps_length = |port: u16| self.keeps_length(port);
        // Without this check a line that cannot keep its length would search the whole range in
        // vain.
        let can_keep_length = PORTS_OF_EACH_LENGTH.into_iter().any(keeps_length);
        self.lease_announced(leases)
            .or_else(|| {
                can_keep_length
                    .then(|| self.lease_rested(&keeps_length, leases))
                    .flatten()
            })
            .or_else(|| self.lease_rested(&|_| true, leases))
            .or_else(|| self.lease_longest_rested(leases))
    }

    /// A client of a server that announces a port again connects from another port of its own, so
    /// that port need not rest. The server of a client may connect from its port 20.
    fn lease_announced(&self, leases: &mut LeaseTable) -> Option<SocketAddr> {
        let outside = self.at(self.announcement.port.get());
        let needs_rest = self.announcement.kind.announcer() == Role::Client;
        let rests = needs_rest && leases.resting.has(outside, self.peer, self.now);
        let is_free = self.ports.contains(&outside.port()) && !rests;
        (is_free && leases.lease_chosen(outside)).then_some(outside)
    }

    fn lease_rested(
        &self,
        wanted: &dyn Fn(u16) -> bool,
        leases: &mut LeaseTable,
    ) -> Option<SocketAddr> {
        find_port(self.announcement.port.get(), self.ports, wanted, |port| {
            let outside = self.at(port);
            let rests = leases.resting.has(outside, self.peer, self.now);
            (!rests && leases.lease_chosen(outside)).then_some(outside)
        })
    }

    fn lease_longest_rested(&self, leases: &mut LeaseTable) -> Option<SocketAddr> {
        let is_meant = |outside: &SocketAddr| {
            outside.ip() == self.outside && self.ports.contains(&outside.port())
        };
        let resting = leases.resting.of_peer(self.peer).filter(is_meant);
        let resting: Vec<_> = resting.take(TRIES_MAX as usize).collect();
        resting
            .into_iter()
            .find(|outside| leases.lease_chosen(*outside))
    }

    fn keeps_length(&self, port: u16) -> bool {
        let told = SocketAddr::new(self.told, port);
        self.announcement.delta_for(self.line, told) == Some(0)
    }

    const fn at(&self, port: u16) -> SocketAddr {
        SocketAddr::new(self.outside, port)
    }
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
    use std::{cell::RefCell, time::Duration};

    use super::*;
    use crate::proto::{
        ftp::{Command, parse_announcing_reply},
        nat::resting::REST,
    };

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
        leases.release(outside, PEER, crate::proto::test_origin());
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

    const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(198, 51, 100, 7));

    /// The outside port for each of these announced ports, of a client with a longer address. Each
    /// is released before the next is announced, a second later.
    fn leased_for(announced: &[u16], ports: &RangeInclusive<u16>, avoided: &[u16]) -> Vec<u16> {
        let mut leases = LeaseTable::default();
        leases.avoid(avoided.iter().copied().collect());
        let mut now = crate::proto::test_origin();
        let mut choose = |port: &u16| {
            now += Duration::from_secs(1);
            let line = format!("PORT 10,0,0,10,{},{}", port >> 8, port & 0xff);
            let leased = lease_for(&line, ports, &mut leases, now).unwrap();
            leases.release(leased, PEER, now);
            leased.port()
        };
        announced.iter().map(&mut choose).collect()
    }

    fn lease_for(
        line: &str,
        ports: &RangeInclusive<u16>,
        leases: &mut LeaseTable,
        now: Instant,
    ) -> Option<SocketAddr> {
        let bytes = line.as_bytes();
        let announcement = if let Command::Announce(_, announced) = Command::parse(bytes) {
            announced.unwrap()
        } else {
            parse_announcing_reply(227, bytes).unwrap()
        };
        let outside = "203.0.113.1".parse().unwrap();
        let wish = PortWish {
            line: line.as_bytes(),
            announcement: &announcement,
            outside,
            told: outside,
            peer: PEER,
            ports,
            now,
        };
        wish.lease(leases)
    }

    #[test]
    fn the_announced_port_is_kept_wherever_it_is_free() {
        let announced: Vec<u16> = (50_000..50_100).collect();
        assert_eq!(leased_for(&announced, &(1024..=65_535), &[]), announced);
    }

    #[test]
    fn a_port_that_was_announced_again_gives_way_to_one_of_the_same_length_while_it_rests() {
        // The address gains a character, and the port loses one.
        let leased = leased_for(&[50_000, 50_000, 50_000], &(1024..=65_535), &[]);
        assert_eq!(leased[0], 50_000);
        let different: HashSet<_> = leased.iter().collect();
        assert_eq!(different.len(), 3);
        for port in &leased[1..] {
            let line = format!("203,0,113,1,{},{}", port >> 8, port & 0xff);
            assert_eq!(line.len(), "10,0,0,10,195,80".len());
        }
    }

    #[test]
    fn a_server_keeps_the_port_that_it_announces_again() {
        let mut leases = LeaseTable::default();
        let now = crate::proto::test_origin();
        for _ in 0..3 {
            let line = "227 ok (10,0,0,10,195,80)";
            let leased = lease_for(line, &(1024..=65_535), &mut leases, now).unwrap();
            assert_eq!(leased.port(), 50_000);
            leases.release(leased, PEER, now);
        }
    }

    #[test]
    fn an_avoided_port_is_never_chosen_and_may_be_leased_for_what_was_announced_before() {
        let avoided = [5060, 5061];
        assert_eq!(leased_for(&[5060], &(5060..=5062), &avoided), [5062]);
        let mut leases = LeaseTable::default();
        leases.avoid(avoided.into_iter().collect());
        assert!(leases.lease(SocketAddr::from(([203, 0, 113, 1], 5060))));
        let now = crate::proto::test_origin();
        let line = "PORT 10,0,0,10,19,196";
        assert_eq!(lease_for(line, &(5060..=5061), &mut leases, now), None);
    }

    #[test]
    fn where_every_port_rests_they_are_leased_again_in_turn() {
        let announced = [50_000; 7];
        assert_eq!(
            leased_for(&announced, &(1034..=1036), &[])[3..],
            leased_for(&announced, &(1034..=1036), &[])[..4]
        );
    }

    #[test]
    fn no_port_comes_again_within_a_burst_to_one_server() {
        // A client whose system gives it the same few ports again and again.
        let announced: Vec<u16> = (0..1000).map(|n| 50_000 + n % 28).collect();
        let leased = leased_for(&announced[..REST.as_secs() as usize], &(1024..=65_535), &[]);
        let different: HashSet<_> = leased.iter().collect();
        assert_eq!(different.len(), leased.len(), "{leased:?}");
    }
}
