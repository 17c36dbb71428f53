//! Lines that do not reach their readers.
//!
//! A refused command leaves as one that does nothing, in the same length, and the answer to that as
//! a 550 (`session::refused`). Where a command must not reach the server and nothing can be put in
//! its place, the connection is reset: part of the line may have left before it was read, or too
//! many answers are owed to tell which one is its own.

use super::{Flow, context::Context, line_at::LineAt};
use crate::proto::{
    egress::Verdict,
    event::EventKind,
    ftp::{
        Announcement, Malformed, Reason, Role, is_sequences, refusal_reply, substitute_command,
        with_refusal_code,
    },
    net::Direction,
    packet::{Segment, reset},
    session::{Withdrawal, endpoint_check::Refusal},
    stream::Line,
};

impl Flow {
    /// Has a refused announcement answered, instead of going on, where that is called for. What a
    /// client announces that must not reach the server, and cannot be answered, aborts the
    /// connection.
    pub(super) fn answer_refused(
        &mut self,
        at: &LineAt,
        announced: Result<Announcement, Malformed>,
        refusal: Refusal,
        context: &mut Context<'_>,
    ) {
        let role = Role::of_sender(at.direction);
        if announced.is_err_and(|reason| is_read_by_nobody(&at.line, reason, role)) {
            return;
        }
        let is_ftp = self.dialogue.not_yet_allowed() != Some(Refusal::NotFtp);
        // A client can close its connection for this gateway alone, and go on.
        let hides_endpoint = matches!(refusal, Refusal::TooManyUnanswered | Refusal::Closing);
        let is_hidden = hides_endpoint
            && !announced.is_ok_and(|announced| {
                let checked = self.check_endpoint(at.direction, &announced, context.settings);
                checked.is_ok()
            });
        if !is_ftp || !(is_hidden || refusal.is_answered(role)) {
            return;
        }
        let reason = Reason::Named(refusal.as_str().into());
        let part = self.replaceable_part(at);
        match (role, part) {
            (Role::Client, Some(part)) if self.dialogue.refuse_last(reason.clone()) => {
                self.substitute(&part, context);
            }
            (Role::Client, _) => self.abort(context),
            (Role::Server, Some(part)) => {
                self.replace(&part, refusal_of(&part.line, &reason), context);
            }
            (Role::Server, None) => {}
        }
    }

    /// Puts something harmless in a refused command's place. `false` where part of it has left.
    #[must_use]
    pub(super) fn replace_command(&mut self, at: &LineAt, context: &mut Context<'_>) -> bool {
        // A process before this one may have done it, and have been killed before the line arrived.
        let substitute = substitute_command(at.line.len as usize);
        if self.relay.rewritten(at.direction, &at.line) == Some(&substitute) {
            return true;
        }
        let part = self.replaceable_part(at);
        if let Some(part) = part {
            self.substitute(&part, context);
        }
        part.is_some()
    }

    /// A line of the answer to what stands in a refused command's place, which goes on.
    pub(super) fn begin_refusal(&mut self, at: &LineAt, context: &mut Context<'_>) {
        let whole = self.replaceable_part(at);
        if whole.is_some_and(|part| part.line == at.line) {
            let line = self.relay.line_bytes(at.direction, &at.line);
            let new = with_refusal_code(line);
            self.replace(at, new, context);
        }
    }

    /// The last line of that answer.
    pub(super) fn finish_refusal(
        &mut self,
        at: &LineAt,
        reason: &Reason,
        context: &mut Context<'_>,
    ) {
        if let Some(part) = self.replaceable_part(at) {
            self.replace(&part, refusal_of(&part.line, reason), context);
        }
    }

    /// A connection that was aborted stays so: what still comes of it is answered by a reset.
    pub(super) fn answer_aborted(
        &self,
        segment: &Segment<'_>,
        context: &mut Context<'_>,
    ) -> Verdict {
        context.send(reset(segment));
        Verdict::Drop
    }

    /// Resets the connection towards both ends.
    pub(super) fn abort(&mut self, context: &mut Context<'_>) {
        self.life.abort();
        self.relay.abandon();
        context.report(EventKind::Aborted);
        self.withdraw_all(Withdrawal::Closed, context);
        self.end_grant(context);
        self.release_session(context);
        for direction in Direction::BOTH {
            context.send(self.relay.encode_own_reset(direction));
        }
    }

    /// The part of a line that can be replaced: all of it, or what stands behind Telnet sequences
    /// that have left.
    fn replaceable_part(&self, at: &LineAt) -> Option<LineAt> {
        let left = self.relay.left_of(at.direction, &at.line);
        let line = self.relay.line_bytes(at.direction, &at.line);
        let gone = line.get(..left as usize)?;
        let is_replaceable = is_sequences(gone) && self.relay.has_room_for_edit(at.direction);
        is_replaceable.then(|| LineAt {
            line: Line {
                start: at.line.start.plus(left),
                len: at.line.len.saturating_sub(left),
                ..at.line
            },
            ..*at
        })
    }

    /// Puts a command that does nothing in a command's place.
    fn substitute(&mut self, at: &LineAt, context: &mut Context<'_>) {
        self.replace(at, substitute_command(at.line.len as usize), context);
    }

    /// Puts a line of the same length in a line's place.
    fn replace(&mut self, at: &LineAt, new: Vec<u8>, context: &mut Context<'_>) {
        self.relay.rewrite(at.direction, &at.line, new.clone());
        context.report(EventKind::Replaced {
            from: Role::of_sender(at.direction),
            start: at.line.start,
            line: new,
        });
    }
}

/// Whether no reader takes a malformed line for an announcement. So its receiver's own error may
/// reach the user.
const fn is_read_by_nobody(line: &Line, reason: Malformed, announcer: Role) -> bool {
    // Without the CR the next line may be the rest of it to ProFTPD.
    line.is_complete && line.ends_with_cr && !reason.could_be_read(announcer)
}

fn refusal_of(line: &Line, reason: &Reason) -> Vec<u8> {
    refusal_reply(line.len as usize, reason)
}
