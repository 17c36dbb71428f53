//! What must hold in each state.

use ftp_alg::proto::net::{Addresses, Direction};

use crate::{harness::frame::Frame, world::World};

/// What must always hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Rule {
    /// An application reads what its peer said, with the announcement rewritten once.
    Heard,
    /// Whatever left once leaves again with the same bytes.
    Repeated,
    /// At most one expectation is in force, for the announced port and the peer.
    Expected,
    /// The expectation is in force before the announcement's last byte leaves.
    InForce,
    /// Nothing is acknowledged that neither the receiver nor the saved flow has.
    Acknowledged,
    /// The dialogue comes to its end once nothing is lost any more.
    Ends,
    /// No end is reset, and no end hears what its peer cannot have sent.
    Undisturbed,
    /// The quotas, which are not explored, never decide.
    Limits,
}

/// A rule that does not hold.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Breach {
    pub(crate) rule: Rule,
    pub(crate) detail: String,
}

/// What the exploration has to come across, or it does not explore what it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Witness {
    /// A partial line was held for too long, and left unread.
    Expired,
    /// Bytes were acknowledged that only the saved flow has.
    LocallyAcked,
    /// A part of the rewritten line left again.
    RewrittenAgain,
}

impl World {
    /// The rules that hold between two steps.
    pub(crate) fn check(&mut self) {
        for direction in Direction::BOTH {
            let at = direction as usize;
            if let Some(complaint) = self.ends[at].complaint.take() {
                self.breach(Rule::Undisturbed, complaint);
            }
            if self.ends[at].was_reset {
                self.breach(Rule::Undisturbed, format!("{direction:?} was reset"));
            }
            let heard = &self.ends[1 - at].received;
            let mut lines = vec![self.case.rewritten];
            if self.kills > 0 || self.witnesses.contains(&Witness::Expired) {
                lines.push(self.case.line);
            }
            let mut texts = lines
                .iter()
                .map(|line| self.case.heard_of(direction, line.as_bytes()));
            if !texts.any(|text| text.starts_with(heard)) {
                let text = String::from_utf8_lossy(heard).into_owned();
                self.breach(Rule::Heard, format!("of {direction:?}: {text:?}"));
            }
        }
        self.check_expectations();
    }

    fn check_expectations(&mut self) {
        let tuples = self.case.topology.tuples(0);
        let announcer = Addresses::of(&tuples, self.case.announcer);
        let is_wanted = |one: &ftp_alg::proto::expect::Expectation| {
            one.source == tuples.of(!self.case.announcer).source.ip()
                && one.destination.ip() == announcer.seen
                && one.destination.port() == 1029
                && one.translated_destination.ip() == announcer.own
                && one.translated_destination.port() == 1029
        };
        let odd = self.kernel.expected.iter().find(|one| !is_wanted(one));
        if let Some(odd) = odd {
            self.breach(Rule::Expected, format!("{odd:?}"));
        }
        if self.kernel.live.len() > 1 {
            self.breach(Rule::Expected, "two are in force".into());
        }
    }

    /// Looks at a frame that leaves: its bytes, and what it acknowledges.
    pub(crate) fn check_leaving(&mut self, frame: &Frame) {
        let to = usize::from(frame.destination != self.ends[0].local);
        if !self.is_forged {
            self.check_acknowledged(frame, to);
        }
        self.record_left(frame, to);
        let line = self.case.rewritten.as_bytes();
        let start = self.case.line_start();
        let left = self.left[self.case.announcer as usize].get(start..start + line.len());
        let is_announced = left.is_some_and(|left| {
            left.iter()
                .zip(line)
                .all(|(left, byte)| *left == Some(*byte))
        });
        if is_announced
            && !std::mem::replace(&mut self.has_announced, is_announced)
            && !self.is_live
        {
            self.breach(Rule::InForce, "the announcement leaves before it".into());
        }
    }

    fn record_left(&mut self, frame: &Frame, to: usize) {
        let first = self.ends[1 - to].seq_of(0);
        let at = frame.seq.wrapping_sub(first).cast_signed();
        let Ok(at) = usize::try_from(at) else { return };
        let got = self.ends[to].received.len();
        for (at, &byte) in (at..).zip(&frame.payload) {
            let left = &mut self.left[1 - to];
            if left.len() <= at {
                left.resize(at + 1, None);
            }
            match left[at].replace(byte) {
                // A restarted daemon does not know what an acknowledged edit was.
                Some(known) if known != byte && (self.kills == 0 || at >= got) => {
                    return self.breach(Rule::Repeated, format!("byte {at} differs: {frame}"));
                }
                Some(_)
                    if 1 - to == self.case.announcer as usize && at == self.case.line_start() =>
                {
                    self.witness(Witness::RewrittenAgain)
                }
                _ => {}
            }
        }
    }

    /// An end must not forget what its peer, or the saved flow, does not have.
    fn check_acknowledged(&mut self, frame: &Frame, to: usize) {
        if !frame.has(crate::harness::frame::ACK) || frame.has(crate::harness::frame::RST) {
            return;
        }
        let direction = Direction::BOTH[to];
        let sender = &self.ends[to];
        let acked = frame.ack.wrapping_sub(sender.seq_of(0)).cast_signed();
        let peer = &self.ends[1 - to];
        let mut got = self.position_said(direction, peer.received.len());
        got += usize::from(peer.has_fin);
        let saved = self.kernel.saved.values().next();
        let saved = saved.and_then(|saved| saved.streams[to].locally_acked.as_ref());
        let saved = saved.map_or(0, |saved| {
            let end = saved.start.wrapping_add(saved.bytes.len() as u32);
            end.wrapping_sub(sender.seq_of(0)) as usize
        });
        if acked > got.max(saved) as i32 {
            let detail = format!(
                "acknowledges {acked}, {got} arrived, {saved} saved: {frame} {:?}",
                String::from_utf8_lossy(&peer.received)
            );
            self.breach(Rule::Acknowledged, detail);
        } else if acked > got as i32 {
            self.witness(Witness::LocallyAcked);
        }
    }

    /// The position in what an end said of a position in what its peer has read.
    fn position_said(&self, direction: Direction, heard: usize) -> usize {
        let start = self.case.line_start();
        if direction != self.case.announcer || heard <= start {
            return heard;
        }
        let text = &self.ends[1 - direction as usize].received[start..];
        let [old, new] =
            [self.case.line, self.case.rewritten].map(|line| line.trim_end().as_bytes());
        if text.starts_with(new) {
            heard - new.len() + old.len()
        } else if old.starts_with(text) || text.starts_with(old) {
            // A restarted daemon has let it pass unread.
            heard
        } else {
            start
        }
    }
}
