//! The entries of the command policy that apply to one session, and their state.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    CommandPolicy, DataFamily, Pattern, PolicyAction, PolicyEntry, PolicyMatcher,
    command_line::CommandLine, cwd::WorkingDirectory,
};
use crate::proto::{
    budget::{SessionCount, TokenBucket},
    ftp::Reason,
    net::{ConntrackTuples, Direction},
    shared::SharedTables,
};

/// The depth of the token bucket of an entry: one second's worth of its rate.
const RATE_BURST: Duration = Duration::from_secs(1);

/// The longest user name that is kept, in bytes. Of a longer one the beginning is kept.
const USER_MAX: usize = 128;

/// The name in the log and in the refusal of a command that can be read in two ways.
const TWO_READINGS: &str = "two readings";

/// The effect of the policy on a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PolicyEffect {
    /// The command goes on.
    Pass,
    /// The user reads a 550, and the server does not get the command.
    Refuse,
    /// The connection is reset.
    Reset,
}

/// The decision of the policy on a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyDecision {
    /// The effect on the command.
    pub effect: PolicyEffect,
    /// The reason that the user of a refused command reads.
    pub reason: Reason,
    /// The names and actions of the entries that log the command, in their order.
    pub logged: Vec<(Arc<str>, PolicyAction)>,
    /// The verb for the log; `?` where the word may be no verb.
    pub verb: String,
}

/// A session in the scope of at least one entry. A reload does not change its entries.
#[derive(Clone, Debug)]
pub struct SessionPolicy {
    policy: Arc<CommandPolicy>,
    entries: Vec<EntryState>,
    data_family: DataFamily,
    client: std::net::IpAddr,
    user: Option<Vec<u8>>,
    directory: WorkingDirectory,
}

/// The state of one entry in a session.
#[derive(Clone, Copy, Debug)]
struct EntryState {
    /// The index of the entry.
    entry: usize,
    bucket: TokenBucket,
    is_counted: bool,
}

impl SessionPolicy {
    /// The session of a connection; `None` where no entry applies to it.
    #[must_use]
    pub fn new(policy: &Arc<CommandPolicy>, tuples: &ConntrackTuples) -> Option<Box<Self>> {
        let entries: Vec<EntryState> = policy.of(tuples).map(EntryState::new).collect();
        let client = tuples.sender(Direction::Original).ip();
        (!entries.is_empty()).then(|| {
            Box::new(Self {
                policy: Arc::clone(policy),
                entries,
                data_family: DataFamily::of(client),
                client,
                user: None,
                directory: WorkingDirectory::default(),
            })
        })
    }

    /// Whether an entry could keep a command of this session from its server.
    #[must_use]
    pub fn can_refuse(&self) -> bool {
        let mut entries = self
            .entries
            .iter()
            .filter_map(|state| self.policy.entry(state.entry));
        entries.any(|entry| entry.action.is_against())
    }

    /// Whether a begun line may leave as it comes: it is one with a password, which no entry can
    /// refuse whatever follows, and so far it has one reading.
    ///
    /// Bytes that are held may have to be acknowledged on the server's behalf. A password is left
    /// to its sender where that is possible.
    #[must_use]
    pub fn lets_begun_password_out(&self, begun: &[u8]) -> bool {
        // The line's end is CRLF, and a segment may end between the two.
        let text = begun.strip_suffix(b"\r").unwrap_or(begun);
        let command = CommandLine::parse(text, false);
        command.begins_password()
            && !command.has_two_readings()
            && !self
                .entries
                .iter()
                .filter_map(|state| self.policy.entry(state.entry))
                .any(|entry| self.may_refuse_password(entry, &command))
    }

    /// Takes a line of the client without its end. `is_complete` is false where only its beginning
    /// is known.
    pub fn handle_command(
        &mut self,
        line: &[u8],
        is_complete: bool,
        shared: &SharedTables,
        now: Instant,
    ) -> PolicyDecision {
        let command = CommandLine::parse(line, is_complete);
        let decision = self.evaluate(&command, shared, now);
        if decision.effect == PolicyEffect::Pass {
            self.record(&command);
        }
        decision
    }

