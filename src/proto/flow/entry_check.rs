//! Whether a segment, and the entry that conntrack has for it, are this connection's or those of a
//! later one with the same tuples.

use super::Flow;
use crate::proto::{kernel::TrackedConnection, net::Direction, packet::Segment};

impl Flow {
    /// Remembers the id of the connection's entry; 0 where it is not known.
    #[must_use]
    pub fn with_entry(self, conntrack_id: u32) -> Self {
        Self {
            conntrack_id,
            ..self
        }
    }

    /// The connection begins anew under an entry that has the label of one with an offset.
    #[must_use]
    pub fn assumed_adjusted(mut self) -> Self {
        self.relay.assume_adjusted();
        self
    }

    /// Whether only conntrack can say if a segment is of this connection: it begins one, or stands
    /// where none of this one is expected.
    ///
    /// A client could choose its first number so that the lines of its next connection look like
    /// those of this one, repeated. So bytes before the kept ones are not believed, either.
    #[must_use]
    pub fn is_doubtful(&self, direction: Direction, segment: &Segment<'_>) -> bool {
        if !segment.flags.is_syn() {
            // Of a connection that closed before its numbers were seen none is out of place.
            let says_more = self.life.is_closing() && !segment.payload.is_empty();
            let is_unknown = says_more && !self.relay.is_synchronised(direction);
            return is_unknown || self.relay.is_out_of_place(direction, segment);
        }
        let repeats = self.relay.has_started_with(direction, segment) && !self.life.has_spoken();
        !repeats && !self.completes_handshake(direction, segment)
    }

    /// Whether a SYN/ACK is the one with which this connection began, come once more. After a
    /// repeated SYN as well, conntrack believes that both ends begin anew.
    #[must_use]
    pub fn repeats_handshake(&self, direction: Direction, segment: &Segment<'_>) -> bool {
        self.relay.has_started_with(direction, segment)
            && self.relay.completes_handshake(direction, segment)
            && !self.life.is_closing()
    }

    /// Whether a doubtful segment that conntrack could not be asked about may pass all the same.
    /// Most bytes of an encrypted connection pass unseen, so that no place in it is known.
    #[must_use]
    pub fn may_be_anywhere(&self) -> bool {
        self.tls.is_opaque() && !self.relay.is_adjusted() && !self.life.is_closing()
    }

    /// Whether a segment stands where this connection never was. It would look like bytes that are
    /// repeated, and pass unread.
    #[must_use]
    pub fn precedes_start(&self, direction: Direction, segment: &Segment<'_>) -> bool {
        !self.tls.is_opaque() && self.relay.precedes_start(direction, segment)
    }

    /// Whether the entry that conntrack has for a segment is of another connection.
    #[must_use]
    pub fn is_other_than(
        &self,
        found: &TrackedConnection,
        direction: Direction,
        segment: &Segment<'_>,
    ) -> bool {
        // The entry of a connection with an offset may have been lost, and put back with its label.
        let has_other_id = !self.relay.is_adjusted()
            && ![self.conntrack_id, found.id].contains(&0)
            && self.conntrack_id != found.id;
        // Only a new entry lacks the bit that was set.
        let has_lost_label = self.relay.is_adjusted() && !found.is_adjusted;
        // No connection opens again. Only a new one stands elsewhere, and is open.
        let is_later =
            self.life.is_closing() && found.is_established && self.relay.is_far(direction, segment);
        has_other_id || has_lost_label || is_later
    }
}
