//! What a connection has shown of being FTP, before anything is opened for it.
//!
//! A browser can be made to send anything to anybody's port 21, lines that look like PORT
//! included (NAT slipstreaming). It cannot be made to wait for a greeting, nor to begin with
//! anything but a request of HTTP. So a session has to begin as FTP does: the server speaks first,
//! with 220; the client says nothing but commands; and the server lets the user in (RFC 959 §5.4).

use super::{Awaited, policy::Refusal};
use crate::proto::ftp::is_command_shaped;

/// How far the proof has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Proof {
    /// The connection was picked up in its middle, or lines of it passed unseen: the login may have
    /// been among them. A server can bring that about at will, by leaving bytes out, so what the
    /// client says is still listened to.
    #[default]
    Unseen,
    /// Nothing was said yet.
    Silent,
    /// The server has greeted.
    Greeted,
    /// The server has let the user in.
    LoggedIn,
    /// Whatever this is, it is not FTP. For good.
    Refuted,
}

impl Proof {
    /// Takes one line of the client.
    pub(super) fn handle_command(&mut self, line: &[u8]) {
        let refutes = match self {
            Self::Silent => true,
            Self::Unseen | Self::Greeted => !is_command_shaped(line),
            Self::LoggedIn | Self::Refuted => false,
        };
        if refutes {
            *self = Self::Refuted;
        }
    }

    /// Takes the server's final answer to what it was asked.
    pub(super) fn handle_answer(&mut self, answered: Option<Awaited>, code: u16) {
        *self = match (*self, answered, code) {
            (Self::Silent, Some(Awaited::Greeting), 220) => Self::Greeted,
            (Self::Greeted, Some(Awaited::Login), 230 | 232) => Self::LoggedIn,
            (Self::LoggedIn, Some(Awaited::Reinitialisation), 200..=299) => Self::Greeted,
            (unchanged, ..) => unchanged,
        };
    }

    /// Lines passed unseen: the login may have been among them.
    pub(super) fn handle_gap(&mut self) {
        if matches!(self, Self::Silent | Self::Greeted) {
            *self = Self::Unseen;
        }
    }

    /// Why nothing is opened for the connection yet.
    pub(super) const fn refusal(self) -> Option<Refusal> {
        match self {
            Self::Unseen | Self::LoggedIn => None,
            Self::Silent | Self::Greeted => Some(Refusal::NotLoggedIn),
            Self::Refuted => Some(Refusal::NotFtp),
        }
    }
}
