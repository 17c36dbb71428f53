//! `ftp-alg rules`: what an operator would load by hand.

use std::{io::Write, path::PathBuf};

use clap::{Args, ValueEnum};

use super::{Failure, after_help};
use crate::{
    daemon::{
        config::{self, Config},
        setup::params_of,
    },
    ruleset::{self, NFT_REMOVAL, QueueStatement, Ruleset, to_iptables, to_iptables_removal},
};

/// Print the rules that the daemon loads, for loading them by hand.
///
/// With `install_rules = true` the daemon loads the same itself. `nft` prints one table; with
/// `iptables` the way into the queue is left to iptables, and the rest stays that table.
#[derive(Args)]
#[command(after_help = after_help!("ftp-alg rules --config /etc/ftp-alg.toml | nft -f -"))]
pub(super) struct Rules {
    /// The configuration.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,

    /// Whose language to print.
    #[arg(long, value_enum, default_value = "nft")]
    frontend: Frontend,

    /// Print what removes the rules instead.
    #[arg(long)]
    remove: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Frontend {
    /// One nf_tables table.
    Nft,
    /// iptables commands for the queue, and the table for the rest.
    Iptables,
}

impl Rules {
    pub(super) fn run(&self, out: &mut dyn Write) -> Result<(), Failure> {
        let config = Config::load(&self.config)?;
        let params = |statement| params_of(&config, statement, backend_of(&config));
        let text = match (self.frontend, self.remove) {
            (Frontend::Nft, true) => NFT_REMOVAL.to_owned(),
            (Frontend::Nft, false) => Ruleset::build(&params(QueueStatement::Native)).to_nft(),
            (Frontend::Iptables, true) => to_iptables_removal(&params(QueueStatement::Elsewhere)),
            (Frontend::Iptables, false) => to_iptables(&params(QueueStatement::Elsewhere)),
        };
        out.write_all(text.as_bytes())?;
        Ok(())
    }
}

/// The backend that rules loaded by hand are for: `auto` then follows the rules, and these work
/// on every kernel.
fn backend_of(config: &Config) -> ruleset::Backend {
    match config.backend {
        config::Backend::Conntrack => ruleset::Backend::Conntrack,
        config::Backend::Auto | config::Backend::Nftables => ruleset::Backend::Nftables,
    }
}
