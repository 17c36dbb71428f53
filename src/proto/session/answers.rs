//! The replies that the server owes, and which of them a reply is.
//!
//! A server answers commands in their order, each with any number of 1yz replies and one final
//! reply (RFC 959 §4.2, §5.4). But some commands are never answered (NOOP in a transfer, empty
//! lines), and some are answered twice. So a reply is the first one owed that its code
//! [can be](Outstanding::accepts). What was owed before that one does not come any more.

use std::collections::VecDeque;

use super::{
    command_number::CommandNumber,
    outstanding::{Outstanding, is_of_auth, is_of_passive},
};

/// The most outstanding replies that are tracked. A client that pipelines more commands keeps
/// working. Its further announcements are refused until the server has caught up.
pub const OUTSTANDING_MAX: usize = 32;

/// An outstanding reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Owed {
    /// The command that it answers.
    pub(super) command: CommandNumber,
    pub(super) outstanding: Outstanding,
    /// Whether some servers leave it out.
    is_optional: bool,
}

impl Owed {
    /// Whether another reply may come in its place or before it: some servers leave it out, or
    /// answer other commands during the transfer.
    const fn is_loose(&self) -> bool {
        let is_of_transfer = matches!(
            self.outstanding,
            Outstanding::Transfer { .. } | Outstanding::Abort
        );
        self.is_optional || is_of_transfer
    }
}

/// What a final reply is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Answer {
    /// The reply that was owed; `None` where none with this code was.
    pub(super) answered: Option<Owed>,
    /// How many refused commands will not be answered any more.
    pub(super) lost_refusals: usize,
    /// How many questions for the directory, or changes of it, will not be answered any more.
    pub(super) lost_directories: usize,
}

/// The outstanding replies, in the order of the commands.
#[derive(Clone, Debug, Default)]
pub(super) struct OutstandingReplies {
    queue: VecDeque<Owed>,
    /// Replies beyond [`OUTSTANDING_MAX`], which are only counted.
    untracked: u32,
    last_command: CommandNumber,
    /// The last command when a reply came that could be one of several, until a later command has
    /// an answer that only it can have. Meanwhile a reply may be taken for that of a neighbour.
    doubted_up_to: Option<CommandNumber>,
}

impl OutstandingReplies {
    /// What is owed at the start of a connection.
    pub(super) fn greeting() -> Self {
        let mut all = Self::default();
        all.push(Outstanding::Greeting);
        all
    }

    /// The number of the last command whose reply was added.
    pub(super) const fn last_command(&self) -> CommandNumber {
        self.last_command
    }

    /// Adds the reply to the next command. `false` where it is only counted.
    pub(super) fn push(&mut self, outstanding: Outstanding) -> bool {
        self.last_command = self.last_command.next();
        let is_optional = outstanding == Outstanding::EmptyLine
            || (outstanding == Outstanding::Other && self.is_in_transfer());
        if self.queue.len() >= OUTSTANDING_MAX {
            self.forget_optional();
        }
        // Once one reply is untracked, those behind it are too: the queue has no gaps.
        let is_tracked = self.queue.len() < OUTSTANDING_MAX && self.untracked == 0;
        if is_tracked {
            self.queue.push_back(Owed {
                command: self.last_command,
                outstanding,
                is_optional,
            });
        } else {
            self.untracked = self.untracked.saturating_add(1);
        }
        is_tracked
    }

    /// Makes the last reply that of a refused command. `false` where it is not tracked.
    pub(super) fn refuse_last(&mut self) -> bool {
        match self.queue.back_mut().filter(|_| self.untracked == 0) {
            Some(last) => {
                last.outstanding = Outstanding::Refused;
                last.is_optional = false;
                true
            }
            None => false,
        }
    }

    /// Takes a final reply with this code.
    pub(super) fn pop(&mut self, code: u16) -> Answer {
        if self.is_ambiguous(code) {
            self.doubted_up_to = Some(self.last_command);
        }
        let Some(at) = self.find_answered(code) else {
            self.untracked = self.untracked.saturating_sub(1);
            return Answer::default();
        };
        let mut answer = Answer {
            answered: self.queue.remove(at),
            ..Answer::default()
        };
        let shows_end = answer
            .answered
            .is_some_and(|owed| !owed.outstanding.is_answered_during_transfers());
        self.drop_before(at, shows_end, &mut answer);
        match answer.answered {
            // Nothing but its own command has such an answer.
            Some(owed) if is_of_passive(code) => self.settle(owed.command),
            Some(owed) if owed.outstanding == Outstanding::Directory && self.is_doubted() => {
                answer.lost_directories += 1;
                answer.answered = Some(Owed {
                    outstanding: Outstanding::Other,
                    ..owed
                });
            }
            Some(_) | None => {}
        }
        answer
    }

    /// Takes a preliminary reply: with 125 and 150 a transfer begins.
    pub(super) fn handle_preliminary(&mut self, code: u16) -> Answer {
        let mut answer = Answer::default();
        let awaits_begin = Outstanding::Transfer { has_begun: false };
        let at = self.position(|owed| owed.outstanding == awaits_begin);
        if let Some(at) = at.filter(|_| matches!(code, 125 | 150)) {
            if let Some(owed) = self.queue.get_mut(at) {
                owed.outstanding = Outstanding::Transfer { has_begun: true };
                let command = owed.command;
                self.settle(command);
            }
            self.drop_before(at, true, &mut answer);
        }
        answer
    }

