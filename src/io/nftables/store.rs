//! Adds and withdraws expectations: elements of our table's sets and maps.
//!
//! One transaction costs the worker some microseconds, so withdrawals wait for the next one. A
//! transaction that *fails* costs a thousand times as much, because the kernel waits for all
//! readers before it undoes the changes. Hence the store deletes only elements that this process
//! has added, before they expire.

mod usage;

use std::sync::MutexGuard;

use tracing::warn;

use super::{
    SUBSYSTEM, TableOwner,
    element::{Element, Elements, denied_iif_elements, elements},
    mastered::{Master, MasteredExpectation},
    message,
    owner::Held,
};
use crate::{
    io::{
        clock,
        netlink::{Batch, NetlinkError, flags},
        refusal::refusal,
    },
    proto::expect::{ExpectError, Expectation, ExpectationId},
};

/// How many withdrawals wait for the next transaction at most.
const PENDING_DELETES_MAX: usize = 32;

/// A worker's way to the expectation sets and maps.
#[derive(Debug)]
pub struct ExpectationStore {
    owner: TableOwner,
    /// The elements of an expectation that this store keeps.
    elements: fn(&MasteredExpectation) -> Option<Elements<'_>>,
}

/// One change of an element.
#[derive(Clone, Copy)]
enum Change {
    Add,
    Delete,
}

impl ExpectationStore {
    /// The store of the table's owner.
    #[must_use]
    pub const fn new(owner: TableOwner) -> Self {
        Self { owner, elements }
    }

    /// The same for expectations that the kernel itself has: only their denied interfaces are kept.
    #[must_use]
    pub const fn of_denied_iif(owner: TableOwner) -> Self {
        Self {
            owner,
            elements: denied_iif_elements,
        }
    }

    /// Installs an expectation, and deletes the withdrawn ones. Both are in force when this
    /// returns. An older expectation of the same connection makes way, because the newest
    /// announcement counts.
    ///
    /// # Errors
    /// Nothing is installed then.
    pub fn expect(
        &mut self,
        id: ExpectationId,
        expectation: &Expectation,
        master: Master,
    ) -> Result<(), ExpectError> {
        let mastered = MasteredExpectation {
            master,
            expectation: *expectation,
            is_repeated: false,
        };
        let added = (self.elements)(&mastered).ok_or(ExpectError::Other)?;
        let mut held = self.owner.lock();
        let now = clock::now();
        let mut deletes = std::mem::take(&mut held.pending_deletes);
        deletes.extend(held.live.older(expectation, now));
        let changes = deletions(self.elements, &deletes).chain(additions(&added));
        let result = match held.commit(changes) {
            Err(error) if is_conflict(&error) => {
                self.delete_present(&mut held, &deletes);
                self.expect_over_leftovers(&mut held, &added)
            }
            other => other,
        };
        match &result {
            Ok(()) => {
                held.live.insert(id, mastered, now);
                deletes.clear();
            }
            // Nothing was deleted.
            Err(error) if !is_conflict(error) => {}
            Err(_) => deletes.clear(),
        }
        held.pending_deletes = deletes;
        self.owner.note_pending_deletes(&held);
        result.map_err(|error| refusal(id, &error))
    }

    /// Withdraws an expectation, used or not, unless another session has announced the same
    /// connection since. The next [`expect`](Self::expect) or [`flush`](Self::flush) deletes it.
    pub fn unexpect(&mut self, id: ExpectationId, expectation: &Expectation) {
        let mut held = self.owner.lock();
        let Some(removed) = held.live.remove(id, expectation, clock::now()) else {
            return;
        };
        held.pending_deletes.push(removed);
        if held.pending_deletes.len() >= PENDING_DELETES_MAX {
            self.flush_held(&mut held);
        }
        self.owner.note_pending_deletes(&held);
    }

    /// Whether withdrawn expectations are not deleted yet.
    #[must_use]
    pub fn has_pending_deletes(&self) -> bool {
        self.owner.has_pending_deletes()
    }

    /// Deletes the withdrawn expectations.
    pub fn flush(&mut self) {
        if self.has_pending_deletes() {
            let mut held = self.owner.lock();
            self.flush_held(&mut held);
            self.owner.note_pending_deletes(&held);
        }
    }

    fn flush_held(&self, held: &mut MutexGuard<'_, Held>) {
        let mut deletes = std::mem::take(&mut held.pending_deletes);
        if held.commit(deletions(self.elements, &deletes)).is_err() {
            self.delete_present(held, &deletes);
        }
        deletes.clear();
        held.pending_deletes = deletes;
    }

    /// Deletes one after the other, and asks first, because some are gone already.
    fn delete_present(&self, held: &mut MutexGuard<'_, Held>, deletes: &[MasteredExpectation]) {
        for one in deletes {
            let Some(elements) = (self.elements)(one) else {
                continue;
            };
            let deleted = held.existing(elements).and_then(|present| {
                let present = present.iter().flatten();
                held.commit(present.map(|element| (Change::Delete, *element)))
            });
            if let Err(error) = deleted {
                warn!(%error, "an expectation was not withdrawn: it expires by itself");
            }
        }
    }

    /// Installs an expectation although elements of the same key exist, which another process has
    /// left there.
    fn expect_over_leftovers(
        &self,
        held: &mut MutexGuard<'_, Held>,
        added: &Elements<'_>,
    ) -> Result<(), NetlinkError> {
        let present = held.existing(*added)?;
        let present = present.iter().flatten();
        let deletes = present.map(|element| (Change::Delete, *element));
        held.commit(deletes.chain(additions(added)))
    }
}

impl Held {
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

    /// Whether the kernel has the element. This needs no transaction.
    fn has(&mut self, element: &Element<'_>) -> Result<bool, NetlinkError> {
        let found = self.socket.ask(
            message(element.layer, libc::NFT_MSG_GETSETELEM),
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
                message(element.layer, libc::NFT_MSG_NEWSETELEM).with(flags::CREATE | flags::EXCL),
                |buffer| element.put_whole(buffer),
            ),
            Self::Delete => batch.add(message(element.layer, libc::NFT_MSG_DELSETELEM), |buffer| {
                element.put_key(buffer)
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
    keeps: fn(&MasteredExpectation) -> Option<Elements<'_>>,
    pending_deletes: &[MasteredExpectation],
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
