//! First packets of data connections that nobody announced readably: those of encrypted sessions.
//!
//! Each is queued before conntrack has seen it. It is looked up what its client is granted, the kernel
//! asked what of that is still alive, and one expectation made for this connection alone; then it goes
//! on, and conntrack finds the expectation. Whatever is wrong, it goes on as well, and nothing is opened
//! for it: the operator's rules decide, as if there were no grant.

use std::{net::SocketAddr, time::Instant};

use super::{
    Alg,
    admission::LOG_RATE,
    pending::{Answer, Pending},
};
use crate::proto::{
    action::{Action, Event, EventKind, PacketId, Verdict},
    budget::HostBudgets,
    expect::{ExpectError, Expectation, ExpectationId, Stage},
    nat::{PortLeases, Translation, addresses_of},
    net::{ConntrackTuples, Direction, Tuple},
    packet::Segment,
    session::Withdrawal,
    tls::{
        AdmittedData, DataSyn, FtpsSession, Grants, HostPair, SynDecision, TLS_TIMEOUT, TlsRefusal,
    },
};

/// A first packet that waits for an answer.
pub(super) struct Stranger {
    packet: PacketId,
    syn: DataSyn,
    stage: Waiting,
}

/// For what it waits.
#[expect(
    clippy::large_enum_variant,
    reason = "there is one at a time, in a box"
)]
enum Waiting {
    /// Which of these are alive; the first is its control connection.
    Live(Vec<Tuple>),
    /// Whether it may come.
    Expected {
        granted: FtpsSession,
        expectation: Expectation,
        /// The same was refused once as a clash, and asked for again.
        is_retry: bool,
    },
}

impl<L: PortLeases + HostBudgets + Grants> Alg<L> {
    /// The answer to [`Action::FindLive`]: those of the connections that are alive.
    pub fn handle_live(&mut self, live: &[Tuple], now: Instant) {
        let Some(Pending::DataSyn(stranger)) = self.take_pending(Answer::Live) else {
            return;
        };
        let (packet, syn) = (stranger.packet, stranger.syn);
        let Waiting::Live(asked) = stranger.stage else {
            return self.conclude(packet, Verdict::Accept);
        };
        if let Some(master) = asked.first().filter(|master| !live.contains(master)) {
            self.end_dead(syn, *master);
            return self.look_up(packet, syn, now);
        }
        let mut decided = (SynDecision::Pass, Vec::new());
        self.leases.with_grants(&mut |grants| {
            decided = grants.admit(&syn, (&asked, live), &self.settings.tls, now);
        });
        let (step, over) = decided;
        for one in over {
            self.withdraw(one.id, one.expectation, &step);
        }
        self.take_step(packet, syn, step, now);
    }

    pub(super) fn handle_newcomer(
        &mut self,
        packet: PacketId,
        segment: &Segment<'_>,
        now: Instant,
    ) {
        let syn = DataSyn {
            tuple: segment.tuple,
            seq: segment.seq,
            link: self.link,
        };
        self.look_up(packet, syn, now);
    }

    /// Whether a first packet waits for its expectation.
    pub(super) fn awaits_newcomer(&self) -> bool {
        matches!(
            &self.pending,
            Some((Answer::Expected(_), Pending::DataSyn(_)))
        )
    }

    pub(super) fn handle_newcomer_expected(
        &mut self,
        id: ExpectationId,
        result: Result<(), ExpectError>,
        now: Instant,
    ) {
        let Some(Pending::DataSyn(stranger)) = self.take_pending(Answer::Expected(id)) else {
            return;
        };
        let (packet, syn) = (stranger.packet, stranger.syn);
        let Waiting::Expected {
            granted,
            expectation,
            is_retry,
        } = stranger.stage
        else {
            return self.conclude(packet, Verdict::Accept);
        };
        match result {
            Ok(()) => {
                let admitted = AdmittedData {
                    tuple: syn.tuple,
                    seq: syn.seq,
                    id,
                    expectation,
                    until: now + TLS_TIMEOUT,
                };
                self.leases
                    .with_grants(&mut |grants| grants.record(admitted));
                self.tell(&granted, EventKind::TlsOpened { expectation });
                self.conclude(packet, Verdict::Accept);
            }
            // One that was let in to the same port has not left the kernel yet.
            Err(ExpectError::Clash) if !is_retry => {
                self.withdraw(id, expectation, &SynDecision::Open(granted));
                self.expect((packet, syn), granted, expectation, true);
            }
            Err(error) => {
                let refusal = TlsRefusal::Kernel(error);
                self.refuse_newcomer(packet, syn, (granted, refusal), now);
            }
        }
    }

    fn look_up(&mut self, packet: PacketId, syn: DataSyn, now: Instant) {
        let mut step = SynDecision::Pass;
        let (tls, limits) = (&self.settings.tls, &self.settings.limits);
        self.leases.with_grants(&mut |grants| {
            step = grants.look_up(&syn, (tls, limits), now);
        });
        self.take_step(packet, syn, step, now);
    }

