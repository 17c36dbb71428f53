//! What all workers share: the outside ports, what hosts have spent, and what is granted.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use crate::proto::{
    budget::{HostBudgets, HostTable},
    nat::{LeaseTable, PortLeases, PortShare},
    tls::{GrantTable, Grants},
};

/// Leases behind a lock. It is taken once for each announcement of an end behind NAT, for the
/// time of one look-up. What hosts have spent is behind another, taken for each packet with commands, and
/// what is granted behind a third, taken as encrypted sessions begin, end, and open connections.
#[derive(Clone, Debug)]
pub(super) struct SharedLeases {
    ports: Arc<Mutex<LeaseTable>>,
    hosts: Arc<Mutex<HostTable>>,
    grants: Arc<Mutex<GrantTable>>,
}

impl SharedLeases {
    /// Leases of all ports of a share but `reserved`.
    pub(super) fn reserving(reserved: Vec<u16>, share: PortShare) -> Self {
        Self {
            ports: Arc::new(Mutex::new(LeaseTable::reserving(reserved, share))),
            hosts: Arc::default(),
            grants: Arc::default(),
        }
    }
}

impl HostBudgets for SharedLeases {
    fn with_hosts(&self, run: &mut dyn FnMut(&mut HostTable)) {
        run(&mut self.hosts.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl Grants for SharedLeases {
    fn with_grants(&self, run: &mut dyn FnMut(&mut GrantTable)) {
        run(&mut self.grants.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl PortLeases for SharedLeases {
    fn lease(&self, outside: SocketAddr) -> bool {
        self.ports
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .lease(outside)
    }

    fn lease_unquarantined(&self, outside: SocketAddr) -> bool {
        self.ports
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .lease_unquarantined(outside)
    }

    fn release(&self, outside: SocketAddr) {
        self.ports
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .release(outside);
    }

    fn clear_quarantine(&self) {
        self.ports
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear_quarantine();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_workers_never_hold_the_same_endpoint() {
        let first = SharedLeases::reserving(vec![21], PortShare::WHOLE);
        let second = first.clone();
        let outside = "203.0.113.1:40000".parse().unwrap();
        assert!(first.lease(outside));
        assert!(!second.lease(outside));
        first.release(outside);
        assert!(second.lease(outside));
    }
}
