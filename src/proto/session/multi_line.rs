//! Replies of several lines. `ddd-` begins one, and `ddd ` with the same code ends it. All lines
//! between are text (RFC 959 §4.2), which may begin with three digits and a blank too.
//!
//! glftpd ends a reply with another code: it writes `553-` before each line of a message, and then
//! `150 ` for the transfer that goes on. The session would never be read again. So a transfer that
//! begins ends such a reply, under conditions that no text can bring about that a client has named:
//! the reply is the refusal of a transfer, nothing else was asked for, and the server has written
//! the code before each of its lines.

use crate::proto::ftp::ReplyLine;

/// How many commands a client sends within a reply before it counts as one without an end.
const COMMANDS_MAX: u8 = 4;

/// A reply that has begun and not ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct MultiLineReply {
    code: u16,
    /// Whether a line behind the first had the code before it.
    is_prefixed: bool,
    /// Whether a line had not.
    has_text: bool,
    /// How many commands the client has sent since it began.
    commands: u8,
}

impl MultiLineReply {
    /// The reply that `ddd-` with this code begins.
    pub(super) const fn new(code: u16) -> Self {
        Self {
            code,
            is_prefixed: false,
            has_text: false,
            commands: 0,
        }
    }

    /// The code with which it ends.
    pub(super) const fn code(&self) -> u16 {
        self.code
    }

    /// Whether a line ends it.
    pub(super) const fn is_ended_by(&self, line: ReplyLine) -> bool {
        line.last && line.code == self.code
    }

    /// Whether a line says that a transfer begins, and so ends it where nothing but transfers was
    /// asked for.
    pub(super) const fn is_ended_by_transfer(&self, line: ReplyLine) -> bool {
        let begins = line.last && matches!(line.code, 125 | 150);
        begins && self.code >= 400 && self.is_prefixed && !self.has_text
    }

    /// Takes a line that does not end it. `None` for a line without a code.
    pub(super) fn handle_text(&mut self, line: Option<ReplyLine>) {
        match line {
            Some(line) if line.code == self.code => self.is_prefixed = true,
            Some(_) | None => self.has_text = true,
        }
    }

    /// Takes a command of the client. `true` once it is likely that the reply never ends.
    pub(super) fn handle_command(&mut self) -> bool {
        self.commands = self.commands.saturating_add(1);
        self.commands == COMMANDS_MAX
    }
}
