//! One control connection: the conductor of the parts that follow it.
//!
//! Each part owns its state, and reaches no other part: the `TcpRelay` knows bytes, the
//! `Dialogue` lines, the `Pinholes` expectations. Only [`Flow`] sees two of them. A segment
//! goes straight through:
//!
//! 1. the interface it came by, and the quota of its host, say whether it is taken in;
//! 2. the `TlsState` says whether it can be read;
//! 3. the relay takes its bytes in;
//! 4. the dialogue says what each completed line means, and announcements are opened or refused;
//! 5. the relay gives what leaves.

mod context;
mod dialogue;
mod encryption;
mod entry_check;
mod forgetting;
mod ingress_guard;
mod keeping;
mod lifecycle;
mod line_at;
mod not_ftp;
mod opening;
mod pinholes;
mod quota;
mod reading;
mod refusing;
mod refutation;
mod relay;
mod settings;
mod tls_state;
mod ways;

pub use context::{Context, IdSequence, Subject, expect_newest};
pub use lifecycle::{CLOSED_MAX, IDLE_MAX, SILENT_MAX};
pub use quota::SessionLimitReached;
pub use relay::{LOCAL_ACK_DELAY, PARTIAL_LINE_TIMEOUT};
pub use settings::Settings;

use std::time::Instant;

use self::{
    dialogue::Dialogue,
    ingress_guard::IngressGuard,
    keeping::Keeping,
    lifecycle::Lifecycle,
    pinholes::Pinholes,
    quota::Quota,
    refutation::Refutation,
    relay::TcpRelay,
    tls_state::{Classified, Handshake, TlsState},
};
use super::{
    egress::Verdict,
    event::EventKind,
    ftp::{Role, holds_password},
    net::{ConntrackTuples, Direction},
    packet::Segment,
    saved_flow::SavedFlow,
    session::{SessionId, Withdrawal},
};

/// One control connection.
#[derive(Clone, Debug)]
pub struct Flow {
    id: SessionId,
    life: Lifecycle,
    ingress: IngressGuard,
    quota: Quota,
    tls: TlsState,
    relay: TcpRelay,
    dialogue: Dialogue,
    pinholes: Pinholes,
    keeping: Keeping,
    refutation: Refutation,
    conntrack_id: u32,
    has_lost_sync: bool,
}

impl Flow {
    /// A connection of which nothing was seen yet.
    #[must_use]
    pub fn new(id: SessionId, tuples: ConntrackTuples, now: Instant) -> Self {
        Self {
            id,
            life: Lifecycle::new(now),
            ingress: IngressGuard::default(),
            quota: Quota::new(tuples.sender(Direction::Original).ip()),
            tls: TlsState::Clear,
            relay: TcpRelay::new(tuples),
            dialogue: Dialogue::default(),
            pinholes: Pinholes::default(),
            keeping: Keeping::default(),
            refutation: Refutation::None,
            conntrack_id: 0,
            has_lost_sync: false,
        }
    }

    /// A connection as another process saved it.
    #[must_use]
    pub fn restored(id: SessionId, saved: &SavedFlow, now: Instant) -> Self {
        let mut flow = Self {
            life: Lifecycle::resumed(now),
            relay: TcpRelay::restored(saved, now),
            ..Self::new(id, saved.tuples(), now)
        };
        if saved.is_refuted {
            flow.refute();
            flow.refutation = Refutation::Kept;
        }
        if saved.is_closed {
            flow.close();
        }
        flow
    }

    /// A connection that was encrypted before it was seen here.
    #[must_use]
    pub fn encrypted(id: SessionId, tuples: ConntrackTuples, now: Instant) -> Self {
        Self {
            life: Lifecycle::resumed(now),
            tls: TlsState::Encrypted {
                since: Handshake::AfterAuth,
                has_grant: false,
            },
            ..Self::new(id, tuples, now)
        }
    }

    /// Its name.
    #[must_use]
    pub fn id(&self) -> SessionId {
        self.id
    }

    /// Its conntrack tuples.
    #[must_use]
    pub fn tuples(&self) -> &ConntrackTuples {
        self.relay.tuples()
    }

    /// Whom its events are about.
    #[must_use]
    pub fn subject(&self) -> Subject {
        Subject::of(self.id, self.tuples())
    }

