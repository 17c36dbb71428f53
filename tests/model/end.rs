//! A TCP end without a clock: what it may do at any time, the schedule decides.
//!
//! It follows RFC 9293 as far as two ends of a control connection need it: cumulative
//! acknowledgements, reassembly, the tests of RFC 9293 §3.10.7.4 and of RFC 5961. It has no timer.
//! A retransmission is a step of the schedule.

use std::{collections::BTreeMap, net::SocketAddr};

use crate::harness::frame::{ACK, FIN, Frame, PSH, RST, SYN};

/// The receive window, in bytes.
const WINDOW: u32 = 65_000;

/// What the application of an end does once it has read this many lines.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Write {
    pub(crate) after_lines: usize,
    pub(crate) bytes: Vec<u8>,
    pub(crate) closes: bool,
}

/// One end. Positions count from its first byte, and from its peer's.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct End {
    pub(crate) local: SocketAddr,
    pub(crate) remote: SocketAddr,
    pub(crate) isn: u32,
    connects: bool,
    pub(crate) peer_isn: Option<u32>,
    /// How many of its writes it has done.
    pub(crate) written: usize,
    /// The bytes that it has written.
    pub(crate) sent: Vec<u8>,
    pub(crate) closes: bool,
    /// The first position that is not acknowledged, and the next one to send. The FIN has one.
    pub(crate) una: usize,
    pub(crate) nxt: usize,
    /// Its peer has acknowledged its SYN.
    has_acked_syn: bool,
    /// It sends nothing behind this position before its peer has acknowledged all up to there.
    waits_at: Option<usize>,
    /// The bytes that the application has read.
    pub(crate) received: Vec<u8>,
    ahead: BTreeMap<usize, Vec<u8>>,
    fin_at: Option<usize>,
    pub(crate) has_fin: bool,
    pub(crate) was_reset: bool,
    /// What a correct peer and network never cause.
    pub(crate) complaint: Option<String>,
}

impl End {
    pub(crate) fn new(local: SocketAddr, remote: SocketAddr, isn: u32, connects: bool) -> Self {
        Self {
            local,
            remote,
            isn,
            connects,
            peer_isn: None,
            written: 0,
            sent: Vec::new(),
            closes: false,
            una: 0,
            nxt: 0,
            has_acked_syn: false,
            waits_at: None,
            received: Vec::new(),
            ahead: BTreeMap::new(),
            fin_at: None,
            has_fin: false,
            was_reset: false,
            complaint: None,
        }
    }

    /// The first packet of the connection.
    pub(crate) fn connect(&self) -> Frame {
        Frame {
            seq: self.isn,
            ..self.frame(SYN)
        }
    }

    /// A frame with this end's addresses and numbers.
    pub(crate) fn frame(&self, flags: u8) -> Frame {
        let mut frame = Frame::new(self.local, self.remote);
        frame.flags = flags;
        frame.seq = self.seq_of(self.nxt);
        frame.window = WINDOW as u16;
        if flags & ACK != 0 {
            frame.ack = self.rcv_nxt();
        }
        frame
    }

    /// The sequence number of a position of this end.
    pub(crate) fn seq_of(&self, position: usize) -> u32 {
        self.isn.wrapping_add(1).wrapping_add(position as u32)
    }

    /// The next sequence number that it expects of its peer.
    pub(crate) fn rcv_nxt(&self) -> u32 {
        let first = self.peer_isn.unwrap_or_default().wrapping_add(1);
        let fin = usize::from(self.has_fin);
        first.wrapping_add((self.received.len() + fin) as u32)
    }

    /// Whether it may retransmit something.
    pub(crate) fn has_unacknowledged(&self) -> bool {
        // A server that nobody has called has sent nothing.
        let has_begun = self.connects || self.peer_isn.is_some();
        !self.was_reset && has_begun && (self.una < self.nxt || !self.has_acked_syn)
    }

    /// Its retransmission: all that is not acknowledged, in one segment.
    pub(crate) fn retransmit(&self) -> Frame {
        if !self.has_acked_syn {
            let flags = if self.peer_isn.is_some() {
                SYN | ACK
            } else {
                SYN
            };
            return Frame {
                seq: self.isn,
                ..self.frame(flags)
            };
        }
        self.segment(self.una, self.nxt)
    }

    /// Makes a segment that was just sent, and that ends at `nxt`, the first part of one under
    /// Nagle's algorithm: the rest stays here until the first part is acknowledged.
    pub(crate) fn take_back(&mut self, position: usize) {
        self.nxt = position;
        self.waits_at = Some(position);
    }

    /// Takes a frame, and gives what it sends then.
    pub(crate) fn handle_frame(&mut self, frame: &Frame, script: &[Write]) -> Vec<Frame> {
        if self.was_reset {
            return Vec::new();
        }
        if frame.has(SYN) {
            return self.handle_syn(frame, script);
        }
        if self.peer_isn.is_none() {
            return Vec::new();
        }
        if !self.is_acceptable(frame) {
            return if frame.has(RST) {
                Vec::new()
            } else {
                vec![self.frame(ACK)]
            };
        }
        if frame.has(RST) {
            self.was_reset = frame.seq == self.rcv_nxt();
            return if self.was_reset {
                Vec::new()
            } else {
                vec![self.frame(ACK)]
            };
        }
        self.handle_ack(frame);
        self.take_payload(frame);
        let sent = self.send_new(script);
        if sent.is_empty() && frame.sequence_len() > 0 {
            return vec![self.frame(ACK)];
        }
        sent
    }

