//! Connections that become encrypted, and such as become readable again ([`TlsState`]).

use super::{
    Flow,
    context::Context,
    settings::has_server,
    tls_state::{Classified, Handshake, TlsState},
};
use crate::proto::{
    egress::Verdict,
    event::EventKind,
    ftp::{Role, reads_as_line},
    ftps::{FtpsSession, HostPair, begins_tls},
    net::Direction,
    packet::Segment,
    session::Withdrawal,
};

impl Flow {
    /// The server has accepted AUTH: from now on nothing is read. The connection leaves the queue
    /// with the client's next words.
    pub(super) fn enter_tls(&mut self, context: &mut Context<'_>) {
        self.stop_reading(context);
        self.tls = TlsState::AuthAccepted;
    }

    /// Takes back what the client was granted.
    pub(super) fn end_grant(&mut self, context: &mut Context<'_>) {
        if !self.tls.take_grant() {
            return;
        }
        let tuples = self.relay.tuples();
        let is_last = context.shared.grants().end(tuples);
        if is_last {
            context.kernel.pass_data_syns(HostPair::of(tuples));
        }
    }

    /// Says how a segment is to be read.
    pub(super) fn classify(
        &mut self,
        direction: Direction,
        segment: &Segment<'_>,
        context: &mut Context<'_>,
    ) -> Classified {
        self.settle_offer(direction, segment, context);
        if self.tls.is_opaque() {
            self.handle_first_record(direction, segment, context);
            if self.life.is_aborted() {
                return Classified::Unread(self.answer_aborted(segment, context));
            }
            if self.is_clear_again(direction, segment, context) {
                self.leave_tls(context);
                return Classified::Readable;
            }
            return self.classify_opaque(direction, segment, context);
        }
        self.resume_server(direction, segment);
        self.classify_hello(direction, segment, context)
    }

    /// The client's first words after the server may have accepted its AUTH.
    fn settle_offer(
        &mut self,
        direction: Direction,
        segment: &Segment<'_>,
        context: &mut Context<'_>,
    ) {
        if self.tls != TlsState::AuthOffered || direction == Direction::Reply {
            return;
        }
        match self.relay.new_bytes(direction, segment) {
            Some(words) if begins_tls(words) => self.enter_tls(context),
            Some(_) => self.tls = TlsState::Clear,
            None => {}
        }
    }

    fn stop_reading(&mut self, context: &mut Context<'_>) {
        self.withdraw_all(Withdrawal::Opaque, context);
        self.relay.stop_reading();
        context.report(EventKind::Opaque);
    }

    /// A connection with an offset cannot leave the queue.
    fn leave_queue(&self, context: &mut Context<'_>) {
        if !self.relay.is_adjusted() {
            context.kernel.mark_opaque(self.relay.tuples());
        }
    }

    /// The client's first words after its AUTH was accepted. If they are not of TLS, this is
    /// another mechanism, or none: the connection is left alone for good, and granted nothing. But
    /// where commands may have to be refused, it is aborted: they may be commands in the clear.
    fn handle_first_record(
        &mut self,
        direction: Direction,
        segment: &Segment<'_>,
        context: &mut Context<'_>,
    ) {
        if self.tls != TlsState::AuthAccepted || direction == Direction::Reply {
            return;
        }
        let Some(words) = self.relay.new_bytes(direction, segment) else {
            return;
        };
        let is_tls = begins_tls(words);
        if !is_tls && self.dialogue.must_read(Role::Client) {
            return self.abort(context);
        }
        self.leave_queue(context);
        let since = if is_tls {
            Handshake::AfterAuth
        } else {
            Handshake::ForGood
        };
        self.encrypt(since, is_tls, context);
    }

    fn encrypt(&mut self, since: Handshake, is_tls: bool, context: &mut Context<'_>) {
        let has_grant = is_tls && self.begin_grant(context);
        self.tls = TlsState::Encrypted { since, has_grant };
    }

    /// Grants the client data connections that are not announced, where the operator allows it.
    fn begin_grant(&self, context: &mut Context<'_>) -> bool {
        if !self.may_have_grant(context) {
            return false;
        }
        let master = *self.relay.tuples();
        let granted = context.shared.grants().begin(FtpsSession {
            session: self.id,
            master,
            iifs: self.ingress.iifs(),
        });
        if granted {
            context.kernel.queue_data_syns(HostPair::of(&master));
        }
        granted
    }

