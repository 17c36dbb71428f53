//! The expectations whose elements are in our table, and whose they are.
//!
//! An element is known by the connection that it admits, and two sessions may announce the same
//! one: a server uses its ports again. The newest announcement counts. The older session must not
//! withdraw it. Besides, a table that somebody has removed comes back with all of these.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    time::Instant,
};

use super::element::MAP_GRACE;
use crate::proto::{
    expect::{Expectation, ExpectationId},
    net::Tuple,
};

/// How many expired expectations may be kept before they are looked for.
const EXPIRED_MAX: usize = 1024;

/// The connection that an expectation admits: from where, and to where.
pub(super) type ExpectedKey = (IpAddr, SocketAddr);

/// The expectations of all sessions.
#[derive(Debug, Default)]
pub(super) struct LiveExpectations {
    by_key: BTreeMap<ExpectedKey, Live>,
    /// How many there were when the expired ones were removed last.
    kept: usize,
}

/// An expectation of a control connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MasteredExpectation {
    /// The original tuple of the control connection.
    pub master: Tuple,
    /// The expectation, with the time that it has left.
    pub expectation: Expectation,
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
        mastered: MasteredExpectation,
        now: Instant,
    ) {
        if self.by_key.len() > self.kept.saturating_mul(2).saturating_add(EXPIRED_MAX) {
            self.by_key.retain(|_, live| live.expires + MAP_GRACE > now);
            self.kept = self.by_key.len();
        }
        let live = Live {
            id,
            mastered,
            expires: now + mastered.expectation.timeout,
        };
        self.by_key.insert(key_of(&mastered.expectation), live);
    }

    /// The expectation of the same connection whose elements may still be in the table.
    pub(super) fn older(&self, expectation: &Expectation, now: Instant) -> Option<Expectation> {
        let found = self.by_key.get(&key_of(expectation))?;
        (found.expires + MAP_GRACE > now).then_some(found.mastered.expectation)
    }

    /// Forgets an expectation. `false` if another session has the same connection by now.
    pub(super) fn remove(&mut self, id: ExpectationId, expectation: &Expectation) -> bool {
        let key = key_of(expectation);
        let is_owner = self.by_key.get(&key).is_some_and(|live| live.id == id);
        if is_owner {
            self.by_key.remove(&key);
        }
        is_owner
    }

    /// Those whose time is not up yet, each with the time that it has left.
    pub(super) fn unexpired(&self, now: Instant) -> Vec<MasteredExpectation> {
        let left = |live: &Live| MasteredExpectation {
            master: live.mastered.master,
            expectation: Expectation {
                timeout: live.expires.saturating_duration_since(now),
                ..live.mastered.expectation
            },
        };
        let all = self.by_key.values().map(left);
        all.filter(|one| !one.expectation.timeout.is_zero())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn mastered(port: u16) -> MasteredExpectation {
        let [client, server] = [40_000, 21].map(|port| SocketAddr::from(([10, 0, 0, 3], port)));
        MasteredExpectation {
            master: Tuple {
                source: client,
                destination: server,
            },
            expectation: expectation(port),
        }
    }

    fn expectation(port: u16) -> Expectation {
        let (source, destination) = (
            IpAddr::from([10, 0, 0, 2]),
            SocketAddr::from(([10, 0, 0, 3], port)),
        );
        Expectation {
            source,
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
        assert!(!live.remove(older, &expectation(5000)));
        assert_eq!(live.unexpired(now), [mastered(5000)]);
        assert!(live.remove(newer, &expectation(5000)));
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
}
