//! The command policy: which FTP commands the operator allows, logs, refuses or resets.
//!
//! An entry applies to the connections in its [`Scope`] ([`SessionPolicy`]). Each command is
//! compared with the entries in their order, and the first one that matches decides. An entry that
//! only logs does not decide. A command that no entry matches goes on.
//!
//! A command with a NUL, a CR or a Telnet sequence inside can be read in two ways. It is refused
//! where any entry could refuse a command.
//!
//! A refused command never reaches the server. The caller puts a substitute in its place, and turns
//! the answer to the substitute into a 550 (`ftp::refused`).

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

/// The most entries, because each command may be compared with all of them.
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

    /// The same policy, with the directory in which each session begins, as a path from the root.
    #[must_use]
    pub fn with_login_directory(self, login_directory: Option<String>) -> Self {
        Self {
            login_directory,
            ..self
        }
    }

    /// Whether it has no entry.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The indices of the entries that apply to a connection.
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
    /// Its name in the log and in the refusal.
    pub name: Arc<str>,
    /// The connections that it applies to.
    pub scope: Scope,
    /// The commands that it matches.
    pub matcher: PolicyMatcher,
    /// The action on a command that it matches.
    pub action: PolicyAction,
    /// The text of the refusal, in the place of the usual words.
    pub text: Option<Arc<str>>,
}

/// The connections that an entry applies to. An empty list stands for all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    /// The port that the client dialled, or on which the server listens.
    pub control_ports: Vec<u16>,
    /// The client's own address.
    pub clients: Vec<IpNetwork>,
    /// The server's own address, or the one that its clients use.
    pub servers: Vec<IpNetwork>,
}

impl Scope {
    fn has(&self, tuples: &ConntrackTuples) -> bool {
        let client = tuples.sender(Direction::Original);
        // An operator may know a server by either address: the one behind a port-forward, or the
        // one that clients dial.
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

/// The commands that an entry matches. Each given field has to match, and of a list one element.
/// An absent field matches all commands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PolicyMatcher {
    /// Verbs, such as `DELE` or `SITE CHMOD`.
    pub commands: Vec<Verb>,
    /// The user of the session, or of the USER command at hand.
    pub users: Vec<Pattern>,
    /// The path that the command names.
    pub paths: Vec<Pattern>,
    /// The effect of the command on the server's files.
    pub operations: Vec<Operation>,
    /// The end that would listen for the data connection.
    pub mode: Option<Mode>,
    /// The IP version of the data connection.
    pub data_family: Option<DataFamily>,
    /// A demand on encryption that the command violates.
    pub tls: Option<Demand>,
    /// Lines longer than this number of bytes, without their end.
    pub line_max: Option<u32>,
    /// The commands beyond this rate, of those that match otherwise.
    pub commands_per_second: Option<u32>,
    /// The logins beyond this number of sessions of the client's host.
    pub sessions_per_client: Option<u32>,
    /// The logins beyond this number of sessions.
    pub sessions: Option<u32>,
}

impl PolicyMatcher {
    const fn counts_sessions(&self) -> bool {
        self.sessions.is_some() || self.sessions_per_client.is_some()
    }
}

/// The end that listens for a data connection.
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

/// A demand on the encryption of a session. The commands that violate it match.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Demand {
    /// A login may only follow an accepted AUTH. Then it is encrypted, and not read here.
    Required,
    /// AUTH is forbidden.
    Forbidden,
}

/// The action on a command that an entry matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PolicyAction {
    /// The command goes on. Later entries are not compared.
    Allow,
    /// The command is logged. The next entry is compared.
    Log,
    /// The user reads a 550, and the server does not get the command.
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
