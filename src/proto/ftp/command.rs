//! What a client's line says.

use super::{
    announcement::{Announcement, AnnouncementKind, Role},
    cursor::Cursor,
    endpoint,
    malformed::Malformed,
    telnet,
};

/// A client's line, as far as a session has to know it. No argument is kept: what stands behind
/// USER and PASS is nobody's business.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Command {
    /// PORT, EPRT or LPRT: the client listens, if the line can be read.
    Announce(AnnouncementKind, Result<Announcement, Malformed>),
    /// The server is asked to listen (RFC 959).
    Pasv,
    /// The server is asked to listen, by RFC 1639.
    Lpsv,
    /// The server is asked to listen, by RFC 2428.
    Epsv(EpsvArgument),
    /// The control connection is to be protected; it is opaque once the server agrees (RFC 2228).
    Auth,
    /// The control connection returns to clear text (RFC 2228).
    Ccc,
    /// A step of a login: USER, PASS or ACCT.
    Login,
    /// The session begins anew.
    Rein,
    /// The session ends.
    Quit,
    /// The transfer is given up.
    Abor,
    /// A virtual host is chosen, and the session begins anew (RFC 7151).
    Host,
    /// A command that uses the data connection: RETR, STOR, STOU, APPE, LIST, NLST or MLSD.
    Transfer,
    /// The folder is changed or asked for: CWD, CDUP, PWD.
    Directory,
    /// Nothing.
    Noop,
    /// Any other line, including an empty one and one that is not FTP.
    Other,
}

/// What stands behind EPSV (RFC 2428 §3, §4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EpsvArgument {
    /// Nothing: any family.
    Any,
    /// The number of an address family: 1 is IPv4, 2 is IPv6.
    Family(u8),
    /// `ALL`: the client will announce nothing and send neither PASV nor LPSV from here on.
    All,
    /// Anything else; the server will refuse it.
    Unknown,
}

impl Command {
    /// Parses a line without its end. It accepts verbs in any case, with Telnet sequences or
    /// spaces before them.
    ///
    /// ```text
    /// PORT 10,0,0,1,19,137
    /// epsv all
    /// ```
    #[must_use]
    pub fn parse(line: &[u8]) -> Self {
        let text = telnet::skip_sequences(line).trim_ascii_start();
        let length = text.iter().take_while(|b| is_of_verb(**b)).count();
        let (verb, rest) = text.split_at_checked(length).unwrap_or_default();
        if let Some(kind) = announcing_verb(verb) {
            let parsed = parse_announcing_command(kind, line);
            return Self::Announce(kind, parsed);
        }
        if let Some(kind) = hidden_verb(text) {
            return Self::Announce(kind, Err(Malformed::TelnetSequence));
        }
        match rest.first() {
            None | Some(b' ') => Self::of_verb(verb, rest.trim_ascii()),
            Some(_) => Self::Other,
        }
    }

    fn of_verb(verb: &[u8], argument: &[u8]) -> Self {
        if verb.eq_ignore_ascii_case(b"EPSV") {
            return Self::Epsv(EpsvArgument::parse(argument));
        }
        VERBS
            .iter()
            .find(|(name, _)| verb.eq_ignore_ascii_case(name))
            .map_or(Self::Other, |(_, command)| *command)
    }
}

/// The lengths of verbs in use: CWD and RMD to XSHA512-like ones without digits, which come after
/// the login.
const VERB_MIN: usize = 3;
const VERB_MAX: usize = 8;

/// The verbs that matter to a session and whose argument does not.
const VERBS: [(&[u8], Command); 26] = [
    (b"RETR", Command::Transfer),
    (b"STOR", Command::Transfer),
    (b"PASV", Command::Pasv),
    (b"LIST", Command::Transfer),
    (b"NLST", Command::Transfer),
    (b"MLSD", Command::Transfer),
    (b"APPE", Command::Transfer),
    (b"STOU", Command::Transfer),
    (b"CWD", Command::Directory),
    (b"PWD", Command::Directory),
    (b"CDUP", Command::Directory),
    (b"XCWD", Command::Directory),
    (b"XPWD", Command::Directory),
    (b"XCUP", Command::Directory),
    (b"NOOP", Command::Noop),
    (b"USER", Command::Login),
    (b"PASS", Command::Login),
    (b"QUIT", Command::Quit),
    (b"ABOR", Command::Abor),
    (b"AUTH", Command::Auth),
    (b"CCC", Command::Ccc),
    (b"REIN", Command::Rein),
    (b"HOST", Command::Host),
    (b"LPSV", Command::Lpsv),
    (b"ACCT", Command::Login),
    // What some home routers made of PASV; Pure-FTPd and others answer it with a 227.
    (b"P@SW", Command::Pasv),
];

