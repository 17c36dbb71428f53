//! The table as nft text: what `ftp-alg rules` prints and `nft -f` loads.
//!
//! Written for nft 1.0.6 and later. Connection-tracking ports are preceded by `meta l4proto tcp`
//! because nft 1.0.6 knows their type only then.

use std::fmt;

use ipnetwork::IpNetwork;

use super::{
    ChainType, ControlPort, ELEMENTS_MAX, Family, FlagTest, HELPER, HelperObject, KeySource, Rule,
    Ruleset, SHARE_SEED, Set, SetKind, State, Statement, TABLE, TEXT, statement::Chain,
};
use crate::proto::{net::Layer, packet::Flags as TcpFlags};

/// The text that removes the table of a layer, whether it exists or not, and nothing else.
#[must_use]
pub const fn removal(layer: Layer) -> &'static str {
    match layer {
        Layer::Routed => "add table inet ftp_alg\ndelete table inet ftp_alg\n",
        Layer::Bridged => "add table bridge ftp_alg\ndelete table bridge ftp_alg\n",
    }
}

impl Ruleset {
    /// The table as text that `nft -f` loads in one transaction, replacing an older one.
    #[must_use]
    pub fn to_nft(&self) -> String {
        let advice: String = self
            .advice
            .iter()
            .map(|line| format!("# {line}\n"))
            .collect();
        format!("{advice}{}{self}", removal(self.layer))
    }
}

impl fmt::Display for Ruleset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let family = match self.layer {
            Layer::Routed => "inet",
            Layer::Bridged => "bridge",
        };
        writeln!(f, "table {family} {TABLE} {{")?;
        if let Some(helper) = &self.helper {
            helper.fmt(f)?;
        }
        for set in &self.sets {
            set.fmt(f)?;
        }
        for chain in &self.chains {
            writeln!(f)?;
            chain.fmt(f)?;
        }
        writeln!(f, "}}")
    }
}

impl fmt::Display for HelperObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        comment(f, 1, self.why)?;
        writeln!(f, "\tct helper {} {{", Self::NAME)?;
        writeln!(f, "\t\ttype \"{HELPER}\" protocol tcp")?;
        writeln!(f, "\t}}")
    }
}

impl fmt::Display for Set {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        comment(f, 1, self.why)?;
        let keyword = match self.kind {
            SetKind::ControlPorts(_)
            | SetKind::Permission(_)
            | SetKind::FtpsPairs(_)
            | SetKind::Spoofed(_) => "set",
            SetKind::Destination(_) | SetKind::Source(_) | SetKind::MasterMark(_) => "map",
        };
        writeln!(f, "\t{keyword} {} {{", self.kind.name())?;
        match &self.kind {
            SetKind::ControlPorts(ports) => {
                let ports: Vec<_> = ports.iter().map(ToString::to_string).collect();
                writeln!(f, "\t\ttype inet_service")?;
                writeln!(f, "\t\telements = {{ {} }}", ports.join(", "))?;
            }
            SetKind::Permission(family) => {
                expiring(f, *family, "")?;
                writeln!(f, "\t\tlimit rate 1/day burst 1 packets counter")?;
            }
            SetKind::Destination(family) => {
                expiring(
                    f,
                    *family,
                    &format!(" : {} . inet_service", address_type(*family)),
                )?;
            }
            SetKind::FtpsPairs(family) => {
                let address = address_type(*family);
                writeln!(f, "\t\ttype {address} . {address}")?;
                writeln!(f, "\t\tsize {ELEMENTS_MAX}")?;
            }
            SetKind::Spoofed(family) => expiring(f, *family, " . iface_index")?,
            SetKind::MasterMark(family) => expiring(f, *family, " : mark")?,
            SetKind::Source(family) => {
                expiring(f, *family, &format!(" : {}", address_type(*family)))?;
            }
        }
        writeln!(f, "\t}}")
    }
}

fn expiring(f: &mut fmt::Formatter<'_>, family: Family, data: &str) -> fmt::Result {
    let address = address_type(family);
    writeln!(f, "\t\ttype {address} . {address} . inet_service{data}")?;
    writeln!(f, "\t\tsize {ELEMENTS_MAX}")?;
    writeln!(f, "\t\tflags timeout")
}

