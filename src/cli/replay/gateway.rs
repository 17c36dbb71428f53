//! A gateway on paper: it hands the core what a queue would, and answers like a kernel that can do
//! everything.

use std::{
    collections::{HashSet, VecDeque},
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use super::nat_mapping::Mappings;
use crate::{
    daemon::{config::Config, from_config::settings_of},
    io::clock,
    proto::{
        alg::{Alg, FLOWS_MAX, InboundPacket},
        egress::PacketId,
        event::Event,
        flow::Settings,
        kernel::PaperKernel,
        nat::LeaseTable,
        net::Tuple,
        packet::{Flags, Segment},
        shared::SharedTables,
    },
};

/// The gateway of one capture.
pub(super) struct ReplayGateway {
    alg: Alg,
    control_ports: Vec<u16>,
    nat: Mappings,
    /// The connections whose handshake is under way, by the tuple of their client. Of those beyond
    /// [`FLOWS_MAX`] none is known.
    handshakes: HashSet<Tuple>,
    events: VecDeque<Event>,
    times: Times,
}

/// The daemon's settings, but that no command has to wait: nobody would send it again.
fn settings_for_replay(config: &Config) -> Settings {
    let mut settings = settings_of(config);
    settings.limits.session_commands = u32::MAX;
    settings.limits.host_commands = u32::MAX;
    settings
}

/// Capture times as the core counts them: never backwards, whatever the capture says.
struct Times {
    begin: Instant,
    first: Option<Duration>,
    latest: Instant,
}

impl ReplayGateway {
    pub(super) fn new(config: &Config, nat: Mappings) -> Self {
        let mut leases = LeaseTable::reserving(config.control_ports.to_vec(), config.nat.share);
        leases.avoid(config.nat.avoid_ports.iter().copied().collect());
        let shared = Arc::new(SharedTables::with_ports(leases));
        Self {
            alg: Alg::new(settings_for_replay(config), shared),
            control_ports: config.control_ports.to_vec(),
            nat,
            handshakes: HashSet::new(),
            events: VecDeque::new(),
            times: Times::beginning_at(clock::now()),
        }
    }

    /// Takes one IP packet of the capture, whichever side of the gateway it was captured on.
    /// Only those of control connections concern the core.
    pub(super) fn handle_packet(&mut self, frame: u64, packet: &[u8], timestamp: Duration) {
        let now = self.times.at(timestamp);
        self.handle_timeout(now);
        let Ok(segment) = Segment::parse(packet) else {
            return;
        };
        let arriving = self.nat.arriving(segment.tuple);
        let Some(original) = self.original_of(arriving, segment.flags) else {
            return;
        };
        if !self.is_for_core(original, arriving, &segment) {
            return;
        }
        let packet = readdressed(packet, arriving);
        let inbound = InboundPacket::new(PacketId(frame), &packet);
        let mut kernel = PaperKernel(Some(self.nat.entry_of(original)));
        let egress = self.alg.handle_packet(&inbound, &mut kernel, now);
        self.events.extend(egress.effects.events);
    }

    /// What the core has to tell, in order.
    pub(super) fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    fn handle_timeout(&mut self, now: Instant) {
        while self.alg.poll_timeout().is_some_and(|due| due <= now) {
            let effects = self.alg.handle_timeout(&mut PaperKernel(None), now);
            self.events.extend(effects.events);
        }
    }

    /// Whether the core is given a packet. It is not given a control connection's first packet,
    /// which no rule queues. Nor is it given a SYN/ACK in mid-connection, because conntrack says
    /// that it begins nothing.
    fn is_for_core(&mut self, original: Tuple, arriving: Tuple, segment: &Segment<'_>) -> bool {
        if segment.flags.is_syn() && segment.ack.is_none() {
            if self.handshakes.len() < FLOWS_MAX {
                self.handshakes.insert(original);
            }
            return false;
        }
        if segment.flags.is_syn() {
            return self.handshakes.contains(&original);
        }
        if arriving == original {
            self.handshakes.remove(&original);
        }
        true
    }

    /// The tuple of the client's packets, if this is a control connection. A SYN tells who the
    /// client is; without one the control port does.
    fn original_of(&self, arriving: Tuple, flags: Flags) -> Option<Tuple> {
        let is_control = |port| self.control_ports.contains(&port);
        let to_server = is_control(arriving.destination.port());
        let from_server = is_control(arriving.source.port());
        let is_original = match (to_server, from_server) {
            (false, false) => return None,
            (true, true) if flags.is_syn() => !flags.is_ack(),
            (to_server, _) => to_server,
        };
        Some(if is_original {
            arriving
        } else {
            self.nat.opposite(arriving)
        })
    }
}

impl Times {
    fn beginning_at(begin: Instant) -> Self {
        Self {
            begin,
            first: None,
            latest: begin,
        }
    }

    fn at(&mut self, timestamp: Duration) -> Instant {
        let first = *self.first.get_or_insert(timestamp);
        let elapsed = timestamp.saturating_sub(first);
        let now = self.begin.checked_add(elapsed).unwrap_or(self.latest);
        self.latest = self.latest.max(now);
        self.latest
    }
}

/// The packet with the addresses of `arriving`. Checksums stay what they were: the core does not
/// ask for them, because captures taken on the sending machine have none yet.
fn readdressed(packet: &[u8], arriving: Tuple) -> Vec<u8> {
    let mut packet = packet.to_vec();
    let (source, destination) = (arriving.source.ip(), arriving.destination.ip());
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            packet[12..16].copy_from_slice(&source.octets());
            packet[16..20].copy_from_slice(&destination.octets());
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            packet[8..24].copy_from_slice(&source.octets());
            packet[24..40].copy_from_slice(&destination.octets());
        }
        // A mapping never changes the family, and a packet has one.
        _ => {}
    }
    packet
}
