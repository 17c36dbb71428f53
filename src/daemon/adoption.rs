//! Completes the expectations that conntrackd brought from the gateway that worked before this
//! one (`docs/ha.md`).

use std::time::Duration;

use anyhow::Context;

use crate::{
    io::{
        ctnetlink::{
            ChildNat, Conntrack, ConntrackExpectations, ImportedExpectation, list_imported,
        },
        netlink::NetlinkError,
    },
    proto::expect::ExpectationId,
};

/// The result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Adopted {
    /// How many expectations have their translation now.
    pub completed: usize,
    /// How many the kernel refused, for a reason that was logged.
    pub refused: usize,
}

/// Completes all that are there; each then waits for `timeout`.
///
/// # Errors
/// Conntrack cannot be asked.
pub fn adopt(timeout: Duration) -> anyhow::Result<Adopted> {
    let imported = list_imported().context("cannot list expectations")?;
    let mut conntrack = Conntrack::open().context("cannot open a socket to conntrack")?;
    let mut expectations = ConntrackExpectations::open(ChildNat::FollowMaster)
        .context("cannot open a socket to conntrack")?;
    let mut adopted = Adopted::default();
    for one in &imported {
        let completed = complete(one, timeout, &mut conntrack, &mut expectations)
            .context("cannot ask conntrack for a control connection")?;
        match completed {
            Some(true) => adopted.completed += 1,
            Some(false) => adopted.refused += 1,
            None => {}
        }
    }
    Ok(adopted)
}

/// `None` if there is nothing to complete.
fn complete(
    imported: &ImportedExpectation,
    timeout: Duration,
    conntrack: &mut Conntrack,
    expectations: &mut ConntrackExpectations,
) -> Result<Option<bool>, NetlinkError> {
    let Some(master) = conntrack.resolve(&imported.master)? else {
        return Ok(None);
    };
    let Some(expectation) = imported.complete(&master.tuples, timeout) else {
        return Ok(None);
    };
    let id = ExpectationId(0);
    let taken = expectations.expect(id, &expectation, &master.tuples);
    Ok(Some(taken.is_ok()))
}
