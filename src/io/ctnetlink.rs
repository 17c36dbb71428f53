//! Conntrack entries over netlink: finding the entry of a packet, and telling the kernel about
//! control connections whose sequence numbers we change.
//!
//! A packet that is queued at priority -149 of prerouting or output carries the tuple of its own
//! direction, before NAT. That tuple finds the entry in either direction, and the entry's two
//! tuples show the NAT. An entry is found from its second packet on, because the first one confirms
//! it.

mod creation;
mod entry;
mod expectation;
mod imported;
mod search;

use std::{net::IpAddr, time::Duration};

pub(super) use entry::tuple_of_direction;
pub use entry::{AttachedHelper, ConntrackEntry, TcpState};
pub use expectation::{ChildNat, ConntrackExpectations};
pub use imported::{ImportedExpectation, list_expected, list_imported};
pub use search::SEARCHES_A_SECOND;

use crate::{
    io::netlink::{Head, MessageBuffer, MessageType, NetlinkError, Socket},
    proto::net::{ConntrackTuples, Direction, Tuple, Zone},
    ruleset::{Label, LabelBit},
};

/// `nfnetlink_conntrack.h`
mod wire {
    pub(super) const IPCTNL_MSG_CT_NEW: u8 = 0;
    pub(super) const IPCTNL_MSG_CT_GET: u8 = 1;
    pub(super) const CTA_TUPLE_ORIG: u16 = 1;
    pub(super) const CTA_TUPLE_REPLY: u16 = 2;
    pub(super) const CTA_STATUS: u16 = 3;
    pub(super) const CTA_PROTOINFO: u16 = 4;
    pub(super) const CTA_HELP: u16 = 5;
    pub(super) const CTA_HELP_NAME: u16 = 1;
    pub(super) const CTA_NAT_SRC: u16 = 6;
    pub(super) const CTA_TIMEOUT: u16 = 7;
    pub(super) const CTA_NAT_DST: u16 = 13;
    pub(super) const CTA_ZONE: u16 = 18;
    pub(super) const CTA_FILTER: u16 = 25;
    pub(super) const CTA_FILTER_ORIG_FLAGS: u16 = 1;
    pub(super) const CTA_FILTER_REPLY_FLAGS: u16 = 2;
    pub(super) const CTA_NAT_V4_MINIP: u16 = 1;
    pub(super) const CTA_NAT_V4_MAXIP: u16 = 2;
    pub(super) const CTA_NAT_PROTO: u16 = 3;
    pub(super) const CTA_NAT_V6_MINIP: u16 = 4;
    pub(super) const CTA_NAT_V6_MAXIP: u16 = 5;
    pub(super) const CTA_PROTONAT_PORT_MIN: u16 = 1;
    pub(super) const CTA_PROTONAT_PORT_MAX: u16 = 2;
    pub(super) const CTA_MARK: u16 = 8;
    pub(super) const CTA_ID: u16 = 12;
    pub(super) const CTA_LABELS: u16 = 22;
    pub(super) const CTA_LABELS_MASK: u16 = 23;
    pub(super) const CTA_TUPLE_IP: u16 = 1;
    pub(super) const CTA_TUPLE_PROTO: u16 = 2;
    pub(super) const CTA_TUPLE_ZONE: u16 = 3;
    pub(super) const CTA_IP_V4_SRC: u16 = 1;
    pub(super) const CTA_IP_V4_DST: u16 = 2;
    pub(super) const CTA_IP_V6_SRC: u16 = 3;
    pub(super) const CTA_IP_V6_DST: u16 = 4;
    pub(super) const CTA_PROTO_NUM: u16 = 1;
    pub(super) const CTA_PROTO_SRC_PORT: u16 = 2;
    pub(super) const CTA_PROTO_DST_PORT: u16 = 3;
    pub(super) const CTA_PROTOINFO_TCP: u16 = 1;
    pub(super) const CTA_PROTOINFO_TCP_STATE: u16 = 1;
    pub(super) const CTA_PROTOINFO_TCP_FLAGS_ORIGINAL: u16 = 4;
    pub(super) const CTA_PROTOINFO_TCP_FLAGS_REPLY: u16 = 5;
    /// `nf_internals.h` (`CTA_FILTER_FLAG_*`): what is compared of a tuple.
    pub(super) const ADDRESSES: u32 = 1 << 0 | DESTINATION;
    pub(super) const DESTINATION: u32 = 1 << 1;
    pub(super) const PROTOCOL: u32 = 1 << 3;
    pub(super) const SOURCE_PORT: u32 = 1 << 4;
    pub(super) const DESTINATION_PORT: u32 = 1 << 5;
    /// `nf_conntrack_tcp.h`: accept whatever lies outside the window.
    pub(super) const IP_CT_TCP_FLAG_BE_LIBERAL: u8 = 0x08;
}
use wire::*;

