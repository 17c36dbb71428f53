//! Who is granted data connections, and which were let in.
//!
//! A first packet is looked at in two steps, since only the kernel knows what is still alive:
//! [`GrantTable::look_up`] says what to ask, [`GrantTable::admit`] takes the answer and decides.

use std::{
    collections::{HashMap, VecDeque},
    net::SocketAddr,
    time::Instant,
};

use super::{HostPair, TlsRefusal, TlsSettings};
use crate::proto::{
    budget::{Limits, TokenBucket},
    expect::{Expectation, ExpectationId},
    net::{ConntrackTuples, Direction, IfIndex, PerDirection, SeqNumber, Tuple},
    session::SessionId,
};

/// How many pairs of client and server are granted something. One more is granted nothing: its
/// sessions work, their data connections are the operator's rules' matter.
pub const GRANTS_MAX: usize = 65_536;

/// How many data connections of one pair are remembered, however many sessions it has. Beyond it
/// none is let in.
pub const ADMITTED_MAX: usize = 256;

/// How many of the oldest data connections the kernel is asked about at a time; those that are alive
/// wait for their next turn behind the others.
const ASKED_MAX: usize = 16;

/// A session whose client may have data connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FtpsSession {
    /// Its name.
    pub session: SessionId,
    /// Its control connection.
    pub master: ConntrackTuples,
    /// By which iifs the ends of the control connection are reached, where that is known.
    pub iifs: PerDirection<Option<IfIndex>>,
}

/// A connection that was let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdmittedData {
    /// Its tuple, as its first packet had it.
    pub tuple: Tuple,
    /// Its first packet's number: another one begins another connection.
    pub seq: SeqNumber,
    /// The name of its expectation.
    pub id: ExpectationId,
    /// Its expectation.
    pub expectation: Expectation,
    /// When the kernel has forgotten the expectation, used or not.
    pub until: Instant,
}

/// The first packet of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DataSyn {
    /// As it arrives, before any NAT.
    pub tuple: Tuple,
    /// Its number.
    pub seq: SeqNumber,
    /// By which iif it came, where that is known.
    pub iif: Option<IfIndex>,
}

/// What becomes of a first packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SynDecision {
    /// Nothing is granted here, or it is repeated: it passes as it is.
    Pass,
    /// The kernel is to be asked which of these are alive; the first is a control connection's.
    Ask(Vec<Tuple>),
    /// It passes, and nothing is opened for it.
    Refuse(FtpsSession, TlsRefusal),
    /// It is to be let in for this session.
    Open(FtpsSession),
}

/// What all sessions of one pair are granted.
#[derive(Debug, Default)]
struct FtpsPinholes {
    /// The sessions, each followed by a core, which bounds them.
    sessions: Vec<FtpsSession>,
    /// What was let in, the longest unasked first.
    admitted: VecDeque<AdmittedData>,
    openings: TokenBucket,
}

/// Everything that is granted.
#[derive(Debug, Default)]
pub struct GrantTable {
    pairs: HashMap<HostPair, FtpsPinholes>,
}

impl GrantTable {
    /// Grants a session's client data connections to its server; `false` where there are too many
    /// pairs.
    pub fn begin(&mut self, granted: FtpsSession) -> bool {
        let pair = HostPair::of(&granted.master);
        if self.pairs.len() >= GRANTS_MAX && !self.pairs.contains_key(&pair) {
            return false;
        }
        let sessions = &mut self.pairs.entry(pair).or_default().sessions;
        sessions.retain(|other| other.master != granted.master);
        sessions.push(granted);
        true
    }

    /// A session is over; `true` where it was its pair's last.
    pub fn end(&mut self, master: &ConntrackTuples) -> bool {
        self.end_connection(HostPair::of(master), master.of(Direction::Original))
    }

    /// The same of the session whose control connection has this original tuple.
    pub fn end_connection(&mut self, pair: HostPair, master: Tuple) -> bool {
        let Some(grant) = self.pairs.get_mut(&pair) else {
            return false;
        };
        grant
            .sessions
            .retain(|session| session.master.of(Direction::Original) != master);
        let is_last = grant.sessions.is_empty();
        if is_last {
            self.pairs.remove(&pair);
        }
        is_last
    }

    /// Whether something is granted to a pair.
    #[must_use]
    pub fn has(&self, pair: HostPair) -> bool {
        self.pairs.contains_key(&pair)
    }

    /// How many pairs are granted something.
    #[must_use]
    pub fn len(&self) -> usize {
        self.pairs.len()
    }

