//! Holds partial lines, acknowledges them locally, and retransmits them.

use std::time::Instant;

use super::{TcpRelay, partial_line::Due};
use crate::proto::{event::EventKind, flow::context::Context, net::Direction};

impl TcpRelay {
    /// Decides what of a direction may leave: everything, or everything but its partial line.
    /// `has_payload` where the segment at hand brings bytes.
    pub(in crate::proto::flow) fn hold_partial_line(
        &mut self,
        direction: Direction,
        holds: bool,
        has_payload: bool,
        now: Instant,
    ) {
        let half = &mut self.half[direction];
        let holds = holds && !half.stream.is_finished();
        if holds {
            half.stream.release_lines();
        } else {
            half.stream.release_all();
        }
        let needs_retransmit = half.stream.needs_retransmit();
        if !holds && !needs_retransmit {
            half.partial = None;
            return;
        }
        let start = half.stream.partial_line_start();
        let partial = half.partial.get_or_insert_with(Box::default);
        if holds {
            partial.hold(start, has_payload, now);
        } else {
            partial.release();
        }
        partial.record_retransmit(needs_retransmit, now);
    }

    /// Serves the deadlines of a direction's partial line. `must_read` where it may not leave
    /// before it has ended, however long that takes.
    pub(in crate::proto::flow) fn handle_timeout(
        &mut self,
        direction: Direction,
        must_read: bool,
        context: &mut Context<'_>,
    ) {
        let half = &mut self.half[direction];
        let Some(partial) = half.partial.as_mut() else {
            return;
        };
        match partial.poll_due(context.now) {
            None => {}
            Some(Due::GiveUp) => {
                // A client could send "PO", wait for the time to be up, and send "RT …" unread.
                // Where its bytes are acknowledged already, only the server waits for the rest.
                // A returned line waits for the server.
                let is_kept = direction == Direction::Original
                    && (must_read
                        || half.stream.needs_retransmit()
                        || half.stream.has_returned_line());
                if is_kept {
                    partial.keep();
                } else {
                    self.give_up(direction, context);
                }
            }
            Some(Due::Acknowledge) => self.acknowledge_locally(direction, context),
            Some(Due::Retransmit) => self.retransmit(direction, context),
        }
    }

    /// Sends at once what may leave now, of the bytes that their sender does not repeat.
    pub(in crate::proto::flow) fn send_released(
        &mut self,
        direction: Direction,
        context: &mut Context<'_>,
    ) {
        if self.half[direction].stream.needs_retransmit() {
            self.retransmit(direction, context);
        }
    }

    /// Acknowledges a partial line on its receiver's behalf. From now on the relay retransmits it.
    fn acknowledge_locally(&mut self, direction: Direction, context: &mut Context<'_>) {
        let is_liberal = self.set_liberal(context).is_ok();
        let half = &mut self.half[direction];
        let ack = if is_liberal {
            half.stream.ack_locally()
        } else {
            None
        };
        if let Some(partial) = &mut half.partial {
            match ack {
                Some(_) => partial.record_retransmit(true, context.now),
                None => partial.handle_not_acknowledged(context.now),
            }
        }
        self.adjustment.handle_change();
        self.save(context);
        if let Some(ack) = ack {
            context.send(self.encode_local_ack(direction, ack));
        }
    }

    /// The line did not end in time: its bytes leave as they are.
    fn give_up(&mut self, direction: Direction, context: &mut Context<'_>) {
        let half = &mut self.half[direction];
        half.stream.abandon_line();
        if half.stream.needs_retransmit() {
            self.adjustment.handle_change();
        }
        if let Some(partial) = &mut self.half[direction].partial {
            partial.release();
        }
        self.save(context);
        context.report(EventKind::PartialLineExpired);
        self.retransmit(direction, context);
    }

    /// Sends again what the sender believes acknowledged and the receiver lacks.
    fn retransmit(&mut self, direction: Direction, context: &mut Context<'_>) {
        let max_payload = self.max_payload(direction, None);
        let half = &mut self.half[direction];
        let segments = half.stream.emit_retransmit(max_payload);
        let needs_retransmit = half.stream.needs_retransmit();
        if let Some(partial) = &mut half.partial {
            partial.handle_retransmit(segments.is_empty(), context.now);
            if partial.poll_timeout().is_none() && !needs_retransmit {
                half.partial = None;
            }
        }
        for segment in segments {
            context.send(self.encode_segment(direction, &segment));
        }
    }
}
