//! `ftp-alg man`: the manual pages, one for the program and one for each subcommand.

use std::{fs, path::PathBuf};

use anyhow::Context;
use clap::Args;

use super::{Failure, after_help};

/// Write the manual pages into a directory, one for each subcommand.
#[derive(Args)]
#[command(after_help = after_help!("ftp-alg man /usr/local/share/man/man1"))]
pub(super) struct Man {
    /// The directory to write into; it is made if it is missing.
    #[arg(value_name = "DIR")]
    directory: PathBuf,
}

impl Man {
    /// Writes the pages of this program.
    pub(super) fn run(&self, program: clap::Command) -> Result<(), Failure> {
        let directory = &self.directory;
        fs::create_dir_all(directory)
            .and_then(|()| clap_mangen::generate_to(program, directory))
            .with_context(|| format!("{}: cannot write manual pages", directory.display()))?;
        Ok(())
    }
}
