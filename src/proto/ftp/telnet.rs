//! What Telnet leaves in a control connection (RFC 854; RFC 959 §5.3 for ABOR).

use super::malformed::Malformed;

/// Interpret As Command: the byte that begins every Telnet sequence.
const IAC: u8 = 255;
/// Begins a subnegotiation, whose end is not looked for: nothing in FTP uses one.
const SB: u8 = 250;
/// WILL, WONT, DO and DONT, each followed by an option.
const NEGOTIATIONS: std::ops::RangeInclusive<u8> = 251..=254;

/// `line` without the Telnet sequences it begins with, as a server sees `IAC IP IAC DM ABOR`.
#[must_use]
pub fn skip_sequences(mut line: &[u8]) -> &[u8] {
    loop {
        line = match line {
            [IAC, negotiation, _, rest @ ..] if NEGOTIATIONS.contains(negotiation) => rest,
            [IAC, command, rest @ ..] if *command != SB && !NEGOTIATIONS.contains(command) => rest,
            _ => return line,
        };
    }
}

/// Whether a sequence has begun here and not ended, of those that [`skip_sequences`] skips.
pub(super) fn is_begun_sequence(text: &[u8]) -> bool {
    match text {
        [IAC] => true,
        [IAC, negotiation] => NEGOTIATIONS.contains(negotiation),
        _ => false,
    }
}

/// Stops at any byte that a Telnet reader could take out of the line or end it at.
pub(super) fn refuse_controls(line: &[u8]) -> Result<(), Malformed> {
    match line
        .iter()
        .find(|&&byte| byte == IAC || byte.is_ascii_control())
    {
        None => Ok(()),
        Some(&IAC) => Err(Malformed::TelnetSequence),
        Some(_) => Err(Malformed::ControlByte),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_before_a_verb_are_skipped_and_nothing_else() {
        for (line, rest) in [
            (&b"\xff\xf4\xff\xf2ABOR"[..], &b"ABOR"[..]),
            (b"\xff\xfd\x06\xff\xfe\x01NOOP", b"NOOP"),
            (b"\xff\xff\xff\xf1QUIT", b"QUIT"),
            (b"QUIT\xff\xf4", b"QUIT\xff\xf4"),
            (b"\xff\xfa\x01x\xff\xf0QUIT", b"\xff\xfa\x01x\xff\xf0QUIT"),
            (b"\xff", b"\xff"),
            (b"\xff\xfd", b"\xff\xfd"),
            (b"", b""),
        ] {
            assert_eq!(skip_sequences(line), rest);
        }
    }
}
