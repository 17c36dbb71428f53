//! The daemon: one worker thread a queue, and a control plane that starts, reloads and stops it.
//!
//! A worker blocks in one system call, where it waits for packets and for time alike. The control
//! plane is asynchronous, because it waits for several things: signals, and the end of a worker.

pub mod adoption;
mod avoided_ports;
mod backend;
mod bridge_keeper;
pub mod config;
mod confine;
mod control;
mod entry_keeper;
mod first_packet;
mod flow_directory;
mod flow_store;
mod forwarding;
pub(crate) mod from_config;
mod inheritance;
mod kernel_port;
pub mod logging;
mod overload;
mod report;
mod setup;
mod supervisor;
mod table_keeper;
mod unclaimed_flows;
mod unlabelled;
mod unread;
mod used_connections;
mod watchdog;
mod worker;
mod zones;

use std::path::Path;

use anyhow::Context;
use tracing::{info, warn};

use self::{config::Config, control::Control, setup::Gateway};

/// Runs the daemon in the foreground until SIGTERM or SIGINT; SIGHUP reads `path` again.
///
/// # Errors
/// The kernel lacks something, something that is needed is in use, or a worker failed.
pub fn run(config: &Config, path: &Path) -> anyhow::Result<()> {
    supervisor::log_panics();
    let control = Control::start()?;
    let mut gateway = Gateway::start(config, path)?;
    info!(
        control_ports = ?*config.control_ports,
        queues = ?*config.queue,
        backend = gateway.backend(),
        "ready"
    );
    gateway.tell_forwarding();
    if let Err(error) = sd_notify::notify(&[sd_notify::NotifyState::Ready]) {
        warn!(%error, "systemd could not be notified");
    }
    let outcome = control.run(&mut gateway, path);
    info!("stopping");
    let stopped = gateway.stop().context("while stopping");
    outcome.and(stopped)
}
