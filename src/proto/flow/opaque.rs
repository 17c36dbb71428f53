//! Connections that are encrypted: what is still seen of them, what they are granted, and how one
//! becomes readable again.
//!
//! An opaque connection without an offset leaves the queue, but for its FIN and RST and for segments
//! that begin as text does. By the former its grant ends. By the latter it is noticed that it has gone
//! back to clear text (CCC, RFC 4217 §12): the client's segment has to be whole lines that begin with a
//! known command, which no TLS record is, and a piece of one is once in four thousand million times.
//!
//! Whoever has somebody connect to his own server knows the keys of that connection, and could choose what
//! the other sends (a browser's request, a mirrored folder's long names) so that it *encrypts* to "PORT …" at
//! a segment's beginning. So implicit FTPS, which a browser can speak, never becomes readable again; and
//! where AUTH TLS was said in the clear, nothing that the client announces is opened any more. What the
//! server announces is: only its client, by itself, can make use of that.

use std::time::Instant;

use super::{Context, Flow, role_of, settings::has_server};
use crate::proto::{
    action::{Action, EventKind, SessionId, Verdict},
    ftp::{Role, reads_as_line},
    net::{ConntrackTuples, Direction, PerDirection},
    packet::Segment,
    session::{Session, Withdrawal, endpoint_check::Refusal},
    tls::{FtpsSession, HostPair, begins_tls},
};

/// What there is to know of a connection's encryption.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Opaque {
    handshake: Handshake,
    /// Its client may have data connections that are not announced.
    has_grant: bool,
    /// The client has said something in the clear again, and the server not yet.
    awaits_server: bool,
    /// It was encrypted, and is in the clear again, as it seems.
    was_encrypted: bool,
}

/// How far TLS has come, as far as it is seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Handshake {
    /// There is none.
    #[default]
    None,
    /// The server has accepted AUTH; the client begins.
    Accepted,
    /// The client began with it, where that is what it should (implicit FTPS); the server answers.
    Implicit,
    /// The client began with it after its AUTH was accepted.
    Begun,
}

/// What is to be read of a segment.
pub(super) enum Reading {
    /// What it holds.
    Lines,
    /// Nothing; with its verdict, if that does not depend on what left before.
    Nothing(Option<Verdict>),
}

impl Flow {
    /// A connection that was encrypted before it was seen here.
    #[must_use]
    pub fn encrypted(id: SessionId, tuples: ConntrackTuples, now: Instant) -> Self {
        Self {
            is_opaque: true,
            opaque: Opaque {
                handshake: Handshake::Begun,
                ..Opaque::default()
            },
            has_spoken: true,
            ..Self::new(id, tuples, now)
        }
    }

    /// From now on the connection is not read. It leaves the queue with the client's next words.
    pub(super) fn turn_opaque(&mut self, context: &mut Context<'_>) {
        self.stop_reading(context);
        self.opaque.handshake = Handshake::Accepted;
    }

    /// Whether its client may have data connections that are not announced.
    pub(super) fn has_grant(&self) -> bool {
        self.opaque.has_grant
    }

    /// Takes back what was granted.
    pub(super) fn end_grant(&mut self, context: &mut Context<'_>) {
        if !std::mem::take(&mut self.opaque.has_grant) {
            return;
        }
        let mut is_last = false;
        context.grants.with_grants(&mut |grants| {
            is_last = grants.end(&self.tuples);
        });
        if is_last {
            let pair = HostPair::of(&self.tuples);
            context.actions.push_back(Action::Revoke { pair });
        }
    }

    /// Why what was announced in a direction is not honoured, of a connection that was encrypted.
    pub(super) fn refusal_after_tls(&self, direction: Direction) -> Option<Refusal> {
        let is_doubtful = self.opaque.was_encrypted && direction == Direction::Original;
        is_doubtful.then_some(Refusal::AfterTls)
    }

