//! One direction of a control connection as a byte stream that can be edited on its way through.
//!
//! The sender's bytes live in the *input* sequence space, what the receiver gets in the *output*
//! space. [`SequenceMap`] holds the edits between the two; [`Stream`] holds the bytes that may
//! still have to be sent again, cuts them into lines, and decides which of them may leave.
//!
//! Invariants, in input space: `base ≤ sent ≤ released ≤ next`, no edit lies beyond `released`,
//! and whatever left once leaves again with the same bytes, whatever a retransmission holds.

mod acks;
mod emit;
mod lines;
mod map;
mod resume;

#[cfg(test)]
mod tests;

pub use acks::{AckedUnseen, LocallyAcked};
pub use emit::{Emission, OutSegment};
pub use lines::{LINE_MAX, Line};
pub use map::{EDITS_MAX, Edit, SequenceMap};

use self::lines::LineScanner;
use super::net::SeqNumber;

/// How many bytes of a direction are kept for retransmissions once they have left. Control
/// connections rarely have a tenth of it in flight; older bytes that are still unacknowledged
/// pass as the sender repeats them.
pub const HISTORY_MAX: usize = 4096;

/// How many more there may be before the oldest are forgotten, all at once: forgetting moves the
/// rest.
const HISTORY_SLACK: usize = HISTORY_MAX / 4;

/// How far behind the receiver may fall with bytes that the sender believes acknowledged
/// ([`Stream::ack_locally`]) before further segments are dropped for the sender to repeat.
pub const LOCAL_ACK_BACKLOG_MAX: usize = 4 * HISTORY_MAX;

/// How often a segment beyond the next expected byte comes in a row before the bytes between are
/// taken as passed. A sender repeats the first unacknowledged segment, and once perhaps the last
/// (RFC 8985 §7).
const GAP_REPEATS_MAX: u8 = 4;

/// How far from the next expected byte a segment may be for what it says of its sender to be
/// believed. Whoever forges one without having seen the connection has to guess that well.
const NEAR: u32 = 1 << 16;

/// An idle buffer larger than this gives its memory back.
const IDLE_CAPACITY: usize = 512;

/// What a segment meant for its stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// It brought bytes never seen before, in order.
    New,
    /// Every byte of it was here before, or it has none.
    Old,
    /// It lies beyond the next expected byte, or no more may be taken now: to be dropped, so that
    /// the sender repeats it in order.
    OutOfOrder,
    /// It lies beyond the next expected byte and its sender keeps repeating it: what is missing
    /// has passed unseen and been acknowledged. The stream has lost its place.
    GapAcked,
}

/// One direction's stream. See the module's documentation for its invariants.
#[derive(Clone, Debug)]
pub struct Stream {
    map: SequenceMap,
    scanner: LineScanner,
    /// Input bytes from `base` to `next`.
    bytes: Vec<u8>,
    buf_start: SeqNumber,
    /// Up to here bytes have left at least once.
    snd_nxt: SeqNumber,
    /// Up to here bytes may leave.
    snd_limit: SeqNumber,
    /// Up to here another process has let them leave.
    left_by_predecessor: Option<SeqNumber>,
    /// Up to here the receiver has acknowledged, as far as was seen.
    snd_una: SeqNumber,
    /// The same as the receiver said it: in output space.
    snd_una_output: SeqNumber,
    /// Up to here bytes were acknowledged on the receiver's behalf.
    locally_acked: Option<SeqNumber>,
    /// The first byte, where the stream is known from its start.
    first: Option<SeqNumber>,
    /// The last segment beyond the next expected byte, and how often it came in a row.
    beyond: (SeqNumber, u8),
    synchronised: bool,
    finished: bool,
}

impl Default for Stream {
    fn default() -> Self {
        Self::with_map(SequenceMap::default())
    }
}

impl Stream {
    /// A stream of which nothing was seen yet: it starts wherever its first segment starts, in
    /// the middle of a line for all we know.
    #[must_use]
    pub fn with_map(map: SequenceMap) -> Self {
        let start = SeqNumber::default();
        Self {
            map,
            scanner: LineScanner::in_unknown_line(),
            bytes: Vec::new(),
            buf_start: start,
            snd_nxt: start,
            snd_limit: start,
            left_by_predecessor: None,
            snd_una: start,
            snd_una_output: start,
            locally_acked: None,
            first: None,
            beyond: (start, 0),
            synchronised: false,
            finished: false,
        }
    }

