//! TCP between the two ends: it edits the streams, holds partial lines, and acknowledges locally.
//!
//! The relay knows bytes and lines, and not what they mean. It owns both directions' [`Stream`]s,
//! what is known of each end ([`Peer`]), the timers of partial lines, and whether the connection
//! has a sequence offset that a later process would need.

mod adjustment;
mod holding;
mod output;
mod partial_line;
mod peer;
mod persistence;

pub use self::partial_line::{LOCAL_ACK_DELAY, PARTIAL_LINE_TIMEOUT};

use std::time::Instant;

use self::{adjustment::Adjustment, partial_line::PartialLine, peer::Peer};
use super::context::Context;
use crate::proto::{
    kernel::SetLiberalError,
    net::{ConntrackTuples, Direction, PerDirection, SeqNumber},
    packet::Segment,
    stream::{Arrival, Line, NEAR, Stream},
};

/// Both directions of one connection.
#[derive(Clone, Debug)]
pub(super) struct TcpRelay {
    tuples: ConntrackTuples,
    half: PerDirection<Half>,
    adjustment: Adjustment,
    /// What a later process has to know of the dialogue: the connection is no FTP.
    is_refuted: bool,
    /// What a later process has to know of its life: it has ended.
    is_closed: bool,
}

/// One direction, and the end that sends in it.
#[derive(Clone, Debug, Default)]
struct Half {
    stream: Stream,
    peer: Peer,
    partial: Option<Box<PartialLine>>,
    /// The end of the last bytes that may not be saved.
    secret_to: Option<SeqNumber>,
}

impl TcpRelay {
    /// A connection of which nothing was seen yet.
    pub(super) fn new(tuples: ConntrackTuples) -> Self {
        Self {
            tuples,
            half: PerDirection::default(),
            adjustment: Adjustment::None,
            is_refuted: false,
            is_closed: false,
        }
    }

    /// The connection's tuples.
    pub(super) const fn tuples(&self) -> &ConntrackTuples {
        &self.tuples
    }

    /// Begins the connection anew, with what is known of its ends and of its entry's label.
    pub(super) fn restart(&mut self) {
        let peers = Direction::BOTH.map(|at| self.half[at].peer);
        let (was_adjusted, is_refuted) = (self.is_adjusted(), self.is_refuted);
        *self = Self {
            is_refuted,
            ..Self::new(self.tuples)
        };
        if was_adjusted {
            self.assume_adjusted();
        }
        [self.half.original.peer, self.half.reply.peer] = peers;
    }

    /// Whether a segment repeats the handshake that this connection began with.
    pub(super) fn has_started_with(&self, direction: Direction, segment: &Segment<'_>) -> bool {
        self.half[direction].stream.started_at() == Some(segment.seq.plus(1))
    }

    /// Whether a segment with SYN answers the SYN of the other direction.
    pub(super) fn completes_handshake(&self, direction: Direction, segment: &Segment<'_>) -> bool {
        segment.ack.is_some() && self.half[!direction].stream.started_at() == segment.ack
    }

    /// Starts the streams at the numbers of a segment with SYN.
    pub(super) fn start(&mut self, direction: Direction, segment: &Segment<'_>) {
        let completes = self.completes_handshake(direction, segment);
        self.half[direction].stream.start_at(segment.seq.plus(1));
        if let (Some(ack), false) = (segment.ack, completes) {
            self.half[!direction].stream.start_at(ack);
        }
    }

    /// Starts a stream in the middle of a connection, at a segment that begins a line or not.
    ///
    /// What the receiver has acknowledged is read no more: an earlier process let it through, and
    /// the segment only repeats it.
    pub(super) fn pick_up(
        &mut self,
        direction: Direction,
        segment: &Segment<'_>,
        begins_line: bool,
    ) {
        let acked = self.half[!direction].peer.rcv_nxt;
        let stream = &mut self.half[direction].stream;
        let acked = acked.map(|ack| stream.map().to_input(ack));
        match acked.filter(|acked| segment.seq.is_before(*acked)) {
            None => stream.pick_up(segment.seq, begins_line),
            Some(acked) => {
                let known = acked.offset_from(segment.seq).unsigned_abs() as usize;
                let last = known.checked_sub(1).and_then(|at| segment.payload.get(at));
                stream.pick_up(acked, last == Some(&b'\n'));
            }
        }
    }

    /// Whether the stream of a direction knows its place.
    pub(super) fn is_synchronised(&self, direction: Direction) -> bool {
        self.half[direction].stream.is_synchronised()
    }

    /// Whether both streams are known from their start and have not said anything.
    pub(super) fn is_at_start(&self) -> bool {
        let at_start = |half: &Half| half.stream.started_at() == Some(half.stream.rcv_nxt());
        at_start(&self.half.original) && at_start(&self.half.reply)
    }

