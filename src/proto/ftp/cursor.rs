//! A reader of a line, from left to right. It checks the bound of a number at each digit.

use super::malformed::Malformed;

/// A position in a line.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cursor<'a> {
    line: &'a [u8],
    position: usize,
}

impl<'a> Cursor<'a> {
    /// A cursor before the byte at `position`.
    pub(super) const fn at(line: &'a [u8], position: usize) -> Self {
        Self { line, position }
    }

    /// The number of bytes that were read.
    pub(super) const fn position(&self) -> usize {
        self.position
    }

    /// The next byte, without reading it.
    pub(super) fn peek(&self) -> Option<u8> {
        self.line.get(self.position).copied()
    }

    /// Reads the next byte.
    pub(super) fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.position = self.position.saturating_add(1);
        Some(byte)
    }

    /// Reads `byte`. Any other byte is an error with this reason.
    pub(super) fn expect(&mut self, byte: u8, reason: Malformed) -> Result<(), Malformed> {
        if self.peek() != Some(byte) {
            return Err(reason);
        }
        self.next();
        Ok(())
    }

    /// Reads `word` in any case.
    pub(super) fn expect_word(&mut self, word: &str) -> Result<(), Malformed> {
        for letter in word.bytes() {
            let next = self.next();
            if !next.is_some_and(|next| next.eq_ignore_ascii_case(&letter)) {
                return Err(Malformed::NotAnnouncing);
            }
        }
        Ok(())
    }

    /// Checks that the whole line was read.
    pub(super) fn expect_end(&self, reason: Malformed) -> Result<(), Malformed> {
        match self.peek() {
            None => Ok(()),
            Some(_) => Err(reason),
        }
    }

    /// Reads any number of blanks: spaces and tabs.
    pub(super) fn skip_blanks(&mut self) {
        while self.peek().is_some_and(is_blank) {
            self.next();
        }
    }

    /// Reads a decimal number up to 255, with or without leading zeros.
    pub(super) fn octet(&mut self) -> Result<u8, Malformed> {
        let number = self.number(u16::from(u8::MAX), Malformed::OctetOutOfRange)?;
        u8::try_from(number).map_err(|_| Malformed::OctetOutOfRange)
    }

    /// Reads a [`number`](Self::number) without leading zeros.
    pub(super) fn canonical_number(
        &mut self,
        limit: u16,
        above: Malformed,
    ) -> Result<u16, Malformed> {
        let mut ahead = *self;
        let starts_with_zero = ahead.next() == Some(b'0');
        if starts_with_zero && ahead.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            return Err(Malformed::NonCanonicalNumber);
        }
        self.number(limit, above)
    }

    /// Reads a decimal number up to `limit`, with or without leading zeros. It cannot wrap, because
    /// no value above the limit is kept.
    pub(super) fn number(&mut self, limit: u16, above: Malformed) -> Result<u16, Malformed> {
        let mut number = None;
        while let Some(digit) = self.peek().filter(u8::is_ascii_digit) {
            let value = number
                .unwrap_or(0_u16)
                .checked_mul(10)
                .and_then(|tens| tens.checked_add(u16::from(digit.wrapping_sub(b'0'))))
                .filter(|&value| value <= limit)
                .ok_or(above)?;
            number = Some(value);
            self.next();
        }
        number.ok_or(Malformed::EmptyNumber)
    }

    /// Reads allowed bytes up to `delimiter`, and the delimiter.
    pub(super) fn field(
        &mut self,
        delimiter: u8,
        is_allowed: impl Fn(u8) -> bool,
        reason: Malformed,
    ) -> Result<&'a [u8], Malformed> {
        let start = self.position;
        while let Some(byte) = self.peek().filter(|&byte| byte != delimiter) {
            if !is_allowed(byte) {
                return Err(reason);
            }
            self.next();
        }
        let field = self.line.get(start..self.position).unwrap_or_default();
        self.expect(delimiter, Malformed::MissingDelimiter)?;
        Ok(field)
    }
}

/// Whether a byte is a space or a tab.
pub(super) const fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn octet(text: &str) -> Result<u8, Malformed> {
        Cursor::at(text.as_bytes(), 0).octet()
    }

    #[test]
    fn a_number_is_bounded_while_it_is_read() {
        assert_eq!(octet("0"), Ok(0));
        assert_eq!(octet("255"), Ok(255));
        for above in [
            "256",
            "999",
            "65536",
            "4294967296",
            "99999999999999999999999",
        ] {
            assert_eq!(octet(above), Err(Malformed::OctetOutOfRange));
        }
        let mut cursor = Cursor::at(b"65536", 0);
        assert_eq!(
            cursor.number(u16::MAX, Malformed::PortOutOfRange),
            Err(Malformed::PortOutOfRange)
        );
    }

    #[test]
    fn a_leading_zero_is_decimal_where_it_is_accepted_at_all() {
        for (text, value) in [("00", 0), ("01", 1), ("010", 10), ("0000255", 255)] {
            assert_eq!(octet(text), Ok(value));
            let canonical = Cursor::at(text.as_bytes(), 0)
                .canonical_number(u16::MAX, Malformed::PortOutOfRange);
            assert_eq!(canonical, Err(Malformed::NonCanonicalNumber));
        }
        assert_eq!(octet("0256"), Err(Malformed::OctetOutOfRange));
        for (text, value) in [("0", 0), ("10", 10), ("65535", 65_535)] {
            let canonical = Cursor::at(text.as_bytes(), 0)
                .canonical_number(u16::MAX, Malformed::PortOutOfRange);
            assert_eq!(canonical, Ok(value));
        }
    }

    #[test]
    fn a_missing_number_is_none() {
        assert_eq!(octet(""), Err(Malformed::EmptyNumber));
        assert_eq!(octet(","), Err(Malformed::EmptyNumber));
        assert_eq!(octet("-1"), Err(Malformed::EmptyNumber));
    }
}
