//! The core's port to this machine's kernel: conntrack, expectations, labels and grants over
//! netlink.
//!
//! A failure is logged here, where its cause is known. The core learns what it needs to decide.

use std::{sync::Arc, time::Duration};

use tracing::{debug, warn};

use super::{
    flow_store::FlowStore, inheritance::Inheritance, unlabelled::Unlabelled, zones::Zones,
};
use crate::{
    io::{
        clock,
        ctnetlink::{AttachedHelper, Conntrack, ConntrackEntry, SEARCHES_A_SECOND, TcpState},
        expectations::Expectations,
        netlink::NetlinkError,
        nftables::PairStore,
    },
    proto::{
        budget::TokenBucket,
        expect::{ExpectError, Expectation, ExpectationId},
        ftps::HostPair,
        kernel::{
            InheritedPinhole, Kernel, LookUpError, MarkError, Outcome, Renewal, SetLiberalError,
            TrackedConnection, WhenKernelHelps,
        },
        net::{ConntrackTuples, Direction, Layer, Tuple},
        saved_flow::SavedFlow,
        session::Withdrawal,
        shared::SharedTables,
    },
    ruleset::{Label, Labels},
};

/// What follows where a connection cannot be labelled.
const ENCRYPTED_STAYS: &str = "an encrypted connection stays in the queue";
const LEFT_ALONE_STAYS: &str = "a connection that is left alone stays in the queue";

/// What one worker asks of the kernel.
pub(super) struct KernelPort {
    /// Conntrack entries.
    pub(super) conntrack: Conntrack,
    /// Expectations.
    pub(super) expectations: Expectations,
    /// The sets of pairs whose first packets are queued, where anybody may be granted something.
    pub(super) grants: Option<PairStore>,
    /// The flows that earlier processes saved.
    pub(super) flow_store: Arc<FlowStore>,
    /// The tables that all workers share.
    pub(super) shared: Arc<SharedTables>,
    /// What an earlier process has left in force.
    pub(super) inheritance: Arc<Inheritance>,
    /// The bits of the conntrack label that are ours.
    pub(super) labels: Labels,
    /// The connections that cannot have one.
    pub(super) unlabelled: Unlabelled,
    /// Searches for data connections that may have been stopped.
    pub(super) searches: TokenBucket,
    /// The zones of packets.
    pub(super) zones: Zones,
    /// Where the packet at hand is seen.
    pub(super) layer: Layer,
    /// What becomes of connections that the kernel's own helper reads.
    pub(super) when_kernel_helps: WhenKernelHelps,
}

impl Kernel for KernelPort {
    fn look_up(&mut self, tuple: Tuple) -> Result<Option<TrackedConnection>, LookUpError> {
        match self.resolve(&tuple) {
            Ok(Some(entry)) => Ok(Some(self.tracked(&entry))),
            Ok(None) if self.zones.may_search(clock::now()) => {
                let found = self.search_in_any_zone(&tuple);
                let found = found.map_err(|error| warn_unread(&tuple, &error))?;
                Ok(found.map(|entry| self.tracked(&entry)))
            }
            Ok(None) if self.zones.may_be_elsewhere() => Err(LookUpError::Postponed),
            Ok(None) => Ok(None),
            Err(error) => Err(warn_unread(&tuple, &error)),
        }
    }

    fn load(&mut self, tuples: &ConntrackTuples) -> Option<SavedFlow> {
        self.flow_store.load(tuples)
    }

    fn set_liberal(&mut self, tuples: &ConntrackTuples) -> Result<(), SetLiberalError> {
        let result = self.conntrack.set_liberal(tuples, self.labels.adjust);
        result.map_err(|error| {
            if has_no_room(&error) {
                self.unlabelled
                    .warn(tuples, "no announcement can be translated");
            } else {
                warn!(%error, "conntrack could not be made liberal: the line is not rewritten");
            }
            SetLiberalError
        })
    }

    fn expect(
        &mut self,
        id: ExpectationId,
        expectation: &Expectation,
        master: &ConntrackTuples,
    ) -> Result<(), ExpectError> {
        self.expectations
            .expect(id, expectation, master, self.layer)
    }

