//! Compares the packets that leave with the naive model.
//!
//! Each byte that leaves is the one of the model at its position, also in a retransmission. Each
//! acknowledgement covers bytes that have arrived or that the core keeps. Each expectation was
//! announced by a line.

mod openings;

use ftp_alg::proto::{
    event::{Decision, EventKind},
    ftp::{Announcement, Role},
    net::{ConntrackTuples, Direction, PerDirection},
    saved_flow::SavedFlow,
    stream::{HISTORY_MAX, LINE_MAX},
};

use super::{
    REFUSED, Scene,
    frame::{ACK, FIN, Frame, RST, SYN, URG},
    gateway::Note,
    speech::{Line, Speech, announcing_lines, starts_of},
    way::Way,
};

/// The most held bytes beyond a whole line: the line's end, and the growth of a rewritten line.
const HELD_SLACK: i64 = 64;

/// A packet as it came.
pub(super) struct Given {
    pub(super) direction: Direction,
    pub(super) frame: Frame,
    /// Some of its bytes are not those that were sent before.
    pub(super) is_forged: bool,
    /// The core has seen it.
    pub(super) is_queued: bool,
}

/// One direction as seen at the gateway, in output positions.
#[derive(Clone, Copy, Default)]
struct Seen {
    /// The end of the bytes that have left.
    left: i64,
    /// Up to here the receiver has acknowledged, as far as the core knows; and as it did before
    /// the packet at hand.
    acked: i64,
    acked_before: i64,
    /// Up to here, as the sender counts, the core has acknowledged on the receiver's behalf.
    locally_acked: i64,
    /// The core knows of an acknowledgement of the receiver.
    has_acked: bool,
    /// Before here the core does not know what it sent: it is another process.
    forgotten: i64,
}

pub(super) struct Witness {
    tuples: ConntrackTuples,
    ways: PerDirection<Way>,
    announcing: PerDirection<Vec<Line>>,
    seen: PerDirection<Seen>,
    opened: Vec<Announcement>,
    is_from_start: bool,
    has_restarted: bool,
    /// The core has lost sync, so that the model does not know its state.
    has_lost_sync: bool,
    /// The core has aborted the connection, and no packet of it leaves.
    is_aborted: bool,
    has_policy: bool,
}

impl Witness {
    pub(super) fn new(tuples: ConntrackTuples, speech: Speech, scene: Scene) -> Self {
        let [client, server] = scene.first;
        Self {
            tuples,
            announcing: PerDirection {
                original: announcing_lines(Role::Client, &speech.client),
                reply: announcing_lines(Role::Server, &speech.server),
            },
            ways: PerDirection {
                original: Way::new(client, speech.client),
                reply: Way::new(server, speech.server),
            },
            seen: PerDirection::default(),
            opened: Vec::new(),
            is_from_start: scene.is_from_start,
            has_restarted: false,
            has_lost_sync: false,
            is_aborted: false,
            has_policy: scene.has_policy,
        }
    }

    pub(super) fn way(&self, direction: Direction) -> &Way {
        &self.ways[direction]
    }

    pub(super) fn way_mut(&mut self, direction: Direction) -> &mut Way {
        &mut self.ways[direction]
    }

    /// Whether the core has seen an acknowledgement of the end that sends in `direction`.
    pub(super) fn has_acknowledged(&self, direction: Direction) -> bool {
        self.seen[!direction].has_acked
    }

    /// Whether the core still has the first copy of what a sender repeats as something else.
    pub(super) fn may_forge(&self) -> bool {
        self.is_from_start && !self.has_restarted
    }

    /// Another process goes on. Without a saved flow it knows nothing of the connection, and may
    /// rewrite the same line again.
    pub(super) fn handle_restart(&mut self, saved: Option<&SavedFlow>) {
        let was_read_whole = self.is_from_start && !self.has_restarted;
        self.has_restarted = true;
        self.is_aborted = false;
        for direction in Direction::BOTH {
            if !was_read_whole {
                // The process that picked the connection up has let the rest of a line pass. It has
                // not saved that.
                self.seen[direction].forgotten = self.seen[direction].left;
            }
            match saved {
                Some(saved) => self.handle_saved(direction, saved),
                None => self.handle_forgotten(direction),
            }
        }
    }

