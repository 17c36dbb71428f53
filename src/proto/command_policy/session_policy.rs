//! One session under the rules that concern it.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    CommandPolicy, DataFamily, Pattern, PolicyAction, PolicyEntry, PolicyMatcher,
    command_line::CommandLine, cwd::WorkingDirectory,
};
use crate::proto::{
    budget::{Budget, HostBudgets, SessionCount},
    ftp::Reason,
    net::{ConntrackTuples, Direction},
};

/// The time over which a rule's commands a second are averaged: so many may come at once.
const RATE_BURST: Duration = Duration::from_secs(1);

/// The longest name of a user that is kept, in bytes; of a longer one its beginning.
const USER_MAX: usize = 128;

/// What becomes of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PolicyEffect {
    /// It goes on.
    Pass,
    /// The user reads a 550, and the server nothing.
    Refuse,
    /// The connection is reset.
    Reset,
}

/// What the rules say of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyDecision {
    /// What becomes of it.
    pub sentence: PolicyEffect,
    /// For the user whose command is refused.
    pub reason: Reason,
    /// Which rules speak of it in the log, and how, in their order.
    pub told: Vec<(Arc<str>, PolicyAction)>,
    /// The verb, for the log; `?` where it might be something else than a verb.
    pub verb: String,
}

/// A session in the scope of at least one rule. It keeps the rules that it began with.
#[derive(Clone, Debug)]
pub struct SessionPolicy {
    rules: Arc<CommandPolicy>,
    places: Vec<Place>,
    data_family: DataFamily,
    client: std::net::IpAddr,
    user: Option<Vec<u8>>,
    folder: WorkingDirectory,
}

/// What a session has of one rule.
#[derive(Clone, Copy, Debug)]
struct Place {
    rule: usize,
    spent: Budget,
    is_counted: bool,
}

impl SessionPolicy {
    /// The session of a connection; `None` where no rule concerns it.
    #[must_use]
    pub fn new(rules: &Arc<CommandPolicy>, tuples: &ConntrackTuples) -> Option<Box<Self>> {
        let places: Vec<Place> = rules.of(tuples).map(Place::new).collect();
        let client = tuples.sender(Direction::Original).ip();
        (!places.is_empty()).then(|| {
            Box::new(Self {
                rules: Arc::clone(rules),
                places,
                data_family: DataFamily::of(client),
                client,
                user: None,
                folder: WorkingDirectory::default(),
            })
        })
    }

    /// Whether a command of this session could fail to reach its server.
    #[must_use]
    pub fn can_refuse(&self) -> bool {
        let mut rules = self
            .places
            .iter()
            .filter_map(|place| self.rules.rule(place.rule));
        rules.any(|rule| rule.action.is_against())
    }

    /// Takes a line of the client, without its end; `is_complete` is false where it was cut.
    pub fn handle_command(
        &mut self,
        (line, is_complete): (&[u8], bool),
        hosts: &dyn HostBudgets,
        now: Instant,
    ) -> PolicyDecision {
        let said = CommandLine::parse(line, is_complete);
        let ruling = self.evaluate(&said, hosts, now);
        if ruling.sentence == PolicyEffect::Pass {
            self.record(&said);
        }
        ruling
    }

    /// Takes the final answer to a CWD, CDUP or PWD.
    pub fn handle_directory_reply(&mut self, code: u16, line: &[u8]) {
        self.folder.handle_answer(code, line);
    }

    /// Lines passed unseen.
    pub fn handle_gap(&mut self) {
        self.folder.lose();
    }

    /// Gives back its place among the sessions that rules count.
    pub fn end(&mut self, hosts: &dyn HostBudgets) {
        for place in self.places.iter_mut().filter(|place| place.is_counted) {
            place.is_counted = false;
            if let Some(rule) = self.rules.rule(place.rule) {
                hosts.with_hosts(&mut |hosts| hosts.end_ruled(&rule.name, self.client));
            }
        }
    }

