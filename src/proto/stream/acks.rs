//! Acknowledgements: those of the receiver, translated for the sender, and local ones.

use super::{Fin, LineScanner, SequenceMap, Stream, bytes_between};
use crate::proto::net::SeqNumber;

/// Bytes that were acknowledged locally and that the receiver may lack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocallyAcked {
    /// The first byte, in input space.
    pub start: SeqNumber,
    /// All bytes that have come in from there on.
    pub bytes: Vec<u8>,
    /// The start of the partial line among them, where it is known.
    pub line_start: Option<SeqNumber>,
}

impl Stream {
    /// A stream as a process before this one knew it. Up to `left`, bytes may have left.
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
            // The receiver has acknowledged all bytes before, rewritten lines too.
            stream.snd_una = locally_acked.start;
            stream.snd_una_output = stream.map.to_output(locally_acked.start);
            stream.bytes = locally_acked.bytes;
            stream.locally_acked = Some(stream.rcv_nxt());
            // A line whose start has arrived cannot be rewritten any more, so its rest may leave.
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

    /// The bytes that were acknowledged locally and that the receiver may lack.
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

    /// Acknowledges all bytes locally, and gives the acknowledgement number (input space).
    ///
    /// `None` where bytes that the receiver may lack are not kept any more. Only the sender can
    /// repeat those.
    pub fn ack_locally(&mut self) -> Option<SeqNumber> {
        if self.snd_una.is_before(self.buf_start) {
            return None;
        }
        let next = self.rcv_nxt();
        self.locally_acked = Some(next);
        Some(next)
    }

    /// Takes an acknowledgement number of the receiver (output space).
    pub fn handle_ack(&mut self, ack: SeqNumber) {
        let input = self.map.to_input(ack);
        if !self.synchronised {
            return;
        }
        // A FIN takes one sequence number too (RFC 9293 §3.4).
        let end = self.rcv_nxt().plus(u32::from(self.fin != Fin::NotSeen));
        if end.is_before(input) {
            // Bytes have passed unseen, or the receiver lies. The sender's next bytes tell.
            self.acked_unseen = Some(input);
            return;
        }
        self.snd_una = self.snd_una.later(input);
        self.snd_una_output = self.snd_una_output.later(ack);
        self.locally_acked = self
            .locally_acked
            .filter(|locally_acked| input.is_before(*locally_acked));
    }

    /// The acknowledgement number that the sender gets for one of the receiver (output space).
    #[must_use]
    pub fn translate_ack(&self, ack: SeqNumber) -> SeqNumber {
        let input = self.map.to_input(ack);
        self.locally_acked
            .map_or(input, |locally_acked| input.later(locally_acked))
    }

    /// Translates a SACK block of the receiver (output space) for the sender. `None` where the
    /// sender gets no block.
    #[must_use]
    pub fn translate_sack(
        &self,
        left: SeqNumber,
        right: SeqNumber,
        ack: Option<SeqNumber>,
    ) -> Option<(SeqNumber, SeqNumber)> {
        // A block before the receiver's own acknowledgement reports a duplicate (RFC 2883 §4).
        let is_duplicate = ack.is_some_and(|ack| !ack.is_before(right));
        let (left, right) = self.map.sack_to_input(left, right)?;
        // Any other block must not lie before the acknowledgement that the sender gets. Otherwise
        // it would look like the report of a duplicate.
        let locally_acked = self.locally_acked.filter(|_| !is_duplicate);
        let left = locally_acked.map_or(left, |locally_acked| left.later(locally_acked));
        left.is_before(right).then_some((left, right))
    }

    /// Whether the retransmit queue holds bytes.
    #[must_use]
    pub fn needs_retransmit(&self) -> bool {
        self.retransmit_from().is_some()
    }

    /// Whether packets need other numbers: there is an offset, or bytes were acknowledged locally.
    #[must_use]
    pub fn needs_every_packet(&self) -> bool {
        self.map.has_offset() || self.locally_acked.is_some()
    }

    /// The start of the retransmit queue: of the bytes that were acknowledged locally and not by
    /// the receiver.
    #[must_use]
    pub fn retransmit_from(&self) -> Option<SeqNumber> {
        self.locally_acked
            .filter(|&locally_acked| self.snd_una.is_before(locally_acked))
            .map(|_| self.snd_una)
    }
}
