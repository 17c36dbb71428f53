//! Our nf_tables table as a value, and its spellings.
//!
//! The table `inet ftp_alg` does three things, and nothing to any other traffic:
//!
//! * it sends the packets of control connections that the daemon must see to an NFQUEUE,
//! * it lets each expected data connection be recognised once, by a mark of its own in the
//!   conntrack mark, and translates it the way its control connection is translated,
//! * it keeps conntrack away from packets that the daemon itself injects.
//!
//! With the backend `conntrack` the second is the kernel's own work, and the table only attaches
//! our connection tracking helper to each control connection's first packet.
//!
//! [`Ruleset::build`] is pure; everything that shows or loads the table starts from its result:
//! [`Ruleset::to_nft`] and [`to_iptables`] print it for an operator, `io::nftables` sends it to
//! the kernel. What the daemon loads is therefore what `ftp-alg rules` prints.

mod build;
mod iptables;
mod nft;
mod statement;

use std::ops::RangeInclusive;

use serde::Deserialize;

pub use iptables::{to_iptables, to_iptables_removal};
pub use nft::REMOVAL as NFT_REMOVAL;
pub use statement::{
    Chain, ChainType, ControlPort, Family, FlagTest, HelperObject, Hook, Rule, Ruleset, Set,
    SetKind, State, Statement,
};

/// The name of our table, family `inet`. No other table is ever touched.
pub const TABLE: &str = "ftp_alg";

/// The kernel's name of our connection tracking helper. It is the machine's: all network namespaces
/// share it.
pub const HELPER: &str = "ftp-alg";

/// How many elements a set or map of expectations may hold, dead ones that the kernel has not
/// collected yet included (it collects once a second). A full set refuses the announcement.
pub const ELEMENTS_MAX: u32 = 65_536;

/// The seed of the hash that shares connections out to the queues ("FTPA"). It is fixed, so that the
/// rules of one chain, and both directions of a connection, agree on its queue.
pub const SHARE_SEED: u32 = 0x4654_5041;

/// The octets with which a line of text may begin: digits, letters, and what lies between.
pub const TEXT: RangeInclusive<u8> = b'0'..=b'z';

/// How many handshakes a second the daemon is shown. Those beyond pass unseen, which costs their
/// connections nothing: the first word of a server makes them known. Each costs the daemon a
/// question to conntrack, some 15 µs in all, and a flood of handshakes that nobody completes costs
/// it no more than a thirtieth of a processor in this way. It is far more than gateways see of new
/// control connections.
pub const HANDSHAKES_A_SECOND: u32 = 2_000;

/// The packet mark of what the daemon injects ("FTPA"); the output chain exempts it from
/// conntrack.
pub const INJECTED_MARK: u32 = 0x4654_5041;

/// Everything the table depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Params {
    /// The ports whose connections are control connections, as a client dials them or as a
    /// server listens.
    pub control_ports: Vec<u16>,
    /// The NFQUEUE numbers, one worker each.
    pub queues: RangeInclusive<u16>,
    /// What happens to packets of a control connection while no daemon runs.
    pub when_absent: WhenAbsent,
    /// The bits of the conntrack mark that are ours.
    pub marks: Marks,
    /// How the table reaches the queue.
    pub queue_statement: QueueStatement,
    /// What lets expected data connections in.
    pub backend: Backend,
    /// The ports to which encrypted sessions may have data connections, if any.
    pub tls_ports: Option<RangeInclusive<u16>>,
}

/// What lets expected data connections in, and translates them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Backend {
    /// Sets, maps and NAT chains of this table.
    #[default]
    Nftables,
    /// The kernel's own expectations; our helper must be registered before the table is loaded.
    Conntrack,
}

/// What happens to a queued packet that nobody reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WhenAbsent {
    /// It passes, uninspected. Never so on a flow with a sequence offset.
    #[default]
    Bypass,
    /// It is dropped.
    Drop,
}

/// How a packet gets into the queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum QueueStatement {
    /// nf_tables' own `queue` (`CONFIG_NFT_QUEUE`).
    #[default]
    Native,
    /// The xtables target `NFQUEUE` inside our own table, for kernels without the former. No text
    /// can express it: nft prints it as `queue` and reads that back as the native statement.
    XtTarget,
    /// Not by this table: the operator's iptables rules do it.
    Elsewhere,
}

/// The bits of the conntrack mark that are ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Marks {
    /// A data connection that was expected.
    pub data: u32,
    /// A control connection with a sequence offset.
    pub adjust: u32,
    /// A control connection that went encrypted.
    pub opaque: u32,
}

impl Default for Marks {
    fn default() -> Self {
        Self {
            data: 0x1000_0000,
            adjust: 0x2000_0000,
            opaque: 0x4000_0000,
        }
    }
}

impl Default for Params {
    fn default() -> Self {
        Self {
            control_ports: vec![21],
            queues: 0..=1,
            when_absent: WhenAbsent::default(),
            marks: Marks::default(),
            queue_statement: QueueStatement::default(),
            backend: Backend::default(),
            tls_ports: None,
        }
    }
}
