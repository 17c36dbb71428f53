//! Properties of all inputs, one function for each fuzz target.
//!
//! The binaries in `fuzz_targets/` run these under libFuzzer, and `tests/fuzz_corpus.rs` of the
//! main crate runs them over the committed corpus in every normal test run. No nightly compiler
//! is needed:
//!
//! ```text
//! cargo fuzz run --sanitizer none stream -- -max_total_time=120
//! ```

mod stream;

use std::net::SocketAddr;

use ftp_alg::proto::{
    ftp::{
        Announcement, AnnouncementKind, Command, Malformed, ReplyLine, Role, could_announce,
        could_announce_any_of, parse_announcing_reply,
    },
    packet::{Change, Flags, PacketError, Segment, rebuild},
};

pub use self::stream::{identity, policy, stream};

/// Endpoints to rewrite to: the shortest and the longest text of each family, and between.
const ENDPOINTS: [&str; 6] = [
    "1.1.1.1:1",
    "10.0.0.1:1024",
    "203.113.100.100:65535",
    "[::]:1",
    "[2001:db8::1]:5001",
    "[2001:db8:1111:2222:3333:4444:5555:6666]:65535",
];

/// Checks a line of the client.
pub fn command(line: &[u8]) {
    if let Command::Announce(kind, parsed) = Command::parse(line) {
        assert_eq!(kind.announcer(), Role::Client);
        check(kind, line, parsed);
    }
}

/// Checks a line of the server.
pub fn reply(line: &[u8]) {
    let parsed = ReplyLine::parse(line);
    for &kind in Role::Server.kinds() {
        let code = kind.code().expect("a server's kind has a code");
        let announced = parse_announcing_reply(code, line);
        if announced.is_ok() {
            assert_eq!(parsed, Some(ReplyLine { code, last: true }));
        }
        check(kind, line, announced);
    }
}

/// Checks a line that arrives byte by byte. An announcement is held from its first byte on, and a
/// line that was released once stays released. But behind a CR or a NUL some server may read
/// another command, which is held from its first byte on too.
pub fn line(line: &[u8]) {
    for role in [Role::Client, Role::Server] {
        let mut could = true;
        for length in 0..=line.len() {
            let now = could_announce(role, &line[..length]);
            let last = length.checked_sub(1).map(|at| line[at]);
            let begins = role == Role::Client && matches!(last, Some(b'\r' | 0));
            assert!(
                could || begins || !now,
                "what was let go came back at {length}"
            );
            could = now;
        }
        for kind in role.kinds() {
            if announces(*kind, line) {
                assert!(could, "an announcement was let go");
                assert!(could_announce_any_of(&[*kind], line));
            }
        }
    }
    for command in line.split(|byte| matches!(byte, b'\r' | 0)).skip(1) {
        if let Command::Announce(..) = Command::parse(command) {
            let whole = Command::parse(line);
            assert!(
                matches!(whole, Command::Announce(_, Err(_))),
                "{whole:?} hides a command"
            );
            assert!(could_announce(Role::Client, line));
        }
    }
}

/// Checks a packet.
pub fn packet(packet: &[u8]) {
    let Ok(segment) = Segment::parse(packet) else {
        return;
    };
    let headers = segment.headers_len();
    assert_eq!(headers + segment.payload.len(), segment.packet().len());
    assert!(segment.packet().len() <= packet.len());
    let same = rebuild(&segment, &Change::none(&segment)).expect("it was a packet before");
    let same = Segment::parse(&same).expect("a rebuilt packet is one");
    assert_eq!(same.payload, segment.payload);
    assert_eq!((same.seq, same.ack), (segment.seq, segment.ack));
    assert_eq!(same.timestamps(), segment.timestamps());
    assert!(same.sack_blocks().eq(segment.sack_blocks()));
    assert!(same.has_valid_checksums());
    rewrite_packet(&segment);
}

fn rewrite_packet(segment: &Segment<'_>) {
    let change = Change {
        seq: segment.seq.plus(7),
        ack: None,
        payload: b"PORT 203,0,113,1,19,137\r\n",
        flags: Flags::PSH,
        urgent_pointer: 3,
        sack: &|_| None,
    };
    let rebuilt = match rebuild(segment, &change) {
        Ok(rebuilt) => rebuilt,
        Err(error) => return assert_eq!(error, PacketError::TooLong),
    };
    let rebuilt = Segment::parse(&rebuilt).expect("a rebuilt packet is one");
    assert_eq!((rebuilt.seq, rebuilt.ack), (change.seq, None));
    assert_eq!(
        (rebuilt.payload, rebuilt.flags),
        (change.payload, Flags::PSH)
    );
    assert_eq!(rebuilt.sack_blocks().count(), 0);
    assert_eq!(rebuilt.headers_len(), segment.headers_len());
    assert!(rebuilt.has_valid_checksums());
}

fn announces(kind: AnnouncementKind, line: &[u8]) -> bool {
    parse(kind, line).is_ok()
}

fn parse(kind: AnnouncementKind, line: &[u8]) -> Result<Announcement, Malformed> {
    match (kind.code(), Command::parse(line)) {
        (Some(code), _) => parse_announcing_reply(code, line),
        (None, Command::Announce(announced, parsed)) if announced == kind => parsed,
        (None, _) => Err(Malformed::NotAnnouncing),
    }
}

/// Checks an announcement and its rewritten lines.
fn check(kind: AnnouncementKind, line: &[u8], parsed: Result<Announcement, Malformed>) {
    let Ok(announcement) = parsed else {
        return;
    };
    assert_eq!(announcement.kind, kind);
    assert!(could_announce(kind.announcer(), line));
    assert!(announcement.token_range().end <= line.len());
    for endpoint in ENDPOINTS {
        let endpoint: SocketAddr = endpoint.parse().expect("an endpoint of the list above");
        check_rewrite(&announcement, line, endpoint);
    }
}

fn check_rewrite(announcement: &Announcement, line: &[u8], endpoint: SocketAddr) {
    let delta = announcement.delta_for(line, endpoint);
    let Some(rewritten) = announcement.rewrite(line, endpoint) else {
        assert_eq!(delta, None);
        let kind = announcement.kind;
        assert!(matches!(
            kind,
            AnnouncementKind::Port | AnnouncementKind::Pasv
        ));
        return;
    };
    assert_eq!(delta, Some(rewritten.delta));
    let growth = rewritten.line.len() as i64 - line.len() as i64;
    assert_eq!(growth, i64::from(rewritten.delta));
    let again = parse(announcement.kind, &rewritten.line).expect("a rewritten line announces");
    assert_eq!(again.port.get(), endpoint.port());
    assert_eq!(again.address, announcement.address.map(|_| endpoint.ip()));
    let twice = again.rewrite(&rewritten.line, endpoint);
    assert_eq!(twice.map(|twice| twice.line), Some(rewritten.line));
}
