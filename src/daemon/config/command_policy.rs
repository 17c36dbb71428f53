//! `[[command_policy]]` as it is written, and checked.

use std::sync::Arc;

use serde::Deserialize;
use toml::Spanned;

use super::{
    document::{Networks, Number, Text, checked, networks},
    value::{self, Problem},
};
use crate::proto::{
    command_policy::{
        CommandPolicy, DataFamily, Demand, ENTRIES_MAX, Mode, Operation, PATTERN_MAX, Pattern,
        PolicyAction, PolicyEntry, PolicyMatcher, Scope, Verb,
    },
    stream::LINE_MAX,
};

type Texts = Option<Vec<Spanned<String>>>;

/// The longest name, and the longest text for users, in bytes: both have to fit into an answer.
const NAME_MAX: usize = 32;
const TEXT_MAX: usize = 80;

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(super) struct EntryTable {
    name: Text,
    control_ports: Option<Vec<Spanned<i64>>>,
    clients: Networks,
    servers: Networks,
    commands: Texts,
    users: Texts,
    paths: Texts,
    operations: Texts,
    mode: Text,
    data_family: Text,
    tls: Text,
    line_max: Number,
    commands_per_second: Number,
    sessions_per_client: Number,
    sessions: Number,
    action: Text,
    text: Text,
}

/// Checks all entries. `control_ports` are those that are followed at all.
pub(super) fn check(
    tables: Vec<Spanned<EntryTable>>,
    login_directory: Text,
    control_ports: &[u16],
) -> Result<Arc<CommandPolicy>, Problem> {
    let login_directory = checked(login_directory, directory)?;
    let mut entries: Vec<PolicyEntry> = Vec::new();
    for table in tables {
        let (span, number) = (table.span(), entries.len() + 1);
        if number > ENTRIES_MAX {
            let reason = format!("more than {ENTRIES_MAX} entries");
            return Err(Problem::new(span, reason));
        }
        let entry = table.into_inner().check(&span, number, control_ports)?;
        if entries.iter().any(|earlier| earlier.name == entry.name) {
            let reason = format!("another entry has the name `{}` already", entry.name);
            return Err(Problem::new(span, reason));
        }
        entries.push(entry);
    }
    Ok(Arc::new(
        CommandPolicy::new(entries).with_login_directory(login_directory),
    ))
}

impl EntryTable {
    fn check(
        self,
        span: &std::ops::Range<usize>,
        number: usize,
        control_ports: &[u16],
    ) -> Result<PolicyEntry, Problem> {
        let action = checked(self.action, action)?.ok_or_else(|| {
            Problem::new(
                span.clone(),
                "an entry needs an action: \"allow\", \"log\", \"refuse\" or \"reset\"",
            )
        })?;
        let written_ports = self.control_ports.unwrap_or_default();
        Ok(PolicyEntry {
            name: checked(self.name, name)?.unwrap_or_else(|| format!("entry {number}").into()),
            scope: Scope {
                control_ports: written_ports
                    .into_iter()
                    .map(|port| control_port(&port, control_ports))
                    .collect::<Result<_, _>>()?,
                clients: networks(self.clients)?,
                servers: networks(self.servers)?,
            },
            matcher: PolicyMatcher {
                commands: each(self.commands, verb)?,
                users: each(self.users, pattern)?,
                paths: each(self.paths, pattern)?,
                operations: each(self.operations, operation)?,
                mode: checked(self.mode, mode)?,
                data_family: checked(self.data_family, data_family)?,
                tls: checked(self.tls, demand)?,
                line_max: checked(self.line_max, line_max)?,
                commands_per_second: checked(self.commands_per_second, value::limit)?,
                sessions_per_client: checked(self.sessions_per_client, value::limit)?,
                sessions: checked(self.sessions, value::limit)?,
            },
            action,
            text: checked(self.text, text)?,
        })
    }
}

/// Each of a list that, where it is written, names something.
fn each<T>(written: Texts, check: impl Fn(&str) -> Result<T, String>) -> Result<Vec<T>, Problem> {
    let written = written.unwrap_or_default();
    let checked = written
        .into_iter()
        .map(|text| check(text.get_ref()).map_err(|reason| Problem::new(text.span(), reason)));
    checked.collect()
}

fn control_port(written: &Spanned<i64>, control_ports: &[u16]) -> Result<u16, Problem> {
    let port = u16::try_from(*written.get_ref()).ok();
    port.filter(|port| control_ports.contains(port))
        .ok_or_else(|| {
            let reason = format!("{} is not one of control_ports", written.get_ref());
            Problem::new(written.span(), reason)
        })
}

fn name(written: &str) -> Result<Arc<str>, String> {
    printable(written, NAME_MAX, "an entry's name")
}

fn text(written: &str) -> Result<Arc<str>, String> {
    printable(written, TEXT_MAX, "a text for users")
}

fn printable(written: &str, most: usize, what: &str) -> Result<Arc<str>, String> {
    let is_printable = written.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    if written.is_empty() || written.len() > most || !is_printable {
        return Err(format!(
            "{what} has 1 to {most} printable characters of ASCII"
        ));
    }
    Ok(written.into())
}

fn verb(written: &str) -> Result<Verb, String> {
    Verb::parse(written).ok_or_else(|| {
        format!(
            "`{}` is not a command such as \"DELE\" or \"SITE CHMOD\"",
            written.escape_debug()
        )
    })
}

fn pattern(written: &str) -> Result<Pattern, String> {
    if written.is_empty() || written.len() > PATTERN_MAX {
        return Err(format!("a pattern has 1 to {PATTERN_MAX} bytes"));
    }
    Ok(Pattern::new(written))
}

fn directory(written: &str) -> Result<String, String> {
    let is_whole = written.starts_with('/') && written.len() <= PATTERN_MAX;
    is_whole.then(|| written.to_owned()).ok_or_else(|| {
        format!(
            "a directory of the servers begins with a slash, and has at most {PATTERN_MAX} bytes"
        )
    })
}

fn line_max(written: &i64) -> Result<u32, String> {
    let most = u32::try_from(*written).ok();
    most.filter(|most| (1..=LINE_MAX as u32).contains(most))
        .ok_or_else(|| format!("{written} is not a line's length: it must be from 1 to {LINE_MAX}"))
}

fn operation(written: &str) -> Result<Operation, String> {
    const NAMES: [(&str, Operation); 4] = [
        ("read", Operation::Read),
        ("write", Operation::Write),
        ("list", Operation::List),
        ("change", Operation::Change),
    ];
    value::one_of(written, &NAMES)
}

fn mode(written: &str) -> Result<Mode, String> {
    value::one_of(
        written,
        &[("active", Mode::Active), ("passive", Mode::Passive)],
    )
}

fn data_family(written: &str) -> Result<DataFamily, String> {
    value::one_of(
        written,
        &[("ipv4", DataFamily::Ipv4), ("ipv6", DataFamily::Ipv6)],
    )
}

fn demand(written: &str) -> Result<Demand, String> {
    value::one_of(
        written,
        &[
            ("required", Demand::Required),
            ("forbidden", Demand::Forbidden),
        ],
    )
}

fn action(written: &str) -> Result<PolicyAction, String> {
    const NAMES: [(&str, PolicyAction); 4] = [
        ("allow", PolicyAction::Allow),
        ("log", PolicyAction::Log),
        ("refuse", PolicyAction::Refuse),
        ("reset", PolicyAction::Reset),
    ];
    value::one_of(written, &NAMES)
}

#[cfg(test)]
mod tests;
