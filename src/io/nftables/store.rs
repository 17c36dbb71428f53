//! Adds and withdraws expectations: elements of our table's sets and maps.
//!
//! One transaction costs the worker some microseconds, so the messages are written into buffers
//! that are kept. A transaction that *fails* costs a thousand times as much (the kernel waits for
//! all readers before it undoes it): hence [`ExpectationStore::unexpect`] asks before it deletes.

use tracing::warn;

use super::{
    INET,
    element::{Element, elements, family_of},
    message,
};
use crate::{
    io::netlink::{MessageBuffer, MessageType, NetlinkError, Socket},
    proto::expect::{ExpectError, Expectation, ExpectationId},
    ruleset::Family,
};

const ADD: u16 = (libc::NLM_F_REQUEST | libc::NLM_F_CREATE | libc::NLM_F_EXCL) as u16;
const REQUEST: u16 = libc::NLM_F_REQUEST as u16;
const ACK: u16 = libc::NLM_F_ACK as u16;

/// A worker's connection to the expectation sets and maps.
#[derive(Debug)]
pub struct ExpectationStore {
    socket: Socket,
    buffer: MessageBuffer,
    /// How many expectations more are asked for before they are added.
    caution: u32,
}

/// After a clash so many expectations are asked for first: a peer that provokes clashes then
/// costs us one failed transaction in a thousand, and others pay nothing.
const CAUTION: u32 = 1000;

/// One change of an element.
#[derive(Clone, Copy)]
enum Change {
    Add,
    Delete,
}

impl ExpectationStore {
    /// Opens the connection. The table need not exist yet.
    ///
    /// # Errors
    /// When no netlink socket can be had.
    pub fn open() -> Result<Self, NetlinkError> {
        Ok(Self {
            socket: Socket::open()?,
            buffer: MessageBuffer::default(),
            caution: 0,
        })
    }

    /// Installs an expectation; it is in force when this returns.
    ///
    /// # Errors
    /// Nothing is in force then. [`ExpectError::Clash`] says that the same connection is expected
    /// already.
    pub fn expect(
        &mut self,
        id: ExpectationId,
        expectation: &Expectation,
    ) -> Result<(), ExpectError> {
        let elements = elements(expectation).ok_or(ExpectError::Other)?;
        if self.caution > 0 {
            self.caution -= 1;
            self.refuse_clash(id, &elements)?;
        }
        let add = elements
            .iter()
            .flatten()
            .map(|element| (Change::Add, *element));
        match self.commit(add) {
            Ok(()) => Ok(()),
            Err(error) if error.is(libc::EEXIST) || error.is(libc::EBUSY) => {
                self.expect_over_leftovers(id, &elements)
            }
            Err(error) => Err(refusal(id, &error)),
        }
    }

    /// Withdraws an expectation. Tells whether it was still unused.
    ///
    /// # Errors
    /// When the kernel refuses; the expectation then lives until its timeout.
    pub fn unexpect(
        &mut self,
        id: ExpectationId,
        expectation: &Expectation,
    ) -> Result<bool, ExpectError> {
        let elements = elements(expectation).ok_or(ExpectError::Other)?;
        let [Some(permission), maps @ ..] = elements else {
            return Ok(false);
        };
        let unused = self.has(&permission).map_err(|error| refusal(id, &error))?;
        let mut present = elements;
        if !unused {
            // Rules take used IPv4 elements out of the maps; those of IPv6 are left to us.
            if family_of(expectation) == Some(Family::Ipv4) {
                return Ok(false);
            }
            present = [None, maps[0], maps[1]];
            present = self
                .those_present(present)
                .map_err(|error| refusal(id, &error))?;
        }
        let delete = present
            .iter()
            .flatten()
            .map(|element| (Change::Delete, *element));
        match self.commit(delete) {
            Ok(()) => Ok(unused),
            // Its connection came, or its time was up, since we asked.
            Err(error) if error.is(libc::ENOENT) => Ok(false),
            Err(error) => Err(refusal(id, &error)),
        }
    }

