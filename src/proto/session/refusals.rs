//! Commands that are refused. A substitute reaches the server in the place of such a command, and
//! the answer to the substitute becomes the refusal.

use super::{Finding, Outstanding, Session};
use crate::proto::ftp::{Reason, ReplyLine};

/// "Service not available, closing control connection" (RFC 959 §4.2.1). A server may send it at
/// any time, and a refusal never replaces it.
const CLOSING: u16 = 421;

impl Session {
    /// Takes a line of the client that a substitute replaces. `false` where the answer to the
    /// substitute could not be distinguished from others.
    #[must_use]
    pub fn handle_refused(&mut self, line: &[u8], reason: Reason) -> bool {
        let is_tracked = self.record_command(line, Outstanding::Refused);
        if is_tracked {
            self.reasons.push_back(reason);
        }
        is_tracked
    }

    /// [`handle_refused`](Self::handle_refused) for the last line that
    /// [`handle_command`](Self::handle_command) took.
    #[must_use]
    pub fn refuse_last(&mut self, reason: Reason) -> bool {
        let is_tracked = self.outstanding.refuse_last();
        if is_tracked {
            self.reasons.push_back(reason);
        }
        is_tracked
    }

    /// Whether the answer to a refused command is owed.
    #[must_use]
    pub fn awaits_refusal(&self) -> bool {
        !self.reasons.is_empty()
    }

    /// Takes a line that does not end a reply. In the answer to a refused command, a line with the
    /// code of the reply gets the code of a refusal. Any other line is text (RFC 959 §4.2).
    pub(super) fn handle_part_of_refusal(&self, reply: ReplyLine) -> Finding {
        let is_part = self
            .multi_line
            .is_some_and(|multi_line| multi_line.code() == reply.code);
        if is_part && self.outstanding.is_refusal(reply.code) {
            Finding::RefusalBegins
        } else {
            Finding::Nothing
        }
    }

    /// Takes the last line of the answer to a refused command.
    pub(super) fn poll_refusal(&mut self, code: u16) -> Finding {
        let reason = self.reasons.pop_front();
        // The client has to read that the server closes, more than why its command was refused.
        reason
            .filter(|_| code != CLOSING)
            .map_or(Finding::Nothing, Finding::Refusal)
    }
}
