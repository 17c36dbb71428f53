//! The contract of the core: packets and times in, verdicts and effects out.
//!
//! * Inputs: [`handle_packet`](Alg::handle_packet) and [`handle_timeout`](Alg::handle_timeout).
//!   Each returns what leaves, once. While it runs it asks the [`Kernel`] that it is given, whose
//!   answers are return values.
//! * [`poll_timeout`](Alg::poll_timeout) says when `handle_timeout` is wanted.
//! * [`handle_settings`](Alg::handle_settings) takes new settings between two inputs.
//!
//! `now` never goes back. Nothing here panics, whatever the packets hold.

mod bare_handshake;
mod bridged;
mod data_syn;
mod flow_table;
mod tracking;
mod tuple_reuse;

pub use flow_table::FLOWS_MAX;

use std::{fmt, sync::Arc, time::Instant};

use self::{
    bare_handshake::bare_handshake,
    flow_table::{FlowKey, FlowTable},
};
use super::{
    budget::TokenBucket,
    egress::{Effects, Egress, OwnPacket, PacketId, Verdict},
    event::EventKind,
    flow::{Context, Flow, IdSequence, Settings, Subject},
    kernel::Kernel,
    net::{Direction, Ingress, Tuple, Zone},
    packet::Segment,
    shared::SharedTables,
};

/// The most connections that one [`Alg::handle_timeout`] serves, so that no packet waits for
/// thousands of them.
pub const TIMEOUTS_MAX: usize = 64;

/// The most events a second of a kind that any flood can cause.
const LOG_RATE: u32 = 1;

/// The FTP helper of one queue: every packet of a control connection goes through the same one.
pub struct Alg {
    settings: Settings,
    shared: Arc<SharedTables>,
    flows: FlowTable,
    session_ids: IdSequence,
    expectation_ids: IdSequence,
    log_limiter: TokenBucket,
    /// Questions to conntrack about connections that are followed.
    questions: TokenBucket,
}

impl Clone for Alg {
    /// A helper in the same state that shares no table with this one. A model checker explores
    /// what each of several inputs would cause.
    fn clone(&self) -> Self {
        Self {
            settings: self.settings.clone(),
            shared: Arc::new(SharedTables::clone(&self.shared)),
            flows: self.flows.clone(),
            session_ids: self.session_ids,
            expectation_ids: self.expectation_ids,
            questions: self.questions,
            log_limiter: self.log_limiter,
        }
    }
}

impl fmt::Debug for Alg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut alg = f.debug_struct("Alg");
        alg.field("flows", &self.flows).finish_non_exhaustive()
    }
}

/// A packet that comes in.
#[derive(Clone, Copy, Debug)]
pub struct InboundPacket<'a> {
    /// Its name, in events.
    pub id: PacketId,
    /// The packet, from its IP header on.
    pub bytes: &'a [u8],
    /// The conntrack zone in which it is.
    pub zone: Zone,
    /// How it came, where that is known.
    pub ingress: Option<Ingress>,
}

impl<'a> InboundPacket<'a> {
    /// A packet in zone 0, of which it is not known how it came.
    #[must_use]
    pub const fn new(id: PacketId, bytes: &'a [u8]) -> Self {
        Self {
            id,
            bytes,
            zone: Zone(0),
            ingress: None,
        }
    }
}

/// One input, while it is handled.
struct Input<'a> {
    packet: PacketId,
    ingress: Option<Ingress>,
    kernel: &'a mut dyn Kernel,
    effects: Effects,
    now: Instant,
}

impl Input<'_> {
    /// Sends packets of our own about the packet at hand, in the way that it came.
    fn send(&mut self, packets: impl IntoIterator<Item = Vec<u8>>) {
        let ingress = self.ingress;
        let own = packets.into_iter().map(|bytes| OwnPacket {
            bytes,
            ingress,
            of_receiver: None,
        });
        self.effects.packets.extend(own);
    }
}

/// A connection that is followed, and the direction of the packet at hand.
#[derive(Clone, Copy)]
struct Place {
    key: FlowKey,
    direction: Direction,
}

impl Alg {
    /// A helper without connections.
    #[must_use]
    pub fn new(settings: Settings, shared: Arc<SharedTables>) -> Self {
        Self::of_worker(settings, shared, 0, 1)
    }

    /// Helper `index` of `count` that work side by side: the ids of their sessions and expectations
    /// differ.
    #[must_use]
    pub fn of_worker(
        settings: Settings,
        shared: Arc<SharedTables>,
        index: u64,
        count: u64,
    ) -> Self {
        Self {
            settings,
            shared,
            flows: FlowTable::default(),
            session_ids: IdSequence::of_core(index, count),
            expectation_ids: IdSequence::of_core(index, count),
            log_limiter: TokenBucket::FULL,
            questions: TokenBucket::FULL,
        }
    }

    /// Takes new settings. Pinholes that are open keep the settings that they were opened with.
    pub fn handle_settings(&mut self, settings: Settings) {
        self.settings = settings;
    }