    /// Whether a segment can be of the end whose address it bears, by its sequence number and by
    /// what it acknowledges.
    pub(super) fn is_near(&self, direction: Direction, segment: &Segment<'_>) -> bool {
        // Where the sequence number cannot be judged yet, only the acknowledgement tells.
        let is_ack_near = |ack: SeqNumber| {
            let latest = self.next_seq(!direction);
            latest.is_none_or(|latest| ack.offset_from(latest) <= NEAR.cast_signed())
        };
        self.half[direction].stream.is_near(segment.seq) && segment.ack.is_none_or(is_ack_near)
    }

    /// Whether a segment lies where none of its sender's is expected.
    pub(super) fn is_out_of_place(&self, direction: Direction, segment: &Segment<'_>) -> bool {
        let has_bytes = !segment.payload.is_empty() || segment.flags.is_fin();
        let stream = &self.half[direction].stream;
        stream.is_out_of_place(segment.seq, has_bytes) || self.is_far(direction, segment)
    }

    /// Whether a segment's numbers cannot be those of this connection's two streams.
    pub(super) fn is_far(&self, direction: Direction, segment: &Segment<'_>) -> bool {
        let peer = &self.half[!direction].stream;
        let acks_far = segment
            .ack
            .is_some_and(|ack| !peer.is_near(peer.map().to_input(ack)));
        !self.is_near(direction, segment) || acks_far
    }

    /// Whether a segment stands before the first byte of its stream, where nothing ever was. A
    /// keep-alive may stand right before it.
    pub(super) fn precedes_start(&self, direction: Direction, segment: &Segment<'_>) -> bool {
        let start = self.half[direction].stream.started_at();
        start.is_some_and(|start| segment.seq.plus(1).is_before(start))
    }

    /// Whether a line has other bytes, and its receiver may not have acknowledged them.
    pub(super) fn has_edits(&self) -> bool {
        let has = |half: &Half| !half.stream.map().edits().is_empty();
        has(&self.half.original) || has(&self.half.reply)
    }

    /// The byte that is expected next of a direction, where that is known.
    pub(super) fn rcv_nxt(&self, direction: Direction) -> Option<SeqNumber> {
        let stream = &self.half[direction].stream;
        stream.is_synchronised().then(|| stream.rcv_nxt())
    }