    /// A connection that was never FTP is granted nothing, whatever it encrypts.
    fn may_have_grant(&self, context: &Context<'_>) -> bool {
        let tls = &context.settings.tls;
        tls.ports.is_some()
            && (tls.servers.is_empty() || has_server(&tls.servers, self.relay.tuples()))
            && !self.life.is_closing()
            && !self.is_not_ftp(context)
    }

    /// Of a connection with an offset all is seen, and its streams go on. Those of another one stay
    /// as they were, so that what they had let out goes out again as it was.
    fn classify_opaque(
        &mut self,
        direction: Direction,
        segment: &Segment<'_>,
        context: &mut Context<'_>,
    ) -> Classified {
        if self.relay.is_adjusted() {
            return Classified::Readable;
        }
        if segment.flags.is_fin() || segment.flags.is_rst() {
            self.close_unread(direction, segment, context);
        }
        if self.relay.is_repeated(direction, segment) {
            Classified::Repeated
        } else {
            Classified::Unread(Verdict::Accept)
        }
    }

    fn close_unread(
        &mut self,
        direction: Direction,
        segment: &Segment<'_>,
        context: &mut Context<'_>,
    ) {
        if segment.flags.is_fin() {
            self.relay.finish_unread(direction);
            self.life.handle_fin(direction);
        }
        if segment.flags.is_rst() {
            self.life.handle_rst();
        }
        self.end_grant(context);
        if self.life.is_closed() {
            self.release_session(context);
        }
    }

    /// Whether this is the client's first segment in the clear.
    fn is_clear_again(
        &self,
        direction: Direction,
        segment: &Segment<'_>,
        context: &Context<'_>,
    ) -> bool {
        let next = self.relay.rcv_nxt(Direction::Original);
        let is_new = next.is_none_or(|next| {
            next == segment.seq || (!self.relay.is_adjusted() && next.is_before(segment.seq))
        });
        direction == Direction::Original
            && self.tls.may_clear()
            && is_new
            && !self.life.is_closing()
            && !self.is_not_ftp(context)
            && !context.settings.tls.is_implicit(self.relay.tuples())
            && reads_as_line(Role::Client, segment.payload)
    }

    fn leave_tls(&mut self, context: &mut Context<'_>) {
        self.end_grant(context);
        let is_adjusted = self.relay.is_adjusted();
        self.tls = TlsState::ClearAgain {
            awaits_server: is_adjusted,
        };
        self.dialogue.handle_unread();
        if is_adjusted {
            self.relay.resume_reading(Direction::Original, true);
        } else {
            self.relay.begin_anew();
            context.kernel.mark_readable(self.relay.tuples());
        }
        context.report(EventKind::Readable);
    }

    /// The server's first bytes in the clear, of a connection of which all was seen: what came
    /// before them has no lines.
    fn resume_server(&mut self, direction: Direction, segment: &Segment<'_>) {
        let awaited = TlsState::ClearAgain {
            awaits_server: true,
        };
        if self.tls == awaited
            && direction == Direction::Reply
            && self.relay.rcv_nxt(direction) == Some(segment.seq)
            && !segment.payload.is_empty()
        {
            self.tls = TlsState::ClearAgain {
                awaits_server: false,
            };
            let begins_line = reads_as_line(Role::Server, segment.payload);
            self.relay.resume_reading(direction, begins_line);
        }
    }

    /// Implicit FTPS: from the client's first bytes to the server's nothing is read. If those are
    /// TLS too, the connection is one of FTPS for all we can know. If not, it is nothing that is
    /// known here, and left alone as well.
    fn classify_hello(
        &mut self,
        direction: Direction,
        segment: &Segment<'_>,
        context: &mut Context<'_>,
    ) -> Classified {
        let words = self.relay.new_bytes(direction, segment);
        if self.tls != TlsState::ImplicitHello {
            let is_hello = direction == Direction::Original
                && words.is_some_and(begins_tls)
                && (!self.life.has_spoken() || self.relay.is_at_start())
                && context.settings.tls.is_implicit(self.relay.tuples());
            if !is_hello {
                return Classified::Readable;
            }
            self.tls = TlsState::ImplicitHello;
            self.life.handle_payload();
        }
        if segment.flags.is_fin() || segment.flags.is_rst() {
            self.close_unread(direction, segment, context);
        } else if direction == Direction::Reply
            && let Some(words) = words
        {
            self.stop_reading(context);
            self.leave_queue(context);
            self.encrypt(Handshake::ForGood, begins_tls(words), context);
        }
        Classified::Unread(Verdict::Accept)
    }
}
