//! The wires between two ends and the gateway, and the clock.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
    time::{Duration, Instant},
};

use ftp_alg::proto::{
    flow::Settings,
    net::{ConntrackTuples, Direction, IfIndex},
};

use super::{
    dialogue::{Script, Turn},
    frame::{FIN, Frame, PSH, RST, SYN},
    host::{Config, Host},
    kernel::Kernel,
};

/// The time that a packet travels on each side of the gateway.
const LATENCY: Duration = Duration::from_millis(1);
/// A simulation that takes longer than this does not end.
const TIME_MAX: Duration = Duration::from_secs(120);
/// Nor does one with more packets, because the ends answer each other for ever.
const PACKETS_MAX: usize = 20_000;

/// The fate of one packet on one side of the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Pass,
    Drop,
    Duplicate(u16),
    /// Arrives this many milliseconds later, behind later packets.
    Delay(u16),
    /// Arrives as two segments, cut after this many bytes.
    Split(u16),
}

/// The receiver of a packet on a wire.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stop {
    Gateway(Vec<u8>),
    Host(Vec<u8>),
}

/// The behaviour of the two ends of a connection.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ends {
    pub(crate) client: Config,
    pub(crate) server: Config,
}

impl Ends {
    /// Both ends behave like this.
    pub(crate) fn alike(config: Config) -> Self {
        Self {
            client: config.clone(),
            server: config,
        }
    }
}

/// Ends, gateway, wires.
pub(crate) struct Link {
    pub(crate) kernel: Kernel,
    /// The client and the server of each connection, in turn.
    pub(crate) hosts: Vec<Host>,
    /// The fates of the next packets of both sides and directions. Later packets pass.
    pub(crate) fates: VecDeque<Fate>,
    pub(crate) now: Instant,
    /// The packets that hosts have received.
    pub(crate) delivered: Vec<Frame>,
    in_flight: BinaryHeap<Reverse<(Instant, u64, Stop)>>,
    sent: u64,
    traces: bool,
}

impl Link {
    pub(crate) fn new(settings: Settings) -> Self {
        Self {
            kernel: Kernel::new(settings),
            hosts: Vec::new(),
            fates: VecDeque::new(),
            now: super::origin(),
            delivered: Vec::new(),
            in_flight: BinaryHeap::new(),
            sent: 0,
            traces: std::env::var_os("FTP_ALG_TRACE").is_some(),
        }
    }

    /// One connection that follows `script`.
    pub(crate) fn of_script(tuples: ConntrackTuples, script: &Script) -> Self {
        let mut link = Self::new(Settings::default());
        link.add(tuples, script);
        link
    }

    /// Opens a connection between two ordinary ends, and gives its number.
    pub(crate) fn add(&mut self, tuples: ConntrackTuples, script: &Script) -> usize {
        self.add_with(tuples, Ends::default(), script)
    }

    /// Opens a connection, and gives its number.
    pub(crate) fn add_with(
        &mut self,
        tuples: ConntrackTuples,
        ends: Ends,
        script: &Script,
    ) -> usize {
        self.kernel.conntrack.push(tuples);
        let original = tuples.of(Direction::Original);
        let reply = tuples.of(Direction::Reply);
        let mut client = Host::new(original.source, original.destination, ends.client);
        let mut server = Host::new(reply.source, reply.destination, ends.server);
        client.script = script.client.clone().into();
        server.script = script.server.clone().into();
        client.connect(self.now);
        self.hosts.push(client);
        self.hosts.push(server);
        self.flush_hosts();
        self.hosts.len() / 2 - 1
    }

    pub(crate) fn client(&mut self) -> &mut Host {
        &mut self.hosts[0]
    }

    pub(crate) fn server(&mut self) -> &mut Host {
        &mut self.hosts[1]
    }

    /// Runs until each end has sent and received all.
    pub(crate) fn run(&mut self) {
        self.run_while(|link| !link.hosts.iter().all(Host::is_done));
    }

    /// Runs for this time.
    pub(crate) fn run_for(&mut self, time: Duration) {
        let until = self.now + time;
        self.flush_hosts();
        while self.next_event().is_some_and(|at| at <= until) {
            self.step();
        }
        self.now = until;
    }

    pub(crate) fn run_while(&mut self, goes_on: impl Fn(&Self) -> bool) {
        let start = self.now;
        while goes_on(self) {
            let has_time = self.now.saturating_duration_since(start) < TIME_MAX;
            if !has_time || self.sent as usize > PACKETS_MAX || self.next_event().is_none() {
                let complaints: Vec<_> = self.hosts.iter().map(Host::complaint).collect();
                panic!(
                    "it has come to a stop after {} packets: {complaints:#?}",
                    self.sent
                );
            }
            self.step();
        }
    }

    /// The client sends more.
    pub(crate) fn client_says(&mut self, turns: &[Turn]) {
        let now = self.now;
        self.client().say(Script::open(turns).client, now);
    }

