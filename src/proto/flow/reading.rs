//! What a segment that can be read means: its bytes, its acknowledgement, its lines, its end.

use super::{Flow, context::Context, dialogue::Heard, line_at::LineAt};
use crate::proto::{
    event::{EventKind, LossCause},
    ftp::{ProxyHeader, Role, holds_password, reads_as_line},
    net::Direction,
    packet::Segment,
    session::{Finding, Withdrawal, endpoint_check::Refusal},
    stream::Arrival,
};

impl Flow {
    /// Takes a segment's bytes and acknowledgement in. `false` where it has to come again.
    pub(super) fn ingest_segment(
        &mut self,
        direction: Direction,
        segment: &Segment<'_>,
        context: &mut Context<'_>,
    ) -> bool {
        let is_charged = self.tls.is_opaque()
            || self
                .quota
                .charge_segment(direction, segment.payload, context);
        if !is_charged {
            return false;
        }
        if self.relay.is_near(direction, segment) {
            self.relay.record_peer(direction, segment);
            if let Some(ack) = segment.ack {
                self.relay.handle_ack(direction, ack, context.now);
            }
        }
        if segment.flags.is_rst() {
            return true;
        }
        match self.ingest(direction, segment) {
            Arrival::OutOfOrder => false,
            Arrival::New | Arrival::Old => true,
            Arrival::GapAcked => {
                self.lose_sync(direction, context);
                self.ingest(direction, segment);
                true
            }
        }
    }

    fn ingest(&mut self, direction: Direction, segment: &Segment<'_>) -> Arrival {
        if !segment.payload.is_empty() {
            if !self.relay.is_synchronised(direction) {
                self.pick_up(direction, segment);
            }
            self.life.handle_payload();
        }
        self.relay.ingest(direction, segment)
    }

    /// Begins to read a direction in the middle of the connection.
    fn pick_up(&mut self, direction: Direction, segment: &Segment<'_>) {
        let role = Role::of_sender(direction);
        // A command that may have to be refused is no known one, perhaps. Where no line of this
        // end may pass unread, the segment is taken for the beginning of one.
        let begins_line = self.dialogue.must_read(role) || reads_as_line(role, segment.payload);
        self.relay.pick_up(direction, segment, begins_line);
        // Before the greeting nothing can have been said.
        let is_greeting = direction == Direction::Reply && segment.payload.starts_with(b"220");
        if is_greeting && !self.life.has_spoken() {
            self.dialogue.begin_at_greeting();
        }
    }

    /// Packets of this direction passed unseen. Where a command could have been among them that was
    /// to be refused, the connection is aborted.
    fn lose_sync(&mut self, direction: Direction, context: &mut Context<'_>) {
        if direction == Direction::Original && self.dialogue.must_read(Role::Client) {
            return self.abort(context);
        }
        self.relay.lose_sync(direction);
        self.dialogue.handle_gap();
        let is_first = !std::mem::replace(&mut self.has_lost_sync, true);
        let cause = if is_first {
            self.cause_of_loss(direction, context)
        } else {
            LossCause::Unknown
        };
        context.report(EventKind::LostSync { cause, is_first });
    }

    fn cause_of_loss(&self, direction: Direction, context: &mut Context<'_>) -> LossCause {
        match context.kernel.look_up(self.tuples().of(direction)) {
            Ok(Some(found)) if found.is_offloaded => LossCause::Offloaded,
            Ok(Some(found)) if found.is_renumbered => LossCause::Renumbered,
            Ok(_) | Err(_) => LossCause::Unknown,
        }
    }

    /// Looks at the lines that a direction has completed, one after the other.
    pub(super) fn handle_lines(&mut self, direction: Direction, context: &mut Context<'_>) {
        if direction == Direction::Original && self.awaits_rest_of_proxy_header() {
            return;
        }
        while !self.life.is_aborted()
            && let Some(line) = self.relay.next_line(direction)
        {
            let at = LineAt { direction, line };
            match Role::of_sender(direction) {
                Role::Client if self.must_wait(&at, context) => {
                    return self.relay.return_line(direction, &line);
                }
                Role::Client => self.handle_command(&at, context),
                // To no client it is a reply, and a server may repeat any text in a long line.
                Role::Server if line.is_of_rest => {}
                Role::Server => {
                    let bytes = self.relay.line_bytes(direction, &line);
                    let finding = self.dialogue.handle_reply(bytes, &line);
                    self.handle_finding(&at, finding, context);
                }
            }
        }
    }

