//! The state that is explored: the core, the kernel around it, the two ends, the packets between.

use std::{
    hash::{Hash, Hasher},
    sync::Arc,
    time::{Duration, Instant},
};

use ftp_alg::proto::{event::EventKind, flow::Settings, net::Direction};

use crate::{
    case::Case,
    core_text::CoreText,
    end::End,
    harness::{
        self,
        frame::{FIN, Frame, PSH, RST, SYN},
        kernel::Kernel,
    },
    rules::{Breach, Rule, Witness},
    step::{Odd, Step},
};

/// Steps without progress after which a dialogue is stuck.
const IDLE_MAX: u8 = 30;

/// Deadlines of the relay are nearer than this, and all others are farther.
const RELAY_DEADLINE_MAX: Duration = Duration::from_secs(60);

/// A fault that is put around the core on purpose, to show that the checker finds it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum Mutant {
    #[default]
    None,
    /// The saved flow is gone when the daemon starts again.
    ForgetsSaved,
    /// A packet leaves before the flow is saved.
    SavesLate,
    /// A repeated range leaves with another first byte.
    ChangesRepeated,
    /// The announcement leaves before its expectation is in force.
    ExpectsLate,
}

/// One state.
#[derive(Clone)]
pub(crate) struct World {
    pub(crate) case: Arc<Case>,
    pub(crate) mutant: Mutant,
    pub(crate) kernel: Kernel,
    pub(crate) ends: [End; 2],
    /// The packets on their way to the gateway, sorted.
    pub(crate) wire: Vec<Frame>,
    /// The packets that have left the gateway and are late, sorted.
    pub(crate) late: Vec<Frame>,
    /// The bytes that have left in each direction, as their receiver counts.
    pub(crate) left: [Vec<Option<u8>>; 2],
    /// The announcement was complete among them when this expectation was in force.
    pub(crate) has_announced: bool,
    /// An expectation is in force for what leaves now.
    pub(crate) is_live: bool,
    /// What leaves now was forged, and so may its acknowledgement be.
    pub(crate) is_forged: bool,
    now: Instant,
    /// The faults so far, of the network, of the ends and of the daemon.
    pub(crate) spent: usize,
    pub(crate) kills: usize,
    pub(crate) resets: usize,
    idle: u8,
    /// How far the bytes of each end have come onto the wire and off it.
    taken: [usize; 2],
    /// The timers that have fired since each one could: of the two ends, and of the core.
    fired: [bool; 3],
    pub(crate) breaches: Vec<Breach>,
    pub(crate) witnesses: Vec<Witness>,
    fingerprint: u64,
}

impl World {
    /// The state in which the exploration of a case begins.
    pub(crate) fn new(case: Arc<Case>, mutant: Mutant) -> Self {
        let tuples = case.topology.tuples(0);
        let mut kernel = Kernel::new(Settings::default());
        kernel.conntrack.push(tuples);
        let end = |direction, isn| {
            let tuple = tuples.of(direction);
            let (source, destination) = (tuple.source, tuple.destination);
            End::new(source, destination, isn, direction == Direction::Original)
        };
        let client = end(Direction::Original, 1_000_000);
        let wire = vec![client.connect()];
        let mut world = Self {
            ends: [client, end(Direction::Reply, 5_000_000)],
            case,
            mutant,
            kernel,
            wire,
            late: Vec::new(),
            left: [Vec::new(), Vec::new()],
            has_announced: false,
            is_live: false,
            is_forged: false,
            now: harness::origin(),
            spent: 0,
            kills: 0,
            resets: 0,
            idle: 0,
            taken: [0; 2],
            fired: [false; 3],
            breaches: Vec::new(),
            witnesses: Vec::new(),
            fingerprint: 0,
        };
        while world.ends[0].written < world.case.begins_after {
            world.note_taken(Step::Pass(0));
            world.apply(Step::Pass(0));
        }
        world.finish();
        world
    }

    /// The state after a step. `None` where the step changes nothing.
    pub(crate) fn after(&self, step: Step) -> Option<Self> {
        let mut next = self.clone();
        next.spent += usize::from(!self.is_ordinary(step));
        next.note_timer(step);
        next.note_taken(step);
        next.kills += usize::from(step.is_kill());
        let progress = next.progress();
        if !next.apply(step) {
            return None;
        }
        next.idle = if next.progress() == progress {
            next.idle + 1
        } else {
            0
        };
        next.finish();
        Some(next)
    }

