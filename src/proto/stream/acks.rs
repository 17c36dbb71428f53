//! Acknowledgements: the receiver's in the sender's numbers, and those on the receiver's behalf.

use super::{LineScanner, SequenceMap, Stream, bytes_between};
use crate::proto::net::SeqNumber;

/// Bytes that the sender believes acknowledged and the receiver may lack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocallyAcked {
    /// The first of them, in input space.
    pub start: SeqNumber,
    /// All that came in from there on.
    pub bytes: Vec<u8>,
    /// Where among them the line starts that has begun and not ended, if that is known.
    pub line_start: Option<SeqNumber>,
}

/// The receiver acknowledged bytes that never came through here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AckedUnseen;

impl Stream {
    /// A stream as another process knew it, which had let bytes leave up to `left`.
    #[must_use]
    pub fn restored(
        map: SequenceMap,
        left: Option<SeqNumber>,
        locally_acked: Option<LocallyAcked>,
    ) -> Self {
        let mut stream = Self::with_map(map);
        stream.left_by_predecessor = left;
        if let Some(locally_acked) = locally_acked {
            stream.sync_at(locally_acked.start);
            // The receiver has all that lies before, rewritten lines too.
            stream.snd_una = locally_acked.start;
            stream.snd_una_output = stream.map.to_output(locally_acked.start);
            stream.bytes = locally_acked.bytes;
            stream.locally_acked = Some(stream.rcv_nxt());
            // Of a line whose start has arrived the rest may leave.
            let line = locally_acked
                .line_start
                .filter(|line| !line.is_before(stream.buf_start));
            stream.snd_limit = line.unwrap_or_else(|| stream.rcv_nxt());
            stream.snd_nxt = stream.snd_limit;
            stream.scanner = line.map_or_else(
                || LineScanner::behind(&stream.bytes),
                |line| LineScanner::at(stream.index_of(line)),
            );
        }
        stream
    }

    /// The bytes that the sender believes acknowledged and the receiver may lack.
    #[must_use]
    pub fn locally_acked(&self) -> Option<LocallyAcked> {
        let start = self.retransmit_from()?;
        let bytes = bytes_between(&self.bytes, self.buf_start, start, self.rcv_nxt()).to_vec();
        let line_start = self
            .scanner
            .line_start()
            .map(|offset| self.buf_start.plus(offset as u32));
        (!bytes.is_empty()).then_some(LocallyAcked {
            start,
            bytes,
            line_start,
        })
    }

    /// Records that everything that came in is now acknowledged to the sender on the receiver's
    /// behalf, and gives the acknowledgement number to use. `None` where bytes that the receiver
    /// may lack are not kept any more: then only the sender can repeat them.
    pub fn ack_locally(&mut self) -> Option<SeqNumber> {
        if self.snd_una.is_before(self.buf_start) {
            return None;
        }
        let next = self.rcv_nxt();
        self.locally_acked = Some(next);
        Some(next)
    }

    /// Takes the receiver's acknowledgement number (output space).
    ///
    /// # Errors
    /// [`AckedUnseen`] where the receiver has bytes that never came through here: the stream has lost
    /// its place; see [`lose_sync`](Self::lose_place).
    pub fn handle_ack(&mut self, ack: SeqNumber) -> Result<(), AckedUnseen> {
        let input = self.map.to_input(ack);
        if !self.synchronised {
            return Ok(());
        }
        let end = self.rcv_nxt().plus(u32::from(self.finished));
        if end.is_before(input) {
            return Err(AckedUnseen);
        }
        self.snd_una = self.snd_una.later(input);
        self.snd_una_output = self.snd_una_output.later(ack);
        self.locally_acked = self
            .locally_acked
            .filter(|locally_acked| input.is_before(*locally_acked));
        Ok(())
    }

    /// The receiver's acknowledgement number (output space) as the sender is to see it.
    #[must_use]
    pub fn translate_ack(&self, ack: SeqNumber) -> SeqNumber {
        let input = self.map.to_input(ack);
        self.locally_acked
            .map_or(input, |locally_acked| input.later(locally_acked))
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
        let locally_acked = self.locally_acked.filter(|_| !is_duplicate);
        let left = locally_acked.map_or(left, |locally_acked| left.later(locally_acked));
        left.is_before(right).then_some((left, right))
    }

    /// Whether the receiver may lack bytes that the sender believes acknowledged.
    #[must_use]
    pub fn needs_retransmit(&self) -> bool {
        self.retransmit_from().is_some()
    }

    /// Whether sequence numbers differ between the two spaces anywhere, or the sender was told of
    /// acknowledgements that the receiver did not send.
    #[must_use]
    pub fn needs_every_packet(&self) -> bool {
        self.map.has_offset() || self.locally_acked.is_some()
    }

    /// Where the receiver's view of vouched bytes still lags: the first such byte.
    #[must_use]
    pub fn retransmit_from(&self) -> Option<SeqNumber> {
        self.locally_acked
            .filter(|&locally_acked| self.snd_una.is_before(locally_acked))
            .map(|_| self.snd_una)
    }
}
