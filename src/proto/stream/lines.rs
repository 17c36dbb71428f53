//! Cuts a stream's bytes into lines.
//!
//! A line ends with LF, and all CRs right before it belong to the end. RFC 959 §5.3.1 asks for
//! CRLF, but some clients send LF alone, and some CR CR LF. A CR elsewhere is part of the line. Of
//! a line longer than [`LINE_MAX`] the beginning is reported once, and the rest is skipped. But to
//! some servers a CR ends a command, and to some perhaps a NUL. So what stands behind one in the
//! rest is reported as a line, too.

use crate::proto::net::SeqNumber;

/// The longest line that is read as a whole, in bytes without its end. An announcement is far
/// shorter: a 227 has 23 characters of host-port within a sentence.
pub const LINE_MAX: usize = 512;

/// One line of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line {
    /// The position of its first byte, in input space.
    pub start: SeqNumber,
    /// Its length in bytes, without its end.
    pub len: u32,
    /// Whether its end has a CR. ProFTPD takes an LF alone for a part of the line, and the next
    /// line for its rest.
    pub ends_with_cr: bool,
    /// False where the line has only its beginning, at most [`LINE_MAX`] bytes of it. The rest is
    /// skipped.
    pub is_complete: bool,
    /// Whether it is a part of the rest of such a line, behind a CR or a NUL.
    pub is_of_rest: bool,
    /// Whether the line before it ended with an LF alone.
    pub follows_lf_alone: bool,
}

/// A line as a range of the kept bytes.
pub(super) struct Found {
    start: usize,
    len: usize,
    ends_with_cr: bool,
    is_complete: bool,
    is_of_rest: bool,
    follows_lf_alone: bool,
}

