//! The expectations whose elements are in our table, and whose they are.
//!
//! An element is known by the connection that it admits, and two sessions may announce the same
//! one: a server uses its ports again. The newest announcement counts. The older session must not
//! withdraw it. Besides, a table that somebody has removed comes back with all of these.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use super::{element::MAP_GRACE, mastered::MasteredExpectation};
use crate::proto::{
    expect::{Expectation, ExpectationId},
    net::Layer,
};

/// How many expired expectations may be kept before they are looked for.
const EXPIRED_MAX: usize = 1024;

/// An expectation with so little time left is as good as expired. An element whose timeout is
/// rounded to zero would never expire.
const TOO_LATE: Duration = Duration::from_millis(10);

/// For how long conntrack may know a connection that is over: its longest timeout of a closing one
/// (`nf_conntrack_tcp_timeout_time_wait` and `_fin_wait`, 120 s).
const MEMORY: Duration = Duration::from_secs(120);

/// The connection that an expectation admits: from where, and to where.
pub(super) type ExpectedKey = (IpAddr, SocketAddr);

/// The expectations of all sessions.
#[derive(Debug, Default)]
pub(super) struct LiveExpectations {
    by_key: BTreeMap<ExpectedKey, Live>,
    /// When the connections that are expected no more were so last.
    past: BTreeMap<ExpectedKey, Instant>,
    /// How many of these there were when the forgotten ones were removed last.
    past_kept: usize,
    /// How many there were when the expired ones were removed last.
    kept: usize,
}

#[derive(Clone, Copy, Debug)]
struct Live {
    id: ExpectationId,
    mastered: MasteredExpectation,
    expires: Instant,
}

pub(super) fn key_of(expectation: &Expectation) -> ExpectedKey {
    (expectation.source, expectation.destination)
}

impl LiveExpectations {
    /// Takes a new expectation. The older one of the same connection is gone with it.
    pub(super) fn insert(
        &mut self,
        id: ExpectationId,
        mut mastered: MasteredExpectation,
        now: Instant,
    ) {
        if self.by_key.len() > self.kept.saturating_mul(2).saturating_add(EXPIRED_MAX) {
            self.by_key.retain(|_, live| live.expires + MAP_GRACE > now);
            self.kept = self.by_key.len();
        }
        let key = key_of(&mastered.expectation);
        let was_past = self.past.remove(&key);
        let is_recent = was_past.is_some_and(|past| past + MEMORY > now);
        mastered.is_repeated = is_recent || self.by_key.contains_key(&key);
        let live = Live {
            id,
            mastered,
            expires: now + mastered.expectation.timeout,
        };
        self.by_key.insert(key, live);
    }

    /// The expectation of the same connection whose elements may still be in the table.
    pub(super) fn older(
        &self,
        expectation: &Expectation,
        now: Instant,
    ) -> Option<MasteredExpectation> {
        let found = self.by_key.get(&key_of(expectation))?;
        (found.expires + MAP_GRACE > now).then_some(found.mastered)
    }

    /// The layer at which the connection is expected.
    pub(super) fn layer_of(&self, expectation: &Expectation) -> Layer {
        let found = self.by_key.get(&key_of(expectation));
        found.map_or(Layer::Routed, |live| live.mastered.master.layer)
    }

    /// Forgets an expectation. `None` if another session has the same connection by now.
    pub(super) fn remove(
        &mut self,
        id: ExpectationId,
        expectation: &Expectation,
        now: Instant,
    ) -> Option<MasteredExpectation> {
        let key = key_of(expectation);
        let removed = self.by_key.get(&key).filter(|live| live.id == id)?.mastered;
        self.by_key.remove(&key);
        if self.past.len() > self.past_kept.saturating_mul(2).saturating_add(EXPIRED_MAX) {
            self.past.retain(|_, past| *past + MEMORY > now);
            self.past_kept = self.past.len();
        }
        self.past.insert(key, now);
        Some(removed)
    }

