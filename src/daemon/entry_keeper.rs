//! Puts back the conntrack entries of connections with a sequence offset.
//!
//! Conntrack may lose such an entry: somebody deletes it (`conntrack -D`, `-F`), or it expires. The
//! next packet would be picked up without NAT, without our label, and untranslated. Our table
//! queues it, and it waits here: the entry is put back, and the packet's sender repeats it.

use std::{sync::Arc, thread};

use anyhow::Context;
use tracing::{error, warn};

use super::{flow_store::FlowStore, unread::UnreadConnections};
use crate::{
    io::{
        ctnetlink::Conntrack,
        nfqueue::{Queue, QueueError, QueueEvent, QueueVerdict, QueuedPacketId},
    },
    proto::{
        net::{ConntrackTuples, Direction, Zone},
        packet::Segment,
    },
    ruleset::{Backend, LabelBit, PICKUP_QUEUE},
};

/// What the thread works with.
pub(super) struct EntryKeeper {
    queue: Queue,
    conntrack: Conntrack,
    flow_store: Arc<FlowStore>,
    /// The label's bit of a connection with an offset.
    adjust: LabelBit,
    backend: Backend,
    unread: UnreadConnections,
}

impl EntryKeeper {
    /// Opens the queue.
    ///
    /// # Errors
    /// The queue or a netlink socket cannot be had.
    pub(super) fn open(
        flow_store: Arc<FlowStore>,
        adjust: LabelBit,
        backend: Backend,
        unread: UnreadConnections,
    ) -> anyhow::Result<Self> {
        Ok(Self {
            queue: Queue::open(PICKUP_QUEUE)
                .with_context(|| format!("queue {PICKUP_QUEUE}, which is the daemon's own"))?,
            conntrack: Conntrack::open().context("cannot open a socket to conntrack")?,
            flow_store,
            adjust,
            backend,
            unread,
        })
    }

    /// Starts the thread. It ends with the process.
    ///
    /// # Errors
    /// The kernel refuses to start one.
    pub(super) fn start(mut self) -> anyhow::Result<()> {
        let work = move || {
            let Err(error) = self.run();
            error!(%error, "the conntrack entries of connections with an offset are not put back");
        };
        let thread = thread::Builder::new().name("entry-keeper".to_owned());
        thread.spawn(work).context("cannot start a thread")?;
        Ok(())
    }

    fn run(&mut self) -> Result<std::convert::Infallible, QueueError> {
        loop {
            let QueueEvent::Packet(packet) = self.queue.recv(None)? else {
                continue;
            };
            let zone = packet
                .tracked
                .map_or_else(Zone::default, |tracked| tracked.zone);
            let (id, segment) = (packet.id, Segment::parse(packet.bytes).ok());
            let segment = segment.map(|segment| segment.in_zone(zone));
            match segment {
                Some(segment) if self.unread.concerns(&segment) => {
                    self.unread.tell(&segment);
                    self.queue.verdict(id, QueueVerdict::Accept)?;
                }
                Some(segment) => {
                    let forgotten = self.flow_store.find(segment.tuple);
                    self.decide(id, forgotten)?;
                }
                None => self.decide(id, None)?,
            }
        }
    }

    /// A connection without an offset goes on as conntrack picks it up.
    fn decide(
        &mut self,
        packet: QueuedPacketId,
        forgotten: Option<ConntrackTuples>,
    ) -> Result<(), QueueError> {
        let Some(tuples) = forgotten else {
            return self.queue.verdict(packet, QueueVerdict::Accept);
        };
        let original = tuples.of(Direction::Original);
        let (client, server) = (original.source, original.destination);
        let is_helped = self.backend == Backend::Conntrack;
        match self.conntrack.create(&tuples, self.adjust, is_helped) {
            Ok(()) => warn!(
                %client,
                %server,
                "conntrack had lost a connection with a sequence offset: its entry is put back"
            ),
            Err(error) if error.is(libc::EEXIST) => {
                if !self.is_its(&tuples) {
                    self.flow_store.delete(&tuples);
                    return self.queue.verdict(packet, QueueVerdict::Accept);
                }
            }
            Err(error) => warn!(
                %client,
                %server,
                %error,
                "conntrack has lost a connection with a sequence offset, and does not take its \
                 entry back: its packets are dropped"
            ),
        }
        self.queue.verdict(packet, QueueVerdict::Drop)
    }

    /// Whether the entry that is there already is that of the saved flow. Another one is of a later
    /// connection with the same tuple. Where conntrack cannot be asked, nothing passes wrong.
    fn is_its(&mut self, tuples: &ConntrackTuples) -> bool {
        match self.conntrack.resolve(&tuples.of(Direction::Original)) {
            Ok(Some(entry)) => entry.tuples == *tuples && entry.label.has(self.adjust),
            Ok(None) => false,
            Err(_) => true,
        }
    }
}
