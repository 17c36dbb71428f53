//! The receiving half: order, duplicates, windows, acknowledgements.

use std::time::Instant;

use super::super::frame::{ACK, FIN, Frame, RST, SYN, URG};
use super::{Host, is_before};

impl Host {
    /// The next position expected of the peer.
    pub(super) fn rcv_nxt(&self) -> u32 {
        let irs = self.irs.unwrap_or_default();
        irs.wrapping_add(u32::from(self.irs.is_some()))
            .wrapping_add(self.received.len() as u32)
            .wrapping_add(u32::from(self.has_fin))
    }

    pub(super) fn handle_syn(&mut self, frame: &Frame, now: Instant) {
        if self.irs.is_some_and(|irs| irs != frame.seq) {
            return;
        }
        let asked = self.config.isn.wrapping_add(1);
        if self.is_established || (frame.has(ACK) && frame.ack != asked) {
            // A challenge (RFC 9293 §3.10.7.4), or an answer to another SYN.
            return self.send_ack(now);
        }
        let is_first = self.irs.is_none();
        self.irs = Some(frame.seq);
        if is_first {
            self.has_peer_options = true;
            self.config.has_timestamps &= frame.timestamps.is_some();
            self.config.has_sack &= frame.sack_permitted;
            self.config.mss = self.config.mss.min(frame.mss.unwrap_or(536));
            self.peer_scale = frame.scale.unwrap_or(0);
            self.ts_recent = frame.timestamps.map_or(0, |(value, _)| value);
        }
        if frame.has(ACK) {
            self.handle_ack(frame, now);
            self.is_established = true;
            self.send_ack(now);
        } else if !self.is_established {
            self.peer_window = u32::from(frame.window);
            self.send_syn(SYN | ACK, now);
            self.nxt = self.una.wrapping_add(1);
            self.arm_resend(now);
        }
    }

    pub(super) fn handle_segment(&mut self, frame: &Frame, now: Instant) {
        if !self.is_fresh(frame) || !self.is_acceptable(frame) {
            self.check_repeated(frame);
            if !frame.has(RST) {
                self.send_ack(now);
            }
            return;
        }
        if frame.has(RST) {
            self.was_reset = frame.seq == self.rcv_nxt();
            return;
        }
        self.record_clock(frame);
        self.handle_ack(frame, now);
        self.is_established |= self.has_acked_syn();
        if frame.has(URG) {
            let end = frame.seq.wrapping_add(u32::from(frame.urgent));
            let irs = self.irs.unwrap_or_default();
            self.urgent_received = Some(end.wrapping_sub(irs).wrapping_sub(1));
        }
        if frame.sequence_len() > 0 {
            self.handle_payload(frame, now);
        }
    }

    /// Protection against wrapped sequence numbers (RFC 7323 §5.3).
    fn is_fresh(&self, frame: &Frame) -> bool {
        let is_old = |(value, _)| is_before(value, self.ts_recent);
        frame.has(RST) || !self.config.has_timestamps || !frame.timestamps.is_none_or(is_old)
    }

    /// The first test of RFC 9293 §3.10.7.4.
    fn is_acceptable(&self, frame: &Frame) -> bool {
        let next = self.rcv_nxt();
        let window = u32::from(self.window()) << self.config.scale;
        let within = |seq: u32| seq.wrapping_sub(next) < window;
        let length = frame.sequence_len();
        match (length, window) {
            (0, 0) => frame.seq == next,
            (0, _) => within(frame.seq),
            (_, 0) => false,
            _ => within(frame.seq) || within(frame.seq.wrapping_add(length - 1)),
        }
    }

    /// Checks that repeated bytes are the same bytes.
    fn check_repeated(&mut self, frame: &Frame) {
        let is_keep_alive = frame.payload == super::send::GARBAGE;
        if is_keep_alive || frame.has(SYN) {
            return;
        }
        let first = self.irs.unwrap_or_default().wrapping_add(1);
        for (at, &byte) in frame.payload.iter().enumerate() {
            let seq = frame.seq.wrapping_add(at as u32);
            if is_before(seq, first) {
                continue;
            }
            let position = seq.wrapping_sub(first) as usize;
            if self
                .received
                .get(position)
                .is_some_and(|&known| known != byte)
            {
                let complaint = format!("byte {position} differs from the first time: {frame}");
                self.faults.push(complaint);
                return;
            }
        }
    }

    fn record_clock(&mut self, frame: &Frame) {
        if let Some((value, _)) = frame.timestamps
            && !is_before(self.last_ack_sent, frame.seq)
        {
            self.ts_recent = value;
        }
    }

