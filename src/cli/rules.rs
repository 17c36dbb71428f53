//! `ftp-alg rules`: what an operator would load by hand.

use std::{io::Write, path::PathBuf};

use clap::{Args, ValueEnum};

use super::{Failure, after_help};
use crate::{
    daemon::{config::Config, from_config::params_of},
    proto::net::Layer,
    ruleset::{Params, QueueStatement, Ruleset, nft_removal, to_iptables, to_iptables_removal},
};

/// Which table `auto` prints, above the table. Not what this machine's kernel would be given: rules
/// are often printed on another machine than the gateway.
const AUTO_SAYS: &str = "\
# backend = \"auto\": the table for \"nftables\", which every kernel takes. A daemon that finds it
# loaded (install_rules = false) uses that backend. For the kernel's expectations say \"conntrack\".
";

/// Print the rules that the daemon loads, for loading them by hand.
///
/// This is for `install_rules = false`. Otherwise the daemon loads the same rules itself. From
/// Linux 6.9 on, nobody else can load or remove the table while the daemon runs (`table_owner`).
#[derive(Args)]
#[command(after_help = after_help!("ftp-alg rules --config /etc/ftp-alg.toml | nft -f -"))]
pub(super) struct Rules {
    /// The configuration.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,

    /// Which program loads the rules.
    #[arg(long, value_enum, default_value = "nft")]
    frontend: Frontend,

    /// Print the second table instead, `bridge ftp_alg`. Load it as well where the firewall of a
    /// bridge tracks connections.
    #[arg(long, conflicts_with = "frontend")]
    bridge: bool,

    /// Print what removes the rules instead.
    #[arg(long)]
    remove: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Frontend {
    /// A file for nft, with one nf_tables table.
    Nft,
    /// A shell script: iptables queues the packets, and nft loads a table for the rest. Also for
    /// kernels without nft's `queue` statement.
    Iptables,
}

impl Rules {
    pub(super) fn run(&self, out: &mut dyn Write) -> Result<(), Failure> {
        let config = Config::load(&self.config)?;
        let params = |statement| params_of(&config, statement, config.backend.unwrap_or_default());
        let text = match (self.frontend, self.remove) {
            _ if self.bridge => self.bridge_text(&params(QueueStatement::Native)),
            (Frontend::Nft, true) => nft_removal(Layer::Routed).to_owned(),
            (Frontend::Nft, false) => Ruleset::build(&params(QueueStatement::Native)).to_nft(),
            (Frontend::Iptables, true) => to_iptables_removal(&params(QueueStatement::Elsewhere)),
            (Frontend::Iptables, false) => to_iptables(&params(QueueStatement::Elsewhere)),
        };
        let says = config.backend.is_none() && !self.remove;
        let (head, rest) = split_interpreter(&text);
        for part in [head, if says { AUTO_SAYS } else { "" }, rest] {
            out.write_all(part.as_bytes())?;
        }
        Ok(())
    }

    fn bridge_text(&self, params: &Params) -> String {
        if self.remove {
            return nft_removal(Layer::Bridged).to_owned();
        }
        Ruleset::build_bridged(params).to_nft()
    }
}

/// Cuts behind the line that names an interpreter, which must stay the first.
fn split_interpreter(text: &str) -> (&str, &str) {
    let line = text.split_inclusive('\n').next().unwrap_or_default();
    text.split_at(if line.starts_with("#!") {
        line.len()
    } else {
        0
    })
}
