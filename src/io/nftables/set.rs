//! Our sets and maps as libnftnl objects.
#![expect(unsafe_code, reason = "the nftnl crate has no maps, timeouts or sizes")]

use std::ffi::CString;

use nftnl::{
    Table, nftnl_sys as sys,
    set::{Set, SetKey},
};

use super::{
    expression::{Expression, Value},
    protocol_family,
};
use crate::{
    io::netlink::Attributes,
    proto::net::Layer,
    ruleset::{self, ELEMENTS_MAX, Family, SetKind},
};

const NFTA_SET_FLAGS: u16 = 3;
const NFTA_SET_KEY_TYPE: u16 = 4;
const NFTA_SET_KEY_LEN: u16 = 5;
const NFTA_SET_DATA_TYPE: u16 = 6;
const NFTA_SET_DATA_LEN: u16 = 7;
const NFT_SET_CONCAT: u32 = 0x80;
const NFT_SET_EXPR: u32 = 0x100;

/// nft's numbers of data types, by which it prints a set (`enum datatypes`).
const IPV4_ADDRESS: u32 = 7;
const IPV6_ADDRESS: u32 = 8;
const PORT: u32 = 13;
const MARK: u32 = 19;
const LINK: u32 = 20;

const SECONDS_OF_A_DAY: u64 = 24 * 60 * 60;

/// A port as key of a set.
pub(super) struct Port(u16);

impl SetKey for Port {
    const TYPE: u32 = PORT;
    const LEN: u32 = 2;

    fn data(&self) -> Box<[u8]> {
        Box::new(self.0.to_be_bytes())
    }
}

/// How the kernel stores a set: what decides whether an existing one can be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SetShape {
    /// `NFT_SET_*`.
    flags: u32,
    key: DataShape,
    /// What a map's keys map to.
    data: DataShape,
}

/// Type and length of a key or of a map's data, in nft's numbers and in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct DataShape {
    kind: u32,
    length: u32,
}

impl SetShape {
    /// The shape of a set of ours whose elements come and go; `None` of the control ports.
    pub(super) fn of(kind: &SetKind) -> Option<Self> {
        let expires = libc::NFT_SET_TIMEOUT as u32;
        Some(match kind {
            SetKind::ControlPorts(_) => return None,
            SetKind::FtpsPairs(family) => {
                let (address, length) = address(*family);
                Self {
                    flags: 0,
                    key: DataShape {
                        kind: concatenated(&[address, address]),
                        length: 2 * length,
                    },
                    data: DataShape::default(),
                }
            }
            SetKind::Permission(family) => Self {
                flags: expires,
                key: connection(*family, &[]),
                data: DataShape::default(),
            },
            SetKind::Destination(family) => {
                let (address, length) = address(*family);
                Self {
                    flags: expires | libc::NFT_SET_MAP as u32,
                    key: connection(*family, &[]),
                    data: DataShape {
                        kind: concatenated(&[address, PORT]),
                        length: length + 4,
                    },
                }
            }
            SetKind::Source(family) => {
                let (kind, length) = address(*family);
                Self {
                    flags: expires | libc::NFT_SET_MAP as u32,
                    key: connection(*family, &[]),
                    data: DataShape { kind, length },
                }
            }
            SetKind::MasterMark(family) => Self {
                flags: expires | libc::NFT_SET_MAP as u32,
                key: connection(*family, &[]),
                data: DataShape {
                    kind: MARK,
                    length: 4,
                },
            },
            SetKind::Spoofed(family) => Self {
                flags: expires,
                key: connection(*family, &[LINK]),
                data: DataShape::default(),
            },
        })
    }

    /// The shape of a set that the kernel describes.
    pub(super) fn parse(attributes: &Attributes<'_>) -> Self {
        let shape = |kind, length| DataShape {
            kind: attributes.u32(kind).unwrap_or(0),
            length: attributes.u32(length).unwrap_or(0),
        };
        let flags = attributes.u32(NFTA_SET_FLAGS).unwrap_or(0);
        Self {
            // What nft adds to a set that it loads says nothing about its elements.
            flags: flags & !(NFT_SET_CONCAT | NFT_SET_EXPR),
            key: shape(NFTA_SET_KEY_TYPE, NFTA_SET_KEY_LEN),
            data: shape(NFTA_SET_DATA_TYPE, NFTA_SET_DATA_LEN),
        }
    }

