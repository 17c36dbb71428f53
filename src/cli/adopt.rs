//! `ftp-alg adopt`: takes over what the gateway that worked before this one had expected.

use std::{io::Write, path::PathBuf};

use anyhow::anyhow;
use clap::Args;

use super::{Failure, after_help};
use crate::daemon::{
    adoption::{Adopted, adopt},
    config::Config,
    logging,
};

/// Complete the expectations that conntrackd brought from another gateway.
///
/// conntrackd brings them without their NAT. Run this on the gateway that becomes master: after
/// conntrackd has written all that it knows into the kernel, and before packets are let through.
/// See docs/ha.md.
#[derive(Args)]
#[command(after_help = after_help!("ftp-alg adopt --config /etc/ftp-alg.toml"))]
pub(super) struct Adopt {
    /// The configuration.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

impl Adopt {
    pub(super) fn run(&self, out: &mut dyn Write) -> Result<(), Failure> {
        let config = Config::load(&self.config)?;
        logging::start(config.log.format)?;
        let Adopted { completed, refused } = adopt(*config.expectation.timeout)?;
        writeln!(out, "{completed} expectations completed")?;
        if refused > 0 {
            return Err(anyhow!("the kernel refused {refused} expectations").into());
        }
        Ok(())
    }
}
