//! Keeps what of a connection must outlive the process, and goes on with it.

use std::time::Instant;

use super::{Context, Flow, side::Side, withheld::Withheld};
use crate::proto::{
    action::{Action, SessionId},
    net::{Direction, PerDirection, SeqNumber},
    saved_flow::{SavedEdit, SavedFlow, SavedLocalAck, SavedStream},
    stream::{Edit, LocallyAcked, SequenceMap, Stream},
};

impl Flow {
    /// Sees to it that what must outlive the process is kept, before anything leaves that
    /// depends on it.
    pub(super) fn remember(&mut self, context: &mut Context<'_>) {
        if !std::mem::take(&mut self.has_news) {
            return;
        }
        self.is_remembered = true;
        context.actions.push_back(Action::Remember(self.memory()));
    }

    /// Nothing of the connection needs to be kept any more.
    pub(super) fn forget(&mut self, context: &mut Context<'_>) {
        if std::mem::take(&mut self.is_remembered) {
            context.actions.push_back(Action::Forget {
                tuples: self.tuples,
            });
        }
    }

    /// A connection as another process remembered it.
    #[must_use]
    pub fn restored(id: SessionId, memory: &SavedFlow, now: Instant) -> Self {
        let [original, reply] = &memory.streams;
        Self {
            streams: PerDirection {
                original: restore(original),
                reply: restore(reply),
            },
            withheld: PerDirection {
                original: withheld(original, now),
                reply: withheld(reply, now),
            },
            sides: PerDirection {
                original: side(original),
                reply: side(reply),
            },
            is_adjusted: true,
            is_remembered: true,
            has_spoken: true,
            ..Self::new(id, memory.tuples(), now)
        }
    }

    fn memory(&self) -> SavedFlow {
        let streams = [Direction::Original, Direction::Reply].map(|direction| SavedStream {
            window: self.sides[direction].window,
            clock: self.sides[direction].clock,
            ack: self.sides[direction].ack.map(|ack| ack.0),
            ..remember(&self.streams[direction])
        });
        SavedFlow::new(&self.tuples, streams)
    }
}

fn remember(stream: &Stream) -> SavedStream {
    let map = stream.map();
    let edits = map.edits().iter().map(|edit| SavedEdit {
        start: edit.start().0,
        old_len: edit.end().offset_from(edit.start()).unsigned_abs(),
        new: edit.new_bytes().to_vec(),
    });
    SavedStream {
        base_offset: map.base_offset(),
        folded_to: map.folded_to().map(|end| end.0),
        edits: edits.collect(),
        left: stream.left_to().map(|left| left.0),
        locally_acked: stream.locally_acked().map(|locally_acked| SavedLocalAck {
            start: locally_acked.start.0,
            bytes: locally_acked.bytes,
            line_start: locally_acked.line_start.map(|start| start.0),
        }),
        ..SavedStream::default()
    }
}

fn side(memory: &SavedStream) -> Side {
    Side {
        window: memory.window,
        clock: memory.clock,
        ack: memory.ack.map(SeqNumber),
        ..Side::default()
    }
}

fn withheld(memory: &SavedStream, now: Instant) -> Option<Box<Withheld>> {
    memory
        .locally_acked
        .as_ref()
        .map(|_| Withheld::restored(now))
}

fn restore(memory: &SavedStream) -> Stream {
    let edits = memory
        .edits
        .iter()
        .map(|edit| Edit::new(SeqNumber(edit.start), edit.old_len, edit.new.clone()));
    let folded_to = memory.folded_to.map(SeqNumber);
    let map = SequenceMap::restored(memory.base_offset, folded_to, edits.collect());
    let locally_acked = memory
        .locally_acked
        .as_ref()
        .map(|locally_acked| LocallyAcked {
            start: SeqNumber(locally_acked.start),
            bytes: locally_acked.bytes.clone(),
            line_start: locally_acked.line_start.map(SeqNumber),
        });
    Stream::restored(map, memory.left.map(SeqNumber), locally_acked)
}
