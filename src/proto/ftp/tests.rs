//! The grammar, with the examples of the RFCs, the lines of real servers, and random lines.

mod command_cases;
mod prefix_cases;
mod properties;
mod reply_cases;
mod rewrite_cases;

use std::net::SocketAddr;

use super::*;

/// The endpoint of an announcement, with the unspecified address where it has none.
fn endpoint_of(announcement: &Announcement) -> SocketAddr {
    let unspecified = [0; 4].into();
    SocketAddr::new(
        announcement.address.unwrap_or(unspecified),
        announcement.port.get(),
    )
}

/// The announcement of a command, or of a reply with an announcing code.
fn announced(line: &[u8]) -> Option<Result<Announcement, Malformed>> {
    if let Command::Announce(_, parsed) = Command::parse(line) {
        return Some(parsed);
    }
    let reply = ReplyLine::parse(line).filter(|reply| reply.last)?;
    AnnouncementKind::from_code(reply.code)?;
    Some(parse_announcing_reply(reply.code, line))
}

/// The announcement of a line that has to have one.
fn announcement(line: &str) -> Announcement {
    announced(line.as_bytes())
        .unwrap_or_else(|| panic!("{line} is no announcement"))
        .unwrap_or_else(|error| panic!("{line}: {error:?}"))
}

/// The kind of a line, by its first word.
fn kind_of(line: &str) -> AnnouncementKind {
    match line.trim_start()[..3].to_ascii_uppercase().as_str() {
        "POR" => AnnouncementKind::Port,
        "EPR" => AnnouncementKind::Eprt,
        "LPR" => AnnouncementKind::Lprt,
        "227" => AnnouncementKind::Pasv,
        "228" => AnnouncementKind::Lpsv,
        "229" => AnnouncementKind::Epsv,
        other => panic!("{other} announces nothing"),
    }
}

/// The rows of a table. Each has a line, or a second one that begins with `=> `. A line that begins
/// with `#` is a comment.
fn rows<const N: usize>(table: &str) -> Vec<[&str; N]> {
    let mut rows: Vec<Vec<&str>> = Vec::new();
    let lines = table.lines().filter(|line| !line.is_empty());
    for line in lines.filter(|line| !line.starts_with('#')) {
        match line.strip_prefix("=> ") {
            Some(more) => rows.last_mut().unwrap().extend(more.split(" => ")),
            None => rows.push(line.split(" => ").collect()),
        }
    }
    let rows = rows.into_iter().map(|row| row.try_into().unwrap());
    rows.collect()
}

/// Lines that announce, in each spelling that is accepted, and their endpoints.
const ACCEPTED: &str = "
# RFC 959 §4.1.2, RFC 2428 §2 and §3, RFC 1639 §3 and §4.
PORT 132,235,1,2,19,137 => 132.235.1.2:5001
EPRT |1|132.235.1.2|6275| => 132.235.1.2:6275
EPRT |2|1080::8:800:200C:417A|5282| => [1080::8:800:200c:417a]:5282
229 Entering Extended Passive Mode (|||6446|) => 0.0.0.0:6446
LPRT 4,4,10,0,0,1,2,19,137 => 10.0.0.1:5001
LPRT 6,16,32,1,13,184,0,0,0,0,0,0,0,0,0,0,0,1,2,19,137 => [2001:db8::1]:5001
228 Entering Long Passive Mode (4,4,10,0,0,1,2,19,137) => 10.0.0.1:5001
228 Entering Long Passive Mode (6,16,254,128,0,0,0,0,0,0,2,96,176,255,254,193,123,47,2,134,7)
=> [fe80::260:b0ff:fec1:7b2f]:34311
# Any case, spaces around the argument, the limits of every number.
port 10,0,0,1,19,137 => 10.0.0.1:5001
PoRt 10,0,0,1,19,137 => 10.0.0.1:5001
PORT  10,0,0,1,19,137 => 10.0.0.1:5001
PORT 10,0,0,1,19,137  => 10.0.0.1:5001
 PORT 10,0,0,1,19,137 => 10.0.0.1:5001
