//! When a silent connection is forgotten.

use super::{Flow, context::Context};
use crate::proto::{net::Direction, session::Withdrawal};

impl Flow {
    /// Packets may have passed unseen. A connection that is kept for long is looked up soon.
    pub fn handle_unseen(&mut self) {
        if self.is_kept() {
            self.life.doubt();
        }
    }

    /// Serves the silence of the connection. Returns whether it is to be forgotten, because its
    /// silence has lasted too long. One that is kept is looked up each time: it is closed once
    /// conntrack has seen its end, and forgotten once conntrack has not known it for as long.
    pub fn handle_silence(&mut self, context: &mut Context<'_>) -> bool {
        if context.now < self.forgotten_at() {
            return false;
        }
        if !self.is_kept() || self.life.is_closed() {
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
            Ok(_) | Err(_) => self.life.miss(context.now),
        }
    }
}
