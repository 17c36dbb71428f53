//! Puts the daemon in place on this gateway, and takes it away again.

use std::{
    ops::RangeInclusive,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use anyhow::Context;
use tracing::{info, warn};

use super::{
    avoided_ports::AvoidedPorts,
    backend::{self, Choice},
    config::Config,
    confine::{drop_privileges, install_seccomp},
    entry_keeper::EntryKeeper,
    flow_store::FlowStore,
    forwarding::Forwarding,
    from_config::settings_of,
    kernel_port::KernelPort,
    logging::LogThread,
    overload::OverloadWatch,
    report::Surroundings,
    supervisor::Supervisor,
    table_keeper::TableKeeper,
    unclaimed_flows::UnclaimedFlows,
    unlabelled::Unlabelled,
    unread::UnreadConnections,
    watchdog::{Heartbeat, Watchdog},
    worker::{Equipment, Shared, Worker},
    zones::Zones,
};
use crate::{
    io::{
        clock,
        ctnetlink::Conntrack,
        expectations::Expectations,
        injector::Injector,
        interfaces::Interfaces,
        nfqueue::{InstanceLock, Queue, Waker},
        nftables::{Notice, PairStore, TableOwner},
    },
    proto::{budget::TokenBucket, nat::LeaseTable, net::Layer, shared::SharedTables},
    ruleset::Backend,
};

/// A running gateway: its table and its workers.
pub(super) struct Gateway {
    config: Config,
    shared: Arc<Shared>,
    choice: Choice,
    keeper: TableKeeper,
    supervisor: Supervisor,
    wakers: Vec<Waker>,
    overload: OverloadWatch,
    watchdog: Watchdog,
    unclaimed: UnclaimedFlows,
    forwarding: Forwarding,
    avoided_ports: AvoidedPorts,
    owner: TableOwner,
    _lock: InstanceLock,
    /// The last to go, so that it has what the others say.
    _log: LogThread,
}

impl Gateway {
    /// Opens the queues, drops privileges, starts the log's thread and the workers, loads the
    /// table, and lets the workers begin. The order matters: each step has the privileges that the
    /// rest needs and no more, and a queued packet finds its reader. `path` is that of the
    /// configuration.
    pub(super) fn start(config: &Config, path: &Path) -> anyhow::Result<Self> {
        let lock = InstanceLock::take()?;
        let choice = backend::choose(config)?;
        let flow_store = FlowStore::open(&config.restart.directory)
            .with_context(|| format!("cannot make {}", config.restart.directory.display()))?;
        let unclaimed = UnclaimedFlows::read(&flow_store, config.label.adjust, clock::now())?;
        let leases = LeaseTable::reserving(config.control_ports.to_vec(), config.nat.share);
        let tables = SharedTables::with_ports(leases);
        let interfaces = Interfaces::snapshot();
        info!(%interfaces, "this machine");
        let forwarding = Forwarding::read();
        let settings = settings_of(config);
        let surroundings = Surroundings {
            interfaces,
            accept_line: choice.accept_line(config.mark.data),
            has_flowtable: AtomicBool::new(false),
        };
        let shared = Arc::new(Shared::new(settings, tables, surroundings, flow_store));
        let mut avoided_ports = AvoidedPorts::open(&config.nat.avoid_ports);
        avoided_ports.refresh(&shared.tables);
        let owner = TableOwner::open().context("cannot open a socket to nf_tables")?;
        let watchdog = Watchdog::new(RangeInclusive::clone(&config.queue));
        let heartbeats = watchdog.heartbeats();
        let equipments = open_equipments(config, choice, &shared, &owner, heartbeats)?;
        let flow_store = Arc::clone(&shared.flow_store);
        let unread = UnreadConnections::new(config.control_ports.to_vec());
        let entries = EntryKeeper::open(flow_store, config.label.adjust, choice.backend(), unread)?;
        let wakers = equipments.iter().map(|one| one.queue.waker()).collect();
        let overload = OverloadWatch::open(RangeInclusive::clone(&config.queue));
        let confinement = drop_privileges(&config.process, path, &shared.flow_store)?;
        let log = LogThread::start()?;
        let supervisor = start_workers(config, equipments, &shared)?;
        entries.start()?;
        let mut keeper = TableKeeper::start(&owner, choice, config.label)?;
        install_seccomp(&config.process, &confinement, path)?;
        let used = keeper.used().context("cannot ask conntrack")?;
        let table = backend::install(config, choice, &owner, &used)?;
        keeper.keep(table, backend::keep_bridges(config, choice, &owner)?);
        inherit(&keeper, &shared)?;
        shared.begin();
        let gateway = Self {
            config: config.clone(),
            shared,
            choice,
            keeper,
            supervisor,
            wakers,
            overload,
            watchdog,
            unclaimed,
            forwarding,
            avoided_ports,
            owner,
            _lock: lock,
            _log: log,
        };
        gateway.look_for_flowtables();
        Ok(gateway)
    }

    /// Tells what this machine does not forward.
    pub(super) fn tell_forwarding(&self) {
        self.forwarding.tell();
    }

    /// The name of the backend that was chosen.
    pub(super) fn backend(&self) -> &'static str {
        self.choice.backend_name()
    }

    /// Takes the changes that need no restart, for what is announced from now on. Returns the
    /// changed keys that need one.
    pub(super) fn reload(&mut self, mut config: Config) -> Vec<&'static str> {
        let kept = config.keep_what_needs_a_restart(&self.config);
        if let Err(error) = self.keeper.restore(&self.shared.tables) {
            warn!(%error, "our table could not be put back: it is tried again every ten seconds");
        }
        let excluded = &config.nat.avoid_ports;
        self.avoided_ports.exclude(excluded, &self.shared.tables);
        self.shared.replace_settings(settings_of(&config));
        self.wake_workers();
        kept
    }

    /// Waits for a change of nf_tables that concerns us, by somebody else, or for the end of a
    /// worker that was not told to end, and gives the change or the reason.
    pub(super) async fn trouble(&mut self) -> Result<Notice, anyhow::Error> {
        tokio::select! {
            notice = self.keeper.notice() => Ok(notice),
            reason = self.supervisor.failure() => Err(reason),
        }
    }

    /// Puts our tables back after a change, and follows the rules for bridges.
    pub(super) fn handle_notice(&mut self, notice: &Notice) {
        self.keeper.handle_notice(notice, &self.shared.tables);
        if notice.ours.is_some() {
            self.shared.record_absence();
            self.wake_workers();
        }
    }

    /// Does what is done now and then: logs what the queues have lost since the last time, and
    /// tries again what has failed.
    pub(super) fn handle_tick(&mut self) {
        self.overload.report();
        self.keeper.handle_tick(&self.shared.tables);
        self.look_for_flowtables();
        let mut leases = self.shared.tables.ports();
        self.shared.inheritance.release_expired(&mut leases);
        drop(leases);
        self.avoided_ports.refresh(&self.shared.tables);
        self.unclaimed.sweep(&self.shared.flow_store, clock::now());
    }

    /// With the other backend the kernel keeps our connections out of flowtables, because they have
    /// a helper.
    fn look_for_flowtables(&self) {
        let is_exposed = self.choice.backend() == Backend::Nftables;
        let found = is_exposed && self.owner.has_flowtable().unwrap_or(false);
        let known = &self.shared.surroundings.has_flowtable;
        known.store(found, Ordering::Relaxed);
    }

    /// Whether no worker is stuck.
    pub(super) fn check_workers(&mut self) -> bool {
        self.watchdog.check(clock::now())
    }

    fn wake_workers(&self) {
        self.wakers.iter().for_each(Waker::wake);
    }

    /// Ends the workers, then removes the table, unless something is left that needs it.
    /// `when_absent` decides about packets that come in between.
    pub(super) fn stop(mut self) -> anyhow::Result<()> {
        self.overload.report();
        self.shared.stop.store(true, Ordering::Release);
        self.wake_workers();
        self.supervisor.join();
        let is_gone = self
            .keeper
            .leave(self.config.when_absent, &self.shared.flow_store)
            .context("cannot remove our table")?;
        if is_gone {
            backend::leave(self.choice);
        }
        self.shared.flow_store.close();
        Ok(())
    }
}

