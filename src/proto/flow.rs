//! One control connection: its two streams, its session, its expectations.
//!
//! A segment goes through in three steps, so that the kernel can be asked in between:
//!
//! 1. [`Flow::handle_segment`] takes the segment in;
//! 2. [`Flow::poll_request`] looks at the lines it completed, one after the other, and stops
//!    where the kernel has to do something first (the answer comes to
//!    [`handle_relaxed`](Flow::handle_relaxed) or [`handle_expected`](Flow::handle_expected));
//! 3. [`Flow::finish_segment`] gives the segment's verdict.

mod admission;
mod held;
mod lifetime;
mod lifted;
mod lines;
mod memory;
mod opaque;
mod output;
mod ruled;
mod settings;
mod side;
mod spending;
mod withheld;

pub use lines::Request;
pub use output::Departure;
pub use settings::Settings;
pub use withheld::{LOCAL_ACK_DELAY, PARTIAL_LINE_TIMEOUT};

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use self::{
    held::{Held, Opening},
    lines::Plan,
    opaque::{Opaque, Reading},
    side::Side,
    spending::Spending,
    withheld::Withheld,
};
use super::{
    action::{Action, Event, EventKind, PacketId, SessionId, Verdict},
    budget::HostBudgets,
    command_policy::SessionPolicy,
    expect::ExpectationId,
    ftp::{Role, reads_as_line},
    nat::PortLeases,
    net::{ConntrackTuples, Direction, PerDirection, SeqNumber},
    packet::Segment,
    session::{Session, Withdrawal},
    stream::{Arrival, Stream},
    tls::Grants,
};

/// A connection without an offset that was silent for this long is forgotten; if it goes on, it
/// is picked up again. Longer than any server's idle timeout.
pub const IDLE_MAX: Duration = Duration::from_secs(3 * 3600);

/// A connection on which nobody has said anything is forgotten after this time, so that handshakes
/// alone cost little. A mail client waits as long for its server's 220 (RFC 5321 §4.5.3.2.1); one of
/// FTP that comes later still is recognised by its greeting.
pub const SILENT_MAX: Duration = Duration::from_secs(300);

/// A connection with an offset, or with a grant (its packets pass unseen), is kept for as long as
/// conntrack keeps it (`nf_conntrack_tcp_timeout_established`: 5 days).
pub const IDLE_ADJUSTED_MAX: Duration = Duration::from_secs(5 * 24 * 3600);

/// How long a closed connection is kept for retransmissions of its last segments
/// (`nf_conntrack_tcp_timeout_time_wait`: 120 s).
pub const CLOSED_MAX: Duration = Duration::from_secs(120);

/// What a flow may use while it handles something: the operator's settings, the leases it shares
/// with all flows, and where its actions go.
pub struct Context<'a> {
    /// The operator's settings.
    pub settings: &'a Settings,
    /// Outside ports given away.
    pub leases: &'a dyn PortLeases,
    /// What the hosts have spent.
    pub hosts: &'a dyn HostBudgets,
    /// Who is granted data connections that are not announced.
    pub grants: &'a dyn Grants,
    /// Where actions go, in order.
    pub actions: &'a mut VecDeque<Action>,
    /// The last expectation id given.
    pub last_expectation: &'a mut u64,
    /// The time of what is being handled.
    pub now: Instant,
}

impl Context<'_> {
    fn next_expectation_id(&mut self) -> ExpectationId {
        *self.last_expectation = self.last_expectation.wrapping_add(1);
        ExpectationId(*self.last_expectation)
    }
}

