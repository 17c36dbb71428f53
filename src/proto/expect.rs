//! Expectations: the permission for one announced data connection.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use ipnetwork::IpNetwork;

use super::net::IfIndex;

/// The name of one expectation. It is unique among all cores of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ExpectationId(pub u64);

impl ExpectationId {
    /// The name of all expectations that an earlier process has left in force. No core gives it.
    pub const INHERITED: Self = Self(0);
}

/// The permission for one connection, from any port of `source` to `destination`.
///
/// Both are those of the connector's first packet as it arrives at the gateway, before NAT
/// (`struct nf_conntrack_expect`: the tuple under its mask).
///
/// The data connection is translated like its master, to `translated_destination` and from
/// `translated_source`. Without NAT these equal `destination` and `source`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Expectation {
    /// The connector's own address, or the first address of its network.
    pub source: IpAddr,
    /// The number of leading bits of `source` that count, where the connection may come from any
    /// address of a network. `None`: all of them.
    pub source_prefix: Option<u8>,
    /// The endpoint that the connector reads in the line.
    pub destination: SocketAddr,
    /// The endpoint on which the announcer listens.
    pub translated_destination: SocketAddr,
    /// The connector's address as the announcer sees it. The kernel chooses the port.
    pub translated_source: IpAddr,
    /// The interface by which this data connection must not arrive: the announcer's. A first packet
    /// that bears the connector's address and arrives there was forged by a neighbour of the
    /// announcer. `None` where it is unknown, or where both ends share an interface.
    pub denied_iif: Option<IfIndex>,
    /// The time within which the connection has to come.
    pub timeout: Duration,
}

impl Expectation {
    /// The same for a connection that may come from any address of a network, or from the one
    /// address of it. It seems to come from the connector all the same.
    #[must_use]
    pub fn with_sources(self, sources: IpNetwork) -> Self {
        let is_one = sources.prefix() == IpNetwork::from(sources.ip()).prefix();
        Self {
            source: sources.network(),
            source_prefix: (!is_one).then_some(sources.prefix()),
            ..self
        }
    }

    /// The addresses from which the connection may come.
    #[must_use]
    pub fn sources(&self) -> IpNetwork {
        let prefix = self.source_prefix;
        let network = prefix.and_then(|prefix| IpNetwork::new(self.source, prefix).ok());
        network.unwrap_or_else(|| self.source.into())
    }

    /// Whether the destination is translated, because the announcer is behind NAT.
    #[must_use]
    pub fn has_translated_destination(&self) -> bool {
        self.destination != self.translated_destination
    }

    /// Whether the source is translated, because the connector is behind NAT.
    #[must_use]
    pub fn has_translated_source(&self) -> bool {
        self.source != self.translated_source || self.source_prefix.is_some()
    }
}

/// Why the kernel refused an expectation. The names are stable: they appear in logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ExpectError {
    /// The same connection is expected already.
    Clash,
    /// The set, map or expectation table is full.
    TableFull,
    /// The kernel is out of memory.
    NoMemory,
    /// The daemon may not change this table.
    NotPermitted,
    /// Our table, a set in it, or the control connection's conntrack entry is gone.
    Gone,
    /// The control connection began before our helper could be attached to it (conntrack backend).
    NoHelper,
    /// Another error. The log has its number.
    Other,
}

impl ExpectError {
    /// The stable lower-case identifier.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Clash => "expectation_clash",
            Self::TableFull => "expectation_table_full",
            Self::NoMemory => "no_memory",
            Self::NotPermitted => "not_permitted",
            Self::Gone => "table_gone",
            Self::NoHelper => "no_helper",
            Self::Other => "kernel_error",
        }
    }
}
