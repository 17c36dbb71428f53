//! Recognises lines with a password.

use super::telnet::skip_sequences;

/// The verbs whose arguments nobody else may read (RFC 959 §4.1.1).
const VERBS: [&[u8]; 2] = [b"PASS", b"ACCT"];

/// Whether a line of a client, whole or begun, holds something of a password.
#[must_use]
pub fn holds_password(line: &[u8]) -> bool {
    let text = skip_sequences(line).trim_ascii_start();
    VERBS.iter().any(|verb| {
        let found = text.split_at_checked(verb.len());
        found.is_some_and(|(word, rest)| {
            // A server may end the verb at any control character.
            word.eq_ignore_ascii_case(verb) && rest.first().is_some_and(|byte| *byte <= b' ')
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_behind_a_whole_verb_in_any_case() {
        for (line, is_found) in [
            (&b"PASS x"[..], true),
            (b"pass ", true),
            (b"Acct\tx", true),
            (b" PASS x", true),
            (b"\xff\xf4\xff\xf2PASS x", true),
            (b"PASS", false),
            (b"PASSX x", false),
            (b"USER PASS x", false),
            (b"", false),
        ] {
            assert_eq!(holds_password(line), is_found, "{}", line.escape_ascii());
        }
    }
}
