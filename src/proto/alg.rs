//! The contract of the core: packets, answers and times in; actions out.
//!
//! Methods come in three families:
//!
//! * inputs: [`handle_packet`](Alg::handle_packet), [`handle_timeout`](Alg::handle_timeout), and
//!   the answers to actions, `handle_resolved`, `handle_relaxed`, `handle_expected` and `handle_live`;
//! * outputs: [`poll_action`](Alg::poll_action), [`poll_timeout`](Alg::poll_timeout);
//! * getters.
//!
//! After each input, call `poll_action` until it gives `None`, carrying the actions out in
//! order. An action that wants an answer gets it before the next input. `now` never goes back.
//! Nothing here panics, whatever the packets hold.

mod admission;
mod data_syn;
mod pending;
mod table;

pub use table::FLOWS_MAX;

use std::{collections::VecDeque, time::Instant};

use self::{
    admission::{LogLimiter, SessionLimitReached},
    pending::{Answer, Pending, Stalled},
    table::{FlowKey, FlowTable},
};
use super::{
    action::{Action, PacketId, Verdict},
    budget::HostBudgets,
    expect::{ExpectError, ExpectationId},
    flow::{Context, Departure, Flow, Request, Settings},
    nat::PortLeases,
    net::{Direction, IfIndex},
    packet::Segment,
    tls::Grants,
};

/// The FTP helper of one queue: every packet of a control connection goes through the same one.
pub struct Alg<L> {
    settings: Settings,
    leases: L,
    flows: FlowTable,
    actions: VecDeque<Action>,
    pending: Option<(Answer, Pending)>,
    /// By which link the packet at hand came, where that is known.
    link: Option<IfIndex>,
    last_expectation: u64,
    last_session: u64,
    /// Sessions of different cores are told apart by their remainder.
    session_step: u64,
    told: LogLimiter,
}

impl<L: PortLeases + HostBudgets + Grants> Alg<L> {
    /// A helper without connections.
    #[must_use]
    pub fn new(settings: Settings, leases: L) -> Self {
        Self::of_worker(settings, leases, (0, 1))
    }

    /// One of several helpers that work side by side, whose session ids differ: `(index, count)`.
    #[must_use]
    pub fn of_worker(settings: Settings, leases: L, (index, count): (u64, u64)) -> Self {
        Self {
            settings,
            leases,
            flows: FlowTable::default(),
            actions: VecDeque::new(),
            pending: None,
            link: None,
            last_expectation: 0,
            last_session: index,
            session_step: count.max(1),
            told: LogLimiter::default(),
        }
    }

    /// Takes the settings that hold from now on; what is pending keeps its own.
    pub fn handle_settings(&mut self, settings: Settings) {
        self.settings = settings;
    }

    /// Takes one packet in. It gets exactly one [`Action::Verdict`].
    ///
    /// A packet that is not a readable TCP segment passes as it is. A connection's first packet is one
    /// of a data connection, since those of control connections are not queued. A packet that comes while an
    /// answer is due is dropped: its sender repeats it.
    pub fn handle_packet(&mut self, packet: PacketId, bytes: &[u8], now: Instant) {
        self.take_in(None, packet, bytes, now);
    }

    /// The same of a packet that came by this link. One in the name of an end that is elsewhere is
    /// dropped.
    pub fn handle_packet_from(
        &mut self,
        link: IfIndex,
        packet: PacketId,
        bytes: &[u8],
        now: Instant,
    ) {
        self.take_in(Some(link), packet, bytes, now);
    }

    fn take_in(&mut self, link: Option<IfIndex>, packet: PacketId, bytes: &[u8], now: Instant) {
        if self.pending.is_some() {
            return self.conclude(packet, Verdict::Drop);
        }
        // Only now: the packet whose answer is due has a link of its own.
        self.link = link;
        let Ok(segment) = Segment::parse(bytes) else {
            return self.conclude(packet, Verdict::Accept);
        };
        if segment.flags.is_syn() && segment.ack.is_none() {
            return self.handle_newcomer(packet, &segment, now);
        }
        match self.find(&segment) {
            Some(place) => self.handle_segment(place, packet, &segment, now),
            None => {
                self.actions.push_back(Action::Resolve {
                    tuple: segment.tuple,
                });
                let stalled = Stalled {
                    packet,
                    bytes: bytes.to_vec(),
                };
                self.pending = Some((Answer::Resolved, Pending::Unresolved(stalled)));
            }
        }
    }

    /// The answer to [`Action::RelaxWindow`]: whether the kernel did it.
    pub fn handle_relaxed(&mut self, is_relaxed: bool, now: Instant) {
        self.resume(Answer::Relaxed, now, |flow, context| {
            flow.handle_relaxed(is_relaxed, context)
        });
    }

    /// The answer to [`Action::Expect`].
    pub fn handle_expected(
        &mut self,
        id: ExpectationId,
        result: Result<(), ExpectError>,
        now: Instant,
    ) {
        if self.awaits_newcomer() {
            return self.handle_newcomer_expected(id, result, now);
        }
        self.resume(Answer::Expected(id), now, |flow, context| {
            flow.handle_expected(id, result, context)
        });
    }

    /// Does what is due by `now`.
    pub fn handle_timeout(&mut self, now: Instant) {
        while self.pending.is_none() {
            let Some(key) = self.flows.first_due_by(now) else {
                return;
            };
            self.advance_timeout(key, now);
        }
    }

