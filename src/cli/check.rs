//! `ftp-alg check`: validates a configuration.

use std::{io::Write, path::PathBuf};

use clap::Args;

use super::{Failure, after_help};
use crate::daemon::config::Config;

/// Validate a configuration.
///
/// Prints `FILE: valid`, or one line with file, line, column and the reason. Warns of each key that
/// weakens a safe default.
#[derive(Args)]
#[command(after_help = after_help!("ftp-alg check --config /etc/ftp-alg.toml"))]
pub(super) struct Check {
    /// The configuration to validate.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

impl Check {
    pub(super) fn run(&self, out: &mut dyn Write) -> Result<(), Failure> {
        let config = Config::load(&self.config)?;
        for (key, warning) in config.weakened_defaults() {
            let file = self.config.display();
            eprintln!("{file}: warning: {key} {warning}");
        }
        writeln!(out, "{}: valid", self.config.display())?;
        Ok(())
    }
}
