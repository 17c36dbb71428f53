//! The mapping between the bytes that a sender sent and those that its receiver gets.

use std::ops::Range;

use crate::proto::net::SeqNumber;

/// The most edits of one direction that wait for their acknowledgement: one for each reply that a
/// session tracks (`session::OUTSTANDING_MAX`). A client has one announcement under way at a time,
/// or a few if it pipelines.
pub const EDITS_MAX: usize = 32;

/// One replaced span.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edit {
    start: SeqNumber,
    old_len: u32,
    new: Box<[u8]>,
}

impl Edit {
    /// Replaces `old_len` bytes of input from `start` on by `new`.
    #[must_use]
    pub fn new(start: SeqNumber, old_len: u32, new: Vec<u8>) -> Self {
        Self {
            start,
            old_len,
            new: new.into_boxed_slice(),
        }
    }

    /// The first replaced byte, in input space.
    #[must_use]
    pub fn start(&self) -> SeqNumber {
        self.start
    }

    /// The byte after the last replaced one, in input space.
    #[must_use]
    pub fn end(&self) -> SeqNumber {
        self.start.plus(self.old_len)
    }

    /// The bytes that the receiver gets instead.
    #[must_use]
    pub fn new_bytes(&self) -> &[u8] {
        &self.new
    }

    /// Whether it changes the length. Then no part of the new bytes stands for a part of the
    /// replaced ones. With the same length each byte stands for one.
    #[must_use]
    pub fn is_shifting(&self) -> bool {
        self.new.len() as u64 != u64::from(self.old_len)
    }

    /// The new bytes for the part of the edit that lies in a span; all of them where the edit is
    /// [shifting](Self::is_shifting).
    #[must_use]
    pub fn new_bytes_between(&self, from: SeqNumber, to: SeqNumber) -> &[u8] {
        if self.is_shifting() {
            return &self.new;
        }
        let index = |at: SeqNumber| at.offset_from(self.start).max(0).unsigned_abs() as usize;
        let range = index(from)..index(to).min(self.new.len());
        self.new.get(range).unwrap_or_default()
    }

    /// How many bytes longer the stream becomes.
    #[must_use]
    pub fn delta(&self) -> i32 {
        (self.new.len() as u32)
            .wrapping_sub(self.old_len)
            .cast_signed()
    }
}

/// The edits of one direction, oldest first, and the offset that forgotten edits have left.
///
/// Positions before the end of the last forgotten edit are acknowledged. Only a stale
/// retransmission has them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SequenceMap {
    edits: Vec<Edit>,
    base_offset: i32,
    /// The end of the last forgotten edit.
    folded_to: Option<SeqNumber>,
}

impl SequenceMap {
    /// A map from a saved flow.
    #[must_use]
    pub fn restored(base_offset: i32, folded_to: Option<SeqNumber>, edits: Vec<Edit>) -> Self {
        Self {
            edits,
            base_offset,
            folded_to,
        }
    }

    /// Adds an edit behind all others. An edit beyond [`EDITS_MAX`] is ignored.
    pub fn record(&mut self, edit: Edit) {
        if !self.is_full() {
            self.edits.push(edit);
        }
    }

