//! The commands that entries of the policy match.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::*;
use crate::proto::{ftp::Reason, net::Tuple, shared::SharedTables, test_origin};

fn connection() -> ConntrackTuples {
    let tuple = |source: &str, destination: &str| {
        Tuple::new(source.parse().unwrap(), destination.parse().unwrap())
    };
    ConntrackTuples::new(
        tuple("10.0.0.2:40001", "203.0.113.1:2121"),
        tuple("192.168.1.5:21", "10.0.0.2:40001"),
    )
}

fn entry(action: PolicyAction, matcher: PolicyMatcher) -> PolicyEntry {
    PolicyEntry {
        name: "entry 1".into(),
        scope: Scope::default(),
        matcher,
        action,
        text: None,
    }
}

fn refusing(matcher: PolicyMatcher) -> PolicyEntry {
    entry(PolicyAction::Refuse, matcher)
}

/// A matcher with these fields set.
fn matching(set: impl FnOnce(&mut PolicyMatcher)) -> PolicyMatcher {
    let mut matcher = PolicyMatcher::default();
    set(&mut matcher);
    matcher
}

/// A session with one entry, which refuses what it matches.
fn trial(set: impl FnOnce(&mut PolicyMatcher)) -> Trial {
    Trial::new(vec![refusing(matching(set))])
}

struct Trial {
    session: SessionPolicy,
    shared: SharedTables,
    now: Instant,
}

impl Trial {
    fn new(entries: Vec<PolicyEntry>) -> Self {
        let session = SessionPolicy::new(&Arc::new(CommandPolicy::new(entries)), &connection());
        Self {
            session: *session.unwrap(),
            shared: SharedTables::default(),
            now: test_origin(),
        }
    }

    fn decision(&mut self, line: &[u8]) -> PolicyDecision {
        self.session
            .handle_command(line, true, &self.shared, self.now)
    }

    fn passes(&mut self, line: impl AsRef<[u8]>) -> bool {
        self.decision(line.as_ref()).effect == PolicyEffect::Pass
    }

    /// The commands, of these in their order, that are refused.
    fn refused<'a>(&mut self, lines: &[&'a str]) -> Vec<&'a str> {
        lines
            .iter()
            .copied()
            .filter(|line| !self.passes(line))
            .collect()
    }
}

fn verbs(names: &[&str]) -> Vec<Verb> {
    names
        .iter()
        .map(|name| Verb::parse(name).unwrap())
        .collect()
}

fn patterns(texts: &[&str]) -> Vec<Pattern> {
    texts.iter().map(|text| Pattern::new(text)).collect()
}

#[test]
fn a_verb_matches_in_any_case_behind_blanks_and_under_its_old_name() {
    let mut trial = trial(|it| it.commands = verbs(&["dele", "MKD", "SITE CHMOD"]));
    let refused = [
        "DELE x",
        "dele x",
        "  DeLe x",
        "DELE\tx",
        "XMKD y",
        "MKD y",
        "site chmod 7 z",
        "DELE",
    ];
    assert_eq!(trial.refused(&refused), refused);
    assert!(!trial.passes(b"\xff\xf1DELE x"), "behind a Telnet sequence");
    assert_eq!(
        trial.refused(&["RETR x", "DELETE x", "SITE HELP", "SITE", "RMD y", ""]),
        [""; 0]
    );
}

#[test]
fn a_command_with_two_readings_is_refused_where_an_entry_could_refuse() {
    let commands = verbs(&["DELE"]);
    let deny = || refusing(matching(|it| it.commands = commands.clone()));
    for line in [
        &b"D\xff\xf1ELE x"[..],
        b"RETR x\0y",
        b"NOOP\rDELE x",
        b"RETR \xff\xfby",
    ] {
        assert!(!Trial::new(vec![deny()]).passes(line), "{line:?}");
        let logs = entry(PolicyAction::Log, PolicyMatcher::default());
        assert!(Trial::new(vec![logs]).passes(line), "{line:?}");
    }
    for line in [
        &b"RETR \xff\xffy"[..],
        b"\xff\xf4\xff\xf2ABOR",
        "RETR \u{e4}".as_bytes(),
    ] {
        assert!(Trial::new(vec![deny()]).passes(line), "{line:?}");
    }
}

