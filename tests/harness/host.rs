//! A TCP end with its application, which follows a script.

mod receive;
mod send;

use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
    time::{Duration, Instant},
};

use super::frame::{ACK, Frame, PSH, RST, SYN};

/// The behaviour of an end.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) isn: u32,
    pub(crate) mss: u16,
    /// The receive buffer, in bytes.
    pub(crate) window: u16,
    pub(crate) scale: u8,
    pub(crate) has_timestamps: bool,
    pub(crate) has_sack: bool,
    pub(crate) has_nagle: bool,
    pub(crate) delayed_ack: Option<Duration>,
    /// The lengths of retransmitted pieces, one after the other. Later pieces have the MSS.
    pub(crate) recuts: VecDeque<u16>,
    /// A probe of a closed window has one new byte. Else it has no byte and an old number.
    pub(crate) probes_with_byte: bool,
    /// The start and the end of the time with a closed window, counted from the origin.
    pub(crate) closed_window: Option<(Duration, Duration)>,
    /// The quiet time after which a keep-alive is sent.
    pub(crate) keep_alive: Option<Duration>,
    /// Keep-alives have one byte of garbage.
    pub(crate) keeps_alive_with_byte: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            isn: 1_000_000,
            mss: 1460,
            window: 65_000,
            scale: 0,
            has_timestamps: true,
            has_sack: true,
            has_nagle: false,
            delayed_ack: None,
            recuts: VecDeque::new(),
            probes_with_byte: false,
            closed_window: None,
            keep_alive: None,
            keeps_alive_with_byte: false,
        }
    }
}

/// One thing that an application does once `after_lines` lines have come and `delay` has passed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Step {
    pub(crate) after_lines: usize,
    pub(crate) delay: Duration,
    pub(crate) bytes: Vec<u8>,
    pub(crate) is_urgent: bool,
    pub(crate) closes: bool,
}

/// One end of a connection.
#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) local: SocketAddr,
    pub(crate) remote: SocketAddr,
    pub(crate) config: Config,
    pub(crate) script: VecDeque<Step>,
    /// The bytes that the application has read.
    pub(crate) received: Vec<u8>,
    /// Observations that a correct peer and network do not cause.
    pub(crate) faults: Vec<String>,
    /// The end of the peer's urgent data, as a position in `received`.
    pub(crate) urgent_received: Option<u32>,
    pub(crate) was_reset: bool,
    origin: Instant,
    out: Vec<Frame>,
    ready_at: Option<Instant>,
    is_established: bool,
    // What is sent. Positions in `stream` are counted from `isn + 1`.
    stream: Vec<u8>,
    writes: VecDeque<usize>,
    una: u32,
    nxt: u32,
    peer_window: u32,
    peer_scale: u8,
    sacked: Vec<bool>,
    recover: u32,
    resend_at: Option<Instant>,
    backoff: u32,
    probe_at: Option<Instant>,
    urgent_end: Option<u32>,
    is_closing: bool,
    last_activity: Instant,
    // What is received.
    irs: Option<u32>,
    ahead: BTreeMap<u32, Vec<u8>>,
    fin_at: Option<u32>,
    has_fin: bool,
    ack_at: Option<Instant>,
    unacked_segments: u32,
    ts_recent: u32,
    last_ack_sent: u32,
    duplicate: Option<(u32, u32)>,
    has_peer_options: bool,
}

impl Host {
    pub(crate) fn new(local: SocketAddr, remote: SocketAddr, config: Config) -> Self {
        let origin = super::origin();
        Self {
            local,
            remote,
            una: config.isn,
            nxt: config.isn,
            recover: config.isn,
            config,
            script: VecDeque::new(),
            received: Vec::new(),
            faults: Vec::new(),
            urgent_received: None,
            was_reset: false,
            origin,
            out: Vec::new(),
            ready_at: None,
            is_established: false,
            stream: Vec::new(),
            writes: VecDeque::new(),
            peer_window: 0,
            peer_scale: 0,
            sacked: Vec::new(),
            resend_at: None,
            backoff: 0,
            probe_at: None,
            urgent_end: None,
            is_closing: false,
            last_activity: origin,
            irs: None,
            ahead: BTreeMap::new(),
            fin_at: None,
            has_fin: false,
            ack_at: None,
            unacked_segments: 0,
            ts_recent: 0,
            last_ack_sent: 0,
            duplicate: None,
            has_peer_options: false,
        }
    }

    /// Sends the first SYN.
    pub(crate) fn connect(&mut self, now: Instant) {
        self.send_syn(SYN, now);
        self.nxt = self.una.wrapping_add(1);
        self.arm_resend(now);
    }

    /// The packets that it sends, in order.
    pub(crate) fn poll_frames(&mut self) -> Vec<Frame> {
        std::mem::take(&mut self.out)
    }