    fn handle_payload(&mut self, frame: &Frame, now: Instant) {
        self.check_repeated(frame);
        let next = self.rcv_nxt();
        let is_in_order = frame.seq == next;
        let repeated = next.wrapping_sub(frame.seq);
        self.duplicate = is_before(frame.seq, next).then(|| {
            let length = repeated.min(frame.sequence_len());
            (frame.seq, frame.seq.wrapping_add(length))
        });
        if frame.has(FIN) {
            let end = frame.seq.wrapping_add(frame.payload.len() as u32);
            self.record_fin(end, frame);
        }
        self.record_payload(frame);
        self.deliver();
        self.acknowledge(is_in_order, now);
    }

    /// Keeps what fits into the window.
    fn record_payload(&mut self, frame: &Frame) {
        let next = self.rcv_nxt();
        let skipped = if is_before(frame.seq, next) {
            next.wrapping_sub(frame.seq) as usize
        } else {
            0
        };
        let Some(new) = frame.payload.get(skipped..).filter(|new| !new.is_empty()) else {
            return;
        };
        let seq = frame.seq.wrapping_add(skipped as u32);
        let window = usize::from(self.window()) << self.config.scale;
        let room = window.saturating_sub(seq.wrapping_sub(next) as usize);
        let kept = new[..new.len().min(room)].to_vec();
        if kept.is_empty() {
            return;
        }
        let place = self.ahead.entry(seq).or_default();
        if place.len() < kept.len() {
            *place = kept;
        }
    }

    fn record_fin(&mut self, end: u32, frame: &Frame) {
        if self.fin_at.is_some_and(|at| at != end) {
            let complaint = format!("FIN in another place than before: {frame}");
            self.faults.push(complaint);
        }
        if is_before(end, self.rcv_nxt()) && !self.has_fin {
            let complaint = format!("FIN before bytes that came already: {frame}");
            self.faults.push(complaint);
            return;
        }
        self.fin_at = Some(end);
    }

    /// Gives the application the bytes that are in order.
    fn deliver(&mut self) {
        while let Some((&seq, _)) = self
            .ahead
            .iter()
            .find(|(seq, _)| !is_before(self.rcv_nxt(), **seq))
        {
            let bytes = self.ahead.remove(&seq).unwrap_or_default();
            let skipped = self.rcv_nxt().wrapping_sub(seq) as usize;
            if let Some(new) = bytes.get(skipped..) {
                self.received.extend(new);
            }
        }
        if self.fin_at == Some(self.rcv_nxt()) && !self.has_fin {
            self.has_fin = true;
        }
    }

    fn acknowledge(&mut self, is_in_order: bool, now: Instant) {
        self.unacked_segments += 1;
        let is_quiet = is_in_order && self.ahead.is_empty() && !self.has_fin;
        match self.config.delayed_ack {
            Some(delay) if is_quiet && self.unacked_segments < 2 => {
                self.ack_at = Some(now + delay);
            }
            _ => self.send_ack(now),
        }
    }

    /// First a repeated range (RFC 2883), then the ranges behind a gap (RFC 2018).
    pub(super) fn sack_blocks(&mut self) -> Vec<(u32, u32)> {
        let mut blocks: Vec<(u32, u32)> = self.duplicate.take().into_iter().collect();
        let mut ahead: Vec<(u32, u32)> = Vec::new();
        let mut stretches: Vec<_> = self.ahead.iter().collect();
        let next = self.rcv_nxt();
        stretches.sort_by_key(|(seq, _)| seq.wrapping_sub(next));
        for (&seq, bytes) in stretches {
            let end = seq.wrapping_add(bytes.len() as u32);
            match ahead.last_mut() {
                Some(last) if !is_before(last.1, seq) => {
                    if is_before(last.1, end) {
                        last.1 = end;
                    }
                }
                _ => ahead.push((seq, end)),
            }
        }
        blocks.extend(ahead);
        blocks.truncate(3);
        blocks
    }

    /// The window to announce, unscaled.
    pub(super) fn window(&self) -> u16 {
        if self.is_window_closed() {
            0
        } else {
            self.config.window
        }
    }

    fn is_window_closed(&self) -> bool {
        let elapsed = self.last_activity.saturating_duration_since(self.origin);
        self.config
            .closed_window
            .is_some_and(|(from, to)| (from..to).contains(&elapsed))
    }

    pub(super) fn window_opens_at(&self) -> Option<Instant> {
        let (_, to) = self.config.closed_window?;
        Some(self.origin + to)
    }
}