    /// Whether it is part of a rule.
    pub(super) const fn is_anonymous(&self) -> bool {
        self.flags & libc::NFT_SET_ANONYMOUS as u32 != 0
    }
}

/// The key of a connection: source, destination and port, and what is `besides` them.
fn connection(family: Family, besides: &[u32]) -> DataShape {
    let (address, length) = address(family);
    DataShape {
        kind: concatenated(&[&[address, address, PORT], besides].concat()),
        length: 2 * length + 4 + 4 * besides.len() as u32,
    }
}

/// The set as an object of this table, numbered `id` within the transaction.
pub(super) fn object<'a>(
    set: &ruleset::Set,
    id: u32,
    table: &'a Table,
    layer: Layer,
) -> Set<'a, Port> {
    let name = CString::new(set.kind.name()).expect("our names contain no zero");
    let mut object = Set::new_named(&name, id, table, protocol_family(layer));
    if let SetKind::ControlPorts(ports) = &set.kind {
        ports.iter().for_each(|port| object.add(&Port(*port)));
    }
    let is_permission = matches!(set.kind, SetKind::Permission(_));
    if let Some(shape) = SetShape::of(&set.kind) {
        let several = if is_permission { NFT_SET_EXPR } else { 0 };
        put(&object, shape, several);
    }
    if is_permission {
        count_one_packet(&object);
    }
    object
}

/// Each element matches one packet a day, and no element lives as long. The counter behind the
/// limit tells whether it has.
fn count_one_packet(object: &Set<'_, Port>) {
    let limit = Expression::new(
        c"limit",
        [
            (sys::NFTNL_EXPR_LIMIT_RATE, Value::U64(1)),
            (sys::NFTNL_EXPR_LIMIT_UNIT, Value::U64(SECONDS_OF_A_DAY)),
            (sys::NFTNL_EXPR_LIMIT_BURST, Value::U32(1)),
            (
                sys::NFTNL_EXPR_LIMIT_TYPE,
                Value::U32(libc::NFT_LIMIT_PKTS as u32),
            ),
        ],
    );
    for expression in [limit, Expression::new(c"counter", [])] {
        // SAFETY: both objects are alive; the set takes the expression over and frees it.
        unsafe {
            sys::nftnl_set_add_expr(object.as_ptr().as_ptr(), expression.object().as_ptr());
        }
    }
}

/// `more`: flags that are not part of the shape.
fn put(object: &Set<'_, Port>, shape: SetShape, more: u32) {
    let mut attributes = vec![
        (sys::NFTNL_SET_KEY_TYPE, shape.key.kind),
        (sys::NFTNL_SET_KEY_LEN, shape.key.length),
        (sys::NFTNL_SET_DESC_SIZE, ELEMENTS_MAX),
        (sys::NFTNL_SET_FLAGS, shape.flags | more),
    ];
    if shape.data != DataShape::default() {
        attributes.push((sys::NFTNL_SET_DATA_TYPE, shape.data.kind));
        attributes.push((sys::NFTNL_SET_DATA_LEN, shape.data.length));
    }
    for (attribute, value) in attributes {
        // SAFETY: the object is alive for the call, and each attribute is a 32-bit one.
        unsafe {
            sys::nftnl_set_set_u32(object.as_ptr().as_ptr(), attribute as u16, value);
        }
    }
}

/// Type and length of an address.
const fn address(family: Family) -> (u32, u32) {
    match family {
        Family::Ipv4 => (IPV4_ADDRESS, 4),
        Family::Ipv6 => (IPV6_ADDRESS, 16),
    }
}

/// nft's number of a concatenated type: six bits a part.
fn concatenated(parts: &[u32]) -> u32 {
    parts.iter().fold(0, |all, part| (all << 6) | part)
}
