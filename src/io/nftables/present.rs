//! What the kernel has of our table.

use super::{hook_number, lower::NFT_OBJECT_CT_HELPER, message, set::SetShape};
use crate::{
    io::netlink::{Attributes, NetlinkError, Socket},
    proto::net::Layer,
    ruleset::{Chain, ChainType, HELPER, HelperObject, TABLE},
};

const NFTA_TABLE_NAME: u16 = 1;
const NFTA_TABLE_FLAGS: u16 = 2;
const NFTA_CHAIN_TABLE: u16 = 1;
const NFTA_CHAIN_NAME: u16 = 3;
const NFTA_CHAIN_HOOK: u16 = 4;
const NFTA_CHAIN_POLICY: u16 = 5;
const NFTA_CHAIN_TYPE: u16 = 7;
const NFTA_HOOK_HOOKNUM: u16 = 1;
const NFTA_HOOK_PRIORITY: u16 = 2;
const NFTA_SET_TABLE: u16 = 1;
const NFTA_SET_NAME: u16 = 2;
const NFTA_OBJ_TABLE: u16 = 1;
const NFTA_OBJ_NAME: u16 = 2;
const NFTA_OBJ_TYPE: u16 = 3;
const NFTA_OBJ_DATA: u16 = 4;
const NFTA_CT_HELPER_NAME: u16 = 1;
const NFT_MSG_GETOBJ: i32 = 19;

/// The parts of our table, whoever loaded it.
#[derive(Debug)]
pub(super) struct PresentTable {
    /// `NFT_TABLE_F_*`.
    pub(super) flags: u32,
    pub(super) chains: Vec<PresentChain>,
    pub(super) sets: Vec<(String, SetShape)>,
    pub(super) helper: Option<PresentHelper>,
}

/// A chain. Without a hook others jump to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PresentChain {
    pub(super) name: String,
    hook: Option<PresentHook>,
}

/// Where and as what a base chain is called.
#[derive(Clone, Debug, PartialEq, Eq)]
struct PresentHook {
    number: u32,
    priority: i32,
    chain_type: String,
    accepts: bool,
}

impl PresentChain {
    /// Whether the kernel calls it as it would call this one.
    pub(super) fn has_hook_of(&self, wanted: &Chain) -> bool {
        let hook = wanted.hook.map(|hook| PresentHook {
            number: hook_number(hook.name) as u32,
            priority: hook.priority,
            chain_type: match hook.chain_type {
                ChainType::Filter => "filter",
                ChainType::Nat => "nat",
            }
            .to_owned(),
            accepts: true,
        });
        self.hook == hook
    }

    fn parse(attributes: &Attributes<'_>) -> Option<Self> {
        let hook = attributes.within(NFTA_CHAIN_HOOK).and_then(|hook| {
            Some(PresentHook {
                number: hook.u32(NFTA_HOOK_HOOKNUM)?,
                priority: hook.u32(NFTA_HOOK_PRIORITY)?.cast_signed(),
                chain_type: attributes.name(NFTA_CHAIN_TYPE)?.to_owned(),
                accepts: attributes.u32(NFTA_CHAIN_POLICY) == Some(libc::NF_ACCEPT as u32),
            })
        });
        Some(Self {
            name: attributes.name(NFTA_CHAIN_NAME)?.to_owned(),
            hook,
        })
    }
}

/// The object that attaches a connection tracking helper.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PresentHelper {
    /// It attaches ours.
    Ours,
    /// It attaches another one.
    Other,
}

impl PresentTable {
    /// Reads those of the table of a layer; `None` where there is no table of our name.
    pub(super) fn read(socket: &mut Socket, layer: Layer) -> Result<Option<Self>, NetlinkError> {
        let found = socket.ask(
            message(layer, libc::NFT_MSG_GETTABLE),
            |buffer| buffer.put_name(NFTA_TABLE_NAME, TABLE),
            |answer| Some(answer.attributes().u32(NFTA_TABLE_FLAGS).unwrap_or(0)),
        )?;
        let Some(flags) = found else { return Ok(None) };
        Ok(Some(Self {
            flags,
            chains: chains(socket, layer)?,
            sets: sets(socket, layer)?,
            helper: helper(socket, layer)?,
        }))
    }

    /// The chain of this name.
    pub(super) fn chain(&self, name: &str) -> Option<&PresentChain> {
        self.chains.iter().find(|chain| chain.name == name)
    }

    /// The shape of the set of this name.
    pub(super) fn shape_of(&self, name: &str) -> Option<SetShape> {
        let found = self.sets.iter().find(|(found, _)| found == name);
        found.map(|(_, shape)| *shape)
    }
}

/// The kernel lists those of all tables.
fn chains(socket: &mut Socket, layer: Layer) -> Result<Vec<PresentChain>, NetlinkError> {
    let mut chains = Vec::new();
    socket.list(
        message(layer, libc::NFT_MSG_GETCHAIN),
        |_| {},
        |answer| {
            let attributes = answer.attributes();
            if attributes.name(NFTA_CHAIN_TABLE) == Some(TABLE) {
                chains.extend(PresentChain::parse(&attributes));
            }
        },
    )?;
    Ok(chains)
}

fn sets(socket: &mut Socket, layer: Layer) -> Result<Vec<(String, SetShape)>, NetlinkError> {
    let mut sets = Vec::new();
    socket.list(
        message(layer, libc::NFT_MSG_GETSET),
        |buffer| buffer.put_name(NFTA_SET_TABLE, TABLE),
        |answer| {
            let attributes = answer.attributes();
            let shape = SetShape::parse(&attributes);
            // An anonymous set belongs to its rule, and goes with it.
            if attributes.name(NFTA_SET_TABLE) == Some(TABLE)
                && !shape.is_anonymous()
                && let Some(name) = attributes.name(NFTA_SET_NAME)
            {
                sets.push((name.to_owned(), shape));
            }
        },
    )?;
    Ok(sets)
}

/// The object by which a table of our name attaches a helper, whoever loaded it.
///
/// # Errors
/// When nf_tables cannot be asked.
pub(super) fn helper(
    socket: &mut Socket,
    layer: Layer,
) -> Result<Option<PresentHelper>, NetlinkError> {
    socket.ask(
        message(layer, NFT_MSG_GETOBJ),
        |buffer| {
            buffer.put_name(NFTA_OBJ_TABLE, TABLE);
            buffer.put_name(NFTA_OBJ_NAME, HelperObject::NAME);
            buffer.put_u32(NFTA_OBJ_TYPE, NFT_OBJECT_CT_HELPER);
        },
        |answer| {
            let data = answer.attributes().within(NFTA_OBJ_DATA)?;
            Some(match data.name(NFTA_CT_HELPER_NAME) {
                Some(HELPER) => PresentHelper::Ours,
                Some(_) | None => PresentHelper::Other,
            })
        },
    )
}
