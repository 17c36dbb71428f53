//! The lines of the client.

use super::{
    announcement::Announcement,
    cursor::{Cursor, is_blank},
    endpoint,
    kind::{AnnouncementKind, Role},
    malformed::{Malformed, count_numbers},
    telnet,
};

/// A line of the client, as far as a session needs it. It has no argument, because the session has
/// no use for the names of users or for passwords.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Command {
    /// PORT, EPRT or LPRT. The client listens, if the line can be read.
    Announce(AnnouncementKind, Result<Announcement, Malformed>),
    /// PASV: the server is asked to listen (RFC 959). So it is by CPSV, with which glFTPd and
    /// DrFTPD take the client's part in the TLS handshake of the data connection.
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
    /// A command that uses the data connection: RETR, STOR, STOU, APPE, LIST, NLST or MLSD. Or STOT
    /// and RETP of HylaFAX, or ERET and ESTO of GridFTP.
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
    /// blanks. A line in which some server reads a second command that announces is an announcement
    /// that cannot be read.
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
        if is_other_dialect(verb) {
            return Self::Announce(AnnouncementKind::Port, Err(Malformed::OtherDialect));
        }
        // Some server may read an announcement here. It is refused, not passed as unknown.
        if let Some((kind, reason)) = hidden_verb(text) {
            return Self::Announce(kind, Err(reason));
        }
        // CR NUL is a carriage return (RFC 854), which vsftpd and others do not count.
        let ends = |byte: &u8| is_blank(*byte) || is_end(*byte);
        if !rest.first().is_none_or(ends) {
            return Self::Other;
        }
        let start = rest.iter().position(|byte| !ends(byte));
        let end = rest.iter().rposition(|byte| !ends(byte));
        let argument = start
            .zip(end)
            .and_then(|(start, end)| rest.get(start..=end));
        Self::of_verb(verb, argument.unwrap_or_default())
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
const VERBS: [(&[u8], Command); 32] = [
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
    // Some home routers make these of PASV. Pure-FTPd, vsftpd and others answer with a 227.
    (b"P@SW", Command::Pasv),
    (b"P@SV", Command::Pasv),
    (b"CPSV", Command::Pasv),
    (b"STOT", Command::Transfer),
    (b"RETP", Command::Transfer),
    (b"ERET", Command::Transfer),
    (b"ESTO", Command::Transfer),
];

/// The verbs of GridFTP and of Pure-FTPd whose endpoints, or those of the answer, have a form that
/// is not read here. They are refused like a PORT that cannot be read: otherwise a server would
/// read endpoints that nobody has checked, and a client would wait for what nobody has opened.
const OTHER_DIALECTS: [&str; 3] = ["SPOR", "SPAS", "SPSV"];

