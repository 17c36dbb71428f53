//! Partial lines.

use super::*;

fn role_of(line: &str) -> Role {
    kind_of(line).announcer()
}

/// Checks whether each of these partial lines could announce.
fn check(role: Role, prefixes: &[&str], expected: bool) {
    for prefix in prefixes {
        let could = could_announce(role, prefix.as_bytes());
        assert_eq!(could, expected, "{prefix:?}");
    }
}

#[test]
fn every_prefix_of_an_announcement_could_announce() {
    for [line, _] in rows(ACCEPTED) {
        for length in 0..=line.len() {
            let prefix = &line.as_bytes()[..length];
            assert!(could_announce(role_of(line), prefix), "{prefix:?}");
            assert!(
                could_announce_any_of(&[kind_of(line)], prefix),
                "{prefix:?}"
            );
            let lower = prefix.to_ascii_lowercase();
            assert!(could_announce(role_of(line), &lower), "{lower:?}");
        }
    }
}

#[test]
fn another_command_could_not_announce() {
    let prefixes = [
        "U", "ST", "SPX", "x\rU", "R", "PA", "PORX", "PORTX", "EPS", "LIST", "\x01", "x PORT",
        "227 ", "1",
    ];
    check(Role::Client, &prefixes, false);
    assert!(!could_announce(Role::Client, b"\xff\xf4\xff\xf2A"));
}

#[test]
fn the_beginning_of_a_command_could_announce_also_if_it_will_be_malformed() {
    let prefixes = [
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
        "\t",
        " \t P",
        "\tPORT",
        "PORT 10 ,",
        "SP",
        "spor 1",
        "x\rPORT 1",
        "x\r\rp",
        "SIZE x\r \t",
    ];
    check(Role::Client, &prefixes, true);
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
fn another_reply_could_not_announce() {
    let prefixes = [
        "1", "3", "21", "220", "226 ", "226(", "227-", "227x", "2271", "227,", "P", " ", "\0",
    ];
    check(Role::Server, &prefixes, false);
}

#[test]
fn the_beginning_of_a_reply_could_announce_also_if_it_will_be_malformed() {
    let prefixes = [
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
        "227\t",
        "227(",
        "227(10, 0",
        "227=1",
        "229(",
    ];
    check(Role::Server, &prefixes, true);
}

#[test]
fn only_the_given_kinds_could_be_announced() {
    let epsv = &[AnnouncementKind::Epsv];
    assert!(could_announce_any_of(epsv, b"229 Ent"));
    assert!(could_announce_any_of(epsv, b"22"));
    assert!(!could_announce_any_of(epsv, b"227 Ent"));
    assert!(!could_announce_any_of(&[], b""));
}
