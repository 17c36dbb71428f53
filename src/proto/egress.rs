//! What leaves the core: verdicts, packets of our own, events, and flows to be saved.

use super::{net::ConntrackTuples, saved_flow::SavedFlow};

pub use super::event::{Event, PacketId};

/// The verdict on a packet. Each packet handed in gets exactly one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It passes as it is.
    Accept,
    /// It does not pass; its sender repeats what matters.
    Drop,
    /// This packet passes in its place, checksums valid.
    Replace(Vec<u8>),
}

/// What leaves for one packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Egress {
    /// The packet's verdict. It is given after [`Effects::saves`] and before
    /// [`Effects::packets`].
    pub verdict: Verdict,
    /// Everything else.
    pub effects: Effects,
}

/// What leaves beside a verdict. The caller carries out the fields in this order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Effects {
    /// Changes of the flow store, in order. A packet may only leave once they are done: a later
    /// process would otherwise not know what its receiver has.
    pub saves: Vec<Save>,
    /// Complete IP packets to send past conntrack and NAT, in order. They are addressed as their
    /// receivers expect it, and their checksums are valid.
    pub packets: Vec<Vec<u8>>,
    /// Events, in order.
    pub events: Vec<Event>,
}

/// A change of the flow store, which a later process reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Save {
    /// Store this flow; it replaces what was stored of the same connection.
    Store(Box<SavedFlow>),
    /// Delete what is stored of this connection.
    Delete(ConntrackTuples),
}