    /// Whether the reply that is owed first is the end of a transfer.
    pub(super) fn is_next_transfer(&self) -> bool {
        let first = self.queue.front().map(|owed| owed.outstanding);
        matches!(first, Some(Outstanding::Transfer { .. }))
    }

    /// Whether a final reply with this code is the one to a refused command.
    pub(super) fn is_refusal(&self, code: u16) -> bool {
        let at = self.find_answered(code);
        at.and_then(|at| self.queue.get(at))
            .is_some_and(|owed| owed.outstanding == Outstanding::Refused)
    }

    /// Whether the reply to a transfer comes next, and none that could repeat what a client says.
    pub(super) fn is_of_transfers(&self) -> bool {
        let is_transfer = |owed| matches!(owed, Outstanding::Transfer { has_begun: false });
        let is_terse = |owed| {
            is_transfer(owed) || matches!(owed, Outstanding::Active | Outstanding::Passive(_))
        };
        self.untracked == 0
            && self
                .queue
                .front()
                .is_some_and(|owed| is_transfer(owed.outstanding))
            && !self.contains(|owed| !is_terse(owed))
    }

    /// Whether a reply is owed for which this holds.
    pub(super) fn contains(&self, is_it: impl Fn(Outstanding) -> bool) -> bool {
        self.queue.iter().any(|owed| is_it(owed.outstanding))
    }

    /// How many transfers were asked for up to a command, and have not ended.
    pub(super) fn transfers_up_to(&self, command: CommandNumber) -> usize {
        let is_transfer = |owed: &&Owed| matches!(owed.outstanding, Outstanding::Transfer { .. });
        let earlier = self.queue.iter().filter(|owed| owed.command <= command);
        earlier.filter(is_transfer).count()
    }

    /// Forgets all of them.
    pub(super) fn clear(&mut self) {
        self.queue.clear();
        self.untracked = 0;
        // Their answers may still come.
        self.doubted_up_to = Some(self.last_command);
    }

    /// Bytes of memory behind this value, not counting the value itself.
    pub(super) fn heap_bytes(&self) -> usize {
        self.queue.capacity().saturating_mul(size_of::<Owed>())
    }

    fn position(&self, is_it: impl Fn(&Owed) -> bool) -> Option<usize> {
        self.queue.iter().position(is_it)
    }

    fn find_answered(&self, code: u16) -> Option<usize> {
        let first = self.position(|owed| self.accepts(owed, code))?;
        // A server greets before it answers.
        let is_greeted = self.queue.front()?.outstanding != Outstanding::Greeting;
        if !is_greeted && first > 0 {
            return None;
        }
        let firm = self.position(|owed| self.accepts(owed, code) && !owed.is_optional);
        // What may be left out gives way to what may not. A failure tells of the first: an empty
        // line is no command. And no directory is believed that may be another one.
        let gives_way = |at: &usize| {
            let firm = self.queue.get(*at).map(|owed| owed.outstanding);
            code < 400 && firm != Some(Outstanding::Directory)
        };
        Some(firm.filter(gives_way).unwrap_or(first))
    }

    /// Whether a reply with this code can be the answer to a command. Where it could be that of
    /// another one too, AUTH is accepted with its own codes alone: a client could go on in the
    /// clear behind a few bytes of TLS.
    fn accepts(&self, owed: &Owed, code: u16) -> bool {
        let is_unclear = matches!(owed.outstanding, Outstanding::Auth { .. })
            && matches!(code, 200..=399)
            && !is_of_auth(code)
            && self.is_doubted();
        owed.outstanding.accepts(code) && !is_unclear
    }

    /// Whether a reply with this code could be one of several that are owed, in any order.
    fn is_ambiguous(&self, code: u16) -> bool {
        let accepts = |owed: &&Owed| owed.outstanding.accepts(code);
        let mut candidates = self.queue.iter().filter(accepts);
        candidates.clone().nth(1).is_some() && candidates.any(Owed::is_loose)
    }

    /// Whether a reply may be taken for that of a neighbour.
    const fn is_doubted(&self) -> bool {
        self.doubted_up_to.is_some()
    }

    /// Servers begin to answer commands in their order, and this one is being answered.
    fn settle(&mut self, command: CommandNumber) {
        self.doubted_up_to = self.doubted_up_to.filter(|doubted| *doubted >= command);
    }

    /// Drops what was owed before the place of a reply that has come. A transfer and its ABOR stay
    /// where the reply may have come within it.
    fn drop_before(&mut self, end: usize, shows_end: bool, answer: &mut Answer) {
        let is_aborted = self
            .queue
            .iter()
            .take(end)
            .any(|owed| owed.outstanding == Outstanding::Abort);
        let keeps_transfers = !shows_end && !is_aborted;
        let mut place = 0_usize;
        self.queue.retain(|owed| {
            let is_transfer = matches!(owed.outstanding, Outstanding::Transfer { .. });
            let is_kept = place >= end || (is_transfer && keeps_transfers);
            place = place.saturating_add(1);
            if !is_kept {
                answer.lost_refusals += usize::from(owed.outstanding == Outstanding::Refused);
                answer.lost_directories += usize::from(owed.outstanding == Outstanding::Directory);
            }
            is_kept
        });
    }

    fn is_in_transfer(&self) -> bool {
        self.contains(|owed| owed == Outstanding::Transfer { has_begun: true })
    }

    /// Makes room in the queue, where a reply is owed that may never come.
    fn forget_optional(&mut self) {
        if let Some(at) = self.position(|owed| owed.is_optional) {
            self.queue.remove(at);
        }
    }
}