/// A worker's connection to conntrack.
#[derive(Debug)]
pub struct Conntrack(Socket);

impl Conntrack {
    /// Opens the connection.
    ///
    /// # Errors
    /// When no netlink socket can be had.
    pub fn open() -> Result<Self, NetlinkError> {
        Socket::open().map(Self)
    }

    /// The entry of the connection that a packet with this tuple belongs to.
    ///
    /// # Errors
    /// When conntrack cannot be asked, or its answer cannot be read. An unknown connection is no
    /// error.
    pub fn resolve(&mut self, tuple: &Tuple) -> Result<Option<ConntrackEntry>, NetlinkError> {
        self.0.ask(
            message(IPCTNL_MSG_CT_GET, family_of(tuple.source.ip())),
            |buffer| {
                put_tuple(buffer, CTA_TUPLE_ORIG, tuple);
                put_zone(buffer, CTA_ZONE, tuple.zone);
            },
            |answer| ConntrackEntry::parse(&answer.attributes()),
        )
    }

    /// Makes conntrack accept, on this one connection, sequence numbers outside the window it has
    /// seen, and sets a bit in the connection's label. The label comes first, because it may be
    /// refused.
    ///
    /// It must be called before a packet leaves with another length than conntrack saw. The
    /// receiver then acknowledges octets that conntrack does not know, and conntrack lets packets
    /// that it calls invalid pass without NAT.
    ///
    /// # Errors
    /// When the kernel refuses; ENOENT where the connection is gone, ENOSPC as in
    /// [`set_label`](Self::set_label). The connection is as it was then, or is gone.
    pub fn set_liberal(
        &mut self,
        tuples: &ConntrackTuples,
        bit: LabelBit,
    ) -> Result<(), NetlinkError> {
        self.set_label(tuples, bit.into(), bit.into())?;
        let liberal = [IP_CT_TCP_FLAG_BE_LIBERAL, IP_CT_TCP_FLAG_BE_LIBERAL];
        self.change(tuples, |buffer| {
            buffer.nest(CTA_PROTOINFO, |buffer| {
                buffer.nest(CTA_PROTOINFO_TCP, |buffer| {
                    buffer.put(CTA_PROTOINFO_TCP_FLAGS_ORIGINAL, &liberal);
                    buffer.put(CTA_PROTOINFO_TCP_FLAGS_REPLY, &liberal);
                });
            });
        })
    }

    /// Has conntrack keep the connection for so long if no packet of it comes. The next packet
    /// gives it the time of its state again.
    ///
    /// # Errors
    /// When the kernel refuses; ENOENT where the connection is gone, ETIME where it is going.
    pub fn set_lifetime(
        &mut self,
        tuples: &ConntrackTuples,
        lifetime: Duration,
    ) -> Result<(), NetlinkError> {
        // A part of a second is a second.
        let seconds = lifetime.as_secs() + u64::from(lifetime.subsec_nanos() > 0);
        let seconds = u32::try_from(seconds).unwrap_or(u32::MAX);
        self.change(tuples, |buffer| buffer.put_u32(CTA_TIMEOUT, seconds))
    }

    /// Gives the bits of `mask` in the connection's label the values they have in `value`. No bit
    /// of `value` is outside `mask`.
    ///
    /// # Errors
    /// When the kernel refuses; ENOENT where the connection is gone. ENOSPC where it has no room
    /// for a label, because no rule that sets labels was loaded when it began
    /// (`nf_connlabels_replace`).
    pub fn set_label(
        &mut self,
        tuples: &ConntrackTuples,
        value: Label,
        mask: Label,
    ) -> Result<(), NetlinkError> {
        self.change(tuples, |buffer| put_label(buffer, value, mask))
    }

