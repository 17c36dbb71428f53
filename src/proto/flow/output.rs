//! Makes the packet that leaves from the packet that came and the state of both streams.

use super::{Context, Flow};
use crate::proto::{
    action::{Action, Verdict},
    net::{Direction, SeqNumber, Tuple},
    packet::{self, Change, Segment},
    stream::Emission,
};

/// Packets up to this size pass everywhere: the least MTU of IPv6 (RFC 8200 §5) and the least
/// reassembly buffer of IPv4 (RFC 791 §3.1). A rewritten packet grows no further than this, or
/// than the largest packet that its sender has sent, whichever is more.
const PACKET_MAX_V4: usize = 576;
const PACKET_MAX_V6: usize = 1280;

/// The bytes of a segment as it leaves, before its headers are made.
struct Outgoing {
    seq: SeqNumber,
    payload: Option<Vec<u8>>,
    is_cut: bool,
}

impl Flow {
    /// The verdict of a segment that was taken in and whose lines were looked at.
    pub(super) fn encode_verdict(
        &mut self,
        direction: Direction,
        segment: &Segment<'_>,
        context: &mut Context<'_>,
    ) -> Verdict {
        let room = self.room(direction, segment);
        let outgoing = match self.streams[direction].emit(segment.seq, segment.payload, room) {
            Emission::Same => Outgoing { seq: segment.seq, payload: None, is_cut: false },
            Emission::Changed { seq, payload } => {
                Outgoing { seq, payload: Some(payload), is_cut: self.streams[direction].has_rest() }
            }
        };
        let verdict = self.encode(direction, segment, &outgoing);
        while let Some((seq, payload)) = self.streams[direction].emit_rest(room) {
            self.inject(direction, segment, (seq, &payload), context);
        }
        verdict
    }

    /// Sends bytes to the receiver of a direction by a packet of our own, which conntrack and NAT
    /// do not see: it is addressed as the receiver knows its peer.
    pub(super) fn inject(
        &self,
        direction: Direction,
        template: &Segment<'_>,
        (seq, payload): (SeqNumber, &[u8]),
        context: &mut Context<'_>,
    ) {
        let tuple: Tuple = self.tuples.of(!direction).inverted();
        let ack = template.ack.map(|ack| self.streams[!direction].translate_ack(ack));
        let change = Change { seq, ack, payload, ..Change::of(template) };
        if let Ok(packet) = packet::rebuild_addressed(template, tuple, &change) {
            context.actions.push_back(Action::Inject { packet });
        }
    }

    fn encode(&self, direction: Direction, segment: &Segment<'_>, outgoing: &Outgoing) -> Verdict {
        let peer = &self.streams[!direction];
        let ack = segment.ack.map(|ack| peer.translate_ack(ack));
        let is_same = outgoing.payload.is_none() && outgoing.seq == segment.seq && ack == segment.ack;
        if is_same && !(peer.needs_every_packet() && segment.has_sack()) {
            return Verdict::Accept;
        }
        let payload = outgoing.payload.as_deref().unwrap_or(segment.payload);
        let change = Change {
            seq: outgoing.seq,
            ack,
            payload,
            flags: flags_of(segment, payload, outgoing.is_cut),
            urgent_pointer: self.urgent_pointer(direction, segment, outgoing.seq),
            ..Change::of(segment)
        };
        let sack = |left, right| peer.translate_sack(left, right);
        packet::rebuild(segment, &change, &sack).map_or(Verdict::Drop, Verdict::Replace)
    }
}
