//! The FTP session of one control connection: which replies are owed, and what each line means.
//!
//! Only the last line of the final reply to PASV, LPSV or EPSV announces. The same text inside a
//! multi-line reply, or in the answer to another command, opens nothing (VU#328867).

mod answers;
mod command_number;
pub mod endpoint_check;
mod finding;
mod id;
mod login_state;
mod multi_line;
mod outstanding;
mod refusals;

pub use answers::OUTSTANDING_MAX;
pub use command_number::CommandNumber;
pub use finding::{Finding, FoundAnnouncement, Withdrawal};
pub use id::SessionId;

use std::collections::VecDeque;

use self::{
    answers::{Answer, OutstandingReplies, Owed},
    endpoint_check::Refusal,
    login_state::LoginState,
    multi_line::MultiLineReply,
    outstanding::{Outstanding, is_of_auth},
};
use super::ftp::{AnnouncementKind, Command, Reason, ReplyLine, parse_announcing_reply};

/// The state of one session. It takes every line of both ends, in their order.
#[derive(Clone, Debug, Default)]
pub struct Session {
    outstanding: OutstandingReplies,
    multi_line: Option<MultiLineReply>,
    /// The code of a reply that does not end, once.
    endless_reply: Option<u16>,
    /// The last command when a reply ended with another code than its own. No passive command up to
    /// there is answered any more.
    unanswered_up_to: CommandNumber,
    is_epsv_only: bool,
    login: LoginState,
    /// The reason of each refused command whose answer is owed, in the order of the commands.
    reasons: VecDeque<Reason>,
    current_command: CommandNumber,
    lost_directories: usize,
}

impl Session {
    /// The session of a connection that is known from its first packet: the server owes a greeting.
    #[must_use]
    pub fn greeted() -> Self {
        Self {
            outstanding: OutstandingReplies::greeting(),
            login: LoginState::AwaitingGreeting,
            ..Self::default()
        }
    }

    /// Takes one line of the client. `is_complete` is false where only its beginning is known.
    pub fn handle_command(&mut self, line: &[u8], is_complete: bool) -> Finding {
        let command = Command::parse(line);
        let is_tracked = self.record_command(line, Outstanding::of(&command, line));
        match command {
            Command::Announce(kind, announcement) => {
                let refusal = self.refusal_of_active(is_tracked, is_complete);
                Finding::Announcement(FoundAnnouncement {
                    kind,
                    announcement,
                    refusal,
                })
            }
            Command::Abor | Command::Rein | Command::Quit => {
                Finding::Withdraw(Withdrawal::Abandoned)
            }
            Command::Pasv
            | Command::Lpsv
            | Command::Epsv(_)
            | Command::Auth
            | Command::Ccc
            | Command::Login
            | Command::Host
            | Command::Transfer
            | Command::Directory
            | Command::Noop
            | Command::Other => Finding::Nothing,
        }
    }

    /// Takes one line of the server. `is_complete` is false where only its beginning is known.
    pub fn handle_reply(&mut self, line: &[u8], is_complete: bool) -> Finding {
        let Some(reply) = ReplyLine::parse(line) else {
            if let Some(multi_line) = &mut self.multi_line {
                multi_line.handle_text(None);
            }
            return Finding::Nothing;
        };
        let is_final = self.is_final_line(reply);
        // A preliminary reply answers nothing: the final one comes behind it (RFC 959 §4.2.1).
        if reply.code / 100 == 1 {
            if is_final {
                let answer = self.outstanding.handle_preliminary(reply.code);
                self.record_lost(&answer);
            }
            return if self.outstanding.is_next_transfer() {
                Finding::Preliminary
            } else {
                Finding::Nothing
            };
        }
        if !is_final {
            return self.handle_part_of_refusal(reply);
        }
        let Some(owed) = self.pop_outstanding(reply.code) else {
            return self.handle_surplus(reply.code, line);
        };
        // The answer to a substitute says nothing about the session: the client has not sent it.
        if owed.outstanding == Outstanding::Refused {
            return self.poll_refusal(reply.code);
        }
        self.login.handle_answer(owed.outstanding, reply.code);
        match (owed.outstanding, AnnouncementKind::from_code(reply.code)) {
            (Outstanding::Passive(asked), Some(kind)) => Finding::Announcement(FoundAnnouncement {
                kind,
                announcement: parse_announcing_reply(reply.code, line),
                refusal: self.refusal_of_passive(asked, owed.command, is_complete),
            }),
            _ => self.handle_answer(owed.outstanding, reply.code),
        }
    }

