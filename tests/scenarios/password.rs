//! What a user sends behind PASS and ACCT is never saved, in whatever pieces it comes.

use std::time::Duration;

use ftp_alg::proto::{
    command_policy::{Mode, PolicyAction, PolicyEntry, PolicyMatcher},
    event::EventKind,
    flow::Settings,
    ftp::Role,
    net::Direction,
};
use proptest::prelude::*;

use crate::{
    command_policy::{deny, entry, with_policy},
    harness::{
        dialogue::{Script, Turn, client, server},
        link::{Fate, Link},
        topology::Topology,
    },
};

/// Bytes that stand nowhere but in passwords.
const OF_PASSWORDS: &[u8] = b"!$%&=~";

/// A login in pieces, in a network that loses some of them.
#[derive(Clone, Debug)]
struct Login {
    policy: usize,
    verb: &'static str,
    password: String,
    cuts: Vec<usize>,
    gap: Duration,
    is_pipelined: bool,
    lost: Vec<usize>,
}

fn any_login() -> impl Strategy<Value = Login> {
    (
        0..policies().len(),
        prop::sample::select(vec!["PASS", "pass", "Pass"]),
        "[!$%&=~ ]{0,12}[!$%&=~]",
        prop::collection::vec(1_usize..40, 0..5),
        prop::sample::select(vec![0, 3, 8, 300, 12_000]),
        any::<bool>(),
        prop::collection::vec(4_usize..30, 0..3),
    )
        .prop_map(
            |(policy, verb, password, cuts, gap, is_pipelined, lost)| Login {
                policy,
                verb,
                password,
                cuts,
                gap: Duration::from_millis(gap),
                is_pipelined,
                lost,
            },
        )
}

fn matching(matcher: PolicyMatcher) -> Settings {
    with_policy(vec![PolicyEntry {
        matcher,
        ..entry(PolicyAction::Refuse, &[])
    }])
}

/// Without refusing entries, with some that refuse no password, and with some that may.
fn policies() -> Vec<Settings> {
    let root = PolicyMatcher {
        users: vec!["root".to_owned().try_into().unwrap()],
        ..PolicyMatcher::default()
    };
    vec![
        Settings::default(),
        deny(),
        matching(root),
        matching(PolicyMatcher {
            line_max: Some(200),
            ..PolicyMatcher::default()
        }),
        matching(PolicyMatcher {
            commands_per_second: Some(50),
            ..PolicyMatcher::default()
        }),
    ]
}

impl Login {
    fn turns(&self) -> Vec<Turn> {
        let line = format!("{} {}\r\n", self.verb, self.password);
        let mut turns = vec![server("220 hello")];
        let answers = if self.is_pipelined {
            turns.push(Turn::new(Role::Client, format!("USER ann\r\n{line}")));
            [server("331 and?").ahead_of(1), server("332 and?")]
        } else {
            turns.extend([client("USER ann"), server("331 and?")]);
            turns.push(Turn::new(Role::Client, line));
            [server("332 and?"), server("332 once more")]
        };
        let at = turns.len() - 1;
        turns[at] = turns[at].clone().cut(&self.cuts, self.gap);
        let polite = if self.is_pipelined { 2 } else { 1 };
        turns.extend(answers.into_iter().take(polite));
        let account = format!("ACCT {}\r\nNOOP\r\n", self.password);
        turns.push(Turn::new(Role::Client, account).cut(&self.cuts, self.gap));
        turns.extend([
            server("230 welcome").ahead_of(1),
            server("200 ok"),
            client("QUIT"),
            server("221 bye"),
        ]);
        turns
    }

    fn check(&self) {
        let turns = self.turns();
        let mut link = Link::new(policies()[self.policy].clone());
        link.add(Topology::Routed.tuples(0), &Script::open(&turns));
        link.fates = (0..30)
            .map(|nth| {
                if self.lost.contains(&nth) {
                    Fate::Drop
                } else {
                    Fate::Pass
                }
            })
            .collect();
        link.run_for(Duration::from_secs(200));
        let heard = String::from_utf8_lossy(&link.hosts[1].received).into_owned();
        let expected = format!(
            "USER ann\r\n{verb} {password}\r\nACCT {password}\r\nNOOP\r\nQUIT\r\n",
            verb = self.verb,
            password = self.password
        );
        assert_eq!(heard, expected);
        assert_eq!(link.faults(), Vec::<&String>::new());
        assert_no_password_was_saved(&link);
    }
}