    /// Those whose time is not up yet, each with the time that it has left.
    pub(super) fn unexpired(&self, now: Instant) -> Vec<MasteredExpectation> {
        let left = |live: &Live| MasteredExpectation {
            expectation: Expectation {
                timeout: live.expires.saturating_duration_since(now),
                ..live.mastered.expectation
            },
            ..live.mastered
        };
        let all = self.by_key.values().map(left);
        all.filter(|one| one.expectation.timeout > TOO_LATE)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{io::nftables::Master, proto::net::Tuple};

    fn mastered(port: u16) -> MasteredExpectation {
        let [client, server] = [40_000, 21].map(|port| SocketAddr::from(([10, 0, 0, 3], port)));
        MasteredExpectation {
            master: Master::from(Tuple::new(client, server)),
            expectation: expectation(port),
            is_repeated: false,
        }
    }

    fn expectation(port: u16) -> Expectation {
        let (source, destination) = (
            IpAddr::from([10, 0, 0, 2]),
            SocketAddr::from(([10, 0, 0, 3], port)),
        );
        Expectation {
            source,
            source_prefix: None,
            destination,
            translated_destination: destination,
            translated_source: source,
            denied_iif: None,
            timeout: Duration::from_secs(60),
        }
    }

    #[test]
    fn a_session_does_not_withdraw_what_a_newer_one_has_announced() {
        let now = crate::io::clock::now();
        let (older, newer) = (ExpectationId(1), ExpectationId(2));
        let mut live = LiveExpectations::default();
        live.insert(older, mastered(5000), now);
        live.insert(newer, mastered(5000), now);
        assert!(live.remove(older, &expectation(5000), now).is_none());
        let found = live.unexpired(now);
        assert_eq!(found[0].expectation, expectation(5000));
        assert!(found[0].is_repeated);
        assert!(live.remove(newer, &expectation(5000), now).is_some());
        assert_eq!(live.unexpired(now), []);
    }

    #[test]
    fn each_has_the_time_that_is_left_and_the_expired_ones_take_no_memory_for_ever() {
        let now = crate::io::clock::now();
        let mut live = LiveExpectations::default();
        live.insert(ExpectationId(1), mastered(1), now);
        let later = now + Duration::from_secs(45);
        let left: Vec<_> = live
            .unexpired(later)
            .iter()
            .map(|one| one.expectation.timeout)
            .collect();
        assert_eq!(left, [Duration::from_secs(15)]);
        let end = now + Duration::from_secs(60);
        assert_eq!(live.unexpired(end), []);
        assert!(
            live.older(&expectation(1), end).is_some(),
            "its map elements are there"
        );
        let long_after = end + Duration::from_secs(60);
        for port in 2..=4096 {
            live.insert(ExpectationId(2), mastered(port), long_after);
        }
        assert_eq!(live.older(&expectation(1), now), None);
    }

    #[test]
    fn what_was_expected_a_short_time_before_is_known_to_be_repeated() {
        let now = crate::io::clock::now();
        let id = ExpectationId(1);
        let mut live = LiveExpectations::default();
        let is_repeated = |live: &LiveExpectations, now| live.unexpired(now)[0].is_repeated;
        live.insert(id, mastered(1), now);
        assert!(!is_repeated(&live, now));
        live.remove(id, &expectation(1), now);
        live.insert(id, mastered(1), now);
        assert!(is_repeated(&live, now));
        live.remove(id, &expectation(1), now);
        let later = now + MEMORY;
        live.insert(id, mastered(1), later);
        assert!(!is_repeated(&live, later));
    }

    #[test]
    fn what_is_all_but_expired_is_not_put_back() {
        let now = crate::io::clock::now();
        let mut live = LiveExpectations::default();
        live.insert(ExpectationId(1), mastered(1), now);
        let end = now + mastered(1).expectation.timeout;
        // As an element its timeout would be rounded to zero, which means for ever.
        let (near, nearer) = (end - TOO_LATE * 2, end - Duration::from_micros(900));
        assert_eq!(live.unexpired(near).len(), 1);
        assert_eq!(live.unexpired(nearer), []);
    }
}
