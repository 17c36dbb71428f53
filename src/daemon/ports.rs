//! The outside ports that all workers share.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use crate::proto::nat::{LeaseTable, PortLeases, Share};

/// Leases behind a lock. It is taken once for each announcement of an end behind NAT, for the
/// time of one look-up.
#[derive(Clone, Debug)]
pub(super) struct SharedLeases(Arc<Mutex<LeaseTable>>);

impl SharedLeases {
    /// Leases of all ports of a share but `reserved`.
    pub(super) fn reserving(reserved: Vec<u16>, share: Share) -> Self {
        Self(Arc::new(Mutex::new(LeaseTable::reserving(reserved, share))))
    }
}

impl PortLeases for SharedLeases {
    fn lease(&self, outside: SocketAddr) -> bool {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .lease(outside)
    }

    fn lease_rested(&self, outside: SocketAddr) -> bool {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .lease_rested(outside)
    }

    fn release(&self, outside: SocketAddr) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .release(outside);
    }

    fn rouse(&self) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .rouse();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_workers_never_hold_the_same_endpoint() {
        let first = SharedLeases::reserving(vec![21], Share::WHOLE);
        let second = first.clone();
        let outside = "203.0.113.1:40000".parse().unwrap();
        assert!(first.lease(outside));
        assert!(!second.lease(outside));
        first.release(outside);
        assert!(second.lease(outside));
    }
}
