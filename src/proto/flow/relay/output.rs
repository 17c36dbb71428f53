//! Encodes the packets that leave: from the packet that came, and from the state of both streams.

use super::TcpRelay;
use crate::proto::{
    egress::Verdict,
    ftp::SYNCH,
    net::{Direction, SeqNumber},
    packet::{Change, Flags, Injected, SackBlock, Segment, rebuild},
    stream::{Emission, OutSegment},
};

/// Packets up to this length pass everywhere: the least MTU of IPv6 (RFC 8200 §5) and the least
/// reassembly buffer of IPv4 (RFC 791 §3.1), in bytes. A rewritten packet grows no further than
/// this, or than the largest packet that its sender has sent, whichever is more.
const PACKET_MAX_V4: u16 = 576;
const PACKET_MAX_V6: u16 = 1280;

/// The headers of a packet of ours, in bytes: the longer IP header, TCP's, and the timestamps.
const HEADERS_MAX: u16 = 40 + 20 + 12;

/// Flags and urgent pointer of a segment.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Urgency {
    flags: Flags,
    pointer: u16,
}

impl TcpRelay {
    /// Takes note of what a segment says of its sender.
    pub(in crate::proto::flow) fn record_peer(
        &mut self,
        direction: Direction,
        segment: &Segment<'_>,
    ) {
        if segment.flags.is_rst() {
            return;
        }
        self.half[direction].peer.handle_segment(segment);
        let Some(timestamps) = segment.timestamps() else {
            return;
        };
        self.half[direction].peer.handle_tsval(timestamps.value);
        if timestamps.echo != 0 {
            self.half[!direction].peer.handle_tsval(timestamps.echo);
        }
    }

    /// What leaves for a segment whose lines were looked at: its verdict, and the packets behind it
    /// for what did not fit.
    pub(in crate::proto::flow) fn emit(
        &mut self,
        direction: Direction,
        segment: &Segment<'_>,
    ) -> (Verdict, Vec<Vec<u8>>) {
        if segment.flags.is_rst() {
            return (self.encode_reset(direction, segment), Vec::new());
        }
        let max_payload = self.max_payload(direction, Some(segment.headers_len()));
        let stream = &mut self.half[direction].stream;
        let mut segments = match stream.emit(segment.seq, segment.payload, max_payload) {
            Emission::Same => return (self.encode_unchanged(direction, segment), Vec::new()),
            Emission::Changed(segments) => segments.into_iter(),
        };
        let end = self.end_of_payload(direction, segment);
        let has_fin = segment.flags.is_fin() && self.is_end(direction, segment);
        let Some(mut first) = segments.next() else {
            return (Verdict::Drop, Vec::new());
        };
        if has_fin && first.payload.is_empty() && segments.len() == 0 {
            first.seq = end;
        }
        let fin_of = |out: &OutSegment| {
            if has_fin && out.end() == end {
                Flags::FIN
            } else {
                Flags::default()
            }
        };
        let verdict = self.rebuild(direction, segment, &first, fin_of(&first));
        let rest = segments
            .filter_map(|out| self.encode_with_flags(direction, &out, Flags::PSH | fin_of(&out)));
        (verdict, rest.collect())
    }

    /// A segment that seems to come from the sender of a direction. Conntrack and NAT do not see
    /// it: it is addressed as its receiver knows its peer.
    pub(super) fn encode_segment(
        &self,
        direction: Direction,
        segment: &OutSegment,
    ) -> Option<Vec<u8>> {
        self.encode_with_flags(direction, segment, Flags::PSH)
    }

    /// An acknowledgement of `ack` (as the sender of `direction` counts) on its receiver's behalf.
    pub(super) fn encode_local_ack(&self, direction: Direction, ack: SeqNumber) -> Option<Vec<u8>> {
        let segment = OutSegment::empty(self.next_seq(!direction)?);
        self.encode_own(!direction, ack, &segment, Flags::default())
    }

    /// A reset in the name of the sender of a direction, with the number that its receiver expects.
    pub(in crate::proto::flow) fn encode_own_reset(&self, direction: Direction) -> Option<Vec<u8>> {
        let segment = OutSegment::empty(self.next_seq(direction)?);
        self.encode_with_flags(direction, &segment, Flags::RST)
    }

    /// The most bytes of payload in a packet that goes in `direction`, whose headers have this
    /// length.
    pub(super) fn max_payload(&self, direction: Direction, headers: Option<usize>) -> usize {
        let least = if self.tuples.sender(direction).is_ipv4() {
            PACKET_MAX_V4
        } else {
            PACKET_MAX_V6
        };
        let length = self.half[direction].peer.max_packet_len.max(least);
        let own = usize::from(HEADERS_MAX);
        let headers = headers.map_or(own, |headers| headers.max(own));
        usize::from(length).saturating_sub(headers)
    }

    /// The number of the next byte in a direction, as its receiver counts. `None` where neither end
    /// has shown it.
    pub(super) fn next_seq(&self, direction: Direction) -> Option<SeqNumber> {
        let stream = &self.half[direction].stream;
        if stream.is_synchronised() {
            Some(stream.snd_nxt_output())
        } else {
            self.half[!direction].peer.rcv_nxt
        }
    }

    /// Whether all bytes of a segment have left, as its receiver counts.
    pub(in crate::proto::flow) fn has_left(
        &self,
        direction: Direction,
        segment: &Segment<'_>,
    ) -> bool {
        let end = segment.seq.plus(segment.payload.len() as u32);
        self.next_seq(direction)
            .is_some_and(|next| !next.is_before(end))
    }

