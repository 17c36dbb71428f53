//! The core behind a small kernel: conntrack's answers, the queue rule, the clock, what is kept.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::SocketAddr,
    rc::Rc,
    time::{Duration, Instant},
};

use ftp_alg::proto::{
    action::{Action, EventKind, PacketId, Verdict},
    alg::Alg,
    budget::{HostBudgets, HostTable, LocalHosts},
    expect::{ExpectError, Expectation, ExpectationId, Stage},
    flow::Settings,
    nat::PortLeases,
    net::ConntrackTuples,
    saved_flow::SavedFlow,
    stream::{EDITS_MAX, LOCAL_ACK_BACKLOG_MAX},
    tls::{GrantTable, Grants, LocalGrants},
};

use super::frame::{ACK, FIN, Frame, RST, SYN};

/// The most packets that may leave for one that came: all that is kept, in packets of the least
/// size that passes everywhere, each cut short by an edit, and as many rewritten lines.
const PACKETS_MAX: usize = 2 + 2 * (LOCAL_ACK_BACKLOG_MAX + 1460) / 504 + EDITS_MAX;

/// The most memory that one connection may take: two buffers with all that is kept, grown by
/// doubling, and the edits.
const MEMORY_MAX: usize = 2 * 2 * (LOCAL_ACK_BACKLOG_MAX + 1460) + 2 * EDITS_MAX * 1024;

/// What is left where no connection is: the table's own places.
const MEMORY_MIN: usize = 1024;

/// How often the core may want to be woken within a minute.
const WAKEUPS_MAX: usize = 200;

/// What the core did, in order.
pub(super) enum Note {
    /// A data connection was let in.
    Opened(Expectation),
    Told(EventKind),
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
            Self::Told(kind) => write!(f, "told {kind:?}"),
            Self::Left(frame) => write!(f, "left {frame}"),
            Self::Dropped => write!(f, "dropped"),
            Self::Injected(frame) => write!(f, "sent {frame}"),
        }
    }
}

/// Ports given away, seen from outside.
#[derive(Clone, Default)]
struct Leases(
    Rc<RefCell<BTreeSet<SocketAddr>>>,
    Rc<LocalHosts>,
    Rc<LocalGrants>,
);

impl Grants for Leases {
    fn with_grants(&self, run: &mut dyn FnMut(&mut GrantTable)) {
        self.2.with_grants(run);
    }
}

impl HostBudgets for Leases {
    fn with_hosts(&self, run: &mut dyn FnMut(&mut HostTable)) {
        self.1.with_hosts(run);
    }
}

impl PortLeases for Leases {
    fn lease(&self, outside: SocketAddr) -> bool {
        self.0.borrow_mut().insert(outside)
    }

    fn lease_unquarantined(&self, outside: SocketAddr) -> bool {
        self.lease(outside)
    }

    fn clear_quarantine(&self) {}

    fn release(&self, outside: SocketAddr) {
        let was_leased = self.0.borrow_mut().remove(&outside);
        assert!(was_leased, "{outside} was given back twice");
    }
}

/// The gateway with one connection.
pub(super) struct Gateway {
    alg: Alg<Leases>,
    leases: Leases,
    max_per_session: usize,
    tuples: ConntrackTuples,
    start: Instant,
    now: Instant,
    packets: u64,
    /// Whether the kernel refuses, a bit a question.
    refusals: u8,
    is_adjusted: bool,
    is_opaque: bool,
    /// The core knows of what is remembered.
    is_known: bool,
    remembered: Option<SavedFlow>,
    /// What the core has let in, and until when.
    live: BTreeMap<ExpectationId, Instant>,
}

