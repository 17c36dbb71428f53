//! The output of the core: verdicts, packets of our own, events, and flows to save.

use super::{
    net::{ConntrackTuples, Ingress},
    saved_flow::SavedFlow,
};

pub use super::event::{Event, PacketId};

/// The verdict on a packet. Each inbound packet gets one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The packet passes as it is.
    Accept,
    /// The packet does not pass. TCP repeats its bytes.
    Drop,
    /// This packet passes in its place. Its checksums are correct.
    Replace(Vec<u8>),
}

/// The output for one packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Egress {
    /// The verdict. The caller gives it after [`Effects::saves`] and before [`Effects::packets`].
    pub verdict: Verdict,
    /// All other output.
    pub effects: Effects,
}

impl Egress {
    /// The packet passes as it is, and nothing else happens.
    pub const ACCEPT: Self = Self {
        verdict: Verdict::Accept,
        effects: Effects {
            saves: Vec::new(),
            packets: Vec::new(),
            events: Vec::new(),
        },
    };
}

/// The output beside a verdict. The caller carries out the fields in this order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Effects {
    /// Changes of the flow store, in order. A packet may leave only after them. Otherwise a later
    /// process would not know which bytes its receiver has.
    pub saves: Vec<Save>,
    /// Packets of our own, in order.
    pub packets: Vec<OwnPacket>,
    /// Events, in order.
    pub events: Vec<Event>,
}

/// A packet to send past conntrack and NAT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnPacket {
    /// The whole IP packet. It has the addresses that its receiver expects, and correct checksums.
    pub bytes: Vec<u8>,
    /// How the packets of its sender came, where that is known.
    pub ingress: Option<Ingress>,
    /// How the packets of its receiver came, where that is known.
    pub of_receiver: Option<Ingress>,
}

/// A change of the flow store, which a later process reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Save {
    /// Stores this flow in the place of an older one of the same connection.
    Store(Box<SavedFlow>),
    /// Deletes the stored flow of this connection.
    Delete(ConntrackTuples),
}