impl EpsvArgument {
    fn parse(argument: &[u8]) -> Self {
        if argument.is_empty() {
            return Self::Any;
        }
        if argument.eq_ignore_ascii_case(b"ALL") {
            return Self::All;
        }
        let mut cursor = Cursor::at(argument, 0);
        match (cursor.octet(), cursor.peek()) {
            (Ok(family), None) => Self::Family(family),
            _ => Self::Unknown,
        }
    }
}

/// Parses a line of `kind`, whole or as far as it has come.
///
/// Spaces around the argument are accepted: servers skip them or answer 501, but none reads
/// another endpoint. A space inside it is not: `sscanf` skips it, others stop there.
pub(super) fn parse_announcing_command(
    kind: AnnouncementKind,
    line: &[u8],
) -> Result<Announcement, Malformed> {
    telnet::refuse_controls(line)?;
    let mut cursor = Cursor::at(line, 0);
    cursor.skip_spaces();
    cursor.expect_word(kind.as_str())?;
    cursor.expect(b' ', Malformed::MissingSpace)?;
    cursor.skip_spaces();
    let start = cursor.position();
    let endpoint = match kind {
        AnnouncementKind::Port => endpoint::parse_host_port(&mut cursor)?,
        AnnouncementKind::Lprt => endpoint::parse_long_host_port(&mut cursor)?,
        AnnouncementKind::Eprt => endpoint::parse_fields(&mut cursor)?,
        AnnouncementKind::Pasv | AnnouncementKind::Epsv | AnnouncementKind::Lpsv => {
            return Err(Malformed::NotAnnouncing);
        }
    };
    let announcement = Announcement::read(kind, endpoint, start, &cursor);
    cursor.skip_spaces();
    cursor.expect_end(Malformed::TrailingGarbage)?;
    Ok(announcement)
}

/// Whether bytes at the start of a line could become a command of `kind`, readable or not.
pub(super) fn could_begin(kind: AnnouncementKind, start_of_line: &[u8]) -> bool {
    let text = telnet::skip_sequences(start_of_line).trim_ascii_start();
    let mut others = telnet::other_readings(text).into_iter().flatten();
    telnet::is_begun_sequence(text)
        || begins_verb(kind, text)
        || others.any(|text| begins_verb(kind, text.trim_ascii_start()))
}

/// Whether a text is the beginning of a verb, or begins with it.
fn begins_verb(kind: AnnouncementKind, text: &[u8]) -> bool {
    let verb = kind.as_str().as_bytes();
    let is_prefix = |text: &[u8]| {
        verb.get(..text.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(text))
    };
    match text.split_at_checked(verb.len()) {
        Some((begun, rest)) => {
            is_prefix(begun) && !rest.first().is_some_and(|byte| is_of_verb(*byte))
        }
        None => is_prefix(text),
    }
}

/// Whether a line can be a command of FTP, known or not: a verb, and then nothing or a space. What
/// other protocols begin with is none: a request line of HTTP or SIP, their headers, TLS records.
#[must_use]
pub fn is_command_shaped(line: &[u8]) -> bool {
    let text = telnet::skip_sequences(line).trim_ascii();
    let length = text.iter().take_while(|byte| is_of_verb(**byte)).count();
    let is_verb = text.is_empty() || (VERB_MIN..=VERB_MAX).contains(&length);
    let ends = text.get(length).is_none_or(|byte| *byte == b' ');
    let last_word = text.rsplit(|byte| *byte == b' ').next();
    let is_request =
        last_word.is_some_and(|word| word.starts_with(b"HTTP/") || word.starts_with(b"SIP/"));
    is_verb && ends && !is_request
}

const fn is_of_verb(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'@'
}

/// The verb of an announcement that some server may find in a text, since it takes out what stands within.
fn hidden_verb(text: &[u8]) -> Option<AnnouncementKind> {
    telnet::other_readings(text)?.into_iter().find_map(|text| {
        let text = text.trim_ascii_start();
        let length = text.iter().take_while(|byte| is_of_verb(**byte)).count();
        announcing_verb(text.get(..length)?)
    })
}

fn announcing_verb(verb: &[u8]) -> Option<AnnouncementKind> {
    let mut kinds = Role::Client.kinds().iter().copied();
    kinds.find(|kind| verb.eq_ignore_ascii_case(kind.as_str().as_bytes()))
}
