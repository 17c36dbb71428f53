//! The outside ports that all workers share.

use std::{
    collections::HashSet,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use crate::proto::nat::PortLeases;

/// Leases behind a lock. It is taken once for each announcement of an end behind NAT, for the
/// time of one look-up.
#[derive(Clone, Debug, Default)]
pub(super) struct SharedLeases(Arc<Mutex<HashSet<SocketAddr>>>);

impl PortLeases for SharedLeases {
    fn lease(&self, outside: SocketAddr) -> bool {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(outside)
    }

    fn release(&self, outside: SocketAddr) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&outside);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_workers_never_hold_the_same_endpoint() {
        let first = SharedLeases::default();
        let second = first.clone();
        let outside = "203.0.113.1:40000".parse().unwrap();
        assert!(first.lease(outside));
        assert!(!second.lease(outside));
        first.release(outside);
        assert!(second.lease(outside));
    }
}