    /// Says whether a segment can be read at all.
    pub(super) fn read_through(
        &mut self,
        direction: Direction,
        segment: &Segment<'_>,
        context: &mut Context<'_>,
    ) -> Reading {
        if self.is_opaque {
            self.read_first_words(direction, segment, context);
            if self.is_clear_again(direction, segment, context) {
                self.turn_readable(context);
                return Reading::Lines;
            }
            return self.read_opaque(direction, segment, context);
        }
        self.resume_server(direction, segment);
        self.read_hello(direction, segment, context)
    }

    fn stop_reading(&mut self, context: &mut Context<'_>) {
        self.withdraw_all(Withdrawal::Opaque, context);
        for direction in [Direction::Original, Direction::Reply] {
            self.streams[direction].stop_scanning();
            self.release_withheld(direction);
        }
        self.is_opaque = true;
        self.report(EventKind::Opaque, context);
    }

    /// One with an offset cannot leave the queue.
    fn leave_queue(&self, context: &mut Context<'_>) {
        if !self.is_adjusted {
            context.actions.push_back(Action::MarkOpaque {
                tuples: self.tuples,
            });
        }
    }

    /// The client's first words after its AUTH was accepted. If they are not of TLS, this is another
    /// mechanism, or none: it is left alone for good, and granted nothing.
    fn read_first_words(
        &mut self,
        direction: Direction,
        segment: &Segment<'_>,
        context: &mut Context<'_>,
    ) {
        if self.opaque.handshake != Handshake::Accepted || direction == Direction::Reply {
            return;
        }
        let Some(words) = self.next_words(direction, segment) else {
            return;
        };
        self.leave_queue(context);
        self.opaque.handshake = Handshake::None;
        if begins_tls(words) {
            self.opaque.handshake = Handshake::Begun;
            self.begin_grant(context);
        }
    }

