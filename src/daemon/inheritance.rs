//! The expectations that an earlier process has left in force.
//!
//! Each one belongs to the session of its control connection, which takes it over once the session
//! is followed again. Until then its outside port is given to nobody.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use crate::{
    io::{clock, nftables::MasteredExpectation},
    proto::{expect::Expectation, kernel::InheritedPinhole, nat::LeaseTable, net::Tuple},
};

/// The expectations that no session has taken over yet, by the original tuples of their control
/// connections.
#[derive(Debug, Default)]
pub(super) struct Inheritance(Mutex<HashMap<Tuple, Vec<Inherited>>>);

#[derive(Debug)]
struct Inherited {
    expectation: Expectation,
    lease: Option<SocketAddr>,
    expires: Instant,
}

impl Inheritance {
    /// Takes these expectations, and leases their outside ports. Returns how many there are.
    pub(super) fn fill(
        &self,
        expected: Vec<MasteredExpectation>,
        leases: &mut LeaseTable,
    ) -> usize {
        let now = clock::now();
        let count = expected.len();
        let mut inherited = self.lock();
        for MasteredExpectation {
            master,
            expectation,
            is_repeated: _,
        } in expected
        {
            let outside = expectation.destination;
            inherited
                .entry(master.original)
                .or_default()
                .push(Inherited {
                    lease: leases.lease(outside).then_some(outside),
                    expires: now + expectation.timeout,
                    expectation,
                });
        }
        count
    }

    /// What belongs to a session. It is the session's from now on.
    pub(super) fn take(&self, master: Tuple) -> Vec<InheritedPinhole> {
        let now = clock::now();
        let taken = self.lock().remove(&master).unwrap_or_default();
        let pinhole = |one: Inherited| InheritedPinhole {
            expectation: Expectation {
                timeout: one.expires.saturating_duration_since(now),
                ..one.expectation
            },
            lease: one.lease,
        };
        taken.into_iter().map(pinhole).collect()
    }

    /// Gives back the ports of those that have expired and that no session has taken over.
    pub(super) fn release_expired(&self, leases: &mut LeaseTable) {
        let now = clock::now();
        self.lock().retain(|_, of_session| {
            of_session.retain(|one| {
                let is_over = one.expires <= now;
                if let (true, Some(outside)) = (is_over, one.lease) {
                    leases.release(outside, one.expectation.source, now);
                }
                !is_over
            });
            !of_session.is_empty()
        });
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Tuple, Vec<Inherited>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::io::nftables::Master;

    fn expected(port: u16, timeout: Duration) -> MasteredExpectation {
        let of = |port| SocketAddr::from(([203, 0, 113, 1], port));
        MasteredExpectation {
            master: Master::from(Tuple::new(of(40_000), of(21))),
            expectation: Expectation {
                source: of(0).ip(),
                source_prefix: None,
                destination: of(port),
                translated_destination: of(port),
                translated_source: of(0).ip(),
                denied_iif: None,
                timeout,
            },
            is_repeated: false,
        }
    }

    #[test]
    fn an_inherited_port_is_given_to_nobody_until_its_expectation_expires() {
        let mut leases = LeaseTable::default();
        let [soon, late] = [
            expected(5000, Duration::ZERO),
            expected(5001, Duration::from_secs(60)),
        ];
        let inheritance = Inheritance::default();
        assert_eq!(inheritance.fill(vec![soon, late], &mut leases), 2);
        let [soon, late] = [soon, late].map(|one| one.expectation.destination);
        assert!(!leases.lease(soon) && !leases.lease(late));
        inheritance.release_expired(&mut leases);
        assert!(leases.lease(soon) && !leases.lease(late));
    }

    #[test]
    fn a_session_takes_over_what_is_its_own_once() {
        let mut leases = LeaseTable::default();
        let one = expected(5000, Duration::from_secs(60));
        let inheritance = Inheritance::default();
        inheritance.fill(vec![one], &mut leases);
        let master = one.master.original;
        let stranger = Tuple::new(master.destination, master.source);
        assert_eq!(inheritance.take(stranger), []);
        let taken = inheritance.take(one.master.original);
        assert_eq!(taken[0].lease, Some(one.expectation.destination));
        assert_eq!(inheritance.take(one.master.original), []);
        inheritance.release_expired(&mut leases);
        assert!(
            !leases.lease(one.expectation.destination),
            "it is the session's"
        );
    }
}
