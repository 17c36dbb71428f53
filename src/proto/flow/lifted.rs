//! Lines of the client that wait for the server's answer to what the client announced before them.
//!
//! A client may send PORT and RETR in one go. The server then connects as soon as it has answered
//! PORT, and its first packet could be here before the expectation is open: so the client's lines
//! behind an announcement wait until the server has answered it. The answer is looked at, the
//! expectation opened, and only then both go on, each to its receiver. An answer is waited for as
//! long as the expectation is: its time bounds how long lines are held back, and
//! [`HELD_BACK_MAX`](crate::proto::stream::HELD_BACK_MAX) how many bytes of them.

use super::{Context, Flow, Request};
use crate::proto::{net::Direction, packet::Flags};

impl Flow {
    /// Frees the client's lines once nothing is left that the server has to answer first.
    pub(super) fn lift_answered(&mut self) {
        let stream = &mut self.streams.original;
        let awaits_answer =
            self.session.awaits_refusal() || self.held.iter().any(super::held::Held::awaits_answer);
        if !stream.is_holding_back() || awaits_answer {
            return;
        }
        stream.lift();
        self.has_lifted |= stream.is_withholding();
    }

    /// Looks at the client's lines that were freed.
    pub(super) fn poll_lifted(&mut self, context: &mut Context<'_>) -> Option<Request> {
        if !self.has_lifted {
            return None;
        }
        self.poll_lines(Direction::Original, self.last_of_client, context)
    }

    /// The client's lines that were freed and looked at, as packets of our own. The client repeats
    /// what does not arrive.
    pub(super) fn poll_lifted_packets(&mut self, context: &mut Context<'_>) -> Vec<Vec<u8>> {
        if !std::mem::take(&mut self.has_lifted) || self.is_broken {
            return Vec::new();
        }
        let direction = Direction::Original;
        self.decide_withholding(direction, true, context.now);
        self.remember(context);
        let room = self.room(direction, None);
        let pieces = self.streams[direction].emit_released(room);
        pieces
            .iter()
            .filter_map(|piece| self.encode_piece(direction, piece, Flags::PSH))
            .collect()
    }
}