    fn take_step(&mut self, packet: PacketId, syn: DataSyn, step: SynDecision, now: Instant) {
        match step {
            SynDecision::Pass => self.conclude(packet, Verdict::Accept),
            SynDecision::Refuse(granted, refusal) => {
                self.refuse_newcomer(packet, syn, (granted, refusal), now);
            }
            SynDecision::Ask(tuples) => {
                self.actions.push_back(Action::FindLive {
                    tuples: tuples.clone(),
                });
                self.await_newcomer(Answer::Live, (packet, syn), Waiting::Live(tuples));
            }
            SynDecision::Open(granted) => match self.plan_newcomer(syn, &granted, now) {
                Ok(expectation) => self.expect((packet, syn), granted, expectation, false),
                Err(refusal) => self.refuse_newcomer(packet, syn, (granted, refusal), now),
            },
        }
    }

    /// The connection's expectation: translated like its control connection, but that it keeps its
    /// port, which nobody could have told its client otherwise.
    fn plan_newcomer(
        &self,
        syn: DataSyn,
        granted: &FtpsSession,
        now: Instant,
    ) -> Result<Expectation, TlsRefusal> {
        let (own, seen) = addresses_of(&granted.master, Direction::Reply);
        let port = syn.tuple.destination.port();
        let translation = Translation {
            inside: SocketAddr::new(own, port),
            outside: SocketAddr::new(seen, port),
            is_leased: own != seen,
        };
        // Where the port is given to an announcement, that is what is meant. Else it rests, so that it
        // is not given to one soon.
        if translation.is_leased && !self.leases.lease(translation.outside) {
            return Err(TlsRefusal::PortGiven);
        }
        translation.release(&self.leases);
        let mut is_admitted = true;
        let host = syn.tuple.source.ip();
        self.leases.with_hosts(&mut |hosts| {
            is_admitted = hosts.spend_opening(host, &self.settings.limits, now);
        });
        if !is_admitted {
            return Err(TlsRefusal::TooManyOpenings);
        }
        Ok(translation.expectation(&granted.master, Direction::Reply, TLS_TIMEOUT))
    }

    fn expect(
        &mut self,
        (packet, syn): (PacketId, DataSyn),
        granted: FtpsSession,
        expectation: Expectation,
        is_retry: bool,
    ) {
        self.last_expectation = self.last_expectation.wrapping_add(1);
        let id = ExpectationId(self.last_expectation);
        self.actions.push_back(Action::Expect {
            id,
            expectation,
            stage: Stage::Open,
            master: granted.master,
        });
        let waiting = Waiting::Expected {
            granted,
            expectation,
            is_retry,
        };
        self.await_newcomer(Answer::Expected(id), (packet, syn), waiting);
    }

    fn await_newcomer(
        &mut self,
        answer: Answer,
        (packet, syn): (PacketId, DataSyn),
        stage: Waiting,
    ) {
        let stranger = Stranger { packet, syn, stage };
        self.pending = Some((answer, Pending::DataSyn(Box::new(stranger))));
    }

    /// A control connection that ended unseen grants nothing any more.
    fn end_dead(&mut self, syn: DataSyn, master: Tuple) {
        let pair = HostPair {
            client: syn.tuple.source.ip(),
            server: syn.tuple.destination.ip(),
        };
        let mut is_last = false;
        self.leases.with_grants(&mut |grants| {
            is_last = grants.end_connection(pair, master);
        });
        if is_last {
            self.actions.push_back(Action::Revoke { pair });
        }
    }

    fn refuse_newcomer(
        &mut self,
        packet: PacketId,
        syn: DataSyn,
        (granted, reason): (FtpsSession, TlsRefusal),
        now: Instant,
    ) {
        if self.told.spend(1, LOG_RATE, now) {
            let port = syn.tuple.destination.port();
            self.tell(&granted, EventKind::TlsRefused { port, reason });
        }
        self.conclude(packet, Verdict::Accept);
    }

    fn tell(&mut self, granted: &FtpsSession, kind: EventKind) {
        let original = granted.master.of(Direction::Original);
        self.actions.push_back(Action::Report(Event {
            session: granted.session,
            client: original.source,
            server: original.destination,
            kind,
        }));
    }

    /// Withdraws what has had its use, or makes way for the same.
    fn withdraw(&mut self, id: ExpectationId, expectation: Expectation, step: &SynDecision) {
        let (SynDecision::Open(granted) | SynDecision::Refuse(granted, _)) = step else {
            return;
        };
        let master: ConntrackTuples = granted.master;
        self.actions.push_back(Action::Unexpect {
            id,
            expectation,
            stage: Stage::Open,
            master,
            reason: Withdrawal::Superseded,
        });
    }
}