    /// Whether no further edit can be recorded before one is acknowledged.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.edits.len() >= EDITS_MAX
    }

    /// The output position of an input position. Inside a shifting edit it is the edit's start.
    #[must_use]
    pub fn to_output(&self, seq: SeqNumber) -> SeqNumber {
        // Edits of the same length move no position.
        let mut offset = self.base_offset;
        for edit in self.shifting() {
            if seq.is_before(edit.end()) {
                return seq.earlier(edit.start).shifted(offset);
            }
            offset = offset.wrapping_add(edit.delta());
        }
        seq.shifted(offset)
    }

    /// The input position of an acknowledgement (output space). Inside a shifting edit it is the
    /// edit's start, because a part of the new bytes acknowledges no part of the replaced ones.
    #[must_use]
    pub fn to_input(&self, output: SeqNumber) -> SeqNumber {
        self.locate(output, |edit| edit.start)
    }

    /// A SACK block (output space) in input space; `None` where nothing of it is left.
    ///
    /// A block may only acknowledge whole edits. So inside an edit the left edge moves right, and
    /// the right edge moves left.
    #[must_use]
    pub fn sack_to_input(
        &self,
        left: SeqNumber,
        right: SeqNumber,
    ) -> Option<(SeqNumber, SeqNumber)> {
        let (left, right) = (self.locate(left, Edit::end), self.to_input(right));
        left.is_before(right).then_some((left, right))
    }

    /// Forgets edits that end at or before `acked` (input space).
    pub fn forget_before(&mut self, acked: SeqNumber) {
        let done = self
            .edits
            .iter()
            .take_while(|edit| !acked.is_before(edit.end()))
            .count();
        self.fold(done);
    }

    /// Forgets all edits, and keeps the offset that they leave.
    pub fn fold_all(&mut self) {
        self.fold(self.edits.len());
        // The next segment may lie before the last edit: nothing says that it was acknowledged.
        self.folded_to = None;
    }

    /// The edits that touch a span, oldest first.
    pub fn edits_between(&self, from: SeqNumber, to: SeqNumber) -> impl Iterator<Item = &Edit> {
        self.edits
            .iter()
            .filter(move |edit| edit.start.is_before(to) && from.is_before(edit.end()))
    }

    /// The span, enlarged so that it cuts no shifting edit.
    #[must_use]
    pub fn widen(&self, from: SeqNumber, to: SeqNumber) -> Range<SeqNumber> {
        self.edits_between(from, to)
            .filter(|edit| edit.is_shifting())
            .fold(from..to, |span, edit| {
                span.start.earlier(edit.start)..span.end.later(edit.end())
            })
    }

    /// The end of the longest first part of a [widened](Self::widen) span with at most `room` bytes
    /// in output space. It cuts no shifting edit, and has at least one edit or byte.
    #[must_use]
    pub fn cut(&self, from: SeqNumber, to: SeqNumber, room: usize) -> SeqNumber {
        let limit = self
            .to_output(from)
            .plus(u32::try_from(room).unwrap_or(u32::MAX >> 1));
        if !limit.is_before(self.to_output(to)) {
            return to;
        }
        let end = self.to_input(limit);
        if from.is_before(end) {
            return end;
        }
        // The edit at the start is longer than the room. It leaves as a whole all the same, because
        // no part of it could be acknowledged.
        self.edits_between(from, to)
            .find(|edit| edit.is_shifting())
            .map_or(to, Edit::end)
    }

    /// `seq`, or the end of the last forgotten edit where `seq` lies before it.
    #[must_use]
    pub fn clip_forgotten(&self, seq: SeqNumber) -> SeqNumber {
        self.folded_to.map_or(seq, |folded_to| seq.later(folded_to))
    }

    /// Whether a span has the same bytes at the same numbers in both spaces.
    #[must_use]
    pub fn is_identity(&self, from: SeqNumber, to: SeqNumber) -> bool {
        self.edits_between(from, to).next().is_none() && self.to_output(from) == from
    }

    /// Whether any position is shifted.
    #[must_use]
    pub fn has_offset(&self) -> bool {
        self.base_offset != 0 || self.shifting().next().is_some()
    }

    /// Whether no edit was ever recorded or left an offset behind.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.edits.is_empty() && self.base_offset == 0
    }

    /// The edits, oldest first.
    #[must_use]
    pub fn edits(&self) -> &[Edit] {
        &self.edits
    }

    /// The offset that forgotten edits left.
    #[must_use]
    pub fn base_offset(&self) -> i32 {
        self.base_offset
    }

    /// The end of the last forgotten edit.
    #[must_use]
    pub fn folded_to(&self) -> Option<SeqNumber> {
        self.folded_to
    }

    /// Bytes of memory behind this value.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        let replaced: usize = self.edits.iter().map(|edit| edit.new.len()).sum();
        replaced.saturating_add(self.edits.capacity().saturating_mul(size_of::<Edit>()))
    }

    fn shifting(&self) -> impl Iterator<Item = &Edit> {
        self.edits.iter().filter(|edit| edit.is_shifting())
    }

    fn locate(&self, output: SeqNumber, inside: impl Fn(&Edit) -> SeqNumber) -> SeqNumber {
        let mut offset = self.base_offset;
        for edit in self.shifting() {
            let start = edit.start.shifted(offset);
            if !start.is_before(output) {
                return output.shifted(offset.wrapping_neg());
            }
            if output.is_before(start.plus(edit.new.len() as u32)) {
                return inside(edit);
            }
            offset = offset.wrapping_add(edit.delta());
        }
        output.shifted(offset.wrapping_neg())
    }

    fn fold(&mut self, count: usize) {
        for edit in self.edits.drain(..count.min(self.edits.len())) {
            self.base_offset = self.base_offset.wrapping_add(edit.delta());
            self.folded_to = Some(edit.end());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// "PORT a" (6 bytes) at 100 became "PORT bcd" (8); "PORT e" at 200 became "PORT" (4).
    fn two_edits() -> SequenceMap {
        let mut map = SequenceMap::default();
        map.record(Edit::new(SeqNumber(100), 6, b"PORT bcd".to_vec()));
        map.record(Edit::new(SeqNumber(200), 6, b"PORT".to_vec()));
        map
    }

    #[test]
    fn positions_are_shifted_by_the_edits_before_them() {
        let map = two_edits();
        for (input, output) in [
            (99, 99),
            (100, 100),
            (103, 100),
            (106, 108),
            (200, 202),
            (203, 202),
            (206, 206),
            (300, 300),
        ] {
            assert_eq!(
                map.to_output(SeqNumber(input)),
                SeqNumber(output),
                "{input}"
            );
        }
    }

    #[test]
    fn an_acknowledgement_inside_an_edit_promises_nothing_of_it() {
        let map = two_edits();
        for (output, input) in [
            (100, 100),
            (101, 100),
            (107, 100),
            (108, 106),
            (202, 200),
            (205, 200),
            (206, 206),
            (300, 300),
        ] {
            assert_eq!(
                map.to_input(SeqNumber(output)),
                SeqNumber(input),
                "{output}"
            );
        }
    }

    #[test]
    fn a_sack_block_promises_whole_edits_only() {
        let map = two_edits();
        let block = |left, right| map.sack_to_input(SeqNumber(left), SeqNumber(right));
        assert_eq!(block(102, 150), Some((SeqNumber(106), SeqNumber(148))));
        assert_eq!(block(102, 107), None);
        assert_eq!(block(108, 204), Some((SeqNumber(106), SeqNumber(200))));
    }

    #[test]
    fn forgetting_an_acknowledged_edit_keeps_its_offset() {
        let mut map = two_edits();
        map.forget_before(SeqNumber(106));
        assert_eq!(map.edits().len(), 1);
        assert_eq!(map.to_output(SeqNumber(150)), SeqNumber(152));
        assert_eq!(map.clip_forgotten(SeqNumber(50)), SeqNumber(106));
        map.forget_before(SeqNumber(205));
        assert_eq!(map.edits().len(), 1, "not wholly acknowledged yet");
    }

    #[test]
    fn the_map_survives_the_wrap_of_the_ring() {
        let mut map = SequenceMap::default();
        map.record(Edit::new(SeqNumber(u32::MAX - 2), 6, b"PORT bcd".to_vec()));
        assert_eq!(map.to_output(SeqNumber(3)), SeqNumber(5));
        assert_eq!(map.to_input(SeqNumber(5)), SeqNumber(3));
        assert_eq!(map.to_input(SeqNumber(4)), SeqNumber(u32::MAX - 2));
    }

    #[test]
    fn one_edit_too_many_is_refused_and_changes_nothing() {
        let mut map = SequenceMap::default();
        for at in 0..EDITS_MAX as u32 {
            map.record(Edit::new(SeqNumber(at * 10), 5, b"x".to_vec()));
        }
        let before = map.clone();
        assert!(map.is_full());
        map.record(Edit::new(SeqNumber(999), 1, Vec::new()));
        assert_eq!(map, before);
    }

    #[test]
    fn a_cut_leaves_edits_whole() {
        let map = two_edits();
        let cut = |from, to, room| map.cut(SeqNumber(from), SeqNumber(to), room);
        assert_eq!(cut(90, 150, 1000), SeqNumber(150));
        assert_eq!(cut(90, 150, 10), SeqNumber(100));
        assert_eq!(cut(90, 150, 12), SeqNumber(100), "not within the edit");
        assert_eq!(cut(90, 150, 20), SeqNumber(108));
        assert_eq!(cut(100, 150, 3), SeqNumber(106), "a whole edit at least");
    }
}