    /// Installs where an element of the same key exists: that is a clash if it is the permission.
    /// Map elements alone are left over from a connection that was admitted and then dropped by
    /// another rule, and make way.
    fn expect_over_leftovers(
        &mut self,
        id: ExpectationId,
        elements: &[Option<Element<'_>>; 3],
    ) -> Result<(), ExpectError> {
        self.refuse_clash(id, elements)?;
        let present = self
            .those_present(*elements)
            .map_err(|error| refusal(id, &error))?;
        let delete = present
            .iter()
            .flatten()
            .map(|element| (Change::Delete, *element));
        let add = elements
            .iter()
            .flatten()
            .map(|element| (Change::Add, *element));
        self.commit(delete.chain(add))
            .map_err(|error| refusal(id, &error))
    }

    fn refuse_clash(
        &mut self,
        id: ExpectationId,
        elements: &[Option<Element<'_>>; 3],
    ) -> Result<(), ExpectError> {
        let Some(permission) = &elements[0] else {
            return Ok(());
        };
        if self.has(permission).map_err(|error| refusal(id, &error))? {
            self.caution = CAUTION;
            return Err(ExpectError::Clash);
        }
        Ok(())
    }

    fn those_present<'a>(
        &mut self,
        mut elements: [Option<Element<'a>>; 3],
    ) -> Result<[Option<Element<'a>>; 3], NetlinkError> {
        for slot in &mut elements {
            if let Some(element) = slot
                && !self.has(element)?
            {
                *slot = None;
            }
        }
        Ok(elements)
    }

    /// Whether the kernel has the element. No transaction, and no lock.
    fn has(&mut self, element: &Element<'_>) -> Result<bool, NetlinkError> {
        let sequence = self.socket.next_sequence();
        self.buffer.clear();
        self.buffer.begin(
            message(libc::NFT_MSG_GETSETELEM),
            REQUEST,
            sequence,
            INET,
            0,
        );
        element.put_key(&mut self.buffer);
        match self
            .socket
            .ask(self.buffer.as_bytes(), sequence, |_| Some(()))
        {
            Ok(()) => Ok(true),
            Err(error) if error.is(libc::ENOENT) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Applies all changes or none, acknowledged.
    fn commit<'a>(
        &mut self,
        changes: impl Iterator<Item = (Change, Element<'a>)>,
    ) -> Result<(), NetlinkError> {
        let first = self.socket.next_sequence();
        let resource = libc::NFNL_SUBSYS_NFTABLES as u16;
        self.buffer.clear();
        self.buffer
            .begin(MessageType::BATCH_BEGIN, REQUEST, first, 0, resource);
        let mut last = first;
        let mut changes = changes.peekable();
        while let Some((change, element)) = changes.next() {
            last = self.socket.next_sequence();
            // The acknowledgement of the last change is that of all.
            let ack = if changes.peek().is_none() { ACK } else { 0 };
            self.put(change, &element, last, ack);
        }
        if last == first {
            return Ok(());
        }
        self.buffer
            .begin(MessageType::BATCH_END, REQUEST, last, 0, resource);
        self.socket
            .acknowledged(self.buffer.as_bytes(), first, last)
    }

    fn put(&mut self, change: Change, element: &Element<'_>, sequence: u32, ack: u16) {
        let buffer = &mut self.buffer;
        match change {
            Change::Add => {
                buffer.begin(
                    message(libc::NFT_MSG_NEWSETELEM),
                    ADD | ack,
                    sequence,
                    INET,
                    0,
                );
                element.put_whole(buffer);
            }
            Change::Delete => {
                buffer.begin(
                    message(libc::NFT_MSG_DELSETELEM),
                    REQUEST | ack,
                    sequence,
                    INET,
                    0,
                );
                element.put_key(buffer);
            }
        }
    }
}

/// The core's name for the kernel's refusal.
fn refusal(id: ExpectationId, error: &NetlinkError) -> ExpectError {
    let reason = match error.errno() {
        Some(libc::EEXIST | libc::EBUSY) => ExpectError::Clash,
        Some(libc::ENFILE | libc::ENOSPC) => ExpectError::TableFull,
        Some(libc::ENOMEM | libc::ENOBUFS) => ExpectError::NoMemory,
        Some(libc::EPERM | libc::EACCES) => ExpectError::NotPermitted,
        Some(libc::ENOENT) => ExpectError::Gone,
        Some(_) | None => ExpectError::Other,
    };
    warn!(expectation = id.0, reason = reason.as_str(), %error, "expectation refused");
    reason
}
