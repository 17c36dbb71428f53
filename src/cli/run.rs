//! `ftp-alg run`: the daemon in the foreground.

use std::path::PathBuf;

use clap::Args;

use super::{Failure, after_help};
use crate::daemon::{self, config::Config, logging};

/// Run the daemon in the foreground.
///
/// SIGTERM and SIGINT stop it and remove its table, unless a session still needs the table or
/// `when_absent` is "drop". SIGHUP reads the configuration again. It logs `ready`, and tells
/// systemd, once its table and queues are in place.
#[derive(Args)]
#[command(after_help = after_help!("ftp-alg run --config /etc/ftp-alg.toml"))]
pub(super) struct Run {
    /// The configuration.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

impl Run {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let config = Config::load(&self.config)?;
        logging::start(config.log.format)?;
        Ok(daemon::run(&config, &self.config)?)
    }
}
