//! Bytes that may not leave yet, since they could still become an announcement.
//!
//! A segment that ends inside such a line goes on without it, and its bytes leave with the
//! segment that completes the line. A sender under Nagle's algorithm does not send that segment
//! before the first is acknowledged (RFC 896), so after [`LOCAL_ACK_DELAY`] the withheld bytes are
//! acknowledged on the receiver's behalf. From then on they exist only here: once released they
//! are sent again by us until the receiver has acknowledged them. After [`PARTIAL_LINE_TIMEOUT`] a server's
//! leave as they are, unread. A client's stay until the line ends: whoever sends PORT in two parts, ten
//! seconds apart, would have it heard by the server, whatever it says.
//!
//! Lines of the client that wait for the server's answer to an announcement before them
//! (`lifted.rs`) are none of this: their sender repeats them.

use std::time::{Duration, Instant};

use super::{Context, Flow, Request, role_of};
use crate::proto::{
    action::{Action, EventKind},
    ftp::{Role, could_announce_any_of, is_sequences},
    net::{Direction, SeqNumber},
};

/// How long the rest of a line is waited for before the part is acknowledged. A sender that does
/// not wait sends the rest within a round of its own loop; delayed acknowledgements begin at 40 ms.
pub const LOCAL_ACK_DELAY: Duration = Duration::from_millis(5);

/// How long a begun announcement of a server may be withheld in all.
pub const PARTIAL_LINE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long it may be withheld where it cannot be acknowledged to its sender, which may wait for
/// just that. Linux repeats a segment after 200 ms at the earliest.
const UNVOUCHED_MAX: Duration = Duration::from_millis(200);

/// The first retransmission of bytes that the sender will not repeat (RFC 6298 §2.4's lower
/// bound is 1 s; Linux uses 200 ms); doubled each time.
const RESEND_FIRST: Duration = Duration::from_millis(200);

/// The next one after the receiver has acknowledged a part: its window may have had no room for the rest.
const RESEND_NEXT: Duration = Duration::from_millis(5);

/// How often such bytes are sent again, without any of them being acknowledged, before the connection is left to its own timeouts.
const RESENDS_MAX: u32 = 10;

/// What of one direction has to be done in time.
#[derive(Clone, Debug)]
pub(super) struct Withheld {
    /// The line that is withheld.
    line: Option<SeqNumber>,
    /// When it leaves unread.
    gives_up_at: Option<Instant>,
    /// When it is acknowledged on the receiver's behalf.
    vouch_at: Option<Instant>,
    /// When bytes that the sender will not repeat are sent again.
    resend_at: Option<Instant>,
    resends: u32,
}

impl Withheld {
    const fn new() -> Self {
        Self {
            line: None,
            gives_up_at: None,
            vouch_at: None,
            resend_at: None,
            resends: 0,
        }
    }

    /// Bytes that another process had withheld and acknowledged.
    pub(super) fn restored(now: Instant) -> Box<Self> {
        Box::new(Self {
            gives_up_at: Some(now + PARTIAL_LINE_TIMEOUT),
            resend_at: Some(now + RESEND_FIRST),
            ..Self::new()
        })
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let timers = [self.gives_up_at, self.vouch_at, self.resend_at];
        timers.into_iter().flatten().min()
    }

    /// Begins or goes on to wait for the rest of a line.
    fn withhold(&mut self, line: SeqNumber, has_news: bool, now: Instant) {
        if self.line != Some(line) {
            self.line = Some(line);
            self.gives_up_at = Some(now + PARTIAL_LINE_TIMEOUT);
        }
        if has_news {
            self.vouch_at = Some(now + LOCAL_ACK_DELAY);
        }
    }

    fn release(&mut self) {
        self.line = None;
        self.gives_up_at = None;
        self.vouch_at = None;
    }

    /// Nobody acknowledges the line to its sender.
    fn handle_unvouched(&mut self, now: Instant) {
        self.vouch_at = None;
        self.gives_up_at = self.gives_up_at.map(|at| at.min(now + UNVOUCHED_MAX));
    }

    fn record_orphans(&mut self, needs_retransmit: bool, now: Instant) {
        if !needs_retransmit {
            self.resend_at = None;
            self.resends = 0;
        } else if self.resend_at.is_none() && self.resends == 0 {
            self.resend_at = Some(now + RESEND_FIRST);
        }
    }
}

impl Flow {
    /// Decides whether the line that a direction has begun may leave already.
    pub(super) fn decide_withholding(
        &mut self,
        direction: Direction,
        has_bytes: bool,
        now: Instant,
    ) {
        let is_holding_back = self.streams[direction].is_holding_back();
        let line = self.line_to_withhold(direction);
        let stream = &mut self.streams[direction];
        if line.is_some() || is_holding_back {
            stream.release_lines();
        } else {
            stream.release_all();
        }
        let needs_retransmit = stream.needs_retransmit();
        let slot = &mut self.withheld[direction];
        if line.is_none() && !needs_retransmit {
            *slot = None;
            return;
        }
        let withheld = slot.get_or_insert_with(|| Box::new(Withheld::new()));
        match line {
            Some(line) => withheld.withhold(line, has_bytes, now),
            None => withheld.release(),
        }
        withheld.record_orphans(needs_retransmit, now);
    }

    /// The receiver has got a part of what its sender will not repeat.
    pub(super) fn handle_progress(&mut self, direction: Direction, now: Instant) {
        if let Some(withheld) = &mut self.withheld[direction] {
            withheld.resends = 0;
            withheld.resend_at = withheld.resend_at.map(|at| at.min(now + RESEND_NEXT));
        }
    }

