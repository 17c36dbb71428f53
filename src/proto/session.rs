//! What one control connection is about: which answers are owed, what may still be announced.
//!
//! The server answers commands in order, each with any number of 1yz replies and one final reply
//! (RFC 959 §4.2, §5.4), so a queue of owed answers tells which command a reply belongs to. Only
//! the final line of a reply to PASV, LPSV or EPSV announces; the same text inside a multi-line
//! reply, or in answer to anything else, opens nothing (VU#328867).

pub mod endpoint_check;
mod id;
mod login_state;
mod refused;

pub use id::SessionId;

use std::collections::VecDeque;

use self::{endpoint_check::Refusal, login_state::LoginState};
use super::ftp::{
    Announcement, AnnouncementKind, Command, EpsvArgument, Malformed, Reason, ReplyLine,
    parse_announcing_reply,
};

/// How many answers are tracked one by one. A client that pipelines more keeps working, but what
/// it announces beyond that is refused until the server has caught up.
pub const OUTSTANDING_MAX: usize = 32;

/// What a line was found to mean.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// Nothing that concerns data connections.
    Nothing,
    /// A line announced a data endpoint, or tried to.
    Announcement(FoundAnnouncement),
    /// What was announced is not needed any more.
    Withdraw(Withdrawal),
    /// A transfer came to its end; its data connection is over.
    TransferDone,
    /// From here on the connection is encrypted.
    Opaque,
    /// The answer to what was put in a refused command's place, which goes on: it has the code of a
    /// refusal.
    RefusalBegins,
    /// The last line of such an answer: the user reads why the command was refused.
    Refusal(Reason),
    /// The final answer to a command of folders, with its code.
    Directory(u16),
}

/// An announcement as it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundAnnouncement {
    /// Which kind of line it was.
    pub kind: AnnouncementKind,
    /// The endpoint, or why the line has none.
    pub announcement: Result<Announcement, Malformed>,
    /// Why it must not be honoured, whatever it says.
    pub refusal: Option<Refusal>,
}

/// Why an expectation that was not used yet is withdrawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Withdrawal {
    /// The server rejected the announcement or the transfer (4yz, 5yz).
    Rejected,
    /// The client sent ABOR, REIN or QUIT.
    Abandoned,
    /// A newer announcement took its place.
    Superseded,
    /// The control connection is closing or gone.
    Closed,
    /// Its time was up.
    Expired,
    /// Its transfer is over.
    Finished,
    /// The connection turned opaque.
    Opaque,
}

impl Withdrawal {
    /// The stable lower-case identifier for logs and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Rejected => "rejected",
            Self::Abandoned => "abandoned",
            Self::Superseded => "superseded",
            Self::Closed => "closed",
            Self::Expired => "expired",
            Self::Finished => "finished",
            Self::Opaque => "opaque",
        }
    }
}

/// An answer that the server owes, by what was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outstanding {
    Greeting,
    /// PORT, EPRT or LPRT.
    Active,
    /// PASV, LPSV or EPSV.
    Passive(AnnouncementKind),
    EpsvAll,
    Auth,
    Transfer,
    Abort,
    /// USER, PASS or ACCT.
    Login,
    /// REIN.
    Reinitialisation,
    /// CWD, CDUP or PWD.
    Directory,
    /// What was put in a refused command's place.
    Refused,
    Other,
}

/// The state of one control connection. It sees every complete line of both sides, in order.
#[derive(Clone, Debug, Default)]
pub struct Session {
    outstanding: VecDeque<Outstanding>,
    /// Commands beyond [`OUTSTANDING_MAX`] whose answers are only counted.
    untracked_replies: u32,
    /// The code of the multi-line reply that has begun and not ended.
    multi_line: Option<u16>,
    is_epsv_only: bool,
    login: LoginState,
    /// Why, of each refused command whose answer is owed.
    reasons: VecDeque<Reason>,
    commands: u64,
    current_command: CommandNumber,
}

/// Counts the commands of a session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct CommandNumber(u64);

