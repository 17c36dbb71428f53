//! The sending half: first transmissions, retransmissions, probes.

use std::time::{Duration, Instant};

use super::super::frame::{ACK, FIN, Frame, PSH, SYN, URG};
use super::{Host, is_before};

const RESEND_FIRST: Duration = Duration::from_millis(250);
/// The garbage byte of a keep-alive. No line has it.
pub(super) const GARBAGE: [u8; 1] = [0];
const RESEND_MAX: Duration = Duration::from_millis(1000);

impl Host {
    /// A frame with this end's addresses, acknowledgement, window and options.
    pub(super) fn frame(&mut self, flags: u8) -> Frame {
        let mut frame = Frame::new(self.local, self.remote);
        frame.flags = flags;
        frame.seq = self.nxt;
        if flags & ACK != 0 {
            frame.ack = self.rcv_nxt();
            self.last_ack_sent = frame.ack;
            self.ack_at = None;
            self.unacked_segments = 0;
        }
        frame.window = self.window();
        if self.config.has_timestamps && (self.has_peer_options || flags & SYN != 0) {
            frame.timestamps = Some((self.clock(), self.ts_recent));
        }
        if self.config.has_sack && self.has_peer_options && flags & SYN == 0 {
            frame.sack = self.sack_blocks();
        }
        frame
    }

    pub(super) fn send_ack(&mut self, now: Instant) {
        self.last_activity = now;
        let frame = self.frame(ACK);
        self.out.push(frame);
    }

    pub(super) fn send_syn(&mut self, flags: u8, now: Instant) {
        self.last_activity = now;
        let mut frame = self.frame(flags);
        frame.seq = self.config.isn;
        frame.mss = Some(self.config.mss);
        frame.scale = Some(self.config.scale);
        frame.sack_permitted = self.config.has_sack;
        self.out.push(frame);
    }

    /// Sends the bytes that may be sent for the first time.
    pub(super) fn send_pending(&mut self, now: Instant) {
        while self.is_established && !self.has_sent_fin() {
            let from = self.position(self.nxt);
            while self.writes.front().is_some_and(|&end| end <= from) {
                self.writes.pop_front();
            }
            let until = self.next_cut(from);
            let in_flight = self.nxt.wrapping_sub(self.una) as usize;
            let room = (self.peer_window as usize).saturating_sub(in_flight);
            let length = (until - from).min(room);
            let is_last = from + length == self.stream.len();
            let has_fin = self.is_closing && is_last;
            if length == 0 && !has_fin {
                return self.arm_probe(from < self.stream.len(), now);
            }
            let is_small = length < usize::from(self.config.mss) && !has_fin;
            if self.config.has_nagle && is_small && in_flight > 0 {
                return;
            }
            self.send_span(self.nxt, length, now);
            self.nxt = self.nxt.wrapping_add(length as u32 + u32::from(has_fin));
            self.arm_resend(now);
        }
    }

    /// The most distant end of the next segment: the end of one write, or of
    /// all bytes where Nagle's algorithm joins writes.
    fn next_cut(&self, from: usize) -> usize {
        let write = if self.config.has_nagle {
            self.stream.len()
        } else {
            self.writes.front().copied().unwrap_or(self.stream.len())
        };
        write.min(from + usize::from(self.config.mss))
    }

    fn send_span(&mut self, seq: u32, length: usize, now: Instant) {
        self.last_activity = now;
        let from = self.position(seq);
        let mut frame = self.frame(ACK | PSH);
        frame.seq = seq;
        frame.payload = self.stream[from..from + length].to_vec();
        if self.is_closing && from + length == self.stream.len() {
            frame.flags |= FIN;
        }
        if let Some(end) = self.urgent_end.filter(|&end| is_before(seq, end)) {
            frame.flags |= URG;
            frame.urgent = end.wrapping_sub(seq) as u16;
        }
        self.probe_at = None;
        self.out.push(frame);
    }

    pub(super) fn arm_resend(&mut self, now: Instant) {
        let wait = (RESEND_FIRST * (1 << self.backoff.min(4))).min(RESEND_MAX);
        self.resend_at = (self.una != self.nxt).then_some(now + wait);
    }

    pub(super) fn handle_resend_timer(&mut self, now: Instant) {
        self.backoff += 1;
        self.recover = self.nxt;
        if !self.is_established {
            let flags = if self.irs.is_some() { SYN | ACK } else { SYN };
            self.send_syn(flags, now);
        } else {
            self.resend_first(now);
        }
        self.arm_resend(now);
    }

