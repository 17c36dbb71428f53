//! Keeps what of a connection must outlive the process, and goes on with it.

use std::time::Instant;

use super::{Context, Flow, withheld::Withheld};
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
                original: Withheld::restored(original.template.clone(), now),
                reply: Withheld::restored(reply.template.clone(), now),
            },
            is_adjusted: true,
            is_remembered: true,
            ..Self::new(id, memory.tuples(), now)
        }
    }

    fn memory(&self) -> Memory {
        let streams = [Direction::Original, Direction::Reply].map(|direction| StreamMemory {
            template: self.withheld[direction]
                .as_ref()
                .map(|withheld| withheld.template().to_vec()),
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
        vouched: stream.vouched().map(|vouched| VouchedMemory {
            start: vouched.start.0,
            bytes: vouched.bytes,
            line_start: vouched.line_start.map(|start| start.0),
        }),
        template: None,
    }
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
    Stream::restored(map, vouched)
}
