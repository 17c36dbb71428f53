//! The FTP side of a connection: what its lines mean, and what the command policy says of them.

use super::context::Context;
use crate::proto::{
    command_policy::{PolicyDecision, PolicyEffect, SessionPolicy},
    event::{CommandReport, EventKind},
    ftp::{Command, Reason, Role, could_announce_any_of, is_sequences},
    net::ConntrackTuples,
    session::{CommandNumber, Finding, Session, endpoint_check::Refusal},
    stream::Line,
};

/// One dialogue of commands and replies.
#[derive(Clone, Debug, Default)]
pub(super) struct Dialogue {
    session: Session,
    /// Whether the server has ended a line with CR LF.
    server_uses_crlf: bool,
    /// Whether the server's last line announced an endpoint that was asked for.
    has_just_announced: bool,
    /// The command policy, where an entry of it concerns the connection.
    policy: Option<Box<SessionPolicy>>,
}

/// What becomes of a line of the client.
#[derive(Debug)]
pub(super) enum Heard {
    /// It goes on, and this is what it means.
    Finding(Finding),
    /// The command policy refuses it: something harmless goes on in its place, and the answer to
    /// that is known when it comes.
    Refused,
    /// It must not reach the server, and nothing can be put in its place.
    MustAbort,
}

impl Dialogue {
    /// The dialogue of a connection begins: its server owes a greeting.
    pub(super) fn begin(&mut self, tuples: &ConntrackTuples, context: &Context<'_>) {
        self.session = Session::greeted();
        self.apply_policy(tuples, context);
    }

    /// The server's greeting is the first thing that is seen of the connection.
    pub(super) fn begin_at_greeting(&mut self) {
        self.session = Session::greeted();
    }

    /// Applies the command policy as it is now, from the connection's beginning or from where it is
    /// picked up.
    pub(super) fn apply_policy(&mut self, tuples: &ConntrackTuples, context: &Context<'_>) {
        self.release_policy(context);
        self.policy = SessionPolicy::new(&context.settings.command_policy, tuples);
    }

    /// The session does not count any more among those that the policy counts.
    pub(super) fn release_policy(&mut self, context: &Context<'_>) {
        if let Some(policy) = &mut self.policy {
            policy.end(context.shared);
        }
    }

    /// Takes a line of the client.
    pub(super) fn handle_command(
        &mut self,
        line: &[u8],
        is_complete: bool,
        context: &mut Context<'_>,
    ) -> Heard {
        let Some(policy) = &mut self.policy else {
            return Heard::Finding(self.session.handle_command(line, is_complete));
        };
        let decision = policy.handle_command(line, is_complete, context.shared, context.now);
        report_decision(&decision, context);
        match decision.effect {
            PolicyEffect::Pass => Heard::Finding(self.session.handle_command(line, is_complete)),
            PolicyEffect::Refuse if self.session.handle_refused(line, decision.reason) => {
                Heard::Refused
            }
            PolicyEffect::Refuse | PolicyEffect::Reset => Heard::MustAbort,
        }
    }

    /// Takes the code of a reply that does not end, once.
    pub(super) fn take_endless_reply(&mut self) -> Option<u16> {
        self.session.take_endless_reply()
    }

    /// Whether a line of the client can only be judged once the server has answered its login.
    pub(super) fn must_wait_for_login(&self, line: &[u8]) -> bool {
        self.session.awaits_login() && matches!(Command::parse(line), Command::Announce(..))
    }

    /// Takes a line of the server.
    pub(super) fn handle_reply(&mut self, bytes: &[u8], line: &Line) -> Finding {
        // A server that ends its lines with CR LF repeats a LF: of a command, or of a file's name.
        // Its own 227 repeats nothing, and some end that one with LF.
        let is_repeated =
            self.server_uses_crlf && line.follows_lf_alone && !self.has_just_announced;
        self.server_uses_crlf |= line.ends_with_cr;
        let finding = if is_repeated {
            self.session.handle_repeated(bytes, line.is_complete)
        } else {
            self.session.handle_reply(bytes, line.is_complete)
        };
        self.has_just_announced =
            matches!(&finding, Finding::Announcement(found) if found.refusal.is_none());
        let lost = self.session.take_lost_directories();
        if let Some(policy) = &mut self.policy {
            policy.handle_lost_directory_replies(lost);
            if let Finding::Directory(code) = finding {
                policy.handle_directory_reply(code, bytes);
            }
        }
        finding
    }

