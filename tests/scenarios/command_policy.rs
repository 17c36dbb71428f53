//! The command policy: a refused command never reaches the server, and the user reads the reason.

use std::{sync::Arc, time::Duration};

use ftp_alg::proto::{
    command_policy::{CommandPolicy, Mode, PolicyAction, PolicyEntry, PolicyMatcher, Scope, Verb},
    event::EventKind,
    flow::Settings,
    ftp::Role,
    net::{Direction, Layer},
};

use crate::{
    harness::{
        dialogue::{Script, Turn, after_login, client, server},
        host::Step,
        link::{Fate, Link},
        topology::Topology,
    },
    play::{decisions, heard_by, session},
};

pub(crate) fn entry(action: PolicyAction, commands: &[&str]) -> PolicyEntry {
    PolicyEntry {
        name: "no-deletes".into(),
        scope: Scope::default(),
        matcher: PolicyMatcher {
            commands: commands
                .iter()
                .map(|verb| Verb::parse(verb).unwrap())
                .collect(),
            ..PolicyMatcher::default()
        },
        action,
        text: None,
    }
}

pub(crate) fn with_policy(entries: Vec<PolicyEntry>) -> Settings {
    Settings {
        command_policy: Arc::new(CommandPolicy::new(entries)),
        ..Settings::default()
    }
}

pub(crate) fn deny() -> Settings {
    with_policy(vec![entry(PolicyAction::Refuse, &["DELE"])])
}

/// Plays a login, `turns` and QUIT under a policy.
fn play(settings: Settings, turns: &[Turn]) -> Link {
    let mut link = open(settings, &session(turns));
    link.run_for(Duration::from_secs(2));
    assert_eq!(link.faults(), Vec::<&String>::new());
    link
}

fn open(settings: Settings, turns: &[Turn]) -> Link {
    let mut link = Link::new(settings);
    link.add(Topology::Routed.tuples(0), &Script::open(turns));
    link
}

const NOOP: &str = "200 NOOP command successful";
const REFUSED: &str = "550 Refused (no-deletes)   ";

/// A kernel may drop a bridged packet whose verdict has other bytes.
#[test]
fn what_replaces_a_bridged_packet_is_a_frame_of_our_own() {
    let turns = [
        client("DELE important.txt"),
        server(NOOP),
        client("PWD"),
        server("257 /"),
    ];
    for (layer, frames) in [(Layer::Routed, 0), (Layer::Bridged, 2)] {
        let mut link = open(deny(), &session(&turns));
        link.kernel.layer = layer;
        link.run_for(Duration::from_secs(2));
        assert_eq!(link.faults(), Vec::<&String>::new());
        assert!(heard_by(Role::Server, &link).contains("NOOP"));
        assert!(heard_by(Role::Client, &link).contains(REFUSED));
        assert_eq!(link.kernel.injected.len(), frames, "{layer:?}");
    }
}

/// Whether the gateway has aborted the connection.
fn is_aborted(link: &Link) -> bool {
    link.kernel.event_kinds().contains(&EventKind::Aborted)
}

#[test]
fn the_server_gets_noop_for_a_refused_command_and_the_user_a_550_of_equal_length() {
    let turns = [
        client("DELE important.txt"),
        server(NOOP),
        client("NOOP"),
        server(NOOP),
    ];
    let link = play(deny(), &turns);
    assert_eq!(
        heard_by(Role::Server, &link),
        "NOOP              \r\nNOOP\r\n"
    );
    assert_eq!(
        heard_by(Role::Client, &link),
        format!("{REFUSED}\r\n{NOOP}\r\n")
    );
    assert!(
        !link.kernel.is_liberal(&Topology::Routed.tuples(0)),
        "no sequence number changes"
    );
}

#[test]
fn a_user_may_read_the_operators_words() {
    let entries = vec![PolicyEntry {
        text: Some("Ask us".into()),
        ..entry(PolicyAction::Refuse, &["DELE"])
    }];
    let link = play(with_policy(entries), &[client("DELE x"), server(NOOP)]);
    assert_eq!(heard_by(Role::Client, &link).trim_end(), "550 Ask us");
}

