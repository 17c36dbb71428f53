//! The translation of an announcement through the NAT of its control connection.

mod port_set;
mod ports;
mod resting;

pub use port_set::PortSet;
pub use ports::{LeaseTable, PortShare, PortWish};
pub use resting::REST;

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    ops::RangeInclusive,
    time::{Duration, Instant},
};

use super::{
    expect::Expectation,
    ftp::{Announcement, AnnouncementKind},
    net::{Addresses, ConntrackTuples, Direction},
    session::endpoint_check::{DataHost, Refusal},
};

/// A translated announcement (RFC 2663 §2.9 describes such an ALG).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Translation {
    /// The endpoint on which the announcer listens.
    pub inside: SocketAddr,
    /// The endpoint to which the connector's packets come here.
    pub outside: SocketAddr,
    /// The endpoint that the connector has to be told. Another router may translate it to
    /// `outside`.
    pub told: SocketAddr,
    /// Whether `outside` is leased, and has to be released.
    pub is_leased: bool,
}

/// An announcement that was admitted, with what its translation depends on.
#[derive(Clone, Copy, Debug)]
pub struct Untranslated<'a> {
    /// Its line.
    pub line: &'a [u8],
    /// What the line says.
    pub announcement: &'a Announcement,
    /// The host that it means.
    pub host: DataHost,
    /// The addresses of the announcer.
    pub announcer: Addresses,
    /// The address from which the data connection comes.
    pub connector: IpAddr,
    /// The ports that an announcer behind NAT may be given.
    pub ports: &'a RangeInclusive<u16>,
    /// The time.
    pub now: Instant,
}

impl Translation {
    /// Translates an announcement.
    ///
    /// An announcer without NAT keeps its port. An announcer behind NAT gets one of the ports.
    ///
    /// # Errors
    /// [`Refusal::NoFreePort`] where all of the ports are leased.
    pub fn choose(of: &Untranslated<'_>, leases: &mut LeaseTable) -> Result<Self, Refusal> {
        let (port, announcer) = (of.announcement.port.get(), of.announcer);
        // The endpoint of a third host stays as it is: the NAT of this control connection says
        // nothing about the way to that host.
        let (own, told, is_leased) = match of.host {
            DataHost::Exempt(host) => (host, host, false),
            DataHost::Announcer | DataHost::AnnouncerInsteadOf(_) => (
                announcer.own,
                announcer.told,
                announcer.own != announcer.seen,
            ),
        };
        let told = spelled(of.announcement.kind, told);
        let inside = SocketAddr::new(own, port);
        let outside = if is_leased {
            let wish = PortWish {
                line: of.line,
                announcement: of.announcement,
                outside: announcer.seen,
                told,
                peer: of.connector,
                ports: of.ports,
                now: of.now,
            };
            wish.lease(leases).ok_or(Refusal::NoFreePort)?
        } else {
            inside
        };
        Ok(Self {
            inside,
            outside,
            told: SocketAddr::new(told, outside.port()),
            is_leased,
        })
    }

    /// Releases the outside endpoint, where it is leased, because the connection from `connector`
    /// is not to come.
    pub fn release(&self, connector: IpAddr, leases: &mut LeaseTable, now: Instant) {
        if self.is_leased {
            leases.release(self.outside, connector, now);
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
            source_prefix: None,
            destination: self.outside,
            translated_destination: self.inside,
            translated_source: tuples.sender_seen_by_peer(!announcer).ip(),
            denied_iif: None,
            timeout,
        }
    }
}

/// The address that a line of this kind is given. A 227 has no room for an IPv6 address. Its client
/// uses the port alone, and a zero address is no other host's.
const fn spelled(kind: AnnouncementKind, told: IpAddr) -> IpAddr {
    match (kind, told) {
        (AnnouncementKind::Pasv, IpAddr::V6(_)) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        _ => told,
    }
}
