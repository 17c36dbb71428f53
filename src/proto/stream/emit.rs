//! What of a stream leaves, and in which segments.

use super::{Line, Stream, bytes_between};
use crate::proto::net::SeqNumber;

/// What of a segment's payload leaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Emission {
    /// Exactly what came, at the same sequence number.
    Same,
    /// These segments instead, in order; at least one. One without bytes where all is withheld, or
    /// where the receiver has had all of it long ago.
    Changed(Vec<OutSegment>),
}

/// Bytes for one packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutSegment {
    /// Where the bytes stand in output space.
    pub seq: SeqNumber,
    /// What the receiver gets.
    pub payload: Vec<u8>,
}

impl OutSegment {
    const fn empty(seq: SeqNumber) -> Self {
        Self {
            seq,
            payload: Vec::new(),
        }
    }

    /// The position behind it, in output space.
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
    /// What of a segment leaves. Call it once a segment was ingested and its lines were looked
    /// at; what it gives counts as sent. A segment takes along what was withheld before it and
    /// what the sender will not repeat; one without payload takes along what was released since
    /// the last one. A out has no more than `max_payload` bytes, or is one edit.
    pub fn emit(&mut self, seq: SeqNumber, payload: &[u8], max_payload: usize) -> Emission {
        let Some((from, to)) = self.span_to_emit(seq, payload) else {
            return self.emit_nothing(seq);
        };
        if to.is_before(from) || (from == to && from != self.snd_nxt) {
            return self.emit_stale(from);
        }
        let (from, to) = self.map.widen(from, to);
        self.snd_nxt = self.snd_nxt.later(to);
        if self.is_same(seq, payload, from, to) {
            return Emission::Same;
        }
        Emission::Changed(self.segments((from, to), max_payload, Repeated { seq, payload }))
    }

    /// The bytes that the sender will not repeat since they were acknowledged on the receiver's
    /// behalf, and that the receiver has not acknowledged. They count as sent.
    pub fn emit_retransmit(&mut self, max_payload: usize) -> Vec<OutSegment> {
        let (Some(from), Some(locally_acked)) = (self.retransmit_from(), self.locally_acked) else {
            return Vec::new();
        };
        let to = locally_acked.earlier(self.snd_limit);
        if !from.is_before(to) {
            return Vec::new();
        }
        self.emit_kept(from, to, max_payload)
    }

    /// Whether `line` can still be edited as a whole: none of it has left yet, neither from here
    /// nor from another process.
    #[must_use]
    pub fn is_unsent(&self, line: &Line) -> bool {
        self.has_left_of(line) == 0
    }

    /// How many bytes of `line` have left, from here or from another process, as far as is known.
    #[must_use]
    pub fn has_left_of(&self, line: &Line) -> u32 {
        let left = self
            .left_by_predecessor
            .map_or(self.snd_nxt, |left| left.later(self.snd_nxt));
        left.offset_from(line.start).max(0).unsigned_abs()
    }

    /// Bytes that are kept here, without a segment that repeats them.
    fn emit_kept(&mut self, from: SeqNumber, to: SeqNumber, max_payload: usize) -> Vec<OutSegment> {
        let (from, to) = self.map.widen(from, to);
        self.snd_nxt = self.snd_nxt.later(to);
        let nothing = Repeated {
            seq: from,
            payload: &[],
        };
        self.segments((from, to), max_payload, nothing)
    }

    fn span_to_emit(&self, seq: SeqNumber, payload: &[u8]) -> Option<(SeqNumber, SeqNumber)> {
        if payload.is_empty() {
            let has_news =
                self.synchronised && seq == self.rcv_nxt() && self.snd_nxt != self.snd_limit;
            return has_news.then_some((self.snd_nxt, self.snd_limit));
        }
        let end = seq.plus(payload.len() as u32);
        let to = if end.is_before(self.rcv_nxt()) {
            end.earlier(self.snd_limit)
        } else {
            self.snd_limit
        };
        Some((self.first_to_emit(seq), to))
    }

    /// A segment takes along what was withheld before it, and what the sender will not repeat.
    fn first_to_emit(&self, seq: SeqNumber) -> SeqNumber {
        let from = seq.earlier(self.snd_nxt);
        let from = self
            .retransmit_from()
            .map_or(from, |orphan| from.earlier(orphan));
        self.map.clip_forgotten(from)
    }

    /// A segment without bytes. Where bytes are withheld it must not seem to come after them; one
    /// that asks for an answer by a number that its sender believes acknowledged (a keep-alive, a
    /// probe of a closed window) still has one. Any other has none: an acknowledgement from a
    /// sender that has gone back would be answered, and the answer perhaps acknowledged, for ever.
    fn emit_nothing(&self, seq: SeqNumber) -> Emission {
        let output = if self.is_withholding() && !seq.is_before(self.snd_nxt) {
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

    /// A repeated segment of which nothing is remembered, because the receiver has acknowledged
    /// all of it and the sender does not know. What leaves makes the receiver say so again: it is
    /// one before what is expected, like a keep-alive (RFC 9293 §3.8.4).
    fn emit_stale(&self, known_from: SeqNumber) -> Emission {
        let seq = self.map.to_output(known_from).shifted(-1);
        Emission::Changed(vec![OutSegment::empty(seq)])
    }

    fn is_same(&self, seq: SeqNumber, payload: &[u8], from: SeqNumber, to: SeqNumber) -> bool {
        from == seq
            && to == seq.plus(payload.len() as u32)
            && self.map.is_identity(from, to)
            && self.holds(seq, payload)
    }

    /// Whether the kept bytes, as far as they are still kept, equal `payload` at `seq`.
    fn holds(&self, seq: SeqNumber, payload: &[u8]) -> bool {
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
        (from, to): (SeqNumber, SeqNumber),
        max_payload: usize,
        repeated: Repeated<'_>,
    ) -> Vec<OutSegment> {
        let mut segments = Vec::with_capacity(1);
        let mut at = from;
        loop {
            let end = self.map.cut(at, to, max_payload);
            segments.push(self.without_acknowledged(OutSegment {
                seq: self.map.to_output(at),
                payload: self.compose(at, end, repeated),
            }));
            if !end.is_before(to) {
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

    /// Leaves out what the receiver has acknowledged, where more follows it. A receiver whose
    /// window took a part of an edit may not look at a segment that begins before the rest.
    fn without_acknowledged(&self, mut out: OutSegment) -> OutSegment {
        let known = self.snd_una_output.offset_from(out.seq);
        if known > 0 && self.snd_una_output.is_before(out.end()) {
            out.payload.drain(..known.unsigned_abs() as usize);
            out.seq = self.snd_una_output;
        }
        out
    }

    /// Copies unedited bytes: the kept ones where they are kept, else as the sender repeats them.
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
