//! The grammar against the RFCs' examples, real servers' words, and everything in between.

mod command_cases;
mod prefix_cases;
mod properties;
mod reply_cases;
mod rewrite_cases;

use std::net::SocketAddr;

use super::*;

/// The endpoint that an announcement names, with the peer's address where it names none.
fn endpoint_of(announcement: &Announcement) -> SocketAddr {
    let unspecified = [0; 4].into();
    SocketAddr::new(
        announcement.address.unwrap_or(unspecified),
        announcement.port.get(),
    )
}

/// What a line announces for its role: a command, or a reply with an announcing code.
fn announced(line: &[u8]) -> Option<Result<Announcement, Malformed>> {
    if let Command::Announce(_, parsed) = Command::parse(line) {
        return Some(parsed);
    }
    let reply = ReplyLine::parse(line).filter(|reply| reply.last)?;
    AnnouncementKind::from_code(reply.code)?;
    Some(parse_announcing_reply(reply.code, line))
}

/// The announcement that a line has to be.
fn announcement(line: &str) -> Announcement {
    announced(line.as_bytes())
        .unwrap_or_else(|| panic!("{line} is no announcement"))
        .unwrap_or_else(|error| panic!("{line}: {error:?}"))
}

/// Lines that announce, in every spelling that is accepted.
const ACCEPTED: [(&str, AnnouncementKind, &str); 62] = [
    // RFC 959 §4.1.2, RFC 2428 §2 and §3, RFC 1639 §3 and §4.
    (
        "PORT 132,235,1,2,19,137",
        AnnouncementKind::Port,
        "132.235.1.2:5001",
    ),
    (
        "EPRT |1|132.235.1.2|6275|",
        AnnouncementKind::Eprt,
        "132.235.1.2:6275",
    ),
    (
        "EPRT |2|1080::8:800:200C:417A|5282|",
        AnnouncementKind::Eprt,
        "[1080::8:800:200c:417a]:5282",
    ),
    (
        "229 Entering Extended Passive Mode (|||6446|)",
        AnnouncementKind::Epsv,
        "0.0.0.0:6446",
    ),
    (
        "LPRT 4,4,10,0,0,1,2,19,137",
        AnnouncementKind::Lprt,
        "10.0.0.1:5001",
    ),
    (
        "LPRT 6,16,32,1,13,184,0,0,0,0,0,0,0,0,0,0,0,1,2,19,137",
        AnnouncementKind::Lprt,
        "[2001:db8::1]:5001",
    ),
    (
        "228 Entering Long Passive Mode (4,4,10,0,0,1,2,19,137)",
        AnnouncementKind::Lpsv,
        "10.0.0.1:5001",
    ),
    (
        "228 Entering Long Passive Mode (6,16,254,128,0,0,0,0,0,0,2,96,176,255,254,193,123,47,2,134,7)",
        AnnouncementKind::Lpsv,
        "[fe80::260:b0ff:fec1:7b2f]:34311",
    ),
    // Any case, spaces around the argument, the limits of every number.
    (
        "port 10,0,0,1,19,137",
        AnnouncementKind::Port,
        "10.0.0.1:5001",
    ),
    (
        "PoRt 10,0,0,1,19,137",
        AnnouncementKind::Port,
        "10.0.0.1:5001",
    ),
    (
        "PORT  10,0,0,1,19,137",
        AnnouncementKind::Port,
        "10.0.0.1:5001",
    ),
    (
        "PORT 10,0,0,1,19,137 ",
        AnnouncementKind::Port,
        "10.0.0.1:5001",
    ),
    (
        " PORT 10,0,0,1,19,137",
        AnnouncementKind::Port,
        "10.0.0.1:5001",
    ),
    (
        "PORT 255,255,255,255,255,255",
        AnnouncementKind::Port,
        "255.255.255.255:65535",
    ),
    ("PORT 0,0,0,0,0,1", AnnouncementKind::Port, "0.0.0.0:1"),
    ("PORT 10,0,0,1,1,0", AnnouncementKind::Port, "10.0.0.1:256"),
    ("eprt |1|10.0.0.1|1|", AnnouncementKind::Eprt, "10.0.0.1:1"),
    (
        "EPRT |1|10.0.0.1|65535|",
        AnnouncementKind::Eprt,
        "10.0.0.1:65535",
    ),
    ("EPRT |2|::1|5001|", AnnouncementKind::Eprt, "[::1]:5001"),
    (
        "EPRT |2|::ffff:10.0.0.1|5001|",
        AnnouncementKind::Eprt,
        "[::ffff:10.0.0.1]:5001",
    ),
    (
        "EPRT |2|FE80::1|5001|",
        AnnouncementKind::Eprt,
        "[fe80::1]:5001",
    ),
    (
        "EPRT |1|10.0.0.1|5001| ",
        AnnouncementKind::Eprt,
        "10.0.0.1:5001",
    ),
    (
        "lprt 4,4,10,0,0,1,2,19,137",
        AnnouncementKind::Lprt,
        "10.0.0.1:5001",
    ),
    // Delimiters: the first and last of 33–126, letters, and those a regex would trip over.
    (
        "EPRT !1!10.0.0.1!5001!",
        AnnouncementKind::Eprt,
        "10.0.0.1:5001",
    ),
    (
        "EPRT ~1~10.0.0.1~5001~",
        AnnouncementKind::Eprt,
        "10.0.0.1:5001",
    ),
    (
        "EPRT $1$10.0.0.1$5001$",
        AnnouncementKind::Eprt,
        "10.0.0.1:5001",
    ),
    (
        "EPRT ,1,10.0.0.1,5001,",
        AnnouncementKind::Eprt,
        "10.0.0.1:5001",
    ),
    (
        "EPRT x1x10.0.0.1x5001x",
        AnnouncementKind::Eprt,
        "10.0.0.1:5001",
    ),
    ("EPRT b2b::1b5001b", AnnouncementKind::Eprt, "[::1]:5001"),
    (
        "229 Entering Extended Passive Mode (!!!6446!)",
        AnnouncementKind::Epsv,
        "0.0.0.0:6446",
    ),
    (
        "229 Entering Extended Passive Mode (~~~6446~)",
        AnnouncementKind::Epsv,
        "0.0.0.0:6446",
    ),
    (
        "229 Entering Extended Passive Mode ((((6446()",
        AnnouncementKind::Epsv,
        "0.0.0.0:6446",
    ),
    (
        "229 ok (|1|10.0.0.1|6446|)",
        AnnouncementKind::Epsv,
        "10.0.0.1:6446",
    ),
    (
        "229 ok (|2|2001:db8::1|6446|)",
        AnnouncementKind::Epsv,
        "[2001:db8::1]:6446",
    ),
    // vsftpd, ProFTPD, Pure-FTPd, IIS, pyftpdlib, FileZilla Server, wu-ftpd, Serv-U, glFTPd, NetBSD.
    (
        "227 Entering Passive Mode (10,0,0,1,19,137).",
        AnnouncementKind::Pasv,
        "10.0.0.1:5001",
    ),
    (
        "229 Entering Extended Passive Mode (|||6446|).",
        AnnouncementKind::Epsv,
        "0.0.0.0:6446",
    ),
    (
        "227 Entering Passive Mode (10,0,0,1,19,137)",
        AnnouncementKind::Pasv,
        "10.0.0.1:5001",
    ),
    (
        "229 Extended Passive mode OK (|||6446|)",
        AnnouncementKind::Epsv,
        "0.0.0.0:6446",
    ),
    (
        "227 Entering passive mode (10,0,0,1,19,137).",
        AnnouncementKind::Pasv,
        "10.0.0.1:5001",
    ),
    (
        "229 Entering extended passive mode (|||6446|).",
        AnnouncementKind::Epsv,
        "0.0.0.0:6446",
    ),
    (
        "227 Entering Passive Mode (10,0,0,1,19,137)  ",
        AnnouncementKind::Pasv,
        "10.0.0.1:5001",
    ),
    (
        "227 Entering Passive Mode 10,0,0,1,19,137",
        AnnouncementKind::Pasv,
        "10.0.0.1:5001",
    ),
    (
        "227 Entering passive mode. 10,0,0,1,19,137",
        AnnouncementKind::Pasv,
        "10.0.0.1:5001",
    ),
    (
        "227 Data transfer will passively listen to 10,0,0,1,19,137",
        AnnouncementKind::Pasv,
        "10.0.0.1:5001",
    ),
    (
        "227 Entering Passive Mode(10,0,0,1,19,137).",
        AnnouncementKind::Pasv,
        "10.0.0.1:5001",
    ),
    (
        "227 - Entering Passive Mode (10,0,0,1,19,137).",
        AnnouncementKind::Pasv,
        "10.0.0.1:5001",
    ),
    (
        "227 @10,0,0,1,19,137",
        AnnouncementKind::Pasv,
        "10.0.0.1:5001",
    ),
    (
        "227 =10,0,0,1,19,137",
        AnnouncementKind::Pasv,
        "10.0.0.1:5001",
    ),
    (
        "227 =(10,0,0,1,19,137)",
        AnnouncementKind::Pasv,
        "10.0.0.1:5001",
    ),
    (
        "227 (10,0,0,1,19,137)",
        AnnouncementKind::Pasv,
        "10.0.0.1:5001",
    ),
    (
        "227 10,0,0,1,19,137",
        AnnouncementKind::Pasv,
        "10.0.0.1:5001",
    ),
    (
        "227 OK (10,0,0,1,19,137",
        AnnouncementKind::Pasv,
        "10.0.0.1:5001",
    ),
    (
        "227 10,0,0,1,19,137 is where I listen",
        AnnouncementKind::Pasv,
        "10.0.0.1:5001",
    ),
    // Any language, and digits in the words.
    (
        "227 Entering Passive Mode 2 (10,0,0,1,19,137)",
        AnnouncementKind::Pasv,
        "10.0.0.1:5001",
    ),
    (
        "227 Mode 1,2 at 12:30 (10,0,0,1,19,137) 3,4",
        AnnouncementKind::Pasv,
        "10.0.0.1:5001",
    ),
    (
        "227 Mode passif activé (10,0,0,1,19,137)",
        AnnouncementKind::Pasv,
        "10.0.0.1:5001",
    ),
    (
        "227 Переход в пассивный режим (10,0,0,1,19,137).",
        AnnouncementKind::Pasv,
        "10.0.0.1:5001",
    ),
    (
        "227 进入被动模式（10,0,0,1,19,137）",
        AnnouncementKind::Pasv,
        "10.0.0.1:5001",
    ),
    (
        "229 Mode passif étendu (actif) (|||6446|)",
        AnnouncementKind::Epsv,
        "0.0.0.0:6446",
    ),
    // As they stand in other projects' captures.
    (
        "EPRT |2|2601:191:8500:2e00:7c0f:78e0:dc5b:f7c1|35413|",
        AnnouncementKind::Eprt,
        "[2601:191:8500:2e00:7c0f:78e0:dc5b:f7c1]:35413",
    ),
    (
        "227 Entering Passive Mode (205,167,25,101,243,251).",
        AnnouncementKind::Pasv,
        "205.167.25.101:62459",
    ),
    (
        "PORT 141,142,220,235,131,46",
        AnnouncementKind::Port,
        "141.142.220.235:33582",
    ),
];