    /// Takes a line that may be the rest of a reply whose text has a LF in it. A client could have
    /// made it, so that it answers nothing that would open a pinhole.
    pub fn handle_repeated(&mut self, line: &[u8], is_complete: bool) -> Finding {
        let announcing = ReplyLine::parse(line)
            .filter(|_| self.multi_line.is_none())
            .and_then(|reply| Some((reply.code, AnnouncementKind::from_code(reply.code)?)));
        match announcing {
            Some((code, kind)) => unsolicited(code, kind, line),
            None => self.handle_reply(line, is_complete),
        }
    }

    /// The last command, or the command that the last line answered. A finding does not concern the
    /// announcements that a pipelining client has made after it.
    #[must_use]
    pub fn current_command(&self) -> CommandNumber {
        self.current_command
    }

    /// How many transfers were asked for before the [`current_command`](Self::current_command) and
    /// have not ended. They may use the announcements before it.
    #[must_use]
    pub fn outstanding_transfers(&self) -> usize {
        self.outstanding.transfers_up_to(self.current_command)
    }

    /// Whether the client has asked the server to announce, and the server has not answered. It may
    /// do so with each announcing reply: some servers answer EPSV with 227, or PASV with 229.
    #[must_use]
    pub fn awaits_announcement(&self) -> bool {
        let is_passive = |owed| matches!(owed, Outstanding::Passive(_));
        self.outstanding.contains(is_passive)
    }

    /// Takes the code of a reply that has begun and does not end, once. What the server announces
    /// is not read before it ends.
    pub fn take_endless_reply(&mut self) -> Option<u16> {
        self.endless_reply.take()
    }

    /// Takes the number of questions for the directory, or changes of it, of which nobody knows any
    /// more what the server has answered.
    pub fn take_lost_directories(&mut self) -> usize {
        std::mem::take(&mut self.lost_directories)
    }

