//! Commands that are held to the operator's rules, and lines that do not reach their readers.
//!
//! A refused command leaves as one that does nothing, in the same length, and the answer to that as a 550
//! (`session::refused`). What the client says behind it waits for that answer. Where a command must not
//! reach the server and nothing can be put in its place, the connection is reset: part of the line may
//! have left before it was read, or too many answers are owed to tell which one is its own.

use super::{Context, Flow, role_of};
use crate::proto::{
    action::{Action, CommandReport, EventKind, PacketId, Verdict},
    command_policy::{PolicyDecision, PolicyEffect, SessionPolicy},
    ftp::{
        Announcement, Reason, Role, is_sequences, refusal_reply, substitute_command,
        with_refusal_code,
    },
    net::Direction,
    packet::{Flags, Segment, reset},
    session::{Finding, Withdrawal, endpoint_check::Refusal},
    stream::Line,
};

impl Flow {
    /// Holds the connection to the rules that concern it now, from its beginning or from where it was
    /// picked up.
    pub(super) fn begin_ruled(&mut self, context: &Context<'_>) {
        self.end_ruled(context);
        self.ruled = SessionPolicy::new(&context.settings.rules, &self.tuples);
    }

    /// Gives back what rules have counted of it.
    pub(super) fn end_ruled(&mut self, context: &Context<'_>) {
        if let Some(ruled) = &mut self.ruled {
            ruled.end(context.hosts);
        }
    }

    /// Whether no line of the client may pass unread.
    pub(super) fn must_read_client(&self) -> bool {
        self.ruled.as_ref().is_some_and(|ruled| ruled.can_refuse())
    }

    /// Takes a line of the client.
    pub(super) fn handle_command(
        &mut self,
        packet: PacketId,
        line: &Line,
        context: &mut Context<'_>,
    ) -> Finding {
        let bytes = self.streams.original.line_bytes(line);
        let said = (bytes, line.is_complete);
        let Some(ruled) = &mut self.ruled else {
            return self.session.handle_command(bytes, line.is_complete);
        };
        let ruling = ruled.handle_command(said, context.hosts, context.now);
        let is_done = match ruling.sentence {
            PolicyEffect::Pass => return self.pass(packet, line, &ruling, context),
            PolicyEffect::Refuse => {
                let is_owed = self.session.handle_refused(bytes, ruling.reason.clone());
                let part = self.replaceable_part(Direction::Original, line);
                let part = part.filter(|_| is_owed);
                part.inspect(|part| self.replace_command(part, context))
                    .is_some()
            }
            PolicyEffect::Reset => false,
        };
        self.report_ruling(packet, &ruling, context);
        if !is_done {
            self.abort(context);
        }
        Finding::Nothing
    }

    fn pass(
        &mut self,
        packet: PacketId,
        line: &Line,
        ruling: &PolicyDecision,
        context: &mut Context<'_>,
    ) -> Finding {
        self.report_ruling(packet, ruling, context);
        let bytes = self.streams.original.line_bytes(line);
        self.session.handle_command(bytes, line.is_complete)
    }

    /// The answer to a command of folders has come.
    pub(super) fn handle_directory_reply(&mut self, line: &Line, code: u16) {
        let bytes = self.streams.reply.line_bytes(line);
        if let Some(ruled) = &mut self.ruled {
            ruled.handle_directory_reply(code, bytes);
        }
    }

    /// Has an announcement that is refused for this reason answered, instead of going on, where that is
    /// called for. What a client announces that must not reach the server, and cannot be answered, ends
    /// the connection.
    pub(super) fn answer_refused(
        &mut self,
        (direction, line): (Direction, &Line),
        announced: Option<Announcement>,
        refusal: Refusal,
        context: &mut Context<'_>,
    ) {
        let role = role_of(direction);
        let is_ftp = self.session.not_yet_allowed() != Some(Refusal::NotFtp);
        let is_hidden = refusal == Refusal::TooManyUnanswered
            && !announced.is_some_and(|announced| {
                let admitted = self.admit_endpoint(direction, &announced, context.settings);
                admitted.is_ok()
            });
        if !is_ftp || !(is_hidden || refusal.is_answered(role)) {
            return;
        }
        let reason = Reason::Named(refusal.as_str().into());
        let part = self.replaceable_part(direction, line);
        match (role, part) {
            (Role::Client, Some(part)) if self.session.refuse_last(reason.clone()) => {
                self.replace_command(&part, context);
            }
            (Role::Client, _) => self.abort(context),
            (Role::Server, Some(part)) => {
                self.replace(direction, &part, reply_of(&part, &reason), context);
            }
            (Role::Server, None) => {}
        }
    }

