//! What a connection has shown of being FTP, before anything is opened for it.
//!
//! A browser can be made to send anything to anybody's port 21, lines that look like PORT
//! included (NAT slipstreaming). It cannot be made to wait for a greeting, nor to begin with
//! anything but a request of HTTP. So a session has to begin as FTP does: the server speaks first,
//! with 220; the client says nothing but commands; and the server lets the user in (RFC 959 §5.4).

use super::{Outstanding, endpoint_check::Refusal};
use crate::proto::ftp::is_command_shaped;

/// How far the proof has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum LoginState {
    /// The connection was picked up in its middle, or lines of it passed unseen: the login may have
    /// been among them. A server can bring that about at will, by leaving bytes out, so what the
    /// client says is still listened to.
    #[default]
    Unknown,
    /// Nothing was said yet.
    AwaitingGreeting,
    /// The server has greeted.
    AwaitingLogin,
    /// The server has let the user in.
    LoggedIn,
    /// Whatever this is, it is not FTP. For good.
    NotFtp,
}

impl LoginState {
    /// Takes one line of the client.
    pub(super) fn handle_command(&mut self, line: &[u8]) {
        let refutes = match self {
            Self::AwaitingGreeting => true,
            Self::Unknown | Self::AwaitingLogin => !is_command_shaped(line),
            Self::LoggedIn | Self::NotFtp => false,
        };
        if refutes {
            *self = Self::NotFtp;
        }
    }

    /// Takes the server's final answer to what it was asked.
    pub(super) fn handle_answer(&mut self, answered: Option<Outstanding>, code: u16) {
        *self = match (*self, answered, code) {
            (Self::AwaitingGreeting, Some(Outstanding::Greeting), 220) => Self::AwaitingLogin,
            (Self::AwaitingLogin, Some(Outstanding::Login), 230 | 232) => Self::LoggedIn,
            (Self::LoggedIn, Some(Outstanding::Reinitialisation), 200..=299) => Self::AwaitingLogin,
            (unchanged, ..) => unchanged,
        };
    }

    /// Lines passed unseen: the login may have been among them.
    pub(super) fn handle_gap(&mut self) {
        if matches!(self, Self::AwaitingGreeting | Self::AwaitingLogin) {
            *self = Self::Unknown;
        }
    }

    /// Why nothing is opened for the connection yet.
    pub(super) const fn refusal(self) -> Option<Refusal> {
        match self {
            Self::Unknown | Self::LoggedIn => None,
            Self::AwaitingGreeting | Self::AwaitingLogin => Some(Refusal::NotLoggedIn),
            Self::NotFtp => Some(Refusal::NotFtp),
        }
    }
}
