//! The translation of an announcement through the NAT of its control connection.

mod ports;

pub use ports::{LeaseTable, PortShare, choose_port};

use std::{net::SocketAddr, ops::RangeInclusive, time::Duration};

use super::{
    expect::Expectation,
    ftp::Announcement,
    net::{Addresses, ConntrackTuples, Direction},
    session::endpoint_check::Refusal,
};

/// A translated announcement (RFC 2663 §2.9 describes such an ALG).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Translation {
    /// The endpoint on which the announcer listens.
    pub inside: SocketAddr,
    /// The endpoint to which the connector has to connect.
    pub outside: SocketAddr,
    /// Whether `outside` is leased, and has to be released.
    pub is_leased: bool,
}

impl Translation {
    /// Translates the announcement in `line`. The addresses are those of the announcer.
    ///
    /// An announcer without NAT keeps its port. An announcer behind NAT gets one of `ports`.
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
        // The endpoint of a third host stays as it is: the NAT of this control connection says
        // nothing about the way to that host.
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

    /// Releases the outside endpoint, where it is leased.
    pub fn release(&self, leases: &mut LeaseTable) {
        if self.is_leased {
            leases.release(self.outside);
        }
    }

    /// The expectation of the data connection, which is translated like its master.
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
