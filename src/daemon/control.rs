//! Waits for signals, for changes of our table, and for the end of a worker. It looks now and then
//! whether the workers keep up, and whether one is stuck.

use std::path::Path;

use anyhow::Context;
use tokio::{
    runtime::Runtime,
    signal::unix::{Signal, SignalKind, signal},
    time::{Interval, interval},
};
use tracing::{info, warn};

use super::{config::Config, overload, setup::Gateway, watchdog};
use crate::io::nftables::Notice;

/// The control plane. It exists before anything else, so that a signal during the start is not
/// lost.
pub(super) struct Control {
    runtime: Runtime,
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    tick: Interval,
    worker_check: Interval,
}

enum Wakeup {
    Stop(&'static str),
    Reload,
    TableChanged(Notice),
    Tick,
    CheckWorkers,
    WorkerEnded(anyhow::Error),
}

impl Control {
    pub(super) fn start() -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("cannot start the control plane")?;
        let entered = runtime.enter();
        let listen = |kind| signal(kind).context("cannot listen for signals");
        let terminate = listen(SignalKind::terminate())?;
        let interrupt = listen(SignalKind::interrupt())?;
        let hangup = listen(SignalKind::hangup())?;
        let tick = interval(overload::INTERVAL);
        let worker_check = interval(watchdog::interval());
        drop(entered);
        Ok(Self {
            runtime,
            terminate,
            interrupt,
            hangup,
            tick,
            worker_check,
        })
    }

    /// Serves until told to stop.
    pub(super) fn run(mut self, gateway: &mut Gateway, path: &Path) -> anyhow::Result<()> {
        loop {
            match self.wait(gateway) {
                Wakeup::Stop(signal) => {
                    info!(signal, "told to stop");
                    return Ok(());
                }
                Wakeup::Reload => reload(gateway, path),
                Wakeup::TableChanged(notice) => gateway.handle_notice(&notice),
                Wakeup::Tick => gateway.handle_tick(),
                Wakeup::CheckWorkers if gateway.check_workers() => watchdog::tell_well(),
                Wakeup::CheckWorkers => {}
                Wakeup::WorkerEnded(reason) => return Err(reason),
            }
        }
    }

    fn wait(&mut self, gateway: &mut Gateway) -> Wakeup {
        let Self {
            runtime,
            terminate,
            interrupt,
            hangup,
            tick,
            worker_check,
        } = self;
        runtime.block_on(async {
            tokio::select! {
                _ = terminate.recv() => Wakeup::Stop("SIGTERM"),
                _ = interrupt.recv() => Wakeup::Stop("SIGINT"),
                _ = hangup.recv() => Wakeup::Reload,
                _ = tick.tick() => Wakeup::Tick,
                _ = worker_check.tick() => Wakeup::CheckWorkers,
                trouble = gateway.trouble() => match trouble {
                    Ok(notice) => Wakeup::TableChanged(notice),
                    Err(reason) => Wakeup::WorkerEnded(reason),
                },
            }
        })
    }
}

/// Takes what can change while connections go on; a faulty file changes nothing.
fn reload(gateway: &mut Gateway, path: &Path) {
    match Config::load(path) {
        Ok(config) => {
            let kept = gateway.reload(config);
            if kept.is_empty() {
                info!("configuration reloaded");
            } else {
                let keys = kept.join(", ");
                warn!(
                    keys,
                    "configuration reloaded; the changes of these keys need a restart, all others \
                     are in force"
                );
            }
        }
        Err(error) => {
            warn!(%error, "the configuration was not reloaded: the old one stays in force")
        }
    }
}
