//! The replies that the server owes, in the order of the commands.
//!
//! A server answers commands in their order, each with any number of 1yz replies and one final
//! reply (RFC 959 §4.2, §5.4). So the queue says which command a reply answers.

use std::collections::VecDeque;

use crate::proto::ftp::{AnnouncementKind, Command, EpsvArgument};

/// The most outstanding replies that are tracked. A client that pipelines more commands keeps
/// working. Its further announcements are refused until the server has caught up.
pub const OUTSTANDING_MAX: usize = 32;

/// A reply that the server owes, by the command that it answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outstanding {
    /// The greeting, which answers no command.
    Greeting,
    /// The answer to PORT, EPRT or LPRT.
    Active,
    /// The answer to PASV, LPSV or EPSV.
    Passive(AnnouncementKind),
    /// The answer to EPSV ALL.
    EpsvAll,
    /// The answer to AUTH.
    Auth,
    /// The answer to a command that uses the data connection.
    Transfer,
    /// The answer to ABOR.
    Abort,
    /// The answer to USER, PASS or ACCT.
    Login,
    /// The answer to REIN.
    Reinitialisation,
    /// The answer to CWD, CDUP or PWD.
    Directory,
    /// The answer to the substitute of a refused command.
    Refused,
    /// The answer to any other command.
    Other,
}

impl Outstanding {
    /// The reply that a command asks for.
    pub(super) const fn of(command: &Command) -> Self {
        match command {
            Command::Announce(..) => Self::Active,
            Command::Pasv => Self::Passive(AnnouncementKind::Pasv),
            Command::Lpsv => Self::Passive(AnnouncementKind::Lpsv),
            Command::Epsv(EpsvArgument::All) => Self::EpsvAll,
            Command::Epsv(_) => Self::Passive(AnnouncementKind::Epsv),
            Command::Auth => Self::Auth,
            Command::Transfer => Self::Transfer,
            Command::Abor => Self::Abort,
            Command::Login => Self::Login,
            Command::Rein => Self::Reinitialisation,
            Command::Directory => Self::Directory,
            Command::Ccc | Command::Quit | Command::Host | Command::Noop | Command::Other => {
                Self::Other
            }
        }
    }
}

/// The queue of outstanding replies.
#[derive(Clone, Debug, Default)]
pub(super) struct OutstandingReplies {
    queue: VecDeque<Outstanding>,
    /// Replies beyond [`OUTSTANDING_MAX`], which are only counted.
    untracked: u32,
}

impl OutstandingReplies {
    /// The queue at the start of a connection.
    pub(super) fn greeting() -> Self {
        Self {
            queue: VecDeque::from([Outstanding::Greeting]),
            untracked: 0,
        }
    }

    /// Adds a reply. `false` where it is only counted.
    pub(super) fn push(&mut self, outstanding: Outstanding) -> bool {
        // Once one reply is untracked, those behind it are too: the queue has no gaps.
        let is_tracked = self.queue.len() < OUTSTANDING_MAX && self.untracked == 0;
        if is_tracked {
            self.queue.push_back(outstanding);
        } else {
            self.untracked = self.untracked.saturating_add(1);
        }
        is_tracked
    }

    /// Makes the last reply that of a refused command. `false` where it is not tracked.
    pub(super) fn refuse_last(&mut self) -> bool {
        match self.queue.back_mut().filter(|_| self.untracked == 0) {
            Some(last) => {
                *last = Outstanding::Refused;
                true
            }
            None => false,
        }
    }

    /// Takes the reply that a final reply with this code is. `None` where it is not tracked.
    pub(super) fn pop(&mut self, code: u16) -> Option<Outstanding> {
        for _ in 0..self.unanswered_by_abort(code) {
            self.queue.pop_front();
        }
        let answered = self.queue.pop_front();
        if answered.is_none() {
            self.untracked = self.untracked.saturating_sub(1);
        }
        answered
    }

    /// Takes the next reply if it is the one to a refused command.
    pub(super) fn pop_refused(&mut self) -> bool {
        let is_refused = self.is_next_refused();
        if is_refused {
            self.queue.pop_front();
        }
        is_refused
    }

    /// Whether the next reply is the one to a refused command.
    pub(super) fn is_next_refused(&self) -> bool {
        self.queue.front() == Some(&Outstanding::Refused)
    }

    /// Whether a reply of this sort is owed.
    pub(super) fn contains(&self, outstanding: Outstanding) -> bool {
        self.queue.contains(&outstanding)
    }

    /// How many replies are owed.
    pub(super) fn len(&self) -> u64 {
        self.queue.len() as u64 + u64::from(self.untracked)
    }

    /// How many of the first `count` replies are those of transfers.
    pub(super) fn transfers_among(&self, count: u64) -> usize {
        let first = self.queue.iter().zip(0..count);
        first
            .filter(|(outstanding, _)| **outstanding == Outstanding::Transfer)
            .count()
    }

    /// Forgets all of them.
    pub(super) fn clear(&mut self) {
        self.queue.clear();
        self.untracked = 0;
    }

    /// Bytes of memory behind this value, not counting the value itself.
    pub(super) fn heap_bytes(&self) -> usize {
        let each = size_of::<Outstanding>();
        self.queue.capacity().saturating_mul(each)
    }

    /// How many replies will not come any more, as a reply with this code shows.
    ///
    /// An aborted transfer has two replies: 426 for the transfer and 226 for ABOR (RFC 959
    /// §4.1.3). Some servers send one reply for both, and Pure-FTPd sends none. Without this count
    /// each later reply would be taken for the answer to an earlier command.
    fn unanswered_by_abort(&self, code: u16) -> usize {
        let is_of_abort = matches!(code, 225 | 226) || code >= 400;
        match (self.queue.front(), self.queue.get(1)) {
            // One reply has ended the transfer and answered ABOR. This one answers the command
            // behind ABOR.
            (Some(Outstanding::Abort), Some(_)) if !is_of_abort => 1,
            // Neither was answered. But 250 may still be the end of the transfer, and so is any
            // reply while no later command could have one.
            (Some(Outstanding::Transfer), Some(Outstanding::Abort))
                if !is_of_abort && code != 250 && self.queue.len() > 2 =>
            {
                2
            }
            _ => 0,
        }
    }
}
