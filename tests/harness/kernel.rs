//! The kernel around one core: conntrack, NAT, the queue rules, the expectation table.
//!
//! Only the packets that the real rules queue reach the core. Until it has set the connection
//! liberal, these are packets with payload, FIN, RST, and SYN/ACK. Of a connection marked `opaque`
//! they are packets that begin like text, FIN, RST and SYN/ACK. The first packet of a data
//! connection is queued where its pair has a grant ([`Kernel::dial`]).

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    net::{IpAddr, SocketAddr},
    ops::{Deref, DerefMut},
    sync::Arc,
    time::{Duration, Instant},
};

use ftp_alg::proto::{
    alg::{Alg, InboundPacket},
    egress::{Effects, PacketId, Save, Verdict},
    event::{Event, EventKind, LossCause},
    expect::{ExpectError, Expectation, ExpectationId},
    flow::Settings,
    ftps::HostPair,
    kernel::{self, LookUpError, MarkError, Outcome, Renewal, SetLiberalError, TrackedConnection},
    net::{
        ConntrackTuples, Direction, IfIndex, Ingress, Layer, MacAddress, Path, PerDirection, Tuple,
    },
    saved_flow::SavedFlow,
    session::Withdrawal,
};

use super::{
    conntrack::{Conntrack, Judgement},
    frame::{ACK, FIN, Frame, RST, SYN},
};

/// The client and the server are on two sides of the gateway.
pub(crate) const IIFS: PerDirection<IfIndex> = PerDirection {
    original: IfIndex(1),
    reply: IfIndex(2),
};

/// Conntrack, NAT and queue around one core.
#[derive(Clone)]
pub(crate) struct Kernel {
    pub(crate) alg: Alg,
    model: Model,
    next_packet: u64,
    /// The packets that leave the gateway, after NAT.
    out: Vec<Frame>,
}

/// The kernel that the core asks, and a record of its requests.
#[derive(Clone)]
pub(crate) struct Model {
    pub(crate) conntrack: Vec<ConntrackTuples>,
    /// The answers to the next calls of `expect`. Later calls succeed.
    pub(crate) expect_answers: VecDeque<Result<(), ExpectError>>,
    pub(crate) refuses_liberal: bool,
    pub(crate) refuses_mark: bool,
    /// What conntrack's entries say of the packets that pass unseen.
    pub(crate) loss: LossCause,
    /// There is no daemon, and all packets pass.
    pub(crate) is_absent: bool,
    /// The interface by which the packets of each direction come.
    pub(crate) iifs: PerDirection<IfIndex>,
    /// Where the daemon sees them.
    pub(crate) layer: Layer,
    /// Packets that come by another interface than those of their direction.
    pub(crate) forged: HashMap<Vec<u8>, IfIndex>,
    /// The live expectations, with their ends.
    pub(crate) live: BTreeMap<(IpAddr, SocketAddr), (Expectation, Instant)>,
    /// All expectations so far, in order.
    pub(crate) expected: Vec<Expectation>,
    pub(crate) events: Vec<Event>,
    /// Injected packets, in order.
    pub(crate) injected: Vec<Frame>,
    /// The saved flows, by original tuple.
    pub(crate) saved: BTreeMap<Tuple, SavedFlow>,
    /// All flows that were ever saved, in their order.
    pub(crate) saves: Vec<SavedFlow>,
    /// The number of packets that the core got.
    pub(crate) queued: usize,
    /// Pairs whose first packets to any port are queued.
    pub(crate) granted: HashSet<HostPair>,
    /// Data connections that were expected, and have not ended.
    pub(crate) children: HashSet<Tuple>,
    /// How long conntrack keeps a control connection of which no packet comes; for ever, if it is
    /// not said.
    pub(crate) idle_timeout: Option<Duration>,
    /// When the core has given the control connection its time again.
    pub(crate) extended: Vec<Instant>,
    /// How often the core has searched for a data connection.
    pub(crate) searches: usize,
    /// When the last packet of a control connection came, or its time began anew.
    touched: Instant,
    /// How often the core has asked for a connection.
    pub(crate) look_ups: usize,
    /// Conntrack cannot be asked.
    pub(crate) refuses_look_up: Option<LookUpError>,
    /// The states of the connections.
    pub(crate) states: Conntrack,
    liberal: HashSet<Tuple>,
    opaque: HashSet<Tuple>,
    untouched: HashSet<Tuple>,
    now: Instant,
    traces: bool,
}

