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
                (b"\x0b", Malformed::ControlByte),
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
        ("PASV\t", Command::Pasv),
        ("\t PASV", Command::Pasv),
        ("PASV please", Command::Pasv),
        ("PASV\r\0", Command::Pasv),
        ("PASV\rNOOP", Command::Pasv),
        ("EPSV ALL\r\0", Command::Epsv(EpsvArgument::All)),
        ("P@SW", Command::Pasv),
        ("p@sv", Command::Pasv),
        ("CPSV", Command::Pasv),
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
        ("RETR\tfile", Command::Transfer),
        ("RETR\x0bfile", Command::Other),
        ("STOT", Command::Transfer),
        ("RETP file", Command::Transfer),
        ("ERET P 0 100 file", Command::Transfer),
        ("ESTO A 0 file", Command::Transfer),
        ("PRET RETR file", Command::Other),
        ("SSCN ON", Command::Other),
        ("MODE Z", Command::Other),
        ("JNEW", Command::Other),
        ("XPRT 10,0,0,1,19,137", Command::Other),
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
fn a_command_that_announces_in_the_form_of_another_dialect_is_refused_for_that() {
    let refused = Command::Announce(AnnouncementKind::Port, Err(Malformed::OtherDialect));
    for line in [
        &b"SPAS"[..],
        b"spas ",
        b"SPOR 203,0,113,9,0,22 203,0,113,9,0,23",
        b"\tSPOR\t203,0,113,9,0,22",
        b"SPSV",
        b"\xff\xf4\xff\xf2SPAS",
    ] {
        assert_eq!(Command::parse(line), refused, "{}", line.escape_ascii());
        for length in 0..=line.len() {
            assert!(could_announce(Role::Client, &line[..length]));
        }
    }
}

#[test]
fn a_command_that_some_server_reads_behind_a_cr_or_a_nul_announces_nothing_readable() {
    for line in [
        &b"SIZE x\rPORT 203,0,113,9,0,22"[..],
        b"SIZE x\r\0PORT 203,0,113,9,0,22",
        b"SIZE x\0port 203,0,113,9,0,22",
        b"SIZE x\r\t PORT\t203,0,113,9,0,22",
        b"SIZE x\r\rEPRT |1|203.0.113.9|22|",
        b"\rLPRT 4,4,203,0,113,9,2,0,22",
        b"SIZE x\rSIZE y\rPORT 203,0,113,9,0,22",
        b"SIZE x\rPO\xff\xf1RT 203,0,113,9,0,22",
        b"SIZE x\r\xff\xf4\xff\xf2PORT 203,0,113,9,0,22",
        b"SIZE x\rSPOR 203,0,113,9,0,22",
        b"PASV\rPORT 203,0,113,9,0,22",
        b"SIZE x\rPORT",
    ] {
        let parsed = Command::parse(line);
        let Command::Announce(_, Err(reason)) = parsed else {
            panic!("{} is {parsed:?}", line.escape_ascii());
        };
        assert!(
            reason.could_be_read(Role::Client),
            "{}",
            line.escape_ascii()
        );
        // From the byte on at which the server begins another command, nothing of that may pass.
        let ends = line.iter().rposition(|byte| matches!(byte, b'\r' | 0));
        for length in ends.unwrap() + 1..=line.len() {
            assert!(could_announce(Role::Client, &line[..length]), "{length}");
        }
    }
    for line in [
        &b"SIZE a\rb"[..],
        b"STOR Icon\r",
        b"SIZE xPORT\r 1",
        b"SIZE \rPORTX",
        b"SIZE a PORT 1,2",
    ] {
        assert_eq!(
            Command::parse(line),
            if line.starts_with(b"STOR") {
                Command::Transfer
            } else {
                Command::Other
            }
        );
    }
}

#[test]
fn a_line_that_nobody_reads_is_told_from_one_that_somebody_might() {
    for [line, goes_on] in rows(
        "
PORT => true
PORT 1,2 => true
PORT 10,0,0,1,19 => true
PORT hello => true
PORT 10,0,0,1,0,0 => true
EPRT || => true
EPRT |||| => true
EPRT |||5001| => true
EPRT |3|10.0.0.1|5001| => true
EPRT |0|10.0.0.1|5001| => true
EPRT |1|10.0.0.1|0| => true
LPRT 4,4 => true
227 Entering Passive Mode => true
227 Entering Passive Mode (1216,256,2,127,127,127) => true
227 Entering Passive Mode (10,0,0,1,0,0) => true
229 Entering Passive Mode (|||) => true
229 Entering Passive Mode (|||65536|) => true
228 ok => true
# FreeBSD's ftpd keeps the lowest byte of each number: 203.0.113.9, port 22.
PORT 459,0,113,9,256,22 => false
# vsftpd's atoi makes 0 of a word and of nothing.
PORT x,0,0,1,19,137 => false
PORT ,,,,19,137 => false
# sscanf stops behind the sixth number.
PORT 203,0,113,9,0,22,1 => false
PORT 203,0,113,9,0,22x => false
PORT203,0,113,9,0,22 => false
# glibc's getaddrinfo keeps the lowest 16 bits of a port, inet_aton reads octal numbers.
EPRT |1|203.0.113.9|65558| => false
EPRT |1|0313.0.113.9|22| => false
# Pure-FTPd reads the first four numbers, between commas too, and no leading blank or sign.
EPRT |1|203.0.113.9.1|22| => false
EPRT |1|203,0,113,9|22| => false
EPRT |257|203.0.113.9|22| => false
EPRT |3|1|203.0.113.9|22| => false
EPRT ||203.0.113.9|22| => false
EPRT |1|host|22| => false
# Some clients search for the bars alone, or take any six numbers.
229 ok |||6446| => false
229 ok (|||6446| => false
229 ok (|3|10.0.0.1|6446|) => false
227 Entering Passive Mode (10.0.0.1.19.137) => false
227 (9, 10,0,0,1,19,137) => false
227 (10,0,0,1,19,137) (10,0,0,1,19,138) => false
",
    ) {
        let reason = announced(line.as_bytes()).unwrap().unwrap_err();
        let could_be_read = reason.could_be_read(kind_of(line).announcer());
        assert_eq!((!could_be_read).to_string(), goes_on, "{line}");
    }
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