    /// Nothing is under way.
    pub(crate) fn is_quiet(&self) -> bool {
        self.wire.is_empty() && self.late.is_empty()
    }

    /// The steps that may be next.
    pub(crate) fn steps(&self, faults_max: usize) -> Vec<Step> {
        if self.is_over() {
            return Vec::new();
        }
        let mut all: Vec<Step> = self.packet_steps();
        all.extend((0..self.late.len()).map(Step::Arrive));
        for direction in Direction::BOTH {
            if self.ends[direction as usize].has_unacknowledged() {
                all.push(Step::Retransmit(direction));
            }
            // Not explored: a second SYN or SYN/ACK before the client's first command has arrived.
            if self.ends[0].una > 0 && !self.kernel.is_over() {
                all.extend(Odd::ALL.map(|odd| Step::Odd(direction, odd)));
            }
        }
        all.extend([Step::Due, Step::LoseDue, Step::Kill]);
        all.retain(|step| {
            let may_fail = self.spent < faults_max && (!step.is_kill() || self.kills == 0);
            may_fail || self.is_ordinary(*step)
        });
        all
    }

    /// Whether a step needs no fault of the network, of an end or of the daemon. Such steps bring
    /// each dialogue to its end.
    fn is_ordinary(&self, step: Step) -> bool {
        if matches!(step, Step::Pass(_) | Step::Arrive(_)) {
            return true;
        }
        // Timers wait for longer than packets travel, and none fires again before all others.
        step.timer()
            .is_some_and(|timer| self.is_quiet() && (!self.fired[timer] || self.have_all_fired()))
    }

    fn have_all_fired(&self) -> bool {
        let [client, server] =
            [0, 1].map(|at| self.fired[at] || !self.ends[at].has_unacknowledged());
        client && server && (self.fired[2] || !self.clone().pass_deadline(false))
    }

    fn note_timer(&mut self, step: Step) {
        let Some(timer) = step.timer() else { return };
        if self.fired[timer] {
            self.fired = [false; 3];
        }
        self.fired[timer] = true;
    }

    /// Whether both ends have sent and received all, and nothing is under way; or an end was reset.
    pub(crate) fn is_over(&self) -> bool {
        !self.breaches.is_empty() || self.is_complete()
    }

    pub(crate) fn is_complete(&self) -> bool {
        let is_done = |direction: Direction| {
            self.ends[direction as usize].is_done(self.case.script(direction))
        };
        self.is_quiet() && Direction::BOTH.into_iter().all(is_done)
    }

    fn packet_steps(&self) -> Vec<Step> {
        let mut steps = Vec::new();
        for (at, frame) in self.wire.iter().enumerate() {
            // Of two equal packets the first one stands for both.
            if at > 0 && self.wire[at - 1] == *frame {
                continue;
            }
            steps.extend([
                Step::Pass(at),
                Step::Lose(at),
                Step::LoseBehind(at),
                Step::Repeat(at),
                Step::Delay(at),
                Step::KillBeforeVerdict(at),
                Step::KillAfterVerdict(at),
            ]);
            let length = frame.payload.len();
            let mut cuts = vec![1, length / 2, length.saturating_sub(1)];
            cuts.dedup();
            cuts.retain(|&cut| cut > 0 && cut < length);
            for cut in cuts {
                steps.push(Step::Cut(at, cut));
                if self.is_first_transmission(frame) {
                    steps.push(Step::Part(at, cut));
                }
            }
        }
        steps
    }

    /// Whether no byte of a packet, or of a later one of its sender, was on its way before.
    fn is_first_transmission(&self, frame: &Frame) -> bool {
        let from = usize::from(frame.source != self.ends[0].local);
        let sender = &self.ends[from];
        let is_newest = sender.seq_of(sender.nxt) == frame.seq.wrapping_add(frame.sequence_len());
        let is_only = self
            .wire
            .iter()
            .filter(|one| one.source == frame.source && one.sequence_len() > 0)
            .count()
            == 1;
        is_newest && is_only && sender.seq_of(self.taken[from]) == frame.seq
    }

    /// Notes how far a packet goes whose bytes are on their way now.
    fn note_taken(&mut self, step: Step) {
        let Some(at) = step
            .packet()
            .filter(|_| !matches!(step, Step::Cut(..) | Step::Part(..)))
        else {
            return;
        };
        let frame = &self.wire[at];
        let from = usize::from(frame.source != self.ends[0].local);
        let end = frame.seq.wrapping_add(frame.sequence_len());
        let end = end.wrapping_sub(self.ends[from].seq_of(0)) as usize;
        self.taken[from] = self.taken[from].max(end);
    }