    /// The part of a segment that brings new bytes; `None` where there is none, or where it begins
    /// beyond the next expected byte.
    pub(super) fn new_bytes<'s>(
        &self,
        direction: Direction,
        segment: &Segment<'s>,
    ) -> Option<&'s [u8]> {
        let known = self
            .rcv_nxt(direction)
            .map_or(0, |next| next.offset_from(segment.seq));
        let new = segment.payload.get(usize::try_from(known).ok()?..)?;
        (!new.is_empty()).then_some(new)
    }

    /// Whether a segment repeats bytes, and brings none that were not here before.
    pub(super) fn is_repeated(&self, direction: Direction, segment: &Segment<'_>) -> bool {
        let end = segment.seq.plus(segment.payload.len() as u32);
        let next = self.rcv_nxt(direction);
        !segment.payload.is_empty() && next.is_some_and(|next| !next.is_before(end))
    }

    /// Takes a segment's payload in.
    pub(super) fn ingest(&mut self, direction: Direction, segment: &Segment<'_>) -> Arrival {
        let is_last = segment.flags.is_fin();
        let stream = &mut self.half[direction].stream;
        stream.ingest(segment.seq, segment.payload, is_last)
    }

    /// Takes an acknowledgement of the sender of `direction`.
    pub(super) fn handle_ack(&mut self, direction: Direction, ack: SeqNumber, now: Instant) {
        let half = &mut self.half[!direction];
        let before = half.stream.retransmit_from();
        half.stream.handle_ack(ack);
        let after = half.stream.retransmit_from();
        if before.is_some() && after.is_none() {
            self.adjustment.handle_change();
        }
        if after.is_some()
            && before != after
            && let Some(partial) = &mut half.partial
        {
            partial.handle_progress(now);
        }
    }

    /// The next complete line of a direction that was not yet looked at.
    pub(super) fn next_line(&mut self, direction: Direction) -> Option<Line> {
        self.half[direction].stream.poll_line()
    }

    /// The bytes at the start of a direction, before any line was given of it.
    pub(super) fn unread_start(&self, direction: Direction) -> Option<&[u8]> {
        self.half[direction].stream.unread_start()
    }

    /// Passes bytes of a partial line as no text.
    pub(super) fn skip(&mut self, direction: Direction, count: usize) {
        self.half[direction].stream.skip(count);
    }

    /// Takes back the last line that [`next_line`](Self::next_line) gave. It is held, and given
    /// again.
    pub(super) fn return_line(&mut self, direction: Direction, line: &Line) {
        self.half[direction].stream.return_line(line);
    }

    /// Whether a returned line waits.
    pub(super) fn has_returned_line(&self, direction: Direction) -> bool {
        self.half[direction].stream.has_returned_line()
    }

    /// The bytes of a line, without its end.
    pub(super) fn line_bytes(&self, direction: Direction, line: &Line) -> &[u8] {
        self.half[direction].stream.line_bytes(line)
    }

    /// The line that has begun and not ended.
    pub(super) fn partial_line(&self, direction: Direction) -> &[u8] {
        self.half[direction].stream.partial_line()
    }

    /// How many bytes of a line have left already.
    pub(super) fn left_of(&self, direction: Direction, line: &Line) -> u32 {
        self.half[direction].stream.left_of(line)
    }

    /// What leaves in the place of a whole line, where that was decided, now or before a restart.
    pub(super) fn rewritten(&self, direction: Direction, line: &Line) -> Option<&[u8]> {
        self.half[direction].stream.rewritten(line)
    }

    /// Whether one more line of a direction can be rewritten.
    pub(super) fn has_room_for_edit(&self, direction: Direction) -> bool {
        !self.half[direction].stream.map().is_full()
    }

    /// Makes conntrack accept an offset, unless it does already.
    ///
    /// # Errors
    /// No line may change its length, and nothing be acknowledged locally.
    pub(super) fn set_liberal(&mut self, context: &mut Context<'_>) -> Result<(), SetLiberalError> {
        if !self.is_adjusted() {
            context.kernel.set_liberal(&self.tuples)?;
            self.adjustment = Adjustment::Unsaved;
        }
        Ok(())
    }

    /// Puts other bytes in a line's place, in every transmission from now on. The caller has made
    /// sure of [`has_room_for_edit`](Self::has_room_for_edit), and of
    /// [`set_liberal`](Self::set_liberal) where the length changes.
    pub(super) fn rewrite(&mut self, direction: Direction, line: &Line, new: Vec<u8>) {
        self.half[direction].stream.record_edit(line, new);
        self.adjustment.handle_change();
    }

    /// Notes that a line was looked at, whose position a later process has to know.
    pub(super) fn record_decision(&mut self) {
        self.adjustment.handle_change();
    }

    /// Notes that the bytes of a line, up to its `end`, may not be saved.
    pub(super) fn record_secret(&mut self, direction: Direction, end: SeqNumber) {
        self.half[direction].secret_to = Some(end);
    }

    /// Notes that the bytes of a partial line may not be saved.
    pub(super) fn record_secret_part(&mut self, direction: Direction) {
        let end = self.half[direction].stream.rcv_nxt();
        self.record_secret(direction, end);
    }

    /// Whether something is under way that would be lost with the relay.
    pub(super) fn is_busy(&self) -> bool {
        self.half.original.partial.is_some() || self.half.reply.partial.is_some()
    }

    /// The sender of a direction has closed it: its partial line leaves as it is.
    pub(super) fn finish(&mut self, direction: Direction) {
        let stream = &mut self.half[direction].stream;
        stream.release_all();
        stream.finish();
    }

    /// The same of a connection whose bytes are not read: what it had let out stays as it was.
    pub(super) fn finish_unread(&mut self, direction: Direction) {
        self.half[direction].stream.finish();
    }

    /// Whether a segment with FIN or RST closes its direction: it stands where its stream ends, as
    /// far as is known.
    pub(super) fn is_end(&self, direction: Direction, segment: &Segment<'_>) -> bool {
        let is_rst = segment.flags.is_rst();
        let length = if is_rst {
            0
        } else {
            segment.payload.len() as u32
        };
        let end = segment.seq.plus(length);
        (segment.flags.is_fin() || is_rst) && self.rcv_nxt(direction).is_none_or(|next| next == end)
    }

    /// Packets of a direction passed unseen: it is read again from the next line on.
    pub(super) fn lose_sync(&mut self, direction: Direction) {
        self.half[direction].stream.lose_sync();
        self.half[direction].partial = None;
    }

    /// Reads no more lines, and lets everything out.
    pub(super) fn stop_reading(&mut self) {
        for direction in Direction::BOTH {
            let half = &mut self.half[direction];
            half.stream.stop_scanning();
            if let Some(partial) = &mut half.partial {
                partial.release();
            }
        }
    }

    /// Reads lines again in what comes from now on.
    pub(super) fn resume_reading(&mut self, direction: Direction, begins_line: bool) {
        self.half[direction].stream.resume(begins_line);
    }

    /// Reads lines again from the next segments on: packets passed that were not seen here.
    pub(super) fn begin_anew(&mut self) {
        self.half.original.stream.begin_anew();
        self.half.reply.stream.begin_anew();
    }

    /// Drops the timers: the connection is aborted.
    pub(super) fn abandon(&mut self) {
        self.half.original.partial = None;
        self.half.reply.partial = None;
    }

    /// When [`handle_timeout`](Self::handle_timeout) is wanted.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let of = |half: &Half| half.partial.as_ref()?.poll_timeout();
        of(&self.half.original)
            .into_iter()
            .chain(of(&self.half.reply))
            .min()
    }

    /// Bytes of memory behind this value, not counting the value itself.
    pub(super) fn heap_bytes(&self) -> usize {
        let of = |half: &Half| half.stream.heap_bytes();
        of(&self.half.original).saturating_add(of(&self.half.reply))
    }
}