impl fmt::Display for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        comment(f, 1, self.why)?;
        writeln!(f, "\tchain {} {{", self.name)?;
        if let Some(hook) = self.hook {
            let chain_type = match hook.chain_type {
                ChainType::Filter => "filter",
                ChainType::Nat => "nat",
            };
            let (hook, priority) = (hook.name, hook.priority);
            writeln!(
                f,
                "\t\ttype {chain_type} hook {hook} priority {priority}; policy accept;"
            )?;
        }
        for rule in &self.rules {
            rule.fmt(f)?;
        }
        writeln!(f, "\t}}")
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        comment(f, 2, self.why)?;
        let statements: Vec<_> = self.statements.iter().map(ToString::to_string).collect();
        writeln!(f, "\t\t{}", statements.join(" "))
    }
}

fn comment(f: &mut fmt::Formatter<'_>, depth: usize, why: &str) -> fmt::Result {
    if why.is_empty() {
        return Ok(());
    }
    writeln!(f, "{}# {why}", "\t".repeat(depth))
}

impl fmt::Display for Statement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FromLoopback => f.write_str("iif lo"),
            Self::FromVrf => f.write_str("meta iifkind \"vrf\""),
            Self::PacketPriority(value) => priority(f, *value),
            Self::Tcp => f.write_str("meta l4proto tcp"),
            Self::State(State::New) => f.write_str("ct state new"),
            Self::State(State::Established) => f.write_str("ct state established"),
            Self::State(State::Untracked) => f.write_str("ct state untracked"),
            Self::State(State::Unknown) => f.write_str("ct state invalid,new"),
            Self::Confirmed => f.write_str("ct status confirmed"),
            Self::ConnectionMark(bits) => write!(f, "ct mark & {bits:#010x} != 0"),
            Self::Label(bit) => write!(f, "ct label {}", bit.number()),
            Self::Flags(test) => write!(f, "tcp flags {test}"),
            Self::Rarely => f.write_str("limit rate 1/minute burst 1 packets"),
            Self::Beyond(rate) => write!(f, "limit rate over {rate}/second burst {rate} packets"),
            // Fails where there is no such octet.
            Self::HasPayload => f.write_str("@ih,0,8 0-255"),
            Self::BeginsAsText => {
                let (first, last) = (TEXT.start(), TEXT.end());
                write!(f, "@ih,0,8 {first}-{last}")
            }
            Self::ToPorts { first, last } => to_ports(f, *first, *last),
            Self::FromFtpsPair(family) => {
                let (protocol, set) = (protocol(*family), SetKind::FtpsPairs(*family).name());
                write!(f, "{protocol} saddr . {protocol} daddr @{set}")
            }
            Self::ControlPort(port) => write!(f, "{port} @control_ports"),
            Self::Share { index, of } => share(f, *index, *of),
            Self::FromNetwork(network) => from_network(f, *network),
            Self::Expected(source) => expected(f, *source),
            Self::Spoofed(source) => spoofed(f, *source),
            Self::InheritMark(source) => inherit_mark(f, *source),
            Self::TranslateDestination(source) => by_map(f, "dnat", *source, &packet_key(*source)),
            Self::TranslateSource(source) => by_map(f, "snat", *source, &connection_key(*source)),
            Self::SetConnectionMark(bits) => write!(f, "ct mark set ct mark | {bits:#010x}"),
            Self::ClearConnectionMark(bits) => {
                write!(f, "ct mark set ct mark & {:#010x}", !bits)
            }
            Self::SetLabel(bit) => write!(f, "ct label set {}", bit.number()),
            Self::Notrack => f.write_str("notrack"),
            Self::AttachHelper => write!(f, "ct helper set \"{}\"", HelperObject::NAME),
            Self::Queue { number, bypass, .. } => queue(f, *number, *bypass),
            Self::Drop => f.write_str("drop"),
            Self::Return => f.write_str("return"),
            Self::Jump(chain) => write!(f, "jump {chain}"),
            Self::Goto(chain) => write!(f, "goto {chain}"),
            Self::KeepDestination(family) => write!(f, "dnat {0} to {0} daddr", protocol(*family)),
            Self::KeepSource(family) => write!(f, "snat {0} to {0} saddr", protocol(*family)),
        }
    }
}

