//! The text of the two ends: commands, replies and scraps of text. Each announcement has a port
//! that no other has. So an expectation shows which line has announced it.

use std::{collections::HashSet, net::IpAddr};

use arbitrary::Arbitrary;
use ftp_alg::proto::{
    ftp::{self, Announcement, AnnouncementKind, ReplyLine, Role, parse_announcing_reply},
    net::{ConntrackTuples, Direction},
    stream::LINE_MAX,
};

/// The most text of one end, in bytes: several times the bytes that the core keeps.
const TEXT_MAX: usize = 24_000;

/// Ports with few digits make a line short, the others long; both are announced.
const SHORT_PORTS: u16 = 1024;
const LONG_PORTS: u16 = 50_000;

/// One command of the client.
#[derive(Arbitrary, Clone, Debug)]
pub(super) enum Command {
    Port(HasLongPort),
    PortZero(HasLongPort),
    PortThird,
    Eprt(HasLongPort),
    Pasv,
    Epsv,
    EpsvAll,
    Noop,
    Abor,
    Quit,
    Retr,
    Auth,
    Filler(u16),
    Text(Vec<u8>),
}

/// One reply of the server.
#[derive(Arbitrary, Clone, Debug)]
pub(super) enum Reply {
    Greeting,
    Pasv(HasLongPort),
    PasvBare(HasLongPort),
    Epsv(HasLongPort),
    /// A line within a longer reply looks like an announcement.
    Multi(HasLongPort),
    Done,
    Rejected,
    Encrypts,
    Filler(u16),
    Text(Vec<u8>),
}

type HasLongPort = bool;

/// A line that announces, without its end, by its place in the text.
#[derive(Clone, Debug)]
pub(super) struct Line {
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) announcement: Announcement,
}

/// The text of both ends.
pub(super) struct Speech {
    pub(super) client: Vec<u8>,
    pub(super) server: Vec<u8>,
}

impl Speech {
    pub(super) fn new(tuples: &ConntrackTuples, commands: &[Command], replies: &[Reply]) -> Self {
        let mut speech = Self {
            client: Vec::new(),
            server: Vec::new(),
        };
        let own = tuples.sender(Direction::Original).ip();
        let theirs = tuples.sender(Direction::Reply).ip();
        let mut ports = 0..;
        for (command, nth) in commands.iter().zip(&mut ports) {
            if speech.client.len() < TEXT_MAX {
                speech.client.extend(command.text(own, nth));
            }
        }
        for (reply, nth) in replies.iter().zip(&mut ports) {
            if speech.server.len() < TEXT_MAX {
                speech.server.extend(reply.text(theirs, nth));
            }
        }
        speech
    }

    /// Whether two lines announce the same endpoint, so that an expectation has no single line.
    pub(super) fn is_ambiguous(&self) -> bool {
        let client = announcing_lines(Role::Client, &self.client);
        let server = announcing_lines(Role::Server, &self.server);
        let mut ports = HashSet::new();
        !client
            .iter()
            .chain(&server)
            .all(|line| ports.insert(line.announcement.port))
    }
}

impl Command {
    fn text(&self, own: IpAddr, nth: u16) -> Vec<u8> {
        let line = match self {
            Self::Port(is_long) => format!("PORT {}", host_port(own, port(*is_long, nth))),
            Self::PortZero(is_long) => {
                format!("PORT {}", host_port([0; 4].into(), port(*is_long, nth)))
            }
            Self::PortThird => format!("PORT {}", host_port([1, 2, 3, 4].into(), port(true, nth))),
            Self::Eprt(is_long) => {
                let family = if own.is_ipv4() { 1 } else { 2 };
                format!("EPRT |{family}|{own}|{}|", port(*is_long, nth))
            }
            Self::Pasv => "PASV".into(),
            Self::Epsv => "epsv".into(),
            Self::EpsvAll => "EPSV ALL".into(),
            Self::Noop => "NOOP".into(),
            Self::Abor => return b"\xff\xf4\xff\xf2ABOR\r\n".to_vec(),
            Self::Quit => "QUIT".into(),
            Self::Retr => "RETR file".into(),
            Self::Auth => "AUTH TLS".into(),
            Self::Filler(length) => format!("SITE {}", "x".repeat(usize::from(length % 2048))),
            Self::Text(text) => return text.clone(),
        };
        format!("{line}\r\n").into_bytes()
    }
}