#[test]
fn an_answer_of_several_lines_is_a_550_from_its_first_line_on() {
    let noop = Turn::new(
        Role::Server,
        "200-nothing\r\n 200 was\r\n200-really\r\n200 done, as you have wished\r\n",
    );
    let link = play(deny(), &[client("DELE x"), noop]);
    assert_eq!(
        heard_by(Role::Client, &link),
        "550-nothing\r\n 200 was\r\n550-really\r\n550 Refused (no-deletes)    \r\n"
    );
}

#[test]
fn a_server_that_closes_instead_of_answering_says_so() {
    let link = play(deny(), &[client("DELE x"), server("421 too long idle")]);
    assert_eq!(heard_by(Role::Client, &link), "421 too long idle\r\n");
}

#[test]
fn commands_of_less_than_four_bytes_are_refused_too() {
    let settings = with_policy(vec![entry(PolicyAction::Refuse, &["CCC"])]);
    let link = play(
        settings,
        &[client("CCC"), server("500 NOO is not known here")],
    );
    assert_eq!(heard_by(Role::Server, &link), "NOO\r\n");
    assert!(heard_by(Role::Client, &link).starts_with("550 Refused"));
}

#[test]
fn commands_pipelined_behind_a_refused_one_keep_their_answers() {
    let turns = [
        Turn::new(Role::Client, "DELE a\r\nDELE b\r\nSIZE c\r\nDELE d\r\n"),
        server(NOOP).ahead_of(3),
        server(NOOP).ahead_of(2),
        server("213 7").ahead_of(1),
        server(NOOP),
    ];
    let link = play(deny(), &turns);
    assert_eq!(
        heard_by(Role::Server, &link),
        "NOOP  \r\nNOOP  \r\nSIZE c\r\nNOOP  \r\n"
    );
    assert_eq!(
        heard_by(Role::Client, &link),
        format!("{REFUSED}\r\n{REFUSED}\r\n213 7\r\n{REFUSED}\r\n")
    );
}

#[test]
fn a_command_in_pieces_is_refused_at_each_cut_and_with_each_loss() {
    let line = "DELE important.txt\r\n";
    for cut in 1..line.len() {
        for gap in [
            Duration::ZERO,
            Duration::from_millis(60),
            Duration::from_secs(12),
        ] {
            let turns = [
                client("DELE important.txt").cut(&[cut], gap),
                server(NOOP),
                client("NOOP"),
                server(NOOP),
            ];
            let mut link = open(deny(), &session(&turns));
            link.run_for(Duration::from_secs(20));
            let heard = String::from_utf8_lossy(&link.hosts[1].received).into_owned();
            assert!(!heard.contains('D'), "cut at {cut}, {gap:?}: {heard}");
            assert_eq!(
                heard_by(Role::Client, &link),
                format!("{REFUSED}\r\n{NOOP}\r\n"),
                "cut at {cut}, {gap:?}"
            );
            assert!(!is_aborted(&link));
        }
    }
    let turns = [
        client("DELE important.txt"),
        server(NOOP),
        client("NOOP"),
        server(NOOP),
    ];
    for lost in 0..40 {
        let mut link = open(deny(), &session(&turns));
        link.fates = std::iter::repeat_n(Fate::Pass, lost)
            .chain([Fate::Drop])
            .collect();
        link.run_for(Duration::from_secs(20));
        assert_eq!(
            heard_by(Role::Server, &link),
            "NOOP              \r\nNOOP\r\n",
            "{lost}"
        );
        assert_eq!(
            heard_by(Role::Client, &link),
            format!("{REFUSED}\r\n{NOOP}\r\n"),
            "{lost}"
        );
    }
}