    /// Begins to follow the connection at `segment`.
    pub fn start(&mut self, segment: &Segment<'_>, context: &mut Context<'_>) {
        if !segment.flags.is_syn() {
            let tuples = *self.tuples();
            self.dialogue.apply_policy(&tuples, context);
            self.pinholes.inherit(&tuples, context);
            context.report(EventKind::Started {
                is_from_start: false,
            });
        }
    }

    /// Counts the connection among its host's, however many they are: it was followed before.
    pub fn resume_session(&mut self, context: &Context<'_>) {
        self.quota.resume_session(context);
    }

    /// The connection has ended before it was seen here: nothing is announced any more.
    pub fn close(&mut self) {
        self.life.handle_rst();
    }

    /// Whether the packet at hand may be of the end that sends in `direction`.
    pub fn admit_ingress(&mut self, direction: Direction, context: &mut Context<'_>) -> bool {
        self.ingress.admit(direction, context)
    }

    /// Takes a segment in, and gives its verdict. Packets behind it are in the context's effects.
    ///
    /// # Errors
    /// The client's host has as many sessions as it may have: the caller resets the connection.
    pub fn handle_segment(
        &mut self,
        direction: Direction,
        segment: &Segment<'_>,
        context: &mut Context<'_>,
    ) -> Result<Verdict, SessionLimitReached> {
        let known = self.relay.rcv_nxt(direction);
        let handled = self.take_segment(direction, segment, context);
        let is_new = self.relay.rcv_nxt(direction) != known;
        if is_new || !matches!(handled, Ok(Verdict::Drop)) {
            self.ingress.record(direction, is_new, context.ingress);
        }
        handled
    }

    fn take_segment(
        &mut self,
        direction: Direction,
        segment: &Segment<'_>,
        context: &mut Context<'_>,
    ) -> Result<Verdict, SessionLimitReached> {
        if !self.ingress.admit(direction, context) {
            return Ok(Verdict::Drop);
        }
        // What a closed session repeats does not count it again.
        if !self.life.is_closed() {
            self.quota.admit_session(segment.payload, context)?;
        }
        self.life.handle_packet(context.now);
        if segment.flags.is_syn() {
            self.relay.record_peer(direction, segment);
            self.handle_syn(direction, segment, context);
            return Ok(Verdict::Accept);
        }
        if self.life.is_aborted() {
            return Ok(self.answer_aborted(segment, context));
        }
        match self.classify(direction, segment, context) {
            Classified::Unread(verdict) => return Ok(verdict),
            Classified::Repeated => {}
            Classified::Readable => {
                if !self.ingest_segment(direction, segment, context) {
                    return Ok(Verdict::Drop);
                }
                self.handle_lines(direction, context);
                if direction == Direction::Reply {
                    self.resume_returned_lines(context);
                }
            }
        }
        Ok(self.finish_segment(direction, segment, context))
    }

    /// Ends the session: withdraws its pinholes, and gives back its ports and its places.
    pub fn end(&mut self, context: &mut Context<'_>) {
        self.withdraw_all(Withdrawal::Closed, context);
        self.end_grant(context);
        self.release_session(context);
        self.relay.delete_saved(context);
        context.report(EventKind::Ended);
    }

    /// When this flow wants [`handle_timeout`](Self::handle_timeout).
    #[must_use]
    pub fn poll_timeout(&self) -> Instant {
        let deadlines = [
            self.relay.poll_timeout(),
            self.pinholes.poll_timeout(),
            self.keeping.poll_timeout(),
        ];
        deadlines
            .into_iter()
            .flatten()
            .fold(self.forgotten_at(), Ord::min)
    }

    /// Serves the deadlines that have passed: of pinholes, and of partial lines.
    pub fn handle_timeout(&mut self, context: &mut Context<'_>) {
        self.pinholes.handle_timeout(context);
        let (transfer, tuples) = (self.pinholes.oldest(), self.relay.tuples());
        if self.keeping.handle_timeout(transfer, tuples, context) {
            self.life.handle_packet(context.now);
        }
        let must_read = self.dialogue.must_read(Role::Client);
        for direction in Direction::BOTH {
            self.relay.handle_timeout(direction, must_read, context);
        }
    }

