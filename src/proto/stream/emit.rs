//! The bytes that leave, and the segments that carry them.

use std::ops::Range;

use super::{Line, Stream, bytes_between};
use crate::proto::net::SeqNumber;

/// The bytes that leave for one segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Emission {
    /// The payload as it came, at the same sequence number.
    Same,
    /// These segments in order, at least one. It is one without bytes where all bytes are held, or
    /// where the receiver has acknowledged all of them.
    Changed(Vec<OutSegment>),
}

/// The bytes of one packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutSegment {
    /// The position of the first byte, in output space.
    pub seq: SeqNumber,
    /// The bytes.
    pub payload: Vec<u8>,
}

impl OutSegment {
    /// A packet without bytes.
    #[must_use]
    pub const fn empty(seq: SeqNumber) -> Self {
        Self {
            seq,
            payload: Vec::new(),
        }
    }

    /// The position behind the last byte, in output space.
    #[must_use]
    pub fn end(&self) -> SeqNumber {
        self.seq.plus(self.payload.len() as u32)
    }
}

/// A segment as the sender repeats it, in input space.
#[derive(Clone, Copy)]
struct Repeated<'a> {
    seq: SeqNumber,
    payload: &'a [u8],
}

impl Stream {
    /// The bytes that leave for a segment, which count as sent. Call it after the segment was
    /// ingested and its lines were read.
    ///
    /// A segment takes along the held bytes before it and the retransmit queue. A segment without
    /// payload takes along the bytes that were released since the last segment. A segment that
    /// leaves has at most `max_payload` bytes, or is one edit.
    pub fn emit(&mut self, seq: SeqNumber, payload: &[u8], max_payload: usize) -> Emission {
        let Some(Range { start, end }) = self.span_to_emit(seq, payload) else {
            return self.emit_nothing(seq);
        };
        if end.is_before(start) || (start == end && start != self.snd_nxt) {
            return self.emit_stale(start);
        }
        let span = self.map.widen(start, end);
        self.snd_nxt = self.snd_nxt.later(span.end);
        if self.is_same(seq, payload, &span) {
            return Emission::Same;
        }
        Emission::Changed(self.segments(span, max_payload, Repeated { seq, payload }))
    }

    /// The retransmit queue, as far as it may leave. Its bytes count as sent.
    pub fn emit_retransmit(&mut self, max_payload: usize) -> Vec<OutSegment> {
        let (Some(from), Some(locally_acked)) = (self.retransmit_from(), self.locally_acked) else {
            return Vec::new();
        };
        let to = locally_acked.earlier(self.snd_limit);
        if !from.is_before(to) {
            return Vec::new();
        }
        let span = self.map.widen(from, to);
        self.snd_nxt = self.snd_nxt.later(span.end);
        let nothing = Repeated {
            seq: span.start,
            payload: &[],
        };
        self.segments(span, max_payload, nothing)
    }

    /// How many bytes from the start of `line` on have left, now or before a restart of the daemon.
    #[must_use]
    pub fn left_of(&self, line: &Line) -> u32 {
        let left = self
            .left_by_predecessor
            .map_or(self.snd_nxt, |left| left.later(self.snd_nxt));
        left.offset_from(line.start).max(0).unsigned_abs()
    }

    /// What leaves in the place of a whole line, where that was decided, now or before a restart.
    #[must_use]
    pub fn rewritten(&self, line: &Line) -> Option<&[u8]> {
        let end = line.start.plus(line.len);
        let mut edits = self.map.edits_between(line.start, end);
        let edit = edits.find(|edit| edit.start() == line.start && edit.end() == end)?;
        Some(edit.new_bytes())
    }

    fn span_to_emit(&self, seq: SeqNumber, payload: &[u8]) -> Option<Range<SeqNumber>> {
        if payload.is_empty() {
            // Only a segment at the end of the stream takes along released bytes. Any other one is
            // a keep-alive or a repetition.
            let has_news =
                self.synchronised && seq == self.rcv_nxt() && self.snd_nxt != self.snd_limit;
            return has_news.then_some(self.snd_nxt..self.snd_limit);
        }
        let end = seq.plus(payload.len() as u32);
        // Only the newest segment takes along what lies behind it. A repeated older one stays what
        // it was, or each of its copies would carry the same later bytes.
        let to = if end.is_before(self.rcv_nxt()) {
            end.earlier(self.snd_limit)
        } else {
            self.snd_limit
        };
        Some(self.first_to_emit(seq)..to)
    }

    /// The start of the bytes that a segment takes along.
    fn first_to_emit(&self, seq: SeqNumber) -> SeqNumber {
        let from = seq.earlier(self.snd_nxt);
        let from = self
            .retransmit_from()
            .map_or(from, |queue| from.earlier(queue));
        self.map.clip_forgotten(from)
    }