    /// Hands the connections whose label has this bit to `read`. The kernel lists all connections:
    /// it selects none by their labels.
    ///
    /// # Errors
    /// When conntrack cannot be asked.
    pub fn list_labelled(
        &mut self,
        bit: LabelBit,
        mut read: impl FnMut(&ConntrackEntry),
    ) -> Result<(), NetlinkError> {
        let head = message(IPCTNL_MSG_CT_GET, libc::AF_UNSPEC as u8);
        self.0.list(
            head,
            |_| {},
            |one| {
                let attributes = one.attributes();
                if ConntrackEntry::parse_label(&attributes).has(bit) {
                    ConntrackEntry::parse(&attributes)
                        .iter()
                        .for_each(&mut read);
                }
            },
        )
    }

    /// Whether any connection of this network namespace has our helper.
    ///
    /// # Errors
    /// When conntrack cannot be asked.
    pub fn has_helped(&mut self) -> Result<bool, NetlinkError> {
        let mut found = false;
        let head = message(IPCTNL_MSG_CT_GET, libc::AF_UNSPEC as u8);
        self.0.list(
            head,
            |_| {},
            |one| {
                found |= AttachedHelper::parse(&one.attributes()) == Some(AttachedHelper::Ours);
            },
        )?;
        Ok(found)
    }

    /// Asks for a connection that cannot exist, to see whether conntrack answers at all.
    pub(super) fn probe(&mut self) -> Result<(), NetlinkError> {
        let nowhere = std::net::SocketAddr::from(([0, 0, 0, 0], 0));
        self.resolve(&Tuple::new(nowhere, nowhere)).map(drop)
    }

    fn change(
        &mut self,
        tuples: &ConntrackTuples,
        write: impl FnOnce(&mut MessageBuffer),
    ) -> Result<(), NetlinkError> {
        let tuple = tuples.of(Direction::Original);
        let head = message(IPCTNL_MSG_CT_NEW, family_of(tuple.source.ip()));
        self.0.request(head, |buffer| {
            put_tuple(buffer, CTA_TUPLE_ORIG, &tuple);
            put_zone(buffer, CTA_ZONE, tuple.zone);
            write(buffer);
        })
    }
}

const fn message(request: u8, family: u8) -> Head {
    let kind = MessageType {
        subsystem: libc::NFNL_SUBSYS_CTNETLINK as u8,
        request,
    };
    Head::new(kind, family)
}

fn put_label(buffer: &mut MessageBuffer, value: Label, mask: Label) {
    buffer.put(CTA_LABELS, value.to_kernel());
    buffer.put(CTA_LABELS_MASK, mask.to_kernel());
}

/// A kernel without zones refuses the attribute.
fn put_zone(buffer: &mut MessageBuffer, attribute: u16, zone: Zone) {
    if !zone.is_default() {
        buffer.put(attribute, &zone.0.to_be_bytes());
    }
}

const fn family_of(address: IpAddr) -> u8 {
    let family = match address {
        IpAddr::V4(_) => libc::AF_INET,
        IpAddr::V6(_) => libc::AF_INET6,
    };
    family as u8
}

fn put_tuple(buffer: &mut MessageBuffer, attribute: u16, tuple: &Tuple) {
    put_tuple_in(buffer, attribute, tuple, Zone::default());
}

/// `own` is the zone of this direction alone, if it has one.
fn put_tuple_in(buffer: &mut MessageBuffer, attribute: u16, tuple: &Tuple, own: Zone) {
    buffer.nest(attribute, |buffer| {
        put_zone(buffer, CTA_TUPLE_ZONE, own);
        buffer.nest(CTA_TUPLE_IP, |buffer| {
            put_address(buffer, tuple.source.ip(), [CTA_IP_V4_SRC, CTA_IP_V6_SRC]);
            put_address(
                buffer,
                tuple.destination.ip(),
                [CTA_IP_V4_DST, CTA_IP_V6_DST],
            );
        });
        buffer.nest(CTA_TUPLE_PROTO, |buffer| {
            buffer.put(CTA_PROTO_NUM, &[libc::IPPROTO_TCP as u8]);
            buffer.put(CTA_PROTO_SRC_PORT, &tuple.source.port().to_be_bytes());
            buffer.put(CTA_PROTO_DST_PORT, &tuple.destination.port().to_be_bytes());
        });
    });
}

fn put_address(buffer: &mut MessageBuffer, address: IpAddr, [v4, v6]: [u16; 2]) {
    let attribute = if address.is_ipv4() { v4 } else { v6 };
    buffer.put_addresses(attribute, &[address], &[]);
}
