//! Makes the packet that leaves from the packet that came and the state of both streams.

use super::{Context, Flow};
use crate::proto::{
    action::{Action, Verdict},
    net::{Direction, SeqNumber},
    packet::{Change, Flags, Injected, SackBlock, Segment, rebuild},
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
            Emission::Same => Outgoing {
                seq: segment.seq,
                payload: None,
                is_cut: false,
            },
            Emission::Changed { seq, payload } => Outgoing {
                seq,
                payload: Some(payload),
                is_cut: self.streams[direction].has_rest(),
            },
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
        let injected = Injected {
            tuple: self.tuples.of(!direction).inverted(),
            seq,
            ack: template
                .ack
                .map(|ack| self.streams[!direction].translate_ack(ack)),
            flags: Flags::PSH,
            window: template.window,
            timestamps: template.timestamps(),
            payload,
        };
        if let Ok(packet) = injected.encode() {
            context.actions.push_back(Action::Inject { packet });
        }
    }

    fn encode(&self, direction: Direction, segment: &Segment<'_>, outgoing: &Outgoing) -> Verdict {
        let peer = &self.streams[!direction];
        let ack = segment.ack.map(|ack| peer.translate_ack(ack));
        let has_sack = peer.map().has_offset() && segment.sack_blocks().next().is_some();
        let is_same =
            outgoing.payload.is_none() && outgoing.seq == segment.seq && ack == segment.ack;
        if is_same && !has_sack {
            return Verdict::Accept;
        }
        let payload = outgoing.payload.as_deref().unwrap_or(segment.payload);
        let sack = |block: SackBlock| {
            let (left, right) = peer.translate_sack(block.left, block.right)?;
            Some(SackBlock { left, right })
        };
        let change = Change {
            seq: outgoing.seq,
            ack,
            payload,
            flags: flags_of(segment, payload, outgoing.is_cut),
            urgent_pointer: self.urgent_pointer(direction, segment, outgoing.seq),
            sack: &sack,
        };
        rebuild(segment, &change).map_or(Verdict::Drop, Verdict::Replace)
    }

    /// The urgent pointer counts from the segment's sequence number (RFC 9293 §3.8.5), and both
    /// may have moved.
    fn urgent_pointer(&self, direction: Direction, segment: &Segment<'_>, seq: SeqNumber) -> u16 {
        if !segment.flags.is_urg() {
            return segment.urgent_pointer;
        }
        let end = segment.seq.plus(u32::from(segment.urgent_pointer));
        let distance = self.streams[direction]
            .map()
            .to_output(end)
            .offset_from(seq);
        u16::try_from(distance.max(0)).unwrap_or(u16::MAX)
    }

    /// How many bytes of payload a packet may have here.
    fn room(&mut self, direction: Direction, segment: &Segment<'_>) -> usize {
        let size = segment.packet().len();
        let least = if segment.tuple.source.is_ipv4() {
            PACKET_MAX_V4
        } else {
            PACKET_MAX_V6
        };
        let largest = &mut self.largest[direction];
        *largest = size.max(usize::from(*largest)).min(usize::from(u16::MAX)) as u16;
        usize::from(*largest)
            .max(least)
            .saturating_sub(size.saturating_sub(segment.payload.len()))
    }
}

/// The flags of a changed segment: what stands for its end does not go with a part of it.
fn flags_of(segment: &Segment<'_>, payload: &[u8], is_cut: bool) -> Flags {
    let flags = if is_cut {
        segment.flags.without(Flags::FIN)
    } else {
        segment.flags
    };
    if payload.is_empty() {
        flags.without(Flags::PSH)
    } else {
        flags
    }
}
