//! Acknowledgements: the receiver's in the sender's numbers, and those on the receiver's behalf.

use super::{LineScanner, SequenceMap, Stream, bytes_between};
use crate::proto::net::SeqNumber;

/// Bytes that the sender believes acknowledged and the receiver may lack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vouched {
    /// The first of them, in input space.
    pub start: SeqNumber,
    /// All that came in from there on.
    pub bytes: Vec<u8>,
    /// Where among them the line starts that has begun and not ended, if that is known.
    pub line_start: Option<SeqNumber>,
}

/// The receiver acknowledged bytes that never came through here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unseen;

impl Stream {
    /// A stream as another process knew it, which had let bytes leave up to `left`.
    #[must_use]
    pub fn restored(map: SequenceMap, left: Option<SeqNumber>, vouched: Option<Vouched>) -> Self {
        let mut stream = Self::with_map(map);
        stream.left_before = left;
        if let Some(vouched) = vouched {
            stream.place(vouched.start);
            // The receiver has all that lies before, rewritten lines too.
            stream.acked = vouched.start;
            stream.acked_output = stream.map.to_output(vouched.start);
            stream.bytes = vouched.bytes;
            stream.vouched = Some(stream.next());
            // Of a line whose start has arrived the rest may leave.
            let line = vouched
                .line_start
                .filter(|line| !line.is_before(stream.base));
            stream.released = line.unwrap_or_else(|| stream.next());
            stream.sent = stream.released;
            stream.scanner = line.map_or_else(
                || LineScanner::behind(&stream.bytes),
                |line| LineScanner::at(stream.index_of(line)),
            );
        }
        stream
    }

    /// The bytes that the sender believes acknowledged and the receiver may lack.
    #[must_use]
    pub fn vouched(&self) -> Option<Vouched> {
        let start = self.orphans()?;
        let bytes = bytes_between(&self.bytes, self.base, start, self.next()).to_vec();
        let line_start = self
            .scanner
            .line_start()
            .map(|offset| self.base.plus(offset as u32));
        (!bytes.is_empty()).then_some(Vouched {
            start,
            bytes,
            line_start,
        })
    }

    /// Records that everything that came in is now acknowledged to the sender on the receiver's
    /// behalf, and gives the acknowledgement number to use. `None` where bytes that the receiver
    /// may lack are not kept any more: then only the sender can repeat them.
    pub fn vouch(&mut self) -> Option<SeqNumber> {
        if self.acked.is_before(self.base) {
            return None;
        }
        let next = self.next();
        self.vouched = Some(next);
        Some(next)
    }

    /// Takes the receiver's acknowledgement number (output space).
    ///
    /// # Errors
    /// [`Unseen`] where the receiver has bytes that never came through here: the stream has lost
    /// its place; see [`lose_place`](Self::lose_place).
    pub fn handle_ack(&mut self, ack: SeqNumber) -> Result<(), Unseen> {
        let input = self.map.to_input(ack);
        if !self.synchronised {
            return Ok(());
        }
        let end = self.next().plus(u32::from(self.finished));
        if end.is_before(input) {
            return Err(Unseen);
        }
        self.acked = self.acked.later(input);
        self.acked_output = self.acked_output.later(ack);
        self.vouched = self.vouched.filter(|vouched| input.is_before(*vouched));
        Ok(())
    }

    /// The receiver's acknowledgement number (output space) as the sender is to see it.
    #[must_use]
    pub fn translate_ack(&self, ack: SeqNumber) -> SeqNumber {
        let input = self.map.to_input(ack);
        self.vouched.map_or(input, |vouched| input.later(vouched))
    }

    /// Translates a SACK block of the receiver (output space) for the sender. What was
    /// acknowledged on the receiver's behalf is not told of again, or it would seem a duplicate;
    /// a real duplicate lies before the receiver's own acknowledgement (RFC 2883 §4).
    #[must_use]
    pub fn translate_sack(
        &self,
        left: SeqNumber,
        right: SeqNumber,
        ack: Option<SeqNumber>,
    ) -> Option<(SeqNumber, SeqNumber)> {
        let is_duplicate = ack.is_some_and(|ack| !ack.is_before(right));
        let (left, right) = self.map.sack_to_input(left, right)?;
        let vouched = self.vouched.filter(|_| !is_duplicate);
        let left = vouched.map_or(left, |vouched| left.later(vouched));
        left.is_before(right).then_some((left, right))
    }

    /// Whether the receiver may lack bytes that the sender believes acknowledged.
    #[must_use]
    pub fn has_orphans(&self) -> bool {
        self.orphans().is_some()
    }

    /// Whether sequence numbers differ between the two spaces anywhere, or the sender was told of
    /// acknowledgements that the receiver did not send.
    #[must_use]
    pub fn needs_every_packet(&self) -> bool {
        self.map.has_offset() || self.vouched.is_some()
    }

    /// Where the receiver's view of vouched bytes still lags: the first such byte.
    #[must_use]
    pub fn orphans(&self) -> Option<SeqNumber> {
        self.vouched
            .filter(|&vouched| self.acked.is_before(vouched))
            .map(|_| self.acked)
    }
}