    /// Does a step. `false` where it changes nothing.
    fn apply(&mut self, step: Step) -> bool {
        match step {
            Step::Pass(at) | Step::LoseBehind(at) => {
                let frame = self.wire.remove(at);
                let frames = self.through(&frame).concat();
                self.let_out(frames, step == Step::Pass(at));
            }
            Step::Repeat(at) => {
                let frame = self.wire[at].clone();
                let frames = self.through(&frame).concat();
                self.let_out(frames, true);
            }
            Step::Delay(at) => {
                let frame = self.wire.remove(at);
                let frames = self.through(&frame).concat();
                self.late.extend(frames.clone());
                self.let_out(frames.clone(), false);
                return !frames.is_empty();
            }
            Step::Lose(at) => drop(self.wire.remove(at)),
            Step::Arrive(at) => {
                let frame = self.late.remove(at);
                self.deliver(&frame);
            }
            Step::Cut(at, cut) => {
                let frame = self.wire.remove(at);
                self.wire.extend(parts_of(&frame, cut));
            }
            Step::Part(at, cut) => self.write_in_parts(at, cut),
            Step::Retransmit(direction) => {
                let frame = self.ends[direction as usize].retransmit();
                self.wire.push(frame);
            }
            Step::Odd(direction, odd) => self.forge(direction, odd),
            Step::Due | Step::LoseDue => return self.pass_deadline(step == Step::Due),
            Step::Kill => self.restart(),
            Step::KillBeforeVerdict(at) => {
                let frame = self.wire.remove(at);
                self.through(&frame);
                self.restart();
            }
            Step::KillAfterVerdict(at) => {
                let frame = self.wire.remove(at);
                let saved = self.kernel.saved.clone();
                let [verdict, _] = self.through(&frame);
                if self.mutant == Mutant::SavesLate {
                    self.kernel.saved = saved;
                }
                self.restart();
                self.let_out(verdict, true);
            }
        }
        true
    }

    fn write_in_parts(&mut self, at: usize, cut: usize) {
        let frame = self.wire.remove(at);
        let [first, _] = parts_of(&frame, cut);
        let sender = &mut self.ends[usize::from(frame.source != self.ends[0].local)];
        let end = first.seq.wrapping_add(cut as u32);
        sender.take_back(end.wrapping_sub(sender.seq_of(0)) as usize);
        self.wire.push(first);
    }

    fn forge(&mut self, direction: Direction, odd: Odd) {
        let at = direction as usize;
        let frame = odd.frame(&self.ends[at], &self.ends[1 - at]);
        self.resets += usize::from(frame.has(RST));
        let [verdict, own] = self.through(&frame);
        self.is_forged = true;
        self.let_out(verdict, true);
        self.is_forged = false;
        self.let_out(own, true);
    }

    /// A packet passes conntrack, the core and NAT. Gives what leaves by its verdict, and the
    /// packets of the core's own behind it.
    fn through(&mut self, frame: &Frame) -> [Vec<Frame>; 2] {
        let was_live = !self.kernel.live.is_empty();
        self.kernel.handle_packet(&frame.encode(), self.now);
        let mut frames = self.kernel.poll_frames();
        let own = self.kernel.injected.len();
        self.note_events();
        if self.mutant == Mutant::ChangesRepeated {
            frames
                .iter_mut()
                .for_each(|frame| self.change_repeated(frame));
        }
        self.is_live =
            !self.kernel.live.is_empty() && (self.mutant != Mutant::ExpectsLate || was_live);
        let own = frames.split_off(frames.len() - own);
        [frames, own]
    }

    fn pass_deadline(&mut self, arrives: bool) -> bool {
        let before = self.core_text();
        let latest = self.now + RELAY_DEADLINE_MAX;
        // The core may want to be called earlier than there is anything to do.
        while let Some(at) = self.kernel.poll_timeout().filter(|at| *at <= latest) {
            self.now = self.now.max(at);
            self.kernel.handle_timeout(self.now);
            let frames = self.kernel.poll_frames();
            self.note_events();
            if !frames.is_empty() || self.core_text() != before {
                self.is_live = !self.kernel.live.is_empty();
                self.let_out(frames, arrives);
                return true;
            }
        }
        false
    }

    fn restart(&mut self) {
        self.kernel.restart(Settings::default());
        if self.mutant == Mutant::ForgetsSaved {
            self.kernel.saved.clear();
        }
    }

