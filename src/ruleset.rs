//! Our nf_tables table as a value, and its spellings.
//!
//! The table `inet ftp_alg` does three things, and nothing to any other traffic:
//!
//! * it sends those packets of control connections to an NFQUEUE that the daemon must see,
//! * it recognises each expected data connection once, labels it in conntrack, and translates it
//!   like its control connection,
//! * it keeps conntrack away from packets that the daemon itself injects.
//!
//! A second table, `bridge ftp_alg`, does the same for frames that a bridge forwards
//! ([`Ruleset::build_bridged`]).
//!
//! With the backend `conntrack` the kernel does the second. The table then only attaches our
//! connection tracking helper to the first packet of each control connection.
//!
//! [`Ruleset::build`] is pure, and everything starts from its result: [`Ruleset::to_nft`] and
//! [`to_iptables`] print it for an operator, `io::nftables` sends it to the kernel. So `ftp-alg
//! rules` prints the table that the daemon loads.

mod accept_line;
mod build;
mod iptables;
mod labels;
mod nft;
mod statement;

use std::ops::RangeInclusive;

use ipnetwork::IpNetwork;
use serde::Deserialize;

pub use accept_line::AcceptLine;
pub use iptables::{to_iptables, to_iptables_removal};
pub use labels::{Label, LabelBit, Labels};
pub use nft::removal as nft_removal;
pub use statement::{
    Chain, ChainType, ControlPort, Family, FlagTest, HelperObject, Hook, KeySource, Rule, Ruleset,
    Set, SetKind, State, Statement,
};

/// The name of our tables, of the families `inet` and `bridge`. No other table is ever touched.
pub const TABLE: &str = "ftp_alg";

/// The kernel's name of our connection tracking helper. All network namespaces of the machine share
/// it.
pub const HELPER: &str = "ftp-alg";

/// How many elements a set or map of expectations may hold. Expired elements count until the kernel
/// collects them, once a second. A full set refuses the announcement.
pub const ELEMENTS_MAX: u32 = 65_536;

/// The seed of the hash that assigns connections to queues ("FTPA"). It is fixed, so that the rules
/// of one chain, and both directions of a connection, agree on the queue.
pub const SHARE_SEED: u32 = 0x4654_5041;

/// The octets with which a line of text may begin: digits, letters, and the octets between.
pub const TEXT: RangeInclusive<u8> = b'0'..=b'z';

/// How many handshakes a second the table shows to the daemon. Further ones pass unseen, and their
/// connections lose nothing, because the greeting of the server makes them known. Each handshake
/// costs the daemon a question to conntrack, some 15 µs. So a flood of handshakes costs it at most
/// a thirtieth of a processor. No gateway sees as many new control connections.
pub const HANDSHAKES_A_SECOND: u32 = 2_000;

/// The queue of the packets with which conntrack would pick a connection up in its middle. The
/// configuration takes no queue of this number.
pub const PICKUP_QUEUE: u16 = u16::MAX - 1;

/// The queue that no rule leads to. The daemon holds it for as long as it runs, so that there is
/// one daemon in a network namespace. The configuration takes no queue of this number.
pub const LOCK_QUEUE: u16 = u16::MAX;

/// The priority of injected packets ("FTPA"), by which the output chain knows them. It exempts them
/// from conntrack. They keep it, because a VRF sends them through that chain twice. Their packet
/// mark is that of their connection's packets, so that policy routing sends them the same way.
pub const INJECTED_PRIORITY: u32 = 0x4654_5041;

/// The parameters of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Params {
    /// The control ports. A control connection goes to one of them, as the client dials it or as
    /// the server listens.
    pub control_ports: Vec<u16>,
    /// The NFQUEUE numbers, one worker each.
    pub queues: RangeInclusive<u16>,
    /// What happens to packets of a control connection while no daemon runs.
    pub when_absent: WhenAbsent,
    /// The bits of the conntrack mark that are ours.
    pub marks: Marks,
    /// The bits of the conntrack label that are ours.
    pub labels: Labels,
    /// How the table reaches the queue.
    pub queue_statement: QueueStatement,
    /// The backend, which lets expected data connections in.
    pub backend: Backend,
    /// The ports to which encrypted sessions may have data connections, if any.
    pub tls_ports: Option<RangeInclusive<u16>>,
    /// The networks from any of whose addresses a server may open its data connections.
    pub data_sources: Vec<IpNetwork>,
}

/// The mechanism that lets expected data connections in and translates them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Backend {
    /// Sets, maps and NAT chains of this table.
    #[default]
    Nftables,
    /// The kernel's own expectations. Our helper must be registered before the table is loaded.
    Conntrack,
}

/// The fate of a queued packet that nobody reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WhenAbsent {
    /// It passes uninspected, unless its flow has a sequence offset.
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
    /// The xtables target `NFQUEUE` inside our own table, for kernels without the former. nft
    /// cannot express it: it prints `queue`, and reads that back as the native statement.
    XtTarget,
    /// Not by this table, but by the operator's iptables rules.
    Elsewhere,
}

/// The bits of the conntrack mark that are ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Marks {
    /// A data connection that was expected, while its first packet passes.
    pub data: u32,
}

impl Default for Marks {
    fn default() -> Self {
        Self { data: 0x1000_0000 }
    }
}

impl Default for Params {
    fn default() -> Self {
        Self {
            control_ports: vec![21],
            queues: 0..=1,
            when_absent: WhenAbsent::default(),
            marks: Marks::default(),
            labels: Labels::default(),
            queue_statement: QueueStatement::default(),
            backend: Backend::default(),
            tls_ports: None,
            data_sources: Vec::new(),
        }
    }
}
