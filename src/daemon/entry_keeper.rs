//! Puts back the conntrack entries of connections with a sequence offset, and lets other
//! connections be picked up so that nothing passes unread.
//!
//! Conntrack may lose an entry: somebody deletes it (`conntrack -D`, `-F`), it expires, or the
//! client makes conntrack believe that the connection has ended. The next packet would be picked up
//! without our label, without the NAT that it had, and unread. Our table queues it, and it waits
//! here. The entry of a connection with an offset is put back, and the packet's sender repeats it.
//! Any other connection is picked up, and read once its server has answered ([`FirstPacket`]).

use std::{sync::Arc, thread};

use anyhow::Context;
use tracing::{debug, error, warn};

use super::{first_packet::FirstPacket, flow_store::FlowStore, unread::UnreadConnections};
use crate::{
    io::{
        ctnetlink::Conntrack,
        injector::Injector,
        nfqueue::{Queue, QueueError, QueueEvent, QueueVerdict, QueuedPacketId},
    },
    proto::{
        net::{ConntrackTuples, Direction},
        packet::Segment,
    },
    ruleset::{Backend, LabelBit, PICKUP_QUEUE},
};

/// What the thread works with.
pub(super) struct EntryKeeper {
    queue: Queue,
    conntrack: Conntrack,
    injector: Injector,
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
    /// The queue, a netlink socket or a raw socket cannot be had.
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
            injector: Injector::open().context("cannot open a raw socket")?,
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
            let id = packet.id;
            let Ok(segment) = Segment::parse(packet.bytes) else {
                self.queue.verdict(id, QueueVerdict::Accept)?;
                continue;
            };
            // The zone of an invalid packet is not told, nor is any by a kernel without NFQA_CT.
            let saved = match packet.tracked {
                Some(tracked) => self.flow_store.find(segment.tuple.in_zone(tracked.zone)),
                None => self.flow_store.find_in_any_zone(segment.tuple),
            };
            if self.unread.concerns(&segment) {
                self.unread.tell(&segment);
                self.queue.verdict(id, QueueVerdict::Accept)?;
            } else if let Some(tuples) = saved {
                self.put_back(id, tuples)?;
            } else {
                let is_of_server = self.unread.is_of_server(&segment);
                let (ingress, receiver) = (packet.ingress, packet.receiver);
                let first = FirstPacket::of(&segment, is_of_server, ingress, receiver);
                if first != FirstPacket::Pass {
                    let (from, to) = (segment.tuple.source, segment.tuple.destination);
                    debug!(%from, %to, "conntrack does not know this connection: it is picked up");
                    self.unread.tell_held(&segment);
                }
                self.pick_up(id, &first)?;
            }
        }
    }

    fn pick_up(&mut self, packet: QueuedPacketId, first: &FirstPacket) -> Result<(), QueueError> {
        let (by, asking) = match first {
            FirstPacket::Pass => return self.queue.verdict(packet, QueueVerdict::Accept),
            FirstPacket::Replaced { by, asking } => (by, asking),
        };
        let verdict = by.as_deref();
        let verdict = verdict.map_or(QueueVerdict::Drop, QueueVerdict::Replace);
        self.queue.verdict(packet, verdict)?;
        if let Some(asking) = asking
            && let Err(error) = self.injector.inject(asking)
        {
            debug!(%error, "a client could not be asked for a packet");
        }
        Ok(())
    }

    fn put_back(
        &mut self,
        packet: QueuedPacketId,
        tuples: ConntrackTuples,
    ) -> Result<(), QueueError> {
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