impl Deref for Kernel {
    type Target = Model;

    fn deref(&self) -> &Model {
        &self.model
    }
}

impl DerefMut for Kernel {
    fn deref_mut(&mut self) -> &mut Model {
        &mut self.model
    }
}

impl Kernel {
    pub(crate) fn new(settings: Settings) -> Self {
        Self {
            alg: Alg::new(settings, Arc::default()),
            model: Model {
                conntrack: Vec::new(),
                expect_answers: VecDeque::new(),
                refuses_liberal: false,
                refuses_mark: false,
                loss: LossCause::Unknown,
                is_absent: false,
                iifs: IIFS,
                layer: Layer::Routed,
                forged: HashMap::new(),
                live: BTreeMap::new(),
                expected: Vec::new(),
                events: Vec::new(),
                injected: Vec::new(),
                saved: BTreeMap::new(),
                saves: Vec::new(),
                queued: 0,
                granted: HashSet::new(),
                children: HashSet::new(),
                idle_timeout: None,
                extended: Vec::new(),
                searches: 0,
                touched: super::origin(),
                look_ups: 0,
                refuses_look_up: None,
                states: Conntrack::default(),
                liberal: HashSet::new(),
                opaque: HashSet::new(),
                untouched: HashSet::new(),
                now: super::origin(),
                traces: std::env::var_os("FTP_ALG_TRACE").is_some(),
            },
            next_packet: 0,
            out: Vec::new(),
        }
    }

    /// The packets that have left since the last call, with the addresses that their receivers
    /// know.
    pub(crate) fn poll_frames(&mut self) -> Vec<Frame> {
        std::mem::take(&mut self.out)
    }

    pub(crate) fn handle_packet(&mut self, packet: &[u8], now: Instant) {
        self.touched = now;
        let frame = Frame::decode(packet);
        let tuple = tuple_of(&frame);
        let Some(tuples) = self.lookup(tuple) else {
            return;
        };
        // The table drops it, whether there is a daemon or not.
        if frame.has(SYN) && !frame.has(ACK) && !frame.payload.is_empty() {
            return;
        }
        match self.states.handle_frame(&frame, &tuples) {
            Judgement::Tracked => {}
            Judgement::New => self.forget_marks_of(&tuples),
            Judgement::Invalid => return self.out.push(frame),
        }
        if self.is_absent || !self.is_queued(&frame, &tuples) {
            return self.forward(packet, &tuples);
        }
        self.handle_queued(packet, &tuples, now);
    }

    /// A packet of a connection comes out of the queue.
    pub(crate) fn handle_queued(&mut self, packet: &[u8], tuples: &ConntrackTuples, now: Instant) {
        let tuple = tuple_of(&Frame::decode(packet));
        let direction = tuples.direction_of(tuple).expect("its own tuple");
        let forged = self.forged.remove(packet);
        let iif = forged.unwrap_or(self.iifs[direction]);
        let (verdict, effects) = self.ask_core(packet, iif, now);
        match verdict {
            Verdict::Accept => self.forward(packet, tuples),
            Verdict::Drop => {}
            Verdict::Replace(packet) => self.forward(&packet, tuples),
        }
        self.execute(effects);
    }

