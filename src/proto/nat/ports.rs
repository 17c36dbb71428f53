//! Which outside port an announcement is given.

use std::{
    cell::RefCell,
    collections::HashSet,
    net::{IpAddr, SocketAddr},
    ops::RangeInclusive,
};

use crate::proto::ftp::Announcement;

/// How many ports are tried before the search gives up. Each try costs a hash look-up; a range
/// in which this many in a row are leased is as good as exhausted.
const TRIES_MAX: u32 = 8192;

/// One port for each number of digits that the two halves of a port number, or the number as a
/// whole, can have. What a line's length becomes depends on nothing else.
const PORTS_OF_EACH_LENGTH: [u16; 9] = [
    0x0405, 0x0432, 0x04ff, 0x0a05, 0x0a32, 0x0aff, 0x6405, 0x6432, 0x64ff,
];

/// The outside endpoints that are given away. Two sessions never hold the same one. The daemon's
/// workers share one table behind this.
pub trait PortLeases {
    /// Takes `outside` if nobody has it.
    fn lease(&self, outside: SocketAddr) -> bool;
    /// Gives `outside` back.
    fn release(&self, outside: SocketAddr);
}

/// The outside endpoints that are given away, and the ports that never are: an expected
/// connection to a control port would be taken for a control connection.
#[derive(Clone, Debug, Default)]
pub struct LeaseTable {
    taken: HashSet<SocketAddr>,
    reserved: Vec<u16>,
}

impl LeaseTable {
    /// Nothing is given away yet; `reserved` never is.
    #[must_use]
    pub fn reserving(reserved: Vec<u16>) -> Self {
        Self {
            taken: HashSet::new(),
            reserved,
        }
    }

    /// Takes `outside` if nobody has it.
    pub fn lease(&mut self, outside: SocketAddr) -> bool {
        !self.reserved.contains(&outside.port()) && self.taken.insert(outside)
    }

    /// Gives `outside` back.
    pub fn release(&mut self, outside: SocketAddr) {
        self.taken.remove(&outside);
    }
}

/// Leases of a single core, as tests and `replay` use it.
#[derive(Debug, Default)]
pub struct LocalLeases(RefCell<LeaseTable>);

impl LocalLeases {
    /// Leases from this table.
    #[must_use]
    pub fn of(table: LeaseTable) -> Self {
        Self(RefCell::new(table))
    }
}

impl PortLeases for LocalLeases {
    fn lease(&self, outside: SocketAddr) -> bool {
        self.0.borrow_mut().lease(outside)
    }

    fn release(&self, outside: SocketAddr) {
        self.0.borrow_mut().release(outside);
    }
}

/// Leases an outside endpoint for an announcement: one that keeps the line's length where there
/// is one (a line of unchanged length needs no sequence offset), else the announced port, else
/// any. `None` where none is free.
#[must_use]
pub fn choose_port(
    line: &[u8],
    announcement: &Announcement,
    address: IpAddr,
    ports: &RangeInclusive<u16>,
    leases: &dyn PortLeases,
) -> Option<SocketAddr> {
    let announced = announcement.port.get();
    let keeps_length =
        |port: u16| announcement.delta_for(line, SocketAddr::new(address, port)) == Some(0);
    let lease = |port: u16| {
        let outside = SocketAddr::new(address, port);
        leases.lease(outside).then_some(outside)
    };
    let candidates = || candidates(announced, ports);
    if PORTS_OF_EACH_LENGTH.into_iter().any(keeps_length) {
        let found = candidates()
            .filter(|&port| keeps_length(port))
            .find_map(lease);
        if found.is_some() {
            return found;
        }
    }
    candidates().take(TRIES_MAX as usize).find_map(lease)
}

/// The range's ports, the announced one first where it is in the range, then onwards from it.
fn candidates(announced: u16, ports: &RangeInclusive<u16>) -> impl Iterator<Item = u16> {
    let (low, high) = (u32::from(*ports.start()), u32::from(*ports.end()));
    let count = (high + 1).saturating_sub(low);
    let first = u32::from(announced).saturating_sub(low) % count.max(1);
    let first = if ports.contains(&announced) {
        first
    } else {
        u32::from(announced) % count.max(1)
    };
    (0..count).map(move |step| (low + (first + step) % count) as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_announced_port_comes_first_and_every_port_of_the_range_once() {
        let all: Vec<u16> = candidates(10_004, &(10_000..=10_009)).collect();
        assert_eq!(
            all,
            [
                10_004, 10_005, 10_006, 10_007, 10_008, 10_009, 10_000, 10_001, 10_002, 10_003
            ]
        );
    }

    #[test]
    fn a_port_outside_the_range_is_never_a_candidate() {
        let all: Vec<u16> = candidates(40_000, &(1024..=1026)).collect();
        assert_eq!(all.len(), 3);
        assert!(all.iter().all(|port| (1024..=1026).contains(port)));
    }

    #[test]
    fn the_whole_range_of_ports_has_no_overflow() {
        assert_eq!(candidates(65_535, &(1..=65_535)).count(), 65_535);
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
        let leases = LocalLeases::of(LeaseTable::reserving(vec![2121]));
        assert!(!leases.lease("203.0.113.1:2121".parse().unwrap()));
        assert!(leases.lease("203.0.113.1:2122".parse().unwrap()));
    }

    #[test]
    fn a_leased_endpoint_is_given_to_nobody_else_until_released() {
        let leases = LocalLeases::default();
        let outside = "203.0.113.1:5000".parse().unwrap();
        assert!(leases.lease(outside));
        assert!(!leases.lease(outside));
        leases.release(outside);
        assert!(leases.lease(outside));
    }
}
