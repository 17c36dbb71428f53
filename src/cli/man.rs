//! `ftp-alg man`: the manual pages, one for the program and one for each subcommand.

use std::{fs, path::PathBuf};

use anyhow::Context;
use clap::Args;

use super::{Failure, after_help};

/// Write the manual pages into a folder, one for each subcommand.
#[derive(Args)]
#[command(after_help = after_help!("ftp-alg man /usr/local/share/man/man1"))]
pub(super) struct Man {
    /// The folder to write into; it is made if it is not there.
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

impl Man {
    /// Writes the pages of this program.
    pub(super) fn run(&self, program: clap::Command) -> Result<(), Failure> {
        let folder = &self.folder;
        fs::create_dir_all(folder)
            .and_then(|()| clap_mangen::generate_to(program, folder))
            .with_context(|| format!("{}: cannot write manual pages", folder.display()))?;
        Ok(())
    }
}
