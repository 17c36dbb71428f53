//! Adds and withdraws expectations: elements of our table's sets and maps.
//!
//! One transaction costs the worker some microseconds, so withdrawals wait for the next one. A
//! transaction that *fails* costs a thousand times as much, because the kernel waits for all
//! readers before it undoes the changes. Hence the store deletes only elements that it has added,
//! before they expire.

use tracing::warn;

use super::{
    SUBSYSTEM,
    element::{Element, Elements, denied_iif_elements, elements},
    message,
};
use crate::{
    io::{
        netlink::{Batch, NetlinkError, Socket, flags},
        refusal::refusal,
    },
    proto::expect::{ExpectError, Expectation, ExpectationId},
};

/// How many withdrawals wait for the next transaction at most.
const PENDING_DELETES_MAX: usize = 32;

/// A worker's connection to the expectation sets and maps.
#[derive(Debug)]
pub struct ExpectationStore {
    socket: Socket,
    /// The withdrawn expectations, which the next transaction deletes.
    pending_deletes: Vec<Expectation>,
    /// For how many more expectations the store asks before it adds them.
    probe_first_remaining: u32,
    /// The elements of an expectation that this store keeps.
    elements: fn(&Expectation) -> Option<Elements<'_>>,
}

/// How many expectations the store asks for first after a clash. A peer that provokes clashes then
/// costs us one failed transaction in a thousand, and others cost nothing.
const PROBE_FIRST: u32 = 1000;

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
            pending_deletes: Vec::new(),
            probe_first_remaining: 0,
            elements,
        })
    }

    /// The same for expectations that the kernel itself has: only their denied interfaces are kept.
    ///
    /// # Errors
    /// When no netlink socket can be had.
    pub fn open_denied_iif() -> Result<Self, NetlinkError> {
        Ok(Self {
            elements: denied_iif_elements,
            ..Self::open()?
        })
    }

    /// Installs an expectation, and deletes the withdrawn ones. Both are in force when this
    /// returns.
    ///
    /// # Errors
    /// Nothing is installed then. [`ExpectError::Clash`] says that the same connection is
    /// expected already.
    pub fn expect(
        &mut self,
        id: ExpectationId,
        expectation: &Expectation,
    ) -> Result<(), ExpectError> {
        let elements = (self.elements)(expectation).ok_or(ExpectError::Other)?;
        if self.probe_first_remaining > 0 {
            self.probe_first_remaining -= 1;
            self.flush();
            self.refuse_clash(id, &elements)?;
        }
        let pending_deletes = std::mem::take(&mut self.pending_deletes);
        let keeps = self.elements;
        let result = self.commit(deletions(keeps, &pending_deletes).chain(additions(&elements)));
        match result {
            Ok(()) => {
                self.keep_allocation(pending_deletes);
                Ok(())
            }
            Err(error) if is_conflict(&error) => {
                self.delete_present(&pending_deletes);
                self.expect_over_leftovers(id, &elements)
            }
            Err(error) => {
                self.pending_deletes = pending_deletes;
                Err(refusal(id, &error))
            }
        }
    }

    /// Withdraws an expectation, used or not. The next [`expect`](Self::expect) or
    /// [`flush`](Self::flush) deletes it.
    pub fn unexpect(&mut self, expectation: Expectation) {
        self.pending_deletes.push(expectation);
        if self.pending_deletes.len() >= PENDING_DELETES_MAX {
            self.flush();
        }
    }

    /// Whether withdrawn expectations are not deleted yet.
    #[must_use]
    pub fn has_pending_deletes(&self) -> bool {
        !self.pending_deletes.is_empty()
    }

    /// Deletes the withdrawn expectations.
    pub fn flush(&mut self) {
        let pending_deletes = std::mem::take(&mut self.pending_deletes);
        let keeps = self.elements;
        if self.commit(deletions(keeps, &pending_deletes)).is_err() {
            self.delete_present(&pending_deletes);
        }
        self.keep_allocation(pending_deletes);
    }

    /// Deletes one after the other, and asks first, because some are gone already.
    fn delete_present(&mut self, pending_deletes: &[Expectation]) {
        for expectation in pending_deletes {
            let Some(elements) = (self.elements)(expectation) else {
                continue;
            };
            let deleted = self.existing(elements).and_then(|present| {
                self.commit(
                    present
                        .iter()
                        .flatten()
                        .map(|element| (Change::Delete, *element)),
                )
            });
            if let Err(error) = deleted {
                warn!(%error, "an expectation was not withdrawn: it expires by itself");
            }
        }
    }

    fn keep_allocation(&mut self, mut pending_deletes: Vec<Expectation>) {
        pending_deletes.clear();
        self.pending_deletes = pending_deletes;
    }

    /// Installs an expectation although an element of the same key exists. A permission is a clash.
    /// A map element is left over, because it lives a moment longer than its permission: it makes
    /// way.
    fn expect_over_leftovers(
        &mut self,
        id: ExpectationId,
        elements: &Elements<'_>,
    ) -> Result<(), ExpectError> {
        self.refuse_clash(id, elements)?;
        let present = self
            .existing(*elements)
            .map_err(|error| refusal(id, &error))?;
        let delete = present
            .iter()
            .flatten()
            .map(|element| (Change::Delete, *element));
        self.commit(delete.chain(additions(elements)))
            .map_err(|error| refusal(id, &error))
    }

    fn refuse_clash(
        &mut self,
        id: ExpectationId,
        elements: &Elements<'_>,
    ) -> Result<(), ExpectError> {
        let Some(permission) = &elements[0] else {
            return Ok(());
        };
        if self.has(permission).map_err(|error| refusal(id, &error))? {
            self.probe_first_remaining = PROBE_FIRST;
            return Err(ExpectError::Clash);
        }
        Ok(())
    }

    fn existing<'a>(&mut self, mut elements: Elements<'a>) -> Result<Elements<'a>, NetlinkError> {
        for slot in &mut elements {
            if let Some(element) = slot
                && !self.has(element)?
            {
                *slot = None;
            }
        }
        Ok(elements)
    }

    /// Whether the kernel has the element. This needs no transaction and no lock.
    fn has(&mut self, element: &Element<'_>) -> Result<bool, NetlinkError> {
        let found = self.socket.ask(
            message(libc::NFT_MSG_GETSETELEM),
            |buffer| element.put_key(buffer),
            |_| Some(()),
        )?;
        Ok(found.is_some())
    }

    /// Applies all changes or none, acknowledged.
    fn commit<'a>(
        &mut self,
        changes: impl Iterator<Item = (Change, Element<'a>)>,
    ) -> Result<(), NetlinkError> {
        self.socket.transaction(SUBSYSTEM, |batch| {
            changes.for_each(|(change, element)| change.put(&element, batch));
        })
    }
}

