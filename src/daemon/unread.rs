//! Tells the operator of connections that look like FTP and that nobody reads.

use tracing::{info, warn};

use crate::proto::packet::Segment;

/// What was told already. The table shows one first packet a minute (`pickup_chains`).
#[derive(Debug)]
pub(super) struct UnreadConnections {
    control_ports: Vec<u16>,
    has_told_untracked: bool,
    has_told_elsewhere: bool,
}

impl UnreadConnections {
    /// Nothing was told yet.
    pub(super) const fn new(control_ports: Vec<u16>) -> Self {
        Self {
            control_ports,
            has_told_untracked: false,
            has_told_elsewhere: false,
        }
    }

    /// The first packet of a connection to a control port that conntrack does not see, or to the
    /// port of FTP, which is none of the control ports.
    pub(super) fn tell(&mut self, first: &Segment<'_>) {
        let (client, server) = (first.tuple.source, first.tuple.destination);
        let port = server.port();
        if self.control_ports.contains(&port) {
            if !std::mem::replace(&mut self.has_told_untracked, true) {
                warn!(
                    %client, %server,
                    "control connections pass untracked, and nobody can read them: take port \
                     {port} out of your `notrack` rules"
                );
            }
        } else if !std::mem::replace(&mut self.has_told_elsewhere, true) {
            info!(
                %client, %server,
                "connections to port {port} are not read, because it is not one of control_ports"
            );
        }
    }
}