impl Session {
    /// The session of a connection seen from its first packet: the server owes a greeting.
    #[must_use]
    pub fn greeted() -> Self {
        Self {
            outstanding: VecDeque::from([Outstanding::Greeting]),
            login: LoginState::AwaitingGreeting,
            ..Self::default()
        }
    }

    /// Takes one line of the client. `is_complete` is false where the line was cut.
    pub fn handle_command(&mut self, line: &[u8], is_complete: bool) -> Finding {
        let command = Command::parse(line);
        let is_tracked = self.record_command(line, outstanding_of(&command));
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

    /// Takes one line of the server. `is_complete` is false where the line was cut.
    pub fn handle_reply(&mut self, line: &[u8], is_complete: bool) -> Finding {
        let Some(reply) = ReplyLine::parse(line) else {
            return Finding::Nothing;
        };
        let is_final = self.is_final_line(reply);
        if reply.code / 100 == 1 {
            return Finding::Nothing;
        }
        if !is_final {
            return self.handle_part_of_refusal(reply);
        }
        if self.closes_instead_of_refusing(reply.code) {
            return Finding::Nothing;
        }
        let answered = self.pop_outstanding(reply.code);
        if answered == Some(Outstanding::Refused) {
            return self.poll_refusal();
        }
        self.login.handle_answer(answered, reply.code);
        match announcing_kind(reply.code) {
            Some(kind) => Finding::Announcement(FoundAnnouncement {
                kind,
                announcement: parse_announcing_reply(reply.code, line),
                refusal: self.refusal_of_passive(kind, answered, is_complete),
            }),
            None => self.handle_answer(answered, reply.code),
        }
    }

    /// The command that the last line was, or answered. What a pipelining client announced after
    /// it is not touched by what the line means.
    #[must_use]
    pub fn current_command(&self) -> CommandNumber {
        self.current_command
    }

    /// How many transfers were asked for before the [`current_command`](Self::current_command) and
    /// have not ended. They may use what was announced before it.
    #[must_use]
    pub fn outstanding_transfers(&self) -> usize {
        let earlier = self.current_command.0.saturating_sub(self.answered());
        let outstanding = self.outstanding.iter().zip(0..earlier);
        outstanding
            .filter(|(outstanding, _)| **outstanding == Outstanding::Transfer)
            .count()
    }

    /// Whether the server may announce by a line of this kind: the client asked for it.
    #[must_use]
    pub fn awaits(&self, kind: AnnouncementKind) -> bool {
        self.outstanding.contains(&Outstanding::Passive(kind))
    }

    /// Bytes of memory behind this value, not counting the value itself.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        let reasons = self.reasons.capacity().saturating_mul(size_of::<Reason>());
        let outstanding = self
            .outstanding
            .capacity()
            .saturating_mul(size_of::<Outstanding>());
        outstanding.saturating_add(reasons)
    }

    /// Forgets which answers are owed: lines of this connection passed unseen.
    pub fn handle_gap(&mut self) {
        self.outstanding.clear();
        self.reasons.clear();
        self.untracked_replies = 0;
        self.multi_line = None;
        self.login.handle_gap();
    }

    /// Why nothing may be opened for this connection, whatever is announced: it has not shown that
    /// it is FTP, and its user let in.
    #[must_use]
    pub fn not_yet_allowed(&self) -> Option<Refusal> {
        self.login.refusal()
    }

    /// How many commands the server has answered.
    fn answered(&self) -> u64 {
        let owed = self.outstanding.len() as u64 + u64::from(self.untracked_replies);
        self.commands.saturating_sub(owed)
    }

