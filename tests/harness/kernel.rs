//! The kernel around one core: conntrack, NAT, the queue rules, the expectation table.
//!
//! Until the core has asked for `RelaxWindow`, only what the real rules queue reaches it: packets
//! with payload, FIN, RST, and SYN/ACK. Pure acknowledgements pass it by. Of a connection marked
//! `opaque` only what begins as text does is, beside FIN, RST and SYN/ACK. A data connection's first
//! packet is where its pair is granted something ([`Kernel::dial`]).

use std::{
    collections::{BTreeMap, HashSet, VecDeque},
    net::{IpAddr, SocketAddr},
    time::Instant,
};

use ftp_alg::proto::{
    action::{Action, Event, EventKind, PacketId, Verdict},
    alg::Alg,
    expect::{ExpectError, Expectation, Stage},
    flow::Settings,
    nat::LocalLeases,
    net::{ConntrackTuples, Direction, IfIndex, PerDirection, Tuple},
    saved_flow::SavedFlow,
    tls::HostPair,
};

use super::frame::{ACK, FIN, Frame, RST, SYN};

/// Client and server are on two sides of the gateway.
pub(crate) const LINKS: PerDirection<IfIndex> = PerDirection {
    original: IfIndex(1),
    reply: IfIndex(2),
};

/// Conntrack, NAT and queue around one core.
pub(crate) struct Kernel {
    pub(crate) alg: Alg<LocalLeases>,
    pub(crate) conntrack: Vec<ConntrackTuples>,
    /// Answers to the next `Expect` actions that are not simply "done".
    pub(crate) expect_answers: VecDeque<Result<(), ExpectError>>,
    pub(crate) refuses_relax: bool,
    /// No daemon is there: every packet passes.
    pub(crate) is_absent: bool,
    /// By which link each direction's packets come in.
    pub(crate) links: PerDirection<IfIndex>,
    /// What is let in now, and until when; the kernel's own timeout ends it.
    pub(crate) live: BTreeMap<(IpAddr, SocketAddr), (Expectation, Instant)>,
    /// What is set aside, and lets nothing in.
    pub(crate) reserved: HashSet<(IpAddr, SocketAddr)>,
    /// Every expectation that was opened, in order.
    pub(crate) expected: Vec<Expectation>,
    pub(crate) events: Vec<Event>,
    /// Injected packets, in order.
    pub(crate) injected: Vec<Frame>,
    /// What is kept for a later process, by the connection's original tuple.
    pub(crate) remembered: BTreeMap<Tuple, SavedFlow>,
    /// How many packets the core has looked at.
    pub(crate) queued: usize,
    /// Pairs whose first packets to any port are queued.
    pub(crate) granted: HashSet<HostPair>,
    /// Data connections that were let in, and have not ended.
    pub(crate) children: HashSet<Tuple>,
    relaxed: HashSet<Tuple>,
    opaque: HashSet<Tuple>,
    next_packet: u64,
    traces: bool,
    /// What leaves the gateway, after NAT.
    out: Vec<Frame>,
}

impl Kernel {
    pub(crate) fn new(settings: Settings) -> Self {
        Self {
            alg: Alg::new(settings, LocalLeases::default()),
            conntrack: Vec::new(),
            expect_answers: VecDeque::new(),
            refuses_relax: false,
            is_absent: false,
            links: LINKS,
            live: BTreeMap::new(),
            reserved: HashSet::new(),
            expected: Vec::new(),
            events: Vec::new(),
            injected: Vec::new(),
            remembered: BTreeMap::new(),
            queued: 0,
            granted: HashSet::new(),
            children: HashSet::new(),
            relaxed: HashSet::new(),
            opaque: HashSet::new(),
            next_packet: 0,
            traces: std::env::var_os("FTP_ALG_TRACE").is_some(),
            out: Vec::new(),
        }
    }

    /// What has left since the last call, addressed as its receiver knows its peer.
    pub(crate) fn poll_frames(&mut self) -> Vec<Frame> {
        std::mem::take(&mut self.out)
    }

