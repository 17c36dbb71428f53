//! One worker: a queue, the core that reads it, and what leaves.
//!
//! The loop blocks in one place only: it waits for the queue, at most until the core's next
//! deadline. A [`Waker`](crate::io::nfqueue::Waker) ends the wait when the worker must stop or has
//! new settings. Each packet gets its verdict before the next one is taken.

use std::{
    sync::{
        Arc, OnceLock, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use tracing::{error, warn};

use super::{
    flow_store::FlowStore,
    inheritance::Inheritance,
    kernel_port::KernelPort,
    report::{self, Surroundings},
    watchdog::Heartbeat,
};
use crate::{
    io::{
        clock,
        injector::Injector,
        nfqueue::{Queue, QueueEvent, QueueVerdict, QueuedPacketId},
    },
    proto::{
        alg::{Alg, InboundPacket},
        egress::{Effects, Egress, PacketId, Save, Verdict},
        flow::Settings,
        packet::Segment,
        shared::SharedTables,
    },
};

/// How long no packet may come before withdrawn expectations are deleted in a transaction of their
/// own.
const QUIET: Duration = Duration::from_millis(10);

/// What all workers share.
#[derive(Debug)]
pub(super) struct Shared {
    /// Set once; the workers end.
    pub(super) stop: AtomicBool,
    /// The core's tables.
    pub(super) tables: Arc<SharedTables>,
    /// What its log names.
    pub(super) surroundings: Surroundings,
    /// What a restart finds.
    pub(super) flow_store: Arc<FlowStore>,
    /// What an earlier process has left in force.
    pub(super) inheritance: Arc<Inheritance>,
    /// Set once our table is in place: what a worker opened before would vanish with an older one.
    begun: OnceLock<()>,
    settings: RwLock<Settings>,
    generation: AtomicU64,
    /// How often our table was not in place for a moment, so that packets passed unseen.
    absences: AtomicU64,
}

impl Shared {
    /// What workers start with.
    #[must_use]
    pub(super) fn new(
        settings: Settings,
        tables: SharedTables,
        surroundings: Surroundings,
        flow_store: FlowStore,
    ) -> Self {
        Self {
            surroundings,
            stop: AtomicBool::new(false),
            tables: Arc::new(tables),
            flow_store: Arc::new(flow_store),
            inheritance: Arc::default(),
            begun: OnceLock::new(),
            settings: RwLock::new(settings),
            generation: AtomicU64::new(0),
            absences: AtomicU64::new(0),
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
            .unwrap_or_else(PoisonError::into_inner) = settings;
        self.generation.fetch_add(1, Ordering::Release);
    }

    /// Tells all workers that packets may have passed unseen.
    pub(super) fn record_absence(&self) {
        self.absences.fetch_add(1, Ordering::Release);
    }

    fn settings(&self) -> Settings {
        let settings = self.settings.read();
        settings.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// What one worker has of its own.
pub(super) struct Equipment {
    /// Its queue.
    pub(super) queue: Queue,
    /// The kernel, as the core asks it.
    pub(super) kernel: KernelPort,
    /// The way out for packets of our own.
    pub(super) injector: Injector,
    /// What shows that it is not stuck.
    pub(super) heartbeat: Arc<Heartbeat>,
}

/// One worker.
pub(super) struct Worker {
    equipment: Equipment,
    alg: Alg,
    shared: Arc<Shared>,
    generation: u64,
    absences: u64,
    /// How many packets came so far.
    received: u64,
}

impl Worker {
    /// Worker `index` of `count`.
    #[must_use]
    pub(super) fn new(equipment: Equipment, shared: Arc<Shared>, index: u64, count: u64) -> Self {
        let tables = Arc::clone(&shared.tables);
        Self {
            equipment,
            alg: Alg::of_worker(shared.settings(), tables, index, count),
            shared,
            generation: 0,
            absences: 0,
            received: 0,
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
            self.look_for_unseen();
            // 1. The deadlines that have passed.
            let kernel = &mut self.equipment.kernel;
            let now = clock::now();
            self.equipment.heartbeat.begin(now);
            kernel.zones.end_packet();
            let effects = self.alg.handle_timeout(kernel, now);
            self.execute(effects, None);
            // 2. The next packet, or the next deadline.
            let wait = self.next_wait();
            self.equipment.heartbeat.rest();
            let event = self.equipment.queue.recv(wait)?;
            let now = clock::now();
            self.equipment.heartbeat.begin(now);
            if let QueueEvent::Packet(packet) = event {
                self.received += 1;
                let kernel = &mut self.equipment.kernel;
                kernel.layer = packet.ingress.layer;
                let zone = kernel.zones.of_packet(&packet, |zone| {
                    let segment = Segment::parse(packet.bytes);
                    segment.is_ok_and(|segment| self.alg.follows(segment.tuple.in_zone(zone)))
                });
                let inbound = InboundPacket {
                    id: PacketId(self.received),
                    bytes: packet.bytes,
                    zone,
                    ingress: Some(packet.ingress),
                };
                let egress = if packet.is_translated() {
                    Egress::ACCEPT
                } else {
                    self.alg.handle_packet(&inbound, kernel, now)
                };
                report::log_packet(&inbound, &egress);
                let verdict = (packet.id, egress.verdict);
                self.execute(egress.effects, Some(verdict));
            } else {
                // 3. What could wait for a quiet moment.
                self.equipment.kernel.expectations.flush();
            }
        }
        Ok(())
    }

    /// Carries out what leaves: flows are saved before the packets that depend on them.
    fn execute(&mut self, effects: Effects, verdict: Option<(QueuedPacketId, Verdict)>) {
        for save in effects.saves {
            match save {
                Save::Store(saved) => self.shared.flow_store.save(&saved),
                Save::Delete(tuples) => self.shared.flow_store.delete(&tuples),
            }
        }
        if let Some((packet, verdict)) = verdict {
            self.send_verdict(packet, &verdict);
        }
        for packet in effects.packets {
            if let Err(error) = self.equipment.injector.inject(&packet) {
                warn!(%error, "a packet could not be injected");
            }
        }
        for event in &effects.events {
            report::log(event, &self.shared.surroundings);
        }
    }

    fn send_verdict(&mut self, packet: QueuedPacketId, verdict: &Verdict) {
        let verdict = match verdict {
            Verdict::Accept => QueueVerdict::Accept,
            Verdict::Drop => QueueVerdict::Drop,
            Verdict::Replace(bytes) => QueueVerdict::Replace(bytes),
        };
        if let Err(error) = self.equipment.queue.verdict(packet, verdict) {
            error!(%error, "a packet did not get its verdict");
        }
    }

    /// How long to wait for a packet at most: until something is due, or for ever.
    fn next_wait(&self) -> Option<Duration> {
        let due = self
            .alg
            .poll_timeout()
            .map(|due| due.saturating_duration_since(clock::now()));
        let has_pending_deletes = self.equipment.kernel.expectations.has_pending_deletes();
        let quiet = has_pending_deletes.then_some(QUIET);
        due.into_iter().chain(quiet).min()
    }

    fn look_for_unseen(&mut self) {
        let absences = self.shared.absences.load(Ordering::Acquire);
        if absences != self.absences {
            self.absences = absences;
            self.alg.handle_unseen();
        }
    }

    fn refresh_settings(&mut self) {
        let generation = self.shared.generation.load(Ordering::Acquire);
        if generation != self.generation {
            self.generation = generation;
            self.alg.handle_settings(self.shared.settings());
        }
    }
}