    /// Frames leave the gateway, and arrive or are lost.
    fn let_out(&mut self, frames: Vec<Frame>, arrives: bool) {
        for frame in frames {
            self.check_leaving(&frame);
            if arrives {
                self.deliver(&frame);
            }
        }
    }

    fn deliver(&mut self, frame: &Frame) {
        let at = usize::from(frame.destination != self.ends[0].local);
        let script = &self.case.scripts[at];
        let sent = self.ends[at].handle_frame(frame, script);
        self.wire.extend(sent);
    }

    fn note_events(&mut self) {
        self.kernel.injected.clear();
        for event in std::mem::take(&mut self.kernel.events) {
            let is_limit = matches!(
                event.kind,
                EventKind::Slowed | EventKind::TooManySessions | EventKind::Forged { .. }
            );
            if is_limit {
                self.breach(Rule::Limits, format!("{:?}", event.kind));
            } else if event.kind == EventKind::PartialLineExpired {
                self.witness(Witness::Expired);
            }
        }
    }

    fn change_repeated(&self, frame: &mut Frame) {
        let to = usize::from(frame.destination != self.ends[0].local);
        let first = self.ends[1 - to].seq_of(0);
        let at = frame.seq.wrapping_sub(first) as usize;
        let was_here = self.left[1 - to].get(at).is_some_and(Option::is_some);
        if let Some(byte) = frame.payload.first_mut().filter(|_| was_here) {
            *byte ^= 1;
        }
    }

    fn core_text(&self) -> CoreText {
        CoreText::of(&self.kernel.alg)
    }

    /// What only grows while a dialogue goes on.
    fn progress(&self) -> usize {
        let of = |end: &End| end.received.len() + end.una + end.written + usize::from(end.has_fin);
        self.ends.iter().map(of).sum::<usize>() + self.spent
    }

    fn finish(&mut self) {
        // Not explored: a SYN when both ends have closed. Conntrack begins another connection with
        // it, and what the ends of this one still repeat belongs to none.
        if self.kernel.is_over() {
            self.wire.retain(|frame| !frame.has(SYN));
            self.late.retain(|frame| !frame.has(SYN));
        }
        self.wire.sort();
        self.late.sort();
        self.check();
        if self.is_stuck() {
            self.breach(Rule::Ends, "no step is left".into());
        }
        if self.idle >= IDLE_MAX {
            self.breach(Rule::Ends, "nothing changes any more".into());
        }
        self.fingerprint = self.digest();
    }

    fn is_stuck(&self) -> bool {
        let may_retransmit = self.ends.iter().any(End::has_unacknowledged);
        self.is_quiet() && !self.is_over() && !may_retransmit && !self.clone().pass_deadline(false)
    }

    fn digest(&self) -> u64 {
        let mut hasher = std::hash::DefaultHasher::new();
        self.core_text().relative_to(self.now).hash(&mut hasher);
        self.kernel.conntrack_text().hash(&mut hasher);
        for saved in self.kernel.saved.values() {
            format!("{saved:?}").hash(&mut hasher);
        }
        for endpoints in self.kernel.live.keys() {
            endpoints.hash(&mut hasher);
        }
        self.kernel.expected.hash(&mut hasher);
        (&self.ends, &self.wire, &self.late, &self.left).hash(&mut hasher);
        (
            self.spent,
            self.kills,
            self.resets,
            self.idle,
            self.fired,
            self.taken,
        )
            .hash(&mut hasher);
        (self.has_announced, &self.witnesses).hash(&mut hasher);
        self.breaches.hash(&mut hasher);
        hasher.finish()
    }

    pub(crate) fn breach(&mut self, rule: Rule, detail: String) {
        self.breaches.push(Breach { rule, detail });
    }

    pub(crate) fn witness(&mut self, witness: Witness) {
        if !self.witnesses.contains(&witness) {
            self.witnesses.push(witness);
            self.witnesses.sort_unstable();
        }
    }
}

impl Hash for World {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.fingerprint);
    }
}

impl PartialEq for World {
    fn eq(&self, other: &Self) -> bool {
        self.fingerprint == other.fingerprint
    }
}

impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:016x}", self.fingerprint)
    }
}

/// Two segments for one, as a segmenting network card cuts it.
fn parts_of(frame: &Frame, cut: usize) -> [Frame; 2] {
    let (mut first, mut second) = (frame.clone(), frame.clone());
    first.payload.truncate(cut);
    first.flags &= !(FIN | PSH | SYN);
    second.payload.drain(..cut);
    second.seq = second.seq.wrapping_add(cut as u32);
    [first, second]
}