    /// The same for the server.
    pub(crate) fn server_says(&mut self, turns: &[Turn]) {
        let now = self.now;
        self.server().say(Script::open(turns).server, now);
    }

    /// The faults of all ends.
    pub(crate) fn faults(&self) -> Vec<&String> {
        self.hosts.iter().flat_map(|host| &host.faults).collect()
    }

    /// Puts a packet onto the wire of a host as it is.
    pub(crate) fn send_raw(&mut self, frame: &Frame) {
        self.schedule(Stop::Gateway(frame.encode()), LATENCY);
    }

    /// The same, by this interface.
    pub(crate) fn send_forged(&mut self, frame: &Frame, iif: IfIndex) {
        self.kernel.forged.insert(frame.encode(), iif);
        self.send_raw(frame);
    }

    fn next_event(&self) -> Option<Instant> {
        let flight = self.in_flight.peek().map(|Reverse((at, ..))| *at);
        let hosts = self.hosts.iter().filter_map(Host::poll_timeout).min();
        let kernel = self.kernel.poll_timeout();
        [flight, hosts, kernel].into_iter().flatten().min()
    }

    fn step(&mut self) {
        let Some(at) = self.next_event() else { return };
        self.now = self.now.max(at);
        let now = self.now;
        if self
            .in_flight
            .peek()
            .is_some_and(|Reverse((at, ..))| *at <= now)
            && let Some(Reverse((_, _, stop))) = self.in_flight.pop()
        {
            match stop {
                Stop::Gateway(packet) => {
                    self.trace("   in", &packet);
                    self.kernel.handle_packet(&packet, now);
                }
                Stop::Host(packet) => self.deliver(&packet),
            }
        }
        if self.kernel.poll_timeout().is_some_and(|at| at <= now) {
            self.kernel.handle_timeout(now);
        }
        for host in &mut self.hosts {
            if host.poll_timeout().is_some_and(|at| at <= now) {
                host.handle_timeout(now);
            }
        }
        self.flush_kernel();
        self.flush_hosts();
    }

    fn deliver(&mut self, packet: &[u8]) {
        let frame = Frame::decode(packet);
        let now = self.now;
        let mut hosts = self.hosts.iter_mut().rev();
        let host =
            hosts.find(|host| host.local == frame.destination && host.remote == frame.source);
        if let Some(host) = host {
            host.handle_frame(&frame, now);
            self.delivered.push(frame);
        }
    }

    fn flush_kernel(&mut self) {
        for frame in self.kernel.poll_frames() {
            self.trace("  out", &frame.encode());
            self.launch(frame, Stop::Host);
        }
    }

    fn flush_hosts(&mut self) {
        let frames: Vec<Frame> = self.hosts.iter_mut().flat_map(Host::poll_frames).collect();
        for frame in frames {
            self.launch(frame, Stop::Gateway);
        }
    }

    /// Puts a packet onto a wire, with its fate.
    fn launch(&mut self, frame: Frame, to: fn(Vec<u8>) -> Stop) {
        match self.fates.pop_front().unwrap_or(Fate::Pass) {
            Fate::Pass => self.schedule(to(frame.encode()), LATENCY),
            Fate::Drop => self.trace(" lost", &frame.encode()),
            Fate::Duplicate(after) => {
                self.schedule(to(frame.encode()), LATENCY);
                self.schedule(to(frame.encode()), LATENCY + millis(after));
            }
            Fate::Delay(by) => self.schedule(to(frame.encode()), LATENCY + millis(by)),
            Fate::Split(at) => {
                for part in split(frame, usize::from(at)) {
                    self.schedule(to(part.encode()), LATENCY);
                }
            }
        }
    }

    fn schedule(&mut self, stop: Stop, after: Duration) {
        self.sent += 1;
        self.in_flight
            .push(Reverse((self.now + after, self.sent, stop)));
    }

    fn trace(&self, what: &str, packet: &[u8]) {
        if self.traces {
            let at = self.now.saturating_duration_since(super::origin());
            eprintln!("{at:>10.3?} {what} {}", Frame::decode(packet));
        }
    }
}

/// Cuts a segment in two, as a segmenting network card does.
fn split(frame: Frame, at: usize) -> Vec<Frame> {
    if at == 0 || at >= frame.payload.len() || frame.has(SYN) || frame.has(RST) {
        return vec![frame];
    }
    let mut first = frame.clone();
    first.payload.truncate(at);
    first.flags &= !(FIN | PSH);
    let mut second = frame;
    second.payload.drain(..at);
    second.seq = second.seq.wrapping_add(at as u32);
    second.urgent = second.urgent.saturating_sub(at as u16);
    vec![first, second]
}

fn millis(count: u16) -> Duration {
    Duration::from_millis(u64::from(count))
}