    /// Skips what a load balancer says before the client. `true` where its end has not come.
    fn awaits_rest_of_proxy_header(&mut self) -> bool {
        let start = self.relay.unread_start(Direction::Original);
        match start.map_or(ProxyHeader::None, ProxyHeader::find) {
            ProxyHeader::None => false,
            ProxyHeader::Begun => true,
            ProxyHeader::Whole(length) => {
                self.relay.skip(Direction::Original, length);
                false
            }
        }
    }

    /// A pipelining client may announce right behind its login. The line is held until the server
    /// has let the user in, or has not.
    fn must_wait(&self, at: &LineAt, context: &Context<'_>) -> bool {
        let bytes = self.relay.line_bytes(at.direction, &at.line);
        self.dialogue.must_wait_for_login(bytes)
            && self.relay.left_of(at.direction, &at.line) == 0
            && !context
                .settings
                .is_exempt(Refusal::NotLoggedIn, self.tuples())
    }

    /// The server has said something that a line of the client has waited for.
    pub(super) fn resume_returned_lines(&mut self, context: &mut Context<'_>) {
        let client = Direction::Original;
        if !self.relay.has_returned_line(client) {
            return;
        }
        self.handle_lines(client, context);
        if !self.relay.has_returned_line(client) && !self.life.is_aborted() {
            self.hold(client, false, context.now);
            self.relay.save(context);
            self.relay.send_released(client, context);
        }
    }

    fn handle_command(&mut self, at: &LineAt, context: &mut Context<'_>) {
        let bytes = self.relay.line_bytes(at.direction, &at.line);
        if holds_password(bytes) {
            let end = at.line.start.plus(at.line.len);
            self.relay.record_secret(at.direction, end);
        }
        let bytes = self.relay.line_bytes(at.direction, &at.line);
        let is_complete = at.line.is_complete;
        let heard = self.dialogue.handle_command(bytes, is_complete, context);
        if let Some(code) = self.dialogue.take_endless_reply() {
            context.report(EventKind::EndlessReply { code });
        }
        match heard {
            Heard::Finding(finding) => self.handle_finding(at, finding, context),
            Heard::Refused => {
                if !self.replace_command(at, context) {
                    self.abort(context);
                }
            }
            Heard::MustAbort => self.abort(context),
        }
    }

    fn handle_finding(&mut self, at: &LineAt, finding: Finding, context: &mut Context<'_>) {
        match finding {
            Finding::Nothing | Finding::Directory(_) => {}
            Finding::Announcement(found) => self.handle_announcement(at, &found, context),
            Finding::Withdraw(reason) => self.withdraw_current(reason, context),
            Finding::Preliminary => self.handle_preliminary(context),
            Finding::TransferDone => self.withdraw_current(Withdrawal::Finished, context),
            Finding::Opaque => self.enter_tls(context),
            Finding::MayBecomeOpaque => self.tls.offer(),
            Finding::RefusalBegins => self.begin_refusal(at, context),
            Finding::Refusal(reason) => self.finish_refusal(at, &reason, context),
        }
    }

    /// The server is at work on a transfer, and its data connection may come late or last long.
    fn handle_preliminary(&mut self, context: &mut Context<'_>) {
        let command = self.dialogue.current_command();
        self.pinholes
            .renew_up_to(command, self.relay.tuples(), context);
        self.keeping.begin(context.now);
    }

    /// FIN and RST: nothing more is announced, pinholes are withdrawn, and a partial line will not
    /// be completed.
    pub(super) fn handle_end(
        &mut self,
        direction: Direction,
        segment: &Segment<'_>,
        context: &mut Context<'_>,
    ) {
        let is_fin = segment.flags.is_fin();
        let leaves_line = is_fin && !self.relay.partial_line(direction).is_empty();
        let is_client = direction == Direction::Original;
        if leaves_line && is_client && self.dialogue.must_read(Role::Client) {
            // A server might take what it is left with for a command.
            return self.abort(context);
        }
        if segment.flags.is_rst() {
            self.life.handle_rst();
        }
        if is_fin {
            self.relay.finish(direction);
            self.life.handle_fin(direction);
        }
        self.withdraw_all(Withdrawal::Closed, context);
        self.end_grant(context);
        if self.life.is_closed() {
            self.relay.record_closed();
            self.release_session(context);
        }
    }
}