    /// The core will deliver the saved bytes, whether they were
    /// acknowledged already or not.
    fn handle_saved(&mut self, direction: Direction, saved: &SavedFlow) {
        let [original, reply] = &saved.streams;
        let stream = match direction {
            Direction::Original => original,
            Direction::Reply => reply,
        };
        if let Some(locally_acked) = stream
            .locally_acked
            .as_ref()
            .filter(|_| !self.has_lost_sync)
        {
            let way = &self.ways[direction];
            let end = way.position(locally_acked.start) + locally_acked.bytes.len() as i64;
            assert!(end <= way.taken() as i64, "{end} was never taken in");
            self.seen[direction].locally_acked = self.seen[direction].locally_acked.max(end);
        }
    }

    fn handle_forgotten(&mut self, direction: Direction) {
        let seen = &mut self.seen[direction];
        seen.has_acked = false;
        if !self.has_lost_sync {
            seen.forgotten = seen.left;
            self.ways[direction].forget_edits();
        }
    }

    /// Records the acknowledgement of a packet before the core gets it.
    pub(super) fn record_given(&mut self, given: &Given) {
        let peer = !given.direction;
        let seen = &mut self.seen[peer];
        seen.acked_before = seen.acked;
        if given.is_queued && given.frame.has(ACK) {
            // The acknowledgement of a reset is not believed.
            seen.has_acked |= !given.frame.has(RST);
            seen.acked = seen.acked.max(self.ways[peer].position(given.frame.ack));
        }
    }

    /// Checks the effects for a packet or a timeout. The packets that leave arrive, or are
    /// lost on their way (`is_lost`).
    pub(super) fn check(&mut self, given: Option<&Given>, notes: &[Note], is_lost: bool) {
        for note in notes {
            match note {
                Note::Opened(expectation) => self.check_opened(expectation),
                Note::Event(kind) => self.handle_event(kind),
                Note::Left(frame) => {
                    let given = given.expect("the verdict of a packet");
                    let may_leave = !self.is_aborted || frame.has(SYN) || !given.is_queued;
                    assert!(may_leave, "the connection was reset");
                    assert_eq!(frame.source, given.frame.source);
                    assert_eq!(frame.destination, given.frame.destination);
                    self.check_left(given, frame);
                    self.handle_left(given.direction, frame, is_lost);
                }
                Note::Injected(frame) if frame.has(RST) && self.is_aborted => {}
                Note::Injected(frame) => {
                    let direction = self.direction_of_own(frame);
                    self.check_own(direction, frame, given.is_some_and(|given| given.is_forged));
                    self.handle_left(direction, frame, is_lost);
                }
                Note::Dropped => {}
            }
        }
        let has_left = notes.iter().any(|note| matches!(note, Note::Left(_)));
        if let Some(given) = given.filter(|_| has_left) {
            self.check_held(given);
        }
    }

    /// The direction of a packet of our own, by its addresses.
    fn direction_of_own(&self, frame: &Frame) -> Direction {
        let travels = |direction: &Direction| {
            let tuple = self.tuples.of(!*direction).inverted();
            (tuple.source, tuple.destination) == (frame.source, frame.destination)
        };
        let mut directions = Direction::BOTH.into_iter();
        directions.find(travels).expect("it is of the connection")
    }

    fn check_left(&mut self, given: &Given, frame: &Frame) {
        let direction = given.direction;
        let syn_and_reset = SYN | RST;
        assert_eq!(
            frame.flags & syn_and_reset,
            given.frame.flags & syn_and_reset
        );
        if given.frame.has(SYN) {
            assert_eq!(*frame, given.frame);
        }
        if frame.flags & syn_and_reset != 0 || self.has_lost_sync {
            return;
        }
        let came_at = self.ways[direction].position(given.frame.seq);
        self.ways[direction].record_taken(came_at, given.frame.payload.len());
        self.check_payload(direction, frame, given.is_forged);
        self.check_fin(direction, frame);
        self.check_urgent(given, frame);
        if given.frame.has(ACK) {
            self.check_ack(given, frame);
            self.check_sack(given, frame);
        }
    }