    /// Whether nothing is granted to anybody.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// Looks at a first packet. The youngest session is the one that it is taken for.
    pub fn look_up(
        &mut self,
        syn: &DataSyn,
        settings: &TlsSettings,
        limits: &Limits,
        now: Instant,
    ) -> SynDecision {
        let port = syn.tuple.destination.port();
        let is_granted = settings
            .ports
            .as_ref()
            .is_some_and(|ports| ports.contains(&port));
        let grant = self.pairs.get_mut(&HostPair::dialled(syn.tuple));
        let Some(grant) = grant.filter(|_| is_granted) else {
            return SynDecision::Pass;
        };
        let Some(&session) = grant.sessions.last() else {
            return SynDecision::Pass;
        };
        if grant.has_admitted(syn) {
            return SynDecision::Pass;
        }
        if session.is_forged(syn) {
            return SynDecision::Refuse(session, TlsRefusal::Forged);
        }
        if !grant.openings.take(1, limits.session_openings, now) {
            return SynDecision::Refuse(session, TlsRefusal::TooManyOpenings);
        }
        let master = session.master.of(Direction::Original);
        let asked = grant.asked(settings);
        SynDecision::Ask(std::iter::once(master).chain(asked).collect())
    }

    /// Takes the kernel's answer on what was `asked`, and decides. A session that is dead is taken
    /// out with [`end`](Self::end) by the caller, who looks again. Gives as well what has had its use,
    /// or makes way, and may still be known to the kernel.
    pub fn admit(
        &mut self,
        syn: &DataSyn,
        asked: &[Tuple],
        live: &[Tuple],
        settings: &TlsSettings,
        now: Instant,
    ) -> (SynDecision, Vec<AdmittedData>) {
        let Some(grant) = self.pairs.get_mut(&HostPair::dialled(syn.tuple)) else {
            return (SynDecision::Pass, Vec::new());
        };
        let Some(&session) = grant.sessions.last() else {
            return (SynDecision::Pass, Vec::new());
        };
        let mut over = grant.record_live(asked, live);
        // Another connection of the same tuple takes the older one's place.
        let same = grant.admitted.iter().position(|one| one.tuple == syn.tuple);
        over.extend(same.and_then(|at| grant.admitted.remove(at)));
        let step = if grant.admitted.len() >= grant.room(settings) {
            SynDecision::Refuse(session, TlsRefusal::TooManyData)
        } else {
            over.extend(grant.poll_older(syn.tuple.destination, now));
            SynDecision::Open(session)
        };
        over.retain(|one| one.until > now);
        (step, over)
    }

    /// Remembers what was let in.
    pub fn record(&mut self, admitted: AdmittedData) {
        if let Some(grant) = self.pairs.get_mut(&HostPair::dialled(admitted.tuple)) {
            grant.admitted.push_back(admitted);
        }
    }
}

impl FtpsSession {
    /// Whether a packet in the client's name came by the server's iif.
    fn is_forged(&self, syn: &DataSyn) -> bool {
        syn.iif.is_some() && syn.iif != self.iifs.original && syn.iif == self.iifs.reply
    }
}

impl FtpsPinholes {
    /// Whether a packet repeats one that was let in.
    fn has_admitted(&self, syn: &DataSyn) -> bool {
        let (tuple, seq) = (syn.tuple, syn.seq);
        let mut admitted = self.admitted.iter();
        admitted.any(|one| one.tuple == tuple && one.seq == seq)
    }

    /// How many data connections there may be.
    fn room(&self, settings: &TlsSettings) -> usize {
        let room = settings.at_once.saturating_mul(self.sessions.len());
        room.min(ADMITTED_MAX)
    }

    /// About which connections the kernel is asked before one more is let in: about none while there
    /// is room.
    fn asked(&self, settings: &TlsSettings) -> Vec<Tuple> {
        if self.admitted.len() < self.room(settings) {
            return Vec::new();
        }
        let oldest = self.admitted.iter().take(ASKED_MAX);
        oldest.map(|one| one.tuple).collect()
    }

    /// Forgets those of the oldest that were asked about and are not alive, and gives them.
    fn record_live(&mut self, asked: &[Tuple], live: &[Tuple]) -> Vec<AdmittedData> {
        let mut over = Vec::new();
        for _ in 0..self.admitted.len().min(ASKED_MAX) {
            let is_next = |one: &mut AdmittedData| asked.contains(&one.tuple);
            let Some(one) = self
                .admitted
                .front_mut()
                .is_some_and(is_next)
                .then(|| self.admitted.pop_front())
                .flatten()
            else {
                break;
            };
            if live.contains(&one.tuple) {
                self.admitted.push_back(one);
            } else {
                over.push(one);
            }
        }
        over
    }

    /// The expectation of one that was let in to the same port, where the kernel may still know it.
    fn poll_older(&mut self, destination: SocketAddr, now: Instant) -> Option<AdmittedData> {
        let mut admitted = self.admitted.iter_mut();
        let older = admitted.find(|one| one.tuple.destination == destination && one.until > now)?;
        let found = *older;
        older.until = now;
        Some(found)
    }
}

#[cfg(test)]
mod tests;
