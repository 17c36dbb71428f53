//! What an announcement becomes on the other side of the gateway.

mod ports;

pub use ports::{LeaseTable, PortShare, choose_port};

use std::{net::SocketAddr, ops::RangeInclusive, time::Duration};

use super::{
    expect::Expectation,
    ftp::Announcement,
    net::{Addresses, ConntrackTuples, Direction},
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
    /// Translates the announcement in `line` of the end that has these addresses.
    ///
    /// An announcer without NAT keeps its port. Behind NAT it is given one of `ports`. The endpoint of
    /// a third host, which was admitted, stays as it is: how it is reached is not known here.
    ///
    /// # Errors
    /// [`Refusal::NoFreePort`] where all of `ports` are leased.
    pub fn choose(
        line: &[u8],
        announcement: &Announcement,
        announcer: Addresses,
        ports: &RangeInclusive<u16>,
        leases: &mut LeaseTable,
    ) -> Result<Self, Refusal> {
        let third_party = announcement.address.filter(|at| !announcer.has(*at));
        let host = third_party.unwrap_or(announcer.own);
        let inside = SocketAddr::new(host, announcement.port.get());
        if announcer.own == announcer.seen || third_party.is_some() {
            return Ok(Self {
                inside,
                outside: inside,
                is_leased: false,
            });
        }
        let outside = choose_port(line, announcement, announcer.seen, ports, leases)
            .ok_or(Refusal::NoFreePort)?;
        Ok(Self {
            inside,
            outside,
            is_leased: true,
        })
    }

    /// Gives back what was leased.
    pub fn release(&self, leases: &mut LeaseTable) {
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
