//! What a stream becomes, worked out with the whole of it in hand: bytes one after the other.

/// The announcements of one direction that are written anew, in order.
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
    /// Replaces a span. Each lies behind all that were replaced before.
    pub(super) fn record(&mut self, (start, end): (usize, usize), new: Vec<u8>) {
        let last = self.edits.last().map_or(0, |edit| edit.end);
        assert!(last <= start, "{start} was written anew before");
        self.edits.push(Edit { start, end, new });
    }

    /// Forgets what kept its length.
    pub(super) fn forget(&mut self) {
        assert!(!self.edits.iter().any(Edit::is_shifting));
        self.edits.clear();
    }

    /// All that the receiver gets of `said`.
    pub(super) fn output(&self, said: &[u8]) -> Vec<u8> {
        let mut output = Vec::new();
        let mut at = 0;
        for edit in &self.edits {
            output.extend_from_slice(&said[at..edit.start]);
            output.extend_from_slice(&edit.new);
            at = edit.end;
        }
        output.extend_from_slice(&said[at..]);
        output
    }

    /// Where a position stands for the receiver; inside a span of another length, its start.
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

    /// How much of what was said the receiver has wholly got, where it has `output`.
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
