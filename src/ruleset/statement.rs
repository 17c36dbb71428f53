//! The elements of our table: sets, chains, rules, typed statements.
//!
//! Each [`Statement`] has exactly one nft spelling (`nft.rs`) and one list of nf_tables expressions
//! (`io::nftables`). A test compares the two in the kernel.

use std::net::IpAddr;

use ipnetwork::IpNetwork;

use super::{Backend, LabelBit};
use crate::proto::{net::Layer, packet::Flags as TcpFlags};

/// One whole table of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ruleset {
    /// The layer whose packets pass it.
    pub layer: Layer,
    /// Advice to an operator who loads it, one line each.
    pub advice: Vec<String>,
    /// Our connection tracking helper, where the table attaches it.
    pub helper: Option<HelperObject>,
    /// Its sets and maps.
    pub sets: Vec<Set>,
    /// Its chains. Each one stands before the chains that jump to it.
    pub chains: Vec<Chain>,
}

impl Ruleset {
    /// The backend that the table is for.
    #[must_use]
    pub const fn backend(&self) -> Backend {
        match self.helper {
            Some(_) => Backend::Conntrack,
            None => Backend::Nftables,
        }
    }
}

/// The table's object for the helper that is registered as [`HELPER`](super::HELPER), for both IP
/// versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HelperObject {
    /// A comment for the operator.
    pub why: &'static str,
}

impl HelperObject {
    /// The object's name in the table.
    pub const NAME: &str = "control";
}

/// An IP version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Family {
    /// IPv4.
    Ipv4,
    /// IPv6.
    Ipv6,
}

impl Family {
    /// Both, in the order we write them.
    pub const BOTH: [Self; 2] = [Self::Ipv4, Self::Ipv6];
}

/// How the source address of a packet becomes the first part of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeySource {
    /// As it is.
    Whole(Family),
    /// As the first address of this network, in which it is.
    Network(IpNetwork),
}

impl KeySource {
    /// The IP version.
    #[must_use]
    pub const fn family(self) -> Family {
        match self {
            Self::Whole(family) => family,
            Self::Network(IpNetwork::V4(_)) => Family::Ipv4,
            Self::Network(IpNetwork::V6(_)) => Family::Ipv6,
        }
    }

    /// The mask under which the address is taken, if it is not taken whole.
    #[must_use]
    pub fn mask(self) -> Option<IpAddr> {
        match self {
            Self::Whole(_) => None,
            Self::Network(network) => Some(network.mask()),
        }
    }
}

/// A named set or map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Set {
    /// A comment for the operator.
    pub why: &'static str,
    /// Its kind.
    pub kind: SetKind,
}

/// The kind of a set or map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SetKind {
    /// The control ports, fixed.
    ControlPorts(Vec<u16>),
    /// source . destination . port of a connection that may come once: each element matches one
    /// packet.
    Permission(Family),
    /// source . destination . port : translated destination . port
    Destination(Family),
    /// source . destination . port : translated source
    Source(Family),
    /// source . destination . port : conntrack mark of the control connection
    MasterMark(Family),
    /// source . destination . port . interface of a connection that never comes by that interface:
    /// a packet that does is spoofed.
    Spoofed(Family),
    /// client . server of encrypted sessions: the daemon sees the first packets of each pair.
    FtpsPairs(Family),
}

impl SetKind {
    /// The set's name in the table.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::ControlPorts(_) => "control_ports",
            Self::Permission(Family::Ipv4) => "expect4",
            Self::Permission(Family::Ipv6) => "expect6",
            Self::Destination(Family::Ipv4) => "dnat4",
            Self::Destination(Family::Ipv6) => "dnat6",
            Self::Source(Family::Ipv4) => "snat4",
            Self::Source(Family::Ipv6) => "snat6",
            Self::MasterMark(Family::Ipv4) => "mark4",
            Self::MasterMark(Family::Ipv6) => "mark6",
            Self::Spoofed(Family::Ipv4) => "spoofed4",
            Self::Spoofed(Family::Ipv6) => "spoofed6",
            Self::FtpsPairs(Family::Ipv4) => "tls4",
            Self::FtpsPairs(Family::Ipv6) => "tls6",
        }
    }
}

/// A chain; a base chain where it has a hook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    /// A comment for the operator.
    pub why: &'static str,
    /// Its name.
    pub name: &'static str,
    /// The hook that calls it, if one does.
    pub hook: Option<Hook>,
    /// Its rules.
    pub rules: Vec<Rule>,
}

/// The place of a base chain in the path of packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hook {
    /// The chain's type.
    pub chain_type: ChainType,
    /// nft's name of the hook.
    pub name: &'static str,
    /// Lower runs earlier; conntrack is at -200, destination NAT at -100, source NAT at 100.
    pub priority: i32,
}