    /// Bytes of memory behind this value, itself included.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        let user = self.user.as_ref().map_or(0, Vec::capacity);
        size_of::<Self>()
            .saturating_add(self.places.capacity().saturating_mul(size_of::<Place>()))
            .saturating_add(user)
            .saturating_add(self.folder.heap_bytes())
    }

    fn evaluate(
        &mut self,
        said: &CommandLine<'_>,
        hosts: &dyn HostBudgets,
        now: Instant,
    ) -> PolicyDecision {
        let mut ruling = PolicyDecision {
            sentence: PolicyEffect::Pass,
            reason: Reason::Named("two readings".into()),
            told: Vec::new(),
            verb: said.loggable_verb(),
        };
        if said.has_two_readings() && self.can_refuse() {
            ruling.sentence = PolicyEffect::Refuse;
            ruling
                .told
                .push(("two readings".into(), PolicyAction::Refuse));
            return ruling;
        }
        let rules = Arc::clone(&self.rules);
        for at in 0..self.places.len() {
            let Some(rule) = self.places.get(at).and_then(|place| rules.rule(place.rule)) else {
                continue;
            };
            if !self.matches(rule, said) || !self.exceeds((at, rule), said, hosts, now) {
                continue;
            }
            if rule.action != PolicyAction::Allow {
                ruling.told.push((Arc::clone(&rule.name), rule.action));
            }
            if rule.action != PolicyAction::Log {
                ruling.sentence = rule.action.sentence();
                ruling.reason = rule.reason();
                break;
            }
        }
        ruling
    }

    /// Whether a rule concerns a line, whatever it counts.
    fn matches(&self, rule: &PolicyEntry, said: &CommandLine<'_>) -> bool {
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
        } = &rule.matcher;
        (commands.is_empty() || said.is_one_of(commands))
            && (operations.is_empty()
                || said.operation().is_some_and(|is| operations.contains(&is)))
            && mode.is_none_or(|mode| said.mode() == Some(mode))
            && data_family.is_none_or(|family| said.data_family(self.data_family) == Some(family))
            && tls.is_none_or(|demand| said.violates(demand))
            && line_max.is_none_or(|most| said.is_longer_than(most))
            && (users.is_empty() || self.user_matches(users, said))
            && (paths.is_empty() || self.path_matches(paths, rule.action, said))
    }

    /// Whether it is more of it than the rule lets pass, where the rule counts.
    fn exceeds(
        &mut self,
        (at, rule): (usize, &PolicyEntry),
        said: &CommandLine<'_>,
        hosts: &dyn HostBudgets,
        now: Instant,
    ) -> bool {
        let client = self.client;
        let Some(place) = self.places.get_mut(at) else {
            return false;
        };
        if rule.matcher.counts_sessions() && !place.is_one_too_many(rule, client, said, hosts) {
            return false;
        }
        let rate = rule.matcher.commands_per_second;
        rate.is_none_or(|rate| !place.spent.spend_within(RATE_BURST, (1, rate), now))
    }

    fn user_matches(&self, users: &[Pattern], said: &CommandLine<'_>) -> bool {
        let own = said.is("USER").then_some(said.argument);
        let user = own.or(self.user.as_deref());
        user.is_some_and(|user| users.iter().any(|pattern| pattern.matches(user)))
    }

    /// Whether the path that a command names is one of these. One that is not known, since nobody knows
    /// in which folder it begins, counts against its client where folders are spoken of.
    fn path_matches(
        &self,
        paths: &[Pattern],
        action: PolicyAction,
        said: &CommandLine<'_>,
    ) -> bool {
        let Some(path) = said.path() else {
            return false;
        };
        let whole = self.folder.path(path);
        let name = last_name(whole.as_deref().unwrap_or(path));
        paths.iter().any(|pattern| match &whole {
            _ if !pattern.has_folder() => pattern.matches(name) || pattern.matches(path),
            Some(whole) => pattern.matches(whole),
            None => action.is_against(),
        })
    }

    /// Takes note of a command that goes to the server.
    fn record(&mut self, said: &CommandLine<'_>) {
        if said.is("USER") {
            let kept = said.argument.get(..USER_MAX).unwrap_or(said.argument);
            self.user = Some(kept.to_vec());
            self.folder.begin(self.rules.login_directory.as_deref());
        } else if said.is("REIN") {
            self.user = None;
            self.folder.lose();
        }
        self.folder.handle_command(said);
    }
}

impl Place {
    fn new(rule: usize) -> Self {
        Self {
            rule,
            spent: Budget::default(),
            is_counted: false,
        }
    }

    /// Whether it is the login of a session beyond those that a rule lets be. One that is not is
    /// counted as one of them.
    fn is_one_too_many(
        &mut self,
        rule: &PolicyEntry,
        client: std::net::IpAddr,
        said: &CommandLine<'_>,
        hosts: &dyn HostBudgets,
    ) -> bool {
        if self.is_counted || !said.is("USER") {
            return false;
        }
        let most = SessionCount {
            of_host: rule.matcher.sessions_per_client.unwrap_or(u32::MAX),
            of_all: rule.matcher.sessions.unwrap_or(u32::MAX),
        };
        hosts.with_hosts(&mut |hosts| {
            self.is_counted = hosts.begin_ruled(&rule.name, client, most);
        });
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
    const fn sentence(self) -> PolicyEffect {
        match self {
            Self::Allow | Self::Log => PolicyEffect::Pass,
            Self::Refuse => PolicyEffect::Refuse,
            Self::Reset => PolicyEffect::Reset,
        }
    }
}

/// The last name of a path, whatever slashes stand behind it.
fn last_name(path: &[u8]) -> &[u8] {
    let mut names = path.rsplit(|byte| matches!(byte, b'/' | b'\\'));
    names.find(|name| !name.is_empty()).unwrap_or_default()
}