    /// Whether the flow may be forgotten to make room: nothing is lost but its place.
    #[must_use]
    pub fn is_evictable(&self) -> bool {
        !self.relay.is_adjusted() || self.life.is_closed()
    }

    /// Whether both ends have closed it, or one has reset it.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.life.is_closed()
    }

    /// Whether something is under way that would be lost with the flow.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.tls.has_grant()
            || self.dialogue.awaits_refusal()
            || self.pinholes.is_busy()
            || self.relay.is_busy()
    }

    /// Bytes of memory behind this flow, itself included.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        size_of::<Self>()
            .saturating_add(self.relay.heap_bytes())
            .saturating_add(self.dialogue.heap_bytes())
            .saturating_add(self.pinholes.heap_bytes())
            .saturating_add(self.keeping.heap_bytes())
    }

    /// A connection's first packets. A repeated SYN or SYN/ACK changes nothing.
    fn handle_syn(
        &mut self,
        direction: Direction,
        segment: &Segment<'_>,
        context: &mut Context<'_>,
    ) {
        if self.relay.has_started_with(direction, segment) {
            return;
        }
        if !self.completes_handshake(direction, segment) {
            self.restart(context);
        }
        self.relay.start(direction, segment);
    }

    /// Whether a segment with SYN answers the SYN of the other direction. Once an end has said
    /// something, none does: the stream that it would start has begun already.
    fn completes_handshake(&self, direction: Direction, segment: &Segment<'_>) -> bool {
        !self.life.has_spoken() && self.relay.completes_handshake(direction, segment)
    }

    /// The connection begins anew under the same tuples.
    fn restart(&mut self, context: &mut Context<'_>) {
        self.withdraw_all(Withdrawal::Closed, context);
        self.end_grant(context);
        self.relay.delete_saved(context);
        self.relay.restart();
        self.tls = TlsState::Clear;
        self.life = Lifecycle::new(context.now);
        let tuples = *self.tuples();
        // It begins anew under the same entry, in which conntrack believes whoever forges a SYN of
        // the client's. What was refuted stays refuted.
        let is_refuted = self.is_refuted();
        self.dialogue.begin(&tuples, context);
        if is_refuted {
            self.refute();
        }
        context.report(EventKind::Started {
            is_from_start: true,
        });
    }

    /// Gives what leaves for a segment whose lines were looked at.
    fn finish_segment(
        &mut self,
        direction: Direction,
        segment: &Segment<'_>,
        context: &mut Context<'_>,
    ) -> Verdict {
        if !self.life.is_aborted() && self.relay.is_end(direction, segment) {
            self.handle_end(direction, segment, context);
        }
        if self.life.is_aborted() {
            return Verdict::Drop;
        }
        self.settle_refuted(context);
        self.hold(direction, !segment.payload.is_empty(), context.now);
        self.relay.save(context);
        let (verdict, packets) = self.relay.emit(direction, segment);
        context.send(packets);
        verdict
    }

    /// Holds the line that has begun and not ended, or that was returned, where it may not leave.
    fn hold(&mut self, direction: Direction, has_payload: bool, now: Instant) {
        let role = Role::of_sender(direction);
        let partial = self.relay.partial_line(direction);
        let holds =
            self.relay.has_returned_line(direction) || self.dialogue.must_hold(role, partial);
        if role == Role::Client && holds_password(partial) {
            self.relay.record_secret_part(direction);
        }
        self.relay
            .hold_partial_line(direction, holds, has_payload, now);
    }

    /// Gives back its place among the sessions that are counted.
    fn release_session(&mut self, context: &Context<'_>) {
        self.dialogue.release_policy(context);
        self.quota.release_session(context);
    }

    fn withdraw_all(&mut self, reason: Withdrawal, context: &mut Context<'_>) {
        self.pinholes
            .withdraw_all(reason, self.relay.tuples(), context);
        self.keeping.end();
    }

    /// Withdraws what was announced up to the command that the last line was, or answered.
    fn withdraw_current(&mut self, reason: Withdrawal, context: &mut Context<'_>) {
        let command = self.dialogue.current_command();
        self.pinholes
            .withdraw_up_to(command, reason, self.relay.tuples(), context);
        if self.pinholes.oldest().is_none() {
            self.keeping.end();
        }
    }
}