    /// Takes the final answer to CWD, CDUP or PWD.
    pub fn handle_directory_reply(&mut self, code: u16, line: &[u8]) {
        self.directory.handle_answer(code, line);
    }

    /// The server does not answer this many of the oldest changes of the directory any more.
    pub fn handle_lost_directory_replies(&mut self, count: usize) {
        for _ in 0..count {
            self.directory.handle_lost_answer();
        }
    }

    /// Forgets the directory, because lines passed unseen.
    pub fn handle_gap(&mut self) {
        self.directory.forget();
    }

    /// Records the end of the session with the entries that count it.
    pub fn end(&mut self, shared: &SharedTables) {
        for state in self.entries.iter_mut().filter(|state| state.is_counted) {
            state.is_counted = false;
            if let Some(entry) = self.policy.entry(state.entry) {
                shared.hosts().end_counted(&entry.name, self.client);
            }
        }
    }

    /// Bytes of memory behind this value, itself included.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        let user = self.user.as_ref().map_or(0, Vec::capacity);
        size_of::<Self>()
            .saturating_add(
                self.entries
                    .capacity()
                    .saturating_mul(size_of::<EntryState>()),
            )
            .saturating_add(user)
            .saturating_add(self.directory.heap_bytes())
    }

    fn evaluate(
        &mut self,
        command: &CommandLine<'_>,
        shared: &SharedTables,
        now: Instant,
    ) -> PolicyDecision {
        let mut decision = PolicyDecision {
            effect: PolicyEffect::Pass,
            reason: Reason::Named(TWO_READINGS.into()),
            logged: Vec::new(),
            verb: command.loggable_verb(),
        };
        // The entries are compared with one reading, and the server may have the other.
        if command.has_two_readings() && self.can_refuse() {
            decision.effect = PolicyEffect::Refuse;
            decision
                .logged
                .push((TWO_READINGS.into(), PolicyAction::Refuse));
            return decision;
        }
        let policy = Arc::clone(&self.policy);
        for at in 0..self.entries.len() {
            let index = self.entries.get(at).map(|state| state.entry);
            let Some(entry) = index.and_then(|index| policy.entry(index)) else {
                continue;
            };
            if !self.matches(entry, command) || !self.exceeds(at, command, shared, now) {
                continue;
            }
            if entry.action != PolicyAction::Allow {
                decision
                    .logged
                    .push((Arc::clone(&entry.name), entry.action));
            }
            // An entry that only logs does not decide. The next one may.
            if entry.action != PolicyAction::Log {
                decision.effect = entry.action.effect();
                decision.reason = entry.reason();
                break;
            }
        }
        decision
    }

    /// Whether an entry matches a line, without its counts and its rate.
    fn matches(&self, entry: &PolicyEntry, command: &CommandLine<'_>) -> bool {
        let PolicyMatcher {
            commands,
            users,
            paths,
            operations,
            mode,
            data_family,
            tls,
            line_max,
            ..
        } = &entry.matcher;
        (commands.is_empty() || command.is_one_of(commands))
            && (operations.is_empty()
                || command
                    .operation()
                    .is_some_and(|is| operations.contains(&is)))
            && mode.is_none_or(|mode| command.mode() == Some(mode))
            && data_family
                .is_none_or(|family| command.data_family(self.data_family) == Some(family))
            && tls.is_none_or(|demand| command.violates(demand))
            && line_max.is_none_or(|most| command.is_longer_than(most))
            && (users.is_empty() || self.user_matches(users, command))
            && (paths.is_empty() || self.path_matches(paths, entry.action, command))
    }

    /// Whether an entry can refuse a line with a password, of which only the verb is known.
    fn may_refuse_password(&self, entry: &PolicyEntry, command: &CommandLine<'_>) -> bool {
        let matcher = &entry.matcher;
        let verbs = &matcher.commands;
        // Such a line names no path, works on no file, and opens no data connection.
        let concerns_others = !matcher.paths.is_empty()
            || !matcher.operations.is_empty()
            || matcher.mode.is_some()
            || matcher.data_family.is_some()
            || matcher.counts_sessions();
        entry.action.is_against()
            && !concerns_others
            && (verbs.is_empty() || verbs.iter().any(|verb| command.has_word_of(verb)))
            && matcher.tls.is_none_or(|demand| command.violates(demand))
            && (matcher.users.is_empty() || self.user_matches(&matcher.users, command))
    }

    /// Whether a command exceeds the counts and the rate of an entry; true where it has none.
    fn exceeds(
        &mut self,
        at: usize,
        command: &CommandLine<'_>,
        shared: &SharedTables,
        now: Instant,
    ) -> bool {
        let Some(state) = self.entries.get_mut(at) else {
            return false;
        };
        let Some(entry) = self.policy.entry(state.entry) else {
            return false;
        };
        if entry.matcher.counts_sessions() {
            // A session counts from its login on, because the entry may name a user.
            let is_login = command.is("USER");
            if !is_login || !state.is_one_too_many(entry, self.client, shared) {
                return false;
            }
        }
        let rate = entry.matcher.commands_per_second;
        rate.is_none_or(|rate| !state.bucket.take_within(RATE_BURST, 1, rate, now))
    }

    fn user_matches(&self, users: &[Pattern], command: &CommandLine<'_>) -> bool {
        // USER logs in anew, also within a session. So its argument counts, and not the user
        // before.
        let own = command.is("USER").then_some(command.argument);
        let user = own.or(self.user.as_deref());
        user.is_some_and(|user| users.iter().any(|pattern| pattern.matches(user)))
    }

    /// Whether the path that a command names matches a pattern.
    fn path_matches(
        &self,
        paths: &[Pattern],
        action: PolicyAction,
        command: &CommandLine<'_>,
    ) -> bool {
        let Some(path) = command.path() else {
            return false;
        };
        let whole = self.directory.path(path);
        let name = last_name(whole.as_deref().unwrap_or(path));
        paths.iter().any(|pattern| match &whole {
            // A name may hold a backslash on a server that is not on Windows. Both readings count.
            _ if !pattern.has_directory() => pattern.matches(name) || pattern.matches(path),
            Some(whole) => pattern.matches(whole),
            // The working directory is unknown, and the path may be any. So an entry that refuses
            // matches, and one that allows does not.
            None => action.is_against(),
        })
    }

    /// Records a command that goes to the server.
    fn record(&mut self, command: &CommandLine<'_>) {
        if command.is("USER") {
            let kept = command.argument.get(..USER_MAX).unwrap_or(command.argument);
            self.user = Some(kept.to_vec());
            // Servers begin a login in a directory of the user's.
            self.directory.enter(self.policy.login_directory.as_deref());
        } else if command.is("REIN") {
            self.user = None;
            self.directory.forget();
        }
        self.directory.handle_command(command);
    }
}