impl Reply {
    fn text(&self, own: IpAddr, nth: u16) -> Vec<u8> {
        let line = match self {
            Self::Greeting => "220 hello".into(),
            Self::Pasv(is_long) => {
                let host_port = host_port(own, port(*is_long, nth));
                format!("227 Entering Passive Mode ({host_port}).")
            }
            Self::PasvBare(is_long) => format!("227 ={}", host_port(own, port(*is_long, nth))),
            Self::Epsv(is_long) => {
                format!("229 Entering Extended (|||{}|)", port(*is_long, nth))
            }
            Self::Multi(is_long) => {
                format!(
                    "211-\r\n227 ({})\r\n211 x",
                    host_port(own, port(*is_long, nth))
                )
            }
            Self::Done => "226 done".into(),
            Self::Rejected => "500 no".into(),
            Self::Encrypts => "234 go on".into(),
            Self::Filler(length) => format!("200 {}", "y".repeat(usize::from(length % 2048))),
            Self::Text(text) => return text.clone(),
        };
        format!("{line}\r\n").into_bytes()
    }
}

/// The lines of one end that announce an endpoint.
pub(super) fn announcing_lines(role: Role, text: &[u8]) -> Vec<Line> {
    lines(text)
        .filter_map(|(start, end)| {
            let announcement = announcement(role, &text[start..end])?;
            Some(Line {
                start,
                end,
                announcement,
            })
        })
        .collect()
}

/// The announcement of a line.
pub(super) fn announcement(role: Role, line: &[u8]) -> Option<Announcement> {
    match role {
        Role::Client => {
            let ftp::Command::Announce(_, announcement) = ftp::Command::parse(line) else {
                return None;
            };
            announcement.ok()
        }
        Role::Server => {
            let code = ReplyLine::parse(line)?.code;
            parse_announcing_reply(code, line).ok()
        }
    }
}

/// How often the client asks, in lines that have ended, for an announcement of a kind.
pub(super) fn count_asked(kind: AnnouncementKind, text: &[u8]) -> usize {
    let asks = |&(start, end): &(usize, usize)| {
        let command = ftp::Command::parse(&text[start..end]);
        match kind {
            AnnouncementKind::Pasv => command == ftp::Command::Pasv,
            AnnouncementKind::Lpsv => command == ftp::Command::Lpsv,
            AnnouncementKind::Epsv => matches!(command, ftp::Command::Epsv(_)),
            AnnouncementKind::Port | AnnouncementKind::Eprt | AnnouncementKind::Lprt => false,
        }
    };
    lines(text).filter(asks).count()
}

/// Where lines begin with a verb.
pub(super) fn starts_of<'a>(text: &'a [u8], verb: &'a str) -> impl Iterator<Item = usize> + 'a {
    let mut start = 0;
    text.split_inclusive(|&byte| byte == b'\n')
        .filter_map(move |line| {
            let from = start;
            start += line.len();
            line.starts_with(verb.as_bytes()).then_some(from)
        })
}

/// Where the lines are that have ended and are not too long to be read.
pub(super) fn lines(text: &[u8]) -> impl Iterator<Item = (usize, usize)> {
    let mut start = 0;
    let ended = text.split_inclusive(|&byte| byte == b'\n');
    ended.filter_map(move |line| {
        let from = start;
        start += line.len();
        let text = line.strip_suffix(b"\n")?;
        let crs = text.iter().rev().take_while(|byte| **byte == b'\r').count();
        let text = &text[..text.len() - crs];
        (text.len() <= LINE_MAX).then_some((from, from + text.len()))
    })
}

const fn port(is_long: HasLongPort, nth: u16) -> u16 {
    if is_long {
        LONG_PORTS + nth % 10_000
    } else {
        SHORT_PORTS + nth % 10_000
    }
}

fn host_port(address: IpAddr, port: u16) -> String {
    let [a, b, c, d] = match address {
        IpAddr::V4(address) => address.octets(),
        // Nobody announces an IPv6 address so; the line is refused.
        IpAddr::V6(_) => [10, 0, 0, 2],
    };
    format!("{a},{b},{c},{d},{},{}", port >> 8, port & 0xff)
}