    fn check_own(&mut self, direction: Direction, frame: &Frame, is_forged: bool) {
        assert!(frame.has(ACK) && frame.flags & (SYN | RST) == 0);
        if self.has_lost_sync {
            return;
        }
        self.check_payload(direction, frame, is_forged);
        self.check_fin(direction, frame);
        let (way, seen) = (&self.ways[!direction], &mut self.seen[!direction]);
        let acked = way.position(frame.ack);
        let known = way.rewriting().to_input(seen.acked).max(seen.locally_acked);
        if acked > known {
            assert!(frame.payload.is_empty(), "an acknowledgement has no bytes");
            assert!(acked <= way.taken() as i64, "{acked} was never taken in");
            seen.locally_acked = acked;
        }
    }

    /// Checks that each byte is the one of the model.
    fn check_payload(&self, direction: Direction, frame: &Frame, is_forged: bool) {
        let (way, seen) = (&self.ways[direction], &self.seen[direction]);
        let taken = way.rewriting().to_output(way.taken() as i64);
        let start = way.position(frame.seq);
        let offered = way.rewriting().to_output(way.offered() as i64);
        // The core believes acknowledgements of bytes that it has not seen.
        let known_to_exist = seen.acked.max(offered + 1);
        assert!(
            start <= known_to_exist,
            "it stands at {start}, of {offered}"
        );
        let end = start + frame.payload.len() as i64;
        assert!(end <= taken.max(start), "bytes up to {end}, of {taken}");
        let mut known_from = seen.acked.max(seen.forgotten).max(0);
        if is_forged {
            // Older bytes pass as their sender repeats them.
            known_from = known_from.max(taken - HISTORY_MAX as i64);
        }
        let skipped = (known_from - start).max(0) as usize;
        let from = (start.max(known_from)) as usize;
        let known = frame.payload.get(skipped..).unwrap_or_default();
        if known.is_empty() {
            return;
        }
        let wanted = way.output().get(from..from + known.len());
        assert_eq!(
            Some(String::from_utf8_lossy(known)),
            wanted.map(String::from_utf8_lossy),
            "{direction:?} at {from}"
        );
    }

    fn check_fin(&self, direction: Direction, frame: &Frame) {
        if frame.has(FIN) {
            let way = &self.ways[direction];
            let closed_at = way.closed_at().expect("its sender has closed");
            let end = way.position(frame.seq) + frame.payload.len() as i64;
            assert_eq!(end, way.rewriting().to_output(closed_at as i64), "its end");
        }
    }

    /// Checks that urgent bytes stay urgent, except those of a client that are not Telnet's synch.
    fn check_urgent(&self, given: &Given, frame: &Frame) {
        if !given.frame.has(URG) {
            return assert!(!frame.has(URG));
        }
        let way = &self.ways[given.direction];
        let end = way.position(given.frame.seq) + i64::from(given.frame.urgent);
        let distance = way.rewriting().to_output(end) - way.position(frame.seq);
        let pointer = distance.clamp(0, 0xffff) as usize;
        let urgent = pointer.checked_sub(1).and_then(|at| frame.payload.get(at));
        let is_synch = urgent.is_some_and(|byte| [0xff, 0xf2].contains(byte));
        if given.direction == Direction::Reply || is_synch {
            assert!(frame.has(URG));
            assert_eq!(usize::from(frame.urgent), pointer);
        } else {
            assert!(!frame.has(URG));
        }
    }

    /// Checks that an acknowledgement covers bytes that have wholly arrived or that the core keeps.
    fn check_ack(&self, given: &Given, frame: &Frame) {
        let (way, seen) = (&self.ways[!given.direction], &self.seen[!given.direction]);
        assert!(frame.has(ACK));
        let acked = way.position(frame.ack);
        let heard = way.position(given.frame.ack);
        let locally_acked = |own: i64| own.max(seen.locally_acked);
        if heard < seen.acked_before {
            // An old acknowledgement must not cover more than the last one.
            let most = locally_acked(way.rewriting().to_input(seen.acked));
            assert!(acked <= most, "{acked} of {most} in an old acknowledgement");
            return;
        }
        let own = way.rewriting().to_input(heard);
        assert!(
            acked == own || acked == locally_acked(own),
            "{acked} is acknowledged for {heard}, of which {own} are wholly there"
        );
    }

