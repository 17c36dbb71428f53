//! Sends what takes the place of a packet that a bridge forwards.
//!
//! Linux 7.2 drops a packet of a bridge's hook whose verdict has other bytes than it: it knows
//! those of the families `ip` and `ip6` alone (`nfqnl_recv_verdict`). So the packet is dropped by
//! us, and the other bytes leave as a frame of our own, as acknowledgements do.

use super::{Alg, Input, Place};
use crate::proto::{
    egress::{OwnPacket, Verdict},
    flow::{Flow, SessionLimitReached},
    net::{Ingress, Layer, Path},
    packet::Segment,
};

impl Alg {
    /// Lets the flow take a segment in. What replaces a bridged one is the first of its packets.
    pub(super) fn ingest(
        &mut self,
        place: Place,
        segment: &Segment<'_>,
        input: &mut Input<'_>,
    ) -> Option<Result<Verdict, SessionLimitReached>> {
        let sent = input.effects.packets.len();
        self.with_flow(place.key, input, |flow, context| {
            let verdict = flow.handle_segment(place.direction, segment, context)?;
            let Verdict::Replace(bytes) = verdict else {
                return Ok(verdict);
            };
            Ok(match in_frame(bytes, flow) {
                Ok(packet) => {
                    context.effects.packets.insert(sent, packet);
                    Verdict::Drop
                }
                Err(bytes) => Verdict::Replace(bytes),
            })
        })
    }
}

/// The bytes as a packet of our own.
///
/// # Errors
/// The bytes, where the flow is not one of a bridge, or its hosts' addresses do not show.
fn in_frame(bytes: Vec<u8>, flow: &Flow) -> Result<OwnPacket, Vec<u8>> {
    let mut packet = OwnPacket {
        bytes,
        ingress: None,
        of_receiver: None,
    };
    flow.add_ways(&mut packet);
    let ends = [packet.ingress, packet.of_receiver];
    if ends.into_iter().all(has_address) {
        Ok(packet)
    } else {
        Err(packet.bytes)
    }
}

fn has_address(ingress: Option<Ingress>) -> bool {
    let path = ingress
        .filter(|ingress| ingress.layer == Layer::Bridged)
        .map(|ingress| ingress.path);
    matches!(
        path,
        Some(Path::Bridged {
            sender: Some(_),
            ..
        })
    )
}