    fn unexpect(
        &mut self,
        id: ExpectationId,
        expectation: &Expectation,
        master: &ConntrackTuples,
        reason: Withdrawal,
    ) -> Outcome {
        let is_of_interest = matches!(
            reason,
            Withdrawal::Rejected | Withdrawal::Abandoned | Withdrawal::Closed
        );
        let is_used = if is_of_interest {
            self.expectations.is_used(expectation, master)
        } else {
            None
        };
        self.expectations.unexpect(id, expectation, master, reason);
        match is_used {
            None => Outcome::Unknown,
            Some(false) => Outcome::Unused,
            Some(true) => self.outcome_of_used(expectation),
        }
    }

    fn renew(
        &mut self,
        id: ExpectationId,
        expectation: &Expectation,
        master: &ConntrackTuples,
    ) -> Renewal {
        self.expectations.renew(id, expectation, master, self.layer)
    }

    fn lifetime(&mut self, tuples: &ConntrackTuples) -> Option<Duration> {
        let entry = self.conntrack.resolve(&tuples.of(Direction::Original));
        entry.ok().flatten()?.lifetime
    }

    fn extend(&mut self, tuples: &ConntrackTuples, lifetime: Duration) {
        if let Err(error) = self.conntrack.set_lifetime(tuples, lifetime) {
            debug!(%error, "an idle control connection could not be kept in conntrack");
        }
    }

    fn find_expected(&mut self, expectation: &Expectation) -> Result<Option<Tuple>, LookUpError> {
        if !self.searches.take_one(SEARCHES_A_SECOND, clock::now()) {
            return Err(LookUpError::Postponed);
        }
        let found = self.conntrack.find_expected(expectation);
        let found = found.map_err(|_| LookUpError::Failed)?;
        let is_alive = |entry: &ConntrackEntry| !entry.is_over();
        let alive = found.filter(is_alive);
        Ok(alive.map(|entry| entry.tuples.of(Direction::Original)))
    }

    fn inherit(&mut self, master: &ConntrackTuples) -> Vec<InheritedPinhole> {
        self.inheritance.take(master.of(Direction::Original))
    }

    fn are_alive(&mut self, originals: &[Tuple]) -> Vec<Tuple> {
        let mut alive = originals.to_vec();
        alive.retain(|tuple| self.is_alive(tuple));
        alive
    }

    fn mark_opaque(&mut self, tuples: &ConntrackTuples) {
        let opaque = self.labels.opaque.into();
        match self.conntrack.set_label(tuples, opaque, opaque) {
            Ok(()) => {}
            Err(error) if has_no_room(&error) => {
                self.unlabelled.warn(tuples, ENCRYPTED_STAYS);
            }
            Err(error) => warn!(%error, "{ENCRYPTED_STAYS}"),
        }
    }

    fn mark_readable(&mut self, tuples: &ConntrackTuples) {
        let opaque = self.labels.opaque.into();
        match self.conntrack.set_label(tuples, Label::NONE, opaque) {
            Ok(()) => {}
            // It never had the bit, and was in the queue all the time.
            Err(error) if has_no_room(&error) => {}
            Err(error) => {
                warn!(%error, "a connection in the clear again keeps its label: it is not read");
            }
        }
    }

    /// No other connection has both bits.
    fn mark_untouched(&mut self, tuples: &ConntrackTuples) -> Result<(), MarkError> {
        let both = Label::from(self.labels.opaque) | Label::from(self.labels.adjust);
        let result = self.conntrack.set_label(tuples, both, both);
        result.map_err(|error| {
            if has_no_room(&error) {
                self.unlabelled.warn(tuples, LEFT_ALONE_STAYS);
            } else {
                warn!(%error, "{LEFT_ALONE_STAYS}");
            }
            MarkError
        })
    }

    fn queue_data_syns(&mut self, pair: HostPair) {
        let Some(grants) = &mut self.grants else {
            return;
        };
        match grants.add(pair) {
            Ok(()) => {}
            // Rules of iptables queue them all. A table that was printed for another configuration
            // queues none.
            Err(error) if error.is(libc::ENOENT) => {
                debug!(client = %pair.client, "the loaded table has no set of grants");
            }
            Err(error) => warn_of(pair, &error),
        }
    }

