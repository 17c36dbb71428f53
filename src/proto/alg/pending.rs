//! What waits for the caller's answer to an action.

use super::{data_syn::Stranger, table::FlowKey};
use crate::proto::{action::PacketId, expect::ExpectationId, net::Direction};

/// The answer that is due. Another one is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Resolved,
    Relaxed,
    Expected(ExpectationId),
    Live,
}

/// What goes on once the caller has answered.
pub(super) enum Pending {
    /// A packet of a connection that is not known yet.
    Unresolved(Stalled),
    /// A packet whose lines are being looked at.
    Lines(FlowKey, Direction, Stalled),
    /// A data connection's first packet.
    DataSyn(Box<Stranger>),
    /// A connection that wanted something done in time.
    Timeout(FlowKey),
}

/// A packet that waits for an answer.
pub(super) struct Stalled {
    pub(super) packet: PacketId,
    pub(super) bytes: Vec<u8>,
}
