//! Our table in the kernel: loading it, and the elements that make an expectation.
//!
//! [`Table`] loads, verifies and removes the whole table, through libnftnl objects in one
//! transaction. [`ExpectationStore`] adds and withdraws single expectations over a socket of its
//! own, many thousand times a second, with messages written in place.

mod adopted;
mod element;
mod expression;
mod flowtable;
mod live;
mod lower;
mod mastered;
mod object;
mod owner;
mod pair_store;
mod plan;
mod present;
mod probe;
mod set;
mod store;
mod table;
mod watch;
mod written;

pub use mastered::{Master, MasteredExpectation};
pub use owner::TableOwner;
pub use pair_store::PairStore;
pub use probe::{Availability, Probe, probe};
pub use store::ExpectationStore;
pub use table::{
    ApplyError, Table, TableAccess, has_helper_object, is_loaded, restore_elements,
    supports_owned_tables,
};
pub use watch::{TableChange, TableWatch};

use nftnl::{FinalizedBatch, Hook};

use crate::io::netlink::{Head, MessageType, NetlinkError, Socket};

/// A message to nf_tables.
const fn message(request: i32) -> Head {
    let kind = MessageType {
        subsystem: SUBSYSTEM,
        request: request as u8,
    };
    Head::new(kind, INET)
}

/// Sends a transaction that libnftnl has written. It is one datagram, because the kernel carries
/// out each datagram by itself.
fn send(socket: &mut Socket, batch: &FinalizedBatch) -> Result<(), NetlinkError> {
    let bytes = batch.iter().collect::<Vec<_>>().concat();
    let numbers = batch.sequence_numbers();
    socket.send_written(&bytes, numbers.start, numbers.end - 1)
}

const SUBSYSTEM: u8 = libc::NFNL_SUBSYS_NFTABLES as u8;

/// The address family of our table.
const INET: u8 = libc::NFPROTO_INET as u8;

/// The kernel's number of a hook (`enum nf_inet_hooks`).
fn hook_number(name: &str) -> Hook {
    match name {
        "prerouting" => Hook::PreRouting,
        "input" => Hook::In,
        "forward" => Hook::Forward,
        "output" => Hook::Out,
        _ => Hook::PostRouting,
    }
}
