//! A refusal in FTP's own words, without a byte more or less in either direction.
//!
//! A command that must not reach its server is replaced by one that does nothing and has one answer;
//! that answer becomes the 550 that the user reads. Both lines keep their length, so that nothing has to
//! be remembered of it: no sequence number moves.

use std::sync::Arc;

/// The code of a refusal: "Requested action not taken" (RFC 959 §4.2.1), which no client takes for a
/// reason to try the same again.
const CODE: &[u8] = b"550";

/// What is said, the longest first; with the name of the reason behind it where that fits.
const WORDS: [&str; 4] = ["Refused by the gateway", "Refused", "Denied", "No"];

/// Why a command is refused, for its user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// What refuses it has this name.
    Named(Arc<str>),
    /// The operator's own words.
    InWords(Arc<str>),
}

impl Reason {
    /// What can be said of it in so many bytes.
    fn within(&self, room: usize) -> String {
        match self {
            Self::InWords(words) => words.chars().take(room).collect(),
            Self::Named(name) => {
                let named = WORDS
                    .iter()
                    .take(2)
                    .map(|words| format!("{words} ({name})"));
                let all = named.chain(WORDS.map(str::to_owned));
                all.into_iter()
                    .find(|text| text.len() <= room)
                    .unwrap_or_default()
            }
        }
    }
}

/// A command of `length` bytes that does nothing: NOOP and spaces. In less than four bytes it is a verb
/// that no server knows, whose answer is as good.
///
/// ```text
/// DELE important.txt
/// NOOP
/// ```
#[must_use]
pub fn substitute_command(length: usize) -> Vec<u8> {
    let mut line = b"NOOP".to_vec();
    line.resize(length, b' ');
    line
}

/// The last line of a refusal, in exactly `length` bytes: as much of the reason as fits.
///
/// ```text
/// 200 NOOP command successful
/// 550 Refused (no-deletes)
/// ```
#[must_use]
pub fn refusal_reply(length: usize, reason: &Reason) -> Vec<u8> {
    let room = length.saturating_sub(CODE.len()).saturating_sub(1);
    let mut line = [CODE, b" ", reason.within(room).as_bytes()].concat();
    // In less than four bytes there is no room for the space either.
    line.resize(length, b' ');
    line
}

/// A line of a reply that goes on, with the code of a refusal in place of its own.
#[must_use]
pub fn with_refusal_code(line: &[u8]) -> Vec<u8> {
    let rest = line.get(CODE.len()..).unwrap_or_default();
    [CODE, rest].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::ftp::{Command, ReplyLine};

    #[test]
    fn a_substitute_does_nothing_and_has_the_length_of_what_it_replaces() {
        for length in 0..100 {
            let line = substitute_command(length);
            assert_eq!(line.len(), length);
            let command = Command::parse(&line);
            let expected = if length < 4 {
                Command::Other
            } else {
                Command::Noop
            };
            assert_eq!(command, expected, "{length}");
        }
    }

    #[test]
    fn a_refusal_says_as_much_of_its_reason_as_there_is_room_for() {
        let named = Reason::Named("no-deletes".into());
        for (answer, refusal) in [
            (
                "200 NOOP command successful, and some more",
                "550 Refused by the gateway (no-deletes)   ",
            ),
            ("200 NOOP command successful", "550 Refused (no-deletes)   "),
            (
                "200 I successfully did nothing'.",
                "550 Refused (no-deletes)        ",
            ),
            ("200 NOOP ok.", "550 Refused "),
            ("200 Zzz...", "550 Denied"),
            ("200 OK", "550 No"),
            ("200 k", "550  "),
            ("200", "550"),
        ] {
            let line = refusal_reply(answer.len(), &named);
            assert_eq!(String::from_utf8(line).unwrap(), refusal);
        }
        let own = Reason::InWords("Ask the helpdesk for a TLS client".into());
        assert_eq!(refusal_reply(12, &own), b"550 Ask the ");
    }

    #[test]
    fn a_refusal_of_any_length_is_the_last_line_of_a_550() {
        for length in 3..300 {
            for reason in [
                Reason::Named("x".repeat(64).into()),
                Reason::InWords("Ask".into()),
            ] {
                let line = refusal_reply(length, &reason);
                assert_eq!(line.len(), length);
                assert_eq!(
                    ReplyLine::parse(&line),
                    Some(ReplyLine {
                        code: 550,
                        last: true
                    })
                );
            }
        }
        let begun = with_refusal_code(b"200-and more");
        assert_eq!(
            ReplyLine::parse(&begun),
            Some(ReplyLine {
                code: 550,
                last: false
            })
        );
    }
}
