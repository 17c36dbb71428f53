//! Completes the expectations that conntrackd brought from the gateway that worked before this
//! one (`docs/ha.md`): a thread of its own, since they come when no packet does.

use std::{
    sync::{Arc, atomic::Ordering},
    thread::JoinHandle,
};

use anyhow::Context;
use tracing::{debug, warn};

use super::worker::{STOP_POLL, Shared};
use crate::{
    io::{
        ctnetlink::{Conntrack, ConntrackExpectations, Newcomer, Newcomers, Translation},
        netlink::NetlinkError,
    },
    proto::expect::ExpectationId,
};

/// The thread's part of the kernel.
struct Adoption {
    newcomers: Newcomers,
    conntrack: Conntrack,
    expectations: ConntrackExpectations,
    shared: Arc<Shared>,
}

/// Starts the thread; it ends when the workers do.
///
/// # Errors
/// No netlink socket can be had, or no thread.
pub(super) fn start(shared: &Arc<Shared>) -> anyhow::Result<JoinHandle<()>> {
    let open = || -> Result<Adoption, NetlinkError> {
        Ok(Adoption {
            newcomers: Newcomers::listen(STOP_POLL)?,
            conntrack: Conntrack::open()?,
            expectations: ConntrackExpectations::open(Translation::FollowMaster)?,
            shared: Arc::clone(shared),
        })
    };
    let adoption = open().context("cannot listen for expectations of another gateway")?;
    std::thread::Builder::new()
        .name("adoption".to_owned())
        .spawn(move || adoption.run())
        .context("cannot start a thread")
}

impl Adoption {
    fn run(mut self) {
        let mut found = self.newcomers.list();
        while !self.shared.stop.load(Ordering::Acquire) {
            match found {
                Ok(newcomers) => newcomers.iter().for_each(|one| self.adopt(one)),
                Err(error) => {
                    warn!(%error, "expectations of another gateway cannot be heard of any more");
                    return;
                }
            }
            found = self.newcomers.wait();
        }
    }

    fn adopt(&mut self, newcomer: &Newcomer) {
        let master = match self.conntrack.resolve(&newcomer.master) {
            Ok(Some(entry)) => entry.tuples,
            Ok(None) => return,
            Err(error) => {
                warn!(%error, "conntrack could not be asked: an expectation stays incomplete");
                return;
            }
        };
        let timeout = self.shared.settings().expectation_timeout;
        let Some(expectation) = newcomer.complete(&master, timeout) else {
            debug!(?newcomer, "nothing to complete");
            return;
        };
        // A refusal is logged where it comes from.
        let id = ExpectationId(0);
        if self.expectations.expect(id, &expectation, &master).is_ok() {
            debug!(
                from = %expectation.source,
                to = %expectation.destination,
                translated_to = %expectation.translated_destination,
                "expectation of another gateway completed"
            );
        }
    }
}
