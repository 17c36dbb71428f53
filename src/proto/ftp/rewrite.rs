//! Spelling an announcement canonically, with this or another endpoint, in a line of the same length
//! where possible.
//!
//! Every announcement leaves in one spelling, whatever it came in: the verb in capitals, one space, and
//! nothing behind the endpoint; the endpoint of a reply in parentheses; `|` between fields; numbers and
//! addresses in their shortest form. What a server, a client, the next gateway and an intrusion detection
//! system might read differently is thereby either refused (`malformed`) or gone.

use std::net::SocketAddr;

use super::{
    announcement::{Announcement, Role},
    reply::{TEXT_START, ends_list},
};

/// A line with another endpoint in it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Rewritten {
    /// The line, without its end.
    pub line: Vec<u8>,
    /// How many bytes it is longer than the line it replaces; negative where it is shorter.
    pub delta: i32,
}

impl Announcement {
    /// Spells `line`, the one this announcement was parsed from, canonically and with this endpoint.
    ///
    /// The length of a reply is kept by trimming or padding its human text, unless that has too
    /// few bytes to give; then it is left alone. Commands have no text to give. An announcement
    /// without an address (229) stays without one. `None` if the form cannot name the address:
    /// PORT and 227 know only IPv4.
    #[must_use]
    pub fn rewrite(&self, line: &[u8], endpoint: SocketAddr) -> Option<Rewritten> {
        let mut token = String::new();
        self.write_token(&mut token, endpoint)?;
        let token = token.as_bytes();
        let rewritten = match self.text_of(line) {
            None => [self.kind.as_str().as_bytes(), b" ", token].concat(),
            Some(text) => text.with_token(token, self.growth_of(&text, token.len())),
        };
        Some(Rewritten {
            delta: saturate(difference(rewritten.len(), line.len())),
            line: rewritten,
        })
    }

    /// How many bytes longer [`rewrite`](Self::rewrite) would make the line, without making it.
    #[must_use]
    pub fn delta_for(&self, line: &[u8], endpoint: SocketAddr) -> Option<i32> {
        let length = self.spelled_length(endpoint)?;
        Some(match self.text_of(line) {
            None => {
                let verb = self.kind.as_str().len().saturating_add(1);
                saturate(difference(verb.saturating_add(length), line.len()))
            }
            Some(text) => match self.growth_of(&text, length) {
                growth if growth <= signed(text.room()) => 0,
                growth => saturate(growth),
            },
        })
    }

    /// How many bytes more a token of this length takes, in its parentheses, than what stands there.
    fn growth_of(&self, text: &Text<'_>, length: usize) -> isize {
        let old = self.token.end.saturating_sub(self.token.start);
        let marks = text.opening.len().saturating_add(text.closing.len());
        difference(
            length.saturating_add(PARENTHESES),
            old.saturating_add(marks),
        )
    }

    /// The human text around a reply's endpoint; a command has none.
    fn text_of<'a>(&self, line: &'a [u8]) -> Option<Text<'a>> {
        if self.kind.announcer() == Role::Client {
            return None;
        }
        let before = line.get(TEXT_START..self.token.start)?;
        let after = line.get(self.token.end..)?;
        let (head, opening) = match before {
            [head @ .., mark] if mark.is_ascii_punctuation() => (head, before.get(head.len()..)?),
            _ => (before, &[][..]),
        };
        let (closing, tail) = match after {
            [b')' | b']' | b'}' | b'>', tail @ ..] if !opening.is_empty() => {
                (after.get(..1)?, tail)
            }
            _ => (&[][..], after),
        };
        Some(Text {
            code: line.get(..TEXT_START)?,
            head,
            opening,
            closing,
            tail,
        })
    }
}

/// How many bytes the parentheses around an endpoint take.
const PARENTHESES: usize = 2;

/// A reply in parts: `227 ` `Entering Passive Mode ` `(` … `)` `.`
struct Text<'a> {
    code: &'a [u8],
    head: &'a [u8],
    opening: &'a [u8],
    closing: &'a [u8],
    tail: &'a [u8],
}

impl Text<'_> {
    /// The line with `token` in place of the old one, by which it grows unless there is room.
    fn with_token(&self, token: &[u8], growth: isize) -> Vec<u8> {
        if growth <= signed(self.room()) {
            return self.fitted(token, growth);
        }
        [self.code, self.head, b"(", token, b")", self.tail].concat()
    }

    /// How many bytes of text can be given up.
    const fn room(&self) -> usize {
        self.head.len().saturating_add(self.tail.len())
    }

    /// The line with `token`, which takes `growth` bytes more than the old one and at most
    /// [`room`](Self::room), in the old length.
    ///
    /// What goes first is least missed: padding, then what follows the endpoint, then the words
    /// before it, from the right and whole.
    ///
    /// What is left over becomes spaces before the opening parenthesis, because nobody minds them
    /// there: curl, lftp and ftplib search for the numbers, wget, tnftp and ncftp skip to the
    /// first digit, FileZilla wants a space or a parenthesis on either side; for a 229 all of
    /// them go to the parenthesis; and a client that knows one server only, with
    /// `sscanf("227 Entering Passive Mode (%d,…")`, takes any number of spaces for one. Behind the
    /// endpoint they would be less safe: Cisco's strict inspection closes a connection with more
    /// than eight bytes there.
    fn fitted(&self, token: &[u8], growth: isize) -> Vec<u8> {
        let wanted = usize::try_from(growth).unwrap_or(0);
        let head = without_padding(self.head, wanted);
        let given = self.head.len().saturating_sub(head.len());
        let tail = without_words(self.tail, wanted.saturating_sub(given));
        let given = given.saturating_add(self.tail.len().saturating_sub(tail.len()));
        let trimmed = without_words(head, wanted.saturating_sub(given));
        let given = given.saturating_add(head.len().saturating_sub(trimmed.len()));
        let surplus = usize::try_from(signed(given).saturating_sub(growth)).unwrap_or(0);
        let padding = vec![b' '; surplus];
        [self.code, trimmed, &padding, b"(", token, b")", tail].concat()
    }
}

/// `text` without up to `wanted` of the spaces at its end, but with one left.
fn without_padding(text: &[u8], wanted: usize) -> &[u8] {
    let spaces = text.iter().rev().take_while(|b| **b == b' ').count();
    let cut = spaces.saturating_sub(1).min(wanted);
    text.get(..text.len().saturating_sub(cut)).unwrap_or(text)
}

/// `text` without as many words at its end as have at least `wanted` bytes. It does not end in a
/// comma that the numbers behind it would continue.
fn without_words(text: &[u8], wanted: usize) -> &[u8] {
    if wanted == 0 {
        return text;
    }
    let mut kept = text;
    while !kept.is_empty() && (kept.len() > text.len().saturating_sub(wanted) || ends_list(kept)) {
        kept = without_last_word(kept);
    }
    kept
}

fn without_last_word(text: &[u8]) -> &[u8] {
    let spaces = text.iter().rev().take_while(|b| **b == b' ').count();
    let words = text.get(..text.len().saturating_sub(spaces));
    let words = words.unwrap_or_default();
    let word = words.iter().rev().take_while(|b| **b != b' ').count();
    words
        .get(..words.len().saturating_sub(word))
        .unwrap_or_default()
}

fn difference(new: usize, old: usize) -> isize {
    signed(new).saturating_sub(signed(old))
}

fn signed(length: usize) -> isize {
    isize::try_from(length).unwrap_or(isize::MAX)
}

fn saturate(delta: isize) -> i32 {
    i32::try_from(delta).unwrap_or(if delta < 0 { i32::MIN } else { i32::MAX })
}
