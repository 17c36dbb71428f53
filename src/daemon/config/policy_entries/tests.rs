//! The command policy as operators write them, right and wrong.

use super::*;
use crate::{
    daemon::{config::Config, from_config::settings_of},
    proto::command_policy::CommandPolicy,
};

fn policy_of(text: &str) -> CommandPolicy {
    let config = Config::parse(text, "x").unwrap_or_else(|error| panic!("{error}"));
    (*settings_of(&config).command_policy).clone()
}

fn refused(text: &str) -> String {
    Config::parse(text, "x").expect_err(text).to_string()
}

#[test]
fn every_key_of_an_entry_is_read() {
    let text = r#"
        control_ports = [21, 2121]
        [[command_policy]]
        name = "no deletes"
        control_ports = [2121]
        clients = ["10.0.0.0/8"]
        servers = ["192.0.2.1", "2001:db8::/32"]
        commands = ["dele", "SITE CHMOD"]
        users = ["ftp*"]
        paths = ["/private/*"]
        operations = ["read", "write", "list", "change"]
        mode = "active"
        data_family = "ipv6"
        tls = "required"
        line_max = 256
        commands_per_second = 20
        sessions_per_client = 3
        sessions = 100
        action = "refuse"
        text = "Not here"
        [[command_policy]]
        mode = "passive"
        data_family = "ipv4"
        tls = "forbidden"
        action = "reset"
        "#;
    let first = PolicyEntry {
        name: "no deletes".into(),
        scope: Scope {
            control_ports: vec![2121],
            clients: vec!["10.0.0.0/8".parse().unwrap()],
            servers: vec![
                "192.0.2.1".parse().unwrap(),
                "2001:db8::/32".parse().unwrap(),
            ],
        },
        matcher: PolicyMatcher {
            commands: vec![
                Verb::parse("DELE").unwrap(),
                Verb::parse("SITE CHMOD").unwrap(),
            ],
            users: vec![Pattern::new("ftp*")],
            paths: vec![Pattern::new("/private/*")],
            operations: vec![
                Operation::Read,
                Operation::Write,
                Operation::List,
                Operation::Change,
            ],
            mode: Some(Mode::Active),
            data_family: Some(DataFamily::Ipv6),
            tls: Some(Demand::Required),
            line_max: Some(256),
            commands_per_second: Some(20),
            sessions_per_client: Some(3),
            sessions: Some(100),
        },
        action: PolicyAction::Refuse,
        text: Some("Not here".into()),
    };
    let second = PolicyEntry {
        name: "entry 2".into(),
        scope: Scope::default(),
        matcher: PolicyMatcher {
            mode: Some(Mode::Passive),
            data_family: Some(DataFamily::Ipv4),
            tls: Some(Demand::Forbidden),
            ..PolicyMatcher::default()
        },
        action: PolicyAction::Reset,
        text: None,
    };
    assert_eq!(policy_of(text), CommandPolicy::new(vec![first, second]));
    assert!(policy_of("").is_empty());
}

#[test]
fn every_action_has_a_name() {
    for action in [
        PolicyAction::Allow,
        PolicyAction::Log,
        PolicyAction::Refuse,
        PolicyAction::Reset,
    ] {
        let text = format!("[[command_policy]]\naction = \"{}\"", action.as_str());
        let entry = PolicyEntry {
            name: "entry 1".into(),
            scope: Scope::default(),
            matcher: PolicyMatcher::default(),
            action,
            text: None,
        };
        assert_eq!(policy_of(&text), CommandPolicy::new(vec![entry]));
    }
}

#[test]
fn what_makes_no_sense_is_refused_where_it_stands() {
    for (text, error) in [
        (
            "[[command_policy]]\ncommands = [\"DELE\"]",
            "x:1:1: missing field `action`",
        ),
        (
            "[[command_policy]]\naction = \"drop\"",
            "x:2:10: unknown variant `drop`, expected one of `allow`, `log`, `refuse`, `reset`",
        ),
        (
            "[[command_policy]]\naction = \"log\"\ncommand = [\"DELE\"]",
            "x:3:1: unknown field `command`",
        ),
        (
            "[[command_policy]]\naction = \"log\"\ncommands = [\"\"]",
            "x:3:13: `` is not a command",
        ),
        (
            "[[command_policy]]\naction = \"log\"\ncommands = [\"A B C\"]",
            "x:3:13: `A B C` is not a command",
        ),
        (
            "[[command_policy]]\naction = \"log\"\ncontrol_ports = [22]",
            "x:3:18: 22 is not one of control_ports",
        ),
        (
            "[[command_policy]]\naction = \"log\"\npaths = [\"\"]",
            "x:3:10: a pattern has 1 to 256 bytes",
        ),
        (
            "[[command_policy]]\naction = \"log\"\nline_max = 513",
            "x:3:12: 513 is not from 1 to 512",
        ),
        (
            "[[command_policy]]\naction = \"log\"\nname = \"a\\nb\"",
            "x:3:8: not 1 to 32 printable",
        ),
        (
            "[[command_policy]]\naction = \"log\"\nsessions = 0",
            "x:3:12: 0 is not from 1 to 1000000",
        ),
        (
            "[[command_policy]]\naction = \"log\"\nclients = [\"all\"]",
            "x:3:12: invalid address: all",
        ),
        (
            "[[command_policy]]\naction = \"log\"\noperations = [\"delete\"]",
            "x:3:15: unknown variant `delete`",
        ),
        (
            "[[command_policy]]\naction = \"log\"\nname = \"a\"\n\
             [[command_policy]]\naction = \"log\"\nname = \"a\"",
            "x:4:1: another entry has the name `a`",
        ),
    ] {
        let said = refused(text);
        assert!(said.starts_with(error), "{said}");
    }
}

#[test]
fn there_are_no_more_entries_than_are_compared_with_each_command() {
    let many = "[[command_policy]]\naction = \"log\"\n".repeat(ENTRIES_MAX + 1);
    assert!(refused(&many).contains("more than 256 entries"));
}

#[test]
fn the_directory_where_sessions_begin_is_read() {
    assert!(
        refused("[policy]\nlogin_directory = \"pub\"")
            .starts_with("x:2:19: a directory of the servers begins")
    );
    let known = policy_of("[policy]\nlogin_directory = \"/\"");
    assert_eq!(
        known,
        CommandPolicy::default().with_login_directory(Some("/".to_owned()))
    );
}