/// One control connection.
pub struct Flow {
    id: SessionId,
    tuples: ConntrackTuples,
    streams: PerDirection<Stream>,
    sides: PerDirection<Side>,
    session: Session,
    /// Where rules concern it.
    ruled: Option<Box<SessionPolicy>>,
    held: Vec<Held>,
    withheld: PerDirection<Option<Box<Withheld>>>,
    /// What waits for the kernel's answer.
    plan: Option<Box<Plan>>,
    opening: Option<Opening>,
    /// Whose withheld bytes are to be acknowledged once the kernel has answered.
    vouching: Option<Direction>,
    /// What was held back of the client's lines is free, and was not yet looked at and sent.
    has_lifted: bool,
    /// The client's last packet with lines.
    last_of_client: PacketId,
    /// What it has spent.
    spending: Spending,
    is_adjusted: bool,
    is_opaque: bool,
    /// What there is to know of its encryption.
    opaque: Opaque,
    is_reset: bool,
    /// It was reset from here.
    is_broken: bool,
    /// Somebody forges packets of it, which was told.
    has_forged: bool,
    /// What is remembered of it outside the process is out of date.
    has_news: bool,
    /// One of its ends has said something.
    has_spoken: bool,
    /// Something is remembered of it outside the process.
    is_remembered: bool,
    last_seen: Instant,
}

impl Flow {
    /// A connection of which nothing was seen yet.
    #[must_use]
    pub fn new(id: SessionId, tuples: ConntrackTuples, now: Instant) -> Self {
        Self {
            id,
            tuples,
            streams: PerDirection::default(),
            sides: PerDirection::default(),
            session: Session::default(),
            ruled: None,
            held: Vec::new(),
            withheld: PerDirection::default(),
            plan: None,
            opening: None,
            vouching: None,
            has_lifted: false,
            last_of_client: PacketId(0),
            spending: Spending::default(),
            is_adjusted: false,
            is_opaque: false,
            opaque: Opaque::default(),
            is_reset: false,
            is_broken: false,
            has_forged: false,
            has_news: false,
            has_spoken: false,
            is_remembered: false,
            last_seen: now,
        }
    }

    /// Its name.
    #[must_use]
    pub fn id(&self) -> SessionId {
        self.id
    }

    /// Its conntrack tuples.
    #[must_use]
    pub fn tuples(&self) -> ConntrackTuples {
        self.tuples
    }

    /// Begins to follow the connection at `segment`.
    pub fn start(&mut self, segment: &Segment<'_>, context: &mut Context<'_>) {
        if !segment.flags.is_syn() {
            self.begin_ruled(context);
            self.report(
                EventKind::Started {
                    is_from_start: false,
                },
                context,
            );
        }
    }

    /// Step 1: takes a segment in. Gives the verdict at once where no line has to be looked at.
    pub fn handle_segment(
        &mut self,
        direction: Direction,
        segment: &Segment<'_>,
        context: &mut Context<'_>,
    ) -> Option<Verdict> {
        self.last_seen = context.now;
        if segment.flags.is_syn() {
            self.handle_side(direction, segment);
            self.handle_syn(direction, segment, context);
            return Some(Verdict::Accept);
        }
        if let Some(verdict) = self.handle_broken(segment, context) {
            return Some(verdict);
        }
        if let Reading::Nothing(verdict) = self.read_through(direction, segment, context) {
            return verdict;
        }
        if !self.spend_segment(direction, segment, context) {
            return Some(Verdict::Drop);
        }
        if self.streams[direction].is_near(segment.seq) {
            self.handle_side(direction, segment);
            if let Some(ack) = segment.ack {
                self.handle_ack(direction, ack, context);
            }
        }
        if segment.flags.is_rst() {
            return None;
        }
        match self.ingest(direction, segment) {
            Arrival::OutOfOrder => Some(Verdict::Drop),
            Arrival::New | Arrival::Old => None,
            Arrival::GapAcked => {
                self.lose_sync(direction, context);
                self.ingest(direction, segment);
                None
            }
        }
    }

    /// Step 3: gives what leaves for a segment whose lines were looked at.
    pub fn finish_segment(
        &mut self,
        direction: Direction,
        segment: &Segment<'_>,
        context: &mut Context<'_>,
    ) -> Departure {
        self.handle_closing(direction, segment, context);
        if self.is_broken {
            return Departure::of(Verdict::Drop);
        }
        self.decide_withholding(direction, !segment.payload.is_empty(), context.now);
        self.remember(context);
        let mut departure = self.encode_departure(direction, segment);
        departure.injected.extend(self.poll_lifted_packets(context));
        departure
    }

    /// Ends the session: withdraws what is pending and gives back what is leased.
    pub fn end(&mut self, context: &mut Context<'_>) {
        self.withdraw_all(Withdrawal::Closed, context);
        self.end_grant(context);
        self.release_place(context);
        self.forget(context);
        self.report(EventKind::Ended, context);
    }

