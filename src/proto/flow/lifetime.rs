//! How a connection begins, closes, and is forgotten.

use std::{net::IpAddr, time::Instant};

use super::{CLOSED_MAX, Context, Flow, IDLE_ADJUSTED_MAX, IDLE_MAX, SILENT_MAX};
use crate::proto::{
    action::EventKind,
    net::Direction,
    packet::Segment,
    session::{Session, Withdrawal},
};

impl Flow {
    /// The address of its client.
    #[must_use]
    pub fn client(&self) -> IpAddr {
        self.tuples.sender(Direction::Original).ip()
    }

    /// Whether a segment is of the handshake of another connection that has come under the same
    /// tuple.
    #[must_use]
    pub fn is_replaced_by(&self, direction: Direction, segment: &Segment<'_>) -> bool {
        segment.flags.is_syn()
            && self.streams[direction].started_at() != Some(segment.seq.plus(1))
            && !self.completes_handshake(direction, segment)
    }

    /// Whether the flow may be forgotten to make room: nothing is lost but its place.
    #[must_use]
    pub fn is_expendable(&self) -> bool {
        !self.is_adjusted
    }

    /// Whether something is under way that would be lost with the flow.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        let withholds = |direction| self.withheld[direction].is_some();
        self.plan.is_some()
            || self.has_grant()
            || self.session.awaits_refusal()
            || self.held.iter().any(|held| !held.is_expired)
            || withholds(Direction::Original)
            || withholds(Direction::Reply)
    }

    /// Whether the connection was silent for so long that it is to be forgotten.
    #[must_use]
    pub fn is_over(&self, now: Instant) -> bool {
        self.forgotten_at() <= now
    }

    /// A connection's first packets. A repeated SYN or SYN/ACK changes nothing.
    pub(super) fn handle_syn(
        &mut self,
        direction: Direction,
        segment: &Segment<'_>,
        context: &mut Context<'_>,
    ) {
        let first = segment.seq.plus(1);
        if self.streams[direction].started_at() == Some(first) {
            return;
        }
        let answers_syn = self.completes_handshake(direction, segment);
        if !answers_syn {
            self.restart(context);
        }
        self.streams[direction].start_at(first);
        if let (Some(ack), false) = (segment.ack, answers_syn) {
            self.streams[!direction].start_at(ack);
        }
    }

    fn completes_handshake(&self, direction: Direction, segment: &Segment<'_>) -> bool {
        segment.ack.is_some() && self.streams[!direction].started_at() == segment.ack
    }

    fn restart(&mut self, context: &mut Context<'_>) {
        self.withdraw_all(Withdrawal::Closed, context);
        self.end_grant(context);
        self.forget(context);
        self.end_ruled(context);
        *self = Self {
            sides: self.sides,
            session: Session::greeted(),
            spending: self.spending,
            ..Self::new(self.id, self.tuples, context.now)
        };
        self.begin_ruled(context);
        self.report(
            EventKind::Started {
                is_from_start: true,
            },
            context,
        );
    }

    /// FIN and RST: nothing more is announced, what is pending is withdrawn, and a line that was
    /// begun will not be completed.
    pub(super) fn handle_closing(
        &mut self,
        direction: Direction,
        segment: &Segment<'_>,
        context: &mut Context<'_>,
    ) {
        if !self.is_end(direction, segment) {
            return;
        }
        self.is_reset |= segment.flags.is_rst();
        let leaves_line =
            segment.flags.is_fin() && !self.streams[direction].partial_line().is_empty();
        if leaves_line && direction == Direction::Original && self.must_read_client() {
            // A server might take what it is left with for a command.
            return self.abort(context);
        }
        if segment.flags.is_fin() {
            self.streams[direction].release_all();
            self.streams[direction].finish();
        }
        self.withdraw_all(Withdrawal::Closed, context);
        self.end_grant(context);
        if self.is_closed() {
            self.release_place(context);
        }
    }

    /// Whether a segment closes its direction. A FIN behind lines that are held back does not yet: it
    /// would take them along unread, and comes again.
    pub(super) fn is_end(&self, direction: Direction, segment: &Segment<'_>) -> bool {
        let has_fin = segment.flags.is_fin() && !self.streams[direction].is_holding_back();
        (has_fin || segment.flags.is_rst()) && self.is_in_order(direction, segment)
    }

    /// Whether a segment ends where its stream ends, as far as is known.
    fn is_in_order(&self, direction: Direction, segment: &Segment<'_>) -> bool {
        let stream = &self.streams[direction];
        let length = if segment.flags.is_rst() {
            0
        } else {
            segment.payload.len() as u32
        };
        !stream.is_synchronised() || segment.seq.plus(length) == stream.rcv_nxt()
    }

    pub(super) fn is_closing(&self) -> bool {
        self.is_reset || self.streams.original.is_finished() || self.streams.reply.is_finished()
    }

    pub(super) fn is_closed(&self) -> bool {
        self.is_reset || (self.streams.original.is_finished() && self.streams.reply.is_finished())
    }

    pub(super) fn forgotten_at(&self) -> Instant {
        let is_kept = self.is_adjusted || self.has_grant();
        let quiet = match (self.is_closed(), is_kept) {
            (true, _) => CLOSED_MAX,
            (false, true) => IDLE_ADJUSTED_MAX,
            (false, false) if self.has_spoken => IDLE_MAX,
            (false, false) => SILENT_MAX,
        };
        self.last_seen + quiet
    }
}
