//! Keeps what of a connection must outlive the process, and goes on with it.

use std::time::Instant;

use super::{Context, Flow, side::Side, withheld::Withheld};
use crate::proto::{
    action::{Action, SessionId},
    memory::{EditMemory, Memory, StreamMemory, VouchedMemory},
    net::{Direction, PerDirection, SeqNumber},
    stream::{Edit, SequenceMap, Stream, Vouched},
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
    pub fn restored(id: SessionId, memory: &Memory, now: Instant) -> Self {
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

    fn memory(&self) -> Memory {
        let streams = [Direction::Original, Direction::Reply].map(|direction| StreamMemory {
            window: self.sides[direction].window,
            clock: self.sides[direction].clock,
            ack: self.sides[direction].ack.map(|ack| ack.0),
            ..remember(&self.streams[direction])
        });
        Memory::new(&self.tuples, streams)
    }
}

fn remember(stream: &Stream) -> StreamMemory {
    let map = stream.map();
    let edits = map.edits().iter().map(|edit| EditMemory {
        start: edit.start().0,
        old_len: edit.end().offset_from(edit.start()).unsigned_abs(),
        new: edit.new_bytes().to_vec(),
    });
    StreamMemory {
        base_offset: map.base_offset(),
        floor: map.floor().map(|floor| floor.0),
        edits: edits.collect(),
        left: stream.released().map(|left| left.0),
        vouched: stream.vouched().map(|vouched| VouchedMemory {
            start: vouched.start.0,
            bytes: vouched.bytes,
            line_start: vouched.line_start.map(|start| start.0),
        }),
        ..StreamMemory::default()
    }
}

fn side(memory: &StreamMemory) -> Side {
    Side {
        window: memory.window,
        clock: memory.clock,
        ack: memory.ack.map(SeqNumber),
        ..Side::default()
    }
}

fn withheld(memory: &StreamMemory, now: Instant) -> Option<Box<Withheld>> {
    memory.vouched.as_ref().map(|_| Withheld::restored(now))
}

fn restore(memory: &StreamMemory) -> Stream {
    let edits = memory
        .edits
        .iter()
        .map(|edit| Edit::new(SeqNumber(edit.start), edit.old_len, edit.new.clone()));
    let floor = memory.floor.map(SeqNumber);
    let map = SequenceMap::restored(memory.base_offset, floor, edits.collect());
    let vouched = memory.vouched.as_ref().map(|vouched| Vouched {
        start: SeqNumber(vouched.start),
        bytes: vouched.bytes.clone(),
        line_start: vouched.line_start.map(SeqNumber),
    });
    Stream::restored(map, memory.left.map(SeqNumber), vouched)
}