    /// Bytes of memory behind this value, not counting the value itself.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        let reasons = self.reasons.capacity().saturating_mul(size_of::<Reason>());
        self.outstanding.heap_bytes().saturating_add(reasons)
    }

    /// Forgets which replies are owed, because lines of this connection passed unseen.
    pub fn handle_gap(&mut self) {
        // A reply that is taken for the answer to the wrong command could open a pinhole. With an
        // empty queue each 227 is unsolicited, until the client asks again.
        self.outstanding.clear();
        self.reasons.clear();
        self.multi_line = None;
        self.login.handle_gap();
    }

    /// Why no announcement of this connection opens anything yet. It has not shown that it is FTP,
    /// or the server has not let the user in.
    #[must_use]
    pub fn not_yet_allowed(&self) -> Option<Refusal> {
        self.login.refusal()
    }

    /// Whether the client has begun a login that the server has neither accepted nor refused. What
    /// it announces meanwhile can only be judged afterwards.
    #[must_use]
    pub fn awaits_login(&self) -> bool {
        self.login.is_pending() && self.outstanding.contains(|owed| owed == Outstanding::Login)
    }

    /// Whether it was shown that the connection is no FTP.
    #[must_use]
    pub fn is_refuted(&self) -> bool {
        self.login == LoginState::NotFtp
    }

    /// It is known from before that the connection is no FTP.
    pub fn refute(&mut self) {
        self.login = LoginState::NotFtp;
    }

    fn handle_answer(&mut self, answered: Outstanding, code: u16) -> Finding {
        // 2yz is success, and 4yz and 5yz are failures (RFC 959 §4.2.1). A 6yz cannot be read
        // (RFC 2228 §5), and counts as a failure.
        let is_accepted = code / 100 == 2;
        let is_rejected = code >= 400;
        match answered {
            Outstanding::Auth { .. } if is_of_auth(code) => Finding::Opaque,
            // 334 asks for security data, and TLS has none.
            Outstanding::Auth { names_tls } if is_accepted || (names_tls && code == 334) => {
                Finding::MayBecomeOpaque
            }
            Outstanding::EpsvAll => {
                self.is_epsv_only |= is_accepted;
                Finding::Nothing
            }
            // PORT has no intermediate reply (RFC 959 §5.4). A 3yz to it is not its acceptance.
            Outstanding::Active if !is_accepted => Finding::Withdraw(Withdrawal::Rejected),
            Outstanding::Passive(_) | Outstanding::Transfer { .. } if is_rejected => {
                Finding::Withdraw(Withdrawal::Rejected)
            }
            Outstanding::Transfer { .. } => Finding::TransferDone,
            Outstanding::Directory => Finding::Directory(code),
            Outstanding::Greeting
            | Outstanding::Active
            | Outstanding::Passive(_)
            | Outstanding::Auth { .. }
            | Outstanding::Abort
            | Outstanding::Login
            | Outstanding::Reinitialisation
            | Outstanding::Refused
            | Outstanding::EmptyLine
            | Outstanding::Other => Finding::Nothing,
        }
    }

    /// Takes a final reply that nothing asked for: it was said twice, or comes late.
    fn handle_surplus(&mut self, code: u16, line: &[u8]) -> Finding {
        // An attacker can have a server repeat text of his, in a listing or an error message. Only
        // the answer to PASV announces.
        AnnouncementKind::from_code(code)
            .map_or(Finding::Nothing, |kind| unsolicited(code, kind, line))
    }

    fn refusal_of_active(&self, is_tracked: bool, is_complete: bool) -> Option<Refusal> {
        if !is_complete {
            return Some(Refusal::Malformed);
        }
        if !is_tracked {
            return Some(Refusal::TooManyUnanswered);
        }
        self.is_epsv_only.then_some(Refusal::AfterEpsvAll)
    }

    fn refusal_of_passive(
        &self,
        asked: AnnouncementKind,
        command: CommandNumber,
        is_complete: bool,
    ) -> Option<Refusal> {
        if command <= self.unanswered_up_to {
            return Some(Refusal::UnsolicitedReply);
        }
        if !is_complete {
            return Some(Refusal::Malformed);
        }
        (self.is_epsv_only && asked != AnnouncementKind::Epsv).then_some(Refusal::AfterEpsvAll)
    }

    /// Whether a line ends a reply.
    fn is_final_line(&mut self, reply: ReplyLine) -> bool {
        let Some(multi_line) = &mut self.multi_line else {
            self.multi_line = (!reply.last).then(|| MultiLineReply::new(reply.code));
            return reply.last;
        };
        let is_transfer =
            multi_line.is_ended_by_transfer(reply) && self.outstanding.is_of_transfers();
        if is_transfer {
            self.unanswered_up_to = self.outstanding.last_command();
        }
        let is_final = is_transfer || multi_line.is_ended_by(reply);
        if is_final {
            self.multi_line = None;
        } else {
            multi_line.handle_text(Some(reply));
        }
        is_final
    }

    /// Records a command. `false` where its answer cannot be distinguished from others.
    fn record_command(&mut self, line: &[u8], outstanding: Outstanding) -> bool {
        self.login.handle_command(line);
        if let Some(multi_line) = &mut self.multi_line
            && multi_line.handle_command()
        {
            self.endless_reply = Some(multi_line.code());
        }
        let is_tracked = self.outstanding.push(outstanding);
        self.current_command = self.outstanding.last_command();
        is_tracked
    }

    fn pop_outstanding(&mut self, code: u16) -> Option<Owed> {
        let answer = self.outstanding.pop(code);
        self.record_lost(&answer);
        if let Some(owed) = answer.answered {
            self.current_command = owed.command;
        }
        answer.answered
    }

    fn record_lost(&mut self, answer: &Answer) {
        self.reasons
            .drain(..answer.lost_refusals.min(self.reasons.len()));
        self.lost_directories += answer.lost_directories;
    }
}

/// A reply that announces an endpoint although nobody asked for it.
fn unsolicited(code: u16, kind: AnnouncementKind, line: &[u8]) -> Finding {
    Finding::Announcement(FoundAnnouncement {
        kind,
        announcement: parse_announcing_reply(code, line),
        refusal: Some(Refusal::UnsolicitedReply),
    })
}

#[cfg(test)]
mod tests;