    /// A segment of our own that acknowledges what the sender of the direction has received.
    fn encode_with_flags(
        &self,
        direction: Direction,
        segment: &OutSegment,
        flags: Flags,
    ) -> Option<Vec<u8>> {
        let ack = self.half[direction].peer.rcv_nxt?;
        let ack = self.half[!direction].stream.translate_ack(ack);
        self.encode_own(direction, ack, segment, flags)
    }

    fn encode_own(
        &self,
        direction: Direction,
        ack: SeqNumber,
        segment: &OutSegment,
        flags: Flags,
    ) -> Option<Vec<u8>> {
        let (own, other) = (&self.half[direction].peer, &self.half[!direction].peer);
        let injected = Injected {
            tuple: self.tuples.of(!direction).inverted(),
            seq: segment.seq,
            ack: Some(ack),
            flags,
            window: own.announced_window(),
            timestamps: own.timestamps_to(other),
            payload: &segment.payload,
        };
        injected.encode().ok()
    }

    /// A RST counts where it stands: its receiver heeds it at exactly the position it expects next
    /// (RFC 9293 §3.10.7.4), and that is before what is held.
    fn encode_reset(&self, direction: Direction, segment: &Segment<'_>) -> Verdict {
        let stream = &self.half[direction].stream;
        let seq = if self.rcv_nxt(direction) == Some(segment.seq) {
            stream.snd_nxt_output()
        } else {
            stream.map().to_output(segment.seq)
        };
        let out = OutSegment {
            seq,
            payload: segment.payload.to_vec(),
        };
        self.rebuild(direction, segment, &out, Flags::default())
    }

    /// A segment whose bytes stay what and where they are: only its acknowledgements may change.
    fn encode_unchanged(&self, direction: Direction, segment: &Segment<'_>) -> Verdict {
        let peer = &self.half[!direction].stream;
        let ack = segment.ack.map(|ack| peer.translate_ack(ack));
        let has_sack = peer.needs_every_packet() && segment.sack_blocks().next().is_some();
        let loses_fin = segment.flags.is_fin() && !self.is_end(direction, segment);
        let urgency = Urgency {
            flags: segment.flags,
            pointer: segment.urgent_pointer,
        };
        let loses_urgent = urgency.as_read(direction, segment.payload) != urgency;
        if ack == segment.ack && !has_sack && !loses_fin && !loses_urgent {
            return Verdict::Accept;
        }
        let fin = if loses_fin {
            Flags::default()
        } else {
            segment.flags
        };
        let out = OutSegment {
            seq: segment.seq,
            payload: segment.payload.to_vec(),
        };
        self.rebuild(direction, segment, &out, fin)
    }

    fn rebuild(
        &self,
        direction: Direction,
        segment: &Segment<'_>,
        out: &OutSegment,
        fin: Flags,
    ) -> Verdict {
        let peer = &self.half[!direction].stream;
        let sack = |block: SackBlock| {
            let (left, right) = peer.translate_sack(block.left, block.right, segment.ack)?;
            Some(SackBlock { left, right })
        };
        let urgency = Urgency {
            flags: flags_of(segment, &out.payload, fin),
            pointer: self.urgent_pointer(direction, segment, out.seq),
        };
        let urgency = urgency.as_read(direction, &out.payload);
        let change = Change {
            seq: out.seq,
            ack: segment.ack.map(|ack| peer.translate_ack(ack)),
            payload: &out.payload,
            flags: urgency.flags,
            urgent_pointer: urgency.pointer,
            sack: &sack,
        };
        rebuild(segment, &change).map_or(Verdict::Drop, Verdict::Replace)
    }

    /// The urgent pointer counts from the segment's sequence number (RFC 9293 §3.8.5), and both may
    /// have moved.
    fn urgent_pointer(&self, direction: Direction, segment: &Segment<'_>, seq: SeqNumber) -> u16 {
        if !segment.flags.is_urg() {
            return segment.urgent_pointer;
        }
        let end = segment.seq.plus(u32::from(segment.urgent_pointer));
        let map = self.half[direction].stream.map();
        let distance = map.to_output(end).offset_from(seq);
        u16::try_from(distance.max(0)).unwrap_or(u16::MAX)
    }

    fn end_of_payload(&self, direction: Direction, segment: &Segment<'_>) -> SeqNumber {
        let end = segment.seq.plus(segment.payload.len() as u32);
        self.half[direction].stream.map().to_output(end)
    }
}

impl Urgency {
    /// The urgency with which a receiver reads what was read here.
    ///
    /// Some systems take the urgent byte out of the stream (RFC 6093 §3), and the line is another
    /// one without it. Of a client only Telnet's synch stays urgent, which is none of a line's
    /// bytes (RFC 959 §5.3 for ABOR; BSD's clients mark its IAC).
    fn as_read(self, direction: Direction, payload: &[u8]) -> Self {
        let urgent = usize::from(self.pointer)
            .checked_sub(1)
            .and_then(|at| payload.get(at));
        let is_synch = urgent.is_some_and(|byte| SYNCH.contains(byte));
        if !self.flags.is_urg() || direction == Direction::Reply || is_synch {
            return self;
        }
        Self {
            flags: self.flags.difference(Flags::URG),
            pointer: 0,
        }
    }
}

/// The flags of a changed segment.
fn flags_of(segment: &Segment<'_>, payload: &[u8], fin: Flags) -> Flags {
    let mut flags = segment.flags.difference(Flags::FIN);
    if fin.is_fin() {
        flags |= Flags::FIN;
    }
    if payload.is_empty() {
        flags = flags.difference(Flags::PSH);
    }
    flags
}
