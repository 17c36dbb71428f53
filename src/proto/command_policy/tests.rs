//! Which command meets which rule.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::*;
use crate::proto::{ftp::Reason, net::Tuple, shared::SharedTables, test_origin};

fn connection() -> ConntrackTuples {
    let tuple = |source: &str, destination: &str| Tuple {
        source: source.parse().unwrap(),
        destination: destination.parse().unwrap(),
    };
    ConntrackTuples::new(
        tuple("10.0.0.2:40001", "203.0.113.1:2121"),
        tuple("192.168.1.5:21", "10.0.0.2:40001"),
    )
}

fn rule(action: PolicyAction, matcher: PolicyMatcher) -> PolicyEntry {
    PolicyEntry {
        name: "rule 1".into(),
        scope: Scope::default(),
        matcher,
        action,
        text: None,
    }
}

fn refusing(matcher: PolicyMatcher) -> PolicyEntry {
    rule(PolicyAction::Refuse, matcher)
}

struct Trial {
    session: SessionPolicy,
    shared: SharedTables,
    now: Instant,
}

impl Trial {
    fn new(rules: Vec<PolicyEntry>) -> Self {
        let session = SessionPolicy::new(&Arc::new(CommandPolicy::new(rules)), &connection());
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

    /// What of these commands, said one after the other, is refused.
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
fn a_command_is_known_in_any_case_behind_blanks_and_under_its_old_name() {
    let commands = verbs(&["dele", "MKD", "SITE CHMOD"]);
    let mut trial = Trial::new(vec![refusing(PolicyMatcher {
        commands,
        ..PolicyMatcher::default()
    })]);
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
fn what_can_be_read_in_two_ways_is_refused_where_anything_could_be() {
    let commands = verbs(&["DELE"]);
    let deny = || {
        refusing(PolicyMatcher {
            commands: commands.clone(),
            ..PolicyMatcher::default()
        })
    };
    for line in [
        &b"D\xff\xf1ELE x"[..],
        b"RETR x\0y",
        b"NOOP\rDELE x",
        b"RETR \xff\xfby",
    ] {
        assert!(!Trial::new(vec![deny()]).passes(line), "{line:?}");
        let logs = rule(PolicyAction::Log, PolicyMatcher::default());
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
fn the_first_rule_that_does_more_than_log_decides() {
    let of = |commands: &[&str]| PolicyMatcher {
        commands: verbs(commands),
        ..PolicyMatcher::default()
    };
    let named = |name: &str, rule: PolicyEntry| PolicyEntry {
        name: name.into(),
        ..rule
    };
    let mut trial = Trial::new(vec![
        named("see", rule(PolicyAction::Log, of(&["DELE", "RMD"]))),
        named("may", rule(PolicyAction::Allow, of(&["DELE"]))),
        named("may not", refusing(of(&["DELE", "RMD"]))),
        named("out", rule(PolicyAction::Reset, of(&["SITE"]))),
    ]);
    let told = |ruling: &PolicyDecision| -> Vec<_> {
        ruling
            .logged
            .iter()
            .map(|(name, action)| format!("{name} {}", action.as_str()))
            .collect()
    };
    let allowed = trial.decision(b"DELE x");
    assert_eq!(
        (allowed.effect, told(&allowed)),
        (PolicyEffect::Pass, vec!["see log".to_owned()])
    );
    let refused = trial.decision(b"RMD x");
    assert_eq!(refused.effect, PolicyEffect::Refuse);
    assert_eq!(told(&refused), ["see log", "may not refuse"]);
    assert_eq!(refused.reason, Reason::Named("may not".into()));
    assert_eq!(refused.verb, "RMD");
    assert_eq!(trial.decision(b"SITE EXEC").effect, PolicyEffect::Reset);
    assert_eq!(trial.decision(b"RETR x").logged, []);
}

#[test]
fn a_word_that_is_no_verb_is_not_told_of() {
    let mut trial = Trial::new(vec![refusing(PolicyMatcher::default())]);
    assert_eq!(trial.decision(b"dele x").verb, "DELE");
    for line in [&b"hunter2-secret"[..], b"S3cret!", b"", b"verylongpassword"] {
        assert_eq!(trial.decision(line).verb, "?", "{line:?}");
    }
}

#[test]
fn operations_tell_reading_from_writing_listing_and_changing() {
    let of = |operation| {
        let operations = vec![operation];
        Trial::new(vec![refusing(PolicyMatcher {
            operations,
            ..PolicyMatcher::default()
        })])
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
    let mode = |mode| {
        refused(PolicyMatcher {
            mode: Some(mode),
            ..PolicyMatcher::default()
        })
    };
    assert_eq!(
        mode(Mode::Active),
        [
            "PORT 10,0,0,2,4,5",
            "EPRT |1|10.0.0.2|1029|",
            "EPRT |2|2001:db8::1|1029|"
        ]
    );
    assert_eq!(mode(Mode::Passive), ["PASV", "EPSV", "EPSV 2", "P@SW"]);
    let family = |family| {
        refused(PolicyMatcher {
            data_family: Some(family),
            ..PolicyMatcher::default()
        })
    };
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
    let tls = |demand| {
        refused(PolicyMatcher {
            tls: Some(demand),
            ..PolicyMatcher::default()
        })
    };
    assert_eq!(tls(Demand::Required), ["USER x", "PASS y"]);
    assert_eq!(tls(Demand::Forbidden), ["AUTH TLS"]);
}

#[test]
fn a_user_is_matched_at_login_and_remembered_for_what_follows() {
    let users = patterns(&["anonymous", "ftp*"]);
    let mut trial = Trial::new(vec![refusing(PolicyMatcher {
        users: users.clone(),
        ..PolicyMatcher::default()
    })]);
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
    let matcher = PolicyMatcher {
        users,
        commands: verbs(&["STOR"]),
        ..PolicyMatcher::default()
    };
    let mut trial = Trial::new(vec![refusing(matcher)]);
    assert_eq!(
        trial.refused(&[
            "STOR a", "USER ftp", "STOR b", "RETR c", "USER ann", "STOR d"
        ]),
        ["STOR b"]
    );
}

#[test]
fn a_name_is_matched_wherever_it_stands_in_the_path() {
    let paths = patterns(&["*.exe"]);
    let mut trial = Trial::new(vec![refusing(PolicyMatcher {
        paths,
        ..PolicyMatcher::default()
    })]);
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
fn folders_are_followed_by_what_the_server_accepts() {
    let paths = patterns(&["/private", "/private/*"]);
    let mut trial = Trial::new(vec![refusing(PolicyMatcher {
        paths,
        ..PolicyMatcher::default()
    })]);
    assert!(trial.passes("RETR /pub/x"));
    assert!(!trial.passes("RETR /pub/../private/x"));
    assert!(!trial.passes("RETR x"), "nobody knows in which folder");
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
fn where_sessions_begin_may_be_known() {
    let paths = patterns(&["/private/*"]);
    let rule = refusing(PolicyMatcher {
        paths,
        ..PolicyMatcher::default()
    });
    let rules = CommandPolicy::new(vec![rule]).with_login_directory(Some("/".to_owned()));
    let session = SessionPolicy::new(&Arc::new(rules), &connection()).unwrap();
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
fn an_unknown_folder_does_not_allow_anything() {
    let paths = patterns(&["/pub/*"]);
    let rules = vec![
        rule(
            PolicyAction::Allow,
            PolicyMatcher {
                paths,
                ..PolicyMatcher::default()
            },
        ),
        refusing(PolicyMatcher {
            commands: verbs(&["RETR"]),
            ..PolicyMatcher::default()
        }),
    ];
    assert_eq!(
        Trial::new(rules).refused(&["RETR /pub/x", "RETR x", "RETR /pub/../y"]),
        ["RETR x", "RETR /pub/../y"]
    );
}

#[test]
fn long_lines_and_lines_that_were_cut_are_too_long() {
    let mut trial = Trial::new(vec![refusing(PolicyMatcher {
        line_max: Some(8),
        ..PolicyMatcher::default()
    })]);
    assert!(trial.passes("RETR abc"));
    assert!(!trial.passes("RETR abcd"));
    let cut = trial
        .session
        .handle_command(b"RETR", false, &trial.shared, trial.now);
    assert_eq!(cut.effect, PolicyEffect::Refuse);
}

#[test]
fn commands_beyond_the_rate_are_refused_until_a_second_has_passed() {
    let matcher = PolicyMatcher {
        commands: verbs(&["PASS"]),
        commands_per_second: Some(3),
        ..PolicyMatcher::default()
    };
    let mut trial = Trial::new(vec![refusing(matcher)]);
    let passed = |trial: &mut Trial| (0..10).filter(|_| trial.passes("PASS x")).count();
    assert_eq!(passed(&mut trial), 3);
    assert!(trial.passes("NOOP"), "others are not counted");
    trial.now += Duration::from_secs(1);
    assert_eq!(passed(&mut trial), 3);
}

#[test]
fn logins_beyond_the_number_of_sessions_are_refused_until_one_ends() {
    let matcher = PolicyMatcher {
        sessions_per_client: Some(2),
        ..PolicyMatcher::default()
    };
    let rules = Arc::new(CommandPolicy::new(vec![refusing(matcher)]));
    let hosts = SharedTables::default();
    let session = || SessionPolicy::new(&rules, &connection()).unwrap();
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
    let has = |scope: Scope| {
        let rule = PolicyEntry {
            scope,
            ..refusing(PolicyMatcher::default())
        };
        SessionPolicy::new(&Arc::new(CommandPolicy::new(vec![rule])), &connection()).is_some()
    };
    let networks = |text: &str| vec![text.parse().unwrap()];
    for port in [21, 2121] {
        assert!(has(Scope {
            control_ports: vec![port],
            ..Scope::default()
        }));
    }
    assert!(!has(Scope {
        control_ports: vec![22],
        ..Scope::default()
    }));
    assert!(has(Scope {
        clients: networks("10.0.0.0/8"),
        ..Scope::default()
    }));
    assert!(!has(Scope {
        clients: networks("10.0.1.0/24"),
        ..Scope::default()
    }));
    assert!(has(Scope {
        servers: networks("192.168.1.5"),
        ..Scope::default()
    }));
    assert!(has(Scope {
        servers: networks("203.0.113.1"),
        ..Scope::default()
    }));
    assert!(!has(Scope {
        servers: networks("203.0.113.2"),
        ..Scope::default()
    }));
    assert!(!has(Scope {
        servers: networks("203.0.113.1"),
        clients: networks("10.0.1.0/24"),
        ..Scope::default()
    }));
}
