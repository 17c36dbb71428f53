//! Whether a connection has shown that it is FTP and that its user is logged in. Nothing is opened
//! before.
//!
//! A web page can make a browser send any bytes to port 21 of any host, also lines that look like
//! PORT (NAT slipstreaming). But the browser waits for no greeting, and it begins with an HTTP
//! request. So a session has to begin as FTP does (RFC 959 §5.4). The server sends first, with 220.
//! The client sends commands only. And the server lets the user in.

use super::{Outstanding, endpoint_check::Refusal};
use crate::proto::ftp::is_command_shaped;

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
    /// The server has let the user in.
    LoggedIn,
    /// The connection is not FTP. This state is final.
    NotFtp,
}

impl LoginState {
    /// Takes one line of the client.
    pub(super) fn handle_command(&mut self, line: &[u8]) {
        let is_not_ftp = match self {
            // An FTP client waits for the greeting (RFC 959 §5.4). A browser does not.
            Self::AwaitingGreeting => true,
            Self::Unknown | Self::AwaitingLogin => !is_command_shaped(line),
            // A user who is logged in may send what the server does not know.
            Self::LoggedIn | Self::NotFtp => false,
        };
        if is_not_ftp {
            *self = Self::NotFtp;
        }
    }

    /// Takes a final reply of the server, and what it answers.
    pub(super) fn handle_answer(&mut self, answered: Option<Outstanding>, code: u16) {
        // 232 is 230 for a user whom security data has authorised (RFC 2228 §5.1). REIN ends a
        // login, and the server awaits another one (RFC 959 §4.1.1).
        *self = match (*self, answered, code) {
            (Self::AwaitingGreeting, Some(Outstanding::Greeting), 220) => Self::AwaitingLogin,
            (Self::AwaitingLogin, Some(Outstanding::Login), 230 | 232) => Self::LoggedIn,
            (Self::LoggedIn, Some(Outstanding::Reinitialisation), 200..=299) => Self::AwaitingLogin,
            (unchanged, ..) => unchanged,
        };
    }

    /// Lines passed unseen, and the login may have been among them.
    pub(super) fn handle_gap(&mut self) {
        // `NotFtp` stays: otherwise a server could undo it by leaving bytes out.
        if matches!(self, Self::AwaitingGreeting | Self::AwaitingLogin) {
            *self = Self::Unknown;
        }
    }

    /// Why nothing is opened yet; `None` where announcements are honoured.
    pub(super) const fn refusal(self) -> Option<Refusal> {
        match self {
            Self::Unknown | Self::LoggedIn => None,
            Self::AwaitingGreeting | Self::AwaitingLogin => Some(Refusal::NotLoggedIn),
            Self::NotFtp => Some(Refusal::NotFtp),
        }
    }
}
