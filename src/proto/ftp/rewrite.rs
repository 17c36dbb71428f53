//! Spells an announcement canonically with an endpoint, in a line of the same length if possible.
//!
//! Each announcement leaves in one spelling. The verb is in capitals, with one space behind it and
//! nothing behind the endpoint. The endpoint of a reply is in parentheses, and fields have `|`
//! between them. Numbers and addresses have their shortest form. Only where a reply keeps its
//! endpoint, and has no room for parentheses, it leaves without them, in its own length.
//!
//! So nothing is left that a server, a client, the next gateway and an intrusion detection system
//! might read differently. It was refused before (`malformed`), or it is gone.

use std::net::SocketAddr;

use super::{
    announcement::Announcement,
    cursor::is_blank,
    kind::Role,
    reply::{CLOSING, CODE_LENGTH, ends_list},
};

/// A line with another endpoint in it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Rewritten {
    /// The line, without its end.
    pub line: Vec<u8>,
    /// How many bytes longer it is than the line that it replaces; negative where it is shorter.
    pub delta: i32,
}

impl Announcement {
    /// Spells `line`, from which the announcement was parsed, canonically and with this endpoint.
    ///
    /// A reply keeps its length: its human text is trimmed or padded. Where the text is too short
    /// for that, or is the server's own, it stays whole, and the line becomes longer. A command has
    /// no text to trim. An announcement without an address (229) stays without one.
    ///
    /// `None` where the form has no such address: PORT and 227 have IPv4 addresses only.
    #[must_use]
    pub fn rewrite(&self, line: &[u8], endpoint: SocketAddr) -> Option<Rewritten> {
        let mut token = String::new();
        self.write_token(&mut token, endpoint)?;
        let token = token.as_bytes();
        let rewritten = match self.text_of(line) {
            None => [self.kind.as_str().as_bytes(), b" ", token].concat(),
            Some(text) => match self.growth_of(&text, token.len()) {
                growth if growth <= signed(text.room()) => text.fitted(token, growth),
                _ if self.keeps(endpoint) => text.unmarked(token, line.get(self.token_range())?),
                _ => text.grown(token),
            },
        };
        Some(Rewritten {
            delta: saturate(difference(rewritten.len(), line.len())),
            line: rewritten,
        })
    }

    /// How many bytes longer the line of [`rewrite`](Self::rewrite) would be.
    #[must_use]
    pub fn delta_for(&self, line: &[u8], endpoint: SocketAddr) -> Option<i32> {
        let length = self.spelled_length(endpoint)?;
        Some(match self.text_of(line) {
            None => {
                let verb = self.kind.as_str().len().saturating_add(1);
                saturate(difference(verb.saturating_add(length), line.len()))
            }
            Some(text) => match self.growth_of(&text, length) {
                growth if growth <= signed(text.room()) || self.keeps(endpoint) => 0,
                growth => saturate(growth),
            },
        })
    }

    /// Whether the line has this very endpoint already, however it is spelled.
    fn keeps(&self, endpoint: SocketAddr) -> bool {
        let address = endpoint.ip().to_canonical();
        self.port.get() == endpoint.port() && self.address.is_none_or(|own| own == address)
    }

    const fn token_length(&self) -> usize {
        self.token.end.saturating_sub(self.token.start)
    }

    /// How many bytes more a token of this length takes, in parentheses, than the old token.
    fn growth_of(&self, text: &Text<'_>, length: usize) -> isize {
        let around = [text.gap, text.opening, text.closing].map(<[u8]>::len);
        let old = around.iter().sum::<usize>();
        difference(
            length.saturating_add(BLANK_AND_PARENTHESES),
            self.token_length().saturating_add(old),
        )
    }

    /// The human text around the endpoint of a reply. A command has none.
    fn text_of<'a>(&self, line: &'a [u8]) -> Option<Text<'a>> {
        if self.kind.announcer() == Role::Client {
            return None;
        }
        let (code, text) = line
            .get(..self.token.start)?
            .split_at_checked(CODE_LENGTH)?;
        let after = line.get(self.token.end..)?;
        let has_gap = text.first().is_some_and(|byte| is_blank(*byte));
        let (gap, before) = text.split_at_checked(usize::from(has_gap))?;
        // A bracket or another mark before the endpoint goes too: the canonical line has
        // parentheses.
        let (head, opening) = match before {
            [head @ .., mark] if mark.is_ascii_punctuation() => (head, before.get(head.len()..)?),
            _ => (before, &[][..]),
        };
        let (closing, tail) = match after {
            [mark, tail @ ..] if CLOSING.contains(mark) && !opening.is_empty() => {
                (after.get(..1)?, tail)
            }
            _ => (&[][..], after),
        };
        Some(Text {
            code,
            gap,
            head,
            opening,
            closing,
            tail,
        })
    }
}