    /// A segment without bytes.
    fn emit_nothing(&self, seq: SeqNumber) -> Emission {
        // A stray segment keeps its distance: its receiver must not take it for one in its window.
        let is_of_sender = self.is_near(seq) && !seq.is_before(self.snd_nxt);
        let output = if self.is_holding() && is_of_sender {
            // The number must not lie behind held bytes. A keep-alive or a probe of a closed window
            // has a number before those that its sender believes acknowledged. It still has to ask
            // for an answer, with a number that the receiver has acknowledged.
            //
            // Any other segment must not: two ends would answer each other's acknowledgements for
            // ever.
            let is_probe = self
                .locally_acked
                .is_some_and(|locally_acked| seq.is_before(locally_acked));
            self.snd_nxt_output().shifted(-i32::from(is_probe))
        } else {
            self.map.to_output(seq)
        };
        if output == seq {
            Emission::Same
        } else {
            Emission::Changed(vec![OutSegment::empty(output)])
        }
    }

    /// A repeated segment whose bytes were forgotten, because the receiver has acknowledged them.
    fn emit_stale(&self, known_from: SeqNumber) -> Emission {
        // Its sender has missed the acknowledgement. With a number before the expected one the
        // receiver acknowledges again, as it does a keep-alive (RFC 9293 §3.8.4).
        let seq = self.map.to_output(known_from).shifted(-1);
        Emission::Changed(vec![OutSegment::empty(seq)])
    }

    fn is_same(&self, seq: SeqNumber, payload: &[u8], span: &Range<SeqNumber>) -> bool {
        span.start == seq
            && span.end == seq.plus(payload.len() as u32)
            && self.map.is_identity(span.start, span.end)
            && self.agrees_with_kept(seq, payload)
    }

    /// Whether `payload` at `seq` equals the bytes that are kept of it.
    fn agrees_with_kept(&self, seq: SeqNumber, payload: &[u8]) -> bool {
        // A sender may repeat other bytes at the same positions, to hide a line from one reader.
        // The receiver gets the first ones. Forgotten bytes were acknowledged, and are not
        // compared.
        let forgotten = self.buf_start.offset_from(seq).max(0).unsigned_abs() as usize;
        let Some(kept) = payload.get(forgotten..) else {
            return true;
        };
        let from = self.index_of(seq.later(self.buf_start));
        self.bytes.get(from..from.saturating_add(kept.len())) == Some(kept)
    }

    /// Cuts a widened span into segments.
    fn segments(
        &self,
        span: Range<SeqNumber>,
        max_payload: usize,
        repeated: Repeated<'_>,
    ) -> Vec<OutSegment> {
        let mut segments = Vec::with_capacity(1);
        let mut at = span.start;
        loop {
            let end = self.map.cut(at, span.end, max_payload);
            segments.push(self.without_acknowledged(OutSegment {
                seq: self.map.to_output(at),
                payload: self.compose(at, end, repeated),
            }));
            if !end.is_before(span.end) {
                return segments;
            }
            at = end;
        }
    }

    fn compose(&self, from: SeqNumber, to: SeqNumber, repeated: Repeated<'_>) -> Vec<u8> {
        let len = to.offset_from(from).max(0).unsigned_abs() as usize;
        let mut output = Vec::with_capacity(len.saturating_add(16));
        let mut at = from;
        for edit in self.map.edits_between(from, to) {
            self.copy_plain(at, edit.start(), repeated, &mut output);
            output.extend_from_slice(edit.new_bytes_between(from, to));
            at = edit.end();
        }
        self.copy_plain(at, to, repeated, &mut output);
        output
    }

    /// Leaves out the bytes that the receiver has acknowledged, where more bytes follow.
    fn without_acknowledged(&self, mut out: OutSegment) -> OutSegment {
        // An edit leaves as a whole, but the receiver's window may have taken a part of it. Then
        // the whole would begin before the window and end behind it, and might be refused.
        let known = self.snd_una_output.offset_from(out.seq);
        if known > 0 && self.snd_una_output.is_before(out.end()) {
            out.payload.drain(..known.unsigned_abs() as usize);
            out.seq = self.snd_una_output;
        }
        out
    }

    /// Copies unedited bytes, and takes those that are not kept from the sender's segment.
    fn copy_plain(
        &self,
        from: SeqNumber,
        to: SeqNumber,
        repeated: Repeated<'_>,
        output: &mut Vec<u8>,
    ) {
        let kept_from = from.later(self.buf_start).earlier(to);
        output.extend_from_slice(bytes_between(
            repeated.payload,
            repeated.seq,
            from,
            kept_from,
        ));
        output.extend_from_slice(bytes_between(&self.bytes, self.buf_start, kept_from, to));
    }
}
