//! Expectations as data: permission for one announced data connection.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use super::net::IfIndex;

/// Names one expectation for as long as the core speaks of it. Different for all cores of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ExpectationId(pub u64);

/// Permission for exactly one connection: from any port of `source` to `destination`, both as
/// the connector's first packet shows them when it arrives at the gateway, before NAT
/// (`nf_conntrack_expect`'s tuple under its mask).
///
/// The data connection is translated like its master: to `translated_destination`, from
/// `translated_source`. Where the master has no NAT these equal `destination` and `source`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Expectation {
    /// The connector's own address.
    pub source: IpAddr,
    /// Where the connector was told to connect.
    pub destination: SocketAddr,
    /// Where the announcer listens.
    pub translated_destination: SocketAddr,
    /// The connector as the announcer knows it; its port is left to the kernel.
    pub translated_source: IpAddr,
    /// The interface by which this data connection must not arrive: its announcer's. A first packet
    /// that bears the connector's address and arrives there was forged by a neighbour of the
    /// announcer. `None` where it is unknown, or where both ends share an interface.
    pub denied_iif: Option<IfIndex>,
    /// How long it may wait for its connection.
    pub timeout: Duration,
}

impl Expectation {
    /// Whether the data connection's destination is translated (an announcer behind NAT).
    #[must_use]
    pub fn has_translated_destination(&self) -> bool {
        self.destination != self.translated_destination
    }

    /// Whether the data connection's source is translated (a connector behind NAT).
    #[must_use]
    pub fn has_translated_source(&self) -> bool {
        self.source != self.translated_source
    }
}

/// Why the kernel did not take an expectation. The names are stable: they are log reasons and
/// metric labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ExpectError {
    /// The same source, destination and port are already expected.
    Clash,
    /// The set, map or expectation table is full.
    TableFull,
    /// The kernel is out of memory.
    NoMemory,
    /// The daemon may not change this table.
    NotPermitted,
    /// Our table, a set in it, or the control connection's conntrack entry is gone.
    Gone,
    /// The control connection began before our helper was there to be attached to it
    /// (conntrack backend).
    NoHelper,
    /// Anything else; the log has the error number.
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
