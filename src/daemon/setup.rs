//! Puts the daemon in place on this gateway, and takes it away again.

use std::{
    path::Path,
    sync::{Arc, atomic::Ordering},
};

use anyhow::Context;
use tracing::info;

use super::{
    backend::{self, Choice},
    config::{self, Config, Nat, Policy, Tls, WhenAbsent},
    confine::{drop_privileges, install_seccomp},
    flow_store::FlowStore,
    kernel_port::KernelPort,
    overload::OverloadWatch,
    supervisor::Supervisor,
    worker::{Equipment, Shared, Worker},
};
use crate::{
    io::{
        ctnetlink::Conntrack,
        expectations::Expectations,
        inject::Injector,
        nfqueue::{Queue, Waker},
        nftables::{GrantStore, Table},
    },
    proto::{
        budget::Limits, flow::Settings, kernel::WhenKernelHelps, nat::LeaseTable, net::Direction,
        saved_flow::SavedFlow, shared::SharedTables, tls::TlsSettings,
    },
    ruleset::{self, Marks, Params, QueueStatement},
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
    /// Opens the queues, gives up what is not needed any more, starts the workers, loads the table,
    /// and lets the workers begin, in this order: whatever follows has no more than what follows
    /// needs, and a packet that is queued finds its reader. `path` is the configuration's.
    pub(super) fn start(config: &Config, path: &Path) -> anyhow::Result<Self> {
        let choice = backend::choose(config)?;
        let flow_store = FlowStore::open(&config.restart.directory)
            .with_context(|| format!("cannot make {}", config.restart.directory.display()))?;
        delete_dead(config, &flow_store)?;
        let leases = LeaseTable::reserving(config.control_ports.clone(), config.nat.share);
        let tables = SharedTables::with_ports(leases);
        let shared = Arc::new(Shared::new(settings_of(config), tables, flow_store));
        let equipments = open_equipments(config, choice, &shared)?;
        let wakers = equipments.iter().map(|one| one.queue.waker()).collect();
        let overload = OverloadWatch::open(config.queues.clone());
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

    /// Gives all workers new settings, for what is announced from now on.
    pub(super) fn replace_settings(&self, settings: Settings) {
        self.shared.replace_settings(settings);
        self.wake_workers();
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

    /// Whether a new configuration differs in more than what can be reloaded.
    pub(super) fn needs_restart_for(&self, config: &Config) -> bool {
        let reloaded = Config {
            expectation: self.config.expectation.clone(),
            nat: Nat {
                share: config.nat.share,
                ..self.config.nat.clone()
            },
            policy: Policy {
                tls: Tls {
                    // The table has them.
                    ports: config.policy.tls.ports.clone(),
                    ..self.config.policy.tls.clone()
                },
                ..self.config.policy.clone()
            },
            command_policy: self.config.command_policy.clone(),
            limits: self.config.limits,
            ..config.clone()
        };
        reloaded != self.config
    }

    /// Ends the workers, then removes the table: no packet is queued to nobody in between but
    /// what `when_absent` says.
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

/// What the core needs to know of the configuration.
pub(crate) fn settings_of(config: &Config) -> Settings {
    Settings {
        expectation_timeout: config.expectation.timeout,
        max_per_session: config.expectation.max_per_session.into(),
        unproven_servers: config.policy.unproven_servers.clone(),
        privileged_ports: config.policy.privileged_ports.clone(),
        third_party_data: config.policy.third_party_data.clone(),
        unsolicited_replies: config.policy.unsolicited_replies.clone(),
        after_epsv_all: config.policy.after_epsv_all.clone(),
        command_policy: config.command_policy.clone(),
        limits: Limits {
            memory: config.limits.memory / config.queues.len().max(1),
            ..config.limits
        },
        ports: config.nat.ports.clone(),
        tls: tls_of(config),
    }
}

fn tls_of(config: &Config) -> TlsSettings {
    let tls = &config.policy.tls;
    TlsSettings {
        ports: tls.ports.clone(),
        at_once: tls.at_once.into(),
        servers: tls.servers.clone(),
        implicit_ports: tls.implicit_ports.clone(),
    }
}

/// What the table depends on.
#[must_use]
pub(crate) fn params_of(
    config: &Config,
    queue_statement: QueueStatement,
    backend: ruleset::Backend,
) -> Params {
    Params {
        control_ports: config.control_ports.clone(),
        queues: config.queues.clone(),
        when_absent: match config.when_absent {
            WhenAbsent::Bypass => ruleset::WhenAbsent::Bypass,
            WhenAbsent::Drop => ruleset::WhenAbsent::Drop,
        },
        marks: marks_of(config),
        queue_statement,
        backend,
        tls_ports: config.policy.tls.ports.clone(),
    }
}

fn marks_of(config: &Config) -> Marks {
    Marks {
        data: config.mark.data,
        adjust: config.mark.adjust,
        opaque: config.mark.opaque,
    }
}

fn open_equipments(
    config: &Config,
    choice: Choice,
    shared: &Shared,
) -> anyhow::Result<Vec<Equipment>> {
    config
        .queues
        .clone()
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
        marks: marks_of(config),
        when_kernel_helps: match config.when_kernel_helps {
            config::WhenKernelHelps::StepAside => WhenKernelHelps::StepAside,
            config::WhenKernelHelps::Refuse => WhenKernelHelps::Refuse,
        },
    })
}

fn open_grants(config: &Config) -> anyhow::Result<Option<GrantStore>> {
    let grants = config.policy.tls.ports.as_ref().map(|_| GrantStore::open());
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
    for ((index, equipment), queue) in (0..).zip(equipments).zip(config.queues.clone()) {
        let mut worker = Worker::new(equipment, Arc::clone(shared), index, count);
        supervisor.start(format!("worker-{queue}"), move || worker.run())?;
    }
    Ok(supervisor)
}

/// Deletes the saved flows that conntrack does not know any more as ours. The
/// others go on when their next packet comes, in the worker that gets it.
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
