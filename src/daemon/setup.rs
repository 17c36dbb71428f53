//! Puts the daemon in place on this gateway, and takes it away again.

use std::{
    path::Path,
    sync::{Arc, atomic::Ordering},
};

use anyhow::Context;
use tracing::info;

use super::{
    backend::{self, Choice},
    config::{Config, Nat, Policy, Tls, WhenAbsent},
    confine::{drop_privileges, install_seccomp},
    flow_store::FlowStore,
    overload::OverloadWatch,
    ports::SharedLeases,
    supervisor::Supervisor,
    worker::{Kernel, Shared, Worker},
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
        budget::Limits, flow::Settings, net::Direction, saved_flow::SavedFlow, tls::TlsSettings,
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
        forget_dead(config, &flow_store)?;
        let leases = SharedLeases::reserving(config.control_ports.clone(), config.nat.share);
        let shared = Arc::new(Shared::new(settings_of(config), leases, flow_store));
        let kernels = open_kernels(config, choice)?;
        let wakers = kernels.iter().map(|kernel| kernel.queue.waker()).collect();
        let overload = OverloadWatch::open(config.queues.clone());
        let confinement = drop_privileges(&config.process, path, &shared.flow_store)?;
        let supervisor = start_workers(config, kernels, &shared)?;
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
        early_servers: config.expectation.early_servers.clone(),
        unproven_servers: config.policy.unproven_servers.clone(),
        privileged_ports: config.policy.privileged_ports.clone(),
        third_party_data: config.policy.third_party_data.clone(),
        unsolicited_replies: config.policy.unsolicited_replies.clone(),
        after_epsv_all: config.policy.after_epsv_all.clone(),
        rules: config.command_policy.clone(),
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

fn open_kernels(config: &Config, choice: Choice) -> anyhow::Result<Vec<Kernel>> {
    config
        .queues
        .clone()
        .map(|number| open_kernel(number, choice.open_expectations()?, config))
        .collect()
}

fn open_kernel(number: u16, expectations: Expectations, config: &Config) -> anyhow::Result<Kernel> {
    Ok(Kernel {
        queue: Queue::open(number).with_context(|| format!("queue {number}"))?,
        conntrack: Conntrack::open().context("cannot open a socket to conntrack")?,
        expectations,
        grants: open_grants(config)?,
        injector: Injector::open().context("cannot open a raw socket")?,
        marks: marks_of(config),
        when_kernel_helps: config.when_kernel_helps,
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
    kernels: Vec<Kernel>,
    shared: &Arc<Shared>,
) -> anyhow::Result<Supervisor> {
    let count = kernels.len() as u64;
    let mut supervisor = Supervisor::new();
    for ((index, kernel), queue) in (0..).zip(kernels).zip(config.queues.clone()) {
        let mut worker = Worker::new(kernel, Arc::clone(shared), (index, count));
        supervisor.start(format!("worker-{queue}"), move || worker.run())?;
    }
    Ok(supervisor)
}

/// Forgets connections of an earlier process that conntrack does not know any more as ours. The
/// others go on when their next packet comes, in the worker that gets it.
fn forget_dead(config: &Config, flow_store: &FlowStore) -> anyhow::Result<()> {
    let mut conntrack = Conntrack::open().context("cannot open a socket to conntrack")?;
    let remembered = flow_store
        .read_all()
        .context("cannot read remembered connections")?;
    let (alive, dead): (Vec<_>, Vec<_>) = remembered
        .iter()
        .partition(|memory| is_alive(&mut conntrack, memory, config.mark.adjust));
    dead.iter()
        .for_each(|memory| flow_store.forget(&memory.tuples()));
    if !remembered.is_empty() {
        info!(
            alive = alive.len(),
            dead = dead.len(),
            "connections remembered from before"
        );
    }
    Ok(())
}

fn is_alive(conntrack: &mut Conntrack, memory: &SavedFlow, adjust: u32) -> bool {
    let tuples = memory.tuples();
    let entry = conntrack
        .resolve(&tuples.of(Direction::Original))
        .ok()
        .flatten();
    entry.is_some_and(|entry| entry.tuples == tuples && entry.mark & adjust != 0)
}