    /// The command that was taken last does not go on: something harmless goes in its place.
    /// `false` where the answer to that could not be distinguished from others.
    #[must_use]
    pub(super) fn refuse_last(&mut self, reason: Reason) -> bool {
        self.session.refuse_last(reason)
    }

    /// Lines passed unseen.
    pub(super) fn handle_gap(&mut self) {
        self.session.handle_gap();
        if let Some(policy) = &mut self.policy {
            policy.handle_gap();
        }
    }

    /// The connection was encrypted, and is in the clear again: what was said meanwhile is not
    /// known.
    pub(super) fn handle_unread(&mut self) {
        self.session = Session::default();
        if let Some(policy) = &mut self.policy {
            policy.handle_gap();
        }
    }

    /// Whether no line of this end may pass unread, whatever it may become: of a client to which a
    /// refusing policy applies, and of a server whose answer becomes a refusal.
    pub(super) fn must_read(&self, role: Role) -> bool {
        match role {
            Role::Client => self
                .policy
                .as_ref()
                .is_some_and(|policy| policy.can_refuse()),
            Role::Server => self.session.awaits_refusal(),
        }
    }

    /// Whether a partial line may not leave yet: it could still become an announcement, or it must
    /// be read anyway.
    pub(super) fn must_hold(&self, role: Role, partial: &[u8]) -> bool {
        // The line's end is CRLF, and a segment may end between the two.
        let crs = partial.iter().rev().take_while(|byte| **byte == b'\r');
        let text = partial
            .get(..partial.len().saturating_sub(crs.count()))
            .unwrap_or_default();
        // Telnet's synch has to leave with the packet that says that it is urgent.
        !is_sequences(text)
            && (self.must_hold_unread(role, partial) || self.could_announce(role, text))
    }

    /// Whether it was shown that the connection is no FTP.
    pub(super) fn is_refuted(&self) -> bool {
        self.session.is_refuted()
    }

    /// It is known from before that the connection is no FTP.
    pub(super) fn refute(&mut self) {
        self.session.refute();
    }

    /// Why nothing is opened yet, whatever is announced: the connection has not shown that it is
    /// FTP, or its user is not logged in.
    pub(super) fn not_yet_allowed(&self) -> Option<Refusal> {
        self.session.not_yet_allowed()
    }

    /// The command that the last line was, or answered.
    pub(super) fn current_command(&self) -> CommandNumber {
        self.session.current_command()
    }

    /// How many transfers were asked for before the current command and have not ended.
    pub(super) fn outstanding_transfers(&self) -> usize {
        self.session.outstanding_transfers()
    }

    /// Whether the answer to a refused command is owed.
    pub(super) fn awaits_refusal(&self) -> bool {
        self.session.awaits_refusal()
    }

    /// Bytes of memory behind this value, not counting the value itself.
    pub(super) fn heap_bytes(&self) -> usize {
        let policy = self.policy.as_ref().map_or(0, |policy| policy.heap_bytes());
        self.session.heap_bytes().saturating_add(policy)
    }

    /// Whether a partial line may not leave because its end must be read.
    fn must_hold_unread(&self, role: Role, partial: &[u8]) -> bool {
        let policy = self.policy.as_ref().filter(|_| role == Role::Client);
        self.must_read(role)
            && !policy.is_some_and(|policy| policy.lets_begun_password_out(partial))
    }

    /// A server's line announces only where the client has asked for it.
    fn could_announce(&self, role: Role, text: &[u8]) -> bool {
        let is_awaited = role == Role::Client || self.session.awaits_announcement();
        is_awaited && could_announce_any_of(role.kinds(), text)
    }
}

fn report_decision(decision: &PolicyDecision, context: &mut Context<'_>) {
    for (entry, action) in &decision.logged {
        let report = CommandReport {
            packet: context.packet,
            verb: decision.verb.clone(),
            entry: entry.clone(),
            action: *action,
        };
        context.report(EventKind::Command(report));
    }
}
