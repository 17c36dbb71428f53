//! What is known of each end by its packets, as far as packets of our own must agree with it.

use super::{Context, Flow, role_of};
use crate::proto::{
    action::{Action, EventKind},
    net::{Direction, IfIndex, SeqNumber},
    packet::{Flags, Injected, Segment, Timestamps},
    stream::Piece,
};

/// The window that is announced for an end whose own is not known, or was closed when it was last
/// heard of: packets that only announce a window are not queued, and none at all would stop its
/// peer, which is waited for. What comes and does not fit is repeated by its sender. Enough for a
/// line. Any other window is told as it was: two ends that both send beyond the other's window
/// do not believe each other's acknowledgements any more, and answer them for ever.
const WINDOW_ASSUMED: u16 = 512;

/// Packets up to this size pass everywhere: the least MTU of IPv6 (RFC 8200 §5) and the least
/// reassembly buffer of IPv4 (RFC 791 §3.1). A rewritten packet grows no further than this, or
/// than the largest packet that its sender has sent, whichever is more.
const PACKET_MAX_V4: u16 = 576;
const PACKET_MAX_V6: u16 = 1280;

/// The headers of a packet of ours: the longer IP header, TCP's, and the timestamps.
const HEADERS_MAX: u16 = 40 + 20 + 12;

/// One end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Side {
    /// The window it announced last, as its packets have it.
    pub(super) window: u16,
    /// Its clock of timestamps, as late as is known (RFC 7323); a packet of ours with an earlier
    /// one would be taken for a stray.
    pub(super) clock: Option<u32>,
    /// What it expects next of its peer, in its own view.
    pub(super) ack: Option<SeqNumber>,
    /// The size of its largest packet.
    pub(super) largest: u16,
    /// By which link its first packet came.
    pub(super) link: Option<IfIndex>,
}

impl Default for Side {
    fn default() -> Self {
        Self {
            window: WINDOW_ASSUMED,
            clock: None,
            ack: None,
            largest: 0,
            link: None,
        }
    }
}

impl Side {
    fn handle_segment(&mut self, segment: &Segment<'_>) {
        // The window of a SYN is not scaled, those after it are.
        let scale = segment.flags.is_syn().then(|| segment.window_scale());
        self.window = segment.window >> scale.flatten().unwrap_or(0).min(14);
        self.ack = segment
            .ack
            .map(|ack| self.ack.map_or(ack, |known| known.later(ack)))
            .or(self.ack);
        let size = u16::try_from(segment.packet().len()).unwrap_or(u16::MAX);
        self.largest = self.largest.max(size);
    }

    fn handle_clock(&mut self, value: u32) {
        let clock = self
            .clock
            .map_or(value, |known| SeqNumber(known).later(SeqNumber(value)).0);
        self.clock = Some(clock);
    }
}

impl Flow {
    /// Whether a packet may be of the end whose name it bears. One that comes by its peer's link was
    /// forged by somebody there, the peer perhaps, unless its own came that way from the beginning (a
    /// hairpin, a router with one link). Any third link is as good as the first: routes change.
    pub fn admit_link(
        &mut self,
        direction: Direction,
        link: IfIndex,
        context: &mut Context<'_>,
    ) -> bool {
        let own = *self.sides[direction].link.get_or_insert(link);
        let is_forged = own != link && self.sides[!direction].link == Some(link);
        if is_forged && !self.has_forged {
            self.has_forged = true;
            let name = role_of(direction);
            self.report(EventKind::Forged { name }, context);
        }
        !is_forged
    }

    /// By which link no data connection comes that this end has announced: its own, unless its peer is
    /// there as well, or it is this machine.
    pub(super) fn denied_iif(&self, announcer: Direction) -> Option<IfIndex> {
        let own = self.sides[announcer].link.filter(|link| link.0 != 0)?;
        let peer = self.sides[!announcer].link?;
        (own != peer).then_some(own)
    }

    /// Takes note of what a segment says of its sender.
    pub(super) fn handle_side(&mut self, direction: Direction, segment: &Segment<'_>) {
        if segment.flags.is_rst() {
            return;
        }
        self.sides[direction].handle_segment(segment);
        let Some(timestamps) = segment.timestamps() else {
            return;
        };
        self.sides[direction].handle_clock(timestamps.value);
        if timestamps.echo != 0 {
            self.sides[!direction].handle_clock(timestamps.echo);
        }
    }

    /// Bytes for the receiver of a direction, in packets of our own.
    pub(super) fn inject_pieces(
        &self,
        direction: Direction,
        pieces: Vec<Piece>,
        context: &mut Context<'_>,
    ) {
        for piece in pieces {
            if let Some(packet) = self.encode_piece(direction, &piece, Flags::PSH) {
                context.actions.push_back(Action::Inject { packet });
            }
        }
    }

    /// A packet that seems to come from the sender of a direction. Conntrack and NAT do not see
    /// it: it is addressed as the receiver knows its peer.
    pub(super) fn encode_piece(
        &self,
        direction: Direction,
        piece: &Piece,
        flags: Flags,
    ) -> Option<Vec<u8>> {
        let ack = self.sides[direction].ack?;
        let ack = self.streams[!direction].translate_ack(ack);
        self.encode_own(direction, (piece.seq, ack), (&piece.payload, flags))
    }

    /// An acknowledgement of `ack` (as the sender of `direction` counts) on its receiver's behalf.
    pub(super) fn encode_vouching(&self, direction: Direction, ack: SeqNumber) -> Option<Vec<u8>> {
        let peer = &self.streams[!direction];
        let seq = if peer.is_synchronised() {
            peer.snd_nxt_output()
        } else {
            self.sides[direction].ack?
        };
        self.encode_own(!direction, (seq, ack), (&[], Flags::default()))
    }

    /// How many bytes of payload a packet may have that goes in `direction`, `headers` long.
    pub(super) fn room(&self, direction: Direction, headers: Option<usize>) -> usize {
        let least = if self.tuples.sender(direction).is_ipv4() {
            PACKET_MAX_V4
        } else {
            PACKET_MAX_V6
        };
        let size = self.sides[direction].largest.max(least);
        let own = usize::from(HEADERS_MAX);
        let headers = headers.map_or(own, |headers| headers.max(own));
        usize::from(size).saturating_sub(headers)
    }

    pub(super) fn encode_own(
        &self,
        travel: Direction,
        (seq, ack): (SeqNumber, SeqNumber),
        (payload, flags): (&[u8], Flags),
    ) -> Option<Vec<u8>> {
        let (own, peer) = (&self.sides[travel], &self.sides[!travel]);
        let timestamps = own.clock.zip(peer.clock);
        let injected = Injected {
            tuple: self.tuples.of(!travel).inverted(),
            seq,
            ack: Some(ack),
            flags,
            window: match own.window {
                0 => WINDOW_ASSUMED,
                window => window,
            },
            timestamps: timestamps.map(|(value, echo)| Timestamps { value, echo }),
            payload,
        };
        injected.encode().ok()
    }
}