    pub(crate) fn handle_packet(&mut self, packet: &[u8], now: Instant) {
        let frame = Frame::decode(packet);
        let tuple = tuple_of(&frame);
        let Some(tuples) = self.lookup(tuple) else {
            return;
        };
        if self.is_absent || !self.is_queued(&frame, &tuples) {
            return self.forward(packet, &tuples);
        }
        self.queued += 1;
        self.next_packet += 1;
        let id = PacketId(self.next_packet);
        let direction = tuples.direction_of(tuple).expect("its own tuple");
        self.alg
            .handle_packet_from(self.links[direction], id, packet, now);
        let verdict = self.run_actions(now);
        match verdict.expect("each packet gets a verdict") {
            (given, _) if given != id => panic!("a verdict for another packet"),
            (_, Verdict::Accept) => self.forward(packet, &tuples),
            (_, Verdict::Drop) => {}
            (_, Verdict::Replace(packet)) => self.forward(&packet, &tuples),
        }
        // What was injected before the verdict has already left; the order on the wire is the
        // order of the actions.
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
            self.queued += 1;
            self.next_packet += 1;
            let id = PacketId(self.next_packet);
            self.alg
                .handle_packet_from(self.links.original, id, &frame.encode(), now);
            let verdict = self.run_actions(now);
            assert_eq!(verdict, Some((id, Verdict::Accept)));
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
        self.alg.handle_timeout(now);
        assert_eq!(self.run_actions(now), None, "a verdict without a packet");
    }

    /// The daemon is killed and started again: only the kernel's marks and what was remembered
    /// are left.
    pub(crate) fn restart(&mut self, settings: Settings) {
        self.alg = Alg::new(settings, LocalLeases::default());
    }

    /// Conntrack's entries are new ones under the same tuples.
    pub(crate) fn forget_marks(&mut self) {
        self.relaxed.clear();
        self.opaque.clear();
    }

    pub(crate) fn is_relaxed(&self, tuples: &ConntrackTuples) -> bool {
        self.relaxed.contains(&tuples.of(Direction::Original))
    }

    pub(crate) fn is_opaque(&self, tuples: &ConntrackTuples) -> bool {
        self.opaque.contains(&tuples.of(Direction::Original))
    }

    /// Whether the data connection would be let in: as its first packet arrives at the gateway.
    /// Where it would be sent to.
    pub(crate) fn admits(&self, source: IpAddr, destination: SocketAddr) -> Option<SocketAddr> {
        self.live
            .get(&(source, destination))
            .map(|(expectation, _)| expectation.translated_destination)
    }

    /// The kinds of event so far, but for announcements.
    pub(crate) fn event_kinds(&self) -> Vec<EventKind> {
        let kinds = self.events.iter().map(|event| event.kind.clone());
        kinds
            .filter(|kind| !matches!(kind, EventKind::Announcement(_)))
            .collect()
    }

    fn lookup(&self, tuple: Tuple) -> Option<ConntrackTuples> {
        self.conntrack
            .iter()
            .rev()
            .find(|tuples| tuples.direction_of(tuple).is_some())
            .copied()
    }

    fn is_queued(&self, frame: &Frame, tuples: &ConntrackTuples) -> bool {
        if frame.has(SYN) && !frame.has(ACK) {
            return false;
        }
        if self.is_opaque(tuples) && frame.flags & (FIN | RST | SYN) == 0 {
            let first = frame.payload.first();
            return first.is_some_and(|octet| (b'0'..=b'z').contains(octet));
        }
        let is_pure_ack = frame.payload.is_empty() && frame.flags & (FIN | RST | SYN) == 0;
        !is_pure_ack || self.is_relaxed(tuples)
    }

