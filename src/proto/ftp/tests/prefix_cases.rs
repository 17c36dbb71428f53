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
fn a_client_s_line_is_let_go_as_soon_as_it_is_another_command() {
    for prefix in [
        "U", "R", "PA", "PORX", "PORTX", "EPS", "LIST", "\x01", "x PORT", "227 ", "1",
    ] {
        assert!(
            !could_announce(Role::Client, prefix.as_bytes()),
            "{prefix:?}"
        );
    }
    assert!(!could_announce(Role::Client, b"\xff\xf4\xff\xf2A"));
}

#[test]
fn a_client_s_line_is_kept_while_it_could_be_an_announcement_readable_or_not() {
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
        "PORT 256",
        "PORT x",
        "PORT\t",
        "PORT 10,0,0,1,19,137",
        "PORT 10,0,0,1,19,137 x",
        "EPRT |3|",
        "EPRT |2|::",
        "LPRT 5,4,",
    ] {
        assert!(
            could_announce(Role::Client, prefix.as_bytes()),
            "{prefix:?}"
        );
    }
    for prefix in [
        &b"\xff"[..],
        b"\xff\xfb",
        b"\xff\xf1P",
        b"PORT\xff",
        b"PO\xff",
        b"PO\xff\xfb",
        b"PO\xff\xfb\x01R",
        b"P\0",
        b"PO\xffR",
        b"\xff\xfb\x01 por",
    ] {
        assert!(could_announce(Role::Client, prefix), "{prefix:?}");
    }
}

#[test]
fn a_server_s_line_is_let_go_as_soon_as_it_is_another_reply() {
    for prefix in [
        "1", "3", "21", "220", "226 ", "227-", "227x", "2271", "P", " ", "\0",
    ] {
        assert!(
            !could_announce(Role::Server, prefix.as_bytes()),
            "{prefix:?}"
        );
    }
}

#[test]
fn a_server_s_line_is_kept_while_it_could_be_an_announcement_readable_or_not() {
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
        "227 (10,0,0,1,19,256",
        "229 (|||0|",
        "229 (|||6446|).",
        "227 a\tb",
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