    /// The next action, in order; `None` where there is none until the next input.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// When [`handle_timeout`](Self::handle_timeout) is wanted next. It may be early, never late.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.flows.next_due()
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

    /// The connection that a segment belongs to. A handshake of another one under the same tuple
    /// belongs to none that is known: its other tuple may differ.
    fn find(&self, segment: &Segment<'_>) -> Option<(FlowKey, Direction)> {
        let (key, direction) = self.flows.find(segment.tuple)?;
        let flow = self.flows.flow(key)?;
        (!flow.is_replaced_by(direction, segment)).then_some((key, direction))
    }

    /// The pending matter, if this is the answer it waits for.
    fn take_pending(&mut self, answer: Answer) -> Option<Pending> {
        let pending = self.pending.take_if(|(due, _)| *due == answer);
        pending.map(|(_, pending)| pending)
    }

    fn handle_segment(
        &mut self,
        (key, direction): (FlowKey, Direction),
        packet: PacketId,
        segment: &Segment<'_>,
        now: Instant,
    ) {
        let link = self.link;
        let verdict = self.with_flow(key, now, |flow, context| {
            if link.is_some_and(|link| !flow.admit_link(direction, link, context)) {
                return Ok(Some(Verdict::Drop));
            }
            if !flow.take_place(segment, context) {
                return Err(SessionLimitReached);
            }
            Ok(flow.handle_segment(direction, segment, context))
        });
        match verdict {
            Some(Ok(Some(verdict))) => self.finish(key, (packet, verdict), now),
            Some(Ok(None)) => self.advance((key, direction), packet, segment, now),
            Some(Err(SessionLimitReached)) => self.refuse((key, direction), packet, segment, now),
            None => self.conclude(packet, Verdict::Accept),
        }
    }

    /// Looks at the next lines of a packet, and concludes it once all were looked at.
    fn advance(
        &mut self,
        (key, direction): (FlowKey, Direction),
        packet: PacketId,
        segment: &Segment<'_>,
        now: Instant,
    ) {
        let request = self
            .with_flow(key, now, |flow, context| {
                flow.poll_request(direction, packet, context)
            })
            .flatten();
        if let Some(request) = request {
            let stalled = Stalled {
                packet,
                bytes: segment.packet().to_vec(),
            };
            return self.ask(request, Pending::Lines(key, direction, stalled));
        }
        let departure = self.with_flow(key, now, |flow, context| {
            flow.finish_segment(direction, segment, context)
        });
        let departure = departure.unwrap_or(Departure::of(Verdict::Accept));
        self.finish(key, (packet, departure.verdict), now);
        for packet in departure.injected {
            self.actions.push_back(Action::Inject { packet });
        }
    }

    /// Goes on where an answer was due.
    fn resume(
        &mut self,
        due: Answer,
        now: Instant,
        answer: impl FnOnce(&mut Flow, &mut Context<'_>) -> Option<Request>,
    ) {
        let Some(pending) = self.take_pending(due) else {
            return;
        };
        let (Pending::Lines(key, ..) | Pending::Timeout(key)) = &pending else {
            return;
        };
        let key = *key;
        if let Some(request) = self.with_flow(key, now, answer).flatten() {
            return self.ask(request, pending);
        }
        match pending {
            Pending::Lines(key, direction, stalled) => {
                if let Ok(segment) = Segment::parse(&stalled.bytes) {
                    self.advance((key, direction), stalled.packet, &segment, now);
                }
            }
            Pending::Unresolved(_) | Pending::DataSyn(_) | Pending::Timeout(_) => {
                self.advance_timeout(key, now);
            }
        }
    }

    fn advance_timeout(&mut self, key: FlowKey, now: Instant) {
        if let Some(request) = self.with_flow(key, now, Flow::handle_timeout).flatten() {
            self.ask(request, Pending::Timeout(key));
        } else if self.flows.flow(key).is_some_and(|flow| flow.is_over(now)) {
            self.remove(key, now);
        } else {
            self.flows.reschedule(key);
        }
    }

    fn ask(&mut self, request: Request, pending: Pending) {
        let (answer, action) = match request {
            Request::RelaxWindow { tuples } => (Answer::Relaxed, Action::RelaxWindow { tuples }),
            Request::Expect {
                id,
                expectation,
                stage,
                master,
            } => {
                let action = Action::Expect {
                    id,
                    expectation,
                    stage,
                    master,
                };
                (Answer::Expected(id), action)
            }
        };
        self.actions.push_back(action);
        self.pending = Some((answer, pending));
    }

    fn finish(&mut self, key: FlowKey, (packet, verdict): (PacketId, Verdict), now: Instant) {
        self.flows.schedule(key);
        self.conclude(packet, verdict);
        self.make_room(Some(key), now);
    }

    fn conclude(&mut self, packet: PacketId, verdict: Verdict) {
        self.actions.push_back(Action::Verdict { packet, verdict });
    }

    fn with_flow<T>(
        &mut self,
        key: FlowKey,
        now: Instant,
        run: impl FnOnce(&mut Flow, &mut Context<'_>) -> T,
    ) -> Option<T> {
        let flow = self.flows.flow_mut(key)?;
        let mut context = Context {
            settings: &self.settings,
            leases: &self.leases,
            hosts: &self.leases,
            grants: &self.leases,
            actions: &mut self.actions,
            last_expectation: &mut self.last_expectation,
            now,
        };
        Some(run(flow, &mut context))
    }
}