PORT 255,255,255,255,255,255 => 255.255.255.255:65535
PORT 0,0,0,0,0,1 => 0.0.0.0:1
PORT 10,0,0,1,1,0 => 10.0.0.1:256
eprt |1|10.0.0.1|1| => 10.0.0.1:1
EPRT |1|10.0.0.1|65535| => 10.0.0.1:65535
EPRT |2|::1|5001| => [::1]:5001
EPRT |2|FE80::1|5001| => [fe80::1]:5001
EPRT |1|10.0.0.1|5001|  => 10.0.0.1:5001
lprt 4,4,10,0,0,1,2,19,137 => 10.0.0.1:5001
# Blanks around the numbers and the delimiters, also tabs.
PORT	10,0,0,1,19,137 => 10.0.0.1:5001
PORT 	 10,0,0,1,19,137	 => 10.0.0.1:5001
PORT 10, 0, 0, 1, 19, 137 => 10.0.0.1:5001
PORT 10 ,0 ,0 ,1 ,19 ,137 => 10.0.0.1:5001
PORT 10	, 0,0,1  ,		19,137 => 10.0.0.1:5001
LPRT 4, 4, 10,0,0,1, 2, 19,137 => 10.0.0.1:5001
EPRT | 1 | 10.0.0.1 | 5001 | => 10.0.0.1:5001
EPRT	|2|	2001:db8::1 |5001| => [2001:db8::1]:5001
227 Entering Passive Mode (10, 0, 0, 1, 19, 137) => 10.0.0.1:5001
227 Entering Passive Mode ( 10,0,0,1,19,137 )  => 10.0.0.1:5001
227 Entering Passive Mode (10 ,0	,0 , 1,19,137	). => 10.0.0.1:5001
227	Entering Passive Mode 10, 0, 0, 1, 19, 137 => 10.0.0.1:5001
227 =  10 , 0,0,1,19,137 => 10.0.0.1:5001
228 ok (4, 4, 10, 0, 0, 1, 2, 19, 137) => 10.0.0.1:5001
229 ok ( |||6446| ) => 0.0.0.0:6446
229 ok (| | | 6446 |) => 0.0.0.0:6446
229 ok (| 1 | 10.0.0.1 | 6446 |) => 10.0.0.1:6446
# Leading zeros, where every reader takes a number for a decimal one.
PORT 010,000,0,01,019,137 => 10.0.0.1:5001
PORT 10,0,0,1,0019,0000137 => 10.0.0.1:5001
LPRT 04,4,10,00,0,01,2,19,0137 => 10.0.0.1:5001
227 Entering Passive Mode (010,000,000,001,019,137) => 10.0.0.1:5001
229 Entering Extended Passive Mode (|||06446|) => 0.0.0.0:6446
# IPv4-mapped IPv6 addresses are IPv4 addresses.
EPRT |2|::ffff:10.0.0.1|5001| => 10.0.0.1:5001
EPRT |2|::FFFF:a00:1|5001| => 10.0.0.1:5001
229 ok (|2|::ffff:10.0.0.1|6446|) => 10.0.0.1:6446
# No blank behind the code, or a delimiter less (BulletProof FTP Server).
227(10,0,0,1,19,137) => 10.0.0.1:5001
227=10,0,0,1,19,137 => 10.0.0.1:5001
229(|||6446|) => 0.0.0.0:6446
229 ok (||6446|) => 0.0.0.0:6446
# Delimiters: the first and last of 33–126, letters, and those a regex would trip over.
EPRT !1!10.0.0.1!5001! => 10.0.0.1:5001
EPRT ~1~10.0.0.1~5001~ => 10.0.0.1:5001
EPRT $1$10.0.0.1$5001$ => 10.0.0.1:5001
EPRT ,1,10.0.0.1,5001, => 10.0.0.1:5001
EPRT x1x10.0.0.1x5001x => 10.0.0.1:5001
EPRT b2b::1b5001b => [::1]:5001
229 Entering Extended Passive Mode (!!!6446!) => 0.0.0.0:6446
229 Entering Extended Passive Mode (~~~6446~) => 0.0.0.0:6446
229 Entering Extended Passive Mode ((((6446() => 0.0.0.0:6446
229 ok (|1|10.0.0.1|6446|) => 10.0.0.1:6446
229 ok (|2|2001:db8::1|6446|) => [2001:db8::1]:6446
# vsftpd, ProFTPD, Pure-FTPd, IIS, pyftpdlib, FileZilla Server, wu-ftpd, Serv-U, glFTPd,
# NetBSD.
227 Entering Passive Mode (10,0,0,1,19,137). => 10.0.0.1:5001
229 Entering Extended Passive Mode (|||6446|). => 0.0.0.0:6446
227 Entering Passive Mode (10,0,0,1,19,137) => 10.0.0.1:5001
229 Extended Passive mode OK (|||6446|) => 0.0.0.0:6446
227 Entering passive mode (10,0,0,1,19,137). => 10.0.0.1:5001
229 Entering extended passive mode (|||6446|). => 0.0.0.0:6446
227 Entering Passive Mode (10,0,0,1,19,137)   => 10.0.0.1:5001
227 Entering Passive Mode 10,0,0,1,19,137 => 10.0.0.1:5001
227 Entering passive mode. 10,0,0,1,19,137 => 10.0.0.1:5001
227 Data transfer will passively listen to 10,0,0,1,19,137 => 10.0.0.1:5001
227 Entering Passive Mode(10,0,0,1,19,137). => 10.0.0.1:5001
227 - Entering Passive Mode (10,0,0,1,19,137). => 10.0.0.1:5001
227 @10,0,0,1,19,137 => 10.0.0.1:5001
227 =10,0,0,1,19,137 => 10.0.0.1:5001
227 =(10,0,0,1,19,137) => 10.0.0.1:5001
227 (10,0,0,1,19,137) => 10.0.0.1:5001
227 10,0,0,1,19,137 => 10.0.0.1:5001
227 OK (10,0,0,1,19,137 => 10.0.0.1:5001
227 10,0,0,1,19,137 is where I listen => 10.0.0.1:5001
# Any language, and digits in the words.
227 Entering Passive Mode 2 (10,0,0,1,19,137) => 10.0.0.1:5001
227 Mode 1,2 at 12:30 (10,0,0,1,19,137) 3,4 => 10.0.0.1:5001
227 Mode passif activé (10,0,0,1,19,137) => 10.0.0.1:5001
227 Переход в пассивный режим (10,0,0,1,19,137). => 10.0.0.1:5001
227 进入被动模式（10,0,0,1,19,137） => 10.0.0.1:5001
229 Mode passif étendu (actif) (|||6446|) => 0.0.0.0:6446
# From the captures of other projects.
EPRT |2|2601:191:8500:2e00:7c0f:78e0:dc5b:f7c1|35413|
=> [2601:191:8500:2e00:7c0f:78e0:dc5b:f7c1]:35413
227 Entering Passive Mode (205,167,25,101,243,251). => 205.167.25.101:62459
PORT 141,142,220,235,131,46 => 141.142.220.235:33582
";

/// Lines with an announcing verb or code that are refused, and the reasons.
const REFUSED: &str = "
# Each number out of its range, one at a time.
PORT 256,0,0,1,19,137 => OctetOutOfRange
PORT 10,256,0,1,19,137 => OctetOutOfRange
PORT 10,0,256,1,19,137 => OctetOutOfRange
PORT 10,0,0,256,19,137 => OctetOutOfRange
PORT 10,0,0,1,256,137 => OctetOutOfRange
PORT 10,0,0,1,19,256 => OctetOutOfRange
PORT 0,2560,0,5,0,65558 => OctetOutOfRange
PORT 10,0,0,4294967297,19,137 => OctetOutOfRange
PORT 10,0,0,18446744073709551617,19,137 => OctetOutOfRange
PORT 10,0,0,1,0,5001 => OctetOutOfRange
PORT 10,0,0,1,0,0 => PortZero
LPRT 256,4,10,0,0,1,2,19,137 => OctetOutOfRange
LPRT 4,260,10,0,0,1,2,19,137 => OctetOutOfRange
LPRT 4,4,266,0,0,1,2,19,137 => OctetOutOfRange
LPRT 4,4,10,0,0,1,258,19,137 => OctetOutOfRange
LPRT 4,4,10,0,0,1,2,275,137 => OctetOutOfRange
LPRT 4,4,10,0,0,1,2,0,0 => PortZero
EPRT |1|10.0.0.1|0| => PortZero
EPRT |1|10.0.0.1|65536| => PortOutOfRange
EPRT |1|10.0.0.1|4294972297| => PortOutOfRange
EPRT |1|10.0.0.256|5001| => UnreadableAddress
EPRT |257|10.0.0.1|5001| => FamilyOutOfRange
EPRT |4294967297|10.0.0.1|5001| => FamilyOutOfRange
PORT 10,0,0,1,00256,137 => OctetOutOfRange
PORT 10,0,0,1,19,0000000000000000000000393 => OctetOutOfRange
227 Entering Passive Mode (266,0,0,1,19,137). => OctetOutOfRange
227 Entering Passive Mode (10,0,0,1,256,137). => OctetOutOfRange
227 Entering Passive Mode (10,0,0,1,0,0). => PortZero
228 ok (4,4,10,0,0,1,2,19,999) => OctetOutOfRange
228 ok (4,4,10,0,0,1,2,0,0) => PortZero
229 ok (|||0|) => PortZero
229 ok (|||65536|) => PortOutOfRange
229 ok (|||99999999999999999999|) => PortOutOfRange
# Numbers that are octal to some.
EPRT |1|10.0.0.01|5001| => UnreadableAddress
EPRT |1|10.0.0.1|05001| => NonCanonicalNumber
EPRT |01|10.0.0.1|5001| => NonCanonicalNumber
EPRT |2|::ffff:010.0.0.1|5001| => UnreadableAddress
229 ok (|1|010.0.0.1|6446|) => UnreadableAddress
229 ok (|01|10.0.0.1|6446|) => MissingParenthesis
# Missing numbers, and numbers that sscanf or Python would accept.
PORT ,0,0,1,19,137 => EmptyNumber
PORT 10,,0,1,19,137 => EmptyNumber
PORT 10,+0,0,1,19,137 => EmptyNumber
PORT 10,-0,0,1,19,137 => EmptyNumber
PORT 1_0,0,0,1,19,137 => FieldCount
PORT 0xa,0,0,1,19,137 => FieldCount
PORT 10 0,0,1,19,137 => FieldCount
PORT 1 0,0,0,1,19,137 => FieldCount
PORT 10,0,0,1,19,1 37 => TrailingGarbage
PORT 10,0,0,1,	,19,137 => EmptyNumber
PORT 10,0,0,1,19,0x89 => TrailingGarbage
PORT 10,0,0,1,0,0x16 => TrailingGarbage
PORT a,b,c,d,e,f => EmptyNumber
PORT 10.0.0.1.19.137 => FieldCount
PORT (10,0,0,1,19,137) => EmptyNumber
PORT hello => NoEndpoint
PORT  => NoEndpoint
EPRT |1|10.0.0.1|| => EmptyNumber
EPRT ||10.0.0.1|5001| => EmptyNumber
EPRT |1|10.0.0.1|-1| => EmptyNumber
EPRT |||5001| => NoEndpoint
EPRT |||| => NoEndpoint
EPRT || => NoEndpoint
EPRT => NoEndpoint
# Too few numbers, too many, or other bytes behind them.
PORT 10,0,0,1,19 => NoEndpoint
PORT 1,2 => NoEndpoint
PORT 10,0,0,1,19, => EmptyNumber
LPRT 4,4,10,0,0,1,2,19 => NoEndpoint
LPRT 4,4 => NoEndpoint
PORT 10,0,0,1,19,137,1 => TrailingGarbage
PORT 10,0,0,1,19,137 x => TrailingGarbage
PORT 10,0,0,1,19,137. => TrailingGarbage
EPRT |1|10.0.0.1|5001|x => TrailingGarbage
EPRT |1|10.0.0.1|5001 => MissingDelimiter
EPRT |1|10.0.0.1 => MissingDelimiter
EPRT |1|10.0.0.1!5001| => UnreadableAddress
EPRT |1!10.0.0.1|5001| => MissingDelimiter
EPRT |1|10.0.0.1|5001! => MissingDelimiter
EPRT 11110.0.0.1150011 => DelimiterNotAllowed
EPRT .1.10.0.0.1.5001. => UnreadableAddress
EPRT |1|::1|5001| => UnreadableAddress
EPRT |2|10.0.0.1|5001| => UnreadableAddress
EPRT |2|fe80::1%eth0|5001| => UnreadableAddress
EPRT |2|[::1]|5001| => UnreadableAddress
EPRT |2||5001| => UnreadableAddress
EPRT |3|10.0.0.1|5001| => UnknownFamily
EPRT |0|10.0.0.1|5001| => UnknownFamily
LPRT 4,16,10,0,0,1,2,19,137 => WrongLength
LPRT 6,4,10,0,0,1,2,19,137 => WrongLength
LPRT 5,4,10,0,0,1,2,19,137 => WrongLength
LPRT 4,4,10,0,0,1,1,19,137 => WrongLength
LPRT 4,4,10,0,0,1,2,19,137,1 => TrailingGarbage
EPRT |1|10.0.0.1 203.0.113.9|5001| => UnreadableAddress
EPRT |3|10.0.0.1|5001|x => TrailingGarbage
EPRT |3|10.0.0.1|5001 => MissingDelimiter
EPRT |3|1|203.0.113.9|5001| => MissingDelimiter
EPRT |1|1.2.3.4.5|2048| => UnreadableAddress
EPRT |1|1,2,3,4|2048| => UnreadableAddress
PORT => NoEndpoint
PORT10,0,0,1,19,137 => MissingSpace
PORT=10,0,0,1,19,137 => MissingSpace
# Replies with no endpoint, with too much, or with too little.
227 Entering Passive Mode => NoEndpoint
227 => NoEndpoint
227  => NoEndpoint
227 Entering Passive Mode (2,233,252). => NoEndpoint
227 Entering Passive Mode (10.0.0.1.19.137). => FieldCount
227 Entering Passive Mode (10,+0,0,1,19,137). => FieldCount
227 Entering Passive Mode (10,0,0,1,-61,137). => FieldCount
227 Entering Passive Mode (10,0,0,1,19 137). => FieldCount
227 50000 => NoEndpoint
227 End => NoEndpoint
227 Entering Passive Mode (10,0,0,1,19,137,2) => FieldCount
227 Entering Passive Mode (10,0,0,1,19,) => EmptyNumber
228 ok (4,4,10,0,0,1,2,19,137,1) => FieldCount
229 ok |||6446| => MissingParenthesis
229 ok (|||) => NoEndpoint
229 ok (||||) => NoEndpoint
229 ok (!!6446!) => MissingParenthesis
229 End => NoEndpoint
229 ok (|||6446| => MissingParenthesis
229 ok (|||6446!) => MissingDelimiter
229 ok (   6446 ) => DelimiterNotAllowed
229 ok (|3|10.0.0.1|6446|) => UnknownFamily
";