    /// The first packet of a data connection, `seq` its number; tells where it is let in to, or
    /// belongs to already.
    pub(crate) fn dial(&mut self, tuple: Tuple, seq: u32, now: Instant) -> Option<SocketAddr> {
        let pair = HostPair {
            client: tuple.source.ip(),
            server: tuple.destination.ip(),
        };
        if self.granted.contains(&pair) && !self.is_absent {
            let mut frame = Frame::new(tuple.source, tuple.destination);
            (frame.seq, frame.flags) = (seq, SYN);
            let iif = self.iifs.original;
            let (verdict, effects) = self.ask_core(&frame.encode(), iif, now);
            assert_eq!(verdict, Verdict::Accept);
            self.execute(effects);
        }
        if self.children.contains(&tuple) {
            return Some(tuple.destination);
        }
        let key = (tuple.source.ip(), tuple.destination);
        let (expectation, _) = self.live.remove(&key)?;
        self.children.insert(tuple);
        Some(expectation.translated_destination)
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.alg.poll_timeout()
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        self.begin(now);
        let effects = self.alg.handle_timeout(&mut self.model, now);
        self.execute(effects);
    }

    /// Kills and restarts the daemon. Only the kernel's marks and the saved flows
    /// are left.
    pub(crate) fn restart(&mut self, settings: Settings) {
        self.alg = Alg::new(settings, Arc::default());
    }

    /// Conntrack has lost the entry of the first connection, and the daemon has put it back with
    /// its mark.
    pub(crate) fn put_back_entry(&mut self) {
        let tuples = self.conntrack[0];
        self.states.put_back(&tuples);
    }

    /// Makes conntrack's entries new ones with the same tuples.
    pub(crate) fn forget_marks(&mut self) {
        self.states.forget_all();
        self.liberal.clear();
        self.opaque.clear();
        self.untouched.clear();
    }

    /// Whether conntrack has seen the end of the first connection.
    pub(crate) fn is_over(&self) -> bool {
        self.states.is_over(&self.model.conntrack[0])
    }

    /// What conntrack knows of the connections beside their tuples, as text.
    pub(crate) fn conntrack_text(&self) -> String {
        let (liberal, opaque) = (&self.liberal, &self.opaque);
        format!(
            "{:?} {liberal:?} {opaque:?} {:?}",
            self.states, self.untouched
        )
    }

    /// The endpoint that a data connection would reach, by its first packet at the gateway. `None`
    /// where none is expected.
    pub(crate) fn admits(&self, source: IpAddr, destination: SocketAddr) -> Option<SocketAddr> {
        let live = self.live.values().map(|(expectation, _)| expectation);
        let admitting = live.into_iter().find(|expectation| {
            expectation.destination == destination && expectation.sources().contains(source)
        });
        admitting.map(|expectation| expectation.translated_destination)
    }

    pub(crate) fn has_lost_sync(&self) -> bool {
        let is_loss = |kind: &EventKind| matches!(kind, EventKind::LostSync { .. });
        self.event_kinds().iter().any(is_loss)
    }

    /// The kinds of the events so far, without announcements.
    pub(crate) fn event_kinds(&self) -> Vec<EventKind> {
        let kinds = self.events.iter().map(|event| event.kind.clone());
        kinds
            .filter(|kind| !matches!(kind, EventKind::Announcement(_)))
            .collect()
    }

    fn is_queued(&self, frame: &Frame, tuples: &ConntrackTuples) -> bool {
        if frame.has(SYN) && !frame.has(ACK) {
            return false;
        }
        if self.is_untouched(tuples) {
            return false;
        }
        if self.is_opaque(tuples) && frame.flags & (FIN | RST | SYN) == 0 {
            let first = frame.payload.first();
            return first.is_some_and(|octet| (b'0'..=b'z').contains(octet));
        }
        let is_pure_ack = frame.payload.is_empty() && frame.flags & (FIN | RST | SYN) == 0;
        !is_pure_ack || self.is_liberal(tuples)
    }

