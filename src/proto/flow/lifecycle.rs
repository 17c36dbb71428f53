//! How far a connection has come in its life, and when it is forgotten.

use std::time::{Duration, Instant};

use crate::proto::net::Direction;

/// An open connection that was silent for this long is forgotten. If it goes on, it is picked up
/// again. Longer than any server's idle timeout. One with an offset, or with a grant (its packets
/// pass unseen), is forgotten once conntrack has not known it for so long. One with an outside port
/// is forgotten as soon as conntrack does not know it.
pub const IDLE_MAX: Duration = Duration::from_secs(3 * 3600);

/// A connection on which nobody has said anything is forgotten after this time, closed on one side
/// or not, so that handshakes alone cost little. A mail client waits as long for its server's 220
/// (RFC 5321 §4.5.3.2.1).
pub const SILENT_MAX: Duration = Duration::from_secs(300);

/// How long a closed connection is kept for retransmissions of its last segments
/// (`nf_conntrack_tcp_timeout_time_wait`: 120 s).
pub const CLOSED_MAX: Duration = Duration::from_secs(120);

/// How long a connection with an offset, a grant or an outside port is silent before conntrack is
/// asked about it.
/// Its end may have passed unseen. Conntrack knows of most ends for twice as long.
const CHECK_INTERVAL: Duration = Duration::from_secs(60);

/// The life of one connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lifecycle {
    phase: Phase,
    /// When its last packet was seen, or conntrack was found to know it.
    seen: Instant,
    /// How often conntrack did not know the connection when it was asked, since its last packet.
    unknown: u16,
    /// Whether its end may have passed unseen.
    is_doubted: bool,
}

/// The phases of a connection. The later ones are never left again, but by a new handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Neither end has said anything.
    Silent,
    /// One of the ends has said something.
    Active,
    /// One of the ends has sent FIN.
    HalfClosed {
        /// The direction of that FIN.
        first: Direction,
        /// One of the ends has said something before. Keep-alives, which are not queued, keep such
        /// a connection in conntrack for as long as its ends like.
        has_spoken: bool,
    },
    /// Both ends have sent FIN, or one has sent RST.
    Closed,
    /// We have reset it towards both ends.
    Aborted,
}

impl Lifecycle {
    /// A connection of which nothing was seen yet.
    pub(super) const fn new(now: Instant) -> Self {
        Self {
            phase: Phase::Silent,
            seen: now,
            unknown: 0,
            is_doubted: false,
        }
    }

    /// A connection that was known before: its ends have spoken.
    pub(super) const fn resumed(now: Instant) -> Self {
        Self {
            phase: Phase::Active,
            seen: now,
            unknown: 0,
            is_doubted: false,
        }
    }

    /// A packet came, or conntrack knows the connection: its silence begins anew.
    pub(super) fn handle_packet(&mut self, now: Instant) {
        (self.seen, self.unknown, self.is_doubted) = (now, 0, false);
    }

    /// Packets of any connection may have passed unseen, the last ones of this one among them.
    pub(super) fn doubt(&mut self) {
        self.is_doubted = true;
    }

    /// Conntrack knows that the connection has ended.
    pub(super) fn end_unseen(&mut self, now: Instant) {
        self.handle_packet(now);
        self.handle_rst();
    }

    /// Conntrack does not know the connection. `true` once that has lasted too long.
    pub(super) fn miss(&mut self, now: Instant) -> bool {
        (self.seen, self.is_doubted) = (now, false);
        self.unknown = self.unknown.saturating_add(1);
        CHECK_INTERVAL.saturating_mul(self.unknown.into()) >= IDLE_MAX
    }

    /// One of the ends says something.
    pub(super) fn handle_payload(&mut self) {
        match &mut self.phase {
            Phase::Silent => self.phase = Phase::Active,
            Phase::HalfClosed { has_spoken, .. } => *has_spoken = true,
            Phase::Active | Phase::Closed | Phase::Aborted => {}
        }
    }

