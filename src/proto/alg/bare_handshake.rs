//! Segments of a handshake pass without bytes.

use crate::proto::{
    egress::Verdict,
    packet::{Change, Flags, Segment, rebuild},
};

/// The verdict on a segment of a handshake: what it holds beside its SYN does not pass with it,
/// because it would pass unread. Its sender repeats that (RFC 7413 §4.2.2).
pub(super) fn bare_handshake(segment: &Segment<'_>, verdict: Verdict) -> Verdict {
    let beside = Flags::FIN | Flags::URG;
    let is_bare = segment.payload.is_empty() && !segment.flags.intersects(beside);
    if !segment.flags.is_syn() || is_bare || verdict == Verdict::Drop {
        return verdict;
    }
    let change = Change {
        payload: &[],
        flags: segment.flags.difference(beside | Flags::PSH),
        urgent_pointer: 0,
        ..Change::none(segment)
    };
    rebuild(segment, &change).map_or(Verdict::Drop, Verdict::Replace)
}
