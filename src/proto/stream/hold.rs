//! Lines that wait for something other than their own end.

use super::{HISTORY_MAX, Stream};

/// How many bytes of a direction are [held back](Stream::hold_back) before further segments are
/// dropped for the sender to repeat.
pub const HELD_BACK_MAX: usize = HISTORY_MAX;

impl Stream {
    /// Holds back what follows the line that was given last, until [`lift`](Self::lift) or
    /// [`release_all`](Self::release_all).
    pub fn hold_back(&mut self) {
        let behind = self.scanner.kept_from(&self.bytes) as u32;
        self.held_from = Some(self.buf_start.plus(behind));
    }

    /// What was held back may be looked at.
    pub fn lift(&mut self) {
        self.held_from = None;
    }

    /// Whether lines are held back, or would be if there were any.
    #[must_use]
    pub fn is_holding_back(&self) -> bool {
        self.held_from.is_some()
    }

    /// How many bytes are held back.
    pub(super) fn held_back(&self) -> usize {
        self.held_from.map_or(0, |from| {
            self.bytes.len().saturating_sub(self.index_of(from))
        })
    }
}