    fn ask_core(&mut self, packet: &[u8], iif: IfIndex, now: Instant) -> (Verdict, Effects) {
        self.begin(now);
        self.queued += 1;
        self.next_packet += 1;
        // Each end is behind a port of its own, and its address is that port's number.
        let path = match self.layer {
            Layer::Routed => Path::Routed,
            Layer::Bridged => Path::Bridged {
                port: iif,
                sender: Some(MacAddress([iif.0 as u8; 6])),
            },
        };
        let inbound = InboundPacket {
            ingress: Some(Ingress {
                iif,
                path,
                layer: self.layer,
                ..Ingress::default()
            }),
            ..InboundPacket::new(PacketId(self.next_packet), packet)
        };
        let egress = self.alg.handle_packet(&inbound, &mut self.model, now);
        (egress.verdict, egress.effects)
    }

    fn begin(&mut self, now: Instant) {
        self.model.now = now;
        self.model.live.retain(|_, (_, until)| *until > now);
    }

    fn execute(&mut self, effects: Effects) {
        for save in effects.saves {
            match save {
                Save::Store(saved) => {
                    let original = saved.tuples().of(Direction::Original);
                    self.saves.push(SavedFlow::clone(&saved));
                    self.saved.insert(original, *saved);
                }
                Save::Delete(tuples) => {
                    self.saved.remove(&tuples.of(Direction::Original));
                }
            }
        }
        for packet in effects.packets {
            let frame = Frame::decode(&packet.bytes);
            self.injected.push(frame.clone());
            self.out.push(frame);
        }
        for event in effects.events {
            if self.traces {
                eprintln!("          event {:?}", event.kind);
            }
            self.events.push(event);
        }
    }

    /// Translates a packet and lets it out.
    fn forward(&mut self, packet: &[u8], tuples: &ConntrackTuples) {
        let mut frame = Frame::decode(packet);
        let direction = tuples
            .direction_of(tuple_of(&frame))
            .expect("the verdict's packet is of its connection");
        let after = tuples.of(!direction).inverted();
        frame.source = after.source;
        frame.destination = after.destination;
        self.out.push(frame);
    }
}

impl Model {
    fn lookup(&self, tuple: Tuple) -> Option<ConntrackTuples> {
        self.conntrack
            .iter()
            .rev()
            .find(|tuples| tuples.direction_of(tuple).is_some())
            .copied()
    }

    fn forget_marks_of(&mut self, tuples: &ConntrackTuples) {
        let original = tuples.of(Direction::Original);
        for marked in [&mut self.liberal, &mut self.opaque, &mut self.untouched] {
            marked.remove(&original);
        }
    }

    pub(crate) fn is_liberal(&self, tuples: &ConntrackTuples) -> bool {
        self.liberal.contains(&tuples.of(Direction::Original))
    }

    pub(crate) fn is_opaque(&self, tuples: &ConntrackTuples) -> bool {
        self.opaque.contains(&tuples.of(Direction::Original))
    }

    pub(crate) fn is_untouched(&self, tuples: &ConntrackTuples) -> bool {
        self.untouched.contains(&tuples.of(Direction::Original))
    }

    fn is_live(&self, original: Tuple) -> bool {
        let mut masters = self.conntrack.iter();
        self.children.contains(&original)
            || masters
                .any(|one| one.of(Direction::Original) == original && !self.states.is_over(one))
    }
}

impl kernel::Kernel for Model {
    fn look_up(&mut self, tuple: Tuple) -> Result<Option<TrackedConnection>, LookUpError> {
        self.look_ups += 1;
        if let Some(error) = self.refuses_look_up {
            return Err(error);
        }
        let found = self.lookup(tuple);
        Ok(found.map(|tuples| TrackedConnection {
            id: self.states.id(&tuples),
            is_beginning: self.states.is_beginning(&tuples),
            is_established: self.states.is_established(&tuples),
            is_over: self.states.is_over(&tuples),
            is_adjusted: self.is_liberal(&tuples) || self.is_untouched(&tuples),
            is_opaque: self.is_opaque(&tuples) || self.is_untouched(&tuples),
            is_offloaded: self.loss == LossCause::Offloaded,
            is_renumbered: self.loss == LossCause::Renumbered,
            ..TrackedConnection::unmarked(tuples)
        }))
    }

