//! The outside ports that no announcement is given: the operator's, and those that this machine
//! needs itself.

use tracing::debug;

use crate::{
    io::local_ports::LocalPorts,
    proto::{nat::PortSet, shared::SharedTables},
};

/// Keeps them in the table of leases.
#[derive(Debug)]
pub(super) struct AvoidedPorts {
    local: LocalPorts,
    excluded: Vec<u16>,
}

impl AvoidedPorts {
    /// Opens what says which ports this machine needs. `excluded` are the operator's.
    pub(super) fn open(excluded: &[u16]) -> Self {
        Self {
            local: LocalPorts::open(),
            excluded: excluded.to_vec(),
        }
    }

    /// Takes other ports of the operator's.
    pub(super) fn exclude(&mut self, excluded: &[u16], tables: &SharedTables) {
        self.excluded = excluded.to_vec();
        self.refresh(tables);
    }

    /// Reads anew which ports this machine needs. A program that has begun to listen since the last
    /// time may lose a connection from a server that uses its port.
    pub(super) fn refresh(&mut self, tables: &SharedTables) {
        let mut ports = self.local.read().unwrap_or_else(|error| {
            debug!(%error, "the ports on which this machine listens cannot be read");
            PortSet::default()
        });
        ports.extend(self.excluded.iter().copied());
        tables.ports().avoid(ports);
    }
}
