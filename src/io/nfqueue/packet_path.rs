//! Reads how a queued packet came.

use crate::{
    io::netlink::{Attributes, Message},
    proto::net::{IfIndex, Ingress, Layer, MacAddress, Path},
};

/// The way of the packet that a message of the queue shows.
pub(super) fn parse(message: &Message<'_>, attributes: &Attributes<'_>) -> Ingress {
    let number = |attribute: i32| attributes.u32(attribute as u16);
    // The family of the hook, and not of the packet.
    let layer = match message.family().map(i32::from) {
        Some(libc::NFPROTO_BRIDGE) => Layer::Bridged,
        Some(_) | None => Layer::Routed,
    };
    Ingress {
        iif: IfIndex(number(libc::NFQA_IFINDEX_INDEV).unwrap_or_default()),
        mark: number(libc::NFQA_MARK).unwrap_or_default(),
        path: parse_path(attributes, layer),
        layer,
    }
}

/// The destination in the Ethernet header. The kernel shows that of frames that a bridge forwards.
pub(super) fn parse_receiver(attributes: &Attributes<'_>) -> Option<MacAddress> {
    let header = attributes.find(libc::NFQA_L2HDR as u16)?;
    header.first_chunk().copied().map(MacAddress)
}

/// A packet of a bridge has the port by which it came, too.
fn parse_path(attributes: &Attributes<'_>, layer: Layer) -> Path {
    // A kernel without `br_netfilter` tells the port alone, as the interface.
    let attribute = match layer {
        Layer::Bridged => libc::NFQA_IFINDEX_INDEV,
        Layer::Routed => libc::NFQA_IFINDEX_PHYSINDEV,
    };
    let port = attributes.u32(libc::NFQA_IFINDEX_PHYSINDEV as u16);
    let Some(port) = port.or_else(|| attributes.u32(attribute as u16)) else {
        return Path::Routed;
    };
    let is_tagged = attributes.find(libc::NFQA_VLAN as u16).is_some();
    // `struct nfqnl_msg_packet_hw`: length, padding, address.
    let address = attributes.find(libc::NFQA_HWADDR as u16);
    let sender = match address {
        Some([0, 6, _, _, address @ ..]) if !is_tagged => address.first_chunk().copied(),
        _ => None,
    };
    Path::Bridged {
        port: IfIndex(port),
        sender: sender.map(MacAddress),
    }
}
