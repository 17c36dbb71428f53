//! Our sets and maps as libnftnl objects.
#![expect(unsafe_code, reason = "the nftnl crate has no maps, timeouts or sizes")]

use std::ffi::CString;

use nftnl::{
    ProtoFamily, Table, nftnl_sys as sys,
    set::{Set, SetKey},
};

use super::expression::{Expression, Value};
use crate::ruleset::{self, ELEMENTS_MAX, Family, SetKind};

/// nft's numbers of data types, by which it prints a set (`enum datatypes`).
const IPV4_ADDRESS: u32 = 7;
const IPV6_ADDRESS: u32 = 8;
const PORT: u32 = 13;
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

/// The set as an object of this table, numbered `id` within the transaction.
pub(super) fn object<'a>(set: &ruleset::Set, id: u32, table: &'a Table) -> Set<'a, Port> {
    let name = CString::new(set.kind.name()).expect("our names contain no zero");
    let mut object = Set::new_named(&name, id, table, ProtoFamily::Inet);
    match &set.kind {
        SetKind::ControlPorts(ports) => ports.iter().for_each(|port| object.add(&Port(*port))),
        SetKind::FtpsPairs(family) => pairs(&object, *family),
        SetKind::Permission(family) => {
            expiring(&object, *family, &[], None);
            limit_to_one_packet(&object);
        }
        SetKind::Destination(family) => {
            let (address, length) = address(*family);
            expiring(
                &object,
                *family,
                &[],
                Some((concatenated(&[address, PORT]), length + 4)),
            );
        }
        SetKind::Source(family) => expiring(&object, *family, &[], Some(address(*family))),
        SetKind::Spoofed(family) => expiring(&object, *family, &[LINK], None),
    }
    object
}

/// Each element matches one packet a day, and no element lives as long.
fn limit_to_one_packet(object: &Set<'_, Port>) {
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
    // SAFETY: both objects are alive; the set takes the expression over and frees it.
    unsafe {
        sys::nftnl_set_add_expr(object.as_ptr().as_ptr(), limit.object().as_ptr());
    }
}

/// Makes it a set of connections whose elements expire; `besides` are further parts of the key.
/// With `data` (type and length) it is a map.
fn expiring(object: &Set<'_, Port>, family: Family, besides: &[u32], data: Option<(u32, u32)>) {
    let (address, length) = address(family);
    let mut flags = libc::NFT_SET_TIMEOUT;
    let mut attributes = vec![
        (
            sys::NFTNL_SET_KEY_TYPE,
            concatenated(&[&[address, address, PORT], besides].concat()),
        ),
        (
            sys::NFTNL_SET_KEY_LEN,
            2 * length + 4 + 4 * besides.len() as u32,
        ),
        (sys::NFTNL_SET_DESC_SIZE, ELEMENTS_MAX),
    ];
    if let Some((data_type, data_length)) = data {
        flags |= libc::NFT_SET_MAP;
        attributes.push((sys::NFTNL_SET_DATA_TYPE, data_type));
        attributes.push((sys::NFTNL_SET_DATA_LEN, data_length));
    }
    attributes.push((sys::NFTNL_SET_FLAGS, flags as u32));
    put(object, attributes);
}

/// Makes it a set of pairs of addresses.
fn pairs(object: &Set<'_, Port>, family: Family) {
    let (address, length) = address(family);
    let attributes = vec![
        (sys::NFTNL_SET_KEY_TYPE, concatenated(&[address, address])),
        (sys::NFTNL_SET_KEY_LEN, 2 * length),
        (sys::NFTNL_SET_DESC_SIZE, ELEMENTS_MAX),
    ];
    put(object, attributes);
}

fn put(object: &Set<'_, Port>, attributes: Vec<(u32, u32)>) {
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
