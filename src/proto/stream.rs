//! One direction of a control connection: a byte stream that can be edited on its way.
//!
//! The sender numbers its bytes in the *input* sequence space, and the receiver gets them in the
//! *output* space. [`SequenceMap`] holds the edits between the two. [`Stream`] keeps the bytes that
//! may have to be sent again, cuts them into lines, and decides which of them may leave.
//!
//! Invariants, in input space:
//!
//! * `buf_start ≤ snd_nxt ≤ snd_limit ≤ rcv_nxt`, and no edit lies beyond `snd_limit`.
//! * A byte that has left leaves again as the same byte, whatever the retransmission holds.

mod acks;
mod emit;
mod lines;
mod map;
mod position;

#[cfg(test)]
mod tests;

pub use acks::LocallyAcked;
pub use emit::{Emission, OutSegment};
pub use lines::{LINE_MAX, Line};
pub use map::{EDITS_MAX, Edit, SequenceMap};

use self::lines::LineScanner;
use super::net::SeqNumber;

/// How many bytes of a direction are kept for retransmissions after they have left. A control
/// connection rarely has a tenth of it in flight. Older bytes that are not acknowledged pass as the
/// sender repeats them.
pub const HISTORY_MAX: usize = 4096;

/// How many more bytes are kept before the oldest are forgotten, all at once, because each removal
/// moves the other bytes.
const HISTORY_SLACK: usize = HISTORY_MAX / 4;

/// How many bytes are kept that the sender believes acknowledged ([`Stream::ack_locally`]) and the
/// receiver lacks. Beyond it segments are dropped, and the sender repeats them.
pub const LOCAL_ACK_BACKLOG_MAX: usize = 4 * HISTORY_MAX;

/// How often in a row a segment beyond the next expected byte comes before the bytes between count
/// as passed. A sender repeats its first unacknowledged segment, and perhaps once its last
/// (RFC 8985 §7).
const GAP_REPEATS_MAX: u8 = 4;

/// The farthest from the next expected byte that a segment may be, in bytes, for its window and
/// acknowledgement to be believed. An attacker who has not seen the connection has to guess that
/// well.
pub const NEAR: u32 = 1 << 16;

/// The largest capacity in bytes that an empty buffer keeps.
const IDLE_CAPACITY: usize = 512;

/// The place of a segment in its stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// It brought new bytes, in order.
    New,
    /// Each byte of it was here before, or it has none.
    Old,
    /// It lies beyond the next expected byte, or no more bytes may be taken now. It is to be
    /// dropped, so that the sender repeats it in order.
    OutOfOrder,
    /// It lies beyond the next expected byte, and the receiver has acknowledged the bytes between,
    /// or the sender keeps repeating it. So they have passed unseen: the stream has lost sync.
    GapAcked,
}

/// The stream of one direction. The module's documentation has its invariants.
#[derive(Clone, Debug)]
pub struct Stream {
    map: SequenceMap,
    scanner: LineScanner,
    /// The kept bytes, in input space: from `buf_start` to [`rcv_nxt`](Self::rcv_nxt).
    bytes: Vec<u8>,
    buf_start: SeqNumber,
    /// The end of the bytes that have left at least once.
    snd_nxt: SeqNumber,
    /// The end of the bytes that may leave.
    snd_limit: SeqNumber,
    /// The end of the bytes that left before a restart of the daemon.
    left_by_predecessor: Option<SeqNumber>,
    /// The end of the bytes that the receiver has acknowledged, as far as was seen.
    snd_una: SeqNumber,
    /// The same in output space, as the receiver wrote it.
    snd_una_output: SeqNumber,
    /// The end of the bytes that were acknowledged locally.
    locally_acked: Option<SeqNumber>,
    /// The first byte, where the stream is known from its start.
    first: Option<SeqNumber>,
    /// What the receiver has acknowledged, if that never came through here.
    acked_unseen: Option<SeqNumber>,
    /// The last segment beyond the next expected byte.
    beyond: SeqNumber,
    /// How often in a row that segment came.
    beyond_count: u8,
    synchronised: bool,
    fin: Fin,
}

/// Whether the sender has closed its side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fin {
    NotSeen,
    /// It came while the position of the stream was not known, and bytes before it have come since.
    /// More may come.
    Ahead,
    /// It stands behind all bytes that have come in.
    Behind,
}

impl Default for Stream {
    fn default() -> Self {
        Self::with_map(SequenceMap::default())
    }
}

