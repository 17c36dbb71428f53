//! Which connections are followed, and which make room.

use std::time::Instant;

use super::{
    Alg,
    pending::{Answer, Pending},
    table::FlowKey,
};
use crate::proto::{
    action::{Action, Event, EventKind, PacketId, SessionId, Verdict},
    budget::{Budget, HostBudgets},
    flow::Flow,
    nat::PortLeases,
    net::{ConntrackTuples, Direction},
    packet::{Segment, reset, reset_of_receiver},
    saved_flow::SavedFlow,
    tls::Grants,
};

/// What is told no more often than so many times a second, by whatever flood.
pub(super) type LogLimiter = Budget;

/// Sessions that were reset since their host has enough, and data connections of encrypted ones that
/// were not let in, are told of at this rate.
pub(super) const LOG_RATE: u32 = 1;

/// The client's host of a connection has as many as it may have.
pub(super) struct SessionLimitReached;

impl<L: PortLeases + HostBudgets + Grants> Alg<L> {
    /// The answer to [`Action::Resolve`]: both tuples of the connection, or `None` where conntrack
    /// does not know it. Then the packet passes and nothing is remembered.
    pub fn handle_resolved(&mut self, tuples: Option<ConntrackTuples>, now: Instant) {
        self.begin(false, now, |id| Some(Flow::new(id, tuples?, now)));
    }

    /// The answer to [`Action::Resolve`] where conntrack knows the connection as one of an earlier
    /// process, by its mark `adjust` and the tuples in this memory: it goes on as remembered.
    pub fn handle_recalled(&mut self, memory: &SavedFlow, now: Instant) {
        self.begin(true, now, |id| Some(Flow::restored(id, memory, now)));
    }

    /// The answer to [`Action::Resolve`] where conntrack knows the connection by its mark `adjust` and
    /// nobody remembers its offset: another gateway's, perhaps. What its ends say can not be put
    /// right any more, and passed on as it is would be heard as something else. It is dropped, and
    /// who said it is told by a reset. Only a handshake begins the connection anew.
    pub fn handle_forgotten(&mut self, tuples: ConntrackTuples, now: Instant) {
        let Some((packet, reset)) = self.answer_by_reset() else {
            return self.handle_resolved(Some(tuples), now);
        };
        self.pending = None;
        self.conclude(packet, Verdict::Drop);
        self.actions
            .extend(reset.map(|packet| Action::Inject { packet }));
    }

    /// The answer to [`Action::Resolve`] where conntrack knows the connection by its mark `opaque`: it
    /// was encrypted before it was seen here, and is granted nothing.
    pub fn handle_encrypted(&mut self, tuples: ConntrackTuples, now: Instant) {
        self.begin(true, now, |id| Some(Flow::encrypted(id, tuples, now)));
    }

    /// The packet that waits to be resolved, unless it is a handshake's, and the reset to it.
    fn answer_by_reset(&self) -> Option<(PacketId, Option<Vec<u8>>)> {
        let Some((Answer::Resolved, Pending::Unresolved(stalled))) = &self.pending else {
            return None;
        };
        let segment = Segment::parse(&stalled.bytes).ok()?;
        (!segment.flags.is_syn()).then(|| (stalled.packet, reset(&segment)))
    }

    /// Follows the connection of the packet that waits, if `make` makes one that it belongs to. One
    /// that was followed before goes on, whatever its host has.
    fn begin(
        &mut self,
        is_resumed: bool,
        now: Instant,
        make: impl FnOnce(SessionId) -> Option<Flow>,
    ) {
        let Some(Pending::Unresolved(stalled)) = self.take_pending(Answer::Resolved) else {
            return;
        };
        let Ok(segment) = Segment::parse(&stalled.bytes) else {
            return self.conclude(stalled.packet, Verdict::Accept);
        };
        let id = self.next_session();
        let found = make(id).and_then(|flow| {
            let direction = flow.tuples().direction_of(segment.tuple)?;
            Some((flow, direction))
        });
        let Some((flow, direction)) = found else {
            return self.conclude(stalled.packet, Verdict::Accept);
        };
        let Some(key) = self.admit(flow, is_resumed, now) else {
            // What nobody reads is held to no rule.
            let is_ruled = !self.settings.rules.is_empty();
            let verdict = if is_ruled {
                Verdict::Drop
            } else {
                Verdict::Accept
            };
            return self.conclude(stalled.packet, verdict);
        };
        self.with_flow(key, now, |flow, context| flow.start(&segment, context));
        self.handle_segment((key, direction), stalled.packet, &segment, now);
    }

    /// Resets a connection towards both ends, and follows it no more.
    pub(super) fn refuse(
        &mut self,
        (key, direction): (FlowKey, Direction),
        packet: PacketId,
        segment: &Segment<'_>,
        now: Instant,
    ) {
        if let Some(flow) = self.flows.flow(key) {
            self.reset((flow.id(), flow.tuples()), direction, segment, now);
        }
        self.remove(key, now);
        self.conclude(packet, Verdict::Drop);
    }

    fn reset(
        &mut self,
        (session, tuples): (SessionId, ConntrackTuples),
        direction: Direction,
        segment: &Segment<'_>,
        now: Instant,
    ) {
        let onwards = tuples.of(!direction).inverted();
        let resets = [reset(segment), reset_of_receiver(segment, onwards)];
        let resets = resets.into_iter().flatten();
        self.actions
            .extend(resets.map(|packet| Action::Inject { packet }));
        if self.told.spend(1, LOG_RATE, now) {
            let original = tuples.of(Direction::Original);
            self.actions.push_back(Action::Report(Event {
                session,
                client: original.source,
                server: original.destination,
                kind: EventKind::TooManySessions,
            }));
        }
    }

    fn next_session(&mut self) -> SessionId {
        self.last_session = self.last_session.wrapping_add(self.session_step);
        SessionId(self.last_session)
    }

    /// Follows a connection from now on; whatever had one of its tuples before is over. `None` where
    /// there is no place that could be made free: it passes unread.
    fn admit(&mut self, mut flow: Flow, is_resumed: bool, now: Instant) -> Option<FlowKey> {
        for direction in [Direction::Original, Direction::Reply] {
            if let Some((stale, _)) = self.flows.find(flow.tuples().of(direction)) {
                self.remove(stale, now);
            }
        }
        if self.is_full() && !self.forget_one(None, now) {
            return None;
        }
        if is_resumed {
            let host = flow.client();
            self.leases
                .with_hosts(&mut |hosts| hosts.resume_session(host, now));
            flow.record_counted();
        }
        Some(self.flows.insert(flow))
    }

    /// Forgets connections until all that are left fit into the memory that they may take. The one
    /// at hand stays.
    pub(super) fn make_room(&mut self, at_hand: Option<FlowKey>, now: Instant) {
        while self.flows.memory_bytes() > self.settings.limits.memory {
            if !self.forget_one(at_hand, now) {
                return;
            }
        }
    }

    /// Whether no other connection fits beside those that are followed.
    fn is_full(&self) -> bool {
        self.flows.is_full() || self.flows.memory_bytes() >= self.settings.limits.memory
    }

    fn forget_one(&mut self, at_hand: Option<FlowKey>, now: Instant) -> bool {
        let expendable = self.flows.first_expendable(at_hand);
        if let Some(expendable) = expendable {
            self.remove(expendable, now);
        }
        expendable.is_some()
    }

    pub(super) fn remove(&mut self, key: FlowKey, now: Instant) {
        self.with_flow(key, now, Flow::end);
        self.flows.remove(key);
    }
}