    fn handle_answer(&mut self, answered: Option<Outstanding>, code: u16) -> Finding {
        let is_accepted = code / 100 == 2;
        let is_rejected = code >= 400;
        match answered {
            Some(Outstanding::Auth) if code == 234 || code == 235 => Finding::Opaque,
            Some(Outstanding::EpsvAll) => {
                self.is_epsv_only |= is_accepted;
                Finding::Nothing
            }
            Some(Outstanding::Active) if !is_accepted => Finding::Withdraw(Withdrawal::Rejected),
            Some(Outstanding::Passive(_) | Outstanding::Transfer) if is_rejected => {
                Finding::Withdraw(Withdrawal::Rejected)
            }
            Some(Outstanding::Transfer) => Finding::TransferDone,
            Some(Outstanding::Directory) => Finding::Directory(code),
            Some(_) | None => Finding::Nothing,
        }
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
        kind: AnnouncementKind,
        answered: Option<Outstanding>,
        is_complete: bool,
    ) -> Option<Refusal> {
        if answered != Some(Outstanding::Passive(kind)) {
            return Some(Refusal::UnsolicitedReply);
        }
        if !is_complete {
            return Some(Refusal::Malformed);
        }
        (self.is_epsv_only && kind != AnnouncementKind::Epsv).then_some(Refusal::AfterEpsvAll)
    }

    /// Follows multi-line replies: `ddd-` begins one, `ddd ` with the same code ends it, and
    /// nothing between counts (RFC 959 §4.2).
    fn is_final_line(&mut self, reply: ReplyLine) -> bool {
        match self.multi_line {
            Some(code) if reply.last && reply.code == code => self.multi_line = None,
            Some(_) => return false,
            None if !reply.last => self.multi_line = Some(reply.code),
            None => {}
        }
        reply.last
    }

    /// Takes note of a command. Tells whether its answer will be known when it comes.
    fn record_command(&mut self, line: &[u8], outstanding: Outstanding) -> bool {
        self.commands = self.commands.saturating_add(1);
        self.current_command = CommandNumber(self.commands);
        self.login.handle_command(line);
        let is_tracked = self.outstanding.len() < OUTSTANDING_MAX && self.untracked_replies == 0;
        if is_tracked {
            self.outstanding.push_back(outstanding);
        } else {
            self.untracked_replies = self.untracked_replies.saturating_add(1);
        }
        is_tracked
    }

    /// How many answers will not come any more, as the one that has come shows: some servers end an aborted
    /// transfer and answer ABOR with one reply, not two, and Pure-FTPd with none at all.
    fn unanswered_by_abort(&self, code: u16) -> usize {
        let is_of_abort = matches!(code, 225 | 226) || code >= 400;
        match (self.outstanding.front(), self.outstanding.get(1)) {
            (Some(Outstanding::Abort), Some(_)) if !is_of_abort => 1,
            (Some(Outstanding::Transfer), Some(Outstanding::Abort))
                if !is_of_abort && code != 250 && self.outstanding.len() > 2 =>
            {
                2
            }
            _ => 0,
        }
    }

    fn pop_outstanding(&mut self, code: u16) -> Option<Outstanding> {
        for _ in 0..self.unanswered_by_abort(code) {
            self.outstanding.pop_front();
        }
        let answered = self.outstanding.pop_front();
        if answered.is_none() {
            self.untracked_replies = self.untracked_replies.saturating_sub(1);
        }
        self.current_command = CommandNumber(self.answered());
        answered
    }
}

const fn outstanding_of(command: &Command) -> Outstanding {
    match command {
        Command::Announce(..) => Outstanding::Active,
        Command::Pasv => Outstanding::Passive(AnnouncementKind::Pasv),
        Command::Lpsv => Outstanding::Passive(AnnouncementKind::Lpsv),
        Command::Epsv(EpsvArgument::All) => Outstanding::EpsvAll,
        Command::Epsv(_) => Outstanding::Passive(AnnouncementKind::Epsv),
        Command::Auth => Outstanding::Auth,
        Command::Transfer => Outstanding::Transfer,
        Command::Abor => Outstanding::Abort,
        Command::Login => Outstanding::Login,
        Command::Rein => Outstanding::Reinitialisation,
        Command::Directory => Outstanding::Directory,
        Command::Ccc | Command::Quit | Command::Host | Command::Noop | Command::Other => {
            Outstanding::Other
        }
    }
}

fn announcing_kind(code: u16) -> Option<AnnouncementKind> {
    match code {
        227 => Some(AnnouncementKind::Pasv),
        228 => Some(AnnouncementKind::Lpsv),
        229 => Some(AnnouncementKind::Epsv),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