impl Found {
    pub(super) fn at(self, buf_start: SeqNumber) -> Line {
        Line {
            start: buf_start.plus(self.start as u32),
            len: self.len as u32,
            ends_with_cr: self.ends_with_cr,
            is_complete: self.is_complete,
            is_of_rest: self.is_of_rest,
            follows_lf_alone: self.follows_lf_alone,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// `start` is the first byte of a line.
    InLine,
    /// `start` is the first byte behind a CR or a NUL in the rest of a line that was too long.
    InRest,
    /// The start of the line is unknown. All is skipped up to the next LF.
    Skipping,
    /// The line was too long. All is skipped up to the next CR, NUL or LF.
    SkippingRest,
    /// The bytes are not text.
    Stopped,
}

/// The position of the scanner. Offsets count from the first kept byte.
#[derive(Clone, Debug)]
pub(super) struct LineScanner {
    state: State,
    start: usize,
    searched: usize,
    follows_lf_alone: bool,
}

impl LineScanner {
    /// A scanner at the start of a line, `offset` bytes behind the first kept byte.
    pub(super) const fn at(offset: usize) -> Self {
        Self {
            state: State::InLine,
            start: offset,
            searched: offset,
            follows_lf_alone: false,
        }
    }

    /// A scanner behind `bytes`, which are not to be read, in the middle of a line.
    pub(super) const fn behind(bytes: &[u8]) -> Self {
        Self {
            state: State::Skipping,
            start: bytes.len(),
            searched: bytes.len(),
            follows_lf_alone: false,
        }
    }

    /// The start of the partial line, where it is known.
    pub(super) fn line_start(&self) -> Option<usize> {
        self.is_in_line().then_some(self.start)
    }

    pub(super) fn poll(&mut self, bytes: &[u8]) -> Option<Found> {
        loop {
            let unseen = bytes.get(self.searched..).unwrap_or_default();
            if self.state == State::Stopped {
                self.move_to(bytes.len());
                return None;
            }
            let was = self.state;
            let ends = |byte: u8| byte == b'\n' || (was == State::SkippingRest && is_end(byte));
            let Some(at) = unseen.iter().position(|&byte| ends(byte)) else {
                return self.poll_unfinished(bytes);
            };
            let (start, end) = (self.start, self.searched.saturating_add(at));
            let crs = count_crs(bytes.get(start..end).unwrap_or_default());
            let len = end.saturating_sub(start).saturating_sub(crs);
            if self.is_in_line() && len > LINE_MAX {
                return Some(self.cut(bytes));
            }
            let follows_lf_alone = self.follows_lf_alone;
            self.move_to(end.saturating_add(1));
            // Behind an LF a line begins, also where the one before was skipped.
            self.state = if bytes.get(end) == Some(&b'\n') {
                // The rest of a line begins behind a CR.
                let has_cr = crs > 0 || (was == State::InRest && len == 0);
                self.follows_lf_alone = !has_cr;
                State::InLine
            } else {
                State::InRest
            };
            // Behind the CR of the line's end there is nothing.
            if was == State::InLine || (was == State::InRest && len > 0) {
                return Some(Found {
                    start,
                    len,
                    ends_with_cr: crs > 0,
                    is_complete: true,
                    is_of_rest: was == State::InRest,
                    follows_lf_alone,
                });
            }
        }
    }

    /// Gives the lines from `start` on again.
    pub(super) fn return_to(&mut self, start: usize) {
        self.state = State::InLine;
        self.follows_lf_alone = false;
        self.move_to(start);
    }

    pub(super) fn partial<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        if self.is_in_line() {
            bytes.get(self.start..).unwrap_or_default()
        } else {
            &[]
        }
    }

    pub(super) fn skip_line(&mut self, bytes: &[u8]) {
        if self.is_in_line() {
            self.state = State::Skipping;
            self.move_to(bytes.len());
        }
    }

    pub(super) fn stop(&mut self) {
        self.state = State::Stopped;
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.state == State::Stopped
    }

    /// The first byte that is still needed to read the partial line.
    pub(super) fn kept_from(&self, bytes: &[u8]) -> usize {
        self.line_start().unwrap_or(bytes.len())
    }

    pub(super) fn handle_pruned(&mut self, count: usize) {
        self.start = self.start.saturating_sub(count);
        self.searched = self.searched.saturating_sub(count);
    }

    fn poll_unfinished(&mut self, bytes: &[u8]) -> Option<Found> {
        self.searched = bytes.len();
        if !self.is_in_line() {
            self.start = bytes.len();
            return None;
        }
        // Reported before it ends: a line without an end would take ever more memory.
        let is_too_long = bytes.len().saturating_sub(self.start) > LINE_MAX;
        is_too_long.then(|| self.cut(bytes))
    }

    /// The beginning of a line that is too long. Its rest is skipped, but not what stands behind
    /// the last CR or NUL of the beginning: that may be a command of its own.
    fn cut(&mut self, bytes: &[u8]) -> Found {
        let start = self.start;
        let is_of_rest = self.state == State::InRest;
        let end = start.saturating_add(LINE_MAX);
        let beginning = bytes.get(start..end).unwrap_or_default();
        let len = beginning.iter().rposition(|byte| is_end(*byte));
        match len {
            Some(len) => {
                self.state = State::InRest;
                self.move_to(start.saturating_add(len).saturating_add(1));
            }
            None => {
                self.state = State::SkippingRest;
                self.move_to(end);
            }
        }
        Found {
            start,
            len: len.unwrap_or(LINE_MAX),
            ends_with_cr: false,
            is_complete: false,
            is_of_rest,
            follows_lf_alone: self.follows_lf_alone,
        }
    }

    fn is_in_line(&self) -> bool {
        matches!(self.state, State::InLine | State::InRest)
    }

    fn move_to(&mut self, at: usize) {
        self.start = at;
        self.searched = at;
    }
}

/// Whether a byte ends a command to some server.
const fn is_end(byte: u8) -> bool {
    matches!(byte, b'\r' | 0)
}

/// The number of CRs at the end of a text.
fn count_crs(text: &[u8]) -> usize {
    text.iter().rev().take_while(|byte| **byte == b'\r').count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(scanner: &mut LineScanner, bytes: &[u8]) -> Vec<(String, bool)> {
        let mut all = Vec::new();
        while let Some(found) = scanner.poll(bytes) {
            let text = &bytes[found.start..found.start + found.len];
            all.push((
                String::from_utf8_lossy(text).into_owned(),
                found.is_complete,
            ));
        }
        all
    }

    #[test]
    fn a_line_tells_whether_the_one_before_it_ended_with_lf_alone() {
        let mut scanner = LineScanner::at(0);
        let long = "x".repeat(LINE_MAX + 1);
        let bytes = format!("220 a\r\n257 b\n227 c\r\n{long}\r\n200 d\n{long}\n200 e\r\n");
        let follows: Vec<_> = std::iter::from_fn(|| scanner.poll(bytes.as_bytes()))
            .map(|found| found.follows_lf_alone)
            .collect();
        assert_eq!(follows, [false, false, true, false, false, true, true]);
    }

    #[test]
    fn a_line_ends_with_lf_and_any_crs_before_it_and_another_cr_is_part_of_it() {
        let bytes = b"NOOP\r\nPASV\na\rb\r\r\r\n\r\nQU";
        let mut scanner = LineScanner::at(0);
        let found = lines(&mut scanner, bytes);
        assert_eq!(
            found,
            [
                ("NOOP".into(), true),
                ("PASV".into(), true),
                ("a\rb".into(), true),
                (String::new(), true)
            ]
        );
        assert_eq!(scanner.partial(bytes), b"QU");
        let mut scanner = LineScanner::at(0);
        let ends = std::iter::from_fn(|| scanner.poll(bytes)).map(|found| found.ends_with_cr);
        assert!(ends.eq([true, false, true, true]));
    }

    #[test]
    fn an_unknown_start_is_skipped_to_the_next_line() {
        let mut scanner = LineScanner::behind(&[]);
        assert_eq!(lines(&mut scanner, b"PORT 1,2,3"), []);
        assert_eq!(scanner.partial(b"PORT 1,2,3"), b"");
        assert_eq!(
            lines(&mut scanner, b"PORT 1,2,3\r\nNOOP\r\n"),
            [("NOOP".into(), true)]
        );
    }

    #[test]
    fn an_over_long_line_is_reported_once_and_cut() {
        let mut scanner = LineScanner::at(0);
        let mut bytes = vec![b'x'; LINE_MAX + 1];
        let cut = "x".repeat(LINE_MAX);
        assert_eq!(lines(&mut scanner, &bytes), [(cut.clone(), false)]);
        bytes.extend_from_slice(b"xx\r\nNOOP\r\n");
        assert_eq!(lines(&mut scanner, &bytes), [("NOOP".into(), true)]);
        let mut whole = LineScanner::at(0);
        assert_eq!(
            lines(&mut whole, &bytes),
            [(cut, false), ("NOOP".into(), true)]
        );
    }

    #[test]
    fn behind_a_cr_or_a_nul_in_the_rest_of_an_over_long_line_there_is_another_one() {
        let long = vec![b'x'; 2 * LINE_MAX];
        for (end, behind) in [
            (&b"\r\n"[..], &[][..]),
            (b"\r\r\n", &[]),
            (b"\n", &[]),
            (b"\rPORT 1\r\n", &["PORT 1"]),
            (b"\r\0PORT 1\n", &["\0PORT 1"]),
            (b"\0PORT 1\rNOOP\r\n", &["PORT 1\rNOOP"]),
        ] {
            let bytes = [&long[..], end, b"NOOP\r\n"].concat();
            let cut = String::from_utf8(long[..LINE_MAX].to_vec()).unwrap();
            let behind = behind.iter().map(|line| ((*line).to_owned(), true));
            let wanted: Vec<_> = [(cut, false)]
                .into_iter()
                .chain(behind)
                .chain([("NOOP".to_owned(), true)])
                .collect();
            let mut whole = LineScanner::at(0);
            assert_eq!(lines(&mut whole, &bytes), wanted);
            // In any two pieces it is the same.
            for at in 0..bytes.len() {
                let mut scanner = LineScanner::at(0);
                let mut found = lines(&mut scanner, &bytes[..at]);
                found.extend(lines(&mut scanner, &bytes));
                assert_eq!(found, wanted, "{at}");
            }
        }
    }

    #[test]
    fn a_stopped_scanner_gives_no_line_and_keeps_nothing() {
        let mut scanner = LineScanner::at(0);
        scanner.stop();
        assert_eq!(lines(&mut scanner, b"NOOP\r\nPA"), []);
        assert_eq!(scanner.kept_from(b"NOOP\r\nPA"), 8);
        assert!(scanner.is_stopped());
    }
}