impl Stream {
    /// A stream without a segment yet. It will start at its first segment, perhaps in the middle of
    /// a line.
    #[must_use]
    pub fn with_map(map: SequenceMap) -> Self {
        let start = SeqNumber::default();
        Self {
            map,
            scanner: LineScanner::behind(&[]),
            bytes: Vec::new(),
            buf_start: start,
            snd_nxt: start,
            snd_limit: start,
            left_by_predecessor: None,
            snd_una: start,
            snd_una_output: start,
            locally_acked: None,
            first: None,
            acked_unseen: None,
            beyond: start,
            beyond_count: 0,
            synchronised: false,
            fin: Fin::NotSeen,
        }
    }

    /// Takes the payload of a segment. It never overwrites bytes that were here before. `is_last`
    /// where the segment also closes the sender's side.
    pub fn ingest(&mut self, seq: SeqNumber, payload: &[u8], is_last: bool) -> Arrival {
        if payload.is_empty() {
            // A FIN beyond a gap has to wait like bytes: the missing bytes may hold a line.
            let is_ahead = is_last && self.synchronised && self.rcv_nxt().is_before(seq);
            return match is_ahead {
                true if self.has_passed_unseen(seq) => Arrival::GapAcked,
                true => Arrival::OutOfOrder,
                false => Arrival::Old,
            };
        }
        if !self.synchronised {
            self.pick_up(seq, false);
        }
        let known = self.rcv_nxt().offset_from(seq);
        if known < 0 {
            return self.handle_beyond(seq);
        }
        let Some(new) = payload
            .get(known.unsigned_abs() as usize..)
            .filter(|new| !new.is_empty())
        else {
            return Arrival::Old;
        };
        // Nothing follows a FIN. And with a backlog the sender has to keep its own bytes, because
        // the receiver reads more slowly than local acknowledgements let the sender send.
        if self.is_finished() || self.has_backlog() {
            return Arrival::OutOfOrder;
        }
        self.beyond_count = 0;
        self.acked_unseen = None;
        self.prune();
        self.bytes.extend_from_slice(new);
        Arrival::New
    }

    /// The next complete line that was not read yet.
    pub fn poll_line(&mut self) -> Option<Line> {
        self.scanner
            .poll(&self.bytes)
            .map(|found| found.at(self.buf_start))
    }

    /// The bytes, without the line's end, of a line that [`poll_line`](Self::poll_line) gave.
    #[must_use]
    pub fn line_bytes(&self, line: &Line) -> &[u8] {
        let from = self.index_of(line.start);
        self.bytes
            .get(from..from.saturating_add(line.len as usize))
            .unwrap_or_default()
    }

    /// The partial line; empty where its start is unknown or it is too long.
    #[must_use]
    pub fn partial_line(&self) -> &[u8] {
        self.scanner.partial(&self.bytes)
    }

    /// The start of the partial line; the next expected byte where there is none.
    #[must_use]
    pub fn partial_line_start(&self) -> SeqNumber {
        let partial = self.partial_line().len() as u32;
        SeqNumber(self.rcv_nxt().0.wrapping_sub(partial))
    }

    /// Lets all bytes leave that have come in.
    pub fn release_all(&mut self) {
        self.snd_limit = self.rcv_nxt();
    }

    /// Lets all bytes leave but the partial line.
    pub fn release_lines(&mut self) {
        // The limit never moves back: a line may be held only after a part of it was released.
        self.snd_limit = self.snd_limit.later(self.partial_line_start());
    }

    /// Lets the partial line leave, and its rest pass unread.
    pub fn abandon_line(&mut self) {
        self.scanner.skip_line(&self.bytes);
        self.release_all();
    }

    /// Stops cutting lines, because the rest of the stream is not text.
    pub fn stop_scanning(&mut self) {
        self.scanner.stop();
        self.release_all();
    }

    /// The end of the bytes that may have left, for the saved flow.
    #[must_use]
    pub fn left_to(&self) -> Option<SeqNumber> {
        // The flow is saved before its packets leave. So the limit counts, and not `snd_nxt`.
        let known = self.synchronised.then_some(self.snd_limit);
        [known, self.left_by_predecessor]
            .into_iter()
            .flatten()
            .reduce(SeqNumber::later)
    }

    /// Whether a partial line is held.
    #[must_use]
    pub fn is_holding(&self) -> bool {
        self.snd_limit != self.rcv_nxt()
    }

    /// Replaces the bytes of `line`, without its end, in each transmission from now on. The caller
    /// has checked that the map [is not full](SequenceMap::is_full).
    pub fn record_edit(&mut self, line: &Line, new: Vec<u8>) {
        self.map.record(Edit::new(line.start, line.len, new));
    }

    /// Records that the sender has closed its side.
    pub fn finish(&mut self) {
        self.fin = Fin::Behind;
    }

