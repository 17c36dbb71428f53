//! The lines of the server.

use super::{
    announcement::{Announcement, AnnouncementKind},
    cursor::Cursor,
    endpoint::{self, Endpoint},
    malformed::Malformed,
    telnet,
};

/// The number of bytes before the text of a reply: the code and a space.
pub(super) const TEXT_START: usize = 4;

/// A line of the server that begins with a code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ReplyLine {
    /// The three digits, as a number.
    pub code: u16,
    /// Whether the line ends a reply (`227 text`, `227`). Else more lines follow (`227-text`).
    pub last: bool,
}

impl ReplyLine {
    /// Parses a line without its end, behind any Telnet sequences. `None` for a line without a
    /// code, which may be inside a multi-line reply (RFC 959 §4.2).
    ///
    /// ```text
    /// 227 Entering Passive Mode (10,0,0,1,19,137).
    /// 211-Features:
    /// ```
    #[must_use]
    pub fn parse(line: &[u8]) -> Option<Self> {
        // RFC 959 §4.2 has 1yz to 5yz, and RFC 2228 §5 adds 6yz.
        let [hundreds @ b'1'..=b'6', tens, ones, rest @ ..] = telnet::skip_sequences(line) else {
            return None;
        };
        let mut code = 0_u16;
        for digit in [hundreds, tens, ones] {
            let value = digit.checked_sub(b'0').filter(|value| *value < 10)?;
            code = code.checked_mul(10)?.checked_add(u16::from(value))?;
        }
        let last = match rest.first() {
            None | Some(b' ') => true,
            Some(b'-') => false,
            Some(_) => return None,
        };
        Some(Self { code, last })
    }
}

/// Parses the last line of a reply with the code 227, 228 or 229.
///
/// # Errors
///
/// [`Malformed`] where the line has no endpoint, can be read in two ways, or has another code.
pub fn parse_announcing_reply(code: u16, line: &[u8]) -> Result<Announcement, Malformed> {
    let kind = AnnouncementKind::from_code(code).ok_or(Malformed::NotAnnouncing)?;
    telnet::refuse_controls(line)?;
    if !code_of(kind).is_some_and(|code| line.starts_with(code)) {
        return Err(Malformed::NotAnnouncing);
    }
    let start = match kind {
        AnnouncementKind::Pasv => find_numbers(line, 6)?,
        AnnouncementKind::Lpsv => find_numbers(line, 9)?,
        AnnouncementKind::Epsv => find_fields(line)?,
        AnnouncementKind::Port | AnnouncementKind::Eprt | AnnouncementKind::Lprt => {
            return Err(Malformed::NotAnnouncing);
        }
    };
    let mut cursor = Cursor::at(line, start);
    let endpoint = parse_endpoint(kind, &mut cursor)?;
    Ok(Announcement::read(kind, endpoint, start, &cursor))
}

/// Whether a partial line could become the last line of a reply of `kind`, well-formed or not.
pub(super) fn could_begin(kind: AnnouncementKind, start_of_line: &[u8]) -> bool {
    let text = telnet::skip_sequences(start_of_line);
    let code = code_of(kind).unwrap_or_default();
    let agrees = text.starts_with(code) || code.starts_with(text);
    !code.is_empty() && (agrees || telnet::is_begun_sequence(text))
}

/// The code of an announcing reply, with the space of its last line. Only that line announces.
const fn code_of(kind: AnnouncementKind) -> Option<&'static [u8]> {
    match kind {
        AnnouncementKind::Pasv => Some(b"227 "),
        AnnouncementKind::Lpsv => Some(b"228 "),
        AnnouncementKind::Epsv => Some(b"229 "),
        AnnouncementKind::Port | AnnouncementKind::Eprt | AnnouncementKind::Lprt => None,
    }
}

fn parse_endpoint(kind: AnnouncementKind, cursor: &mut Cursor<'_>) -> Result<Endpoint, Malformed> {
    if kind == AnnouncementKind::Epsv {
        let endpoint = endpoint::parse_reply_fields(cursor)?;
        let is_closed = cursor.peek() == Some(b')');
        return is_closed
            .then_some(endpoint)
            .ok_or(Malformed::MissingParenthesis);
    }
    let endpoint = if kind == AnnouncementKind::Pasv {
        endpoint::parse_host_port(cursor)?
    } else {
        endpoint::parse_long_host_port(cursor)?
    };
    // With a seventh number, clients that search from the left read another endpoint than those
    // that search from the right.
    if cursor.peek() == Some(b',') {
        return Err(Malformed::FieldCount);
    }
    Ok(endpoint)
}

/// The start of the only host-port in the text. RFC 1123 §4.1.2.6: only the numbers of a 227 are
/// certain, and neither the words before them nor the parentheses.
///
/// ```text
/// 227 Entering Passive Mode 2 (10,0,0,1,19,137).
/// 227 =10,0,0,1,19,137
/// ```
fn find_numbers(line: &[u8], least: usize) -> Result<usize, Malformed> {
    let mut found = None;
    let mut position = TEXT_START;
    while let Some(rest) = line.get(position..).filter(|rest| !rest.is_empty()) {
        let length = rest.iter().take_while(|b| is_of_numbers(**b)).count();
        let run = rest.get(..length).unwrap_or_default();
        // A shorter list of numbers is part of the words: no client reads a host-port in it.
        let commas = run.iter().filter(|byte| **byte == b',').count();
        if commas.saturating_add(1) >= least && found.replace(position).is_some() {
            return Err(Malformed::Ambiguous);
        }
        position = position.saturating_add(length.max(1));
    }
    let start = found.ok_or(Malformed::NoEndpoint)?;
    if ends_list(line.get(..start).unwrap_or_default()) {
        return Err(Malformed::Ambiguous);
    }
    Ok(start)
}

const fn is_of_numbers(byte: u8) -> bool {
    byte.is_ascii_digit() || byte == b','
}

/// Whether numbers behind this text would continue a list that began in it.
///
/// `sscanf("%u,%u…")` skips blanks and signs before a number. So in `9, 10,0,0,1,4,5` it reads
/// other six numbers than a search for six adjoining ones.
pub(super) fn ends_list(text: &[u8]) -> bool {
    let mut text = text;
    while let [rest @ .., b' ' | b'+' | b'-'] = text {
        text = rest;
    }
    text.last() == Some(&b',')
}

/// The start of the only delimited endpoint in the text, behind its parenthesis.
///
/// ```text
/// 229 Entering Extended Passive Mode (|||6446|)
/// ```
fn find_fields(line: &[u8]) -> Result<usize, Malformed> {
    let mut found = None;
    for (position, _) in line.iter().enumerate().filter(|(_, byte)| **byte == b'(') {
        let start = position.saturating_add(1);
        let begins = line.get(start..).is_some_and(begins_fields);
        if begins && found.replace(start).is_some() {
            return Err(Malformed::Ambiguous);
        }
    }
    found.ok_or(Malformed::NoEndpoint)
}

/// Whether a client might read fields here. The parser of the fields decides whether they are
/// valid.
fn begins_fields(text: &[u8]) -> bool {
    match *text {
        // curl, wget, tnftp and lftp look for a delimiter three times and a digit. To some of them
        // a blank is a delimiter too.
        [a, b, c, digit, ..] if a == b && b == c && digit.is_ascii_digit() => !a.is_ascii_digit(),
        // The first delimiter of `((((1()` would match the second form too.
        [b'(', _, b'(', ..] => false,
        [a, family, b, ..] if a == b => a.is_ascii_punctuation() && family.is_ascii_digit(),
        _ => false,
    }
}
