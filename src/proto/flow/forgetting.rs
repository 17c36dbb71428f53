//! When a silent connection is forgotten.

use std::time::Instant;

use super::{Flow, context::Context};
use crate::proto::{net::Direction, session::Withdrawal};

impl Flow {
    /// Packets may have passed unseen. A connection that is kept for long is looked up soon.
    pub fn handle_unseen(&mut self) {
        if self.is_looked_up() {
            self.life.doubt();
        }
    }

    /// Serves the silence of the connection. Returns whether it is to be forgotten, because its
    /// silence has lasted too long. One that holds something is looked up each time. It is closed
    /// once conntrack has seen its end. It is forgotten once conntrack does not know it: at once if
    /// it only has outside ports, and after as long a silence if it is kept.
    pub fn handle_silence(&mut self, context: &mut Context<'_>) -> bool {
        if context.now < self.forgotten_at() {
            return false;
        }
        if !self.is_looked_up() || self.life.is_closed() {
            return true;
        }
        let original = self.tuples().of(Direction::Original);
        if !context.kernel.are_alive(&[original]).is_empty() {
            self.life.handle_packet(context.now);
            return false;
        }
        match context.kernel.look_up(original) {
            Ok(Some(found)) if found.is_over => {
                self.life.end_unseen(context.now);
                self.withdraw_all(Withdrawal::Closed, context);
                self.relay.record_closed();
                self.relay.save(context);
                false
            }
            Ok(_) | Err(_) => self.life.miss(context.now) || !self.is_kept(),
        }
    }

    pub(super) fn forgotten_at(&self) -> Instant {
        self.life.forgotten_at(self.is_looked_up())
    }

    /// Whether its end must not be missed.
    fn is_looked_up(&self) -> bool {
        self.is_kept() || self.pinholes.has_lease()
    }

    /// Whether more than its place would be lost with it, even while it is silent.
    fn is_kept(&self) -> bool {
        self.relay.is_adjusted() || self.tls.has_grant()
    }
}
