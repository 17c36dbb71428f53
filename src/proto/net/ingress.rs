//! How a packet came to this gateway.

use super::IfIndex;

/// The layer at which this gateway sees a packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Layer {
    /// As IP. With `br_netfilter` bridged packets are seen so, too.
    #[default]
    Routed,
    /// As a frame of a bridge.
    Bridged,
}

impl Layer {
    /// Both.
    pub const BOTH: [Self; 2] = [Self::Routed, Self::Bridged];
}

/// How a packet came to this gateway. Packets of our own go on in the same way as those of the end
/// whose name they bear: with several uplinks, VRFs or bridges another way leads elsewhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ingress {
    /// The interface; 0 for a packet that this machine made itself.
    pub iif: IfIndex,
    /// The packet mark, by which policy routing may choose the route (`fwmark`).
    pub mark: u32,
    /// How it goes on.
    pub path: Path,
    /// Where it was seen.
    pub layer: Layer,
}

/// How a packet goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Path {
    /// By its destination address.
    #[default]
    Routed,
    /// Through a bridge.
    Bridged {
        /// The port of the bridge by which it came.
        port: IfIndex,
        /// The Ethernet address of the host that sent it. `None` where it is not known, or where
        /// the frame has a VLAN tag.
        sender: Option<MacAddress>,
    },
}

/// An Ethernet address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MacAddress(pub [u8; 6]);
