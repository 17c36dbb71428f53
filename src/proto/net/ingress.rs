//! How a packet came to this gateway.

use super::IfIndex;

/// How a packet came to this gateway. Packets of our own go on in the same way as those of the end
/// whose name they bear: with several uplinks, VRFs or bridges another way leads elsewhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ingress {
    /// The interface; 0 for a packet that this machine made itself.
    pub iif: IfIndex,
    /// The packet mark, by which policy routing may choose the route (`fwmark`).
    pub mark: u32,
    /// Whether it came by the port of a bridge, and is not routed.
    pub is_bridged: bool,
}
