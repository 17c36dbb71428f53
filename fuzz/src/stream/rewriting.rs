//! A naive model of a rewritten stream, with all of its bytes.

use std::ops::Range;

/// The rewritten announcements of one direction, in order.
#[derive(Debug, Default)]
pub(super) struct Rewriting {
    edits: Vec<Edit>,
}

#[derive(Debug)]
struct Edit {
    start: usize,
    end: usize,
    new: Vec<u8>,
}

impl Edit {
    fn is_shifting(&self) -> bool {
        self.new.len() != self.end - self.start
    }
}

impl Rewriting {
    /// Replaces a span, which is behind all others.
    pub(super) fn record(&mut self, Range { start, end }: Range<usize>, new: Vec<u8>) {
        let last = self.edits.last().map_or(0, |edit| edit.end);
        assert!(last <= start, "{start} was written anew before");
        self.edits.push(Edit { start, end, new });
    }

    /// Forgets the edits, all of which have kept the length.
    pub(super) fn forget(&mut self) {
        assert!(!self.edits.iter().any(Edit::is_shifting));
        self.edits.clear();
    }

    /// The output of `text`.
    pub(super) fn output(&self, text: &[u8]) -> Vec<u8> {
        let mut output = Vec::new();
        let mut at = 0;
        for edit in &self.edits {
            output.extend_from_slice(&text[at..edit.start]);
            output.extend_from_slice(&edit.new);
            at = edit.end;
        }
        output.extend_from_slice(&text[at..]);
        output
    }

    /// The position in the output; inside a span of another length it is the span's start.
    pub(super) fn to_output(&self, at: i64) -> i64 {
        let mut output = at;
        for edit in self.edits.iter().filter(|edit| edit.is_shifting()) {
            if at < edit.end as i64 {
                return output.min(output - at + edit.start as i64);
            }
            output += edit.new.len() as i64 - (edit.end - edit.start) as i64;
        }
        output
    }

    /// The number of input bytes that have wholly arrived with this output.
    pub(super) fn to_input(&self, output: i64) -> i64 {
        let mut growth = 0;
        for edit in self.edits.iter().filter(|edit| edit.is_shifting()) {
            let start = edit.start as i64 + growth;
            if output <= start {
                break;
            }
            if output < start + edit.new.len() as i64 {
                return edit.start as i64;
            }
            growth += edit.new.len() as i64 - (edit.end - edit.start) as i64;
        }
        output - growth
    }
}
