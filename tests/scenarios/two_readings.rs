//! Lines in which some servers read two commands and others one. A CR or a NUL ends a command to
//! some, and an LF without CR ends none to ProFTPD. What such a line hides never gets through.

use std::time::Duration;

use ftp_alg::proto::{event::EventKind, flow::Settings, ftp::Role, stream::LINE_MAX};

use crate::{
    command_policy::deny,
    harness::{
        dialogue::{Script, Turn, after_login, client, server},
        link::Link,
        topology::Topology,
    },
    play::{decisions, heard_by, play},
};

/// A third host and a port that a client may not announce.
const HIDDEN: [&str; 4] = [
    "PORT 203,0,113,9,0,22",
    "EPRT |1|203.0.113.9|22|",
    "LPRT 4,4,203,0,113,9,2,0,22",
    "SPOR 203,0,113,9,0,22",
];

/// Plays what a client says, and gives what the server has heard behind the login, and whether the
/// connection was aborted.
fn server_hears(settings: Settings, said: Turn) -> (String, bool) {
    let mut link = Link::new(settings);
    let mut turns = after_login(&[]);
    turns.push(said);
    link.add(Topology::Routed.tuples(0), &Script::open(&turns));
    link.run_for(Duration::from_secs(30));
    assert!(link.kernel.expected.is_empty(), "{:?}", decisions(&link));
    let heard = String::from_utf8_lossy(&link.hosts[1].received).into_owned();
    let heard = heard.strip_prefix("USER ann\r\nPASS secret\r\n");
    let is_aborted = link.kernel.event_kinds().contains(&EventKind::Aborted);
    (heard.unwrap_or_default().to_owned(), is_aborted)
}

/// Whether a server that ends commands at each of these bytes reads an announcement.
fn reads_an_announcement(heard: &str) -> bool {
    let mut commands = heard.split(['\r', '\n', '\0']);
    commands.any(|command| {
        let verbs = ["PORT ", "EPRT ", "LPRT ", "SPOR "];
        verbs.into_iter().any(|verb| command.starts_with(verb))
    })
}

#[test]
fn an_announcement_behind_a_cr_or_a_nul_is_refused_with_a_policy_and_without() {
    for hidden in HIDDEN {
        for end in ["\r", "\r\r", "\r\0", "\0"] {
            let line = format!("SIZE x{end}{hidden}");
            for settings in [Settings::default(), deny()] {
                let (heard, is_aborted) = server_hears(settings, client(&line));
                assert_eq!(heard, format!("NOOP{}\r\n", " ".repeat(line.len() - 4)));
                assert!(!is_aborted, "it is answered");
            }
        }
    }
}

#[test]
fn an_announcement_behind_a_cr_never_leaves_however_the_line_is_cut() {
    for hidden in HIDDEN {
        for end in ["\r", "\r\0"] {
            let line = format!("SIZE x{end}{hidden}");
            for at in 1..line.len() + 2 {
                for gap in [0, 1, 20] {
                    let said = client(&line).cut(&[at], Duration::from_millis(gap));
                    let (heard, _) = server_hears(Settings::default(), said);
                    assert!(!reads_an_announcement(&heard), "{at} {gap}: {heard:?}");
                }
            }
            let bytes: Vec<usize> = (1..line.len() + 2).collect();
            let said = client(&line).cut(&bytes, Duration::from_millis(10));
            let (heard, _) = server_hears(Settings::default(), said);
            assert!(!reads_an_announcement(&heard), "{heard:?}");
        }
    }
}

#[test]
fn an_announcement_behind_a_cr_in_the_rest_of_an_over_long_line_is_refused() {
    for length in [
        LINE_MAX - 8,
        LINE_MAX - 3,
        LINE_MAX,
        LINE_MAX + 1,
        1200,
        3000,
    ] {
        for hidden in HIDDEN {
            let line = format!("SIZE {}\r{hidden}", "x".repeat(length));
            for cuts in [&[][..], &[LINE_MAX], &[LINE_MAX + 10], &[length + 8]] {
                let said = client(&line).cut(cuts, Duration::from_millis(10));
                let (heard, _) = server_hears(Settings::default(), said);
                assert!(!reads_an_announcement(&heard), "{length} {cuts:?}");
            }
        }
    }
}

#[test]
fn a_refused_command_behind_a_cr_in_the_rest_of_an_over_long_line_is_refused() {
    let line = format!("SIZE {}\rDELE important.txt", "x".repeat(LINE_MAX));
    let (heard, _) = server_hears(deny(), client(&line));
    assert!(!heard.contains("DELE"), "{heard}");
}

#[test]
fn a_227_behind_a_cr_in_the_rest_of_an_over_long_reply_opens_nothing() {
    let long = "y".repeat(LINE_MAX + 100);
    let echo = format!("500 {long}\r227 Entering Passive Mode (198,51,100,7,4,5)");
    let turns = [
        Turn::new(Role::Client, "XYZ\r\nPASV\r\n"),
        Turn::new(Role::Server, format!("{echo}\r\n502 no\r\n")),
    ];
    let link = play(Topology::Routed, &turns);
    assert!(link.kernel.expected.is_empty(), "{:?}", decisions(&link));
    assert!(heard_by(Role::Client, &link).contains(&echo));
}

#[test]
fn honest_lines_with_such_bytes_pass_as_they_are() {
    for line in ["SIZE Icon\r", "SIZE a\rb", "STOR a\0b", "SIZE x\rPORTRAIT"] {
        let turns = [client(line), server("213 1")];
        let link = play(Topology::Routed, &turns);
        assert_eq!(heard_by(Role::Server, &link), format!("{line}\r\n"));
    }
}

#[test]
fn an_lf_alone_ends_a_command_of_a_client_that_sends_no_cr() {
    let turns = [
        Turn::new(Role::Client, "SIZE x\nPORT 10,0,0,2,4,5\n"),
        Turn::new(Role::Server, "213 1\n200 ok\n"),
    ];
    let link = play(Topology::Routed, &turns);
    assert_eq!(decisions(&link), ["PORT expect"]);
}

#[test]
fn nothing_that_is_refused_gets_through_where_the_server_does_not_end_a_command_at_an_lf() {
    // `sscanf` takes the LF for a blank, and would read on in the next line.
    for said in [
        "PORT 203,0,113,9,\n0,22\r\n",
        "PORT 203,0,113,\n9,0,22\r\n",
        "PORT 203,\n0,113,9,0,22\r\n",
        "PORT \n203,0,113,9,0,22\r\n",
        "PORT 203,0,113\n,9,0,22\r\n",
        "PORT 203,0,113,9,0,0\n22\r\n",
        "EPRT |1|\n203.0.113.9|22|\r\n",
        "SIZE x\nPORT 203,0,113,9,0,22\r\n",
    ] {
        let (heard, _) = server_hears(Settings::default(), Turn::new(Role::Client, said));
        assert!(
            !heard.contains("PORT") && !heard.contains("EPRT"),
            "{heard:?}"
        );
        assert!(heard.contains("NOOP"), "{heard:?}");
    }
}