impl Gateway {
    #[expect(
        clippy::disallowed_methods,
        reason = "a fake clock needs an origin, and there is no other Instant to be had"
    )]
    pub(super) fn new(settings: Settings, tuples: ConntrackTuples, refusals: u8) -> Self {
        let leases = Leases::default();
        let now = Instant::now();
        Self {
            max_per_session: settings.max_per_session,
            alg: Alg::new(settings, leases.clone()),
            leases,
            tuples,
            start: now,
            now,
            packets: 0,
            refusals,
            is_adjusted: false,
            is_opaque: false,
            is_known: false,
            remembered: None,
            live: BTreeMap::new(),
        }
    }

    pub(super) fn tuples(&self) -> ConntrackTuples {
        self.tuples
    }

    pub(super) fn is_opaque(&self) -> bool {
        self.is_opaque
    }

    /// What a new process goes on with. A connection that is not marked is none of an earlier one.
    pub(super) fn memory(&self) -> Option<&SavedFlow> {
        self.remembered.as_ref().filter(|_| self.is_adjusted)
    }

    /// A clock of TCP timestamps, in milliseconds.
    pub(super) fn clock(&self) -> u32 {
        self.now.duration_since(self.start).as_millis() as u32
    }

    /// What the rules queue: all packets of a connection that is marked `adjust`, else those with
    /// bytes or flags that matter.
    pub(super) fn is_queued(&self, frame: &Frame) -> bool {
        if frame.has(SYN) && !frame.has(ACK) {
            return false;
        }
        self.is_adjusted || !frame.payload.is_empty() || frame.flags & (FIN | RST | SYN) != 0
    }

    /// A packet arrives.
    pub(super) fn handle_frame(&mut self, frame: &Frame) -> Vec<Note> {
        if !self.is_queued(frame) {
            return vec![Note::Left(frame.clone())];
        }
        self.packets += 1;
        let id = PacketId(self.packets);
        self.alg.handle_packet(id, &frame.encode(), self.now);
        let notes = self.run_actions(Some((id, frame)));
        let is_verdict = |note: &&Note| matches!(note, Note::Left(_) | Note::Dropped);
        assert_eq!(notes.iter().filter(is_verdict).count(), 1, "verdicts");
        notes
    }

    /// Time passes; gives what the core did each time that it was woken.
    pub(super) fn wait(&mut self, time: Duration) -> Vec<Vec<Note>> {
        let until = self.now + time;
        let mut all = Vec::new();
        while let Some(at) = self.alg.poll_timeout().filter(|&at| at <= until) {
            all.push(self.wake(at));
            assert!(all.len() <= WAKEUPS_MAX, "it wants to be woken forever");
        }
        self.now = until;
        all
    }

    /// Time passes until the core waits for nothing more.
    pub(super) fn wait_for_all(&mut self) -> Vec<Vec<Note>> {
        let mut all = Vec::new();
        while let Some(at) = self.alg.poll_timeout() {
            all.push(self.wake(at));
            assert!(all.len() <= WAKEUPS_MAX, "it wants to be woken forever");
        }
        all
    }

    fn wake(&mut self, at: Instant) -> Vec<Note> {
        self.now = self.now.max(at);
        self.alg.handle_timeout(self.now);
        let notes = self.run_actions(None);
        let next = self.alg.poll_timeout();
        assert!(next.is_none_or(|next| next > self.now), "it was not done");
        notes
    }

    /// The daemon is killed and started again: the kernel's marks and what was remembered stay.
    pub(super) fn restart(&mut self, settings: Settings) {
        self.leases = Leases::default();
        self.alg = Alg::new(settings, self.leases.clone());
        self.live.clear();
        self.is_known = false;
    }

    /// What holds at any time.
    pub(super) fn check_bounds(&self) {
        let memory = self.alg.memory_bytes();
        assert!(memory <= MEMORY_MAX, "{memory} bytes of memory");
        let live = self.live.values().filter(|&&until| until > self.now);
        // Beside one that a transfer under way may need.
        let bound = self.max_per_session + 1;
        assert!(live.count() <= bound, "too much is open");
        // Beside those that wait for a server which has older commands to answer yet.
        let leases = self.leases.0.borrow().len();
        assert!(leases <= 2 * bound, "too much is leased");
    }

    /// What holds once everything has timed out.
    pub(super) fn check_empty(&self) {
        assert_eq!(self.alg.flow_count(), 0);
        let memory = self.alg.memory_bytes();
        assert!(memory <= MEMORY_MIN, "{memory} bytes are left");
        assert!(self.leases.0.borrow().is_empty(), "a port is still leased");
        let live = self.live.values().filter(|&&until| until > self.now);
        assert_eq!(live.count(), 0, "something is still open");
        assert!(
            !self.is_known || self.remembered.is_none(),
            "a connection that is over is still remembered"
        );
    }

    fn run_actions(&mut self, packet: Option<(PacketId, &Frame)>) -> Vec<Note> {
        let mut notes = Vec::new();
        while let Some(action) = self.alg.poll_action() {
            let has_left = notes
                .iter()
                .any(|note| matches!(note, Note::Left(_) | Note::Injected(_)));
            match action {
                Action::Resolve { .. } => self.resolve(),
                Action::RelaxWindow { tuples } => {
                    assert_eq!(tuples, self.tuples);
                    let is_relaxed = !self.refuses();
                    self.is_adjusted |= is_relaxed;
                    self.alg.handle_relaxed(is_relaxed, self.now);
                }
                Action::Expect {
                    id,
                    expectation,
                    stage,
                    ..
                } => {
                    assert!(!has_left, "the announcement has left already");
                    let answer = self.expect(id, expectation, stage);
                    let is_open = answer.is_ok() && stage == Stage::Open;
                    notes.extend(is_open.then_some(Note::Opened(expectation)));
                    self.alg.handle_expected(id, answer, self.now);
                }
                Action::Unexpect { id, .. } => {
                    self.live.remove(&id);
                }
                Action::MarkOpaque { .. } => self.is_opaque = true,
                Action::MarkReadable { .. } => self.is_opaque = false,
                Action::Grant { .. } | Action::Revoke { .. } | Action::FindLive { .. } => {
                    panic!("nothing is granted by default")
                }
                Action::Verdict {
                    packet: id,
                    verdict,
                } => {
                    let (wanted, frame) = packet.expect("a verdict without a packet");
                    assert_eq!(id, wanted);
                    notes.push(note_of(verdict, frame));
                }
                Action::Inject { packet } => notes.push(Note::Injected(Frame::decode(&packet))),
                Action::Remember(memory) => {
                    let depends = packet.is_some() && has_left;
                    assert!(!depends, "what depends on it has left already");
                    self.remembered = Some(memory);
                }
                Action::Forget { .. } => self.remembered = None,
                Action::Report(event) => notes.push(Note::Told(event.kind)),
            }
        }
        let left = notes
            .iter()
            .filter(|note| matches!(note, Note::Left(_) | Note::Injected(_)));
        let left = left.count();
        assert!(left <= PACKETS_MAX, "{left} packets for one");
        notes
    }

    fn resolve(&mut self) {
        self.is_known = true;
        match self.memory() {
            Some(memory) => {
                let kept = SavedFlow::parse(&memory.encode());
                assert_eq!(kept.as_ref(), Ok(memory));
                self.alg.handle_recalled(&memory.clone(), self.now);
            }
            None => self.alg.handle_resolved(Some(self.tuples), self.now),
        }
    }

    fn expect(
        &mut self,
        id: ExpectationId,
        expectation: Expectation,
        stage: Stage,
    ) -> Result<(), ExpectError> {
        if self.refuses() {
            return Err(ExpectError::Clash);
        }
        if stage == Stage::Open {
            self.live.insert(id, self.now + expectation.timeout);
        }
        Ok(())
    }

    fn refuses(&mut self) -> bool {
        let refuses = self.refusals & 1 != 0;
        self.refusals = self.refusals.rotate_right(1);
        refuses
    }
}

fn note_of(verdict: Verdict, frame: &Frame) -> Note {
    match verdict {
        Verdict::Accept => Note::Left(frame.clone()),
        Verdict::Replace(packet) => Note::Left(Frame::decode(&packet)),
        Verdict::Drop => Note::Dropped,
    }
}
