//! Loads, verifies, puts back and removes a table of ours as a whole.

use std::collections::BTreeMap;

use nftnl::{Batch, MsgType};

use super::{
    TableOwner,
    mastered::MasteredExpectation,
    message,
    owner::Held,
    plan::{OWNED, PERSISTS, Plan, delete_table, elements_alone, new_table},
    present::{self, PresentHelper, PresentTable},
    send,
};
use crate::{
    io::{
        clock,
        netlink::{NetlinkError, Socket},
    },
    proto::net::Layer,
    ruleset::{Backend, Ruleset, TABLE},
};

const NFTA_RULE_TABLE: u16 = 1;
const NFTA_RULE_CHAIN: u16 = 2;

/// A table that exists only inside a transaction that also deletes it.
const PROBE_TABLE: &str = "ftp_alg_probe";

/// How many expectations one transaction puts back. Its messages have to fit into the socket.
const RESTORED_AT_ONCE: usize = 512;

/// Why the table could not be loaded, verified or removed.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The daemon lacks the privilege.
    #[error(
        "changing nf_tables needs CAP_NET_ADMIN: run as root, or grant it with \
         `setcap cap_net_admin,cap_net_raw+ep`"
    )]
    NotPermitted,
    /// Another process owns the table.
    #[error(
        "another process owns a table {TABLE} (`nft list table inet {TABLE}` names it): stop it"
    )]
    OwnedByOther,
    /// The kernel lacks something that the table uses.
    #[error("the kernel lacks something that the table uses (the log line `the kernel` lists it)")]
    Unsupported,
    /// Any other refusal.
    #[error("table {TABLE}: {0}")]
    Netlink(NetlinkError),
    /// The table in the kernel is not the one we loaded.
    #[error("table {TABLE}: chain {chain} has {found} rules instead of {expected}")]
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

/// Who may change our table besides this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableAccess {
    /// Nobody, while this process runs (`flags owner, persist`; Linux 6.9). `nft flush ruleset`
    /// leaves the table in place.
    Owned,
    /// Everybody with the privilege.
    Shared,
}

impl TableAccess {
    /// `NFT_TABLE_F_*`.
    const fn flags(self) -> u32 {
        match self {
            Self::Owned => OWNED | PERSISTS,
            Self::Shared => 0,
        }
    }
}

/// One table of ours in the kernel.
#[derive(Debug)]
pub struct Table {
    owner: TableOwner,
    ruleset: Ruleset,
    access: TableAccess,
}

impl Table {
    /// Puts the table of the ruleset's layer in place in one transaction. One that an earlier
    /// process has left is taken over: its expectations stay in force, but for those that `is_used`
    /// says have had their connection, where their set has to be made anew.
    ///
    /// Conntrack entries keep their marks, so the daemon recognises flows with an offset.
    ///
    /// # Errors
    /// Nothing has changed then.
    pub fn apply(
        owner: &TableOwner,
        ruleset: Ruleset,
        access: TableAccess,
        is_used: &dyn Fn(&MasteredExpectation) -> bool,
    ) -> Result<Self, ApplyError> {
        let table = Self {
            owner: owner.clone(),
            ruleset,
            access,
        };
        owner.adopt(table.layer())?;
        table.restore(is_used)?;
        Ok(table)
    }

    /// Puts the table back as it was loaded, with all expectations but those that `is_used` says
    /// have had their connection. What of it is in place stays.
    ///
    /// # Errors
    /// Nothing has changed then.
    pub fn restore(
        &self,
        is_used: &dyn Fn(&MasteredExpectation) -> bool,
    ) -> Result<(), ApplyError> {
        let mut held = self.owner.lock();
        let layer = self.layer();
        let present = PresentTable::read(&mut held.socket, layer)?;
        let live = held.unused(layer, is_used);
        let (first, rest) = live.split_at(live.len().min(RESTORED_AT_ONCE));
        let plan = Plan {
            ruleset: &self.ruleset,
            flags: self.access.flags(),
            present,
        };
        // The kernel adds no base chain in the transaction in which a table gets an owner.
        if plan.adopts() {
            send(&mut held.socket, &plan.adoption())?;
        }
        match send(&mut held.socket, &plan.transaction(first)) {
            Ok(()) => {}
            Err(error) if error.is(libc::EPERM) && plan.has_owner() => {
                return Err(ApplyError::OwnedByOther);
            }
            Err(error) => return Err(error.into()),
        }
        held.put_elements(self.ruleset.backend(), rest)
    }

