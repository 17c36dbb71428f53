//! The timers of a line that has begun and not ended.
//!
//! A segment that ends inside a line that could still become an announcement goes on without it,
//! and the partial line leaves with the segment that completes it. A sender under Nagle's algorithm
//! does not send that segment before the first one is acknowledged (RFC 896). So after
//! [`LOCAL_ACK_DELAY`] the partial line is acknowledged on the receiver's behalf. From then on its
//! bytes exist only here, and they are retransmitted until the receiver has acknowledged them.
//!
//! After [`PARTIAL_LINE_TIMEOUT`] a server's partial line leaves unread. A client's stays until it
//! ends: a client that sends PORT in two parts, ten seconds apart, would otherwise have the server
//! hear any endpoint.

use std::time::{Duration, Instant};

use crate::proto::net::SeqNumber;

/// How long the rest of a line is waited for before the partial line is acknowledged locally. A
/// sender that does not wait sends the rest within a round of its own loop; delayed
/// acknowledgements begin at 40 ms.
pub const LOCAL_ACK_DELAY: Duration = Duration::from_millis(5);

/// How long a server's partial line may be held in all.
pub const PARTIAL_LINE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long it may be held where it cannot be acknowledged locally: its sender may wait for just
/// that. Linux repeats a segment after 200 ms at the earliest.
const NOT_ACKNOWLEDGED_MAX: Duration = Duration::from_millis(200);

/// The first retransmission of bytes that the sender does not repeat (RFC 6298 §2.4's lower bound
/// is 1 s; Linux uses 200 ms); doubled each time.
const RETRANSMIT_FIRST: Duration = Duration::from_millis(200);

/// The next one after the receiver has acknowledged a part: its window may have had no room for the
/// rest.
const RETRANSMIT_NEXT: Duration = Duration::from_millis(5);

/// The most retransmissions in a row without progress. Then the connection is left to its own
/// timeouts.
const RETRANSMITS_MAX: u32 = 10;

/// The timers of one direction.
#[derive(Clone, Debug, Default)]
pub(super) struct PartialLine {
    /// Where the line starts that is held.
    start: Option<SeqNumber>,
    /// When it leaves unread.
    give_up_at: Option<Instant>,
    /// When it is acknowledged locally.
    acknowledge_at: Option<Instant>,
    /// When bytes that the sender does not repeat are sent again.
    retransmit_at: Option<Instant>,
    retransmits: u32,
}

/// What a deadline that has passed asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// The line was held for too long.
    GiveUp,
    /// The line is to be acknowledged on the receiver's behalf.
    Acknowledge,
    /// Bytes that the sender does not repeat are to be sent again.
    Retransmit,
}

impl PartialLine {
    /// A line that another process had held and acknowledged.
    pub(super) fn restored(now: Instant) -> Self {
        Self {
            give_up_at: Some(now + PARTIAL_LINE_TIMEOUT),
            retransmit_at: Some(now + RETRANSMIT_FIRST),
            ..Self::default()
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let timers = [self.give_up_at, self.acknowledge_at, self.retransmit_at];
        timers.into_iter().flatten().min()
    }

    /// The first thing that is due. What is acknowledged is not due again.
    pub(super) fn poll_due(&mut self, now: Instant) -> Option<Due> {
        let is_due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        if is_due(self.give_up_at) {
            Some(Due::GiveUp)
        } else if is_due(self.acknowledge_at) {
            self.acknowledge_at = None;
            Some(Due::Acknowledge)
        } else {
            is_due(self.retransmit_at).then_some(Due::Retransmit)
        }
    }

    /// Begins or goes on to hold a line.
    pub(super) fn hold(&mut self, start: SeqNumber, has_payload: bool, now: Instant) {
        if self.start != Some(start) {
            self.start = Some(start);
            self.give_up_at = Some(now + PARTIAL_LINE_TIMEOUT);
        }
        if has_payload {
            self.acknowledge_at = Some(now + LOCAL_ACK_DELAY);
        }
    }

    /// Holds the line until it ends.
    pub(super) fn keep(&mut self) {
        self.give_up_at = None;
    }

    /// No line is held any more.
    pub(super) fn release(&mut self) {
        self.start = None;
        self.give_up_at = None;
        self.acknowledge_at = None;
    }

    /// The line cannot be acknowledged locally.
    pub(super) fn handle_not_acknowledged(&mut self, now: Instant) {
        let latest = now + NOT_ACKNOWLEDGED_MAX;
        self.give_up_at = self.give_up_at.map(|at| at.min(latest));
    }

    /// The receiver has acknowledged a part of what is retransmitted.
    pub(super) fn handle_progress(&mut self, now: Instant) {
        self.retransmits = 0;
        self.retransmit_at = self.retransmit_at.map(|at| at.min(now + RETRANSMIT_NEXT));
    }

    /// Notes whether there are bytes to retransmit.
    pub(super) fn record_retransmit(&mut self, needs_retransmit: bool, now: Instant) {
        if !needs_retransmit {
            self.retransmit_at = None;
            self.retransmits = 0;
        } else if self.retransmit_at.is_none() && self.retransmits == 0 {
            self.retransmit_at = Some(now + RETRANSMIT_FIRST);
        }
    }

    /// A retransmission has left. `is_empty` where all of it is held, or has arrived: then counting
    /// begins anew with what comes next.
    pub(super) fn handle_retransmit(&mut self, is_empty: bool, now: Instant) {
        if is_empty {
            self.retransmit_at = None;
            self.retransmits = 0;
        } else if self.retransmits < RETRANSMITS_MAX {
            let wait = RETRANSMIT_FIRST.saturating_mul(1 << self.retransmits);
            self.retransmit_at = Some(now + wait);
            self.retransmits = self.retransmits.saturating_add(1);
        } else {
            self.retransmit_at = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_acknowledged_first_and_given_up_much_later() {
        let now = crate::proto::test_origin();
        let mut partial = PartialLine::default();
        partial.hold(SeqNumber(1), true, now);
        assert_eq!(partial.poll_due(now), None);
        let acked_at = now + LOCAL_ACK_DELAY;
        assert_eq!(partial.poll_timeout(), Some(acked_at));
        assert_eq!(partial.poll_due(acked_at), Some(Due::Acknowledge));
        assert_eq!(partial.poll_due(acked_at), None, "once");
        let end = now + PARTIAL_LINE_TIMEOUT;
        assert_eq!(partial.poll_due(end), Some(Due::GiveUp));
    }

    #[test]
    fn retransmissions_wait_longer_each_time_and_come_to_an_end() {
        let mut now = crate::proto::test_origin();
        let mut partial = PartialLine::default();
        partial.record_retransmit(true, now);
        let mut count = 0;
        let mut waited = Duration::ZERO;
        while let Some(at) = partial.poll_timeout() {
            assert!(at - now >= waited);
            (waited, now) = (at - now, at);
            assert_eq!(partial.poll_due(now), Some(Due::Retransmit));
            partial.handle_retransmit(false, now);
            count += 1;
        }
        assert_eq!(count, RETRANSMITS_MAX + 1);
        partial.handle_progress(now);
        partial.record_retransmit(true, now);
        assert!(partial.poll_timeout().is_some(), "there was progress");
    }
}
