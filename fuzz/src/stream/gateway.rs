//! The core behind a small kernel: conntrack, the queue rule, the clock, and the saved flow.

use std::{
    collections::BTreeMap,
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use ftp_alg::proto::{
    alg::{Alg, InboundPacket},
    egress::{Effects, PacketId, Save, Verdict},
    event::EventKind,
    expect::{ExpectError, Expectation, ExpectationId},
    flow::Settings,
    ftps::HostPair,
    kernel::{Kernel, LookUpError, MarkError, Outcome, SetLiberalError, TrackedConnection},
    net::{ConntrackTuples, Tuple},
    saved_flow::SavedFlow,
    session::Withdrawal,
    shared::SharedTables,
    stream::{EDITS_MAX, LOCAL_ACK_BACKLOG_MAX},
};

use super::frame::{ACK, FIN, Frame, RST, SYN};

/// The most packets that may leave for one inbound packet. They are all kept bytes, in packets of
/// the least size that passes everywhere, each cut short by an edit, and all rewritten lines.
const PACKETS_MAX: usize = 2 + 2 * (LOCAL_ACK_BACKLOG_MAX + 1460) / 504 + EDITS_MAX;

/// The most memory that one connection may take: two buffers with all that is kept, grown by
/// doubling, and the edits.
const MEMORY_MAX: usize = 2 * 2 * (LOCAL_ACK_BACKLOG_MAX + 1460) + 2 * EDITS_MAX * 1024;

/// The most memory without any connection: the places of the table.
const MEMORY_MIN: usize = 1024;

/// How often the core may want to be woken within a minute.
const WAKEUPS_MAX: usize = 200;

/// One effect of the core.
pub(super) enum Note {
    /// A data connection is expected.
    Opened(Expectation),
    Event(EventKind),
    /// The packet that came leaves, perhaps as another one.
    Left(Frame),
    Dropped,
    /// A packet of the core's own leaves.
    Injected(Frame),
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Opened(expectation) => write!(f, "open {expectation:?}"),
            Self::Event(kind) => write!(f, "event {kind:?}"),
            Self::Left(frame) => write!(f, "left {frame}"),
            Self::Dropped => write!(f, "dropped"),
            Self::Injected(frame) => write!(f, "sent {frame}"),
        }
    }
}

/// The gateway with one connection.
pub(super) struct Gateway {
    alg: Alg,
    shared: Arc<SharedTables>,
    max_per_session: usize,
    kernel: Model,
    start: Instant,
    packets: u64,
}

/// The kernel: its knowledge, and the requests of the core.
struct Model {
    tuples: ConntrackTuples,
    now: Instant,
    /// Whether it refuses, one bit for each request.
    refusals: u8,
    is_adjusted: bool,
    /// The connection was forgotten, and so is its mark.
    is_unmarked: bool,
    /// Nothing but SYNs has come.
    is_beginning: bool,
    is_opaque: bool,
    /// The core has looked the connection up.
    is_known: bool,
    saved: Option<SavedFlow>,
    /// The live expectations, with their ends.
    live: BTreeMap<ExpectationId, Instant>,
    /// The expectations since the last input.
    opened: Vec<Expectation>,
}

impl Model {
    fn refuses(&mut self) -> bool {
        let refuses = self.refusals & 1 != 0;
        self.refusals = self.refusals.rotate_right(1);
        refuses
    }

    /// The saved flow; `None` for a connection without the mark of an earlier process.
    fn saved(&self) -> Option<&SavedFlow> {
        self.saved.as_ref().filter(|_| self.is_adjusted)
    }
}

impl Kernel for Model {
    fn look_up(&mut self, _: Tuple) -> Result<Option<TrackedConnection>, LookUpError> {
        self.is_known = true;
        let is_adjusted = self.is_adjusted && !self.is_unmarked;
        Ok(Some(TrackedConnection {
            is_adjusted,
            is_beginning: self.is_beginning,
            ..TrackedConnection::unmarked(self.tuples)
        }))
    }

    fn load(&mut self, _: &ConntrackTuples) -> Option<SavedFlow> {
        let saved = self.saved.as_ref()?;
        let read = SavedFlow::parse(&saved.encode());
        assert_eq!(read.as_ref(), Ok(saved));
        read.ok()
    }