    /// What a segment has of the bytes that come next; nothing where it lies beyond them.
    fn next_words<'s>(&self, direction: Direction, segment: &Segment<'s>) -> Option<&'s [u8]> {
        let stream = &self.streams[direction];
        let known = if stream.is_synchronised() {
            stream.rcv_nxt().offset_from(segment.seq)
        } else {
            0
        };
        let words = segment.payload.get(usize::try_from(known).ok()?..)?;
        (!words.is_empty()).then_some(words)
    }

    /// Whether a segment has bytes that were not here before.
    fn brings_more(&self, direction: Direction, segment: &Segment<'_>) -> bool {
        let end = segment.seq.plus(segment.payload.len() as u32);
        let stream = &self.streams[direction];
        let is_known = stream.is_synchronised() && !stream.rcv_nxt().is_before(end);
        !segment.payload.is_empty() && !is_known
    }

    fn begin_grant(&mut self, context: &mut Context<'_>) {
        if !self.may_have_grant(context) {
            return;
        }
        let granted = FtpsSession {
            session: self.id,
            master: self.tuples,
            links: PerDirection {
                original: self.sides.original.link,
                reply: self.sides.reply.link,
            },
        };
        context.grants.with_grants(&mut |grants| {
            self.opaque.has_grant = grants.begin(granted);
        });
        if self.opaque.has_grant {
            let pair = HostPair::of(&self.tuples);
            context.actions.push_back(Action::Grant { pair });
        }
    }

    /// Something that was never FTP is granted nothing, whatever it encrypts.
    fn may_have_grant(&self, context: &Context<'_>) -> bool {
        let tls = &context.settings.tls;
        tls.ports.is_some()
            && (tls.servers.is_empty() || has_server(&tls.servers, &self.tuples))
            && !self.is_closing()
            && !self.is_refuted(context)
    }

    fn is_refuted(&self, context: &Context<'_>) -> bool {
        let refusal = self.session.not_yet_allowed();
        refusal == Some(Refusal::NotFtp)
            && !context.settings.is_exempt(Refusal::NotFtp, &self.tuples)
    }

    /// Of one with an offset all is seen, and its streams go on; of another they stay as they were, so
    /// that what they had let out goes out again as it was.
    fn read_opaque(
        &mut self,
        direction: Direction,
        segment: &Segment<'_>,
        context: &mut Context<'_>,
    ) -> Reading {
        if self.is_adjusted {
            return Reading::Lines;
        }
        let closes = segment.flags.is_fin() || segment.flags.is_rst();
        if closes {
            self.close_unread(direction, segment, context);
        }
        let is_known = !segment.payload.is_empty() && !self.brings_more(direction, segment);
        // What left before leaves as it did, a FIN behind it or not.
        Reading::Nothing((!is_known).then_some(Verdict::Accept))
    }

    fn close_unread(
        &mut self,
        direction: Direction,
        segment: &Segment<'_>,
        context: &mut Context<'_>,
    ) {
        if segment.flags.is_fin() {
            self.streams[direction].finish();
        }
        self.is_reset |= segment.flags.is_rst();
        self.end_grant(context);
        if self.is_closed() {
            self.release_place(context);
        }
    }

    /// Whether this is the client's first segment in the clear.
    fn is_clear_again(
        &self,
        direction: Direction,
        segment: &Segment<'_>,
        context: &Context<'_>,
    ) -> bool {
        let stream = &self.streams.original;
        let is_new = !stream.is_synchronised()
            || stream.rcv_nxt() == segment.seq
            || (!self.is_adjusted && stream.rcv_nxt().is_before(segment.seq));
        direction == Direction::Original
            && self.opaque.handshake == Handshake::Begun
            && is_new
            && !self.is_closing()
            && !self.is_refuted(context)
            && !context.settings.tls.is_implicit(&self.tuples)
            && reads_as_line(Role::Client, segment.payload)
    }

    fn turn_readable(&mut self, context: &mut Context<'_>) {
        self.is_opaque = false;
        self.opaque.handshake = Handshake::None;
        self.opaque.was_encrypted = true;
        self.session = Session::default();
        if let Some(ruled) = &mut self.ruled {
            ruled.handle_gap();
        }
        self.end_grant(context);
        if self.is_adjusted {
            self.streams.original.resume(true);
            self.opaque.awaits_server = true;
        } else {
            self.streams.original.begin_anew();
            self.streams.reply.begin_anew();
            context.actions.push_back(Action::MarkReadable {
                tuples: self.tuples,
            });
        }
        self.report(EventKind::Readable, context);
    }

    /// The server's first bytes in the clear, of a connection of which all was seen: what came before
    /// them has no lines.
    fn resume_server(&mut self, direction: Direction, segment: &Segment<'_>) {
        let stream = &mut self.streams.reply;
        let is_next = stream.is_synchronised() && stream.rcv_nxt() == segment.seq;
        if self.opaque.awaits_server
            && direction == Direction::Reply
            && is_next
            && !segment.payload.is_empty()
        {
            self.opaque.awaits_server = false;
            stream.resume(reads_as_line(role_of(direction), segment.payload));
        }
    }

    /// Implicit FTPS: from the client's first bytes to the server's nothing is read. If those are TLS
    /// too, the connection is one of FTPS for all we can know; if not, it is nothing that is known
    /// here, and left alone as well.
    fn read_hello(
        &mut self,
        direction: Direction,
        segment: &Segment<'_>,
        context: &mut Context<'_>,
    ) -> Reading {
        let words = self.next_words(direction, segment);
        if self.opaque.handshake != Handshake::Implicit {
            let is_hello = direction == Direction::Original
                && words.is_some_and(begins_tls)
                && self.is_silent()
                && context.settings.tls.is_implicit(&self.tuples);
            if !is_hello {
                return Reading::Lines;
            }
            self.opaque.handshake = Handshake::Implicit;
            self.has_spoken = true;
        }
        if segment.flags.is_fin() || segment.flags.is_rst() {
            self.close_unread(direction, segment, context);
        } else if direction == Direction::Reply
            && let Some(words) = words
        {
            self.stop_reading(context);
            self.leave_queue(context);
            if begins_tls(words) {
                self.begin_grant(context);
            }
        }
        Reading::Nothing(Some(Verdict::Accept))
    }

    /// Whether nothing was said yet, but for what came before its turn.
    fn is_silent(&self) -> bool {
        let at_start = |direction| {
            let stream = &self.streams[direction];
            stream.started_at() == Some(stream.rcv_nxt())
        };
        !self.has_spoken || (at_start(Direction::Original) && at_start(Direction::Reply))
    }
}
