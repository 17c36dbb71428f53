//! What of a connection must outlive the process.

use std::time::Instant;

use super::{Half, TcpRelay, adjustment::Adjustment, partial_line::PartialLine, peer::Peer};
use crate::proto::{
    egress::Save,
    flow::context::Context,
    net::{Direction, PerDirection, SeqNumber},
    saved_flow::{SavedEdit, SavedFlow, SavedLocalAck, SavedStream},
    stream::{Edit, LocallyAcked, SequenceMap, Stream},
};

impl TcpRelay {
    /// A connection as another process saved it.
    pub(in crate::proto::flow) fn restored(saved: &SavedFlow, now: Instant) -> Self {
        let [original, reply] = &saved.streams;
        Self {
            tuples: saved.tuples(),
            half: PerDirection {
                original: Half::restored(original, now),
                reply: Half::restored(reply, now),
            },
            adjustment: Adjustment::Saved,
            is_refuted: saved.is_refuted,
            is_closed: saved.is_closed,
        }
    }

    /// Whether sequence numbers differ between the two sides, or may.
    pub(in crate::proto::flow) fn is_adjusted(&self) -> bool {
        self.adjustment != Adjustment::None
    }

    /// Has the connection saved, where what is saved is out of date. Call it before anything leaves
    /// that depends on it.
    ///
    /// A password is never saved. While its bytes exist only here, the connection is saved nowhere:
    /// a later process resets it, and the user logs in again.
    pub(in crate::proto::flow) fn save(&mut self, context: &mut Context<'_>) {
        let has_secret = Direction::BOTH.iter().any(|at| self.half[*at].has_secret());
        match (self.adjustment, has_secret) {
            (Adjustment::None | Adjustment::Saved, _) | (Adjustment::Hidden, true) => {}
            (Adjustment::Unsaved, true) => {
                self.adjustment = Adjustment::Hidden;
                context.effects.saves.push(Save::Delete(self.tuples));
            }
            (Adjustment::Unsaved | Adjustment::Hidden, false) => {
                self.adjustment = Adjustment::Saved;
                let streams = Direction::BOTH.map(|at| self.half[at].save());
                let saved = SavedFlow {
                    is_refuted: self.is_refuted,
                    is_closed: self.is_closed,
                    ..SavedFlow::new(&self.tuples, streams)
                };
                context.effects.saves.push(Save::Store(Box::new(saved)));
            }
        }
    }

    /// Conntrack's entry has the mark of a connection with an offset, although this one has none
    /// yet: it began anew under the same entry. A later process has to know both.
    pub(in crate::proto::flow) fn assume_adjusted(&mut self) {
        self.adjustment = Adjustment::Unsaved;
    }

    /// The connection is no FTP, which a later process has to know.
    pub(in crate::proto::flow) fn record_refutation(&mut self) {
        self.is_refuted = true;
        self.adjustment.handle_change();
    }

    /// The connection has ended, which a later process has to know: no packet may tell it.
    pub(in crate::proto::flow) fn record_closed(&mut self) {
        self.is_closed = true;
        self.adjustment.handle_change();
    }

    /// Nothing needs to be saved of the connection any more.
    pub(in crate::proto::flow) fn delete_saved(&mut self, context: &mut Context<'_>) {
        if self.is_adjusted() {
            context.effects.saves.push(Save::Delete(self.tuples));
        }
    }
}

impl Half {
    /// Whether what would be saved holds something that may not be.
    fn has_secret(&self) -> bool {
        let from = self.stream.retransmit_from();
        from.zip(self.secret_to)
            .is_some_and(|(from, to)| from.is_before(to))
    }

    fn restored(saved: &SavedStream, now: Instant) -> Self {
        let is_acked_locally = saved.locally_acked.is_some();
        Self {
            stream: restore(saved),
            peer: Peer {
                window: saved.window,
                tsval: saved.tsval,
                rcv_nxt: saved.rcv_nxt.map(SeqNumber),
                ..Peer::default()
            },
            secret_to: None,
            partial: is_acked_locally.then(|| Box::new(PartialLine::restored(now))),
        }
    }

    fn save(&self) -> SavedStream {
        let map = self.stream.map();
        let edits = map.edits().iter().map(|edit| SavedEdit {
            start: edit.start().0,
            old_len: edit.end().offset_from(edit.start()).unsigned_abs(),
            new: edit.new_bytes().to_vec(),
        });
        let locally_acked = self.stream.locally_acked().map(|acked| SavedLocalAck {
            start: acked.start.0,
            bytes: acked.bytes,
            line_start: acked.line_start.map(|start| start.0),
        });
        SavedStream {
            base_offset: map.base_offset(),
            folded_to: map.folded_to().map(|end| end.0),
            edits: edits.collect(),
            left_to: self.stream.left_to().map(|left| left.0),
            locally_acked,
            window: self.peer.window,
            tsval: self.peer.tsval,
            rcv_nxt: self.peer.rcv_nxt.map(|next| next.0),
        }
    }
}

fn restore(saved: &SavedStream) -> Stream {
    let edits = saved
        .edits
        .iter()
        .map(|edit| Edit::new(SeqNumber(edit.start), edit.old_len, edit.new.clone()));
    let folded_to = saved.folded_to.map(SeqNumber);
    let map = SequenceMap::restored(saved.base_offset, folded_to, edits.collect());
    let locally_acked = saved.locally_acked.as_ref().map(|acked| LocallyAcked {
        start: SeqNumber(acked.start),
        bytes: acked.bytes.clone(),
        line_start: acked.line_start.map(SeqNumber),
    });
    Stream::restored(map, saved.left_to.map(SeqNumber), locally_acked)
}
