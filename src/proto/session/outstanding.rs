//! What a command asks for, and which replies can be the answer to it.

use crate::proto::ftp::{AnnouncementKind, Command, EpsvArgument, skip_sequences};

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
    /// The answer to AUTH, and whether its argument names TLS.
    Auth { names_tls: bool },
    /// The answer to a command that uses the data connection. The server may have said that the
    /// transfer begins.
    Transfer { has_begun: bool },
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
    /// The answer to an empty line. Some servers have none.
    EmptyLine,
    /// The answer to any other command.
    Other,
}

impl Outstanding {
    /// The reply that a command asks for, which was read in this line.
    pub(super) fn of(command: &Command, line: &[u8]) -> Self {
        if is_empty_line(line) {
            return Self::EmptyLine;
        }
        match command {
            Command::Announce(..) => Self::Active,
            Command::Pasv => Self::Passive(AnnouncementKind::Pasv),
            Command::Lpsv => Self::Passive(AnnouncementKind::Lpsv),
            Command::Epsv(EpsvArgument::All) => Self::EpsvAll,
            Command::Epsv(_) => Self::Passive(AnnouncementKind::Epsv),
            Command::Auth => Self::Auth {
                names_tls: names_tls(line),
            },
            Command::Transfer => Self::Transfer { has_begun: false },
            Command::Abor => Self::Abort,
            Command::Login => Self::Login,
            Command::Rein => Self::Reinitialisation,
            Command::Directory => Self::Directory,
            Command::Ccc | Command::Quit | Command::Host | Command::Noop | Command::Other => {
                Self::Other
            }
        }
    }

    /// Whether a final reply with this code can be this one (RFC 959 §5.4, and what servers say
    /// beside it).
    ///
    /// Servers say 200, 202, 220, 232 or 250 to a login, and 200, 220 or 250 to most else. Only a
    /// code that means something else is no answer: 226 ends a transfer, 227 announces.
    pub(super) const fn accepts(self, code: u16) -> bool {
        let is_failure = code >= 400;
        let is_success = matches!(code, 200..=299) && !is_of_passive(code);
        let is_intermediate = matches!(code, 300..=399);
        // RFC 959 §5.4: these tell of a data connection.
        let is_of_data = matches!(code, 225 | 226 | 425 | 426);
        match self {
            Self::Greeting | Self::Reinitialisation | Self::EpsvAll => is_success || is_failure,
            Self::Login => is_success || is_intermediate || is_failure,
            // RFC 4217 §4 has 234. 235 is for mechanisms with security data (RFC 2228 §5.1).
            // Others say 200. 334 asks for security data, or is all that a server says.
            Self::Auth { .. } => matches!(code, 200..=209 | 230..=239 | 334) || is_failure,
            // Without a free port servers say 425.
            Self::Passive(_) => is_of_passive(code) || (is_failure && code != 426),
            Self::Transfer { has_begun } => {
                // 200 and its like answer a NOOP in a transfer. A server that has begun the
                // transfer has understood its command.
                let is_of_syntax = matches!(code, 500..=504);
                (is_success && code / 10 != 20) || (is_failure && !(has_begun && is_of_syntax))
            }
            Self::Abort => matches!(code, 225 | 226) || is_failure,
            Self::Refused => matches!(code, 200..=219 | 250) || (is_failure && !is_of_data),
            Self::EmptyLine => matches!(code, 500..=504),
            Self::Directory => (is_success || is_failure) && !is_of_data,
            Self::Active | Self::Other => {
                is_intermediate || is_failure || (is_success && !is_of_data)
            }
        }
    }

    /// Whether a server answers such a command while a transfer goes on. So its answer does not
    /// show that an earlier transfer is over.
    pub(super) const fn is_answered_during_transfers(self) -> bool {
        match self {
            Self::Refused | Self::EmptyLine | Self::Other | Self::Directory | Self::EpsvAll => true,
            Self::Greeting
            | Self::Active
            | Self::Passive(_)
            | Self::Auth { .. }
            | Self::Transfer { .. }
            | Self::Abort
            | Self::Login
            | Self::Reinitialisation => false,
        }
    }
}

/// Whether a code announces, or would if its command was known.
pub(super) const fn is_of_passive(code: u16) -> bool {
    matches!(code, 227..=229)
}

/// Whether the argument of AUTH is TLS, by any of its names (RFC 4217 §2, and SSL before it).
fn names_tls(line: &[u8]) -> bool {
    let name = line
        .trim_ascii()
        .rsplit(|byte| byte.is_ascii_whitespace())
        .next();
    let names: [&[u8]; 4] = [b"TLS", b"TLS-C", b"SSL", b"TLS-P"];
    name.is_some_and(|name| names.iter().any(|one| name.eq_ignore_ascii_case(one)))
}

/// Whether a line has nothing that any server would take for a command.
fn is_empty_line(line: &[u8]) -> bool {
    skip_sequences(line).iter().all(u8::is_ascii_whitespace)
}

/// Whether a code accepts AUTH and nothing else (RFC 4217 §4, RFC 2228 §5.1).
pub(super) const fn is_of_auth(code: u16) -> bool {
    matches!(code, 234 | 235)
}
