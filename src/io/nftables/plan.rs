//! The transaction that puts our table in place, whatever of it is there already.
//!
//! Rules are always made anew, because they hold no state. What is there and right is kept:
//!
//! * Sets whose elements come and go: each element of a permission set knows whether its connection
//!   has come.
//! * Chains. When a base chain goes, the kernel drops each packet that is queued at that moment.
//!   And while the old and the new chain are both in place, a packet that comes back from the queue
//!   meets the new one, and would be translated twice.
//! * The helper object: the kernel drops queued packets when such an object goes, too (Linux
//!   6.1.170, 6.12.85 and later).

use std::ffi::CString;

use nftnl::{Batch, ChainType, FinalizedBatch, MsgType, Policy, Rule};

use super::{
    element::{denied_iif_elements, elements},
    hook_number,
    lower::lower,
    mastered::MasteredExpectation,
    object,
    present::{PresentHelper, PresentTable},
    protocol_family,
    set::{self, SetShape},
    written::Written,
};
use crate::{
    io::netlink::MessageBuffer,
    proto::net::Layer,
    ruleset::{self, Backend, HELPER, HelperObject, Ruleset, SetKind, TABLE},
};

const NFTA_TABLE_NAME: u16 = 1;
const NFTA_TABLE_FLAGS: u16 = 2;
const NFTA_RULE_TABLE: u16 = 1;
const NFTA_CHAIN_TABLE: u16 = 1;
const NFTA_CHAIN_NAME: u16 = 3;
const NFTA_SET_TABLE: u16 = 1;
const NFTA_SET_NAME: u16 = 2;

/// The table that is wanted, and what there is of it.
#[derive(Debug)]
pub(super) struct Plan<'a> {
    pub(super) ruleset: &'a Ruleset,
    /// `NFT_TABLE_F_*`.
    pub(super) flags: u32,
    pub(super) present: Option<PresentTable>,
}

impl Plan<'_> {
    const fn layer(&self) -> Layer {
        self.ruleset.layer
    }

    /// Whether some process owns the table that is there.
    pub(super) fn has_owner(&self) -> bool {
        let present = self.present.as_ref();
        present.is_some_and(|present| present.flags & OWNED != 0)
    }

    /// Whether an existing table gets an owner: that of the earlier process has ended.
    pub(super) fn adopts(&self) -> bool {
        let is_orphan = |present: &PresentTable| present.flags & OWNED == 0;
        self.flags & OWNED != 0 && self.kept().is_some_and(is_orphan)
    }

    /// The transaction that gives an existing table its owner.
    pub(super) fn adoption(&self) -> FinalizedBatch {
        let mut batch = Batch::new();
        batch.add(
            &new_table(self.layer(), TABLE, self.flags).acknowledged(),
            MsgType::Add,
        );
        batch.finalize()
    }

    /// The transaction, with the elements of these expectations.
    pub(super) fn transaction(&self, expectations: &[MasteredExpectation]) -> FinalizedBatch {
        let mut batch = Batch::new();
        match self.kept() {
            Some(present) => {
                batch.add(&new_table(self.layer(), TABLE, self.flags), MsgType::Add);
                self.clear(present, &mut batch);
            }
            None => {
                // Adding first makes the deletion succeed even if the table does not exist.
                let flags = self.present.as_ref().map_or(0, |present| present.flags);
                batch.add(&new_table(self.layer(), TABLE, flags), MsgType::Add);
                batch.add(&delete_table(self.layer(), TABLE), MsgType::Del);
                batch.add(&new_table(self.layer(), TABLE, self.flags), MsgType::Add);
            }
        }
        self.put_helper(&mut batch);
        self.put_sets(&mut batch);
        put_elements(self.ruleset.backend(), expectations, &mut batch);
        self.put_chains(&mut batch);
        batch.finalize()
    }

    /// The table, if it can be taken over. The kernel never changes whether a table persists.
    fn kept(&self) -> Option<&PresentTable> {
        let present = self.present.as_ref()?;
        let differs = |bit| (present.flags ^ self.flags) & bit != 0;
        let is_dormant = present.flags & DORMANT != 0;
        (!differs(PERSISTS) && !is_dormant).then_some(present)
    }

    /// Takes away whatever is not kept.
    fn clear(&self, present: &PresentTable, batch: &mut Batch) {
        let rules = Written::delete(self.layer(), libc::NFT_MSG_DELRULE, |buffer| {
            buffer.put_name(NFTA_RULE_TABLE, TABLE);
        });
        batch.add(&rules, MsgType::Del);
        for chain in &present.chains {
            if self.keeps_chain(&chain.name) {
                continue;
            }
            let chain = Written::delete(self.layer(), libc::NFT_MSG_DELCHAIN, |buffer| {
                buffer.put_name(NFTA_CHAIN_TABLE, TABLE);
                buffer.put_name(NFTA_CHAIN_NAME, &chain.name);
            });
            batch.add(&chain, MsgType::Del);
        }
        for (name, _) in &present.sets {
            if !self.keeps_set(name) {
                let set = Written::delete(self.layer(), libc::NFT_MSG_DELSET, |buffer| {
                    buffer.put_name(NFTA_SET_TABLE, TABLE);
                    buffer.put_name(NFTA_SET_NAME, name);
                });
                batch.add(&set, MsgType::Del);
            }
        }
        if present.helper.is_some() && !self.keeps_helper() {
            batch.add(&helper_object(self.layer()), MsgType::Del);
        }
    }

    fn keeps_chain(&self, name: &str) -> bool {
        let present = self.kept().and_then(|present| present.chain(name));
        let wanted = self.ruleset.chains.iter().find(|chain| chain.name == name);
        wanted.is_some_and(|wanted| present.is_some_and(|present| present.has_hook_of(wanted)))
    }

    fn keeps_helper(&self) -> bool {
        let present = self.kept().and_then(|present| present.helper);
        self.ruleset.helper.is_some() && present == Some(PresentHelper::Ours)
    }

    fn keeps_set(&self, name: &str) -> bool {
        let Some(present) = self.kept() else {
            return false;
        };
        let wanted = self.ruleset.sets.iter().find(|set| set.kind.name() == name);
        wanted.is_some_and(|set| match set.kind {
            // Their elements are this process's own.
            SetKind::ControlPorts(_) | SetKind::FtpsPairs(_) => false,
            SetKind::Permission(_)
            | SetKind::Destination(_)
            | SetKind::Source(_)
            | SetKind::MasterMark(_)
            | SetKind::Spoofed(_) => present.shape_of(name) == SetShape::of(&set.kind),
        })
    }

    fn put_helper(&self, batch: &mut Batch) {
        if self.ruleset.helper.is_some() && !self.keeps_helper() {
            batch.add(&helper_object(self.layer()), MsgType::Add);
        }
    }

    fn put_sets(&self, batch: &mut Batch) {
        let table = table(self.layer());
        for (id, set) in (1..).zip(&self.ruleset.sets) {
            if self.keeps_set(set.kind.name()) {
                continue;
            }
            let set = set::object(set, id, &table, self.layer());
            batch.add(&set, MsgType::Add);
            batch.add_iter(set.elems_iter(), MsgType::Add);
        }
    }

    fn put_chains(&self, batch: &mut Batch) {
        let table = table(self.layer());
        let values = &self.ruleset.chains;
        let chains: Vec<_> = values.iter().map(|value| chain(value, &table)).collect();
        for (chain, value) in chains.iter().zip(values) {
            if !self.keeps_chain(value.name) {
                batch.add(chain, MsgType::Add);
            }
        }
        for (chain, value) in chains.iter().zip(values) {
            for rule in &value.rules {
                let mut object = Rule::new(chain);
                for expression in lower(rule, self.layer()) {
                    object.add_expr(&expression);
                }
                batch.add(&object, MsgType::Add);
            }
        }
    }
}

