//! Telnet sequences in a control connection (RFC 854; RFC 959 §5.3 has them before ABOR).

use super::malformed::Malformed;

/// Interpret As Command: the byte that begins each Telnet sequence.
const IAC: u8 = 255;
/// Data Mark. Behind IAC, and urgent, it is Telnet's synch.
const DM: u8 = 242;
/// Telnet's synch, whose bytes may be urgent.
pub const SYNCH: [u8; 2] = [IAC, DM];
/// Begins a subnegotiation. Its end is not searched for, because FTP uses none.
const SB: u8 = 250;
/// WILL, WONT, DO and DONT, each followed by an option.
const NEGOTIATIONS: std::ops::RangeInclusive<u8> = 251..=254;

/// `line` without the Telnet sequences at its start. A server reads `IAC IP IAC DM ABOR` like this.
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

/// Whether a text is the beginning of a sequence that [`skip_sequences`] would skip.
pub(super) fn is_begun_sequence(text: &[u8]) -> bool {
    match text {
        [IAC] => true,
        [IAC, negotiation] => NEGOTIATIONS.contains(negotiation),
        _ => false,
    }
}

/// Whether a text has Telnet sequences only. The last one may not have ended.
#[must_use]
pub fn is_sequences(text: &[u8]) -> bool {
    let rest = skip_sequences(text);
    rest.is_empty() || is_begun_sequence(rest)
}

/// The two other readings of a line's beginning; `None` where it has no IAC and no NUL.
///
/// One is without the Telnet sequences and NULs inside, as a server reads it that removes them. The
/// other is without each IAC alone, as a server reads it whose system removes the urgent byte.
pub(super) fn other_readings(text: &[u8]) -> Option<[Vec<u8>; 2]> {
    if !text.iter().any(|byte| matches!(*byte, IAC | 0)) {
        return None;
    }
    let is_kept = |byte: &u8| !matches!(*byte, IAC | 0);
    let alone = text.iter().copied().filter(|byte| is_kept(byte)).collect();
    let (mut whole, mut rest) = (Vec::with_capacity(text.len()), text);
    while let Some((first, behind)) = rest.split_first() {
        let skipped = skip_sequences(rest);
        rest = match *first {
            // The rest of the sequence may still come. Nothing behind it is known.
            IAC if is_begun_sequence(rest) => &[],
            IAC if skipped.len() < rest.len() => skipped,
            IAC | 0 => behind,
            byte => {
                whole.push(byte);
                behind
            }
        };
    }
    Some([whole, alone])
}

/// Refuses a line with a byte that a Telnet reader could remove, or at which it could end the line.
/// A tab is a blank.
pub(super) fn refuse_controls(line: &[u8]) -> Result<(), Malformed> {
    match line
        .iter()
        .find(|&&byte| byte == IAC || (byte.is_ascii_control() && byte != b'\t'))
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
    fn a_sequence_inside_a_line_is_removed_in_both_ways() {
        let readings = |text: &[u8]| other_readings(text).map(|both| both.to_vec());
        let two = |whole: &[u8], alone: &[u8]| Some(vec![whole.to_vec(), alone.to_vec()]);
        assert_eq!(readings(b"PO\xff\xf1RT 1"), two(b"PORT 1", b"PO\xf1RT 1"));
        assert_eq!(readings(b"PO\xffRT 1"), two(b"POT 1", b"PORT 1"));
        assert_eq!(readings(b"PO\0RT"), two(b"PORT", b"PORT"));
        assert_eq!(readings(b"PO\xff\xfb\x01RT"), two(b"PORT", b"PO\xfb\x01RT"));
        assert_eq!(readings(b"PO\xff"), two(b"PO", b"PO"));
        assert_eq!(readings(b"PORT 1"), None);
    }

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