#[test]
fn the_first_entry_that_does_more_than_log_decides() {
    let of = |commands: &[&str]| matching(|it| it.commands = verbs(commands));
    let named = |name: &str, entry: PolicyEntry| PolicyEntry {
        name: name.into(),
        ..entry
    };
    let mut trial = Trial::new(vec![
        named("see", entry(PolicyAction::Log, of(&["DELE", "RMD"]))),
        named("may", entry(PolicyAction::Allow, of(&["DELE"]))),
        named("may not", refusing(of(&["DELE", "RMD"]))),
        named("out", entry(PolicyAction::Reset, of(&["SITE"]))),
    ]);
    let logged = |decision: &PolicyDecision| -> Vec<_> {
        decision
            .logged
            .iter()
            .map(|(name, action)| format!("{name} {}", action.as_str()))
            .collect()
    };
    let allowed = trial.decision(b"DELE x");
    assert_eq!(
        (allowed.effect, logged(&allowed)),
        (PolicyEffect::Pass, vec!["see log".to_owned()])
    );
    let refused = trial.decision(b"RMD x");
    assert_eq!(refused.effect, PolicyEffect::Refuse);
    assert_eq!(logged(&refused), ["see log", "may not refuse"]);
    assert_eq!(refused.reason, Reason::Named("may not".into()));
    assert_eq!(refused.verb, "RMD");
    assert_eq!(trial.decision(b"SITE EXEC").effect, PolicyEffect::Reset);
    assert_eq!(trial.decision(b"RETR x").logged, []);
}

#[test]
fn a_word_that_may_be_no_verb_is_not_logged() {
    let mut trial = Trial::new(vec![refusing(PolicyMatcher::default())]);
    assert_eq!(trial.decision(b"dele x").verb, "DELE");
    for line in [&b"hunter2-secret"[..], b"S3cret!", b"", b"verylongpassword"] {
        assert_eq!(trial.decision(line).verb, "?", "{line:?}");
    }
}

#[test]
fn operations_are_reading_writing_listing_and_changing() {
    let of = |operation| {
        let operations = vec![operation];
        trial(|it| it.operations = operations)
    };
    let lines = [
        "RETR x",
        "STOR x",
        "STOU",
        "APPE x",
        "LIST",
        "NLST y",
        "MLSD",
        "STAT y",
        "STAT",
        "DELE x",
        "RMD x",
        "MKD x",
        "RNFR x",
        "RNTO x",
        "SITE CHMOD 7 x",
        "MDTM x",
        "MDTM 20261127120000 x",
        "PASV",
        "CWD x",
        "USER y",
    ];
    assert_eq!(of(Operation::Read).refused(&lines), ["RETR x"]);
    assert_eq!(
        of(Operation::Write).refused(&lines),
        ["STOR x", "STOU", "APPE x"]
    );
    assert_eq!(
        of(Operation::List).refused(&lines),
        ["LIST", "NLST y", "MLSD", "STAT y"]
    );
    assert_eq!(
        of(Operation::Change).refused(&lines),
        [
            "DELE x",
            "RMD x",
            "MKD x",
            "RNFR x",
            "RNTO x",
            "SITE CHMOD 7 x",
            "MDTM 20261127120000 x"
        ]
    );
}