    /// Carries the core's actions out; gives the verdict.
    fn run_actions(&mut self, now: Instant) -> Option<(PacketId, Verdict)> {
        self.live.retain(|_, (_, until)| *until > now);
        let mut given = None;
        while let Some(action) = self.alg.poll_action() {
            match action {
                Action::Resolve { tuple } => self.resolve(tuple, now),
                Action::RelaxWindow { tuples } => {
                    let is_relaxed = !self.refuses_relax;
                    if is_relaxed {
                        self.relaxed.insert(tuples.of(Direction::Original));
                    }
                    self.alg.handle_relaxed(is_relaxed, now);
                }
                Action::Expect {
                    id,
                    expectation,
                    stage,
                    master,
                } => {
                    assert!(given.is_none(), "the announcement has left already");
                    assert!(self.conntrack.contains(&master));
                    let answer = self.expect(expectation, stage, now);
                    self.alg.handle_expected(id, answer, now);
                }
                Action::Unexpect {
                    expectation, stage, ..
                } => self.unexpect(expectation, stage),
                Action::MarkOpaque { tuples } => {
                    self.opaque.insert(tuples.of(Direction::Original));
                }
                Action::MarkReadable { tuples } => {
                    self.opaque.remove(&tuples.of(Direction::Original));
                }
                Action::Grant { pair } => drop(self.granted.insert(pair)),
                Action::Revoke { pair } => drop(self.granted.remove(&pair)),
                Action::FindLive { mut tuples } => {
                    tuples.retain(|tuple| self.is_live(*tuple));
                    self.alg.handle_live(&tuples, now);
                }
                Action::Verdict { packet, verdict } => {
                    assert!(given.is_none(), "two verdicts");
                    given = Some((packet, verdict));
                }
                Action::Inject { packet } => {
                    let frame = Frame::decode(&packet);
                    self.injected.push(frame.clone());
                    self.out.push(frame);
                }
                Action::Remember(memory) => {
                    assert!(given.is_none(), "what depends on it has left already");
                    let original = memory.tuples().of(Direction::Original);
                    self.remembered.insert(original, memory);
                }
                Action::Forget { tuples } => {
                    self.remembered.remove(&tuples.of(Direction::Original));
                }
                Action::Report(event) => self.tell(event),
            }
        }
        given
    }

    fn tell(&mut self, event: Event) {
        if self.traces {
            eprintln!("           said {:?}", event.kind);
        }
        self.events.push(event);
    }

    fn is_live(&self, original: Tuple) -> bool {
        let mut masters = self.conntrack.iter();
        self.children.contains(&original)
            || masters.any(|one| one.of(Direction::Original) == original)
    }

    /// Only a connection that is marked is one of an earlier process.
    fn resolve(&mut self, tuple: Tuple, now: Instant) {
        let tuples = self.lookup(tuple);
        if let Some(opaque) = tuples.filter(|tuples| self.is_opaque(tuples)) {
            return self.alg.handle_encrypted(opaque, now);
        }
        let Some(marked) = tuples.filter(|tuples| self.is_relaxed(tuples)) else {
            return self.alg.handle_resolved(tuples, now);
        };
        match self.remembered.get(&marked.of(Direction::Original)) {
            Some(memory) => self.alg.handle_recalled(&memory.clone(), now),
            None => self.alg.handle_forgotten(marked, now),
        }
    }

    fn expect(
        &mut self,
        expectation: Expectation,
        stage: Stage,
        now: Instant,
    ) -> Result<(), ExpectError> {
        self.expect_answers.pop_front().unwrap_or(Ok(()))?;
        let key = (expectation.source, expectation.destination);
        if stage == Stage::Reserved {
            self.reserved.insert(key);
            return Ok(());
        }
        self.reserved.remove(&key);
        if self.live.contains_key(&key) {
            return Err(ExpectError::Clash);
        }
        let until = now + expectation.timeout;
        self.live.insert(key, (expectation, until));
        self.expected.push(expectation);
        Ok(())
    }

    fn unexpect(&mut self, expectation: Expectation, stage: Stage) {
        let key = (expectation.source, expectation.destination);
        match stage {
            Stage::Reserved => drop(self.reserved.remove(&key)),
            Stage::Open => drop(self.live.remove(&key)),
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

fn tuple_of(frame: &Frame) -> Tuple {
    Tuple {
        source: frame.source,
        destination: frame.destination,
    }
}
