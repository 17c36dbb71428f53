//! One control connection, with all that a network, its two ends and a restart can do to it.
//!
//! The input is decoded to the text of each end ([`speech`]) and to operations. The operations
//! carry it through the core behind a small kernel ([`gateway`]). Segments overlap, repeat, leave
//! gaps and lie. Each packet that leaves is compared with a naive model of the whole streams
//! ([`witness`], [`rewriting`]).

mod gateway;
#[path = "../../tests/harness/mod.rs"]
#[expect(dead_code, reason = "the harness can do more than is needed here")]
mod harness;
mod identity;
mod rewriting;
mod speech;
mod way;
mod witness;

use std::{sync::Arc, time::Duration};

use arbitrary::{Arbitrary, Unstructured};
use ftp_alg::proto::{
    command_policy::{CommandPolicy, PolicyAction, PolicyEntry, PolicyMatcher, Scope, Verb},
    flow::Settings,
    net::Direction,
};

pub use self::identity::identity;

use self::{
    frame::{ACK, FIN, Frame, PSH, RST, SYN, URG},
    gateway::{Gateway, Note},
    harness::{frame, topology},
    speech::{Command, Reply, Speech},
    topology::Topology,
    witness::{Given, Witness},
};

/// The most operations of a run: enough for a whole session.
const OPERATIONS_MAX: usize = 400;

/// The verb that the policy refuses.
const REFUSED: &str = "SITE";

/// The longest payload of a segment, on Ethernet.
const MSS: usize = 1460;

#[derive(Arbitrary, Debug)]
struct Input {
    scene: Scene,
    commands: Vec<Command>,
    replies: Vec<Reply>,
    operations: Vec<Operation>,
}

/// The values that no operation changes.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub(crate) struct Scene {
    topology: u8,
    /// The sequence numbers of the client's and the server's first bytes.
    first: [u32; 2],
    /// The connection is seen from its first packet, and not picked up in its middle.
    is_from_start: bool,
    has_timestamps: bool,
    /// The gateway has ten outside ports only.
    has_few_ports: bool,
    max_per_session: u8,
    /// The answers of the kernel, one bit for each question, over and over.
    refusals: u8,
    /// A policy refuses SITE, and resets the connection at EPSV ALL.
    #[arbitrary(default)]
    has_policy: bool,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Operation {
    /// Bytes of one end's stream.
    Say(End, Portion),
    /// Nothing but an acknowledgement.
    Acknowledge(End, Heard),
    /// An old number, perhaps with a byte of garbage.
    KeepAlive(End, bool),
    /// A reset, at this distance from the right number.
    Reset(End, u8),
    Wait(u16),
    /// The daemon is killed and started again.
    Restart,
}

#[derive(Arbitrary, Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Client,
    Server,
}

/// Bytes, and the way in which they are sent.
#[derive(Arbitrary, Clone, Copy, Debug)]
struct Portion {
    start: Start,
    length: Length,
    heard: Heard,
    /// The sender closes its side behind them.
    closes: bool,
    /// Those that were sent before are other bytes now.
    is_forged: bool,
    is_urgent: bool,
}