fn from_network(f: &mut fmt::Formatter<'_>, network: IpNetwork) -> fmt::Result {
    let protocol = protocol(KeySource::Network(network).family());
    write!(f, "{protocol} saddr {network}")
}

fn expected(f: &mut fmt::Formatter<'_>, source: KeySource) -> fmt::Result {
    write!(f, "{} @{}", packet_key(source), permission(source.family()))
}

fn spoofed(f: &mut fmt::Formatter<'_>, source: KeySource) -> fmt::Result {
    let set = SetKind::Spoofed(source.family()).name();
    write!(f, "{} . iif @{set}", packet_key(source))
}

fn inherit_mark(f: &mut fmt::Formatter<'_>, source: KeySource) -> fmt::Result {
    let map = SetKind::MasterMark(source.family()).name();
    write!(f, "ct mark set {} map @{map}", packet_key(source))
}

/// In the notation of traffic classes.
fn priority(f: &mut fmt::Formatter<'_>, value: u32) -> fmt::Result {
    let (major, minor) = (value >> 16, value & 0xffff);
    write!(f, "meta priority {major:x}:{minor:x}")
}

fn share(f: &mut fmt::Formatter<'_>, index: u16, of: u16) -> fmt::Result {
    write!(
        f,
        "jhash ct original proto-src mod {of} seed {SHARE_SEED:#x} {index}"
    )
}

fn queue(f: &mut fmt::Formatter<'_>, number: u16, bypass: bool) -> fmt::Result {
    let flags = if bypass { "flags bypass " } else { "" };
    write!(f, "queue {flags}to {number}")
}

fn to_ports(f: &mut fmt::Formatter<'_>, first: u16, last: u16) -> fmt::Result {
    write!(f, "tcp dport {first}")?;
    if first == last {
        return Ok(());
    }
    write!(f, "-{last}")
}

/// NAT by map. For DNAT the key is in the packet. For SNAT the key is in the connection.
fn by_map(f: &mut fmt::Formatter<'_>, kind: &str, source: KeySource, key: &str) -> fmt::Result {
    let family = source.family();
    let digit = match family {
        Family::Ipv4 => 4,
        Family::Ipv6 => 6,
    };
    write!(f, "{kind} {} to {key} map @{kind}{digit}", protocol(family))
}

impl fmt::Display for ControlPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Source => "tcp sport",
            Self::Destination => "tcp dport",
            Self::Dialled => "ct original proto-dst",
            Self::Listening => "ct reply proto-src",
        })
    }
}

impl fmt::Display for FlagTest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any(flags) => f.write_str(&names(*flags)),
            Self::None(flags) => write!(f, "! {}", names(*flags)),
            Self::Exactly { set, of } => write!(f, "{} / {}", names(*set), names(*of)),
        }
    }
}

/// `fin,syn`
fn names(flags: TcpFlags) -> String {
    let names: Vec<_> = flags
        .iter_names()
        .map(|(name, _)| name.to_lowercase())
        .collect();
    names.join(",")
}

const fn address_type(family: Family) -> &'static str {
    match family {
        Family::Ipv4 => "ipv4_addr",
        Family::Ipv6 => "ipv6_addr",
    }
}

const fn protocol(family: Family) -> &'static str {
    match family {
        Family::Ipv4 => "ip",
        Family::Ipv6 => "ip6",
    }
}

const fn permission(family: Family) -> &'static str {
    SetKind::Permission(family).name()
}

fn packet_key(source: KeySource) -> String {
    let protocol = protocol(source.family());
    format!(
        "{} . {protocol} daddr . tcp dport",
        masked(&format!("{protocol} saddr"), source)
    )
}

fn connection_key(source: KeySource) -> String {
    let protocol = protocol(source.family());
    let address = masked(&format!("ct original {protocol} saddr"), source);
    format!("{address} . ct original {protocol} daddr . ct original proto-dst")
}

fn masked(address: &str, source: KeySource) -> String {
    source
        .mask()
        .map_or_else(|| address.to_owned(), |mask| format!("{address} & {mask}"))
}
