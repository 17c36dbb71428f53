//! Builds the table for the frames that a bridge forwards, `bridge ftp_alg`.
//!
//! Where a bridging firewall tracks connections (`nf_conntrack_bridge`), its packets pass the hooks
//! of the family `bridge` alone. This table has what such connections need, and no more: a bridge
//! translates no address, this machine is no end of a bridged connection, and the daemon injects no
//! packet beside them.
//!
//! What is read and what gets a helper is decided at the hook `forward`. A frame to this machine,
//! which is perhaps routed, passes the bridge's `prerouting`, and the hooks of the other table
//! later. It must not be read twice.
//!
//! * No sequence offset arises here, and so no entry has to be put back.
//! * First packets of encrypted sessions' data connections are not queued.
//! * `label_room` is in the other table, which is always loaded with this one.

use super::{
    admission, attachment,
    chain_parts::{INSPECTION, base, filter, rule},
    fast_open, inspection_chains, pickup_chains,
};
use crate::{
    proto::net::Layer,
    ruleset::{
        Backend, ControlPort, Family, Params, QueueStatement, Ruleset, Set, SetKind,
        Statement::{Confirmed, ControlPort as OfControlPort, Goto, Tcp},
        statement::Chain,
    },
};

impl Ruleset {
    /// The table for what bridges forward, with these parameters. It always queues natively: no
    /// other frontend prints it, and the xtables target is not for bridges.
    #[must_use]
    pub fn build_bridged(params: &Params) -> Self {
        let params = &Params {
            queue_statement: QueueStatement::Native,
            tls_ports: None,
            ..params.clone()
        };
        let is_ours = params.backend == Backend::Nftables;
        let mut sets = vec![Set {
            why: "connections to these ports are FTP control connections",
            kind: SetKind::ControlPorts(params.control_ports.clone()),
        }];
        let mut chains = vec![fast_open::bridge_chain()];
        chains.extend(inspection_chains(params, Vec::new()));
        chains.push(pickup_chains::bridge_chain(params));
        if is_ours {
            sets.extend(Family::BOTH.into_iter().flat_map(admission::bridge_sets));
            chains.extend(admission::bridge_chains(params));
        }
        chains.push(entry());
        if !is_ours {
            chains.push(attachment::bridge_chain());
        }
        Self {
            layer: Layer::Bridged,
            advice: advice(params),
            helper: (!is_ours).then_some(attachment::HELPER_OBJECT),
            sets,
            chains,
        }
    }
}

fn advice(params: &Params) -> Vec<String> {
    let mut advice = super::advice(params);
    let about_bridges = [
        "For what bridges forward, beside the table inet ftp_alg. It turns connection tracking on",
        "for every bridge, so load it only where your own table of family bridge does so already.",
    ];
    advice.splice(1..1, about_bridges.map(str::to_owned));
    advice
}

/// The entrance of inspection. Without NAT both directions have the same port.
fn entry() -> Chain {
    base(
        "what a bridge forwards",
        "forward",
        filter("forward", INSPECTION),
        vec![rule(
            "",
            [
                Confirmed,
                Tcp,
                OfControlPort(ControlPort::Dialled),
                Goto("inspect"),
            ],
        )],
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ruleset::{ChainType, Rule, Statement};

    fn tables() -> [Ruleset; 2] {
        [Backend::Nftables, Backend::Conntrack].map(|backend| {
            Ruleset::build_bridged(&Params {
                backend,
                queue_statement: QueueStatement::XtTarget,
                tls_ports: Some(50_000..=50_099),
                ..Params::default()
            })
        })
    }

    #[test]
    fn only_what_a_bridge_forwards_is_read_and_gets_a_helper() {
        for Ruleset { chains, .. } in tables() {
            let acts = |one: &Statement| matches!(one, Goto(_) | Statement::AttachHelper);
            let acts = |rule: &Rule| rule.statements.iter().any(acts);
            let acting = chains.iter().filter(|chain| chain.rules.iter().any(acts));
            let hooks: Vec<_> = acting.filter_map(|chain| chain.hook).collect();
            assert!(!hooks.is_empty());
            assert!(hooks.iter().all(|hook| hook.name == "forward"), "{hooks:?}");
        }
    }

    #[test]
    fn nothing_stands_in_it_that_no_bridge_has() {
        for table in tables() {
            let text = table.to_nft();
            assert!(text.contains("table bridge ftp_alg {"));
            for absent in ["meta nfproto", "iif", "dnat", "snat", "notrack", "tls4"] {
                assert!(!text.contains(absent), "{absent}: {text}");
            }
            let mut hooks = table.chains.iter().filter_map(|chain| chain.hook);
            assert!(hooks.all(|hook| hook.chain_type == ChainType::Filter));
            let rules = table.chains.iter().flat_map(|chain| &chain.rules);
            let mut statements = rules.flat_map(|rule| &rule.statements);
            let through_xt = |one: &Statement| {
                matches!(
                    one,
                    Statement::Queue {
                        through_xt: true,
                        ..
                    }
                )
            };
            assert!(!statements.any(through_xt));
        }
    }

    #[test]
    fn each_chain_stands_before_those_that_jump_to_it() {
        for table in tables() {
            let mut known = Vec::new();
            for chain in &table.chains {
                for statement in chain.rules.iter().flat_map(|rule| &rule.statements) {
                    if let Statement::Jump(to) | Goto(to) = statement {
                        assert!(known.contains(to), "{} -> {to}", chain.name);
                    }
                }
                known.push(chain.name);
            }
        }
    }
}