    /// Starts at `first`, which is known to be the stream's first byte and so a line's start.
    pub fn start_at(&mut self, first: SeqNumber) {
        *self = Self::with_map(SequenceMap::default());
        self.sync_at(first);
        self.first = Some(first);
        self.scanner = LineScanner::at_line_start();
    }

    /// Starts in the middle of a connection, at a segment that begins a line or not, for all we
    /// can tell.
    pub fn pick_up(&mut self, seq: SeqNumber, begins_line: bool) {
        self.sync_at(seq);
        if begins_line && !self.scanner.is_stopped() {
            self.scanner = LineScanner::at_line_start();
        }
    }

    /// Takes a segment's payload in. Bytes that were here before are never overwritten: the
    /// first writer wins. `is_last` where the segment also closes the sender's side.
    pub fn ingest(&mut self, seq: SeqNumber, payload: &[u8], is_last: bool) -> Arrival {
        if payload.is_empty() {
            let is_ahead = is_last && self.synchronised && self.rcv_nxt().is_before(seq);
            return if is_ahead {
                Arrival::OutOfOrder
            } else {
                Arrival::Old
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
        if self.finished || self.has_backlog() {
            return Arrival::OutOfOrder;
        }
        self.beyond.1 = 0;
        self.prune();
        self.bytes.extend_from_slice(new);
        Arrival::New
    }

    /// The next complete line that was not yet looked at.
    pub fn poll_line(&mut self) -> Option<Line> {
        self.scanner
            .poll(&self.bytes)
            .map(|found| found.at(self.buf_start))
    }

    /// The bytes of a line that [`poll_line`](Self::poll_line) gave, without its end.
    #[must_use]
    pub fn line_bytes(&self, line: &Line) -> &[u8] {
        let from = self.index_of(line.start);
        self.bytes
            .get(from..from.saturating_add(line.len as usize))
            .unwrap_or_default()
    }

    /// The line that has begun but not ended, where its beginning is known and short enough.
    #[must_use]
    pub fn partial_line(&self) -> &[u8] {
        self.scanner.partial(&self.bytes)
    }

    /// Where the partial line starts; the next expected byte where there is none.
    #[must_use]
    pub fn partial_line_start(&self) -> SeqNumber {
        let partial = self.partial_line().len() as u32;
        SeqNumber(self.rcv_nxt().0.wrapping_sub(partial))
    }

    /// Lets everything out that has come in.
    pub fn release_all(&mut self) {
        self.snd_limit = self.rcv_nxt();
    }

    /// Lets everything out but the partial line.
    pub fn release_lines(&mut self) {
        self.snd_limit = self.snd_limit.later(self.partial_line_start());
    }

    /// Gives the begun line up as a line: its rest passes unread.
    pub fn abandon_line(&mut self) {
        self.scanner.skip_line(&self.bytes);
        self.release_all();
    }

    /// Stops cutting lines for good: the rest of the stream is not text.
    pub fn stop_scanning(&mut self) {
        self.scanner.stop();
        self.release_all();
    }

    /// Up to here bytes may leave, for keeping it outside the process.
    #[must_use]
    pub fn left_to(&self) -> Option<SeqNumber> {
        let known = self.synchronised.then_some(self.snd_limit);
        [known, self.left_by_predecessor]
            .into_iter()
            .flatten()
            .reduce(SeqNumber::later)
    }

    /// Whether bytes are withheld.
    #[must_use]
    pub fn is_withholding(&self) -> bool {
        self.snd_limit != self.rcv_nxt()
    }

    /// Replaces the bytes of `line` (not its end) from now on, in every transmission. The caller
    /// has made sure that the map [is not full](SequenceMap::is_full).
    pub fn record_edit(&mut self, line: &Line, new: Vec<u8>) {
        self.map.record(Edit::new(line.start, line.len, new));
    }

    /// Forgets where the stream is: segments passed that were not seen here. The next segment
    /// starts it anew, in the middle of a line for all we know; offsets stay.
    pub fn lose_sync(&mut self) {
        let mut map = std::mem::take(&mut self.map);
        map.fold_all();
        let was_stopped = self.scanner.is_stopped();
        let left_by_predecessor = self.left_by_predecessor;
        *self = Self::with_map(map);
        self.left_by_predecessor = left_by_predecessor;
        if was_stopped {
            self.scanner.stop();
        }
    }

    /// Records that the sender has closed its side.
    pub fn finish(&mut self) {
        self.finished = true;
    }

    /// Whether the sender has closed its side.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.finished
    }

    /// The next byte expected from the sender.
    #[must_use]
    pub fn rcv_nxt(&self) -> SeqNumber {
        self.buf_start.plus(self.bytes.len() as u32)
    }

    /// Whether a segment at `seq` can be of this stream's sender.
    #[must_use]
    pub fn is_near(&self, seq: SeqNumber) -> bool {
        !self.synchronised || self.rcv_nxt().offset_from(seq).unsigned_abs() <= NEAR
    }

    /// The sequence number that the receiver expects next, as far as was sent.
    #[must_use]
    pub fn snd_nxt_output(&self) -> SeqNumber {
        self.map.to_output(self.snd_nxt)
    }

    /// The stream's first byte, where it was seen.
    #[must_use]
    pub fn started_at(&self) -> Option<SeqNumber> {
        self.first
    }

    /// Whether the stream knows its place.
    #[must_use]
    pub fn is_synchronised(&self) -> bool {
        self.synchronised
    }

    /// The edits and offsets, for keeping them outside the process.
    #[must_use]
    pub fn map(&self) -> &SequenceMap {
        &self.map
    }

    /// Bytes of memory behind this value, not counting the value itself.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        self.bytes.capacity().saturating_add(self.map.heap_bytes())
    }