    fn set_liberal(&mut self, tuples: &ConntrackTuples) -> Result<(), SetLiberalError> {
        assert_eq!(*tuples, self.tuples);
        if self.refuses() {
            return Err(SetLiberalError);
        }
        (self.is_adjusted, self.is_unmarked) = (true, false);
        Ok(())
    }

    fn expect(
        &mut self,
        id: ExpectationId,
        expectation: &Expectation,
        _: &ConntrackTuples,
    ) -> Result<(), ExpectError> {
        if self.refuses() {
            return Err(ExpectError::Clash);
        }
        self.live.insert(id, self.now + expectation.timeout);
        self.opened.push(*expectation);
        Ok(())
    }

    fn unexpect(
        &mut self,
        id: ExpectationId,
        _: &Expectation,
        _: &ConntrackTuples,
        _: Withdrawal,
    ) -> Outcome {
        self.live.remove(&id);
        Outcome::Unknown
    }

    /// What is silent for hours conntrack has forgotten. Nothing is granted by default.
    fn are_alive(&mut self, _: &[Tuple]) -> Vec<Tuple> {
        Vec::new()
    }

    fn mark_opaque(&mut self, _: &ConntrackTuples) {
        self.is_opaque = true;
    }

    fn mark_readable(&mut self, _: &ConntrackTuples) {
        self.is_opaque = false;
    }

    /// So what is no FTP is followed on, and its bytes are compared. `identity` lets it go.
    fn mark_untouched(&mut self, _: &ConntrackTuples) -> Result<(), MarkError> {
        Err(MarkError)
    }

    fn queue_data_syns(&mut self, _: HostPair) {
        panic!("nothing is granted by default")
    }

    fn pass_data_syns(&mut self, _: HostPair) {
        panic!("nothing is granted by default")
    }
}