#[test]
fn modes_families_and_demands_are_read_from_the_command() {
    let refused = |matcher: PolicyMatcher| {
        Trial::new(vec![refusing(matcher)]).refused(&[
            "PORT 10,0,0,2,4,5",
            "EPRT |1|10.0.0.2|1029|",
            "EPRT |2|2001:db8::1|1029|",
            "PASV",
            "EPSV",
            "EPSV 2",
            "P@SW",
            "USER x",
            "PASS y",
            "AUTH TLS",
        ])
    };
    let mode = |mode| refused(matching(|it| it.mode = Some(mode)));
    assert_eq!(
        mode(Mode::Active),
        [
            "PORT 10,0,0,2,4,5",
            "EPRT |1|10.0.0.2|1029|",
            "EPRT |2|2001:db8::1|1029|"
        ]
    );
    assert_eq!(mode(Mode::Passive), ["PASV", "EPSV", "EPSV 2", "P@SW"]);
    let family = |family| refused(matching(|it| it.data_family = Some(family)));
    assert_eq!(
        family(DataFamily::Ipv6),
        ["EPRT |2|2001:db8::1|1029|", "EPSV 2"]
    );
    assert_eq!(
        family(DataFamily::Ipv4),
        [
            "PORT 10,0,0,2,4,5",
            "EPRT |1|10.0.0.2|1029|",
            "PASV",
            "EPSV",
            "P@SW"
        ]
    );
    let tls = |demand| refused(matching(|it| it.tls = Some(demand)));
    assert_eq!(tls(Demand::Required), ["USER x", "PASS y"]);
    assert_eq!(tls(Demand::Forbidden), ["AUTH TLS"]);
}

#[test]
fn a_user_is_matched_at_the_login_and_with_each_later_command() {
    let users = patterns(&["anonymous", "ftp*"]);
    let mut trial = trial(|it| it.users = users.clone());
    assert_eq!(
        trial.refused(&[
            "USER ann",
            "PASS x",
            "RETR y",
            "USER Anonymous",
            "USER ftp2"
        ]),
        ["USER Anonymous", "USER ftp2"]
    );
    let matcher = matching(|it| {
        it.users = users;
        it.commands = verbs(&["STOR"]);
    });
    let mut trial = Trial::new(vec![refusing(matcher)]);
    assert_eq!(
        trial.refused(&[
            "STOR a", "USER ftp", "STOR b", "RETR c", "USER ann", "STOR d"
        ]),
        ["STOR b"]
    );
}

#[test]
fn a_name_is_matched_at_any_place_in_the_path() {
    let mut trial = trial(|it| it.paths = patterns(&["*.exe"]));
    let refused = [
        "RETR a.exe",
        "STOR pub/B.EXE",
        "DELE /x/y.exe/",
        "LIST -la c.exe",
        "SITE CHMOD 700 d.exe",
        "XSHA d.exe",
        "RETR x\\e.exe",
    ];
    assert_eq!(trial.refused(&refused), refused);
    assert_eq!(
        trial.refused(&[
            "RETR a.exe.txt",
            "USER a.exe",
            "TYPE a.exe",
            "CWD exe",
            "LIST"
        ]),
        [""; 0]
    );
}

#[test]
fn the_directory_follows_the_changes_that_the_server_accepts() {
    let mut trial = trial(|it| it.paths = patterns(&["/private", "/private/*"]));
    assert!(trial.passes("RETR /pub/x"));
    assert!(!trial.passes("RETR /pub/../private/x"));
    assert!(!trial.passes("RETR x"), "the directory is unknown");
    assert!(trial.passes("PWD"));
    trial
        .session
        .handle_directory_reply(257, b"257 \"/pub\" is the current directory");
    assert!(trial.passes("RETR x"));
    assert!(!trial.passes("RETR ..//./private/x"));
    assert!(!trial.passes("CWD ../private"));
    assert!(trial.passes("CWD /"));
    assert!(!trial.passes("RETR x"), "the server has not answered yet");
    trial.session.handle_directory_reply(250, b"250 ok");
    assert!(!trial.passes("CWD private"));
    assert!(trial.passes("CWD pub"));
    trial.session.handle_directory_reply(550, b"550 no");
    assert!(trial.passes("RETR pub/x"));
    assert!(!trial.passes("RETR private/x"));
    trial.session.handle_gap();
    assert!(!trial.passes("RETR pub/x"));
}

