//! Segments that may be of a later connection with the tuples of one that is followed.
//!
//! Conntrack passes a SYN/ACK in mid-connection without a check of its window. And the handshake of
//! a new connection may have passed unseen. So the segments alone do not tell one connection from
//! the next, and conntrack is asked.

use super::{Alg, Input, Place};
use crate::proto::{egress::Verdict, flow::Flow, packet::Segment};

/// How often a second conntrack is asked about connections that are followed, so that segments
/// which anybody can send cost no more than a hundredth of a processor. A question takes 15 µs.
/// Beyond this rate the segments are dropped, and their senders repeat them.
pub(super) const QUESTIONS_A_SECOND: u32 = 500;

impl Alg {
    /// Asks conntrack whose a segment is that has the tuple of a followed connection.
    ///
    /// # Errors
    /// The segment's verdict, where it is of no connection that is followed.
    pub(super) fn resolve_doubt(
        &mut self,
        place: Place,
        segment: &Segment<'_>,
        input: &mut Input<'_>,
    ) -> Result<Place, Verdict> {
        // First of all: it may bear the address of an end that is elsewhere.
        let may_be = self.with_flow(place.key, input, |flow, context| {
            flow.admit_ingress(place.direction, context)
        });
        if may_be != Some(true) {
            return Err(Verdict::Drop);
        }
        let Some(flow) = self.flows.flow(place.key) else {
            return Err(Verdict::Drop);
        };
        let (is_syn, may_be_anywhere) = (segment.flags.is_syn(), flow.may_be_anywhere());
        let is_asked = self.questions.take_one(QUESTIONS_A_SECOND, input.now);
        if !is_asked {
            return if may_be_anywhere && !is_syn {
                Ok(place)
            } else {
                Err(Verdict::Drop)
            };
        }
        let found = match input.kernel.look_up(segment.tuple) {
            Ok(Some(found)) => found,
            Ok(None) if is_syn => return Err(Verdict::Accept),
            Err(_) if is_syn => return Err(self.unread()),
            Ok(None) | Err(_) => return Ok(place),
        };
        let flow = self.flows.flow(place.key);
        let is_other =
            flow.is_some_and(|flow| flow.is_other_than(&found, place.direction, segment));
        let is_refuted = !is_other && flow.is_some_and(Flow::is_refuted);
        let repeats = flow.is_some_and(|flow| flow.repeats_handshake(place.direction, segment));
        // A segment without SYN of a connection that begins comes behind its SYN/ACK.
        let is_new = is_syn && found.is_beginning && !repeats;
        if is_other || is_new {
            self.remove(place.key, input);
            return self.track_found(&found, is_refuted, segment, input);
        }
        let precedes = flow.is_some_and(|flow| flow.precedes_start(place.direction, segment));
        match is_syn {
            // An honest one here repeats a handshake whose end was lost.
            true => Err(Verdict::Accept),
            false if precedes => Err(Verdict::Drop),
            false => Ok(place),
        }
    }
}
