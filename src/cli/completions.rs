//! `ftp-alg completions`: what a shell needs to complete our command line.

use std::io::Write;

use clap::Args;
use clap_complete::Shell;

use super::{Failure, after_help};

/// Print a completion script for a shell.
#[derive(Args)]
#[command(after_help = after_help!(
    "ftp-alg completions bash > /etc/bash_completion.d/ftp-alg"
))]
pub(super) struct Completions {
    /// The shell that will read the script.
    shell: Shell,
}

impl Completions {
    /// Prints the script for this program.
    pub(super) fn run(
        &self,
        mut program: clap::Command,
        out: &mut dyn Write,
    ) -> Result<(), Failure> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut program, "ftp-alg", &mut script);
        Ok(out.write_all(&script)?)
    }
}