    /// Takes one packet in, and gives what leaves for it.
    ///
    /// A packet that is not a readable TCP segment passes as it is. A connection's first packet is
    /// one of a data connection, because those of control connections are not queued. A packet that
    /// bears the address of an end that is elsewhere is dropped.
    pub fn handle_packet(
        &mut self,
        packet: &InboundPacket<'_>,
        kernel: &mut dyn Kernel,
        now: Instant,
    ) -> Egress {
        let mut input = Input {
            packet: packet.id,
            ingress: packet.ingress,
            kernel,
            effects: Effects::default(),
            now,
        };
        let parsed = Segment::parse(packet.bytes);
        let verdict = match parsed.map(|segment| segment.in_zone(packet.zone)) {
            Err(_) => Verdict::Accept,
            Ok(segment) if segment.flags.is_syn() && segment.ack.is_none() => {
                self.handle_data_syn(&segment, &mut input)
            }
            Ok(segment) => {
                let verdict = self.handle_segment(&segment, &mut input);
                bare_handshake(&segment, verdict)
            }
        };
        Egress {
            verdict,
            effects: input.effects,
        }
    }

    /// Serves the deadlines up to `now`, of [`TIMEOUTS_MAX`] connections at the most. Returns the
    /// effects.
    pub fn handle_timeout(&mut self, kernel: &mut dyn Kernel, now: Instant) -> Effects {
        let mut input = Input {
            packet: PacketId(0),
            ingress: None,
            kernel,
            effects: Effects::default(),
            now,
        };
        for _ in 0..TIMEOUTS_MAX {
            let Some(key) = self.flows.first_due_by(now) else {
                break;
            };
            self.handle_due(key, &mut input);
        }
        input.effects
    }

    /// Packets of any connection may have passed unseen. Those that would be kept for long are
    /// looked up with the next timeouts.
    pub fn handle_unseen(&mut self) {
        self.flows.for_each(Flow::handle_unseen);
    }

    /// When [`handle_timeout`](Self::handle_timeout) is wanted next. It may be early, never late.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.flows.next_due()
    }

    /// Whether the connection of packets with this tuple is followed.
    #[must_use]
    pub fn follows(&self, tuple: Tuple) -> bool {
        self.flows.find(tuple).is_some()
    }

    /// How many connections are followed.
    #[must_use]
    pub fn flow_count(&self) -> usize {
        self.flows.len()
    }

    /// Bytes of memory that the connections take.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.flows.memory_bytes()
    }

    fn handle_segment(&mut self, segment: &Segment<'_>, input: &mut Input<'_>) -> Verdict {
        let place = match self.place_of(segment, input) {
            Ok(place) => place,
            Err(verdict) => return verdict,
        };
        let verdict = match self.ingest(place, segment, input) {
            Some(Ok(verdict)) => verdict,
            Some(Err(_)) => self.refuse_session(place, segment, input),
            None => Verdict::Accept,
        };
        if self.flows.flow(place.key).is_some_and(Flow::is_left_alone) {
            self.remove(place.key, input);
        }
        self.flows.schedule(place.key);
        self.evict_until_fits(place.key, input);
        verdict
    }

    /// The connection that a segment belongs to, and that is followed from now on if it was not.
    ///
    /// # Errors
    /// The segment's verdict, where the connection is not followed.
    fn place_of(&mut self, segment: &Segment<'_>, input: &mut Input<'_>) -> Result<Place, Verdict> {
        let Some((key, direction)) = self.flows.find(segment.tuple) else {
            return self.track(segment, input);
        };
        let place = Place { key, direction };
        let flow = self.flows.flow(key);
        if flow.is_some_and(|flow| flow.passes_again(direction, segment, input.ingress)) {
            return Err(Verdict::Accept);
        }
        if flow.is_some_and(|flow| flow.is_doubtful(direction, segment)) {
            return self.resolve_doubt(place, segment, input);
        }
        Ok(place)
    }

    fn handle_due(&mut self, key: FlowKey, input: &mut Input<'_>) {
        self.with_flow(key, input, Flow::handle_timeout);
        if self.with_flow(key, input, Flow::handle_silence) == Some(true) {
            self.remove(key, input);
        } else {
            self.flows.reschedule(key);
        }
    }

    fn remove(&mut self, key: FlowKey, input: &mut Input<'_>) {
        self.with_flow(key, input, Flow::end);
        self.flows.remove(key);
    }

    fn with_flow<T>(
        &mut self,
        key: FlowKey,
        input: &mut Input<'_>,
        run: impl FnOnce(&mut Flow, &mut Context<'_>) -> T,
    ) -> Option<T> {
        let flow = self.flows.flow_mut(key)?;
        let sent = input.effects.packets.len();
        let mut context = Context {
            settings: &self.settings,
            shared: &self.shared,
            kernel: &mut *input.kernel,
            effects: &mut input.effects,
            expectation_ids: &mut self.expectation_ids,
            subject: flow.subject(),
            packet: input.packet,
            ingress: input.ingress,
            now: input.now,
        };
        let result = run(flow, &mut context);
        let own = input.effects.packets.iter_mut().skip(sent);
        own.for_each(|packet| flow.add_ways(packet));
        Some(result)
    }

    /// Reports what a flood could cause, no more often than [`LOG_RATE`].
    fn report_rarely(&mut self, subject: Subject, kind: EventKind, input: &mut Input<'_>) {
        if self.log_limiter.take(1, LOG_RATE, input.now) {
            input.effects.events.push(subject.event(kind));
        }
    }
}
