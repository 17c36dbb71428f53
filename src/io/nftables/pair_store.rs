//! The pairs of hosts with an encrypted session: elements of two sets of our table.
//!
//! The first packet of a data connection between the two is queued, if it goes to a port of the
//! configured range. An element opens nothing by itself: one that is left over costs a look at such
//! packets.

use std::net::IpAddr;

use super::{
    SUBSYSTEM, TableOwner,
    element::{
        NFTA_DATA_VALUE, NFTA_LIST_ELEM, NFTA_SET_ELEM_KEY, NFTA_SET_ELEM_LIST_ELEMENTS,
        NFTA_SET_ELEM_LIST_SET, NFTA_SET_ELEM_LIST_TABLE,
    },
    message,
};
use crate::{
    io::netlink::{Head, MessageBuffer, NetlinkError, flags},
    proto::{ftps::HostPair, net::Layer},
    ruleset::{Family, SetKind, TABLE},
};

/// A worker's way to the sets of pairs.
#[derive(Debug)]
pub struct PairStore(TableOwner);

impl PairStore {
    /// The store of the table's owner.
    #[must_use]
    pub const fn new(owner: TableOwner) -> Self {
        Self(owner)
    }

    /// Adds a pair; one that is there already stays.
    ///
    /// # Errors
    /// When the kernel refuses: ENOENT where the loaded table has no such set.
    pub fn add(&mut self, pair: HostPair) -> Result<(), NetlinkError> {
        self.change(ADD, pair)
    }

    /// Removes a pair, if it is there.
    ///
    /// # Errors
    /// When the kernel refuses. It is no error if the table or the set is gone.
    pub fn remove(&mut self, pair: HostPair) -> Result<(), NetlinkError> {
        unless_gone(self.change(DELETE, pair))
    }

    /// Removes every pair.
    ///
    /// # Errors
    /// When the kernel refuses. It is no error if the table or a set is absent.
    pub fn flush(&mut self) -> Result<(), NetlinkError> {
        Family::BOTH
            .into_iter()
            .try_for_each(|family| unless_gone(self.commit(DELETE, family, |_| {})))
    }

    fn change(&mut self, head: Head, pair: HostPair) -> Result<(), NetlinkError> {
        match family_of(pair) {
            Some(family) => self.commit(head, family, |buffer| put_pair(buffer, pair)),
            None => Ok(()),
        }
    }

    /// Changes the elements that `write` names, or all of them.
    fn commit(
        &mut self,
        head: Head,
        family: Family,
        write: impl FnOnce(&mut MessageBuffer),
    ) -> Result<(), NetlinkError> {
        self.0.lock().socket.transaction(SUBSYSTEM, |batch| {
            batch.add(head, |buffer| {
                buffer.put_name(NFTA_SET_ELEM_LIST_TABLE, TABLE);
                buffer.put_name(NFTA_SET_ELEM_LIST_SET, SetKind::FtpsPairs(family).name());
                write(buffer);
            });
        })
    }
}

const ADD: Head = message(Layer::Routed, libc::NFT_MSG_NEWSETELEM).with(flags::CREATE);
const DELETE: Head = message(Layer::Routed, libc::NFT_MSG_DELSETELEM);

fn unless_gone(result: Result<(), NetlinkError>) -> Result<(), NetlinkError> {
    match result {
        Err(error) if error.is(libc::ENOENT) => Ok(()),
        other => other,
    }
}

/// The family of both hosts. `None` if they differ, as those of no connection do.
fn family_of(pair: HostPair) -> Option<Family> {
    match (pair.client, pair.server) {
        (IpAddr::V4(_), IpAddr::V4(_)) => Some(Family::Ipv4),
        (IpAddr::V6(_), IpAddr::V6(_)) => Some(Family::Ipv6),
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => None,
    }
}

fn put_pair(buffer: &mut MessageBuffer, pair: HostPair) {
    buffer.nest(NFTA_SET_ELEM_LIST_ELEMENTS, |buffer| {
        buffer.nest(NFTA_LIST_ELEM, |buffer| {
            buffer.nest(NFTA_SET_ELEM_KEY, |buffer| {
                buffer.put_addresses(NFTA_DATA_VALUE, &[pair.client, pair.server], &[]);
            });
        });
    });
}