impl Gateway {
    #[expect(
        clippy::disallowed_methods,
        reason = "a fake clock needs an origin, and there is no other Instant to be had"
    )]
    pub(super) fn new(settings: Settings, tuples: ConntrackTuples, refusals: u8) -> Self {
        let shared = Arc::<SharedTables>::default();
        let now = Instant::now();
        Self {
            max_per_session: settings.max_per_session,
            alg: Alg::new(settings, Arc::clone(&shared)),
            shared,
            kernel: Model {
                tuples,
                now,
                refusals,
                is_adjusted: false,
                is_unmarked: false,
                is_beginning: true,
                is_opaque: false,
                is_known: false,
                saved: None,
                live: BTreeMap::new(),
                opened: Vec::new(),
            },
            start: now,
            packets: 0,
        }
    }

    pub(super) fn tuples(&self) -> ConntrackTuples {
        self.kernel.tuples
    }

    pub(super) fn is_opaque(&self) -> bool {
        self.kernel.is_opaque
    }

    /// The flow with which a new process goes on.
    pub(super) fn saved(&self) -> Option<&SavedFlow> {
        self.kernel.saved()
    }

    /// A clock of TCP timestamps, in milliseconds.
    pub(super) fn clock(&self) -> u32 {
        self.kernel.now.duration_since(self.start).as_millis() as u32
    }

    /// What the rules queue: all packets of a connection that is marked `adjust`, else those with
    /// bytes or flags that matter.
    pub(super) fn is_queued(&self, frame: &Frame) -> bool {
        if frame.has(SYN) && !frame.has(ACK) {
            return false;
        }
        self.kernel.is_adjusted || !frame.payload.is_empty() || frame.flags & (FIN | RST | SYN) != 0
    }

    /// A packet arrives.
    pub(super) fn handle_frame(&mut self, frame: &Frame) -> Vec<Note> {
        self.kernel.is_beginning &= frame.has(SYN);
        if !self.is_queued(frame) {
            return vec![Note::Left(frame.clone())];
        }
        self.packets += 1;
        let packet = frame.encode();
        let inbound = InboundPacket::new(PacketId(self.packets), &packet);
        let now = self.kernel.now;
        let egress = self.alg.handle_packet(&inbound, &mut self.kernel, now);
        let verdict = note_of(egress.verdict, frame);
        self.notes_of(Some(verdict), egress.effects)
    }

    /// Lets time pass, and gives the effects of each time that the core was woken.
    pub(super) fn wait(&mut self, time: Duration) -> Vec<Vec<Note>> {
        let until = self.kernel.now + time;
        let mut all = Vec::new();
        while let Some(at) = self.alg.poll_timeout().filter(|&at| at <= until) {
            all.push(self.wake(at));
            assert!(all.len() <= WAKEUPS_MAX, "it wants to be woken forever");
        }
        self.kernel.now = until;
        all
    }

    /// Lets time pass until the core waits for nothing.
    pub(super) fn wait_for_all(&mut self) -> Vec<Vec<Note>> {
        let mut all = Vec::new();
        while let Some(at) = self.alg.poll_timeout() {
            all.push(self.wake(at));
            assert!(all.len() <= WAKEUPS_MAX, "it wants to be woken forever");
        }
        all
    }

    fn wake(&mut self, at: Instant) -> Vec<Note> {
        self.kernel.now = self.kernel.now.max(at);
        let now = self.kernel.now;
        let effects = self.alg.handle_timeout(&mut self.kernel, now);
        let notes = self.notes_of(None, effects);
        let next = self.alg.poll_timeout();
        assert!(next.is_none_or(|next| next > now), "it was not done");
        notes
    }

    /// Kills and restarts the daemon. The marks of the kernel and the saved flow stay.
    pub(super) fn restart(&mut self, settings: Settings) {
        self.shared = Arc::default();
        self.alg = Alg::new(settings, Arc::clone(&self.shared));
        self.kernel.live.clear();
        self.kernel.is_known = false;
        // Else the core would reset it: `identity` has that case.
        self.kernel.is_unmarked |= self.kernel.saved.is_none();
    }

    /// Checks the bounds, which hold at any time.
    pub(super) fn check_bounds(&self) {
        let memory = self.alg.memory_bytes();
        assert!(memory <= MEMORY_MAX, "{memory} bytes of memory");
        // What answers an older command is open beside what was announced later, and beside both
        // one for each transfer under way, up to eight.
        let bound = 2 * self.max_per_session.max(1) + 8;
        assert!(self.live() <= bound, "too much is open");
        let leases = self.shared.ports().len();
        assert!(leases <= 2 * bound, "too much is leased");
    }

    fn live(&self) -> usize {
        let now = self.kernel.now;
        let live = self.kernel.live.values();
        live.filter(|&&until| until > now).count()
    }

    /// Checks that nothing is left after all timeouts.
    pub(super) fn check_empty(&self) {
        assert_eq!(self.alg.flow_count(), 0);
        let memory = self.alg.memory_bytes();
        assert!(memory <= MEMORY_MIN, "{memory} bytes are left");
        assert!(self.shared.ports().is_empty(), "a port is still leased");
        assert_eq!(self.live(), 0, "something is still open");
        assert!(
            !self.kernel.is_known || self.kernel.saved.is_none(),
            "a connection that is over is still saved"
        );
    }

    /// The effects of the core, in their order.
    fn notes_of(&mut self, verdict: Option<Note>, effects: Effects) -> Vec<Note> {
        let opened = std::mem::take(&mut self.kernel.opened);
        for save in effects.saves {
            self.kernel.saved = match save {
                Save::Store(saved) => Some(*saved),
                Save::Delete(_) => {
                    self.kernel.is_unmarked = true;
                    None
                }
            };
        }
        let events = effects
            .events
            .into_iter()
            .map(|event| Note::Event(event.kind));
        let sent = effects
            .packets
            .iter()
            .map(|packet| Note::Injected(Frame::decode(&packet.bytes)));
        let left: Vec<Note> = verdict.into_iter().chain(sent).collect();
        assert!(left.len() <= PACKETS_MAX, "{} packets for one", left.len());
        let opened = opened.into_iter().map(Note::Opened);
        opened.chain(events).chain(left).collect()
    }
}

fn note_of(verdict: Verdict, frame: &Frame) -> Note {
    match verdict {
        Verdict::Accept => Note::Left(frame.clone()),
        Verdict::Replace(packet) => Note::Left(Frame::decode(&packet)),
        Verdict::Drop => Note::Dropped,
    }
}
