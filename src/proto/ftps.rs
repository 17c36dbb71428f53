//! Data connections of sessions that cannot be read: which may come, without being announced.
//!
//! After an accepted AUTH TLS (RFC 4217), or on a connection that begins with TLS (implicit FTPS), no
//! announcement can be read any more. Where the operator grants it, the client of such a session may
//! then connect to its server within a range of ports: this client, the server as this client knows
//! it, so many at a time, only while the control connection lives. Nothing is open in advance: each
//! connection's first packet is looked at, and one [expectation](super::expect) made for it alone.

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

/// How many ports may be granted. Servers are told to use a range of their own for FTPS, and no
/// server has a thousand transfers of one client at a time.
pub const TLS_PORTS_MAX: usize = 1024;

/// How long what was let in may take to come. Its first packet is at hand; only what an operator's
/// own queue behind ours may hold it up for counts.
pub const TLS_TIMEOUT: Duration = Duration::from_secs(10);

/// What the operator grants.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsSettings {
    /// The ports; none where nothing is granted.
    pub ports: Option<RangeInclusive<u16>>,
    /// How many data connections of one session there may be at a time.
    pub at_once: usize,
    /// For which servers; for all of them where none is named.
    pub servers: Vec<IpNetwork>,
    /// Control ports whose connections begin with TLS.
    pub implicit_ports: Vec<u16>,
}

impl TlsSettings {
    /// Whether a control connection begins with TLS, by the port that its client dialled or the one
    /// on which its server listens.
    #[must_use]
    pub fn is_implicit(&self, tuples: &ConntrackTuples) -> bool {
        let dialled = tuples.of(Direction::Original).destination.port();
        let listening = tuples.of(Direction::Reply).source.port();
        let mut ports = self.implicit_ports.iter();
        ports.any(|port| [dialled, listening].contains(port))
    }
}

/// Who may connect to whom: addresses as the client's packets have them, before any NAT.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HostPair {
    /// The client.
    pub client: IpAddr,
    /// The server as the client knows it.
    pub server: IpAddr,
}

impl HostPair {
    /// The ends of a control connection.
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

/// Why a data connection that an encrypted session may have asked for is not let in. The names are
/// stable: they are log reasons and metric labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TlsRefusal {
    /// The session has as many as it may have at a time.
    TooManyData,
    /// The session or its client's host opens too much (`budget`).
    TooManyOpenings,
    /// It came in the client's name by the server's link.
    Forged,
    /// The port on the outside is given to an announcement, whose connection this may be.
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

/// Whether these are the first bytes of TLS: a record of the handshake, of any version since SSL 3
/// (RFC 8446 §5.1).
#[must_use]
pub fn begins_tls(payload: &[u8]) -> bool {
    payload.starts_with(&[22, 3])
}