impl EntryState {
    fn new(entry: usize) -> Self {
        Self {
            entry,
            bucket: TokenBucket::default(),
            is_counted: false,
        }
    }

    /// Counts the session of a login for an entry. `true` where it is one more than allowed.
    fn is_one_too_many(
        &mut self,
        entry: &PolicyEntry,
        client: std::net::IpAddr,
        shared: &SharedTables,
    ) -> bool {
        if self.is_counted {
            return false;
        }
        let most = SessionCount {
            of_host: entry.matcher.sessions_per_client.unwrap_or(u32::MAX),
            of_all: entry.matcher.sessions.unwrap_or(u32::MAX),
        };
        self.is_counted = shared.hosts().begin_counted(&entry.name, client, most);
        !self.is_counted
    }
}

impl PolicyEntry {
    fn reason(&self) -> Reason {
        match &self.text {
            Some(text) => Reason::InWords(Arc::clone(text)),
            None => Reason::Named(Arc::clone(&self.name)),
        }
    }
}

impl PolicyAction {
    const fn effect(self) -> PolicyEffect {
        match self {
            Self::Allow | Self::Log => PolicyEffect::Pass,
            Self::Refuse => PolicyEffect::Refuse,
            Self::Reset => PolicyEffect::Reset,
        }
    }
}

/// The last name of a path. Slashes may follow it.
fn last_name(path: &[u8]) -> &[u8] {
    let mut names = path.rsplit(|byte| matches!(byte, b'/' | b'\\'));
    names.find(|name| !name.is_empty()).unwrap_or_default()
}