    /// Whether the sender has closed its side, and all before its FIN has come in.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.fin == Fin::Behind
    }

    /// The next byte expected from the sender.
    #[must_use]
    pub fn rcv_nxt(&self) -> SeqNumber {
        self.buf_start.plus(self.bytes.len() as u32)
    }

    /// Whether a segment at `seq` can come from the sender of this stream.
    #[must_use]
    pub fn is_near(&self, seq: SeqNumber) -> bool {
        !self.synchronised || self.rcv_nxt().offset_from(seq).unsigned_abs() <= NEAR
    }

    /// Whether a segment at `seq` stands where none of this stream is expected: far away, beyond
    /// the next expected byte, or before the kept ones. `has_bytes` where it takes up
    /// sequence space.
    #[must_use]
    pub fn is_out_of_place(&self, seq: SeqNumber, has_bytes: bool) -> bool {
        let is_elsewhere = self.rcv_nxt().is_before(seq) || seq.is_before(self.buf_start);
        !self.is_near(seq) || (self.synchronised && has_bytes && is_elsewhere)
    }

    /// The end of the bytes that have left, in output space.
    #[must_use]
    pub fn snd_nxt_output(&self) -> SeqNumber {
        self.map.to_output(self.snd_nxt)
    }

    /// The first byte of the stream, where it was seen.
    #[must_use]
    pub fn started_at(&self) -> Option<SeqNumber> {
        self.first
    }

    /// Whether the position of the stream is known.
    #[must_use]
    pub fn is_synchronised(&self) -> bool {
        self.synchronised
    }

    /// The edits and the offset.
    #[must_use]
    pub fn map(&self) -> &SequenceMap {
        &self.map
    }

    /// Bytes of memory behind this value, not counting the value itself.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        self.bytes.capacity().saturating_add(self.map.heap_bytes())
    }

    fn handle_beyond(&mut self, seq: SeqNumber) -> Arrival {
        if self.has_passed_unseen(seq) {
            return Arrival::GapAcked;
        }
        if self.beyond != seq {
            self.beyond = seq;
            self.beyond_count = 0;
        }
        self.beyond_count = self.beyond_count.saturating_add(1);
        // Losing sync would lose the retransmit queue, whose bytes exist only here.
        if self.beyond_count < GAP_REPEATS_MAX || self.needs_retransmit() {
            Arrival::OutOfOrder
        } else {
            Arrival::GapAcked
        }
    }

    /// Whether the sender goes on at `seq`, behind bytes that the receiver has acknowledged and
    /// that never came through here. The acknowledgement alone shows nothing: its sender could
    /// choose with it where the next line seems to begin.
    fn has_passed_unseen(&self, seq: SeqNumber) -> bool {
        self.acked_unseen.is_some_and(|acked| !seq.is_before(acked))
    }

    fn has_backlog(&self) -> bool {
        self.retransmit_from().is_some() && self.bytes.len() > LOCAL_ACK_BACKLOG_MAX
    }

    fn index_of(&self, at: SeqNumber) -> usize {
        at.offset_from(self.buf_start).max(0).unsigned_abs() as usize
    }

    /// Forgets bytes and edits that no retransmission can need.
    ///
    /// It runs when new bytes come, and not when bytes are acknowledged. So a repeated last segment
    /// meets its bytes, also where the acknowledgement was lost on its way to the sender.
    fn prune(&mut self) {
        let kept_line = self
            .buf_start
            .plus(self.scanner.kept_from(&self.bytes) as u32);
        // The receiver may acknowledge bytes before they leave, if they reached it unseen.
        let acked = self.snd_una.earlier(self.snd_nxt);
        self.map.forget_before(acked);
        let mut from = acked.earlier(kept_line);
        let oldest = SeqNumber(self.rcv_nxt().0.wrapping_sub(HISTORY_MAX as u32));
        let is_due = self.bytes.len() > HISTORY_MAX.saturating_add(HISTORY_SLACK);
        // Bytes that were acknowledged locally exist only here and are never too old to keep.
        if is_due && self.retransmit_from().is_none() {
            from = from.later(oldest).earlier(self.snd_nxt).earlier(kept_line);
        }
        let count = self.index_of(from).min(self.bytes.len());
        self.bytes.drain(..count);
        self.buf_start = self.buf_start.plus(count as u32);
        self.scanner.handle_pruned(count);
        if self.bytes.is_empty() && self.bytes.capacity() > IDLE_CAPACITY {
            self.bytes = Vec::new();
        }
    }
}

/// The part between two positions of `bytes`, which start at `origin`; empty where the bytes do not
/// reach that far.
fn bytes_between(bytes: &[u8], origin: SeqNumber, from: SeqNumber, to: SeqNumber) -> &[u8] {
    let (first, last) = (from.offset_from(origin), to.offset_from(origin));
    if first < 0 || last <= first {
        return &[];
    }
    bytes
        .get(first.unsigned_abs() as usize..last.unsigned_abs() as usize)
        .unwrap_or_default()
}
