//! The data connections of encrypted sessions (FTPS), which come without an announcement.
//!
//! After an accepted AUTH TLS (RFC 4217), and on a connection that begins with TLS (implicit FTPS),
//! no announcement can be read. Where the operator grants it, the client of such a session may
//! connect to its server within a range of ports. The number of connections at a time is limited,
//! and the grant ends with the control connection.
//!
//! Nothing is open in advance. The first packet of each such connection is queued, and one
//! [expectation](super::expect) is made for it alone.

mod grants;

pub use grants::{
    ADMITTED_MAX, AdmittedData, DataSyn, FtpsSession, GRANTS_MAX, GrantTable, SynDecision,
};

use std::{net::IpAddr, ops::RangeInclusive, time::Duration};

use ipnetwork::IpNetwork;

use super::{
    expect::ExpectError,
    net::{ConntrackTuples, Direction, Tuple},
};

/// The most ports that may be granted. A server has a range of its own for FTPS, and less than a
/// thousand transfers of one client at a time.
pub const TLS_PORTS_MAX: usize = 1024;

/// The timeout of an expectation for a first packet. The packet is at hand already, but another
/// queue of the operator may delay it.
pub const TLS_TIMEOUT: Duration = Duration::from_secs(10);

/// The operator's grant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsSettings {
    /// The ports; `None` where nothing is granted.
    pub ports: Option<RangeInclusive<u16>>,
    /// The most data connections of one session at a time.
    pub at_once: usize,
    /// The servers; empty for all servers.
    pub servers: Vec<IpNetwork>,
    /// The control ports whose connections begin with TLS.
    pub implicit_ports: Vec<u16>,
}

impl TlsSettings {
    /// Whether a control connection begins with TLS. The port that its client dialled or the port
    /// on which its server listens may say so.
    #[must_use]
    pub fn is_implicit(&self, tuples: &ConntrackTuples) -> bool {
        // The two differ behind a port-forward.
        let dialled = tuples.of(Direction::Original).destination.port();
        let listening = tuples.of(Direction::Reply).source.port();
        let mut ports = self.implicit_ports.iter();
        ports.any(|port| [dialled, listening].contains(port))
    }
}

/// A client and a server, by the addresses of the client's packets before any NAT.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HostPair {
    /// The client.
    pub client: IpAddr,
    /// The server.
    pub server: IpAddr,
}

impl HostPair {
    /// The pair of a control connection.
    #[must_use]
    pub fn of(tuples: &ConntrackTuples) -> Self {
        Self::dialled(tuples.of(Direction::Original))
    }

    /// The ends of a connection that the client opens, by the tuple of its packets.
    #[must_use]
    pub fn dialled(tuple: Tuple) -> Self {
        Self {
            client: tuple.source.ip(),
            server: tuple.destination.ip(),
        }
    }
}

/// Why a data connection of an encrypted session is refused. The names are stable: they appear in
/// logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TlsRefusal {
    /// The session has as many data connections as it may have at a time.
    TooManyData,
    /// The session or the host of its client opens too many pinholes (`budget`).
    TooManyOpenings,
    /// Its first packet bears the client's address, and came by the server's interface.
    Forged,
    /// The outside port is leased to an announcement, and this may be its connection.
    PortGiven,
    /// The kernel did not take the expectation.
    Kernel(ExpectError),
}

impl TlsRefusal {
    /// The stable lower-case identifier.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TooManyData => "too_many_tls_data",
            Self::TooManyOpenings => "too_many_openings",
            Self::Forged => "forged",
            Self::PortGiven => "port_given",
            Self::Kernel(error) => error.as_str(),
        }
    }
}

/// Whether TLS begins with these bytes: a handshake record of SSL 3 or later (RFC 8446 §5.1).
#[must_use]
pub fn begins_tls(payload: &[u8]) -> bool {
    payload.starts_with(&[22, 3])
}