    /// When this flow wants [`handle_timeout`](Self::handle_timeout), and for what.
    #[must_use]
    pub fn poll_timeout(&self) -> (Instant, &'static str) {
        let idle = (self.forgotten_at(), "idle connection");
        let expiry = self.next_expiry().map(|at| (at, "expectation"));
        let withheld = [Direction::Original, Direction::Reply]
            .into_iter()
            .filter_map(|direction| self.withheld[direction].as_ref()?.poll_timeout())
            .map(|at| (at, "withheld bytes"));
        withheld.chain(expiry).fold(idle, Ord::min)
    }

    /// Does what is due; asks for the kernel's help where it is needed first.
    pub fn handle_timeout(&mut self, context: &mut Context<'_>) -> Option<Request> {
        self.expire_held(context);
        self.report_unanswered(context);
        let request = [Direction::Original, Direction::Reply]
            .into_iter()
            .find_map(|direction| self.handle_withheld_timeout(direction, context))
            .or_else(|| self.poll_lifted(context));
        if request.is_none() {
            for packet in self.poll_lifted_packets(context) {
                context.actions.push_back(Action::Inject { packet });
            }
        }
        request
    }

    /// Bytes of memory behind this flow, itself included.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        let streams = self
            .streams
            .original
            .heap_bytes()
            .saturating_add(self.streams.reply.heap_bytes());
        let held = self.held.capacity().saturating_mul(size_of::<Held>());
        let ruled = self.ruled.as_ref().map_or(0, |ruled| ruled.heap_bytes());
        size_of::<Self>()
            .saturating_add(streams)
            .saturating_add(held)
            .saturating_add(ruled)
            .saturating_add(self.session.heap_bytes())
    }

    fn handle_ack(&mut self, direction: Direction, ack: SeqNumber, context: &mut Context<'_>) {
        let stream = &mut self.streams[!direction];
        let before = stream.retransmit_from();
        let result = stream.handle_ack(ack);
        let after = stream.retransmit_from();
        self.has_news |= before.is_some() && after.is_none();
        if after.is_some() && before != after {
            self.handle_progress(!direction, context.now);
        }
        if result.is_err() {
            self.lose_sync(!direction, context);
        }
    }

    fn ingest(&mut self, direction: Direction, segment: &Segment<'_>) -> Arrival {
        let stream = &mut self.streams[direction];
        if !stream.is_synchronised() && !segment.payload.is_empty() {
            let begins_line = reads_as_line(role_of(direction), segment.payload);
            stream.pick_up(segment.seq, begins_line);
            if !self.has_spoken && direction == Direction::Reply && greets(segment.payload) {
                self.session = Session::greeted();
            }
        }
        self.has_spoken |= !segment.payload.is_empty();
        let stream = &mut self.streams[direction];
        stream.ingest(segment.seq, segment.payload, segment.flags.is_fin())
    }

    /// Packets of this direction passed unseen; where a command could have been among them that was to
    /// be refused, the connection is over.
    fn lose_sync(&mut self, direction: Direction, context: &mut Context<'_>) {
        if direction == Direction::Original && self.must_read_client() {
            return self.abort(context);
        }
        if let Some(ruled) = &mut self.ruled {
            ruled.handle_gap();
        }
        self.streams[direction].lose_sync();
        self.withheld[direction] = None;
        self.session.handle_gap();
        self.withdraw_reserved(Withdrawal::LostSync, context);
        self.report(EventKind::LostSync, context);
    }

    fn report(&self, kind: EventKind, context: &mut Context<'_>) {
        let original = self.tuples.of(Direction::Original);
        context.actions.push_back(Action::Report(Event {
            session: self.id,
            client: original.source,
            server: original.destination,
            kind,
        }));
    }
}

/// Whether these are a session's first words, before which nothing can have been said.
fn greets(payload: &[u8]) -> bool {
    payload.starts_with(b"220")
}

/// On a control connection the client speaks in the original direction.
const fn role_of(direction: Direction) -> Role {
    match direction {
        Direction::Original => Role::Client,
        Direction::Reply => Role::Server,
    }
}
