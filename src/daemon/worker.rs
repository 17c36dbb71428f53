//! One worker: a queue, the core that reads it, and the kernel's answers.
//!
//! The loop blocks in one place only, waiting for the queue, and never longer than until the
//! core's next deadline or [`STOP_POLL`]. Everything the core asks for is carried out in order,
//! and answered before the next packet is taken.

use std::{
    sync::{
        Arc, OnceLock, RwLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use tracing::{error, warn};

use super::{config::WhenKernelHelps, flow_store::FlowStore, ports::SharedLeases, report};
use crate::{
    io::{
        clock,
        ctnetlink::{AttachedHelper, Conntrack, ConntrackEntry},
        expectations::Expectations,
        inject::Injector,
        nfqueue::{self, Event, Queue},
        nftables::GrantStore,
    },
    proto::{
        action::{Action, PacketId, Verdict},
        alg::Alg,
        flow::Settings,
        net::{ConntrackTuples, Direction, IfIndex, Tuple},
    },
    ruleset::Marks,
};

/// How long a worker may take to notice that it is to stop or that the settings changed.
const STOP_POLL: Duration = Duration::from_millis(200);

/// How long no packet may come before what was withdrawn is deleted in a transaction of its own.
const QUIET: Duration = Duration::from_millis(10);

/// What all workers share.
#[derive(Debug)]
pub(super) struct Shared {
    /// Set once; the workers end.
    pub(super) stop: AtomicBool,
    /// Outside ports given away.
    pub(super) leases: SharedLeases,
    /// What a restart finds.
    pub(super) flow_store: FlowStore,
    /// Set once our table is in place: what a worker opened before would vanish with an older one.
    begun: OnceLock<()>,
    settings: RwLock<Settings>,
    generation: AtomicU64,
}

impl Shared {
    /// What workers start with.
    #[must_use]
    pub(super) fn new(settings: Settings, leases: SharedLeases, flow_store: FlowStore) -> Self {
        Self {
            stop: AtomicBool::new(false),
            leases,
            flow_store,
            begun: OnceLock::new(),
            settings: RwLock::new(settings),
            generation: AtomicU64::new(0),
        }
    }

    /// Lets the workers begin.
    pub(super) fn begin(&self) {
        self.begun.get_or_init(|| ());
    }

    /// Gives all workers new settings, for what is announced from now on.
    pub(super) fn replace_settings(&self, settings: Settings) {
        *self
            .settings
            .write()
            .unwrap_or_else(std::sync::PoisonError::into_inner) = settings;
        self.generation.fetch_add(1, Ordering::Release);
    }

    fn settings(&self) -> Settings {
        self.settings
            .read()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .clone()
    }
}

/// What one worker has of the kernel.
pub(super) struct Kernel {
    /// Its queue.
    pub(super) queue: Queue,
    /// Conntrack entries.
    pub(super) conntrack: Conntrack,
    /// Expectations.
    pub(super) expectations: Expectations,
    /// Who is granted data connections of encrypted sessions, where anybody may be.
    pub(super) grants: Option<GrantStore>,
    /// Packets of our own.
    pub(super) injector: Injector,
    /// The ct mark bits that are ours.
    pub(super) marks: Marks,
    /// What becomes of connections that the kernel's own helper reads.
    pub(super) when_kernel_helps: WhenKernelHelps,
}

/// One worker.
pub(super) struct Worker {
    kernel: Kernel,
    alg: Alg<SharedLeases>,
    shared: Arc<Shared>,
    generation: u64,
    /// How many packets came so far.
    received: u64,
    /// Whether the packet at hand is of a connection that is refused.
    is_refused: bool,
}

impl Worker {
    /// Worker `index` of `count`.
    #[must_use]
    pub(super) fn new(kernel: Kernel, shared: Arc<Shared>, (index, count): (u64, u64)) -> Self {
        let alg = Alg::of_worker(shared.settings(), shared.leases.clone(), (index, count));
        Self {
            kernel,
            alg,
            shared,
            generation: 0,
            received: 0,
            is_refused: false,
        }
    }

    /// Works, once it may begin, until told to stop.
    ///
    /// # Errors
    /// The queue failed in a way that does not pass.
    pub(super) fn run(&mut self) -> anyhow::Result<()> {
        self.shared.begun.wait();
        while !self.shared.stop.load(Ordering::Acquire) {
            self.refresh_settings();
            // 1. What is due.
            self.alg.handle_timeout(clock::now());
            self.execute(None);
            // 2. The next packet, or the next deadline.
            let next_wait = self.next_wait();
            match self.kernel.queue.recv(Some(next_wait))? {
                Event::Packet(packet) => {
                    let id = packet.id;
                    self.received += 1;
                    let (link, id_here) = (IfIndex(packet.link), PacketId(self.received));
                    self.alg
                        .handle_packet_from(link, id_here, packet.bytes, clock::now());
                    self.execute(Some(id));
                }
                // 3. What could wait for a quiet moment.
                Event::TimedOut | Event::Woken => self.kernel.expectations.flush(),
            }
        }
        Ok(())
    }

    fn next_wait(&self) -> Duration {
        let due = self
            .alg
            .poll_timeout()
            .map(|due| due.saturating_duration_since(clock::now()));
        let longest = if self.kernel.expectations.has_pending_deletes() {
            QUIET
        } else {
            STOP_POLL
        };
        due.unwrap_or(longest).min(longest)
    }

    fn refresh_settings(&mut self) {
        let generation = self.shared.generation.load(Ordering::Acquire);
        if generation != self.generation {
            self.generation = generation;
            self.alg.handle_settings(self.shared.settings());
        }
    }

    fn execute(&mut self, mut packet: Option<nfqueue::PacketId>) {
        while let Some(action) = self.alg.poll_action() {
            match action {
                Action::Resolve { tuple } => self.resolve(tuple),
                Action::RelaxWindow { tuples } => {
                    let is_relaxed = self.kernel.relax_window(&tuples);
                    self.alg.handle_relaxed(is_relaxed, clock::now());
                }
                Action::Expect {
                    id,
                    expectation,
                    stage,
                    master,
                } => {
                    let asked = (id, &expectation, stage);
                    let result = self.kernel.expectations.expect(asked, &master);
                    self.alg.handle_expected(id, result, clock::now());
                }
                Action::Unexpect {
                    id,
                    expectation,
                    stage,
                    master,
                    reason,
                } => {
                    let withdrawn = (id, &expectation, stage);
                    self.kernel
                        .expectations
                        .unexpect(withdrawn, &master, reason);
                }
                Action::MarkOpaque { tuples } => self.kernel.mark_opaque(&tuples),
                Action::MarkReadable { tuples } => self.kernel.mark_readable(&tuples),
                Action::Grant { pair } => self.kernel.grant(pair),
                Action::Revoke { pair } => self.kernel.revoke(pair, &self.shared.leases),
                Action::FindLive { tuples } => {
                    let live = self.kernel.find_live(tuples);
                    self.alg.handle_live(&live, clock::now());
                }
                Action::Verdict { verdict, .. } => {
                    let verdict = if std::mem::take(&mut self.is_refused) {
                        Verdict::Drop
                    } else {
                        verdict
                    };
                    if let Some(packet) = packet.take() {
                        self.kernel.send_verdict(packet, &verdict);
                    }
                }
                Action::Inject { packet } => self.kernel.inject(&packet),
                Action::Remember(memory) => self.shared.flow_store.keep(&memory),
                Action::Forget { tuples } => self.shared.flow_store.forget(&tuples),
                Action::Report(event) => report::log(&event),
            }
        }
    }
}

impl Worker {
    /// Finds a connection. One that is marked `adjust` is of an earlier process, or of another
    /// gateway: it goes on as it was remembered here, or not at all.
    fn resolve(&mut self, tuple: Tuple) {
        let entry = self.kernel.resolve(tuple);
        let entry = entry.filter(|entry| !self.is_the_kernels(entry));
        let now = clock::now();
        let tuples = entry.map(|entry| entry.tuples);
        let mark = entry.map_or(0, |entry| entry.mark);
        let has = |bits: u32| mark & bits != 0;
        let Marks { adjust, opaque, .. } = self.kernel.marks;
        let tuples = match tuples {
            Some(tuples) if has(adjust) && !has(opaque) => tuples,
            Some(tuples) if has(opaque) => return self.alg.handle_encrypted(tuples, now),
            _ => return self.alg.handle_resolved(tuples, now),
        };
        match self.shared.flow_store.recall(&tuples) {
            Some(memory) => self.alg.handle_recalled(&memory, now),
            None => {
                let connection = tuples.of(Direction::Original);
                warn!(%connection, "its sequence offset is remembered nowhere: reset");
                self.alg.handle_forgotten(tuples, now);
            }
        }
    }

    /// Whether the kernel's own helper reads and rewrites this connection. Two that rewrite the
    /// same line would spoil it, so the connection is left alone, and out of the queue, for good;
    /// or each of its packets comes here again, and is dropped.
    fn is_the_kernels(&mut self, entry: &ConntrackEntry) -> bool {
        if entry.helper != Some(AttachedHelper::KernelFtp) {
            return false;
        }
        match self.kernel.when_kernel_helps {
            WhenKernelHelps::StepAside => self.kernel.yield_to_kernel_helper(entry),
            WhenKernelHelps::Refuse => self.refuse(entry),
        }
        true
    }

    fn refuse(&mut self, entry: &ConntrackEntry) {
        warn!(
            connection = %entry.tuples.of(Direction::Original),
            "the kernel's nf_conntrack_ftp is attached to this connection: refused, as \
             `when_kernel_helps` says (remove the rule that attaches the helper \"ftp\" to the \
             control ports)"
        );
        self.is_refused = true;
    }
}

impl Kernel {
    fn resolve(&mut self, tuple: Tuple) -> Option<ConntrackEntry> {
        match self.conntrack.resolve(&tuple) {
            Ok(entry) => entry,
            Err(error) => {
                warn!(%tuple, %error, "conntrack could not be asked: the connection passes unread");
                None
            }
        }
    }

    fn yield_to_kernel_helper(&mut self, entry: &ConntrackEntry) {
        warn!(
            connection = %entry.tuples.of(Direction::Original),
            "the kernel's nf_conntrack_ftp is attached to this connection: left to it (remove the \
             rule that attaches the helper \"ftp\" to the control ports)"
        );
        self.mark_untouched(&entry.tuples);
    }

    fn relax_window(&mut self, tuples: &ConntrackTuples) -> bool {
        let result = self.conntrack.relax_window(tuples, self.marks.adjust);
        if let Err(error) = &result {
            warn!(%error, "conntrack's window check could not be relaxed: the line is not rewritten");
        }
        result.is_ok()
    }

    fn send_verdict(&mut self, packet: nfqueue::PacketId, verdict: &Verdict) {
        let verdict = match verdict {
            Verdict::Accept => nfqueue::Verdict::Accept,
            Verdict::Drop => nfqueue::Verdict::Drop,
            Verdict::Replace(bytes) => nfqueue::Verdict::Replace(bytes),
        };
        if let Err(error) = self.queue.verdict(packet, verdict) {
            error!(%error, "a packet did not get its verdict");
        }
    }

    fn inject(&mut self, packet: &[u8]) {
        if let Err(error) = self.injector.inject(packet) {
            warn!(%error, "a packet could not be injected");
        }
    }
}
