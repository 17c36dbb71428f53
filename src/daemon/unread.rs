//! Tells the operator of connections that look like FTP and that nobody reads.

use std::collections::HashMap;

use tracing::{info, warn};

use crate::proto::{net::Tuple, packet::Segment};

/// How often a connection's packets are held until the operator is told. A connection that is
/// picked up has two of them held, or three with a loss.
const HELD_OFTEN: u32 = 5;

/// How many connections are counted. Beyond that the count begins anew.
const COUNTED_MAX: usize = 1024;

/// What was told already. The table shows one first packet a minute (`pickup_chains`).
#[derive(Debug)]
pub(super) struct UnreadConnections {
    control_ports: Vec<u16>,
    has_told_untracked: bool,
    has_told_elsewhere: bool,
    /// How often packets were held, by their tuple. Empty once that was told.
    held: HashMap<Tuple, u32>,
    has_told_held: bool,
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
    pub(super) fn new(control_ports: Vec<u16>) -> Self {
        Self {
            control_ports,
            has_told_untracked: false,
            has_told_elsewhere: false,
            held: HashMap::new(),
            has_told_held: false,
        }
    }

    /// A packet was held, because conntrack has no answered connection for it.
    pub(super) fn tell_held(&mut self, packet: &Segment<'_>) {
        if self.has_told_held {
            return;
        }
        if self.held.len() >= COUNTED_MAX {
            self.held.clear();
        }
        let times = self.held.entry(packet.tuple).or_default();
        *times = times.saturating_add(1);
        if *times == HELD_OFTEN {
            (self.held, self.has_told_held) = (HashMap::new(), true);
            let (from, to) = (packet.tuple.source, packet.tuple.destination);
            warn!(
                %from, %to,
                "conntrack does not pick up a control connection that it has forgotten: the sysctl \
                 nf_conntrack_tcp_loose is 0, or only one direction passes here"
            );
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::{
        net::SeqNumber,
        packet::{Flags, Injected},
    };

    #[test]
    fn a_connection_whose_packets_are_held_again_and_again_is_told_once_and_counted_no_more() {
        let mut unread = UnreadConnections::new(vec![21]);
        let packet = |port: u16| {
            let ends = (([10, 0, 0, 2], port), ([203, 0, 113, 2], 21));
            let packet = Injected {
                tuple: Tuple::new(ends.0.into(), ends.1.into()),
                seq: SeqNumber(1),
                ack: Some(SeqNumber(1)),
                flags: Flags::PSH,
                window: 1,
                timestamps: None,
                payload: b"NOOP\r\n",
            };
            packet.encode().unwrap()
        };
        let mut hold = |port: u16| {
            let bytes = packet(port);
            unread.tell_held(&Segment::parse(&bytes).unwrap());
            (unread.has_told_held, unread.held.len())
        };
        assert_eq!(hold(40_000), (false, 1));
        for port in 1..=3000 {
            let (has_told, counted) = hold(port);
            assert!(!has_told && counted <= COUNTED_MAX);
        }
        for _ in 1..HELD_OFTEN {
            assert!(!hold(40_000).0);
        }
        assert_eq!(hold(40_000), (true, 0));
        assert_eq!(hold(40_001), (true, 0));
    }
}