    /// A line of the answer to what stands in a refused command's place.
    pub(super) fn begin_refusal(&mut self, line: &Line, context: &mut Context<'_>) {
        let new = with_refusal_code(self.streams.reply.line_bytes(line));
        if self.replaceable_part(Direction::Reply, line) == Some(*line) {
            self.replace(Direction::Reply, line, new, context);
        }
    }

    /// The last line of that answer. What waited for it may go on.
    pub(super) fn finish_refusal(
        &mut self,
        line: &Line,
        reason: &Reason,
        context: &mut Context<'_>,
    ) {
        if let Some(part) = self.replaceable_part(Direction::Reply, line) {
            self.replace(Direction::Reply, &part, reply_of(&part, reason), context);
        }
        self.lift_answered();
    }

    /// A connection that was reset stays so: what still comes of it is answered alike.
    pub(super) fn handle_broken(
        &self,
        segment: &Segment<'_>,
        context: &mut Context<'_>,
    ) -> Option<Verdict> {
        if !self.is_broken {
            return None;
        }
        let answer = reset(segment).map(|packet| Action::Inject { packet });
        context.actions.extend(answer);
        Some(Verdict::Drop)
    }

    /// Resets the connection towards both ends.
    pub(super) fn abort(&mut self, context: &mut Context<'_>) {
        self.is_broken = true;
        self.is_reset = true;
        self.withheld = Default::default();
        self.has_lifted = false;
        self.report(EventKind::Aborted, context);
        self.withdraw_all(Withdrawal::Closed, context);
        self.end_grant(context);
        self.release_place(context);
        for direction in [Direction::Original, Direction::Reply] {
            let packet = self.encode_own_reset(direction);
            context
                .actions
                .extend(packet.map(|packet| Action::Inject { packet }));
        }
    }

    /// What of a line can be replaced: all of it, or what stands behind Telnet sequences that have left.
    fn replaceable_part(&self, direction: Direction, line: &Line) -> Option<Line> {
        let stream = &self.streams[direction];
        let left = stream.has_left_of(line);
        let gone = stream.line_bytes(line).get(..left as usize)?;
        (is_sequences(gone) && !stream.map().is_full()).then(|| Line {
            start: line.start.plus(left),
            len: line.len.saturating_sub(left),
            ..*line
        })
    }

    /// Puts something harmless in a command's place, and has what follows wait for its answer, unless the
    /// server's packets do not come through here.
    fn replace_command(&mut self, line: &Line, context: &mut Context<'_>) {
        let new = substitute_command(line.len as usize);
        self.replace(Direction::Original, line, new, context);
        // The rest of a line that was cut has to go on, or the server waits for it.
        if line.is_complete && self.streams.reply.is_synchronised() {
            self.streams.original.hold_back();
        }
    }

    /// Puts a line of the same length in a line's place.
    fn replace(
        &mut self,
        direction: Direction,
        line: &Line,
        new: Vec<u8>,
        context: &mut Context<'_>,
    ) {
        let (from, start) = (role_of(direction), line.start);
        self.streams[direction].record_edit(line, new.clone());
        self.has_news |= self.is_adjusted;
        let line = new;
        self.report(EventKind::Replaced { from, start, line }, context);
    }

    fn report_ruling(&self, packet: PacketId, ruling: &PolicyDecision, context: &mut Context<'_>) {
        for (rule, action) in &ruling.told {
            let report = CommandReport {
                packet,
                verb: ruling.verb.clone(),
                rule: rule.clone(),
                action: *action,
            };
            self.report(EventKind::Command(report), context);
        }
    }

    /// A reset in the name of one end, with the number that the other expects of it.
    fn encode_own_reset(&self, direction: Direction) -> Option<Vec<u8>> {
        let stream = &self.streams[direction];
        let seq = if stream.is_synchronised() {
            stream.snd_nxt_output()
        } else {
            self.sides[!direction].ack?
        };
        let ack = self.sides[direction].ack?;
        let ack = self.streams[!direction].translate_ack(ack);
        self.encode_own(direction, (seq, ack), (&[], Flags::RST))
    }
}

/// What the answer to a refused command becomes.
fn reply_of(line: &Line, reason: &Reason) -> Vec<u8> {
    refusal_reply(line.len as usize, reason)
}
