//! Cutting lines again behind bytes that were not text.

use super::{LineScanner, Stream};

impl Stream {
    /// Cuts lines again in the bytes that come from now on. `begins_line` where they begin a line.
    pub fn resume(&mut self, begins_line: bool) {
        self.scanner = if begins_line {
            LineScanner::at(self.bytes.len())
        } else {
            LineScanner::behind(&self.bytes)
        };
    }

    /// Loses sync, and cuts lines again once the next segment has come.
    pub fn begin_anew(&mut self) {
        self.scanner = LineScanner::behind(&[]);
        self.lose_sync();
    }
}