    pub(super) fn handle_fin(&mut self, direction: Direction) {
        self.phase = match self.phase {
            Phase::Silent | Phase::Active => Phase::HalfClosed {
                first: direction,
                has_spoken: self.has_spoken(),
            },
            Phase::HalfClosed { first, .. } if first != direction => Phase::Closed,
            unchanged @ (Phase::HalfClosed { .. } | Phase::Closed | Phase::Aborted) => unchanged,
        };
    }

    pub(super) fn handle_rst(&mut self) {
        if self.phase != Phase::Aborted {
            self.phase = Phase::Closed;
        }
    }

    pub(super) fn abort(&mut self) {
        self.phase = Phase::Aborted;
    }

    pub(super) const fn has_spoken(&self) -> bool {
        match self.phase {
            Phase::Silent => false,
            Phase::HalfClosed { has_spoken, .. } => has_spoken,
            Phase::Active | Phase::Closed | Phase::Aborted => true,
        }
    }

    /// Whether an end has closed: nothing more is announced.
    pub(super) const fn is_closing(&self) -> bool {
        match self.phase {
            Phase::Silent | Phase::Active => false,
            Phase::HalfClosed { .. } | Phase::Closed | Phase::Aborted => true,
        }
    }

    pub(super) const fn is_closed(&self) -> bool {
        match self.phase {
            Phase::Silent | Phase::Active | Phase::HalfClosed { .. } => false,
            Phase::Closed | Phase::Aborted => true,
        }
    }

    pub(super) fn is_aborted(&self) -> bool {
        self.phase == Phase::Aborted
    }

    /// When the connection is forgotten, if no packet comes; or, if it `is_looked_up`, when
    /// conntrack is asked about it.
    pub(super) fn forgotten_at(&self, is_looked_up: bool) -> Instant {
        let quiet = match self.phase {
            Phase::Closed | Phase::Aborted => CLOSED_MAX,
            // Conntrack forgets a reset connection after ten seconds.
            _ if is_looked_up && self.is_doubted => Duration::ZERO,
            _ if is_looked_up => CHECK_INTERVAL,
            Phase::Silent
            | Phase::HalfClosed {
                has_spoken: false, ..
            } => SILENT_MAX,
            Phase::Active
            | Phase::HalfClosed {
                has_spoken: true, ..
            } => IDLE_MAX,
        };
        self.seen + quiet
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Direction::{Original, Reply};

    fn new() -> Lifecycle {
        Lifecycle::new(crate::proto::test_origin())
    }

    #[test]
    fn each_end_closes_for_itself_and_a_repeated_fin_closes_nothing() {
        let mut life = new();
        life.handle_fin(Original);
        life.handle_fin(Original);
        assert!(life.is_closing() && !life.is_closed());
        life.handle_fin(Reply);
        assert!(life.is_closed());
    }

    #[test]
    fn nothing_leads_out_of_an_abort() {
        let mut life = new();
        life.abort();
        life.handle_payload();
        life.handle_fin(Original);
        life.handle_rst();
        assert!(life.is_aborted() && life.is_closed() && life.has_spoken());
    }

    #[test]
    fn a_connection_is_kept_for_as_long_as_it_may_be_needed() {
        let mut life = new();
        let kept = |life: &Lifecycle, is_looked_up| life.forgotten_at(is_looked_up) - life.seen;
        assert_eq!(kept(&life, false), SILENT_MAX);
        assert_eq!(kept(&life, true), CHECK_INTERVAL);
        let mut closing = new();
        closing.handle_fin(Reply);
        assert_eq!(kept(&closing, false), SILENT_MAX);
        life.handle_payload();
        assert_eq!(kept(&life, false), IDLE_MAX);
        life.handle_fin(Reply);
        assert_eq!(
            kept(&life, false),
            IDLE_MAX,
            "what it said is not forgotten"
        );
        life.handle_rst();
        assert_eq!(kept(&life, true), CLOSED_MAX);
    }
}