    fn load(&mut self, tuples: &ConntrackTuples) -> Option<SavedFlow> {
        self.saved.get(&tuples.of(Direction::Original)).cloned()
    }

    fn set_liberal(&mut self, tuples: &ConntrackTuples) -> Result<(), SetLiberalError> {
        if self.refuses_liberal {
            return Err(SetLiberalError);
        }
        self.liberal.insert(tuples.of(Direction::Original));
        Ok(())
    }

    fn expect(
        &mut self,
        _: ExpectationId,
        expectation: &Expectation,
        master: &ConntrackTuples,
    ) -> Result<(), ExpectError> {
        assert!(self.conntrack.contains(master));
        self.expect_answers.pop_front().unwrap_or(Ok(()))?;
        let key = (expectation.source, expectation.destination);
        if self.live.contains_key(&key) {
            return Err(ExpectError::Clash);
        }
        let until = self.now + expectation.timeout;
        self.live.insert(key, (*expectation, until));
        self.expected.push(*expectation);
        Ok(())
    }

    fn unexpect(
        &mut self,
        _: ExpectationId,
        expectation: &Expectation,
        _: &ConntrackTuples,
        _: Withdrawal,
    ) -> Outcome {
        self.live
            .remove(&(expectation.source, expectation.destination));
        Outcome::Unknown
    }

    fn renew(
        &mut self,
        _: ExpectationId,
        expectation: &Expectation,
        _: &ConntrackTuples,
    ) -> Renewal {
        let key = (expectation.source, expectation.destination);
        let until = self.now + expectation.timeout;
        match self.live.get_mut(&key) {
            Some(live) => {
                *live = (*expectation, until);
                Renewal::Renewed
            }
            None => Renewal::Used,
        }
    }

    fn lifetime(&mut self, _: &ConntrackTuples) -> Option<Duration> {
        let end = self.touched + self.idle_timeout?;
        let left = end.saturating_duration_since(self.now).as_secs();
        (left > 0).then(|| Duration::from_secs(left))
    }

    fn extend(&mut self, _: &ConntrackTuples, _: Duration) {
        self.touched = self.now;
        self.extended.push(self.now);
    }

    fn find_expected(&mut self, expectation: &Expectation) -> Result<Option<Tuple>, LookUpError> {
        self.searches += 1;
        let mut children = self.children.iter();
        let found = children.find(|child| {
            child.destination == expectation.destination
                && expectation.sources().contains(child.source.ip())
        });
        Ok(found.copied())
    }

    fn are_alive(&mut self, originals: &[Tuple]) -> Vec<Tuple> {
        let is_alive = |tuple: &&Tuple| self.is_live(**tuple) || self.children.contains(*tuple);
        let alive = originals.iter().filter(is_alive);
        alive.copied().collect()
    }

    fn mark_opaque(&mut self, tuples: &ConntrackTuples) {
        self.opaque.insert(tuples.of(Direction::Original));
    }

    fn mark_readable(&mut self, tuples: &ConntrackTuples) {
        self.opaque.remove(&tuples.of(Direction::Original));
    }

    fn mark_untouched(&mut self, tuples: &ConntrackTuples) -> Result<(), MarkError> {
        if self.refuses_mark {
            return Err(MarkError);
        }
        self.untouched.insert(tuples.of(Direction::Original));
        Ok(())
    }

    fn queue_data_syns(&mut self, pair: HostPair) {
        self.granted.insert(pair);
    }

    fn pass_data_syns(&mut self, pair: HostPair) {
        self.granted.remove(&pair);
    }
}

fn tuple_of(frame: &Frame) -> Tuple {
    Tuple::new(frame.source, frame.destination)
}
