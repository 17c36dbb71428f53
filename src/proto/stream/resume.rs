//! Cutting lines again where there were none for a while.

use super::{LineScanner, Stream};

impl Stream {
    /// Cuts lines again in what comes from now on, which begins a line or not. What came before is
    /// no text.
    pub fn resume(&mut self, begins_line: bool) {
        self.scanner = if begins_line {
            LineScanner::at(self.bytes.len())
        } else {
            LineScanner::behind(&self.bytes)
        };
    }

    /// Begins anew at the next segment, with lines: segments passed that were not seen here.
    pub fn begin_anew(&mut self) {
        self.scanner = LineScanner::in_unknown_line();
        self.lose_sync();
    }
}
