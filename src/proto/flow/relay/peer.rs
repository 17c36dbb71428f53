//! One end of a connection as its TCP shows it, as far as packets of our own must agree with it.

use crate::proto::{
    net::SeqNumber,
    packet::{Segment, Timestamps},
};

/// The window that is announced for an end whose own is not known, or was closed when it was last
/// heard of: packets that only announce a window are not queued, and none at all would stop its
/// peer. What comes and does not fit is repeated by its sender. Enough for a line. Any other window
/// is announced as it was: two ends that both send beyond the other's window do not believe each
/// other's acknowledgements any more, and answer them for ever.
const WINDOW_ASSUMED: u16 = 512;

/// One end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Peer {
    /// The window it announced last, as its packets have it.
    pub(super) window: u16,
    /// The latest value of its timestamp clock (TSval, RFC 7323 §3.2). A packet of ours with an
    /// earlier one would be taken for a stray.
    pub(super) tsval: Option<u32>,
    /// The number that it expects next of its peer (RCV.NXT), in its own view.
    pub(super) rcv_nxt: Option<SeqNumber>,
    /// The length of its largest packet, in bytes.
    pub(super) max_packet_len: u16,
}

impl Default for Peer {
    fn default() -> Self {
        Self {
            window: WINDOW_ASSUMED,
            tsval: None,
            rcv_nxt: None,
            max_packet_len: 0,
        }
    }
}

impl Peer {
    /// Takes note of what a segment of this end says of it.
    pub(super) fn handle_segment(&mut self, segment: &Segment<'_>) {
        // The window of a SYN is not scaled, those after it are.
        let scale = segment.flags.is_syn().then(|| segment.window_scale());
        self.window = segment.window >> scale.flatten().unwrap_or(0).min(14);
        self.rcv_nxt = segment
            .ack
            .map(|ack| self.rcv_nxt.map_or(ack, |known| known.later(ack)))
            .or(self.rcv_nxt);
        let length = u16::try_from(segment.packet().len()).unwrap_or(u16::MAX);
        self.max_packet_len = self.max_packet_len.max(length);
    }

    /// Takes a value of this end's timestamp clock.
    pub(super) fn handle_tsval(&mut self, value: u32) {
        let latest = self
            .tsval
            .map_or(value, |known| SeqNumber(known).later(SeqNumber(value)).0);
        self.tsval = Some(latest);
    }

    /// The window of a packet of ours in this end's name.
    pub(super) const fn announced_window(&self) -> u16 {
        match self.window {
            0 => WINDOW_ASSUMED,
            window => window,
        }
    }

    /// The timestamps of a packet of ours from this end to `other`, on a connection that has them.
    pub(super) fn timestamps_to(&self, other: &Self) -> Option<Timestamps> {
        let (value, echo) = self.tsval.zip(other.tsval)?;
        Some(Timestamps { value, echo })
    }
}
