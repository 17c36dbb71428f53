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
    /// Whether a packet of the pickup queue is of such a connection: no other one there has SYN, or
    /// lacks a control port.
    pub(super) fn concerns(&self, packet: &Segment<'_>) -> bool {
        let ports = [packet.tuple.source.port(), packet.tuple.destination.port()];
        packet.flags.is_syn() || !ports.iter().any(|port| self.control_ports.contains(port))
    }

    /// Whether a packet of a control connection comes from its server.
    pub(super) fn is_of_server(&self, packet: &Segment<'_>) -> bool {
        !self
            .control_ports
            .contains(&packet.tuple.destination.port())
    }

    /// Nothing was told yet.
    pub(super) const fn new(control_ports: Vec<u16>) -> Self {
        Self {
            control_ports,
            has_told_untracked: false,
            has_told_elsewhere: false,
        }
    }

    /// A packet of a connection that nobody reads: the server's part of the handshake, which
    /// conntrack does not see, or one to the port of FTP, which is none of the control ports.
    pub(super) fn tell(&mut self, packet: &Segment<'_>) {
        let is_answer = packet.flags.is_syn();
        let tuple = if is_answer {
            packet.tuple.inverted()
        } else {
            packet.tuple
        };
        let (client, server) = (tuple.source, tuple.destination);
        let port = server.port();
        if is_answer {
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
