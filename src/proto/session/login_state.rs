//! Whether a connection has shown that it is FTP and that its user is logged in. Nothing is opened
//! before.
//!
//! A web page can make a browser send any bytes to port 21 of any host, also lines that look like
//! PORT (NAT slipstreaming). But the browser begins with an HTTP request, and that is no command of
//! FTP. So a session has to begin as FTP does (RFC 959 §5.4). The server greets with 2yz. The
//! client sends commands only, and before the greeting only those that may precede a login. And the
//! server lets the user in, with any 2yz.

use super::{Outstanding, endpoint_check::Refusal};
use crate::proto::ftp::{is_command_shaped, may_precede_login};

/// How far the login has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum LoginState {
    /// The login may have passed unseen: the connection was picked up in its middle, or lines of it
    /// were missed. A server can cause that at will by leaving bytes out. So the lines of the
    /// client can still show that this is not FTP.
    #[default]
    Unknown,
    /// The server has not sent its greeting yet.
    AwaitingGreeting,
    /// The server has greeted, and not let the user in yet.
    AwaitingLogin,
    /// The server has let the user in with its greeting. The client has shown nothing yet, so its
    /// lines can still show that this is not FTP.
    LetInUnasked,
    /// The server has let the user in.
    LoggedIn,
    /// The connection is not FTP. This state is final.
    NotFtp,
}

impl LoginState {
    /// Takes one line of the client.
    pub(super) fn handle_command(&mut self, line: &[u8]) {
        let is_not_ftp = match self {
            // An FTP client waits for the greeting (RFC 959 §5.4), or begins its login.
            Self::AwaitingGreeting => !may_precede_login(line),
            Self::Unknown | Self::AwaitingLogin | Self::LetInUnasked => !is_command_shaped(line),
            // A user who is logged in may send what the server does not know.
            Self::LoggedIn | Self::NotFtp => false,
        };
        if is_not_ftp {
            *self = Self::NotFtp;
        }
    }

    /// Takes a final reply of the server, and what it answers.
    pub(super) fn handle_answer(&mut self, answered: Outstanding, code: u16) {
        let is_accepted = matches!(code, 200..=299);
        *self = match (*self, answered) {
            // Some servers let everybody in, and say so with their greeting.
            (Self::AwaitingGreeting, Outstanding::Greeting) if code == 230 => Self::LetInUnasked,
            (Self::AwaitingGreeting, Outstanding::Greeting) if is_accepted => Self::AwaitingLogin,
            // Clients look at the first digit alone (RFC 959 §4.2). 202 and 220 were seen, too.
            (Self::AwaitingLogin | Self::LetInUnasked, Outstanding::Login) if is_accepted => {
                Self::LoggedIn
            }
            // REIN ends a login, and the server awaits another one (RFC 959 §4.1.1).
            (Self::LoggedIn | Self::LetInUnasked, Outstanding::Reinitialisation) if is_accepted => {
                Self::AwaitingLogin
            }
            (unchanged, _) => unchanged,
        };
    }

    /// Lines passed unseen, and the login may have been among them.
    pub(super) fn handle_gap(&mut self) {
        // `NotFtp` stays: otherwise a server could undo it by leaving bytes out.
        if !matches!(self, Self::LoggedIn | Self::NotFtp) {
            *self = Self::Unknown;
        }
    }

    /// Whether the server has not let the user in yet, and may.
    pub(super) const fn is_pending(self) -> bool {
        matches!(self, Self::AwaitingGreeting | Self::AwaitingLogin)
    }

    /// Why nothing is opened yet; `None` where announcements are honoured.
    pub(super) const fn refusal(self) -> Option<Refusal> {
        match self {
            Self::Unknown | Self::LetInUnasked | Self::LoggedIn => None,
            Self::AwaitingGreeting | Self::AwaitingLogin => Some(Refusal::NotLoggedIn),
            Self::NotFtp => Some(Refusal::NotFtp),
        }
    }
}