    /// Checks that a block is within one of the receiver's, and has whole edits only.
    fn check_sack(&self, given: &Given, frame: &Frame) {
        let (way, seen) = (&self.ways[!given.direction], &self.seen[!given.direction]);
        for &(left, right) in &frame.sack {
            let (left, right) = (way.position(left), way.position(right));
            assert!(left < right, "an empty block");
            let start = way.rewriting().to_output(left);
            let end = way.rewriting().to_output(right);
            let holds =
                |&(from, to): &(u32, u32)| way.position(from) <= start && end <= way.position(to);
            let is_old = end <= seen.acked;
            assert!(
                is_old || given.frame.sack.iter().any(holds),
                "{start} to {end} were not reported"
            );
        }
    }

    /// Checks that all bytes leave except a partial line.
    fn check_held(&self, given: &Given) {
        if given.frame.payload.is_empty() || given.frame.has(RST) || self.has_lost_sync {
            return;
        }
        let way = &self.ways[given.direction];
        let taken = way.rewriting().to_output(way.taken() as i64);
        let held = taken - self.seen[given.direction].left;
        assert!(
            held <= LINE_MAX as i64 + HELD_SLACK || self.has_restarted,
            "{held} bytes have not left"
        );
    }

    fn handle_left(&mut self, direction: Direction, frame: &Frame, is_lost: bool) {
        if frame.flags & (SYN | RST) != 0 {
            return;
        }
        let start = self.ways[direction].position(frame.seq);
        self.check_refused(direction, start, frame);
        let way = &mut self.ways[direction];
        let end = start + frame.payload.len() as i64;
        if !frame.payload.is_empty() {
            let seen = &mut self.seen[direction];
            seen.left = seen.left.max(end);
        }
        if !is_lost {
            way.record_arrived(start, frame.payload.len(), frame.has(FIN));
        }
    }

    /// Checks that no refused command reaches the server.
    fn check_refused(&self, direction: Direction, start: i64, frame: &Frame) {
        let knows_all = self.is_from_start && !self.has_restarted && !self.has_lost_sync;
        if !self.has_policy || direction == Direction::Reply || !knows_all {
            return;
        }
        let way = &self.ways[direction];
        for at in starts_of(way.text(), REFUSED) {
            let place = way.rewriting().to_output(at as i64) - start;
            let left = usize::try_from(place)
                .ok()
                .and_then(|place| frame.payload.get(place));
            let first = REFUSED.as_bytes().first();
            assert!(left.is_none() || left != first, "{at} was to be refused");
        }
    }

    fn handle_event(&mut self, kind: &EventKind) {
        match kind {
            EventKind::Announcement(report) => {
                if let Decision::Expect {
                    expectation,
                    rewritten,
                } = &report.decision
                {
                    self.handle_announcement(report, expectation, rewritten.as_ref());
                }
            }
            EventKind::Replaced { from, start, line } => {
                self.handle_replaced(*from, start.0, line);
            }
            EventKind::Aborted => {
                self.is_aborted = true;
                self.has_lost_sync = true;
            }
            // Packets after its end are picked up like any other connection.
            EventKind::LostSync { .. } => self.has_lost_sync = true,
            EventKind::Ended => {
                self.has_lost_sync = true;
                self.is_aborted = false;
            }
            EventKind::Started { .. }
            | EventKind::KernelHelper { .. }
            | EventKind::UnknownOffset
            | EventKind::Withdrawn { .. }
            | EventKind::Opaque
            | EventKind::NotFtp { .. }
            | EventKind::Readable
            | EventKind::TlsOpened { .. }
            | EventKind::TlsRefused { .. }
            | EventKind::Command(_)
            | EventKind::Slowed
            | EventKind::TooManySessions
            | EventKind::Forged { .. }
            | EventKind::PartialLineExpired
            | EventKind::EndlessReply { .. } => {}
        }
    }
}