fn assert_no_password_was_saved(link: &Link) {
    for saved in &link.kernel.saves {
        let bytes = saved.streams.iter().filter_map(|stream| {
            let acked = stream.locally_acked.as_ref()?;
            Some(acked.bytes.as_slice())
        });
        for bytes in bytes {
            let is_secret = |byte: &u8| OF_PASSWORDS.contains(byte);
            assert!(!bytes.iter().any(is_secret), "{}", bytes.escape_ascii());
        }
    }
}

#[test]
fn no_saved_flow_has_a_password_in_whatever_pieces_it_came() {
    let config = ProptestConfig {
        cases: 1500,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    proptest!(config, |(login in any_login())| login.check());
}

#[test]
fn a_password_in_pieces_reaches_the_server_as_it_comes_where_nothing_can_refuse_it() {
    let mut link = Link::new(deny());
    let turns = [
        server("220 hello"),
        client("USER ann"),
        server("331 and?"),
        client("PASS !!!!").cut(&[7], Duration::from_secs(60)),
    ];
    link.add(Topology::Routed.tuples(0), &Script::open(&turns));
    link.run_for(Duration::from_secs(30));
    assert_eq!(link.hosts[1].received, b"USER ann\r\nPASS !!");
    assert!(!link.kernel.is_liberal(&Topology::Routed.tuples(0)));
}

/// The line that a server reads which takes a CR alone for an end.
#[test]
fn a_command_hidden_in_a_password_does_not_reach_the_server_at_any_cut() {
    let active = PolicyMatcher {
        mode: Some(Mode::Active),
        ..PolicyMatcher::default()
    };
    let settings = [matching(active), deny()];
    let hidden = [
        ("PASS !\rPORT 1,2,3,4,5,6\r\n", "PORT"),
        ("PASS !\0PORT 1,2,3,4,5,6\r\n", "PORT"),
        ("PASS !\r\0PORT 1,2,3,4,5,6\r\n", "PORT"),
        ("PASS !\u{ff}\rDELE x\r\n", "DELE"),
        ("ACCT !\r\rDELE x\r\n", "DELE"),
        ("PASS\rDELE x\r\n", "DELE"),
        ("PASS \rDELE x\r\n", "DELE"),
    ];
    for (settings, (line, command)) in settings.iter().flat_map(|one| hidden.map(|h| (one, h))) {
        // The character above 127 is the byte 255, Telnet's IAC.
        let bytes: Vec<u8> = line.chars().map(|it| it as u8).collect();
        for (first, second) in (0..bytes.len()).flat_map(|at| [(at, at), (at, at + 1)]) {
            for gap in [0, 60, 12_000] {
                let odd = Turn::new(Role::Client, bytes.clone())
                    .cut(&[first, second], Duration::from_millis(gap));
                let turns = [server("220 hello"), odd];
                let mut link = Link::new(settings.clone());
                link.add(Topology::Routed.tuples(0), &Script::open(&turns));
                link.run_for(Duration::from_secs(30));
                let heard = String::from_utf8_lossy(&link.hosts[1].received).into_owned();
                let case = format!("{line:?} cut at {first} and {second}, {gap} ms: {heard:?}");
                assert!(!heard.contains(&command[..2]), "{case}");
            }
        }
    }
}

/// A process that dies while a password exists only here cannot go on with the connection.
#[test]
fn a_connection_whose_password_was_acknowledged_here_is_reset_by_a_later_process() {
    let rate = PolicyMatcher {
        commands_per_second: Some(50),
        ..PolicyMatcher::default()
    };
    let turns = [
        server("220 hello"),
        client("USER ann"),
        server("331 and?"),
        client("PASS !!!!").cut(&[7], Duration::from_secs(1)),
    ];
    let mut link = Link::new(matching(rate.clone()));
    link.add(Topology::Routed.tuples(0), &Script::open(&turns));
    link.run_for(Duration::from_millis(500));
    assert!(link.kernel.is_liberal(&Topology::Routed.tuples(0)));
    link.kernel.restart(matching(rate));
    link.run_for(Duration::from_secs(5));
    assert!(link.hosts[0].was_reset);
    let kinds = link.kernel.event_kinds();
    assert!(kinds.contains(&EventKind::UnknownOffset), "{kinds:?}");
    let original = Topology::Routed.tuples(0).of(Direction::Original);
    assert!(!link.kernel.saved.contains_key(&original));
}