/// The words of RFC 959 §5.4, RFC 2428 §3 and RFC 1639 §4.
const USUAL_WORDS: [&[u8]; 6] = [
    b"Entering",
    b"Passive",
    b"Extended",
    b"Long",
    b"Mode",
    b"ok",
];

/// The number of bytes of the blank behind the code and of the parentheses around an endpoint.
const BLANK_AND_PARENTHESES: usize = 3;

/// A reply in parts: `227` ` ` `Entering Passive Mode ` `(` … `)` `.`
struct Text<'a> {
    code: &'a [u8],
    /// The blank behind the code, which some servers leave out.
    gap: &'a [u8],
    head: &'a [u8],
    opening: &'a [u8],
    closing: &'a [u8],
    tail: &'a [u8],
}

impl Text<'_> {
    /// The line with `token` in the place of the old one, and longer.
    fn grown(&self, token: &[u8]) -> Vec<u8> {
        [self.code, b" ", self.head, b"(", token, b")", self.tail].concat()
    }

    /// The line with `token` in the place of the `old` one, in the old length and with the old
    /// marks around it. A `token` that is longer has no room, and the old one stays.
    fn unmarked(&self, token: &[u8], old: &[u8]) -> Vec<u8> {
        let token = if token.len() > old.len() { old } else { token };
        let padding = vec![b' '; old.len().saturating_sub(token.len())];
        let before = [self.code, self.gap, self.head, &padding, self.opening];
        [&before.concat(), token, self.closing, self.tail].concat()
    }

    /// The number of bytes of text that can be trimmed. The words of RFC 959 tell nobody anything.
    /// A server's own words may, and stay: there are clients that show them, or look for them.
    fn room(&self) -> usize {
        let words = if self.has_usual_words() {
            self.head.len()
        } else {
            let padded = without_padding(self.head, self.head.len());
            self.head.len().saturating_sub(padded.len())
        };
        words.saturating_add(self.tail.len())
    }

    /// Whether the words before the endpoint are some of `Entering Passive Mode` and its like.
    fn has_usual_words(&self) -> bool {
        let mut words = self.head.split(|byte| !byte.is_ascii_alphanumeric());
        words.all(|word| {
            let is_it = |usual: &&[u8]| word.eq_ignore_ascii_case(usual);
            word.is_empty() || USUAL_WORDS.iter().any(is_it)
        })
    }

    /// The line with `token` in the old length. `growth` is how many bytes more than the old one
    /// the token takes, at most [`room`](Self::room).
    fn fitted(&self, token: &[u8], growth: isize) -> Vec<u8> {
        // Padding is trimmed first, then the text behind the endpoint, then the words before it
        // from the right: each whole, and the least useful first.
        let wanted = usize::try_from(growth).unwrap_or(0);
        let head = without_padding(self.head, wanted);
        let given = self.head.len().saturating_sub(head.len());
        let tail = without_words(self.tail, wanted.saturating_sub(given));
        let given = given.saturating_add(self.tail.len().saturating_sub(tail.len()));
        let trimmed = without_words(head, wanted.saturating_sub(given));
        let given = given.saturating_add(head.len().saturating_sub(trimmed.len()));
        let surplus = usize::try_from(signed(given).saturating_sub(growth)).unwrap_or(0);
        // Spaces before the parenthesis disturb no client. curl, lftp and ftplib search for the
        // numbers; wget, tnftp and ncftp skip to the first digit; FileZilla accepts a space or a
        // parenthesis. For a 229 all of them search for the parenthesis. A simple client has the
        // pattern `sscanf("227 Entering Passive Mode (%d,…")`, where a space stands for several.
        //
        // Behind the endpoint spaces would be less safe: Cisco's strict inspection closes a
        // connection with more than eight bytes there.
        let padding = vec![b' '; surplus];
        let before = [self.code, b" ", trimmed, &padding, b"("];
        [&before.concat(), token, b")", tail].concat()
    }
}

/// `text` without up to `wanted` of the spaces at its end. One of them always stays.
fn without_padding(text: &[u8], wanted: usize) -> &[u8] {
    let spaces = text.iter().rev().take_while(|b| **b == b' ').count();
    let cut = spaces.saturating_sub(1).min(wanted);
    text.get(..text.len().saturating_sub(cut)).unwrap_or(text)
}

/// `text` without as many words at its end as have at least `wanted` bytes together. It never ends
/// in a comma, which the numbers behind it would continue.
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