impl EpsvArgument {
    fn parse(argument: &[u8]) -> Self {
        if argument.is_empty() {
            return Self::Any;
        }
        if argument.eq_ignore_ascii_case(b"ALL") {
            return Self::All;
        }
        let mut cursor = Cursor::at(argument, 0);
        let family = cursor.canonical_number(u8::MAX.into(), Malformed::FamilyOutOfRange);
        match (family.map(u8::try_from), cursor.peek()) {
            (Ok(Ok(family)), None) => Self::Family(family),
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
    // Blanks are accepted around the argument and in it: servers skip them or answer 501, but none
    // reads another endpoint.
    cursor.skip_blanks();
    cursor.expect_word(kind.as_str())?;
    let argument = line.get(cursor.position()..).unwrap_or_default();
    parse_argument(kind, &mut cursor).map_err(|reason| {
        if has_endpoint(kind, argument) {
            reason
        } else {
            Malformed::NoEndpoint
        }
    })
}

/// Parses the rest of a line of `kind`, behind its verb.
fn parse_argument(
    kind: AnnouncementKind,
    cursor: &mut Cursor<'_>,
) -> Result<Announcement, Malformed> {
    if !cursor.peek().is_some_and(is_blank) {
        return Err(Malformed::MissingSpace);
    }
    cursor.skip_blanks();
    let start = cursor.position();
    let unchecked = match kind {
        AnnouncementKind::Port => endpoint::parse_host_port(cursor)?,
        AnnouncementKind::Lprt => endpoint::parse_long_host_port(cursor)?,
        AnnouncementKind::Eprt => endpoint::parse_fields(cursor)?,
        AnnouncementKind::Pasv | AnnouncementKind::Epsv | AnnouncementKind::Lpsv => {
            return Err(Malformed::NotAnnouncing);
        }
    };
    let end = cursor.position();
    cursor.skip_blanks();
    cursor.expect_end(Malformed::TrailingGarbage)?;
    let endpoint = unchecked.check()?;
    Ok(Announcement::read(kind, endpoint, start..end))
}

/// Whether some server could read an endpoint of `kind` in an argument, right or wrong.
///
/// `atoi` takes words and missing numbers for zeros, so the commas count as well. An EPRT has two
/// numbers at least, because the address `::` has none.
fn has_endpoint(kind: AnnouncementKind, argument: &[u8]) -> bool {
    let least = match kind {
        AnnouncementKind::Port | AnnouncementKind::Pasv => 6,
        AnnouncementKind::Lprt | AnnouncementKind::Lpsv => 9,
        AnnouncementKind::Eprt | AnnouncementKind::Epsv => 2,
    };
    let commas = argument.iter().filter(|byte| **byte == b',').count();
    count_numbers(argument) >= least || commas.saturating_add(1) >= least
}

/// Whether a partial line could become a command of `kind`, well-formed or not.
pub(super) fn could_begin(kind: AnnouncementKind, start_of_line: &[u8]) -> bool {
    commands_in(start_of_line).any(|command| {
        let text = telnet::skip_sequences(command).trim_ascii_start();
        let mut others = telnet::other_readings(text).into_iter().flatten();
        telnet::is_begun_sequence(text)
            || begins_verb_of(kind, text)
            || others.any(|text| begins_verb_of(kind, text.trim_ascii_start()))
    })
}

/// Whether a text begins with the verb of a kind or with one that counts as it, or could.
fn begins_verb_of(kind: AnnouncementKind, text: &[u8]) -> bool {
    let others = (kind == AnnouncementKind::Port).then_some(OTHER_DIALECTS);
    let mut others = others.into_iter().flatten();
    begins_verb(kind.as_str(), text) || others.any(|verb| begins_verb(verb, text))
}

/// The line, and each command that some server reads in it: to some a CR or a NUL ends a command.
fn commands_in(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    let parts = line.split(|byte| is_end(*byte)).skip(1);
    std::iter::once(line).chain(parts)
}

/// Whether a byte ends a command to some server.
const fn is_end(byte: u8) -> bool {
    matches!(byte, b'\r' | 0)
}

/// Whether a text begins with a verb, or is a prefix of it.
fn begins_verb(verb: &str, text: &[u8]) -> bool {
    let verb = verb.as_bytes();
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

/// The announcing verb that a server may read in a text when it removes bytes from the inside, or
/// takes one of them for the end of a command.
fn hidden_verb(text: &[u8]) -> Option<(AnnouncementKind, Malformed)> {
    let without_bytes = |text| telnet::other_readings(text).into_iter().flatten();
    let of_text = |text: &[u8]| {
        let text = telnet::skip_sequences(text).trim_ascii_start();
        let length = text.iter().take_while(|byte| is_of_verb(**byte)).count();
        let verb = text.get(..length)?;
        let other = is_other_dialect(verb).then_some(AnnouncementKind::Port);
        announcing_verb(verb).or(other)
    };
    commands_in(text).zip(0..).find_map(|(command, nth)| {
        let reason = if nth == 0 {
            Malformed::TelnetSequence
        } else {
            Malformed::ControlByte
        };
        let kind =
            of_text(command).or_else(|| without_bytes(command).find_map(|text| of_text(&text)));
        Some((kind?, reason))
    })
}

fn announcing_verb(verb: &[u8]) -> Option<AnnouncementKind> {
    let mut kinds = Role::Client.kinds().iter().copied();
    kinds.find(|kind| verb.eq_ignore_ascii_case(kind.as_str().as_bytes()))
}

fn is_other_dialect(verb: &[u8]) -> bool {
    let mut others = OTHER_DIALECTS.into_iter();
    others.any(|name| verb.eq_ignore_ascii_case(name.as_bytes()))
}
