//! Which connections are followed, and which are evicted for others.

use super::{Alg, Input, Place, flow_table::FlowKey};
use crate::proto::{
    egress::{Save, Verdict},
    event::EventKind,
    flow::{Flow, Subject},
    kernel::{LookUpError, TrackedConnection, WhenKernelHelps},
    net::{ConntrackTuples, Direction},
    packet::{Segment, reset, reset_of_receiver},
    session::SessionId,
};

impl Alg {
    /// Begins to follow the connection of a segment, as conntrack knows it.
    ///
    /// # Errors
    /// The segment's verdict, where the connection is not followed.
    pub(super) fn track(
        &mut self,
        segment: &Segment<'_>,
        input: &mut Input<'_>,
    ) -> Result<Place, Verdict> {
        let found = input.kernel.look_up(segment.tuple);
        let found = found.map_err(|error| match error {
            LookUpError::Failed => self.unread(),
            LookUpError::Postponed => Verdict::Drop,
        })?;
        // Without an entry it cannot be told what it is.
        let found = found.ok_or_else(|| self.unread())?;
        // The zone of the segment is a guess, perhaps, and the connection is followed in its own.
        let direction = found.tuples.direction_of(segment.tuple);
        let own = direction.map(|direction| found.tuples.of(direction));
        if let Some(own) = own
            && own != segment.tuple
            && self.follows(own)
        {
            return self.place_of(&segment.in_zone(own.zone), input);
        }
        self.track_found(&found, false, segment, input)
    }

    /// The same of a connection that was looked up. `is_refuted` where it is known from before that
    /// it is no FTP.
    ///
    /// # Errors
    /// The segment's verdict, where the connection is not followed.
    pub(super) fn track_found(
        &mut self,
        found: &TrackedConnection,
        is_refuted: bool,
        segment: &Segment<'_>,
        input: &mut Input<'_>,
    ) -> Result<Place, Verdict> {
        // Conntrack passes a SYN/ACK in mid-connection, without a check of its window. A flow that
        // began anew with it would forget its offset, its login state and its command policy. An
        // honest one repeats a handshake whose end was lost, perhaps before this process was there:
        // it passes, and begins nothing.
        if segment.flags.is_syn() && !found.is_beginning {
            return Err(Verdict::Accept);
        }
        let direction = found.tuples.direction_of(segment.tuple);
        let direction = direction.ok_or(Verdict::Accept)?;
        let id = SessionId(self.session_ids.advance());
        if let Some(then) = found.kernel_helper {
            return Err(self.handle_kernel_helper(id, &found.tuples, then, input));
        }
        // This packet was in the queue when the connection was left alone.
        if found.is_untouched() {
            return Err(Verdict::Accept);
        }
        let (flow, is_resumed) = self.make_flow(id, found, segment, input)?;
        let flow = flow.with_entry(found.id);
        let key = self.admit(flow, input).ok_or_else(|| self.unread())?;
        self.with_flow(key, input, |flow, context| {
            if is_refuted {
                flow.refute();
            }
            if is_resumed {
                flow.resume_session(context);
            }
            // A server may end the connection for the gateway alone, wait until the flow is
            // forgotten, and have its browser go on.
            if found.is_over {
                flow.close();
            }
            flow.start(segment, context);
        });
        Ok(Place { key, direction })
    }

    /// Resets a connection towards both ends, and follows it no more: its client's host has as many
    /// sessions as it may have.
    pub(super) fn refuse_session(
        &mut self,
        place: Place,
        segment: &Segment<'_>,
        input: &mut Input<'_>,
    ) -> Verdict {
        if let Some(flow) = self.flows.flow(place.key) {
            let onwards = flow.tuples().of(!place.direction).inverted();
            let resets = [reset(segment), reset_of_receiver(segment, onwards)];
            input.send(resets.into_iter().flatten());
            self.report_rarely(flow.subject(), EventKind::TooManySessions, input);
        }
        self.remove(place.key, input);
        Verdict::Drop
    }

