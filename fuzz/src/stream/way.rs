//! One direction: the text of its sender, how far it has come, and the bytes of its receiver.

use std::ops::Range;

use super::rewriting::Rewriting;

/// One direction of the connection. Positions count from its first byte.
pub(super) struct Way {
    first: u32,
    text: Vec<u8>,
    /// The end of the bytes that the sender has sent.
    offered: usize,
    /// The end of the bytes that the gateway has taken.
    taken: usize,
    /// The position at which the sender has closed.
    closed_at: Option<usize>,
    rewriting: Rewriting,
    output: Vec<u8>,
    /// Which bytes have arrived, as they came out of the gateway, and how many without a gap.
    arrived: Vec<bool>,
    heard: usize,
    /// The position of the end of the stream, once it has arrived.
    fin_at: Option<usize>,
}

impl Way {
    pub(super) fn new(first: u32, text: Vec<u8>) -> Self {
        Self {
            first,
            offered: 0,
            taken: 0,
            closed_at: None,
            rewriting: Rewriting::default(),
            output: text.clone(),
            arrived: Vec::new(),
            heard: 0,
            fin_at: None,
            text,
        }
    }

    pub(super) fn text(&self) -> &[u8] {
        &self.text
    }

    pub(super) fn offered(&self) -> usize {
        self.offered
    }

    pub(super) fn taken(&self) -> usize {
        self.taken
    }

    pub(super) fn closed_at(&self) -> Option<usize> {
        self.closed_at
    }

    pub(super) fn rewriting(&self) -> &Rewriting {
        &self.rewriting
    }

    /// The bytes that the receiver has to get.
    pub(super) fn output(&self) -> &[u8] {
        &self.output
    }

    /// The sequence number of a position.
    pub(super) fn number(&self, at: i64) -> u32 {
        self.first.wrapping_add(at as u32)
    }

    /// The position of a sequence number: the nearest one, so that it may be negative.
    pub(super) fn position(&self, number: u32) -> i64 {
        i64::from(number.wrapping_sub(self.first).cast_signed())
    }

    pub(super) fn line_length_at(&self, at: usize) -> usize {
        let rest = self.text.get(at..).unwrap_or_default();
        let end = rest.iter().position(|&byte| byte == b'\n');
        end.map_or(rest.len(), |end| end + 1)
    }

    /// The bytes to send, their position, and whether the sender's side ends with them. Behind its
    /// end a sender sends nothing more.
    pub(super) fn take_out(
        &mut self,
        at: usize,
        length: usize,
        closes: bool,
    ) -> (usize, Vec<u8>, bool) {
        let limit = self.closed_at.unwrap_or(self.text.len());
        let at = at.min(limit);
        let end = (at + length).min(limit);
        self.offered = self.offered.max(end);
        if closes && self.closed_at.is_none() {
            self.closed_at = Some(self.offered);
        }
        let is_last = self.closed_at == Some(end);
        (at, self.text[at..end].to_vec(), is_last)
    }

    /// Records a segment that the gateway has taken. At a pick-up it may lie anywhere.
    pub(super) fn record_taken(&mut self, at: i64, length: usize) {
        let end = (at + length as i64).max(0) as usize;
        if length > 0 {
            self.taken = self.taken.max(end);
        }
    }

    pub(super) fn record_edit(&mut self, span: Range<usize>, new: Vec<u8>) {
        self.rewriting.record(span, new);
        self.output = self.rewriting.output(&self.text);
    }

    pub(super) fn forget_edits(&mut self) {
        self.rewriting.forget();
        self.output.clone_from(&self.text);
    }

    /// Records bytes that arrive at the receiver.
    pub(super) fn record_arrived(&mut self, at: i64, length: usize, is_last: bool) {
        for position in at.max(0)..at + length as i64 {
            let position = position as usize;
            if self.arrived.len() <= position {
                self.arrived.resize(position + 1, false);
            }
            self.arrived[position] = true;
        }
        while self.arrived.get(self.heard) == Some(&true) {
            self.heard += 1;
        }
        if is_last {
            self.fin_at = usize::try_from(at + length as i64).ok();
        }
    }

    /// The position that the receiver acknowledges.
    pub(super) fn heard(&self) -> i64 {
        self.heard as i64 + i64::from(self.fin_at == Some(self.heard))
    }

    /// The bytes that it has behind a gap, in at most three blocks.
    pub(super) fn sack(&self) -> Vec<(u32, u32)> {
        let mut blocks = Vec::new();
        let mut at = self.heard;
        while blocks.len() < 3 {
            let rest = self.arrived.get(at..).unwrap_or_default();
            let Some(start) = rest.iter().position(|&has| has) else {
                break;
            };
            let length = rest[start..].iter().take_while(|&&has| has).count();
            let (left, right) = (at + start, at + start + length);
            blocks.push((self.number(left as i64), self.number(right as i64)));
            at = right;
        }
        blocks
    }
}