/// A transaction with nothing but the elements of these expectations.
pub(super) fn elements_alone(
    backend: Backend,
    expectations: &[MasteredExpectation],
) -> FinalizedBatch {
    let mut batch = Batch::new();
    put_elements(backend, expectations, &mut batch);
    batch.finalize()
}

/// An element that is there already stays. Linux 6.12 and later give it the new timeout.
fn put_elements(backend: Backend, expectations: &[MasteredExpectation], batch: &mut Batch) {
    let keeps = match backend {
        Backend::Nftables => elements,
        Backend::Conntrack => denied_iif_elements,
    };
    let kept = expectations.iter().filter_map(keeps);
    let mut elements = kept.flatten().flatten().peekable();
    while let Some(element) = elements.next() {
        let written = Written::add(element.layer, libc::NFT_MSG_NEWSETELEM, |buffer| {
            element.put_whole(buffer);
        });
        // Some hundred acknowledgements would not fit into the socket.
        let written = match elements.peek() {
            Some(_) => written,
            None => written.acknowledged(),
        };
        batch.add(&written, MsgType::Add);
    }
}

/// `NFT_TABLE_F_DORMANT`: somebody has switched the table off.
const DORMANT: u32 = 0x1;

/// `NFT_TABLE_F_OWNER`: only the socket that has made the table changes it (Linux 5.12).
pub(super) const OWNED: u32 = 0x2;

/// `NFT_TABLE_F_PERSIST`: the table outlives its owner (Linux 6.9).
pub(super) const PERSISTS: u32 = 0x4;

/// The message that makes a table, or takes one over.
pub(super) fn new_table(layer: Layer, name: &str, flags: u32) -> Written {
    Written::add(
        layer,
        libc::NFT_MSG_NEWTABLE,
        |buffer: &mut MessageBuffer| {
            buffer.put_name(NFTA_TABLE_NAME, name);
            buffer.put_u32(NFTA_TABLE_FLAGS, flags);
        },
    )
}

/// The message that deletes a table.
pub(super) fn delete_table(layer: Layer, name: &str) -> Written {
    Written::delete(layer, libc::NFT_MSG_DELTABLE, |buffer| {
        buffer.put_name(NFTA_TABLE_NAME, name);
    })
}

/// The table as libnftnl's objects refer to it.
fn table(layer: Layer) -> nftnl::Table {
    nftnl::Table::new(name(TABLE), protocol_family(layer))
}

fn helper_object(layer: Layer) -> object::Helper {
    object::Helper::of(layer, HelperObject::NAME, HELPER, TABLE)
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

fn name(name: &str) -> CString {
    CString::new(name).expect("our names contain no zero")
}
