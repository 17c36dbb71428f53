//! The roles of the two ends, and the kinds of lines with which they announce.

use std::ops;

use crate::proto::net::Direction;

/// The two ends of a control connection in the terms of FTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// The end that sends commands (the user-PI of RFC 959).
    Client,
    /// The end that sends replies (the server-PI).
    Server,
}

impl Role {
    /// The end that sends in a direction of a control connection. Its client has opened it.
    #[must_use]
    pub const fn of_sender(direction: Direction) -> Self {
        match direction {
            Direction::Original => Self::Client,
            Direction::Reply => Self::Server,
        }
    }

    /// The stable lower-case identifier.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Server => "server",
        }
    }

    /// The kinds of lines with which this end announces.
    #[must_use]
    pub const fn kinds(self) -> &'static [AnnouncementKind] {
        match self {
            Self::Client => &[
                AnnouncementKind::Port,
                AnnouncementKind::Eprt,
                AnnouncementKind::Lprt,
            ],
            Self::Server => &[
                AnnouncementKind::Pasv,
                AnnouncementKind::Epsv,
                AnnouncementKind::Lpsv,
            ],
        }
    }
}

impl ops::Not for Role {
    type Output = Self;

    fn not(self) -> Self {
        match self {
            Self::Client => Self::Server,
            Self::Server => Self::Client,
        }
    }
}

/// A kind of line that announces a data endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum AnnouncementKind {
    /// `PORT h1,h2,h3,h4,p1,p2` (RFC 959).
    Port,
    /// `EPRT |family|address|port|` (RFC 2428).
    Eprt,
    /// `LPRT family,length,h…,2,p1,p2` (RFC 1639).
    Lprt,
    /// `227 … (h1,h2,h3,h4,p1,p2)`, the answer to PASV.
    Pasv,
    /// `229 … (|||port|)`, the answer to EPSV.
    Epsv,
    /// `228 … (family,length,h…,2,p1,p2)`, the answer to LPSV.
    Lpsv,
}

impl AnnouncementKind {
    /// The name of the command that announces, or that asks for the announcement.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Port => "PORT",
            Self::Eprt => "EPRT",
            Self::Lprt => "LPRT",
            Self::Pasv => "PASV",
            Self::Epsv => "EPSV",
            Self::Lpsv => "LPSV",
        }
    }

    /// The reply code that announces; `None` for the kinds of the client.
    #[must_use]
    pub const fn code(self) -> Option<u16> {
        match self {
            Self::Pasv => Some(227),
            Self::Lpsv => Some(228),
            Self::Epsv => Some(229),
            Self::Port | Self::Eprt | Self::Lprt => None,
        }
    }

    /// The kind of an announcing reply, by its code.
    #[must_use]
    pub const fn from_code(code: u16) -> Option<Self> {
        match code {
            227 => Some(Self::Pasv),
            228 => Some(Self::Lpsv),
            229 => Some(Self::Epsv),
            _ => None,
        }
    }

    /// The end that announces and listens.
    #[must_use]
    pub const fn announcer(self) -> Role {
        match self {
            Self::Port | Self::Eprt | Self::Lprt => Role::Client,
            Self::Pasv | Self::Epsv | Self::Lpsv => Role::Server,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_is_announced_by_the_role_that_lists_it() {
        for role in [Role::Client, Role::Server] {
            for kind in role.kinds() {
                assert_eq!(kind.announcer(), role);
                assert_ne!(kind.announcer(), !role);
            }
        }
    }

    #[test]
    fn a_code_and_its_kind_name_each_other() {
        for kind in Role::Server.kinds() {
            assert_eq!(
                kind.code().and_then(AnnouncementKind::from_code),
                Some(*kind)
            );
        }
        assert!(
            Role::Client
                .kinds()
                .iter()
                .all(|kind| kind.code().is_none())
        );
        assert_eq!(AnnouncementKind::from_code(226), None);
    }
}