#[test]
fn the_operator_may_name_the_directory_of_a_login() {
    let paths = patterns(&["/private/*"]);
    let entry = refusing(matching(|it| it.paths = paths));
    let policy = CommandPolicy::new(vec![entry]).with_login_directory(Some("/".to_owned()));
    let session = SessionPolicy::new(&Arc::new(policy), &connection()).unwrap();
    let mut trial = Trial {
        session: *session,
        ..Trial::new(vec![refusing(PolicyMatcher::default())])
    };
    assert_eq!(
        trial.refused(&["USER x", "RETR pub/x", "RETR private/x"]),
        ["RETR private/x"]
    );
}

#[test]
fn an_unknown_directory_allows_nothing() {
    let paths = patterns(&["/pub/*"]);
    let entries = vec![
        entry(PolicyAction::Allow, matching(|it| it.paths = paths)),
        refusing(matching(|it| it.commands = verbs(&["RETR"]))),
    ];
    assert_eq!(
        Trial::new(entries).refused(&["RETR /pub/x", "RETR x", "RETR /pub/../y"]),
        ["RETR x", "RETR /pub/../y"]
    );
}

#[test]
fn long_lines_and_lines_of_unknown_length_are_too_long() {
    let mut trial = trial(|it| it.line_max = Some(8));
    assert!(trial.passes("RETR abc"));
    assert!(!trial.passes("RETR abcd"));
    let cut = trial
        .session
        .handle_command(b"RETR", false, &trial.shared, trial.now);
    assert_eq!(cut.effect, PolicyEffect::Refuse);
}

#[test]
fn commands_beyond_the_rate_are_refused_until_a_second_has_passed() {
    let matcher = matching(|it| {
        it.commands = verbs(&["PASS"]);
        it.commands_per_second = Some(3);
    });
    let mut trial = Trial::new(vec![refusing(matcher)]);
    let passed = |trial: &mut Trial| (0..10).filter(|_| trial.passes("PASS x")).count();
    assert_eq!(passed(&mut trial), 3);
    assert!(trial.passes("NOOP"), "others are not counted");
    trial.now += Duration::from_secs(1);
    assert_eq!(passed(&mut trial), 3);
}

#[test]
fn logins_beyond_the_number_of_sessions_are_refused_until_one_ends() {
    let matcher = matching(|it| it.sessions_per_client = Some(2));
    let policy = Arc::new(CommandPolicy::new(vec![refusing(matcher)]));
    let hosts = SharedTables::default();
    let session = || SessionPolicy::new(&policy, &connection()).unwrap();
    let login = |session: &mut SessionPolicy| {
        session
            .handle_command(b"USER x", true, &hosts, test_origin())
            .effect
            == PolicyEffect::Pass
    };
    let (mut first, mut second, mut third) = (session(), session(), session());
    assert!(login(&mut first) && login(&mut second));
    assert!(login(&mut first), "it is counted already");
    assert!(!login(&mut third));
    second.end(&hosts);
    assert!(login(&mut third));
    third.end(&hosts);
    third.end(&hosts);
    first.end(&hosts);
    assert!(login(&mut second) && login(&mut third));
}

#[test]
fn a_scope_is_the_port_the_client_and_the_server_by_either_of_its_addresses() {
    let networks = |text: &str| -> Vec<IpNetwork> {
        let given = (!text.is_empty()).then(|| text.parse().unwrap());
        given.into_iter().collect()
    };
    for (ports, clients, servers, is_in) in [
        (&[21][..], "", "", true),
        (&[2121], "", "", true),
        (&[22], "", "", false),
        (&[], "10.0.0.0/8", "", true),
        (&[], "10.0.1.0/24", "", false),
        (&[], "", "192.168.1.5", true),
        (&[], "", "203.0.113.1", true),
        (&[], "", "203.0.113.2", false),
        (&[], "10.0.1.0/24", "203.0.113.1", false),
    ] {
        let entry = PolicyEntry {
            scope: Scope {
                control_ports: ports.to_vec(),
                clients: networks(clients),
                servers: networks(servers),
            },
            ..refusing(PolicyMatcher::default())
        };
        let policy = Arc::new(CommandPolicy::new(vec![entry]));
        let session = SessionPolicy::new(&policy, &connection());
        assert_eq!(session.is_some(), is_in, "{ports:?} {clients} {servers}");
    }
}
