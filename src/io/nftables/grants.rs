//! Who is granted data connections: elements of two sets of our table, a pair of addresses each.
//!
//! A first packet from the one to the other, within the granted ports, is queued. An element opens
//! nothing by itself: one that is left over costs a look at such packets.

use std::net::IpAddr;

use super::{
    INET,
    element::{
        NFTA_DATA_VALUE, NFTA_LIST_ELEM, NFTA_SET_ELEM_KEY, NFTA_SET_ELEM_LIST_ELEMENTS,
        NFTA_SET_ELEM_LIST_SET, NFTA_SET_ELEM_LIST_TABLE,
    },
    message,
};
use crate::{
    io::netlink::{MessageBuffer, MessageType, NetlinkError, Socket},
    proto::tls::HostPair,
    ruleset::{Family, SetKind, TABLE},
};

const REQUEST: u16 = libc::NLM_F_REQUEST as u16;
const ACK: u16 = libc::NLM_F_ACK as u16;
const CREATE: u16 = libc::NLM_F_CREATE as u16;

/// A worker's connection to the sets of grants.
#[derive(Debug)]
pub struct GrantStore {
    socket: Socket,
    buffer: MessageBuffer,
}

impl GrantStore {
    /// Opens the connection. The table need not exist yet.
    ///
    /// # Errors
    /// When no netlink socket can be had.
    pub fn open() -> Result<Self, NetlinkError> {
        Ok(Self {
            socket: Socket::open()?,
            buffer: MessageBuffer::default(),
        })
    }

    /// Adds a pair; one that is there already stays.
    ///
    /// # Errors
    /// When the kernel refuses: ENOENT where the loaded table has no such set.
    pub fn add(&mut self, pair: HostPair) -> Result<(), NetlinkError> {
        self.change(libc::NFT_MSG_NEWSETELEM, CREATE, pair)
    }

    /// Takes a pair out, if it is there.
    ///
    /// # Errors
    /// When the kernel refuses; the table or the set being gone is none.
    pub fn remove(&mut self, pair: HostPair) -> Result<(), NetlinkError> {
        match self.change(libc::NFT_MSG_DELSETELEM, 0, pair) {
            Err(error) if error.is(libc::ENOENT) => Ok(()),
            other => other,
        }
    }

    /// Takes every pair out.
    ///
    /// # Errors
    /// When the kernel refuses; the table or a set being absent is none.
    pub fn flush(&mut self) -> Result<(), NetlinkError> {
        for set in Family::BOTH.map(|family| SetKind::Grants(family).name()) {
            match self.commit(libc::NFT_MSG_DELSETELEM, 0, (set, None)) {
                Err(error) if !error.is(libc::ENOENT) => return Err(error),
                Ok(()) | Err(_) => {}
            }
        }
        Ok(())
    }

    fn change(&mut self, request: i32, flags: u16, pair: HostPair) -> Result<(), NetlinkError> {
        match set_of(pair) {
            Some(set) => self.commit(request, flags, (set, Some(pair))),
            None => Ok(()),
        }
    }

    /// Changes one element of a set, or all of them.
    fn commit(
        &mut self,
        request: i32,
        flags: u16,
        (set, pair): (&str, Option<HostPair>),
    ) -> Result<(), NetlinkError> {
        let first = self.socket.next_sequence();
        let resource = libc::NFNL_SUBSYS_NFTABLES as u16;
        self.buffer.clear();
        self.buffer
            .begin(MessageType::BATCH_BEGIN, REQUEST, first, 0, resource);
        let last = self.socket.next_sequence();
        let flags = REQUEST | ACK | flags;
        self.buffer.begin(message(request), flags, last, INET, 0);
        self.buffer.put_name(NFTA_SET_ELEM_LIST_TABLE, TABLE);
        self.buffer.put_name(NFTA_SET_ELEM_LIST_SET, set);
        if let Some(pair) = pair {
            put_pair(&mut self.buffer, pair);
        }
        self.buffer
            .begin(MessageType::BATCH_END, REQUEST, last, 0, resource);
        self.socket
            .acknowledged(self.buffer.as_bytes(), first, last)
    }
}

/// The set of a pair's family; none where the two differ, which no connection can have.
fn set_of(pair: HostPair) -> Option<&'static str> {
    let family = match (pair.client, pair.server) {
        (IpAddr::V4(_), IpAddr::V4(_)) => Family::Ipv4,
        (IpAddr::V6(_), IpAddr::V6(_)) => Family::Ipv6,
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => return None,
    };
    Some(SetKind::Grants(family).name())
}

fn put_pair(buffer: &mut MessageBuffer, pair: HostPair) {
    buffer.nest(NFTA_SET_ELEM_LIST_ELEMENTS, |buffer| {
        buffer.nest(NFTA_LIST_ELEM, |buffer| {
            buffer.nest(NFTA_SET_ELEM_KEY, |buffer| {
                match (pair.client, pair.server) {
                    (IpAddr::V4(client), IpAddr::V4(server)) => {
                        buffer.put_parts(NFTA_DATA_VALUE, &[&client.octets(), &server.octets()])
                    }
                    (IpAddr::V6(client), IpAddr::V6(server)) => {
                        buffer.put_parts(NFTA_DATA_VALUE, &[&client.octets(), &server.octets()])
                    }
                    // `set_of` admits one family only.
                    (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => {}
                }
            });
        });
    });
}
