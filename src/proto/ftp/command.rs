//! The lines of the client.

use super::{
    announcement::{Announcement, AnnouncementKind, Role},
    cursor::Cursor,
    endpoint,
    malformed::Malformed,
    telnet,
};

/// A line of the client, as far as a session needs it. It has no argument, because the session has
/// no use for the names of users or for passwords.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Command {
    /// PORT, EPRT or LPRT. The client listens, if the line can be read.
    Announce(AnnouncementKind, Result<Announcement, Malformed>),
    /// PASV: the server is asked to listen (RFC 959).
    Pasv,
    /// LPSV: the server is asked to listen (RFC 1639).
    Lpsv,
    /// EPSV: the server is asked to listen (RFC 2428).
    Epsv(EpsvArgument),
    /// AUTH: the connection is encrypted once the server agrees (RFC 2228).
    Auth,
    /// CCC: the control connection returns to clear text (RFC 2228).
    Ccc,
    /// USER, PASS or ACCT: a step of a login.
    Login,
    /// REIN: the session begins anew.
    Rein,
    /// QUIT: the session ends.
    Quit,
    /// ABOR: the transfer is aborted.
    Abor,
    /// HOST: a virtual host is chosen, and the session begins anew (RFC 7151).
    Host,
    /// A command that uses the data connection: RETR, STOR, STOU, APPE, LIST, NLST or MLSD.
    Transfer,
    /// CWD, CDUP or PWD: the working directory is changed or asked for.
    Directory,
    /// NOOP.
    Noop,
    /// Any other line, also an empty one and one that is not FTP.
    Other,
}

/// The argument of EPSV (RFC 2428 §3, §4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EpsvArgument {
    /// None, for any address family.
    Any,
    /// The number of an address family: 1 is IPv4, 2 is IPv6.
    Family(u8),
    /// `ALL`: from here on the client sends no PORT, EPRT, LPRT, PASV or LPSV.
    All,
    /// Another argument, which the server will refuse.
    Unknown,
}

impl Command {
    /// Parses a line without its end. The verb may be in any case, behind Telnet sequences and
    /// spaces.
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
            // Some server may read an announcement here. It is refused, not passed as unknown.
            return Self::Announce(kind, Err(Malformed::TelnetSequence));
        }
        // Only a space separates the argument (RFC 959 §5.3.1). Servers disagree on a tab.
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

/// The verbs that a session needs without their argument. The frequent ones are first.
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
    // Some home routers make this of PASV. Pure-FTPd and other servers answer it with a 227.
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

/// Parses a line of `kind`.
pub(super) fn parse_announcing_command(
    kind: AnnouncementKind,
    line: &[u8],
) -> Result<Announcement, Malformed> {
    telnet::refuse_controls(line)?;
    let mut cursor = Cursor::at(line, 0);
    // Spaces around the argument are accepted: servers skip them or answer 501, but none reads
    // another endpoint. A space inside is not: `sscanf` skips it, and other readers stop there.
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

/// Whether a partial line could become a command of `kind`, well-formed or not.
pub(super) fn could_begin(kind: AnnouncementKind, start_of_line: &[u8]) -> bool {
    let text = telnet::skip_sequences(start_of_line).trim_ascii_start();
    let mut others = telnet::other_readings(text).into_iter().flatten();
    telnet::is_begun_sequence(text)
        || begins_verb(kind, text)
        || others.any(|text| begins_verb(kind, text.trim_ascii_start()))
}

/// Whether a text begins with a verb, or is a prefix of it.
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

const fn is_of_verb(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'@'
}

/// The announcing verb that a server may read in a text when it removes bytes from the inside.
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