/// What an earlier process has left in force waits for its sessions.
fn inherit(keeper: &TableKeeper, shared: &Shared) -> anyhow::Result<()> {
    let expected = keeper.expected();
    let expected = expected.context("cannot list what is expected already")?;
    let mut leases = shared.tables.ports();
    let expectations = shared.inheritance.fill(expected, &mut leases);
    if expectations > 0 {
        info!(expectations, "what an earlier process has left in force");
    }
    Ok(())
}

fn open_equipments(
    config: &Config,
    choice: Choice,
    shared: &Shared,
    owner: &TableOwner,
    heartbeats: Vec<Arc<Heartbeat>>,
) -> anyhow::Result<Vec<Equipment>> {
    RangeInclusive::clone(&config.queue)
        .zip(heartbeats)
        .map(|(number, heartbeat)| {
            let queue = Queue::open(number).with_context(|| format!("queue {number}"))?;
            let expectations = choice.open_expectations(owner.clone())?;
            let kernel = open_kernel(expectations, config, shared, owner)?;
            let injector = Injector::open().context("cannot open a raw socket")?;
            Ok(Equipment {
                queue,
                kernel,
                injector,
                heartbeat,
            })
        })
        .collect()
}

fn open_kernel(
    expectations: Expectations,
    config: &Config,
    shared: &Shared,
    owner: &TableOwner,
) -> anyhow::Result<KernelPort> {
    Ok(KernelPort {
        conntrack: Conntrack::open().context("cannot open a socket to conntrack")?,
        expectations,
        grants: grants_of(config, owner),
        flow_store: Arc::clone(&shared.flow_store),
        shared: Arc::clone(&shared.tables),
        inheritance: Arc::clone(&shared.inheritance),
        labels: config.label,
        unlabelled: Unlabelled::default(),
        searches: TokenBucket::FULL,
        zones: Zones::default(),
        layer: Layer::default(),
        when_kernel_helps: config.when_kernel_helps,
    })
}

fn grants_of(config: &Config, owner: &TableOwner) -> Option<PairStore> {
    let ports = config.policy.granted_ports();
    ports.map(|_| PairStore::new(owner.clone()))
}

/// Starts a thread for each queue, named by the queue's number.
fn start_workers(
    config: &Config,
    equipments: Vec<Equipment>,
    shared: &Arc<Shared>,
) -> anyhow::Result<Supervisor> {
    let count = equipments.len() as u64;
    let mut supervisor = Supervisor::new();
    for ((index, equipment), queue) in (0..)
        .zip(equipments)
        .zip(RangeInclusive::clone(&config.queue))
    {
        let mut worker = Worker::new(equipment, Arc::clone(shared), index, count);
        supervisor.start(format!("worker-{queue}"), move || worker.run())?;
    }
    Ok(supervisor)
}
