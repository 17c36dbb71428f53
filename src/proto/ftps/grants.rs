//! The encrypted sessions that have a grant, and the data connections that were admitted.
//!
//! A first packet is decided on in two steps, because only the kernel knows which connections are
//! alive. [`GrantTable::look_up`] says which to ask about. [`GrantTable::admit`] takes the answer
//! and decides.

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

/// The most pairs of client and server with a grant. The sessions of one pair more still work, but
/// the operator's rules decide on their data connections.
pub const GRANTS_MAX: usize = 65_536;

/// The most admitted data connections of one pair, for all its sessions together. Beyond it none is
/// admitted.
pub const ADMITTED_MAX: usize = 256;

/// The most data connections that the kernel is asked about at one time: the oldest. Those that are
/// alive go behind the others.
const ASKED_MAX: usize = 16;

/// An encrypted session with a grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FtpsSession {
    /// Its name.
    pub session: SessionId,
    /// Its control connection.
    pub master: ConntrackTuples,
    /// The interfaces by which packets of its two directions arrive, where they are known.
    pub iifs: PerDirection<Option<IfIndex>>,
}

/// A data connection that was admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdmittedData {
    /// The tuple of its first packet.
    pub tuple: Tuple,
    /// The sequence number of its first packet. Another number begins another connection.
    pub seq: SeqNumber,
    /// The name of its expectation.
    pub id: ExpectationId,
    /// Its expectation.
    pub expectation: Expectation,
    /// The time from which on the kernel cannot know the expectation any more.
    pub until: Instant,
}

/// The first packet of a data connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DataSyn {
    /// Its tuple, before any NAT.
    pub tuple: Tuple,
    /// Its sequence number.
    pub seq: SeqNumber,
    /// The interface by which it came, where that is known.
    pub iif: Option<IfIndex>,
}

/// The decision on a first packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SynDecision {
    /// It passes as it is, because nothing is granted here or because it is a repetition.
    Pass,
    /// The caller has to ask the kernel which of these connections are alive. The first is a
    /// control connection.
    Ask(Vec<Tuple>),
    /// It passes, and nothing is opened for it.
    Refuse(FtpsSession, TlsRefusal),
    /// It is admitted for this session.
    Open(FtpsSession),
}

/// The grant of one pair.
#[derive(Clone, Debug, Default)]
struct FtpsPinholes {
    /// Its sessions, the youngest last. Their number is bounded by the number of flows.
    sessions: Vec<FtpsSession>,
    /// Its data connections. The one that the kernel was not asked about for longest is first.
    admitted: VecDeque<AdmittedData>,
    pinholes: TokenBucket,
}

/// The grants of all pairs.
#[derive(Clone, Debug, Default)]
pub struct GrantTable {
    pairs: HashMap<HostPair, FtpsPinholes>,
}

impl GrantTable {
    /// Adds a session to the grant of its pair. `false` where there are too many pairs.
    pub fn begin(&mut self, session: FtpsSession) -> bool {
        let pair = HostPair::of(&session.master);
        if self.pairs.len() >= GRANTS_MAX && !self.pairs.contains_key(&pair) {
            return false;
        }
        let sessions = &mut self.pairs.entry(pair).or_default().sessions;
        // A connection that begins anew has the tuples of the one before.
        sessions.retain(|other| other.master != session.master);
        sessions.push(session);
        true
    }

    /// Removes a session. `true` where it was the last of its pair, whose grant has ended.
    pub fn end(&mut self, master: &ConntrackTuples) -> bool {
        self.end_connection(HostPair::of(master), master.of(Direction::Original))
    }

    /// [`end`](Self::end) for the session whose control connection has this original tuple.
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

    /// Whether a pair has a grant.
    #[must_use]
    pub fn has(&self, pair: HostPair) -> bool {
        self.pairs.contains_key(&pair)
    }

    /// The pairs that have a grant, in no order.
    #[must_use]
    pub fn pairs(&self) -> Vec<HostPair> {
        let mut pairs = Vec::with_capacity(self.pairs.len());
        self.pairs.keys().for_each(|pair| pairs.push(*pair));
        pairs
    }

    /// How many pairs have a grant.
    #[must_use]
    pub fn len(&self) -> usize {
        self.pairs.len()
    }

