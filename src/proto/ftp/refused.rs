//! Refusals that keep the length of both lines.
//!
//! A substitute that does nothing replaces a command that must not reach its server. The answer to
//! the substitute becomes the 550 that the user reads. No sequence number changes, because both
//! lines keep their length.

use std::sync::Arc;

/// The code of a refusal: "Requested action not taken" (RFC 959 §4.2.1). No client repeats a
/// command because of it.
const CODE: &[u8] = b"550";

/// The words of a refusal, the longest first. The name of the reason follows where it fits.
const WORDS: [&str; 4] = ["Refused by the gateway", "Refused", "Denied", "No"];

/// The reason of a refusal, as the user reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The name of the policy entry or of the check that refuses the command.
    Named(Arc<str>),
    /// The operator's own words.
    InWords(Arc<str>),
}

impl Reason {
    /// The words for it in at most `room` bytes.
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

/// A command of `length` bytes that does nothing: NOOP and spaces.
///
/// In less than four bytes it is an unknown verb. The server answers that with one reply too.
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

/// The last line of a refusal, in exactly `length` bytes, with as much of the reason as fits.
///
/// ```text
/// 200 NOOP command successful
/// 550 Refused (no-deletes)
/// ```
#[must_use]
pub fn refusal_reply(length: usize, reason: &Reason) -> Vec<u8> {
    let room = length.saturating_sub(CODE.len()).saturating_sub(1);
    let mut line = [CODE, b" ", reason.within(room).as_bytes()].concat();
    // It cuts as well: less than four bytes have no room for the space.
    line.resize(length, b' ');
    line
}

/// A line of a reply, but not the last, with the code of a refusal in the place of its own.
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
