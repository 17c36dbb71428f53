//! Loads, verifies and removes our table as a whole.

use std::{collections::BTreeMap, ffi::CString};

use nftnl::{Batch, ChainType, FinalizedBatch, Hook, MsgType, Policy, ProtoFamily, Rule};

use super::{
    lower::{NFT_OBJECT_CT_HELPER, lower},
    message, object, send, set,
};
use crate::{
    io::netlink::{NetlinkError, Socket},
    ruleset::{self, HELPER, HelperObject, Ruleset, TABLE},
};

const NFTA_RULE_TABLE: u16 = 1;
const NFTA_RULE_CHAIN: u16 = 2;
const NFTA_OBJ_TABLE: u16 = 1;
const NFTA_OBJ_NAME: u16 = 2;
const NFTA_OBJ_TYPE: u16 = 3;
const NFT_MSG_GETOBJ: i32 = 19;

/// Why the table could not be loaded, verified or removed.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The daemon lacks the privilege.
    #[error(
        "changing nf_tables needs CAP_NET_ADMIN: run as root, or grant it with \
         `setcap cap_net_admin,cap_net_raw+ep`"
    )]
    NotPermitted,
    /// The kernel lacks something that the table uses.
    #[error("the kernel lacks something that the table uses (the log line `the kernel` lists it)")]
    Unsupported,
    /// Any other refusal.
    #[error("table inet {TABLE}: {0}")]
    Netlink(NetlinkError),
    /// The table in the kernel is not the one we loaded.
    #[error("table inet {TABLE}: chain {chain} has {found} rules instead of {expected}")]
    Changed {
        /// The first chain that differs.
        chain: String,
        /// How many rules it should have.
        expected: usize,
        /// How many it has.
        found: usize,
    },
}

impl From<NetlinkError> for ApplyError {
    fn from(error: NetlinkError) -> Self {
        match error.errno() {
            Some(libc::EPERM | libc::EACCES) => Self::NotPermitted,
            Some(libc::ENOENT | libc::EOPNOTSUPP | libc::EPROTONOSUPPORT) => Self::Unsupported,
            Some(_) | None => Self::Netlink(error),
        }
    }
}

/// Our table in the kernel.
#[derive(Debug)]
pub struct Table {
    socket: Socket,
    rules: BTreeMap<&'static str, usize>,
}

impl Table {
    /// Puts the table in place in one transaction, instead of an older one of the same name.
    ///
    /// Expectations of the older table vanish with it. Conntrack entries keep their marks, so the
    /// daemon recognises flows with an offset.
    ///
    /// # Errors
    /// Nothing has changed then.
    pub fn apply(ruleset: &Ruleset) -> Result<Self, ApplyError> {
        let mut socket = Socket::open()?;
        send(&mut socket, &transaction(ruleset))?;
        let rules = ruleset
            .chains
            .iter()
            .map(|chain| (chain.name, chain.rules.len()))
            .collect();
        Ok(Self { socket, rules })
    }

    /// Reads back from the kernel that each chain has as many rules as were loaded.
    ///
    /// # Errors
    /// Names the first chain that differs.
    pub fn verify(&mut self) -> Result<(), ApplyError> {
        let mut found = rules_by_chain(&mut self.socket)?;
        for (&chain, &expected) in &self.rules {
            let found = found.remove(chain).unwrap_or(0);
            if found != expected {
                return Err(ApplyError::Changed {
                    chain: chain.to_owned(),
                    expected,
                    found,
                });
            }
        }
        match found.pop_first() {
            None => Ok(()),
            Some((chain, found)) => Err(ApplyError::Changed {
                chain,
                expected: 0,
                found,
            }),
        }
    }

    /// Removes the table, and nothing else.
    ///
    /// # Errors
    /// When the kernel refuses. A table that is gone already is no error.
    pub fn remove(mut self) -> Result<(), ApplyError> {
        let table = table();
        let mut batch = Batch::new();
        // Adding first makes the deletion succeed even if the table does not exist.
        batch.add(&table, MsgType::Add);
        batch.add(&table, MsgType::Del);
        Ok(send(&mut self.socket, &batch.finalize())?)
    }
}

fn table() -> nftnl::Table {
    nftnl::Table::new(name(TABLE), ProtoFamily::Inet)
}

fn transaction(ruleset: &Ruleset) -> FinalizedBatch {
    let table = table();
    let mut batch = Batch::new();
    batch.add(&table, MsgType::Add);
    batch.add(&table, MsgType::Del);
    batch.add(&table, MsgType::Add);
    if ruleset.helper.is_some() {
        batch.add(
            &object::Helper::of(HelperObject::NAME, HELPER, TABLE),
            MsgType::Add,
        );
    }
    for (id, set) in (1..).zip(&ruleset.sets) {
        let set = set::object(set, id, &table);
        batch.add(&set, MsgType::Add);
        batch.add_iter(set.elems_iter(), MsgType::Add);
    }
    let chains: Vec<_> = ruleset
        .chains
        .iter()
        .map(|value| chain(value, &table))
        .collect();
    for chain in &chains {
        batch.add(chain, MsgType::Add);
    }
    for (chain, value) in chains.iter().zip(&ruleset.chains) {
        for rule in &value.rules {
            let mut object = Rule::new(chain);
            for expression in lower(rule) {
                object.add_expr(&expression);
            }
            batch.add(&object, MsgType::Add);
        }
    }
    batch.finalize()
}

fn chain<'a>(value: &ruleset::Chain, table: &'a nftnl::Table) -> nftnl::Chain<'a> {
    let mut chain = nftnl::Chain::new(name(value.name), table);
    if let Some(hook) = value.hook {
        chain.set_hook(hook_number(hook.name), hook.priority);
        chain.set_type(match hook.chain_type {
            ruleset::ChainType::Filter => ChainType::Filter,
            ruleset::ChainType::Nat => ChainType::Nat,
        });
        chain.set_policy(Policy::Accept);
    }
    chain
}

fn hook_number(name: &str) -> Hook {
    match name {
        "prerouting" => Hook::PreRouting,
        "input" => Hook::In,
        "forward" => Hook::Forward,
        "output" => Hook::Out,
        _ => Hook::PostRouting,
    }
}

fn name(name: &str) -> CString {
    CString::new(name).expect("our names contain no zero")
}

/// Whether a table of our name is loaded that attaches our helper, whoever loaded it.
///
/// # Errors
/// When nf_tables cannot be asked.
pub fn has_helper_object() -> Result<bool, NetlinkError> {
    let found = Socket::open()?.ask(
        message(NFT_MSG_GETOBJ),
        |buffer| {
            buffer.put_name(NFTA_OBJ_TABLE, TABLE);
            buffer.put_name(NFTA_OBJ_NAME, HelperObject::NAME);
            buffer.put_u32(NFTA_OBJ_TYPE, NFT_OBJECT_CT_HELPER);
        },
        |_| Some(()),
    )?;
    Ok(found.is_some())
}

fn rules_by_chain(socket: &mut Socket) -> Result<BTreeMap<String, usize>, NetlinkError> {
    let mut rules = BTreeMap::new();
    socket.list(
        message(libc::NFT_MSG_GETRULE),
        |buffer| buffer.put_name(NFTA_RULE_TABLE, TABLE),
        |answer| {
            let attributes = answer.attributes();
            if attributes.name(NFTA_RULE_TABLE) == Some(TABLE)
                && let Some(chain) = attributes.name(NFTA_RULE_CHAIN)
            {
                *rules.entry(chain.to_owned()).or_default() += 1;
            }
        },
    )?;
    Ok(rules)
}