/// The type of a base chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChainType {
    /// Sees every packet.
    Filter,
    /// Sees the first packet of a connection and decides its NAT.
    Nat,
}

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// A comment for the reader of the printed table; may be empty.
    pub why: &'static str,
    /// Its matches, then its effects.
    pub statements: Vec<Statement>,
}

/// A packet's relation to its conntrack entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It begins a connection.
    New,
    /// It belongs to a connection that has seen packets both ways.
    Established,
    /// A rule keeps conntrack from seeing it (`notrack`).
    Untracked,
    /// Conntrack has no entry for it: it would begin one, or cannot (a FIN or RST alone).
    Unknown,
}

/// The port that is compared with the control ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ControlPort {
    /// The packet's source port, as it is at this place.
    Source,
    /// The packet's destination port, as it is at this place.
    Destination,
    /// The port the client dialled.
    Dialled,
    /// The port from which the server answers. Behind a port-forward it is another one.
    Listening,
}

/// How TCP's flags are tested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlagTest {
    /// At least one of these is set.
    Any(TcpFlags),
    /// None of these is set.
    None(TcpFlags),
    /// Of `of`, exactly `set` are set.
    Exactly {
        /// The flags that must be set.
        set: TcpFlags,
        /// The flags looked at.
        of: TcpFlags,
    },
}

/// One step of a rule: a match, which ends the rule if it fails, or an effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Statement {
    /// The packet arrived over the loopback interface.
    FromLoopback,
    /// The packet arrived as one of a VRF device.
    FromVrf,
    /// The packet has this priority (`SO_PRIORITY` of its socket).
    PacketPriority(u32),
    /// The packet is TCP.
    Tcp,
    /// The packet's relation to its connection.
    State(State),
    /// The connection's entry was there before this packet.
    Confirmed,
    /// Any of these bits is set in the connection's mark.
    ConnectionMark(u32),
    /// This bit is set in the connection's label.
    Label(LabelBit),
    /// TCP flags.
    Flags(FlagTest),
    /// More packets come here than so many a second, averaged over a second.
    Beyond(u32),
    /// No other packet has come here within the last minute.
    Rarely,
    /// The segment carries at least one octet.
    HasPayload,
    /// The segment's first octet is a digit, a letter, or one between. Text begins so, but no
    /// record of TLS does (RFC 8446 §5.1).
    BeginsAsText,
    /// The packet goes to one of these ports.
    ToPorts {
        /// The first.
        first: u16,
        /// The last.
        last: u16,
    },
    /// The packet's source and destination are a pair with an encrypted session.
    FromFtpsPair(Family),
    /// This port of the packet or of its connection is a control port.
    ControlPort(ControlPort),
    /// The connection belongs to this share of the workers, in both directions.
    Share {
        /// Which share.
        index: u16,
        /// Of how many.
        of: u16,
    },
    /// The packet comes from an address of this network.
    FromNetwork(IpNetwork),
    /// The packet's source, destination and destination port are an element of the family's
    /// permission set. Each element matches once.
    Expected(KeySource),
    /// The packet's source, destination, destination port and interface are an element of the
    /// family's set of spoofed ones.
    Spoofed(KeySource),
    /// Sets bits in the connection's mark.
    SetConnectionMark(u32),
    /// Clears bits in the connection's mark.
    ClearConnectionMark(u32),
    /// Gives the connection the mark of its control connection. The rule ends if the map has none.
    InheritMark(KeySource),
    /// Sets a bit in the connection's label.
    SetLabel(LabelBit),
    /// Destination NAT as the map says. The rule ends if the map has no such element.
    TranslateDestination(KeySource),
    /// Destination NAT to the same destination, so that no later NAT rule is asked.
    KeepDestination(Family),
    /// Source NAT as the map says. The rule ends if the map has no such element.
    TranslateSource(KeySource),
    /// Source NAT to the same source, so that no later NAT rule is asked.
    KeepSource(Family),
    /// Conntrack does not see this packet.
    Notrack,
    /// The connection that this packet begins gets the table's helper, unless it has a helper.
    AttachHelper,
    /// The packet goes to the daemon.
    Queue {
        /// The queue's number.
        number: u16,
        /// Whether it passes if no daemon listens.
        bypass: bool,
        /// Whether it goes through the xtables target instead of the native statement.
        through_xt: bool,
    },
    /// The packet ends here.
    Drop,
    /// Leave this chain.
    Return,
    /// Continue in that chain, then come back.
    Jump(&'static str),
    /// Continue in that chain and return from it to our caller.
    Goto(&'static str),
}
