//! A conntrack entry as the kernel reports it.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use super::wire::*;
use crate::{
    io::netlink::Attributes,
    proto::net::{ConntrackTuples, Direction, Tuple, Zone},
    ruleset::{HELPER, Label},
};

/// An entry of conntrack for a TCP connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConntrackEntry {
    /// Its tuples. The difference between them is the NAT.
    pub tuples: ConntrackTuples,
    /// Its mark.
    pub mark: u32,
    /// Its label.
    pub label: Label,
    /// Tells this connection from a later one with the same tuples.
    pub id: u32,
    /// `IPS_*` bits.
    pub status: u32,
    /// How far it is.
    pub tcp_state: Option<TcpState>,
    /// The connection tracking helper it has.
    pub helper: Option<AttachedHelper>,
    /// How long it stays if no packet of it comes, in whole seconds. `None` where the kernel does
    /// not tell.
    pub lifetime: Option<Duration>,
    /// Whether it accepts segments outside the window, in both directions.
    pub is_liberal: bool,
}

/// Whose connection tracking helper a connection has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttachedHelper {
    /// Ours.
    Ours,
    /// The kernel's own for FTP, `nf_conntrack_ftp`, which rewrites lines itself.
    KernelFtp,
    /// Another one.
    Other,
}

impl AttachedHelper {
    /// Reads it from an entry's attributes.
    pub(super) fn parse(attributes: &Attributes<'_>) -> Option<Self> {
        let help = attributes.within(CTA_HELP)?;
        Some(match help.name(CTA_HELP_NAME)? {
            HELPER => Self::Ours,
            // Registered as "ftp", and as "ftp-2121" for a port of its module's parameter.
            name if name == "ftp" || name.starts_with("ftp-") => Self::KernelFtp,
            _ => Self::Other,
        })
    }
}

/// Conntrack's state of a TCP connection (`enum tcp_conntrack`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpState(pub u8);

impl TcpState {
    /// One SYN was seen.
    pub const SYN_SENT: Self = Self(1);
    /// The SYN was answered, and the answer not yet acknowledged.
    const SYN_RECV: Self = Self(2);
    /// Both SYNs are acknowledged, and neither end has closed.
    pub const ESTABLISHED: Self = Self(3);
    /// Both ends have closed.
    const TIME_WAIT: Self = Self(7);
    /// One end has reset it.
    const CLOSE: Self = Self(8);
    /// Both ends have sent a SYN of their own (simultaneous open).
    const SYN_SENT2: Self = Self(9);

    /// Whether its handshake is under way.
    #[must_use]
    pub fn is_handshake(self) -> bool {
        [Self::SYN_SENT, Self::SYN_RECV, Self::SYN_SENT2].contains(&self)
    }

    /// Whether the connection is over.
    #[must_use]
    pub fn is_over(self) -> bool {
        [Self::TIME_WAIT, Self::CLOSE].contains(&self)
    }
}

/// `IPS_SEQ_ADJUST`
const SEQ_ADJUST: u32 = 1 << 6;
/// `IPS_OFFLOAD` and `IPS_HW_OFFLOAD`
const OFFLOAD: u32 = 1 << 14 | 1 << 15;

impl ConntrackEntry {
    /// Reads the label alone. The kernel tells none without a bit.
    pub(super) fn parse_label(attributes: &Attributes<'_>) -> Label {
        let label = attributes.find(CTA_LABELS).and_then(Label::from_kernel);
        label.unwrap_or(Label::NONE)
    }

    /// Whether the connection is over.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.tcp_state.is_some_and(TcpState::is_over)
    }

    /// Whether a flowtable has the connection.
    #[must_use]
    pub const fn is_offloaded(&self) -> bool {
        self.status & OFFLOAD != 0
    }

    /// Whether the kernel adjusts the connection's sequence numbers.
    #[must_use]
    pub const fn is_renumbered(&self) -> bool {
        self.status & SEQ_ADJUST != 0
    }

    /// Reads an `IPCTNL_MSG_CT_NEW`. `None` if it is not TCP or not complete.
    pub(super) fn parse(attributes: &Attributes<'_>) -> Option<Self> {
        let tuple = |direction| tuple_of_direction(attributes, direction);
        let tcp = attributes
            .within(CTA_PROTOINFO)
            .and_then(|info| info.within(CTA_PROTOINFO_TCP));
        let state = tcp
            .as_ref()
            .and_then(|tcp| tcp.find(CTA_PROTOINFO_TCP_STATE)?.first().copied());
        let has_liberal_flag = |attribute| {
            let flags = tcp
                .as_ref()
                .and_then(|tcp| tcp.find(attribute)?.first().copied());
            flags.is_some_and(|flags| flags & IP_CT_TCP_FLAG_BE_LIBERAL != 0)
        };
        Some(Self {
            tuples: ConntrackTuples::new(tuple(Direction::Original)?, tuple(Direction::Reply)?),
            // A kernel without conntrack marks reports none.
            mark: attributes.u32(CTA_MARK).unwrap_or(0),
            label: Self::parse_label(attributes),
            id: attributes.u32(CTA_ID).unwrap_or(0),
            status: attributes.u32(CTA_STATUS)?,
            tcp_state: state.map(TcpState),
            helper: AttachedHelper::parse(attributes),
            lifetime: attributes
                .u32(CTA_TIMEOUT)
                .map(|seconds| Duration::from_secs(seconds.into())),
            is_liberal: has_liberal_flag(CTA_PROTOINFO_TCP_FLAGS_ORIGINAL)
                && has_liberal_flag(CTA_PROTOINFO_TCP_FLAGS_REPLY),
        })
    }
}

/// The tuple of the packets of a direction, in their zone, of the entry that these attributes show.
pub(in crate::io) fn tuple_of_direction(
    attributes: &Attributes<'_>,
    direction: Direction,
) -> Option<Tuple> {
    let both = zone(attributes, CTA_ZONE);
    let attributes = attributes.within(match direction {
        Direction::Original => CTA_TUPLE_ORIG,
        Direction::Reply => CTA_TUPLE_REPLY,
    })?;
    let own = zone(&attributes, CTA_TUPLE_ZONE);
    let zone = both.or(own).unwrap_or_default();
    Some(parse_tuple(&attributes)?.in_zone(zone))
}

pub(super) fn parse_tuple(attributes: &Attributes<'_>) -> Option<Tuple> {
    let addresses = attributes.within(CTA_TUPLE_IP)?;
    let ports = attributes.within(CTA_TUPLE_PROTO)?;
    if ports.find(CTA_PROTO_NUM)? != [libc::IPPROTO_TCP as u8] {
        return None;
    }
    let source = parse_address(&addresses, [CTA_IP_V4_SRC, CTA_IP_V6_SRC])?;
    let destination = parse_address(&addresses, [CTA_IP_V4_DST, CTA_IP_V6_DST])?;
    Some(Tuple::new(
        SocketAddr::new(source, ports.u16(CTA_PROTO_SRC_PORT)?),
        SocketAddr::new(destination, ports.u16(CTA_PROTO_DST_PORT)?),
    ))
}

fn zone(attributes: &Attributes<'_>, attribute: u16) -> Option<Zone> {
    attributes.u16(attribute).map(Zone)
}

fn parse_address(attributes: &Attributes<'_>, [v4, v6]: [u16; 2]) -> Option<IpAddr> {
    if let Some(bytes) = attributes.find(v4) {
        return Some(IpAddr::from(*bytes.first_chunk::<4>()?));
    }
    Some(IpAddr::from(*attributes.find(v6)?.first_chunk::<16>()?))
}