/// A position, counted from the end of the bytes that the gateway has taken.
#[derive(Arbitrary, Clone, Copy, Debug)]
enum Start {
    Next,
    Before(u16),
    Beyond(u8),
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Length {
    Bytes(u8),
    /// As much as fits into a segment.
    Full,
    /// To the end of the line.
    Line,
}

/// The acknowledgement of a packet, and whether the packet is lost behind the gateway.
#[derive(Arbitrary, Clone, Copy, Debug)]
struct Heard {
    ack: Ack,
    has_sack: bool,
    is_lost: bool,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Ack {
    /// All that was heard.
    Now,
    /// As some time ago.
    Earlier(u8),
    /// More than was heard.
    Lie(u16),
    Nothing,
}

/// Runs the operations that `data` encodes. With `FTP_ALG_TRACE` set it prints them, and each
/// packet.
///
/// # Panics
/// Where something that has to hold does not.
pub fn stream(data: &[u8]) {
    run(data, false);
}

/// [`stream`] with a command policy: a refused command never reaches the server.
///
/// # Panics
/// Where something that has to hold does not.
pub fn policy(data: &[u8]) {
    run(data, true);
}

fn run(data: &[u8], has_policy: bool) {
    let Ok(mut input) = Input::arbitrary_take_rest(Unstructured::new(data)) else {
        return;
    };
    input.scene.has_policy = has_policy;
    let traces = std::env::var_os("FTP_ALG_TRACE").is_some();
    if traces {
        eprintln!("{input:#?}");
    }
    let scene = input.scene;
    let topologies = Topology::ALL;
    let topology = topologies[usize::from(scene.topology) % topologies.len()];
    let tuples = topology.tuples(0);
    let speech = Speech::new(&tuples, &input.commands, &input.replies);
    if speech.is_ambiguous() {
        return;
    }
    let mut run = Run {
        scene,
        gateway: Gateway::new(scene.settings(), tuples, scene.refusals),
        witness: Witness::new(tuples, speech, scene),
        traces,
    };
    run.begin();
    for operation in input.operations.iter().take(OPERATIONS_MAX) {
        if run.gateway.is_opaque() {
            break;
        }
        run.perform(*operation);
    }
    run.end();
}

impl Scene {
    fn settings(self) -> Settings {
        let ports = if self.has_few_ports {
            10_000..=10_009
        } else {
            1024..=65_535
        };
        Settings {
            ports,
            max_per_session: usize::from(self.max_per_session % 4) + 1,
            command_policy: if self.has_policy {
                command_policy()
            } else {
                Arc::default()
            },
            ..Settings::default()
        }
    }
}

/// The policy that the client is held to.
fn command_policy() -> Arc<CommandPolicy> {
    let of = |verb: &str, action: PolicyAction| PolicyEntry {
        name: verb.into(),
        scope: Scope::default(),
        matcher: PolicyMatcher {
            commands: Verb::parse(verb).into_iter().collect(),
            ..PolicyMatcher::default()
        },
        action,
        text: None,
    };
    Arc::new(CommandPolicy::new(vec![
        of(REFUSED, PolicyAction::Refuse),
        of("EPSV ALL", PolicyAction::Reset),
    ]))
}

impl End {
    /// The direction in which it sends.
    const fn direction(self) -> Direction {
        match self {
            Self::Client => Direction::Original,
            Self::Server => Direction::Reply,
        }
    }
}

struct Run {
    scene: Scene,
    gateway: Gateway,
    witness: Witness,
    traces: bool,
}

impl Run {
    /// The handshake, where it is seen.
    fn begin(&mut self) {
        if !self.scene.is_from_start {
            return;
        }
        for (end, flags) in [(End::Client, SYN), (End::Server, SYN | ACK)] {
            let mut frame = self.frame(end, -1, Ack::Now);
            frame.flags = flags;
            self.hand_over(end, frame, false, false);
        }
    }

    fn perform(&mut self, operation: Operation) {
        match operation {
            Operation::Say(end, portion) => self.say(end, portion),
            Operation::Acknowledge(end, heard) => {
                let at = self.witness.way(end.direction()).offered() as i64;
                let mut frame = self.frame(end, at, heard.ack);
                self.add_sack(end, heard, &mut frame);
                self.hand_over(end, frame, false, heard.is_lost);
            }
            Operation::KeepAlive(end, has_garbage) => {
                let at = self.witness.way(end.direction()).taken() as i64 - 1;
                let mut frame = self.frame(end, at, Ack::Now);
                let has_garbage = has_garbage && self.witness.may_forge();
                frame.payload = vec![0; usize::from(has_garbage)];
                self.hand_over(end, frame, has_garbage, false);
            }
            Operation::Reset(end, distance) => {
                let at = self.witness.way(end.direction()).taken() as i64;
                let mut frame = self.frame(end, at + i64::from(distance), Ack::Now);
                frame.flags |= RST;
                self.hand_over(end, frame, false, false);
            }
            Operation::Wait(millis) => {
                let time = Duration::from_millis(u64::from(millis));
                for notes in self.gateway.wait(time) {
                    self.trace(None, &notes);
                    self.witness.check(None, &notes, false);
                }
            }
            Operation::Restart => {
                self.gateway.restart(self.scene.settings());
                self.witness.handle_restart(self.gateway.saved());
            }
        }
        self.gateway.check_bounds();
    }