    /// The layer whose packets pass it.
    const fn layer(&self) -> Layer {
        self.ruleset.layer
    }

    /// Who may change the table.
    #[must_use]
    pub const fn access(&self) -> TableAccess {
        self.access
    }

    /// Reads back from the kernel that each chain has as many rules as were loaded.
    ///
    /// # Errors
    /// Names the first chain that differs.
    pub fn verify(&self) -> Result<(), ApplyError> {
        let mut found = rules_by_chain(&mut self.owner.lock().socket, self.layer())?;
        for chain in &self.ruleset.chains {
            let (name, expected) = (chain.name, chain.rules.len());
            let found = found.remove(name).unwrap_or(0);
            if found != expected {
                return Err(ApplyError::Changed {
                    chain: name.to_owned(),
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
    pub fn remove(self) -> Result<(), ApplyError> {
        remove_leftover(&self.owner, self.layer()).map(drop)
    }
}

/// Whether a table of our name is loaded at a layer, whoever loaded it.
///
/// # Errors
/// When nf_tables cannot be asked.
pub fn is_loaded(owner: &TableOwner, layer: Layer) -> Result<bool, NetlinkError> {
    Ok(PresentTable::read(&mut owner.lock().socket, layer)?.is_some())
}

/// Removes the table of our name at a layer, whoever loaded it, and nothing else. Returns whether
/// there was one.
///
/// # Errors
/// When the kernel refuses.
pub fn remove_leftover(owner: &TableOwner, layer: Layer) -> Result<bool, ApplyError> {
    let mut held = owner.lock();
    if PresentTable::read(&mut held.socket, layer)?.is_none() {
        return Ok(false);
    }
    let mut batch = Batch::new();
    let table = delete_table(layer, TABLE).acknowledged();
    batch.add(&table, MsgType::Del);
    send(&mut held.socket, &batch.finalize())?;
    Ok(true)
}

/// Puts what is expected back into the tables that the operator has loaded, but for those whose
/// connections have come. Returns whether there is one for routed packets.
///
/// # Errors
/// When the kernel refuses.
pub fn restore_elements(
    owner: &TableOwner,
    backend: Backend,
    is_used: &dyn Fn(&MasteredExpectation) -> bool,
) -> Result<bool, ApplyError> {
    let mut held = owner.lock();
    let mut loaded = Vec::new();
    for layer in Layer::BOTH {
        if PresentTable::read(&mut held.socket, layer)?.is_some() {
            let live = held.unused(layer, is_used);
            held.put_elements(backend, &live)?;
            loaded.push(layer);
        }
    }
    Ok(loaded.contains(&Layer::Routed))
}

impl Held {
    fn unused(
        &self,
        layer: Layer,
        is_used: &dyn Fn(&MasteredExpectation) -> bool,
    ) -> Vec<MasteredExpectation> {
        let mut live = self.live.unexpired(clock::now());
        live.retain(|one| one.master.layer == layer && !is_used(one));
        live
    }

    fn put_elements(
        &mut self,
        backend: Backend,
        expectations: &[MasteredExpectation],
    ) -> Result<(), ApplyError> {
        for some in expectations.chunks(RESTORED_AT_ONCE) {
            send(&mut self.socket, &elements_alone(backend, some))?;
        }
        Ok(())
    }
}

/// Whether this kernel keeps others from changing a table, and keeps the table when its owner ends.
///
/// # Errors
/// When no netlink socket can be had.
pub fn supports_owned_tables() -> Result<bool, NetlinkError> {
    let flags = TableAccess::Owned.flags();
    let mut batch = Batch::new();
    batch.add(&new_table(Layer::Routed, PROBE_TABLE, flags), MsgType::Add);
    let table = delete_table(Layer::Routed, PROBE_TABLE).acknowledged();
    batch.add(&table, MsgType::Del);
    Ok(send(&mut Socket::open()?, &batch.finalize()).is_ok())
}

/// Whether a table of our name is loaded that attaches our helper, whoever loaded it.
///
/// # Errors
/// When nf_tables cannot be asked.
pub fn has_helper_object() -> Result<bool, NetlinkError> {
    let found = present::helper(&mut Socket::open()?, Layer::Routed)?;
    Ok(found == Some(PresentHelper::Ours))
}

fn rules_by_chain(
    socket: &mut Socket,
    layer: Layer,
) -> Result<BTreeMap<String, usize>, NetlinkError> {
    let mut rules = BTreeMap::new();
    socket.list(
        message(layer, libc::NFT_MSG_GETRULE),
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