/// Lines with an announcing verb or code that announce nothing, and why.
const REFUSED: [(&str, Malformed); 92] = [
    // Every number out of its range, one at a time.
    ("PORT 256,0,0,1,19,137", Malformed::OctetOutOfRange),
    ("PORT 10,256,0,1,19,137", Malformed::OctetOutOfRange),
    ("PORT 10,0,256,1,19,137", Malformed::OctetOutOfRange),
    ("PORT 10,0,0,256,19,137", Malformed::OctetOutOfRange),
    ("PORT 10,0,0,1,256,137", Malformed::OctetOutOfRange),
    ("PORT 10,0,0,1,19,256", Malformed::OctetOutOfRange),
    ("PORT 0,2560,0,5,0,65558", Malformed::OctetOutOfRange),
    ("PORT 10,0,0,4294967297,19,137", Malformed::OctetOutOfRange),
    (
        "PORT 10,0,0,18446744073709551617,19,137",
        Malformed::OctetOutOfRange,
    ),
    ("PORT 10,0,0,1,0,5001", Malformed::OctetOutOfRange),
    ("PORT 10,0,0,1,0,0", Malformed::PortZero),
    ("LPRT 256,4,10,0,0,1,2,19,137", Malformed::OctetOutOfRange),
    ("LPRT 4,260,10,0,0,1,2,19,137", Malformed::OctetOutOfRange),
    ("LPRT 4,4,266,0,0,1,2,19,137", Malformed::OctetOutOfRange),
    ("LPRT 4,4,10,0,0,1,258,19,137", Malformed::OctetOutOfRange),
    ("LPRT 4,4,10,0,0,1,2,275,137", Malformed::OctetOutOfRange),
    ("LPRT 4,4,10,0,0,1,2,0,0", Malformed::PortZero),
    ("EPRT |1|10.0.0.1|0|", Malformed::PortZero),
    ("EPRT |1|10.0.0.1|65536|", Malformed::PortOutOfRange),
    ("EPRT |1|10.0.0.1|4294972297|", Malformed::PortOutOfRange),
    ("EPRT |1|10.0.0.256|5001|", Malformed::UnreadableAddress),
    ("EPRT |257|10.0.0.1|5001|", Malformed::UnknownFamily),
    ("EPRT |4294967297|10.0.0.1|5001|", Malformed::UnknownFamily),
    (
        "227 Entering Passive Mode (266,0,0,1,19,137).",
        Malformed::OctetOutOfRange,
    ),
    (
        "227 Entering Passive Mode (10,0,0,1,256,137).",
        Malformed::OctetOutOfRange,
    ),
    (
        "227 Entering Passive Mode (10,0,0,1,0,0).",
        Malformed::PortZero,
    ),
    ("228 ok (4,4,10,0,0,1,2,19,999)", Malformed::OctetOutOfRange),
    ("228 ok (4,4,10,0,0,1,2,0,0)", Malformed::PortZero),
    ("229 ok (|||0|)", Malformed::PortZero),
    ("229 ok (|||65536|)", Malformed::PortOutOfRange),
    (
        "229 ok (|||99999999999999999999|)",
        Malformed::PortOutOfRange,
    ),
    // Numbers that are octal to some.
    ("PORT 010,0,0,1,19,137", Malformed::NonCanonicalNumber),
    ("PORT 10,0,0,1,19,0137", Malformed::NonCanonicalNumber),
    ("PORT 10,00,0,1,19,137", Malformed::NonCanonicalNumber),
    ("EPRT |1|10.0.0.01|5001|", Malformed::UnreadableAddress),
    ("EPRT |1|10.0.0.1|05001|", Malformed::NonCanonicalNumber),
    ("EPRT |01|10.0.0.1|5001|", Malformed::NonCanonicalNumber),
    (
        "227 Entering Passive Mode (10,0,0,001,19,137)",
        Malformed::NonCanonicalNumber,
    ),
    ("229 ok (|||06446|)", Malformed::NonCanonicalNumber),
    // Numbers that are none, and numbers that sscanf or Python would take.
    ("PORT ,0,0,1,19,137", Malformed::EmptyNumber),
    ("PORT 10,,0,1,19,137", Malformed::EmptyNumber),
    ("PORT 10,0,0,1,19,", Malformed::EmptyNumber),
    ("PORT 10, 0,0,1,19,137", Malformed::EmptyNumber),
    ("PORT 10,+0,0,1,19,137", Malformed::EmptyNumber),
    ("PORT 10,-0,0,1,19,137", Malformed::EmptyNumber),
    ("PORT 1_0,0,0,1,19,137", Malformed::FieldCount),
    ("PORT 0xa,0,0,1,19,137", Malformed::FieldCount),
    ("PORT 10 ,0,0,1,19,137", Malformed::FieldCount),
    ("PORT 10.0.0.1.19.137", Malformed::FieldCount),
    ("PORT (10,0,0,1,19,137)", Malformed::EmptyNumber),
    ("PORT hello", Malformed::EmptyNumber),
    ("PORT ", Malformed::EmptyNumber),
    ("EPRT |1|10.0.0.1||", Malformed::EmptyNumber),
    ("EPRT ||10.0.0.1|5001|", Malformed::EmptyNumber),
    ("EPRT |||5001|", Malformed::EmptyNumber),
    // Too few, too many, something behind.
    ("PORT 10,0,0,1,19", Malformed::FieldCount),
    ("PORT 10,0,0,1,19,137,1", Malformed::TrailingGarbage),
    ("PORT 10,0,0,1,19,137 x", Malformed::TrailingGarbage),
    ("PORT 10,0,0,1,19,137.", Malformed::TrailingGarbage),
    ("EPRT |1|10.0.0.1|5001|x", Malformed::TrailingGarbage),
    ("EPRT |1|10.0.0.1|5001", Malformed::MissingDelimiter),
    ("EPRT |1|10.0.0.1", Malformed::MissingDelimiter),
    ("EPRT |1|10.0.0.1!5001|", Malformed::UnreadableAddress),
    ("EPRT |1!10.0.0.1|5001|", Malformed::MissingDelimiter),
    ("EPRT |1|10.0.0.1|5001!", Malformed::MissingDelimiter),
    ("EPRT 11110.0.0.1150011", Malformed::DelimiterNotAllowed),
    ("EPRT .1.10.0.0.1.5001.", Malformed::UnreadableAddress),
    ("EPRT |1|::1|5001|", Malformed::UnreadableAddress),
    ("EPRT |2|10.0.0.1|5001|", Malformed::UnreadableAddress),
    ("EPRT |2|fe80::1%eth0|5001|", Malformed::UnreadableAddress),
    ("EPRT |2|[::1]|5001|", Malformed::UnreadableAddress),
    ("EPRT |2||5001|", Malformed::UnreadableAddress),
    ("EPRT |3|10.0.0.1|5001|", Malformed::UnknownFamily),
    ("EPRT |0|10.0.0.1|5001|", Malformed::UnknownFamily),
    ("LPRT 4,16,10,0,0,1,2,19,137", Malformed::WrongLength),
    ("LPRT 6,4,10,0,0,1,2,19,137", Malformed::WrongLength),
    ("LPRT 5,4,10,0,0,1,2,19,137", Malformed::UnknownFamily),
    ("LPRT 4,4,10,0,0,1,1,19,137", Malformed::WrongLength),
    ("LPRT 4,4,10,0,0,1,2,19,137,1", Malformed::TrailingGarbage),
    ("PORT", Malformed::MissingSpace),
    ("PORT10,0,0,1,19,137", Malformed::MissingSpace),
    // Replies that hold nothing, too much, or too little.
    ("227 Entering Passive Mode", Malformed::NoEndpoint),
    ("227", Malformed::NotAnnouncing),
    ("227 End", Malformed::NoEndpoint),
    (
        "227 Entering Passive Mode (10,0,0,1,19,137,2)",
        Malformed::FieldCount,
    ),
    (
        "227 Entering Passive Mode (10,0,0,1,19,)",
        Malformed::EmptyNumber,
    ),
    ("228 ok (4,4,10,0,0,1,2,19,137,1)", Malformed::FieldCount),
    ("229 ok |||6446|", Malformed::NoEndpoint),
    ("229 ok (|||6446|", Malformed::MissingParenthesis),
    ("229 ok (|||6446!)", Malformed::MissingDelimiter),
    ("229 ok (   6446 )", Malformed::DelimiterNotAllowed),
    ("229 ok (|3|10.0.0.1|6446|)", Malformed::UnknownFamily),
];