    fn pass_data_syns(&mut self, pair: HostPair) {
        let Some(grants) = &mut self.grants else {
            return;
        };
        if let Err(error) = grants.remove(pair) {
            warn_of(pair, &error);
        }
        // Another worker may have granted the pair something meanwhile.
        let is_granted = self.shared.grants().has(pair);
        if is_granted {
            self.queue_data_syns(pair);
        }
    }
}

impl KernelPort {
    /// The entry of the packet at hand. The tuple has the zone in which it is guessed to be.
    fn resolve(&mut self, tuple: &Tuple) -> Result<Option<ConntrackEntry>, NetlinkError> {
        if let Some(entry) = self.conntrack.resolve(tuple)? {
            self.zones.learn(tuple.zone);
            return Ok(Some(entry));
        }
        for zone in self.zones.others(tuple.zone) {
            if let Some(entry) = self.conntrack.resolve(&tuple.in_zone(zone))? {
                self.zones.learn(zone);
                return Ok(Some(entry));
            }
        }
        Ok(None)
    }

    fn search_in_any_zone(
        &mut self,
        tuple: &Tuple,
    ) -> Result<Option<ConntrackEntry>, NetlinkError> {
        let found = self.conntrack.resolve_in_any_zone(tuple)?;
        let tuples = found.as_ref().map(|entry| entry.tuples);
        let direction = tuples.and_then(|tuples| tuples.direction_of(*tuple));
        if let (Some(tuples), Some(direction)) = (tuples, direction) {
            self.zones.learn(tuples.of(direction).zone);
        }
        Ok(found)
    }

    fn tracked(&self, entry: &ConntrackEntry) -> TrackedConnection {
        let has = |bit| entry.label.has(bit);
        let is_helped = entry.helper == Some(AttachedHelper::KernelFtp);
        TrackedConnection {
            tuples: entry.tuples,
            id: entry.id,
            is_beginning: entry.tcp_state.is_some_and(TcpState::is_handshake),
            is_established: entry.tcp_state == Some(TcpState::ESTABLISHED),
            is_over: entry.is_over(),
            is_adjusted: has(self.labels.adjust),
            is_offloaded: entry.is_offloaded(),
            is_renumbered: entry.is_renumbered(),
            is_opaque: has(self.labels.opaque),
            kernel_helper: is_helped.then_some(self.when_kernel_helps),
        }
    }

    /// What has become of an expected connection whose first packet has come.
    fn outcome_of_used(&mut self, expectation: &Expectation) -> Outcome {
        if !self.searches.take_one(SEARCHES_A_SECOND, clock::now()) {
            return Outcome::Unknown;
        }
        match self.conntrack.find_expected(expectation) {
            Ok(None) => Outcome::Stopped,
            Ok(Some(entry)) if entry.tcp_state == Some(TcpState::SYN_SENT) => Outcome::Unanswered,
            Ok(Some(_)) => Outcome::Connected,
            Err(_) => Outcome::Unknown,
        }
    }

    fn is_alive(&mut self, tuple: &Tuple) -> bool {
        match self.conntrack.resolve(tuple) {
            Ok(entry) => entry.is_some_and(|entry| {
                entry.tuples.of(Direction::Original) == *tuple && !entry.is_over()
            }),
            Err(error) => {
                warn!(%tuple, %error, "conntrack could not be asked: taken as alive");
                true
            }
        }
    }
}

fn warn_unread(tuple: &Tuple, error: &NetlinkError) -> LookUpError {
    warn!(%tuple, %error, "conntrack could not be asked: the connection is not read");
    LookUpError::Failed
}

/// Whether the kernel had no room for a label.
fn has_no_room(error: &NetlinkError) -> bool {
    error.is(libc::ENOSPC)
}

fn warn_of(pair: HostPair, error: &NetlinkError) {
    let (client, server) = (pair.client, pair.server);
    warn!(%client, %server, %error, "a set of grants could not be changed");
}
