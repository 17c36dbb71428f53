//! The entries of the command policy as they are written.

use std::{ops::Deref, sync::Arc};

use ipnetwork::IpNetwork;
use serde::Deserialize;

use super::values::{Bounded, Count, List};
use crate::proto::{
    command_policy::{
        DataFamily, Demand, ENTRIES_MAX, Mode, Operation, Pattern, PolicyAction, PolicyEntry,
        PolicyMatcher, Scope, Verb,
    },
    stream::LINE_MAX,
};

/// The longest name, and the longest text for users, in bytes: both have to fit into an answer.
const NAME_MAX: usize = 32;
const TEXT_MAX: usize = 80;

/// The entries of the command policy, in their order; each has a name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Vec<EntryKeys>")]
pub struct PolicyEntries(Vec<PolicyEntry>);

/// The keys of one entry.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EntryKeys {
    name: Option<Printable<NAME_MAX>>,
    #[serde(default)]
    control_ports: List<u16>,
    #[serde(default)]
    clients: List<IpNetwork>,
    #[serde(default)]
    servers: List<IpNetwork>,
    #[serde(default)]
    commands: List<Verb>,
    #[serde(default)]
    users: List<Pattern>,
    #[serde(default)]
    paths: List<Pattern>,
    #[serde(default)]
    operations: List<Operation>,
    mode: Option<Mode>,
    data_family: Option<DataFamily>,
    tls: Option<Demand>,
    line_max: Option<Bounded<1, { LINE_MAX as u32 }>>,
    commands_per_second: Option<Count>,
    sessions_per_client: Option<Count>,
    sessions: Option<Count>,
    action: PolicyAction,
    text: Option<Printable<TEXT_MAX>>,
}

/// A text that may stand in an answer.
#[derive(Deserialize)]
#[serde(try_from = "String")]
struct Printable<const MAX: usize>(Arc<str>);

impl Deref for PolicyEntries {
    type Target = [PolicyEntry];

    fn deref(&self) -> &[PolicyEntry] {
        &self.0
    }
}

impl TryFrom<Vec<EntryKeys>> for PolicyEntries {
    type Error = String;

    fn try_from(written: Vec<EntryKeys>) -> Result<Self, String> {
        if written.len() > ENTRIES_MAX {
            return Err(format!("more than {ENTRIES_MAX} entries"));
        }
        let entries = (1..).zip(written).map(|(number, keys)| keys.check(number));
        Ok(Self(entries.collect()))
    }
}

impl EntryKeys {
    fn check(self, number: usize) -> PolicyEntry {
        let name = self.name.map(|name| name.0);
        PolicyEntry {
            name: name.unwrap_or_else(|| format!("entry {number}").into()),
            scope: Scope {
                control_ports: self.control_ports.to_vec(),
                clients: self.clients.to_vec(),
                servers: self.servers.to_vec(),
            },
            matcher: PolicyMatcher {
                commands: self.commands.to_vec(),
                users: self.users.to_vec(),
                paths: self.paths.to_vec(),
                operations: self.operations.to_vec(),
                mode: self.mode,
                data_family: self.data_family,
                tls: self.tls,
                line_max: self.line_max.map(Bounded::get),
                commands_per_second: self.commands_per_second.map(Bounded::get),
                sessions_per_client: self.sessions_per_client.map(Bounded::get),
                sessions: self.sessions.map(Bounded::get),
            },
            action: self.action,
            text: self.text.map(|text| text.0),
        }
    }
}

impl<const MAX: usize> TryFrom<String> for Printable<MAX> {
    type Error = String;

    fn try_from(written: String) -> Result<Self, String> {
        let is_printable = written.bytes().all(|byte| matches!(byte, b' '..=b'~'));
        if !is_printable || !(1..=MAX).contains(&written.len()) {
            return Err(format!("not 1 to {MAX} printable characters of ASCII"));
        }
        Ok(Self(written.into()))
    }
}

#[cfg(test)]
mod tests;