    /// Lets go what a direction withholds, to leave with its next segment.
    pub(super) fn release_withheld(&mut self, direction: Direction) {
        self.streams[direction].release_all();
        if let Some(withheld) = &mut self.withheld[direction] {
            withheld.release();
        }
    }

    /// Does what is due for withheld bytes; asks for the kernel's help before the first
    /// acknowledgement on the receiver's behalf.
    pub(super) fn handle_withheld_timeout(
        &mut self,
        direction: Direction,
        context: &mut Context<'_>,
    ) -> Option<Request> {
        let now = context.now;
        let is_due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        let withheld = self.withheld[direction].as_mut()?;
        if is_due(withheld.gives_up_at) {
            if self.keeps_begun_line(direction) {
                self.withheld[direction].as_mut()?.gives_up_at = None;
                return None;
            }
            self.give_up(direction, context);
        } else if is_due(withheld.vouch_at) {
            withheld.vouch_at = None;
            if !self.is_adjusted {
                self.vouching = Some(direction);
                return Some(Request::RelaxWindow {
                    tuples: self.tuples,
                });
            }
            self.ack_locally(direction, context);
        } else if is_due(withheld.resend_at) {
            self.resend(direction, context);
        }
        None
    }

    /// The kernel lets the withheld bytes be acknowledged, or not.
    pub(super) fn handle_vouching(
        &mut self,
        direction: Direction,
        is_relaxed: bool,
        context: &mut Context<'_>,
    ) {
        if is_relaxed {
            self.is_adjusted = true;
            self.ack_locally(direction, context);
        } else if let Some(withheld) = &mut self.withheld[direction] {
            withheld.handle_unvouched(context.now);
        }
    }

    /// Where the line starts that has begun and could still announce something.
    fn line_to_withhold(&self, direction: Direction) -> Option<SeqNumber> {
        let stream = &self.streams[direction];
        if stream.is_holding_back() {
            return None;
        }
        let partial = stream.partial_line();
        // The line's end is CRLF, and a segment may end between the two.
        let text = partial.strip_suffix(b"\r").unwrap_or(partial);
        // Telnet's synch has to leave with the packet that says that it is urgent.
        let withholds = !stream.is_finished()
            && !is_sequences(text)
            && (self.must_read(direction) || self.could_announce(role_of(direction), text));
        withholds.then(|| SeqNumber(stream.rcv_nxt().0.wrapping_sub(partial.len() as u32)))
    }

    /// Whether a line that was begun waits for its end, however long that takes: of a client whose bytes were
    /// acknowledged nobody waits for it but the server, which would read it as a whole; and nothing passes
    /// unread of a client that is held to rules.
    fn keeps_begun_line(&self, direction: Direction) -> bool {
        direction == Direction::Original
            && (self.must_read_client() || self.streams[direction].needs_retransmit())
    }

    /// Whether no begun line of a direction may leave, whatever it may become: of a client that is held
    /// to rules, and of a server whose answer becomes a refusal.
    fn must_read(&self, direction: Direction) -> bool {
        match role_of(direction) {
            Role::Client => self.must_read_client(),
            Role::Server => self.session.awaits_refusal(),
        }
    }

    /// A server's line can announce only what was asked for.
    fn could_announce(&self, role: Role, text: &[u8]) -> bool {
        let mut kinds = role.kinds().iter().filter(|kind| match role {
            Role::Client => true,
            Role::Server => self.session.awaits(**kind),
        });
        kinds.any(|kind| could_announce_any_of(&[*kind], text))
    }

    fn ack_locally(&mut self, direction: Direction, context: &mut Context<'_>) {
        let Some(ack) = self.streams[direction].ack_locally() else {
            if let Some(withheld) = &mut self.withheld[direction] {
                withheld.handle_unvouched(context.now);
            }
            return;
        };
        if let Some(withheld) = &mut self.withheld[direction] {
            withheld.record_orphans(true, context.now);
        }
        self.has_news = true;
        self.remember(context);
        if let Some(packet) = self.encode_vouching(direction, ack) {
            context.actions.push_back(Action::Inject { packet });
        }
    }

    /// The line did not end in time: its bytes leave as they are.
    fn give_up(&mut self, direction: Direction, context: &mut Context<'_>) {
        self.streams[direction].abandon_line();
        self.has_news |= self.streams[direction].needs_retransmit();
        self.remember(context);
        self.report(EventKind::PartialLineExpired, context);
        if let Some(withheld) = &mut self.withheld[direction] {
            withheld.release();
        }
        self.resend(direction, context);
    }

    fn resend(&mut self, direction: Direction, context: &mut Context<'_>) {
        let room = self.room(direction, None);
        let pieces = self.streams[direction].emit_retransmit(room);
        let needs_retransmit = self.streams[direction].needs_retransmit();
        let Some(withheld) = &mut self.withheld[direction] else {
            return;
        };
        if pieces.is_empty() {
            // All of it is withheld, or has arrived: counting begins anew with what comes next.
            withheld.resend_at = None;
            withheld.resends = 0;
        } else if withheld.resends < RESENDS_MAX {
            let wait = RESEND_FIRST.saturating_mul(1 << withheld.resends);
            withheld.resend_at = Some(context.now + wait);
            withheld.resends = withheld.resends.saturating_add(1);
        } else {
            withheld.resend_at = None;
        }
        if withheld.poll_timeout().is_none() && !needs_retransmit {
            self.withheld[direction] = None;
        }
        self.inject_pieces(direction, pieces, context);
    }
}