    fn sync_at(&mut self, at: SeqNumber) {
        self.bytes.clear();
        self.buf_start = at;
        self.snd_nxt = at;
        self.snd_limit = at;
        // What was rewritten before and is still remembered has not been acknowledged yet.
        let edit = self.map.edits().first();
        self.snd_una = edit.map_or(at, |edit| at.earlier(edit.start()));
        self.snd_una_output = self.map.to_output(self.snd_una);
        self.locally_acked = None;
        self.synchronised = true;
    }

    fn handle_beyond(&mut self, seq: SeqNumber) -> Arrival {
        let times = if self.beyond.0 == seq {
            self.beyond.1.saturating_add(1)
        } else {
            1
        };
        self.beyond = (seq, times);
        if times < GAP_REPEATS_MAX || self.needs_retransmit() {
            Arrival::OutOfOrder
        } else {
            Arrival::GapAcked
        }
    }

    fn has_backlog(&self) -> bool {
        self.retransmit_from().is_some() && self.bytes.len() > LOCAL_ACK_BACKLOG_MAX
    }

    fn index_of(&self, at: SeqNumber) -> usize {
        at.offset_from(self.buf_start).max(0).unsigned_abs() as usize
    }

    /// Forgets bytes and edits that no retransmission can need. It runs when new bytes come, and
    /// not when they are acknowledged, so that a repeated last segment meets its bytes even where
    /// the acknowledgement was lost on its way to the sender.
    fn prune(&mut self) {
        let kept_line = self
            .buf_start
            .plus(self.scanner.kept_from(&self.bytes) as u32);
        let mut from = self.snd_una.earlier(self.snd_nxt).earlier(kept_line);
        self.map.forget_before(self.snd_una.earlier(self.snd_nxt));
        let oldest = SeqNumber(self.rcv_nxt().0.wrapping_sub(HISTORY_MAX as u32));
        let is_due = self.bytes.len() > HISTORY_MAX.saturating_add(HISTORY_SLACK);
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

/// The part of `bytes`, whose first stands at `origin`, between two positions; empty where it does
/// not reach that far.
fn bytes_between(bytes: &[u8], origin: SeqNumber, from: SeqNumber, to: SeqNumber) -> &[u8] {
    let (first, last) = (from.offset_from(origin), to.offset_from(origin));
    if first < 0 || last <= first {
        return &[];
    }
    bytes
        .get(first.unsigned_abs() as usize..last.unsigned_abs() as usize)
        .unwrap_or_default()
}
