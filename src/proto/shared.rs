//! The tables that all cores of a process share.
//!
//! Each lock is taken for one look-up. Outside ports are leased once for each announcement of an
//! end behind NAT. Hosts are charged for each packet with commands. Grants are looked at when
//! encrypted sessions begin, end, and open data connections.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{budget::HostTable, ftps::GrantTable, nat::LeaseTable};

/// The tables. A core is given them behind an [`Arc`](std::sync::Arc).
#[derive(Debug, Default)]
pub struct SharedTables {
    ports: Mutex<LeaseTable>,
    hosts: Mutex<HostTable>,
    grants: Mutex<GrantTable>,
}

impl SharedTables {
    /// Empty tables, with these outside ports to lease.
    #[must_use]
    pub fn with_ports(ports: LeaseTable) -> Self {
        Self {
            ports: Mutex::new(ports),
            ..Self::default()
        }
    }

    /// The outside ports that are leased.
    pub fn ports(&self) -> MutexGuard<'_, LeaseTable> {
        lock(&self.ports)
    }

    /// The quotas of the clients' hosts.
    pub fn hosts(&self) -> MutexGuard<'_, HostTable> {
        lock(&self.hosts)
    }

    /// The encrypted sessions whose clients may open data connections.
    pub fn grants(&self) -> MutexGuard<'_, GrantTable> {
        lock(&self.grants)
    }
}

impl Clone for SharedTables {
    /// Tables with the same contents, and locks of their own.
    fn clone(&self) -> Self {
        Self {
            ports: Mutex::new(self.ports().clone()),
            hosts: Mutex::new(self.hosts().clone()),
            grants: Mutex::new(self.grants().clone()),
        }
    }
}

/// A table whose holder panicked is still whole: each call leaves it so.
fn lock<T>(table: &Mutex<T>) -> MutexGuard<'_, T> {
    table.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_cores_never_hold_the_same_endpoint() {
        let tables = SharedTables::default();
        let outside = "203.0.113.1:40000".parse().unwrap();
        assert!(tables.ports().lease(outside));
        assert!(!tables.ports().lease(outside));
        let peer = outside.ip();
        tables
            .ports()
            .release(outside, peer, crate::proto::test_origin());
        assert!(tables.ports().lease(outside));
    }
}
