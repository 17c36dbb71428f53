//! Lines that have not ended yet.

use super::*;

fn role_of(line: &str) -> Role {
    announcement(line).kind.announcer()
}

#[test]
fn every_prefix_of_an_announcement_could_announce() {
    for (line, kind, _) in ACCEPTED {
        for length in 0..=line.len() {
            let prefix = &line.as_bytes()[..length];
            assert!(could_announce(role_of(line), prefix), "{prefix:?}");
            assert!(could_announce_any_of(&[kind], prefix), "{prefix:?}");
            let lower = prefix.to_ascii_lowercase();
            assert!(could_announce(role_of(line), &lower), "{lower:?}");
        }
    }
}

#[test]
fn a_client_s_line_is_let_go_as_soon_as_nothing_can_come_of_it() {
    for prefix in [
        "U",
        "R",
        "PA",
        "PORX",
        "PORTX",
        "PORT\t",
        "EPS",
        "LIST",
        "PORT x",
        "PORT 256",
        "PORT 01",
        "PORT 10 ",
        "PORT 10,,",
        "PORT 10,0,0,1,19,137,",
        "PORT 10,0,0,1,19,137 x",
        "PORT 10,0,0,1,0,0",
        "EPRT 1",
        "EPRT  \r",
        "EPRT |3|",
        "EPRT |1|x",
        "EPRT |1|10.0.0.1|0|",
        "EPRT |1|10.0.0.1|65536",
        "EPRT |2|10.0.0.1|",
        "EPRT |1|10.0.0.1|5001|x",
        "LPRT 5,4,",
        "LPRT 4,5,",
        "LPRT 4,4,10,0,0,1,3,",
        "\0",
        "\r",
        "227 ",
        "1",
    ] {
        assert!(
            !could_announce(Role::Client, prefix.as_bytes()),
            "{prefix:?}"
        );
    }
    assert!(!could_announce(Role::Client, b"\xff"));
    assert!(!could_announce(Role::Client, b"PORT\xff"));
}

#[test]
fn a_client_s_line_is_kept_as_long_as_something_can_come_of_it() {
    for prefix in [
        "",
        " ",
        "p",
        "E",
        "Lp",
        "port",
        "PORT ",
        "PORT  ",
        "PORT 2",
        "PORT 25",
        "PORT 255",
        "PORT 10,0,0,1,0,",
        "PORT 10,0,0,1,19,137",
        "EPRT |",
        "EPRT |2|::",
        "EPRT |1|10.0.0.1|6553",
        "LPRT 6,1",
    ] {
        assert!(
            could_announce(Role::Client, prefix.as_bytes()),
            "{prefix:?}"
        );
    }
}

#[test]
fn a_server_s_line_is_let_go_as_soon_as_nothing_can_come_of_it() {
    for prefix in [
        "1",
        "3",
        "21",
        "220",
        "226 ",
        "227-",
        "227x",
        "2271",
        "P",
        " ",
        "\0",
        "227 a\tb",
        "227 (10,0,0,1,19,256",
        "227 (10,0,0,1,19,137,",
        "227 (10,0,0,1,19,137) (10,0,0,1,19,",
        "227 9, 10,0,0,1,19,",
        "227 (10,0,0,1,0,0)",
        "229 (|||0|",
        "229 (|||65536",
        "229 (|||6446|x",
        "228 (5,4,10,0,0,1,2,19,",
    ] {
        assert!(
            !could_announce(Role::Server, prefix.as_bytes()),
            "{prefix:?}"
        );
    }
}

#[test]
fn a_server_s_words_are_kept_until_the_numbers_come() {
    for prefix in [
        "",
        "2",
        "22",
        "227",
        "227 ",
        "228 ",
        "229 ",
        "227 Entering Passive Mode",
        "227 1,2,3 (",
        "227 (10,0,0,1,19,137",
        "229 a (b) c",
        "229 (||",
        "229 (|||6446|",
        "229 (|||6446|).",
    ] {
        assert!(
            could_announce(Role::Server, prefix.as_bytes()),
            "{prefix:?}"
        );
    }
}

#[test]
fn only_the_kinds_asked_for_are_waited_for() {
    let epsv = &[AnnouncementKind::Epsv];
    assert!(could_announce_any_of(epsv, b"229 Ent"));
    assert!(could_announce_any_of(epsv, b"22"));
    assert!(!could_announce_any_of(epsv, b"227 Ent"));
    assert!(!could_announce_any_of(&[], b""));
}
