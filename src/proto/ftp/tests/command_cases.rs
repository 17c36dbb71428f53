//! Lines of the client.

use super::*;

#[test]
fn every_accepted_spelling_announces_its_endpoint() {
    for [line, endpoint] in rows(ACCEPTED) {
        let (announcement, kind) = (announcement(line), kind_of(line));
        assert_eq!(announcement.kind, kind, "{line}");
        assert_eq!(endpoint_of(&announcement).to_string(), endpoint, "{line}");
        let has_no_address = kind == AnnouncementKind::Epsv && endpoint.starts_with("0.0.0.0");
        assert_eq!(announcement.address.is_none(), has_no_address, "{line}");
    }
}

#[test]
fn every_refused_spelling_is_refused_for_its_reason() {
    for [line, reason] in rows(REFUSED) {
        let refused = announced(line.as_bytes()).unwrap().unwrap_err();
        assert_eq!(format!("{refused:?}"), reason, "{line}");
    }
}

#[test]
fn a_control_byte_or_telnet_sequence_anywhere_spoils_an_announcement() {
    for [line, _] in rows(ACCEPTED) {
        for position in 0..=line.len() {
            for (bytes, reason) in [
                (&b"\0"[..], Malformed::ControlByte),
                (b"\r", Malformed::ControlByte),
                (b"\t", Malformed::ControlByte),
                (b"\x7f", Malformed::ControlByte),
                (b"\xff\xf1", Malformed::TelnetSequence),
                (b"\xff\xf4\xff\xf2", Malformed::TelnetSequence),
            ] {
                let (before, after) = line.as_bytes().split_at(position);
                let spoiled = [before, bytes, after].concat();
                let announced = announced(&spoiled);
                assert!(!matches!(announced, Some(Ok(_))), "{spoiled:?}");
                if position > 4 {
                    assert_eq!(announced, Some(Err(reason)), "{spoiled:?}");
                }
            }
        }
    }
}

#[test]
fn verbs_are_recognised_in_any_case_with_and_without_argument() {
    for (line, command) in [
        ("PASV", Command::Pasv),
        ("pasv", Command::Pasv),
        ("PaSv", Command::Pasv),
        ("PASV ", Command::Pasv),
        ("P@SW", Command::Pasv),
        ("LPSV", Command::Lpsv),
        ("AUTH TLS", Command::Auth),
        ("auth ssl", Command::Auth),
        ("CCC", Command::Ccc),
        ("USER anonymous", Command::Login),
        ("REIN", Command::Rein),
        ("QUIT", Command::Quit),
        ("ABOR", Command::Abor),
        ("HOST ftp.example.org", Command::Host),
        ("RETR a b", Command::Transfer),
        ("STOR a", Command::Transfer),
        ("STOU", Command::Transfer),
        ("APPE a", Command::Transfer),
        ("LIST -la", Command::Transfer),
        ("nlst", Command::Transfer),
        ("MLSD /", Command::Transfer),
        ("NOOP", Command::Noop),
        ("  NOOP", Command::Noop),
        ("PASS PORT 10,0,0,1,19,137", Command::Login),
        ("MLST a", Command::Other),
        ("PASVX", Command::Other),
        ("PASV1", Command::Other),
        ("PORTS 10,0,0,1,19,137", Command::Other),
        ("XPORT 10,0,0,1,19,137", Command::Other),
        ("POR T 10,0,0,1,19,137", Command::Other),
        ("GET / HTTP/1.1", Command::Other),
        ("RETR\tfile", Command::Other),
        ("", Command::Other),
        (" ", Command::Other),
    ] {
        assert_eq!(Command::parse(line.as_bytes()), command, "{line}");
    }
}

#[test]
fn a_telnet_synch_before_a_verb_hides_nothing() {
    for (line, command) in [
        (&b"\xff\xf4\xff\xf2ABOR"[..], Command::Abor),
        (b"\xff\xf4\xff\xf2abor", Command::Abor),
        (b"\xff\xf6\xff\xfd\x06PASV", Command::Pasv),
        (b"\xff\xff NOOP", Command::Noop),
        (b"\xff\xfb", Command::Other),
        (b"\xff", Command::Other),
    ] {
        assert_eq!(Command::parse(line), command, "{line:?}");
    }
    assert_eq!(
        Command::parse(b"\xff\xf4\xff\xf2PORT 10,0,0,1,19,137"),
        Command::Announce(AnnouncementKind::Port, Err(Malformed::TelnetSequence))
    );
}

#[test]
fn the_argument_of_epsv_is_absent_a_family_or_all() {
    for (line, argument) in [
        ("EPSV", EpsvArgument::Any),
        ("epsv ", EpsvArgument::Any),
        ("EPSV 1", EpsvArgument::Family(1)),
        ("EPSV 2", EpsvArgument::Family(2)),
        ("EPSV  2 ", EpsvArgument::Family(2)),
        ("EPSV 3", EpsvArgument::Family(3)),
        ("EPSV ALL", EpsvArgument::All),
        ("epsv all", EpsvArgument::All),
        ("EPSV 256", EpsvArgument::Unknown),
        ("EPSV 1 2", EpsvArgument::Unknown),
        ("EPSV 01", EpsvArgument::Unknown),
        ("EPSV ALLES", EpsvArgument::Unknown),
        ("EPSV x", EpsvArgument::Unknown),
    ] {
        assert_eq!(
            Command::parse(line.as_bytes()),
            Command::Epsv(argument),
            "{line}"
        );
    }
}

#[test]
fn the_first_lines_of_other_protocols_are_no_commands() {
    for line in [
        "POST / HTTP/1.1",
        "get / HTTP/1.0",
        "Host: example.net",
        "Content-Length: 100",
        "REGISTER sip:example.net SIP/2.0",
        "\u{16}\u{3}\u{1}",
        "{\"a\": 1}",
        "A",
    ] {
        assert!(!is_command_shaped(line.as_bytes()), "{line:?}");
    }
    for line in [
        "",
        "USER ann",
        "user ann",
        " CWD x",
        "FEAT",
        "OPTS UTF8 ON",
        "XCWD a",
    ] {
        assert!(is_command_shaped(line.as_bytes()), "{line:?}");
    }
    assert!(is_command_shaped(b"\xff\xf4\xff\xf2ABOR"));
}

#[test]
fn a_verb_that_some_server_reads_between_other_bytes_announces_nothing_readable() {
    for line in [
        &b"PO\xff\xf1RT 10,0,0,1,19,137"[..],
        b"PO\xffRT 10,0,0,1,19,137",
        b"P\0ORT 10,0,0,1,19,137",
        b"E\xff\xfb\x01PRT |1|10.0.0.1|5001|",
        b"\0PORT 10,0,0,1,19,137",
    ] {
        let Command::Announce(_, announced) = Command::parse(line) else {
            panic!("{line:?}");
        };
        assert_eq!(announced, Err(Malformed::TelnetSequence));
        for length in 1..line.len() {
            assert!(
                could_announce(Role::Client, &line[..length]),
                "{line:?} {length}"
            );
        }
    }
    for line in [&b"STOR \xff\xffPORT"[..], b"STOR a\0b", b"RE\xff\xf1TR x"] {
        assert!(
            !matches!(Command::parse(line), Command::Announce(..)),
            "{line:?}"
        );
    }
}
