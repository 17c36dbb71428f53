//! Our table in the kernel: loading it, and the elements that make an expectation.
//!
//! [`Table`] loads, verifies and removes the whole table, through libnftnl objects in one
//! transaction. [`ExpectationStore`] adds and withdraws single expectations over a socket of its
//! own, many thousand times a second, with messages written in place.

mod element;
mod expression;
mod grants;
mod lower;
mod object;
mod probe;
mod set;
mod store;
mod table;

pub use grants::GrantStore;
pub use probe::{Availability, Probe, probe};
pub use store::ExpectationStore;
pub use table::{ApplyError, Table, has_helper_object};

use crate::io::netlink::MessageType;

/// A message to nf_tables.
const fn message(request: i32) -> MessageType {
    MessageType {
        subsystem: libc::NFNL_SUBSYS_NFTABLES as u8,
        request: request as u8,
    }
}

/// The address family of our table.
const INET: u8 = libc::NFPROTO_INET as u8;
