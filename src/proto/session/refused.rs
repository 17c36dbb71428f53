//! Commands that do not reach the server: something harmless stands in their place, and the answer to that
//! becomes their refusal.

use super::{Finding, Outstanding, Session};
use crate::proto::ftp::{Reason, ReplyLine};

/// "Service not available, closing control connection" (RFC 959 §4.2.1) may come at any time, and stays
/// what it is.
const CLOSING: u16 = 421;

impl Session {
    /// Takes a line of the client in whose place something harmless goes on. `false` where the answer
    /// to that could not be told from others.
    #[must_use]
    pub fn handle_refused(&mut self, line: &[u8], reason: Reason) -> bool {
        let is_tracked = self.record_command(line, Outstanding::Refused);
        if is_tracked {
            self.reasons.push_back(reason);
        }
        is_tracked
    }

    /// The same of the line that was taken last as a command.
    #[must_use]
    pub fn refuse_last(&mut self, reason: Reason) -> bool {
        let Some(last) = self
            .outstanding
            .back_mut()
            .filter(|_| self.untracked_replies == 0)
        else {
            return false;
        };
        *last = Outstanding::Refused;
        self.reasons.push_back(reason);
        true
    }

    /// Whether the answer to a refused command is owed.
    #[must_use]
    pub fn awaits_refusal(&self) -> bool {
        !self.reasons.is_empty()
    }

    /// Whether the server ends the session where a refusal was due: that is the answer then.
    pub(super) fn closes_instead_of_refusing(&mut self, code: u16) -> bool {
        let closes = code == CLOSING && self.outstanding.front() == Some(&Outstanding::Refused);
        if closes {
            self.outstanding.pop_front();
            self.reasons.pop_front();
        }
        closes
    }

    /// A line that does not end an answer. Within the answer to a refused command those that bear its
    /// code get that of a refusal; others are text.
    pub(super) fn handle_part_of_refusal(&self, reply: ReplyLine) -> Finding {
        let is_part = self.multi_line == Some(reply.code);
        if is_part && self.outstanding.front() == Some(&Outstanding::Refused) {
            Finding::RefusalBegins
        } else {
            Finding::Nothing
        }
    }

    /// What the final answer to a refused command becomes.
    pub(super) fn poll_refusal(&mut self) -> Finding {
        let reason = self.reasons.pop_front();
        reason.map_or(Finding::Nothing, Finding::Refusal)
    }
}