    fn say(&mut self, end: End, portion: Portion) {
        let way = self.witness.way(end.direction());
        let taken = way.taken();
        let at = match portion.start {
            Start::Next => taken,
            Start::Before(bytes) => taken.saturating_sub(usize::from(bytes)),
            Start::Beyond(bytes) => taken + usize::from(bytes),
        };
        let length = match portion.length {
            Length::Bytes(bytes) => usize::from(bytes),
            Length::Full => MSS,
            Length::Line => way.line_length_at(at).min(MSS),
        };
        let is_forged = portion.is_forged && self.witness.may_forge();
        let way = self.witness.way_mut(end.direction());
        let (at, mut payload, is_last) = way.take_out(at, length, portion.closes);
        let old = taken.saturating_sub(at).min(payload.len());
        let is_forged = is_forged && old > 0;
        if is_forged {
            payload[..old].iter_mut().for_each(|byte| *byte ^= 1);
        }
        let mut frame = self.frame(end, at as i64, portion.heard.ack);
        frame.flags |= PSH;
        if is_last {
            frame.flags |= FIN;
        }
        if portion.is_urgent && !payload.is_empty() {
            frame.flags |= URG;
            frame.urgent = payload.len() as u16;
        }
        frame.payload = payload;
        self.add_sack(end, portion.heard, &mut frame);
        self.hand_over(end, frame, is_forged, portion.heard.is_lost);
    }

    /// A packet of `end` as it arrives at the gateway.
    fn frame(&self, end: End, at: i64, ack: Ack) -> Frame {
        let direction = end.direction();
        let tuple = self.gateway.tuples().of(direction);
        let mut frame = Frame::new(tuple.source, tuple.destination);
        frame.seq = self.witness.way(direction).number(at);
        let heard = self.witness.way(!direction);
        let now = heard.number(heard.heard());
        match ack {
            Ack::Now => frame.ack = now,
            Ack::Earlier(bytes) => frame.ack = now.wrapping_sub(u32::from(bytes)),
            Ack::Lie(bytes) => frame.ack = now.wrapping_add(u32::from(bytes)),
            // Before its end has acknowledged anything the core has no number to answer with.
            Ack::Nothing if self.witness.has_acknowledged(direction) => frame.flags = 0,
            Ack::Nothing => frame.ack = now,
        }
        if self.scene.has_timestamps {
            frame.timestamps = Some((self.gateway.clock(), self.gateway.clock()));
        }
        frame
    }

    fn add_sack(&self, end: End, heard: Heard, frame: &mut Frame) {
        if heard.has_sack && frame.has(ACK) {
            frame.sack = self.witness.way(!end.direction()).sack();
        }
    }

    fn hand_over(&mut self, end: End, frame: Frame, is_forged: bool, is_lost: bool) {
        let is_queued = self.gateway.is_queued(&frame);
        let given = Given {
            direction: end.direction(),
            is_forged,
            is_queued,
            frame,
        };
        self.witness.record_given(&given);
        let notes = self.gateway.handle_frame(&given.frame);
        self.trace(Some(&given.frame), &notes);
        self.witness.check(Some(&given), &notes, is_lost);
    }

    fn trace(&self, came: Option<&Frame>, notes: &[Note]) {
        if self.traces {
            let came = came.map(ToString::to_string).unwrap_or_default();
            eprintln!("{} ms {came}", self.gateway.clock());
            notes.iter().for_each(|note| eprintln!("    {note}"));
        }
    }

    /// Everything times out, and nothing is left.
    fn end(&mut self) {
        for notes in self.gateway.wait_for_all() {
            self.trace(None, &notes);
            self.witness.check(None, &notes, false);
        }
        self.gateway.check_empty();
    }
}
