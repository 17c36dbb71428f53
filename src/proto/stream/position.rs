//! The position of a stream: where it starts, how it is lost, and where it goes on.

use super::{Fin, Line, LineScanner, SequenceMap, Stream};
use crate::proto::net::SeqNumber;

impl Stream {
    /// Starts at the first byte of the stream, where a line starts too.
    pub fn start_at(&mut self, first: SeqNumber) {
        *self = Self::with_map(SequenceMap::default());
        self.sync_at(first);
        self.first = Some(first);
        self.scanner = LineScanner::at(0);
    }

    /// Starts in the middle of a connection, at a segment. `begins_line` where it seems to begin a
    /// line.
    pub fn pick_up(&mut self, seq: SeqNumber, begins_line: bool) {
        self.sync_at(seq);
        // A FIN does not say whether bytes are missing before it. These are, or they were never
        // followed by that FIN.
        if self.fin == Fin::Behind {
            self.fin = Fin::Ahead;
        }
        // A stopped scanner stays stopped: only `resume` says that the bytes are text again.
        if begins_line && !self.scanner.is_stopped() {
            self.scanner = LineScanner::at(0);
        }
    }

    /// Forgets the position of the stream, because segments passed unseen. The next segment starts
    /// it anew, perhaps in the middle of a line. The offset stays.
    pub fn lose_sync(&mut self) {
        let mut map = std::mem::take(&mut self.map);
        map.fold_all();
        // A stream that is not text stays so: ciphertext must never be read as lines.
        let was_stopped = self.scanner.is_stopped();
        // A process before this one has sent up to there, whatever passed unseen since.
        let left_by_predecessor = self.left_by_predecessor;
        *self = Self::with_map(map);
        self.left_by_predecessor = left_by_predecessor;
        if was_stopped {
            self.scanner.stop();
        }
    }

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

    /// The bytes that no line was given of, where they stand at the start of the stream.
    #[must_use]
    pub fn unread_start(&self) -> Option<&[u8]> {
        let is_at_start = self.first == Some(self.partial_line_start());
        is_at_start.then(|| self.partial_line())
    }

    /// Passes `count` bytes of the partial line as no text. A line begins behind them.
    pub fn skip(&mut self, count: usize) {
        let start = self.index_of(self.partial_line_start());
        self.scanner.return_to(start.saturating_add(count));
    }

    /// Takes back the last line that [`poll_line`](Self::poll_line) gave. It is given again.
    pub fn return_line(&mut self, line: &Line) {
        self.scanner.return_to(self.index_of(line.start));
    }

    /// Whether a line that was [returned](Self::return_line) waits.
    #[must_use]
    pub fn has_returned_line(&self) -> bool {
        self.partial_line().contains(&b'\n')
    }

    /// Begins at a position, with nothing kept.
    pub(super) fn sync_at(&mut self, at: SeqNumber) {
        self.bytes.clear();
        self.buf_start = at;
        self.snd_nxt = at;
        self.snd_limit = at;
        // An edit that is still in the map has not been acknowledged. The receiver may lack it,
        // although the stream starts behind it.
        let edit = self.map.edits().first();
        self.snd_una = edit.map_or(at, |edit| at.earlier(edit.start()));
        self.snd_una_output = self.map.to_output(self.snd_una);
        self.locally_acked = None;
        self.synchronised = true;
    }
}