    /// Whether all was sent and received, and both sides have closed.
    pub(crate) fn is_done(&self, script: &[Write]) -> bool {
        let is_all_sent = self.written == script.len() && self.una == self.end();
        is_all_sent && self.closes && self.has_fin
    }

    fn handle_syn(&mut self, frame: &Frame, script: &[Write]) -> Vec<Frame> {
        match self.peer_isn {
            // A challenge (RFC 5961 §4.2), which a repeated SYN/ACK gets as well.
            Some(_) if self.has_acked_syn => vec![self.frame(ACK)],
            Some(isn) if isn != frame.seq => Vec::new(),
            // A listening end takes no SYN/ACK, and a connecting one no SYN.
            _ if frame.has(ACK) != self.connects => Vec::new(),
            _ if frame.has(ACK) && frame.ack != self.seq_of(0) => Vec::new(),
            _ => {
                self.peer_isn = Some(frame.seq);
                if !frame.has(ACK) {
                    let seq = self.isn;
                    return vec![Frame {
                        seq,
                        ..self.frame(SYN | ACK)
                    }];
                }
                self.has_acked_syn = true;
                let sent = self.send_new(script);
                if sent.is_empty() {
                    vec![self.frame(ACK)]
                } else {
                    sent
                }
            }
        }
    }

    fn is_acceptable(&self, frame: &Frame) -> bool {
        let within = |seq: u32| seq.wrapping_sub(self.rcv_nxt()) < WINDOW;
        match frame.sequence_len() {
            0 => within(frame.seq),
            length => within(frame.seq) || within(frame.seq.wrapping_add(length - 1)),
        }
    }

    fn handle_ack(&mut self, frame: &Frame) {
        let acked = frame.ack.wrapping_sub(self.seq_of(0)).cast_signed();
        if acked > self.nxt as i32 {
            self.complaint = Some(format!("acknowledged what was never sent: {frame}"));
        } else if acked >= 0 {
            self.has_acked_syn = true;
            self.una = self.una.max(acked.unsigned_abs() as usize);
        }
    }

    fn take_payload(&mut self, frame: &Frame) {
        let first = self.peer_isn.unwrap_or_default().wrapping_add(1);
        let at = frame.seq.wrapping_sub(first).cast_signed();
        let skipped = usize::try_from(-at).unwrap_or(0);
        let from = usize::try_from(at).unwrap_or(0);
        if let Some(new) = frame.payload.get(skipped..).filter(|new| !new.is_empty()) {
            let place = self.ahead.entry(from).or_default();
            if place.len() < new.len() {
                *place = new.to_vec();
            }
        }
        if frame.has(FIN) {
            let end = from + frame.payload.len().saturating_sub(skipped);
            // Of two FINs the later one counts: the other one may have been forged.
            if end < self.received.len() {
                self.complaint = Some(format!("FIN before what was received: {frame}"));
            }
            self.fin_at = Some(end);
        }
        while let Some((&at, _)) = self.ahead.range(..=self.received.len()).next() {
            let bytes = self.ahead.remove(&at).unwrap_or_default();
            let new = bytes.get(self.received.len() - at..).unwrap_or_default();
            self.received.extend_from_slice(new);
        }
        self.has_fin |= self.fin_at == Some(self.received.len());
    }

    /// Sends what may be sent for the first time, each write in a segment of its own.
    fn send_new(&mut self, script: &[Write]) -> Vec<Frame> {
        let mut frames = Vec::new();
        loop {
            let frame = self.send_rest();
            frames.extend(frame);
            let lines = self.received.iter().filter(|&&byte| byte == b'\n').count();
            let next = script
                .get(self.written)
                .filter(|next| next.after_lines <= lines);
            let Some(next) = next.filter(|_| self.has_acked_syn) else {
                return frames;
            };
            self.written += 1;
            self.sent.extend_from_slice(&next.bytes);
            self.closes |= next.closes;
        }
    }

    fn send_rest(&mut self) -> Option<Frame> {
        if self.waits_at.is_some_and(|at| self.una < at) || self.nxt == self.end() {
            return None;
        }
        self.waits_at = None;
        let from = self.nxt;
        self.nxt = self.end();
        Some(self.segment(from, self.nxt))
    }

    /// The position behind all that it has written, and behind its FIN.
    fn end(&self) -> usize {
        self.sent.len() + usize::from(self.closes)
    }

    fn segment(&self, from: usize, to: usize) -> Frame {
        let mut frame = self.frame(ACK | PSH);
        frame.seq = self.seq_of(from);
        frame.payload = self.sent[from.min(self.sent.len())..to.min(self.sent.len())].to_vec();
        if to > self.sent.len() {
            frame.flags |= FIN;
        }
        frame
    }
}
