//! Puts the daemon in place on this gateway, and takes it away again.

use std::{
    ops::RangeInclusive,
    path::Path,
    sync::{Arc, atomic::Ordering},
};

use anyhow::Context;
use tracing::info;

use super::{
    backend::{self, Choice},
    config::Config,
    confine::{drop_privileges, install_seccomp},
    flow_store::FlowStore,
    from_config::settings_of,
    kernel_port::KernelPort,
    overload::OverloadWatch,
    supervisor::Supervisor,
    worker::{Equipment, Shared, Worker},
};
use crate::{
    io::{
        ctnetlink::Conntrack,
        expectations::Expectations,
        injector::Injector,
        interfaces::Interfaces,
        nfqueue::{Queue, Waker},
        nftables::{PairStore, Table},
    },
    proto::{nat::LeaseTable, net::Direction, saved_flow::SavedFlow, shared::SharedTables},
};

/// A running gateway: its table and its workers.
pub(super) struct Gateway {
    config: Config,
    shared: Arc<Shared>,
    choice: Choice,
    table: Option<Table>,
    supervisor: Supervisor,
    wakers: Vec<Waker>,
    overload: OverloadWatch,
}

impl Gateway {
    /// Opens the queues, drops privileges, starts the workers, loads the table, and lets the
    /// workers begin. The order matters: each step has the privileges that the rest needs and no
    /// more, and a queued packet finds its reader. `path` is that of the configuration.
    pub(super) fn start(config: &Config, path: &Path) -> anyhow::Result<Self> {
        let choice = backend::choose(config)?;
        let flow_store = FlowStore::open(&config.restart.directory)
            .with_context(|| format!("cannot make {}", config.restart.directory.display()))?;
        delete_dead(config, &flow_store)?;
        let leases = LeaseTable::reserving(config.control_ports.to_vec(), config.nat.share);
        let tables = SharedTables::with_ports(leases);
        let interfaces = Interfaces::snapshot();
        info!(%interfaces, "this machine");
        let settings = settings_of(config);
        let shared = Arc::new(Shared::new(settings, tables, interfaces, flow_store));
        let equipments = open_equipments(config, choice, &shared)?;
        let wakers = equipments.iter().map(|one| one.queue.waker()).collect();
        let overload = OverloadWatch::open(RangeInclusive::clone(&config.queue));
        let confinement = drop_privileges(&config.process, path, &shared.flow_store)?;
        let supervisor = start_workers(config, equipments, &shared)?;
        install_seccomp(&config.process, &confinement, path)?;
        let table = backend::install(config, choice)?;
        shared.begin();
        Ok(Self {
            config: config.clone(),
            shared,
            choice,
            table,
            supervisor,
            wakers,
            overload,
        })
    }

    /// The name of the backend that was chosen.
    pub(super) fn backend(&self) -> &'static str {
        self.choice.backend_name()
    }

    /// Takes the changes that need no restart, for what is announced from now on. Returns the
    /// changed keys that need one.
    pub(super) fn reload(&self, mut config: Config) -> Vec<&'static str> {
        let kept = config.keep_what_needs_a_restart(&self.config);
        self.shared.replace_settings(settings_of(&config));
        self.wake_workers();
        kept
    }

    /// Waits until a worker ends without being told to, and says why.
    pub(super) async fn worker_failure(&mut self) -> anyhow::Error {
        self.supervisor.failure().await
    }

    /// Logs what the queues have lost since the last time.
    pub(super) fn report_losses(&mut self) {
        self.overload.report();
    }

    fn wake_workers(&self) {
        self.wakers.iter().for_each(Waker::wake);
    }

    /// Ends the workers, then removes the table. `when_absent` decides about packets that come in
    /// between.
    pub(super) fn stop(mut self) -> anyhow::Result<()> {
        self.report_losses();
        self.shared.stop.store(true, Ordering::Release);
        self.wake_workers();
        self.supervisor.join();
        if let Some(table) = self.table {
            table.remove().context("cannot remove our table")?;
        }
        backend::leave(self.choice);
        Ok(())
    }
}

fn open_equipments(
    config: &Config,
    choice: Choice,
    shared: &Shared,
) -> anyhow::Result<Vec<Equipment>> {
    RangeInclusive::clone(&config.queue)
        .map(|number| {
            let queue = Queue::open(number).with_context(|| format!("queue {number}"))?;
            let kernel = open_kernel(choice.open_expectations()?, config, shared)?;
            let injector = Injector::open().context("cannot open a raw socket")?;
            Ok(Equipment {
                queue,
                kernel,
                injector,
            })
        })
        .collect()
}

fn open_kernel(
    expectations: Expectations,
    config: &Config,
    shared: &Shared,
) -> anyhow::Result<KernelPort> {
    Ok(KernelPort {
        conntrack: Conntrack::open().context("cannot open a socket to conntrack")?,
        expectations,
        grants: open_grants(config)?,
        flow_store: Arc::clone(&shared.flow_store),
        shared: Arc::clone(&shared.tables),
        marks: config.mark,
        when_kernel_helps: config.when_kernel_helps,
    })
}

fn open_grants(config: &Config) -> anyhow::Result<Option<PairStore>> {
    let grants = config.policy.granted_ports().map(|_| PairStore::open());
    grants
        .transpose()
        .context("cannot open a socket to nf_tables")
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

/// Deletes the saved flows that conntrack no longer knows as ours. The others go on with their next
/// packet, in the worker that gets it.
fn delete_dead(config: &Config, flow_store: &FlowStore) -> anyhow::Result<()> {
    let mut conntrack = Conntrack::open().context("cannot open a socket to conntrack")?;
    let saved = flow_store.read_all().context("cannot read saved flows")?;
    let (alive, dead): (Vec<_>, Vec<_>) = saved
        .iter()
        .partition(|saved| is_alive(&mut conntrack, saved, config.mark.adjust));
    dead.iter()
        .for_each(|saved| flow_store.delete(&saved.tuples()));
    if !saved.is_empty() {
        info!(
            alive = alive.len(),
            dead = dead.len(),
            "flows of an earlier process"
        );
    }
    Ok(())
}

fn is_alive(conntrack: &mut Conntrack, saved: &SavedFlow, adjust: u32) -> bool {
    let tuples = saved.tuples();
    let entry = conntrack
        .resolve(&tuples.of(Direction::Original))
        .ok()
        .flatten();
    entry.is_some_and(|entry| entry.tuples == tuples && entry.mark & adjust != 0)
}