#[test]
fn a_line_too_long_to_be_read_is_refused_by_its_beginning() {
    let entries = vec![PolicyEntry {
        matcher: PolicyMatcher {
            line_max: Some(100),
            ..PolicyMatcher::default()
        },
        ..entry(PolicyAction::Refuse, &[])
    }];
    let long = format!("STAT {}", "x".repeat(2000));
    let link = play(with_policy(entries), &[client(&long), server(NOOP)]);
    let heard = heard_by(Role::Server, &link);
    assert!(heard.starts_with("NOOP    "), "{heard}");
    assert_eq!(heard.len(), long.len() + 2);
    assert_eq!(heard_by(Role::Client, &link), format!("{REFUSED}\r\n"));
}

#[test]
fn an_entry_that_resets_ends_the_connection_towards_both_ends() {
    let settings = with_policy(vec![entry(PolicyAction::Reset, &["SITE"])]);
    let link = play(settings, &[client("SITE EXEC x")]);
    assert!(is_aborted(&link));
    assert!(link.hosts[0].was_reset && link.hosts[1].was_reset);
    assert_eq!(heard_by(Role::Server, &link), "");
}

#[test]
fn a_partial_line_before_a_fin_does_not_reach_a_server_that_might_take_it_for_a_command() {
    let turns = session(&[]);
    let mut link = open(deny(), &turns[..5]);
    link.run_for(Duration::from_millis(100));
    link.client_says(&[Turn::new(Role::Client, "DELE x")]);
    link.run_for(Duration::from_millis(100));
    let now = link.now;
    let closes = Step {
        closes: true,
        ..Step::default()
    };
    link.client().say(vec![closes], now);
    link.run_for(Duration::from_secs(1));
    assert!(is_aborted(&link));
    assert_eq!(heard_by(Role::Server, &link), "");
}

#[test]
fn a_client_that_leaves_bytes_out_is_reset() {
    let turns = session(&[]);
    let mut link = open(deny(), &turns[..5]);
    link.run_for(Duration::from_millis(100));
    for _ in 0..6 {
        link.client().send_odd(|frame| {
            frame.seq = frame.seq.wrapping_add(7);
            frame.payload = b"ELE x\r\n".to_vec();
        });
        link.run_for(Duration::from_millis(50));
    }
    assert!(is_aborted(&link));
    let heard = String::from_utf8_lossy(&link.hosts[1].received).into_owned();
    assert!(!heard.contains("ELE"), "{heard}");
}

#[test]
fn an_entry_may_refuse_one_mode_and_the_other_goes_on() {
    let entries = vec![PolicyEntry {
        matcher: PolicyMatcher {
            mode: Some(Mode::Active),
            ..PolicyMatcher::default()
        },
        ..entry(PolicyAction::Refuse, &[])
    }];
    let turns = [
        client("PORT 10,0,0,2,19,137"),
        server(NOOP),
        client("PASV"),
        server("227 Entering Passive Mode (198,51,100,7,19,137)."),
    ];
    let link = play(with_policy(entries), &turns);
    assert_eq!(decisions(&link), ["PASV expect"]);
    assert_eq!(link.kernel.expected.len(), 1);
    let its_client = Topology::Routed.tuples(0).sender(Direction::Original).ip();
    assert_eq!(link.kernel.expected[0].source, its_client);
}

#[test]
fn a_command_is_reported_with_its_verb_and_without_its_argument() {
    let settings = with_policy(vec![
        entry(PolicyAction::Log, &["DELE"]),
        PolicyEntry {
            name: "second".into(),
            ..entry(PolicyAction::Refuse, &["DELE"])
        },
    ]);
    let link = play(settings, &[client("DELE secret"), server(NOOP)]);
    let mut reports = Vec::new();
    for kind in link.kernel.event_kinds() {
        if let EventKind::Command(report) = kind {
            reports.push(format!(
                "{} {} {}",
                report.verb,
                report.entry,
                report.action.as_str()
            ));
        }
    }
    assert_eq!(reports, ["DELE no-deletes log", "DELE second refuse"]);
}