impl Change {
    fn put(self, element: &Element<'_>, batch: &mut Batch<'_>) {
        match self {
            Self::Add => batch.add(
                message(libc::NFT_MSG_NEWSETELEM).with(flags::CREATE | flags::EXCL),
                |buffer| element.put_whole(buffer),
            ),
            Self::Delete => batch.add(message(libc::NFT_MSG_DELSETELEM), |buffer| {
                element.put_key(buffer);
            }),
        }
    }
}

fn additions<'a>(elements: &'a Elements<'a>) -> impl Iterator<Item = (Change, Element<'a>)> {
    elements
        .iter()
        .flatten()
        .map(|element| (Change::Add, *element))
}

fn deletions(
    keeps: fn(&Expectation) -> Option<Elements<'_>>,
    pending_deletes: &[Expectation],
) -> impl Iterator<Item = (Change, Element<'_>)> {
    pending_deletes
        .iter()
        .filter_map(keeps)
        .flatten()
        .flatten()
        .map(|element| (Change::Delete, element))
}

/// An element to add exists already, or an element to delete does not exist.
fn is_conflict(error: &NetlinkError) -> bool {
    [libc::EEXIST, libc::EBUSY, libc::ENOENT]
        .into_iter()
        .any(|errno| error.is(errno))
}
