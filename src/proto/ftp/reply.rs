//! The lines of the server.

use std::ops::Range;

use super::{
    announcement::Announcement,
    cursor::{Cursor, is_blank},
    endpoint::{self, UncheckedEndpoint},
    kind::AnnouncementKind,
    malformed::{Malformed, count_numbers},
    telnet,
};

/// The number of bytes of a reply's code.
pub(super) const CODE_LENGTH: usize = 3;

/// The marks that may stand around the endpoint of a reply.
pub(super) const OPENING: [u8; 4] = *b"([{<";
pub(super) const CLOSING: [u8; 4] = *b")]}>";

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
    /// 227(10,0,0,1,19,137)
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
            None | Some(b' ' | b'\t') => true,
            Some(b'-') => false,
            // Some servers leave the blank out where a host-port follows at once.
            Some(b'(' | b'=') if AnnouncementKind::from_code(code).is_some() => true,
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
    let announces = ReplyLine { code, last: true };
    if ReplyLine::parse(line) != Some(announces) {
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
    let endpoint = parse_endpoint(kind, &mut cursor)?.check()?;
    let token = with_blanks(line, start..cursor.position());
    Ok(Announcement::read(kind, endpoint, token))
}

/// A part of a line, with the blanks between it and the parentheses around it.
fn with_blanks(line: &[u8], part: Range<usize>) -> Range<usize> {
    let before = line.get(..part.start).unwrap_or_default();
    let after = line.get(part.end..).unwrap_or_default();
    let left = before.iter().rev().take_while(|byte| is_blank(**byte));
    let right = after.iter().take_while(|byte| is_blank(**byte));
    let start = part.start.saturating_sub(left.count());
    let end = part.end.saturating_add(right.count());
    let opens = line.get(..start).and_then(<[u8]>::last);
    let closes = line.get(end);
    Range {
        start: if opens.is_some_and(|byte| OPENING.contains(byte)) {
            start
        } else {
            part.start
        },
        end: if closes.is_some_and(|byte| CLOSING.contains(byte)) {
            end
        } else {
            part.end
        },
    }
}

/// Whether a partial line could become the last line of a reply of `kind`, well-formed or not.
pub(super) fn could_begin(kind: AnnouncementKind, start_of_line: &[u8]) -> bool {
    let text = telnet::skip_sequences(start_of_line);
    let Some(code) = code_of(kind) else {
        return false;
    };
    match text.split_at_checked(CODE_LENGTH) {
        // Only the last line of a reply announces.
        Some((begun, _)) => begun == code && ReplyLine::parse(text).is_some_and(|reply| reply.last),
        None => code.starts_with(text) || telnet::is_begun_sequence(text),
    }
}

/// The code of an announcing reply.
const fn code_of(kind: AnnouncementKind) -> Option<&'static [u8]> {
    match kind {
        AnnouncementKind::Pasv => Some(b"227"),
        AnnouncementKind::Lpsv => Some(b"228"),
        AnnouncementKind::Epsv => Some(b"229"),
        AnnouncementKind::Port | AnnouncementKind::Eprt | AnnouncementKind::Lprt => None,
    }
}