    /// Whether no pair has a grant.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// Decides on a first packet as far as that is possible without the kernel. The packet counts
    /// for the youngest session of its pair.
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
        // A repeated SYN needs nothing new. And a forged one must not take a token of the client's.
        if grant.has_admitted(syn) {
            return SynDecision::Pass;
        }
        if session.is_forged(syn) {
            return SynDecision::Refuse(session, TlsRefusal::Forged);
        }
        if !grant.pinholes.take(1, limits.session_openings, now) {
            return SynDecision::Refuse(session, TlsRefusal::TooManyOpenings);
        }
        let master = session.master.of(Direction::Original);
        let asked = grant.asked(settings);
        SynDecision::Ask(std::iter::once(master).chain(asked).collect())
    }

    /// Decides on a first packet, given the connections that the kernel was `asked` about and those
    /// that are alive. Before that, the caller removes a dead session with [`end`](Self::end).
    ///
    /// The second value has the data connections that are over or make way. The kernel may still
    /// have their expectations.
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
        // A tuple has one connection at a time. So a new first packet ends the older connection.
        let same = grant.admitted.iter().position(|one| one.tuple == syn.tuple);
        over.extend(same.and_then(|at| grant.admitted.remove(at)));
        let step = if grant.admitted.len() >= grant.room(settings) {
            SynDecision::Refuse(session, TlsRefusal::TooManyData)
        } else {
            // Two expectations of the same endpoint would clash in the kernel.
            over.extend(grant.poll_older(syn.tuple.destination, now));
            SynDecision::Open(session)
        };
        over.retain(|one| one.until > now);
        (step, over)
    }

    /// Records an admitted data connection.
    pub fn record(&mut self, admitted: AdmittedData) {
        if let Some(grant) = self.pairs.get_mut(&HostPair::dialled(admitted.tuple)) {
            grant.admitted.push_back(admitted);
        }
    }
}

impl FtpsSession {
    /// Whether a packet that bears the client's address came by the server's interface.
    fn is_forged(&self, syn: &DataSyn) -> bool {
        // A third interface is a change of the route. A shared one says nothing.
        syn.iif.is_some() && syn.iif != self.iifs.original && syn.iif == self.iifs.reply
    }
}

impl FtpsPinholes {
    /// Whether a packet repeats one that was admitted.
    fn has_admitted(&self, syn: &DataSyn) -> bool {
        let (tuple, seq) = (syn.tuple, syn.seq);
        let mut admitted = self.admitted.iter();
        admitted.any(|one| one.tuple == tuple && one.seq == seq)
    }

    /// The most data connections of the pair.
    fn room(&self, settings: &TlsSettings) -> usize {
        let room = settings.at_once.saturating_mul(self.sessions.len());
        room.min(ADMITTED_MAX)
    }

    /// The data connections that the kernel is asked about before one more is admitted.
    fn asked(&self, settings: &TlsSettings) -> Vec<Tuple> {
        // Each question is a netlink request. While there is room, the answers change nothing.
        if self.admitted.len() < self.room(settings) {
            return Vec::new();
        }
        let oldest = self.admitted.iter().take(ASKED_MAX);
        oldest.map(|one| one.tuple).collect()
    }

    /// Removes and gives the data connections that were asked about and are not alive. Those that
    /// are alive go behind the others.
    fn record_live(&mut self, asked: &[Tuple], live: &[Tuple]) -> Vec<AdmittedData> {
        let is_asked = |one: &&AdmittedData| asked.contains(&one.tuple);
        let oldest = self.admitted.iter().take(ASKED_MAX);
        let count = oldest.take_while(is_asked).count();
        let asked = self.admitted.drain(..count);
        let (alive, over) = asked.partition::<Vec<_>, _>(|one| live.contains(&one.tuple));
        self.admitted.extend(alive);
        over
    }

    /// A data connection to the same endpoint whose expectation the kernel may still have.
    fn poll_older(&mut self, destination: SocketAddr, now: Instant) -> Option<AdmittedData> {
        // The connection stays on the list, because it may be alive. Only its expectation makes
        // way.
        let mut admitted = self.admitted.iter_mut();
        let older = admitted.find(|one| one.tuple.destination == destination && one.until > now)?;
        let found = *older;
        older.until = now;
        Some(found)
    }
}

#[cfg(test)]
mod tests;