#[test]
fn no_command_of_a_client_that_closes_at_once_passes_unread() {
    let all = Turn::new(Role::Client, "DELE a\r\nDELE b\r\nSIZE c\r\nQUIT\r\n");
    let turns = [
        all,
        server(NOOP).ahead_of(3),
        server(NOOP).ahead_of(2),
        server("213 7").ahead_of(1),
        server("221 bye"),
    ];
    let mut script = Script::open(&after_login(&turns));
    script.client.push(Step {
        closes: true,
        ..Step::default()
    });
    let mut link = Link::new(deny());
    link.add(Topology::Routed.tuples(0), &script);
    link.run_for(Duration::from_secs(5));
    assert_eq!(link.faults(), Vec::<&String>::new());
    assert_eq!(
        heard_by(Role::Server, &link),
        "NOOP  \r\nNOOP  \r\nSIZE c\r\n"
    );
    assert!(link.server().has_heard_fin());
    assert!(!is_aborted(&link));
}

#[test]
fn a_refused_command_that_is_repeated_to_the_next_process_does_not_reach_the_server() {
    let settings = deny();
    let mut link = open(settings.clone(), &after_login(&[]));
    link.run_for(Duration::from_millis(100));
    link.fates = [Fate::Drop].into();
    link.client_says(&[client("DELE 0-13")]);
    link.run_for(Duration::from_millis(100));
    link.kernel.restart(settings);
    link.run_for(Duration::from_secs(5));
    let heard = heard_by(Role::Server, &link);
    assert!(!heard.contains("DELE"), "{heard}");
    assert!(heard.contains("NOOP") || is_aborted(&link), "{heard}");
}

#[test]
fn a_substitute_that_was_lost_with_the_process_is_no_reason_to_reset_the_connection() {
    let settings = deny();
    let mut link = Link::new(settings.clone());
    // Its length changes, so that the connection has an offset and is saved.
    let turns = after_login(&[client("PORT 10,0,0,2,4,5"), server("200 ok")]);
    link.add(Topology::Snat.tuples(0), &Script::open(&turns));
    link.run_for(Duration::from_millis(100));
    // It passes the gateway, and is lost behind it.
    link.fates = [Fate::Pass, Fate::Drop].into();
    link.client_says(&[client("DELE 0-13")]);
    link.run_for(Duration::from_millis(100));
    link.kernel.restart(settings);
    link.run_for(Duration::from_secs(5));
    let heard = heard_by(Role::Server, &link);
    assert!(heard.ends_with("NOOP     \r\n"), "{heard}");
    assert!(!is_aborted(&link));
    link.server_says(&[server(NOOP)]);
    link.run_for(Duration::from_millis(100));
    let answer = heard_by(Role::Client, &link);
    assert!(answer.ends_with(&format!("{REFUSED}\r\n")), "{answer}");
}

#[test]
fn a_client_that_says_nothing_of_tls_after_auth_does_not_get_past_the_policy() {
    let turns = [
        client("AUTH X"),
        server("234 go on"),
        client("DELE x"),
        client("DELE y"),
    ];
    let mut link = open(deny(), &session(&turns));
    link.run_for(Duration::from_secs(2));
    let heard = heard_by(Role::Server, &link);
    assert_eq!(heard, "AUTH X\r\n");
    assert!(is_aborted(&link));
}

#[test]
fn the_answer_to_another_command_does_not_accept_auth() {
    // vsftpd answers in order, and the NOOP of a transfer behind its end.
    let turns = [
        client("RETR x"),
        server("150 here"),
        Turn::new(Role::Client, "NOOP\r\nAUTH TLS\r\n"),
        server("226 done").ahead_of(2),
        server(NOOP).ahead_of(1),
        server("530 log in first"),
        client("DELE x"),
        server(NOOP),
    ];
    let link = play(deny(), &turns);
    let heard = heard_by(Role::Server, &link);
    assert!(!heard.contains("DELE"), "{heard}");
    assert!(!is_aborted(&link));
}
