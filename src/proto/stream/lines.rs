//! Cuts a stream's bytes into lines.
//!
//! A line ends with LF, and a CR before it belongs to the end. RFC 959 §5.3.1 asks for CRLF, but
//! some clients send LF alone. A CR elsewhere is part of the line. Of a line longer than
//! [`LINE_MAX`] the beginning is reported once, and the rest is skipped.

use crate::proto::net::SeqNumber;

/// The longest line that is read as a whole, in bytes without its end. An announcement is far
/// shorter: a 227 has 23 characters of host-port within a sentence.
pub const LINE_MAX: usize = 512;

/// One line of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line {
    /// The position of its first byte, in input space.
    pub start: SeqNumber,
    /// Its length in bytes, without CRLF or LF.
    pub len: u32,
    /// False where the line has only its first [`LINE_MAX`] bytes, and the rest is skipped.
    pub is_complete: bool,
}

/// A line as a range of the kept bytes.
pub(super) struct Found {
    start: usize,
    len: usize,
    is_complete: bool,
}

impl Found {
    pub(super) fn at(self, buf_start: SeqNumber) -> Line {
        Line {
            start: buf_start.plus(self.start as u32),
            len: self.len as u32,
            is_complete: self.is_complete,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// `start` is the first byte of a line.
    InLine,
    /// The start of the line is unknown or too far back. All is skipped up to the next LF.
    Skipping,
    /// The bytes are not text.
    Stopped,
}

/// The position of the scanner. Offsets count from the first kept byte.
#[derive(Clone, Debug)]
pub(super) struct LineScanner {
    state: State,
    start: usize,
    searched: usize,
}

impl LineScanner {
    /// A scanner at the start of a line, `offset` bytes behind the first kept byte.
    pub(super) const fn at(offset: usize) -> Self {
        Self {
            state: State::InLine,
            start: offset,
            searched: offset,
        }
    }

    /// A scanner behind `bytes`, which are not to be read, in the middle of a line.
    pub(super) const fn behind(bytes: &[u8]) -> Self {
        Self {
            state: State::Skipping,
            start: bytes.len(),
            searched: bytes.len(),
        }
    }

    /// The start of the partial line, where it is known.
    pub(super) fn line_start(&self) -> Option<usize> {
        (self.state == State::InLine).then_some(self.start)
    }

    pub(super) fn poll(&mut self, bytes: &[u8]) -> Option<Found> {
        loop {
            let unseen = bytes.get(self.searched..).unwrap_or_default();
            if self.state == State::Stopped {
                self.move_to(bytes.len());
                return None;
            }
            let Some(at) = unseen.iter().position(|&byte| byte == b'\n') else {
                return self.poll_unfinished(bytes);
            };
            let (start, end) = (self.start, self.searched.saturating_add(at));
            let was = self.state;
            self.move_to(end.saturating_add(1));
            // Behind an LF a line begins, also where the one before was skipped.
            self.state = State::InLine;
            if was == State::InLine {
                return Some(found(bytes, start, end));
            }
        }
    }

    /// Gives the lines from `start` on again.
    pub(super) fn return_to(&mut self, start: usize) {
        self.state = State::InLine;
        self.move_to(start);
    }

    pub(super) fn partial<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        match self.state {
            State::InLine => bytes.get(self.start..).unwrap_or_default(),
            State::Skipping | State::Stopped => &[],
        }
    }

    pub(super) fn skip_line(&mut self, bytes: &[u8]) {
        if self.state == State::InLine {
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
        match self.state {
            State::InLine => self.start,
            State::Skipping | State::Stopped => bytes.len(),
        }
    }

    pub(super) fn handle_pruned(&mut self, count: usize) {
        self.start = self.start.saturating_sub(count);
        self.searched = self.searched.saturating_sub(count);
    }

    fn poll_unfinished(&mut self, bytes: &[u8]) -> Option<Found> {
        self.searched = bytes.len();
        let start = self.start;
        match self.state {
            // Reported before it ends: a line without an end would take ever more memory.
            State::InLine if bytes.len().saturating_sub(start) > LINE_MAX => {
                self.state = State::Skipping;
                self.start = bytes.len();
                Some(Found {
                    start,
                    len: LINE_MAX,
                    is_complete: false,
                })
            }
            State::InLine => None,
            State::Skipping | State::Stopped => {
                self.start = bytes.len();
                None
            }
        }
    }

    fn move_to(&mut self, at: usize) {
        self.start = at;
        self.searched = at;
    }
}

/// The line in `bytes[start..end]`, where `end` is its LF.
fn found(bytes: &[u8], start: usize, end: usize) -> Found {
    let text = bytes.get(start..end).unwrap_or_default();
    let len = text.strip_suffix(b"\r").unwrap_or(text).len();
    Found {
        start,
        len: len.min(LINE_MAX),
        is_complete: len <= LINE_MAX,
    }
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
    fn a_line_ends_with_crlf_or_lf_alone_and_a_lone_cr_is_part_of_it() {
        let mut scanner = LineScanner::at(0);
        let found = lines(&mut scanner, b"NOOP\r\nPASV\na\rb\r\nQU");
        assert_eq!(
            found,
            [
                ("NOOP".into(), true),
                ("PASV".into(), true),
                ("a\rb".into(), true)
            ]
        );
        assert_eq!(scanner.partial(b"NOOP\r\nPASV\na\rb\r\nQU"), b"QU");
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
    fn a_stopped_scanner_gives_no_line_and_keeps_nothing() {
        let mut scanner = LineScanner::at(0);
        scanner.stop();
        assert_eq!(lines(&mut scanner, b"NOOP\r\nPA"), []);
        assert_eq!(scanner.kept_from(b"NOOP\r\nPA"), 8);
        assert!(scanner.is_stopped());
    }
}
