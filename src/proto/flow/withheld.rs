//! Bytes that may not leave yet, since they could still become an announcement.
//!
//! A segment that ends inside such a line goes on as a bare acknowledgement, and its bytes leave
//! with the segment that completes the line. A sender under Nagle's algorithm does not send that
//! segment before the first is acknowledged (RFC 896), so after [`VOUCH_DELAY`] the withheld
//! bytes are acknowledged on the receiver's behalf. From then on they exist only here: they are
//! sent again by us until the receiver acknowledges them, and after [`WITHHOLD_MAX`] they leave
//! as they are, unread.

use std::time::{Duration, Instant};

use super::{Context, Flow, Request, role_of};
use crate::proto::{
    action::{Action, EventKind},
    ftp::could_announce,
    net::Direction,
    packet::{Segment, acknowledge},
};

/// How long the rest of a line is waited for before the part is acknowledged. A sender that does
/// not wait sends the rest within a round of its own loop; delayed acknowledgements begin at 40 ms.
pub const VOUCH_DELAY: Duration = Duration::from_millis(5);

/// How long a begun announcement may be withheld in all.
pub const WITHHOLD_MAX: Duration = Duration::from_secs(10);

/// The first retransmission of bytes that the sender will not repeat (RFC 6298 §2.4's lower
/// bound is 1 s; Linux uses 200 ms); doubled each time.
const RESEND_FIRST: Duration = Duration::from_millis(200);

/// How often such bytes are sent again before the connection is left to its own timeouts.
const RESENDS_MAX: u32 = 8;

/// The withheld part of one direction.
#[derive(Clone, Debug)]
pub(super) struct Withheld {
    /// The last packet of the sender, as a template for what is injected.
    packet: Vec<u8>,
    stage: Stage,
    since: Instant,
    due: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The sender was not answered yet.
    Waiting,
    /// The sender was answered on the receiver's behalf; the line is not complete.
    Vouched,
    /// The bytes left; the receiver has not acknowledged them.
    Resending(u32),
}

impl Withheld {
    /// Bytes that another process had withheld and acknowledged.
    pub(super) fn restored(template: Option<Vec<u8>>, now: Instant) -> Option<Box<Self>> {
        template.map(|packet| {
            Box::new(Self {
                packet,
                stage: Stage::Vouched,
                since: now,
                due: now + WITHHOLD_MAX,
            })
        })
    }

    /// The last packet of the sender.
    pub(super) fn template(&self) -> &[u8] {
        &self.packet
    }

    pub(super) fn poll_timeout(&self) -> (Instant, &'static str) {
        (self.due, "withheld bytes")
    }
}

impl Flow {
    /// Decides whether the line that a direction has begun may leave already.
    pub(super) fn decide_withholding(
        &mut self,
        direction: Direction,
        segment: &Segment<'_>,
        now: Instant,
    ) {
        let stream = &mut self.streams[direction];
        let partial = stream.partial_line();
        let withholds = !stream.is_finished()
            && !partial.is_empty()
            && could_announce(role_of(direction), partial);
        if !withholds {
            stream.release_all();
            self.withheld[direction] = None;
            return;
        }
        stream.release_lines();
        if !segment.payload.is_empty() {
            self.record_withheld(direction, segment, now);
        }
    }

    /// Does what is due for withheld bytes; asks for the kernel's help before the first
    /// acknowledgement on the receiver's behalf.
    pub(super) fn handle_withheld_timeout(
        &mut self,
        direction: Direction,
        context: &mut Context<'_>,
    ) -> Option<Request> {
        let withheld = self.withheld[direction]
            .as_ref()
            .filter(|withheld| withheld.due <= context.now)?;
        match withheld.stage {
            Stage::Waiting if !self.is_adjusted => {
                self.vouching = Some(direction);
                return Some(Request::RelaxWindow {
                    tuples: self.tuples,
                });
            }
            Stage::Waiting => self.vouch(direction, context),
            Stage::Vouched => self.give_up(direction, context),
            Stage::Resending(times) => self.resend(direction, times, context),
        }
        None
    }

    /// The kernel lets the withheld bytes be acknowledged, or not.
    pub(super) fn handle_vouching(
        &mut self,
        direction: Direction,
        is_relaxed: bool,
        context: &mut Context<'_>,
    ) {
        if is_relaxed {
            self.is_adjusted = true;
            self.vouch(direction, context);
        } else if let Some(withheld) = &mut self.withheld[direction] {
            withheld.stage = Stage::Vouched;
            withheld.due = withheld.since + WITHHOLD_MAX;
        }
    }

    fn record_withheld(&mut self, direction: Direction, segment: &Segment<'_>, now: Instant) {
        let since = self.withheld[direction]
            .as_ref()
            .map_or(now, |withheld| withheld.since);
        self.withheld[direction] = Some(Box::new(Withheld {
            packet: segment.packet().to_vec(),
            stage: Stage::Waiting,
            since,
            due: now + VOUCH_DELAY,
        }));
    }

    fn vouch(&mut self, direction: Direction, context: &mut Context<'_>) {
        let ack = self.streams[direction].vouch();
        let window = self.windows[!direction];
        let Some(withheld) = &mut self.withheld[direction] else {
            return;
        };
        withheld.stage = Stage::Vouched;
        withheld.due = withheld.since + WITHHOLD_MAX;
        let Ok(segment) = Segment::parse(&withheld.packet) else {
            return;
        };
        // What the sender acknowledges is what it expects next from its peer.
        let seq = segment.ack.unwrap_or_default();
        if let Ok(packet) = acknowledge(&segment, seq, ack, window) {
            context.actions.push_back(Action::Inject { packet });
        }
    }

    /// The line did not end in time: its bytes leave as they are.
    fn give_up(&mut self, direction: Direction, context: &mut Context<'_>) {
        self.streams[direction].abandon_line();
        self.report(EventKind::WithholdExpired, context);
        self.resend(direction, 0, context);
    }

    fn resend(&mut self, direction: Direction, times: u32, context: &mut Context<'_>) {
        let unacknowledged = self.streams[direction].emit_vouched();
        let Some(mut withheld) = self.withheld[direction].take() else {
            return;
        };
        let Some((seq, payload)) = unacknowledged.filter(|_| times < RESENDS_MAX) else {
            return;
        };
        if let Ok(segment) = Segment::parse(&withheld.packet) {
            self.inject(direction, &segment, (seq, &payload), context);
        }
        withheld.stage = Stage::Resending(times.saturating_add(1));
        withheld.due = context.now + RESEND_FIRST.saturating_mul(1 << times.min(RESENDS_MAX));
        self.withheld[direction] = Some(withheld);
    }
}