    /// The time at which it wants to be asked again.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        if self.was_reset {
            return None;
        }
        let timers = [
            self.ready_at.filter(|_| self.is_established),
            self.resend_at,
            self.probe_at,
            self.ack_at,
            self.window_opens_at(),
            self.keep_alive_at(),
        ];
        timers.into_iter().flatten().min()
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        if self.was_reset {
            return;
        }
        self.run_script(now);
        if self.ack_at.is_some_and(|at| at <= now) {
            self.send_ack(now);
        }
        if self.resend_at.is_some_and(|at| at <= now) {
            self.handle_resend_timer(now);
        }
        if self.probe_at.is_some_and(|at| at <= now) {
            self.send_probe(now);
        }
        if self.window_opens_at().is_some_and(|at| at <= now) {
            self.config.closed_window = None;
            if self.irs.is_some() {
                self.send_ack(now);
            }
        }
        if self.keep_alive_at().is_some_and(|at| at <= now) {
            self.send_keep_alive(now);
        }
        self.send_pending(now);
    }

    pub(crate) fn handle_frame(&mut self, frame: &Frame, now: Instant) {
        if self.was_reset {
            return;
        }
        self.last_activity = now;
        if frame.has(SYN) {
            self.handle_syn(frame, now);
        } else if self.irs.is_some() && (frame.has(ACK) || frame.has(RST)) {
            // A segment without ACK is discarded (RFC 9293 §3.10.7.4).
            self.handle_segment(frame, now);
        } else if frame.has(RST) && frame.has(ACK) {
            // A refused handshake (RFC 9293 §3.10.7.3).
            self.was_reset = frame.ack == self.next_to_send();
        }
        self.run_script(now);
        self.send_pending(now);
    }

    /// Whether all was sent and received, and both sides have closed.
    pub(crate) fn is_done(&self) -> bool {
        self.was_reset || (self.script.is_empty() && self.is_closed() && self.has_fin)
    }

    /// Whether the peer has acknowledged all that was sent so far.
    pub(crate) fn is_acknowledged(&self) -> bool {
        self.una == self.nxt
    }

    /// Adds steps, from now on.
    pub(crate) fn say(&mut self, steps: Vec<Step>, now: Instant) {
        self.ready_at = steps.first().map(|step| now + step.delay);
        self.script = steps.into();
    }

    /// Whether the peer has closed its side.
    pub(crate) fn has_heard_fin(&self) -> bool {
        self.has_fin
    }

    /// The steps that are left, for the message of a failed test.
    pub(crate) fn complaint(&self) -> String {
        format!(
            "{}: {} steps left, una {} nxt {} of {} bytes, received {} bytes, fin {} ahead {:?}",
            self.local,
            self.script.len(),
            self.una.wrapping_sub(self.config.isn),
            self.nxt.wrapping_sub(self.config.isn),
            self.stream.len(),
            self.received.len(),
            self.has_fin,
            self.ahead,
        )
    }

    /// Aborts the connection with an RST.
    pub(crate) fn abort(&mut self) {
        let mut frame = self.frame(RST | ACK);
        frame.seq = self.nxt;
        self.out.push(frame);
        self.was_reset = true;
    }

    /// Sends a segment that its TCP would not send: an ordinary one with `change`.
    pub(crate) fn send_odd(&mut self, change: impl FnOnce(&mut Frame)) {
        let frame = self.odd(change);
        self.out.push(frame);
    }

    /// Such a segment, as somebody else may forge it.
    pub(crate) fn odd(&mut self, change: impl FnOnce(&mut Frame)) -> Frame {
        let mut frame = self.frame(ACK | PSH);
        frame.seq = self.nxt;
        change(&mut frame);
        frame
    }

    /// The position of the next byte it will send.
    pub(crate) fn next_to_send(&self) -> u32 {
        self.nxt
    }

    fn run_script(&mut self, now: Instant) {
        while let Some(step) = self.script.front() {
            let lines = self.received.iter().filter(|&&byte| byte == b'\n').count();
            if !self.is_established || lines < step.after_lines {
                return;
            }
            let ready_at = *self.ready_at.get_or_insert(now + step.delay);
            if ready_at > now {
                return;
            }
            self.ready_at = None;
            let Some(step) = self.script.pop_front() else {
                return;
            };
            self.write(&step);
        }
    }

    fn write(&mut self, step: &Step) {
        self.stream.extend(&step.bytes);
        self.sacked.resize(self.stream.len(), false);
        if !step.bytes.is_empty() {
            self.writes.push_back(self.stream.len());
        }
        if step.is_urgent {
            self.urgent_end = Some(self.at(self.stream.len()));
        }
        self.is_closing |= step.closes;
    }

    /// The sequence number of a position in `stream`.
    fn at(&self, position: usize) -> u32 {
        self.config
            .isn
            .wrapping_add(1)
            .wrapping_add(position as u32)
    }

    /// The position in `stream` of a sequence number.
    fn position(&self, seq: u32) -> usize {
        seq.wrapping_sub(self.config.isn).wrapping_sub(1) as usize
    }
}

/// Whether `a` lies before `b` on the ring.
fn is_before(a: u32, b: u32) -> bool {
    (a.wrapping_sub(b) as i32) < 0
}
