//! What an announcement becomes on the other side of the gateway.

mod ports;

pub use ports::{LeaseTable, LocalLeases, PortLeases, PortShare, choose_port};

use std::{
    net::{IpAddr, SocketAddr},
    ops::RangeInclusive,
    time::Duration,
};

use super::{
    expect::Expectation,
    ftp::Announcement,
    net::{ConntrackTuples, Direction},
    session::endpoint_check::Refusal,
};

/// An announcement translated through its control connection's NAT (RFC 2663's ALG).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Translation {
    /// Where the announcer listens.
    pub inside: SocketAddr,
    /// Where the connector must connect to reach it.
    pub outside: SocketAddr,
    /// Whether `outside` was leased and must be released.
    pub is_leased: bool,
}

impl Translation {
    /// Translates an announcement that came in `direction`.
    ///
    /// An announcer without NAT keeps its port. Behind NAT it is given one of `ports`. The endpoint of
    /// somebody else, which was admitted, is announced as it is: how he is reached is not known here.
    ///
    /// # Errors
    /// [`Refusal::NoFreePort`] where all of `ports` are leased.
    pub fn choose(
        line: &[u8],
        announcement: &Announcement,
        (tuples, direction): (&ConntrackTuples, Direction),
        ports: &RangeInclusive<u16>,
        leases: &dyn PortLeases,
    ) -> Result<Self, Refusal> {
        let (own, seen) = addresses_of(tuples, direction);
        let others = announcement
            .address
            .filter(|address| ![own, seen].contains(address) && !address.is_unspecified());
        let inside = SocketAddr::new(others.unwrap_or(own), announcement.port.get());
        if own == seen || others.is_some() {
            return Ok(Self {
                inside,
                outside: inside,
                is_leased: false,
            });
        }
        let outside =
            choose_port(line, announcement, seen, ports, leases).ok_or(Refusal::NoFreePort)?;
        Ok(Self {
            inside,
            outside,
            is_leased: true,
        })
    }

    /// Gives back what was leased.
    pub fn release(&self, leases: &dyn PortLeases) {
        if self.is_leased {
            leases.release(self.outside);
        }
    }

    /// The expectation of the data connection: from the connector, translated like its master.
    #[must_use]
    pub fn expectation(
        &self,
        tuples: &ConntrackTuples,
        announcer: Direction,
        timeout: Duration,
    ) -> Expectation {
        Expectation {
            source: tuples.sender(!announcer).ip(),
            destination: self.outside,
            translated_destination: self.inside,
            translated_source: tuples.sender_seen_by_peer(!announcer).ip(),
            denied_iif: None,
            timeout,
        }
    }
}

/// The real address of the end that sends in `direction`, and the one its peer knows it by.
#[must_use]
pub fn addresses_of(tuples: &ConntrackTuples, direction: Direction) -> (IpAddr, IpAddr) {
    (
        tuples.sender(direction).ip(),
        tuples.sender_seen_by_peer(direction).ip(),
    )
}
