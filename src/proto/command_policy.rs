//! The command policy: which FTP commands the operator allows, logs, refuses or resets.
//!
//! The entries whose [`Scope`] has a connection apply to it ([`SessionPolicy`]). Each command is
//! compared with them in order. An entry that only logs does not decide. The first other entry that
//! matches decides. A command that no entry matches goes on. A command that can be read in two ways
//! (a NUL, a CR or a Telnet sequence inside it) is refused where any entry could have refused it.
//!
//! What is refused never reaches the server: the caller puts something harmless in its place and
//! turns the answer to that into a 550 (`ftp::refused`).

mod command_line;
mod cwd;
mod pattern;
mod session_policy;

use std::sync::Arc;

use ipnetwork::IpNetwork;
use serde::Deserialize;

pub use command_line::{Operation, Verb};
pub use pattern::{PATTERN_MAX, Pattern};
pub use session_policy::{PolicyDecision, PolicyEffect, SessionPolicy};

use super::net::{ConntrackTuples, Direction};

/// The most entries there may be: each command is compared with all of them.
pub const ENTRIES_MAX: usize = 256;

/// The entries, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CommandPolicy {
    entries: Vec<PolicyEntry>,
    login_directory: Option<String>,
}

impl CommandPolicy {
    /// A policy of these entries. The caller has refused more than [`ENTRIES_MAX`].
    #[must_use]
    pub fn new(entries: Vec<PolicyEntry>) -> Self {
        Self {
            entries,
            login_directory: None,
        }
    }

    /// The same where it is known in which directory each session begins, from the root.
    #[must_use]
    pub fn with_login_directory(self, login_directory: Option<String>) -> Self {
        Self {
            login_directory,
            ..self
        }
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The indices of the entries whose scope has a connection.
    fn of<'a>(&'a self, tuples: &'a ConntrackTuples) -> impl Iterator<Item = usize> + 'a {
        let entries = self.entries.iter().enumerate();
        entries.filter_map(|(index, entry)| entry.scope.has(tuples).then_some(index))
    }

    fn entry(&self, index: usize) -> Option<&PolicyEntry> {
        self.entries.get(index)
    }
}

/// One entry of the command policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyEntry {
    /// Its name: in the log, and in what the user reads.
    pub name: Arc<str>,
    /// Whom it concerns.
    pub scope: Scope,
    /// What it concerns.
    pub matcher: PolicyMatcher,
    /// What becomes of that.
    pub action: PolicyAction,
    /// What the user reads instead of the usual words.
    pub text: Option<Arc<str>>,
}

/// The connections that an entry concerns. An empty list concerns all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    /// As the client dialled it, or as the server listens.
    pub control_ports: Vec<u16>,
    /// By the client's own address.
    pub clients: Vec<IpNetwork>,
    /// By the server's own address, or the one its clients use.
    pub servers: Vec<IpNetwork>,
}

impl Scope {
    fn has(&self, tuples: &ConntrackTuples) -> bool {
        let client = tuples.sender(Direction::Original);
        let servers = [
            tuples.sender_seen_by_peer(Direction::Reply),
            tuples.sender(Direction::Reply),
        ];
        let has_port = |port: &u16| servers.iter().any(|server| server.port() == *port);
        let has_client = |network: &IpNetwork| network.contains(client.ip());
        let has_server =
            |network: &IpNetwork| servers.iter().any(|server| network.contains(server.ip()));
        is_empty_or(&self.control_ports, has_port)
            && is_empty_or(&self.clients, has_client)
            && is_empty_or(&self.servers, has_server)
    }
}

/// The commands that an entry concerns. Every field that is given has to match; of a list, one
/// element. An absent field matches everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PolicyMatcher {
    /// Verbs, such as `DELE` or `SITE CHMOD`.
    pub commands: Vec<Verb>,
    /// The user who logs in, or has logged in.
    pub users: Vec<Pattern>,
    /// The path that the command names.
    pub paths: Vec<Pattern>,
    /// What the command does to the server's files.
    pub operations: Vec<Operation>,
    /// Who would listen for the data connection that the command prepares.
    pub mode: Option<Mode>,
    /// The family of the data connection that the command prepares.
    pub data_family: Option<DataFamily>,
    /// What the command does to a demand on encryption.
    pub tls: Option<Demand>,
    /// Lines longer than so many bytes, without their end.
    pub line_max: Option<u32>,
    /// Commands beyond so many a second, of those that match otherwise.
    pub commands_per_second: Option<u32>,
    /// Logins beyond so many sessions of the client's host.
    pub sessions_per_client: Option<u32>,
    /// Logins beyond so many sessions.
    pub sessions: Option<u32>,
}

impl PolicyMatcher {
    const fn counts_sessions(&self) -> bool {
        self.sessions.is_some() || self.sessions_per_client.is_some()
    }
}

/// Who listens for a data connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// The client: PORT, EPRT, LPRT.
    Active,
    /// The server: PASV, EPSV, LPSV.
    Passive,
}

/// The IP version of a data connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DataFamily {
    /// IPv4.
    Ipv4,
    /// IPv6.
    Ipv6,
}

/// What is demanded of a session's encryption; a command that is not in keeping with it matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Demand {
    /// No login before AUTH.
    Required,
    /// No AUTH.
    Forbidden,
}

/// The action on a command that an entry matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PolicyAction {
    /// It goes on, whatever later entries say.
    Allow,
    /// It is logged, and the next entry is compared.
    Log,
    /// The user reads a 550, and the server nothing.
    Refuse,
    /// The connection is reset towards both ends.
    Reset,
}

impl PolicyAction {
    /// The stable lower-case identifier.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Log => "log",
            Self::Refuse => "refuse",
            Self::Reset => "reset",
        }
    }
}

fn is_empty_or<T>(list: &[T], is_wanted: impl FnMut(&T) -> bool) -> bool {
    list.is_empty() || list.iter().any(is_wanted)
}

#[cfg(test)]
mod tests;