    /// Evicts connections until all that are left fit into the memory that they may take. The one
    /// of the packet at hand stays.
    pub(super) fn evict_until_fits(&mut self, current: FlowKey, input: &mut Input<'_>) {
        while self.flows.memory_bytes() > self.settings.limits.memory {
            if !self.evict_one(Some(current), input) {
                return;
            }
        }
    }

    /// The flow of a connection, by its label; and whether it was followed before.
    ///
    /// A connection with an offset that is saved nowhere is another gateway's, perhaps. What its
    /// ends say cannot be put right any more, and passed on as it is, it would be heard as
    /// something else. It is dropped, and a reset answers its sender. Only a handshake begins
    /// the connection anew.
    fn make_flow(
        &mut self,
        id: SessionId,
        found: &TrackedConnection,
        segment: &Segment<'_>,
        input: &mut Input<'_>,
    ) -> Result<(Flow, bool), Verdict> {
        let (tuples, now) = (found.tuples, input.now);
        if found.is_opaque {
            return Ok((Flow::encrypted(id, tuples, now), true));
        }
        if !found.is_adjusted {
            if found.is_beginning {
                // What is saved under its tuples is of an earlier connection.
                input.effects.saves.push(Save::Delete(tuples));
            }
            return Ok((Flow::new(id, tuples, now), false));
        }
        let saved = input.kernel.load(&tuples);
        if found.is_beginning {
            // The old offset has gone with the old numbers.
            let mut flow = Flow::new(id, tuples, now).assumed_adjusted();
            if saved.is_some_and(|saved| saved.is_refuted) {
                flow.refute();
            }
            return Ok((flow, false));
        }
        if let Some(saved) = saved {
            // The flow that it was a moment ago has ended, and what is saved of it lives on.
            let is_deletion = |save: &Save| matches!(save, Save::Delete(of) if *of == tuples);
            input.effects.saves.retain(|save| !is_deletion(save));
            return Ok((Flow::restored(id, &saved, now), true));
        }
        input.send(reset(segment));
        self.report_rarely(Subject::of(id, &tuples), EventKind::UnknownOffset, input);
        Err(Verdict::Drop)
    }

    /// Two helpers that rewrite the same line would spoil it. So the connection is left alone, and
    /// out of the queue, for good; or each of its packets comes here again, and is dropped.
    fn handle_kernel_helper(
        &mut self,
        id: SessionId,
        tuples: &ConntrackTuples,
        then: WhenKernelHelps,
        input: &mut Input<'_>,
    ) -> Verdict {
        self.report_rarely(
            Subject::of(id, tuples),
            EventKind::KernelHelper { then },
            input,
        );
        match then {
            WhenKernelHelps::StepAside => {
                // Where it cannot be marked, its packets come here again, with the same verdict.
                let _ = input.kernel.mark_untouched(tuples);
                Verdict::Accept
            }
            WhenKernelHelps::Refuse => Verdict::Drop,
        }
    }

    /// The verdict on a packet of a connection that nobody reads: the command policy cannot hold it
    /// to anything.
    pub(super) fn unread(&self) -> Verdict {
        if self.settings.command_policy.is_empty() {
            Verdict::Accept
        } else {
            Verdict::Drop
        }
    }

    /// Follows a connection from now on; whatever had one of its tuples before is over. `None`
    /// where there is no place that could be made free.
    fn admit(&mut self, flow: Flow, input: &mut Input<'_>) -> Option<FlowKey> {
        for direction in Direction::BOTH {
            if let Some((stale, _)) = self.flows.find(flow.tuples().of(direction)) {
                self.remove(stale, input);
            }
        }
        if self.is_full() && !self.evict_one(None, input) {
            return None;
        }
        Some(self.flows.insert(flow))
    }

    /// Whether no other connection fits beside those that are followed.
    fn is_full(&self) -> bool {
        self.flows.is_full() || self.flows.memory_bytes() >= self.settings.limits.memory
    }

    fn evict_one(&mut self, current: Option<FlowKey>, input: &mut Input<'_>) -> bool {
        let evictable = self.flows.first_evictable(current);
        if let Some(evictable) = evictable {
            self.remove(evictable, input);
        }
        evictable.is_some()
    }
}
