//! Makes the packets that leave from the packet that came and the state of both streams.

use super::Flow;
use crate::proto::{
    action::Verdict,
    ftp::SYNCH,
    net::{Direction, SeqNumber},
    packet::{Change, Flags, SackBlock, Segment, rebuild},
    stream::{Emission, Piece},
};

/// What leaves for one packet: it or another in its place, and packets of our own behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Departure {
    /// The packet's verdict.
    pub verdict: Verdict,
    /// What did not fit into the packet.
    pub injected: Vec<Vec<u8>>,
}

impl Departure {
    /// The packet's verdict and nothing else.
    #[must_use]
    pub const fn of(verdict: Verdict) -> Self {
        Self {
            verdict,
            injected: Vec::new(),
        }
    }
}

impl Flow {
    /// What leaves for a segment that was taken in and whose lines were looked at.
    pub(super) fn encode_departure(
        &mut self,
        direction: Direction,
        segment: &Segment<'_>,
    ) -> Departure {
        if segment.flags.is_rst() {
            return Departure::of(self.encode_reset(direction, segment));
        }
        let room = self.room(direction, Some(segment.headers_len()));
        let mut pieces = match self.streams[direction].emit(segment.seq, segment.payload, room) {
            Emission::Same => return Departure::of(self.encode_unchanged(direction, segment)),
            Emission::Changed(pieces) => pieces.into_iter(),
        };
        let end = self.end_of_payload(direction, segment);
        let has_fin = segment.flags.is_fin() && self.is_end(direction, segment);
        let Some(mut first) = pieces.next() else {
            return Departure::of(Verdict::Drop);
        };
        if has_fin && first.payload.is_empty() && pieces.len() == 0 {
            first.seq = end;
        }
        let fin_for = |piece: &Piece| {
            if has_fin && piece.end() == end {
                Flags::FIN
            } else {
                Flags::default()
            }
        };
        Departure {
            verdict: self.encode(direction, segment, &first, fin_for(&first)),
            injected: pieces
                .filter_map(|piece| {
                    self.encode_piece(direction, &piece, Flags::PSH | fin_for(&piece))
                })
                .collect(),
        }
    }

    /// A RST counts where it stands; its receiver heeds it at exactly the position it expects
    /// next (RFC 9293 §3.10.7.4), and that is before what is withheld.
    fn encode_reset(&self, direction: Direction, segment: &Segment<'_>) -> Verdict {
        let stream = &self.streams[direction];
        let seq = if stream.is_synchronised() && segment.seq == stream.rcv_nxt() {
            stream.snd_nxt_output()
        } else {
            stream.map().to_output(segment.seq)
        };
        let piece = Piece {
            seq,
            payload: segment.payload.to_vec(),
        };
        self.encode(direction, segment, &piece, Flags::default())
    }

    /// A segment whose bytes stay what and where they are: only its acknowledgements may change.
    fn encode_unchanged(&self, direction: Direction, segment: &Segment<'_>) -> Verdict {
        let peer = &self.streams[!direction];
        let ack = segment.ack.map(|ack| peer.translate_ack(ack));
        let has_sack = peer.needs_every_packet() && segment.sack_blocks().next().is_some();
        let loses_fin = segment.flags.is_fin() && !self.is_end(direction, segment);
        let urgent = (segment.flags, segment.urgent_pointer);
        let loses_urgent = as_read(direction, segment.payload, urgent) != urgent;
        if ack == segment.ack && !has_sack && !loses_fin && !loses_urgent {
            return Verdict::Accept;
        }
        let fin = if loses_fin {
            Flags::default()
        } else {
            segment.flags
        };
        self.rebuild(direction, segment, (segment.seq, segment.payload), fin)
    }

    fn encode(
        &self,
        direction: Direction,
        segment: &Segment<'_>,
        piece: &Piece,
        fin: Flags,
    ) -> Verdict {
        self.rebuild(direction, segment, (piece.seq, &piece.payload), fin)
    }

    fn rebuild(
        &self,
        direction: Direction,
        segment: &Segment<'_>,
        (seq, payload): (SeqNumber, &[u8]),
        fin: Flags,
    ) -> Verdict {
        let peer = &self.streams[!direction];
        let sack = |block: SackBlock| {
            let (left, right) = peer.translate_sack(block.left, block.right, segment.ack)?;
            Some(SackBlock { left, right })
        };
        let urgent_pointer = self.urgent_pointer(direction, segment, seq);
        let urgent = (flags_of(segment, payload, fin), urgent_pointer);
        let (flags, urgent_pointer) = as_read(direction, payload, urgent);
        let change = Change {
            seq,
            ack: segment.ack.map(|ack| peer.translate_ack(ack)),
            payload,
            flags,
            urgent_pointer,
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

    fn end_of_payload(&self, direction: Direction, segment: &Segment<'_>) -> SeqNumber {
        let end = segment.seq.plus(segment.payload.len() as u32);
        self.streams[direction].map().to_output(end)
    }
}

/// Flags and urgent pointer with which a receiver reads what was read here. Some systems take the urgent byte
/// out of the stream (RFC 6093 §3), and the line is another one without it. Of a client only Telnet's
/// synch stays urgent, which is none of a line's bytes (RFC 959 §5.3 for ABOR; BSD's clients mark its IAC).
fn as_read(direction: Direction, payload: &[u8], (flags, pointer): (Flags, u16)) -> (Flags, u16) {
    let urgent = usize::from(pointer)
        .checked_sub(1)
        .and_then(|at| payload.get(at));
    let is_synch = urgent.is_some_and(|byte| SYNCH.contains(byte));
    if !flags.is_urg() || direction == Direction::Reply || is_synch {
        return (flags, pointer);
    }
    (flags.without(Flags::URG), 0)
}

/// The flags of a changed segment.
fn flags_of(segment: &Segment<'_>, payload: &[u8], fin: Flags) -> Flags {
    let flags = segment.flags.without(Flags::FIN);
    let flags = if fin.is_fin() {
        flags | Flags::FIN
    } else {
        flags
    };
    if payload.is_empty() {
        flags.without(Flags::PSH)
    } else {
        flags
    }
}