    /// Repeats the first bytes that the peer has not acknowledged. The configuration has the
    /// lengths of the pieces.
    pub(super) fn resend_first(&mut self, now: Instant) {
        let end = self.nxt.wrapping_sub(u32::from(self.has_sent_fin()));
        let mut from = self.position(self.una);
        let end = self.position(end);
        while from < end && self.sacked[from] {
            from += 1;
        }
        let stop = (from..end)
            .find(|&position| self.sacked[position])
            .unwrap_or(end);
        let recut = self.config.recuts.pop_front();
        let longest = usize::from(recut.unwrap_or(self.config.mss).clamp(1, self.config.mss));
        let room = (self.peer_window as usize).max(1);
        let length = (stop - from).min(longest).min(room);
        self.send_span(self.at(from), length, now);
    }

    fn arm_probe(&mut self, has_unsent: bool, now: Instant) {
        if has_unsent && self.una == self.nxt && self.probe_at.is_none() {
            self.probe_at = Some(now + RESEND_FIRST);
        }
    }

    pub(super) fn send_probe(&mut self, now: Instant) {
        self.probe_at = None;
        let from = self.position(self.nxt);
        if self.una != self.nxt || from >= self.stream.len() {
            return;
        }
        if self.config.probes_with_byte {
            self.send_span(self.nxt, 1, now);
            self.nxt = self.nxt.wrapping_add(1);
            self.arm_resend(now);
        } else {
            let mut frame = self.frame(ACK);
            frame.seq = self.una.wrapping_sub(1);
            self.out.push(frame);
            self.probe_at = Some(now + RESEND_FIRST);
        }
    }

    pub(super) fn keep_alive_at(&self) -> Option<Instant> {
        let is_quiet = self.is_established && self.una == self.nxt && !self.has_sent_fin();
        let interval = self.config.keep_alive.filter(|_| is_quiet)?;
        Some(self.last_activity + interval)
    }

    pub(super) fn send_keep_alive(&mut self, now: Instant) {
        self.last_activity = now;
        let mut frame = self.frame(ACK);
        frame.seq = self.nxt.wrapping_sub(1);
        if self.config.keeps_alive_with_byte {
            frame.payload = GARBAGE.to_vec();
        }
        self.out.push(frame);
    }

    /// Takes an acknowledgement of the peer.
    pub(super) fn handle_ack(&mut self, frame: &Frame, now: Instant) {
        if is_before(self.nxt, frame.ack) {
            let complaint = format!("acknowledged what was never sent: {frame}");
            self.faults.push(complaint);
            return;
        }
        self.handle_sack(frame);
        let scale = if frame.has(SYN) { 0 } else { self.peer_scale };
        if !is_before(frame.ack, self.una) {
            self.peer_window = u32::from(frame.window) << scale;
        }
        if !is_before(self.una, frame.ack) {
            return;
        }
        self.una = frame.ack;
        self.backoff = 0;
        self.arm_resend(now);
        if self.is_established && is_before(self.una, self.recover) {
            self.resend_first(now);
        }
    }

    fn handle_sack(&mut self, frame: &Frame) {
        for &(left, right) in &frame.sack {
            if !is_before(left, right) || is_before(self.nxt, right) {
                let complaint = format!("impossible SACK block: {frame}");
                self.faults.push(complaint);
                continue;
            }
            if is_before(left, frame.ack) {
                // The report of a duplicate (RFC 2883), which acknowledges nothing.
                continue;
            }
            for position in self.position(left)..self.position(right).min(self.sacked.len()) {
                self.sacked[position] = true;
            }
        }
    }

    pub(super) fn has_sent_fin(&self) -> bool {
        self.position(self.nxt) == self.stream.len() + 1
    }

    pub(super) fn has_acked_syn(&self) -> bool {
        self.una != self.config.isn
    }

    /// Whether all bytes were acknowledged, and the FIN too.
    pub(super) fn is_closed(&self) -> bool {
        self.is_closing && self.has_sent_fin() && self.una == self.nxt
    }

    /// The clock of timestamps, which ticks each millisecond and started at any value.
    fn clock(&self) -> u32 {
        let elapsed = self.last_activity.saturating_duration_since(self.origin);
        (elapsed.as_millis() as u32).wrapping_add(self.config.isn.rotate_left(7))
    }
}