fn parse_endpoint(
    kind: AnnouncementKind,
    cursor: &mut Cursor<'_>,
) -> Result<UncheckedEndpoint, Malformed> {
    if kind == AnnouncementKind::Epsv {
        let endpoint = endpoint::parse_reply_fields(cursor)?;
        let is_closed = peek_behind_blanks(cursor) == Some(b')');
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
    if peek_behind_blanks(cursor) == Some(b',') {
        return Err(Malformed::FieldCount);
    }
    Ok(endpoint)
}

fn peek_behind_blanks(cursor: &Cursor<'_>) -> Option<u8> {
    let mut ahead = *cursor;
    ahead.skip_blanks();
    ahead.peek()
}

/// The start of the only host-port in the text. RFC 1123 §4.1.2.6: only the numbers of a 227 are
/// certain, and neither the words before them nor the parentheses.
///
/// ```text
/// 227 Entering Passive Mode 2 (10,0,0,1,19,137).
/// 227 =10,0,0,1,19,137
/// 227 Entering Passive Mode (10, 0, 0, 1, 19, 137)
/// ```
fn find_numbers(line: &[u8], least: usize) -> Result<usize, Malformed> {
    let mut found = None;
    let mut position = CODE_LENGTH;
    while let Some(rest) = line.get(position..).filter(|rest| !rest.is_empty()) {
        let list = list_of_numbers(rest);
        // A shorter list of numbers is part of the words: no client reads a host-port in it.
        let commas = list.iter().filter(|byte| **byte == b',').count();
        if commas.saturating_add(1) >= least && found.replace(position).is_some() {
            return Err(Malformed::Ambiguous);
        }
        position = position.saturating_add(list.len().max(1));
    }
    let text = line.get(CODE_LENGTH..).unwrap_or_default();
    let start = found.ok_or(if count_numbers(text) < least {
        Malformed::NoEndpoint
    } else {
        Malformed::FieldCount
    })?;
    if ends_list(line.get(..start).unwrap_or_default()) {
        return Err(Malformed::Ambiguous);
    }
    Ok(start)
}

/// The list of numbers at the start of a text; empty where it begins with no digit. Blanks belong
/// to it behind a comma and before one, where `sscanf("%u,%u…")` or another reader skips them.
fn list_of_numbers(text: &[u8]) -> &[u8] {
    let is_digit = |at: usize| text.get(at).is_some_and(u8::is_ascii_digit);
    let mut length = 0_usize;
    loop {
        let rest = text.get(length..).unwrap_or_default();
        let blanks = rest.iter().take_while(|byte| is_blank(**byte)).count();
        let next = length.saturating_add(blanks);
        let is_behind_comma = text.get(..length).and_then(<[u8]>::last) == Some(&b',');
        let goes_on = match text.get(next) {
            Some(b',') => length > 0,
            Some(_) => is_digit(next) && (blanks == 0 || is_behind_comma),
            None => false,
        };
        if !goes_on {
            return text.get(..length).unwrap_or_default();
        }
        length = next.saturating_add(1);
    }
}

/// Whether numbers behind this text would continue a list that began in it.
///
/// `sscanf("%u,%u…")` skips blanks and signs before a number. So in `9, 10,0,0,1,4,5` it reads
/// other six numbers than a search for six adjoining ones.
pub(super) fn ends_list(text: &[u8]) -> bool {
    let mut text = text;
    while let [rest @ .., b' ' | b'\t' | b'+' | b'-'] = text {
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
    let text = line.get(CODE_LENGTH..).unwrap_or_default();
    found.ok_or(if count_numbers(text) == 0 {
        Malformed::NoEndpoint
    } else {
        // Some clients search for the delimiters alone.
        Malformed::MissingParenthesis
    })
}

/// Whether a client might read fields here, with the blanks in them or without. The parser of the
/// fields decides whether they are valid.
fn begins_fields(text: &[u8]) -> bool {
    let mut packed = [0; 4];
    let others = text.iter().filter(|byte| !is_blank(**byte));
    for (to, from) in packed.iter_mut().zip(others) {
        *to = *from;
    }
    begins_packed_fields(text) || begins_packed_fields(&packed)
}

fn begins_packed_fields(text: &[u8]) -> bool {
    match *text {
        // BulletProof FTP Server leaves one delimiter out.
        [b'|', b'|', digit, ..] if digit.is_ascii_digit() => true,
        // curl, wget, tnftp and lftp look for a delimiter three times and a digit. To some of them
        // a blank is a delimiter too.
        [a, b, c, digit, ..] if a == b && b == c && digit.is_ascii_digit() => !a.is_ascii_digit(),
        // The first delimiter of `((((1()` would match the second form too.
        [b'(', _, b'(', ..] => false,
        [a, family, b, ..] if a == b => a.is_ascii_punctuation() && family.is_ascii_digit(),
        _ => false,
    }
}
