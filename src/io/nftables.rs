//! Our tables in the kernel: loading them, and the elements that make an expectation.
//!
//! There is one for each [`Layer`], and one socket for both.
//!
//! [`Table`] loads, verifies and removes a whole table, through libnftnl objects in one
//! transaction. [`ExpectationStore`] adds and withdraws single expectations over a socket of its
//! own, many thousand times a second, with messages written in place.

mod adopted;
mod bridge_rules;
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

pub use bridge_rules::tracks_bridges;
pub use mastered::{Master, MasteredExpectation};
pub use owner::TableOwner;
pub use pair_store::PairStore;
pub use probe::{Availability, Probe, probe};
pub use store::ExpectationStore;
pub use table::{
    ApplyError, Table, TableAccess, has_helper_object, is_loaded, remove_leftover,
    restore_elements, supports_owned_tables,
};
pub use watch::{Notice, TableChange, TableWatch};

use nftnl::{FinalizedBatch, Hook, ProtoFamily};

use crate::{
    io::netlink::{Head, MessageType, NetlinkError, Socket},
    proto::net::Layer,
};

/// A message to nf_tables about the table of a layer.
const fn message(layer: Layer, request: i32) -> Head {
    let kind = MessageType {
        subsystem: SUBSYSTEM,
        request: request as u8,
    };
    Head::new(kind, family(layer))
}

/// Sends a transaction that libnftnl has written. It is one datagram, because the kernel carries
/// out each datagram by itself.
fn send(socket: &mut Socket, batch: &FinalizedBatch) -> Result<(), NetlinkError> {
    let bytes = batch.iter().collect::<Vec<_>>().concat();
    let numbers = batch.sequence_numbers();
    socket.send_written(&bytes, numbers.start, numbers.end - 1)
}

const SUBSYSTEM: u8 = libc::NFNL_SUBSYS_NFTABLES as u8;

/// The address family of the table of a layer.
const fn family(layer: Layer) -> u8 {
    match layer {
        Layer::Routed => libc::NFPROTO_INET as u8,
        Layer::Bridged => libc::NFPROTO_BRIDGE as u8,
    }
}

/// The same for libnftnl.
const fn protocol_family(layer: Layer) -> ProtoFamily {
    match layer {
        Layer::Routed => ProtoFamily::Inet,
        Layer::Bridged => ProtoFamily::Bridge,
    }
}

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
