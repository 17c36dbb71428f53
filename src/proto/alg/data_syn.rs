//! First packets of data connections that nobody announced readably: those of encrypted sessions.
//!
//! Each is queued before conntrack has seen it. The grants of its client are looked up, the kernel
//! is asked which of them are still alive, and one expectation is made for this connection alone.
//! Then the packet goes on, and conntrack finds the expectation. Whatever is wrong, the packet goes
//! on as well, and nothing is opened for it: the operator's rules decide, as if there were no
//! grant.

use std::net::SocketAddr;

use super::{Alg, Input};
use crate::proto::{
    egress::Verdict,
    event::EventKind,
    expect::{Expectation, ExpectationId},
    flow::{Subject, expect_newest},
    ftps::{AdmittedData, DataSyn, FtpsSession, HostPair, SynDecision, TLS_TIMEOUT, TlsRefusal},
    nat::Translation,
    net::{Addresses, Direction, Tuple},
    packet::Segment,
    session::Withdrawal,
};

/// The most sessions of one pair that a first packet may find dead, and take the grant from.
const DEAD_SESSIONS_MAX: usize = 16;

impl Alg {
    /// Takes the first packet of a data connection. It always goes on.
    pub(super) fn handle_data_syn(
        &mut self,
        segment: &Segment<'_>,
        input: &mut Input<'_>,
    ) -> Verdict {
        let syn = DataSyn {
            tuple: segment.tuple,
            seq: segment.seq,
            iif: input.ingress.map(|ingress| ingress.iif),
        };
        let decision = self.decide_on_syn(&syn, input);
        match decision {
            SynDecision::Pass | SynDecision::Ask(_) => {}
            SynDecision::Refuse(session, reason) => {
                self.report_refused(&syn, &session, reason, input);
            }
            SynDecision::Open(session) => match self.open_for_syn(&syn, &session, input) {
                Ok(expectation) => {
                    let opened = EventKind::TlsOpened { expectation };
                    input
                        .effects
                        .events
                        .push(subject_of(&session).event(opened));
                }
                Err(reason) => self.report_refused(&syn, &session, reason, input),
            },
        }
        Verdict::Accept
    }

    fn decide_on_syn(&self, syn: &DataSyn, input: &mut Input<'_>) -> SynDecision {
        let (tls, limits) = (&self.settings.tls, &self.settings.limits);
        for _ in 0..DEAD_SESSIONS_MAX {
            let decision = self.shared.grants().look_up(syn, tls, limits, input.now);
            let SynDecision::Ask(asked) = decision else {
                return decision;
            };
            let alive = input.kernel.are_alive(&asked);
            if let Some(master) = asked.first().filter(|master| !alive.contains(master)) {
                self.end_dead(syn, *master, input);
                continue;
            }
            let mut grants = self.shared.grants();
            let (decision, over) = grants.admit(syn, &asked, &alive, tls, input.now);
            drop(grants);
            if let SynDecision::Open(session) | SynDecision::Refuse(session, _) = &decision {
                for one in over {
                    withdraw(one.id, &one.expectation, session, input);
                }
            }
            return decision;
        }
        SynDecision::Pass
    }

    /// A control connection that ended unseen grants nothing any more.
    fn end_dead(&self, syn: &DataSyn, master: Tuple, input: &mut Input<'_>) {
        let pair = HostPair::dialled(syn.tuple);
        let is_last = self.shared.grants().end_connection(pair, master);
        if is_last {
            input.kernel.pass_data_syns(pair);
        }
    }

    fn open_for_syn(
        &mut self,
        syn: &DataSyn,
        session: &FtpsSession,
        input: &mut Input<'_>,
    ) -> Result<Expectation, TlsRefusal> {
        let expectation = self.plan_for_syn(syn, session, input)?;
        let ids = &mut self.expectation_ids;
        let id = expect_newest(input.kernel, ids, &expectation, &session.master)
            .map_err(TlsRefusal::Kernel)?;
        self.shared.grants().record(AdmittedData {
            tuple: syn.tuple,
            seq: syn.seq,
            id,
            expectation,
            until: input.now + TLS_TIMEOUT,
        });
        Ok(expectation)
    }

    /// The connection's expectation. It is translated like its control connection, but keeps its
    /// port, because the client knows no other one.
    fn plan_for_syn(
        &self,
        syn: &DataSyn,
        session: &FtpsSession,
        input: &Input<'_>,
    ) -> Result<Expectation, TlsRefusal> {
        let server = Addresses::of(&session.master, Direction::Reply);
        let port = syn.tuple.destination.port();
        let translation = Translation {
            inside: SocketAddr::new(server.own, port),
            outside: SocketAddr::new(server.seen, port),
            told: SocketAddr::new(server.seen, port),
            is_leased: server.own != server.seen,
        };
        // Where the port is leased to an announcement, that one is meant. Else it rests, so that it
        // is not leased to one soon.
        if translation.is_leased && !self.shared.ports().lease(translation.outside) {
            return Err(TlsRefusal::PortGiven);
        }
        let (host, limits) = (syn.tuple.source.ip(), &self.settings.limits);
        translation.release(host, &mut self.shared.ports(), input.now);
        if !self.shared.hosts().charge_pinhole(host, limits, input.now) {
            return Err(TlsRefusal::TooManyOpenings);
        }
        Ok(translation.expectation(&session.master, Direction::Reply, TLS_TIMEOUT))
    }

    fn report_refused(
        &mut self,
        syn: &DataSyn,
        session: &FtpsSession,
        reason: TlsRefusal,
        input: &mut Input<'_>,
    ) {
        let port = syn.tuple.destination.port();
        let refused = EventKind::TlsRefused { port, reason };
        self.report_rarely(subject_of(session), refused, input);
    }
}

fn subject_of(session: &FtpsSession) -> Subject {
    Subject::of(session.session, &session.master)
}

/// Withdraws what has had its use, or makes way for the same.
fn withdraw(
    id: ExpectationId,
    expectation: &Expectation,
    session: &FtpsSession,
    input: &mut Input<'_>,
) {
    let reason = Withdrawal::Superseded;
    input
        .kernel
        .unexpect(id, expectation, &session.master, reason);
}
