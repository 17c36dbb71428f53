//! The outside ports of expectations that an earlier process has left in force.
//!
//! No other session may be given such a port before its expectation has expired.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use crate::{io::clock, proto::nat::LeaseTable};

/// The leases, each until its expectation expires.
#[derive(Debug, Default)]
pub(super) struct InheritedLeases(Vec<(Instant, SocketAddr)>);

impl InheritedLeases {
    /// Leases these endpoints, each for the time that its expectation has left.
    pub(super) fn take(expected: Vec<(SocketAddr, Duration)>, leases: &mut LeaseTable) -> Self {
        let now = clock::now();
        let mut taken = Vec::new();
        for (outside, left) in expected {
            if leases.lease(outside) {
                taken.push((now + left, outside));
            }
        }
        Self(taken)
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Gives back those whose expectations have expired.
    pub(super) fn release_expired(&mut self, leases: &mut LeaseTable) {
        let now = clock::now();
        self.0.retain(|(until, outside)| {
            let is_expired = *until <= now;
            if is_expired {
                leases.release(*outside);
            }
            !is_expired
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_inherited_port_is_given_to_nobody_until_its_expectation_expires() {
        let mut leases = LeaseTable::default();
        let [soon, late] = [5000, 5001].map(|port| SocketAddr::from(([203, 0, 113, 1], port)));
        let expected = vec![(soon, Duration::ZERO), (late, Duration::from_secs(60))];
        let mut inherited = InheritedLeases::take(expected, &mut leases);
        assert!(!leases.lease(soon) && !leases.lease(late));
        inherited.release_expired(&mut leases);
        assert!(leases.lease(soon) && !leases.lease(late));
        assert_eq!(inherited.len(), 1);
    }
}
