//! Whatever comes in, in whatever order: no panic, and exactly one verdict a packet.

#[path = "harness/mod.rs"]
#[expect(dead_code, reason = "each test uses a part of the harness")]
mod harness;

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use ftp_alg::proto::{
    action::{Action, PacketId, Verdict},
    alg::Alg,
    expect::{ExpectError, ExpectationId},
    flow::Settings,
    nat::LocalLeases,
    net::{ConntrackTuples, Direction},
    saved_flow::SavedFlow,
};
use proptest::{collection::vec, prelude::*, sample};

use self::harness::{
    dialogue::{Script, after_login, client, server},
    frame::Frame,
    link::Link,
    origin,
    topology::Topology,
};

/// A core whose questions are answered at once, with a count of the verdicts each packet got.
struct Core {
    alg: Alg<LocalLeases>,
    tuples: ConntrackTuples,
    verdicts: HashMap<PacketId, usize>,
    /// Questions that were not answered yet.
    asked: Vec<Action>,
    flow_store: Vec<SavedFlow>,
    packets: u64,
    now: Instant,
}

impl Core {
    fn new(topology: Topology) -> Self {
        Self {
            alg: Alg::new(Settings::default(), LocalLeases::default()),
            tuples: topology.tuples(0),
            verdicts: HashMap::new(),
            asked: Vec::new(),
            flow_store: Vec::new(),
            packets: 0,
            now: origin(),
        }
    }

    fn take_in(&mut self, packet: &[u8]) {
        self.packets += 1;
        self.alg
            .handle_packet(PacketId(self.packets), packet, self.now);
        self.collect();
    }

    fn collect(&mut self) {
        while let Some(action) = self.alg.poll_action() {
            match action {
                Action::Verdict { packet, verdict } => {
                    *self.verdicts.entry(packet).or_default() += 1;
                    if let Verdict::Replace(packet) = verdict {
                        Frame::decode(&packet);
                    }
                }
                Action::Inject { packet } => {
                    Frame::decode(&packet);
                }
                Action::Remember(memory) => {
                    let text = memory.encode();
                    assert_eq!(SavedFlow::parse(&text).as_ref(), Ok(&memory));
                    self.flow_store.push(memory);
                }
                Action::Resolve { .. }
                | Action::RelaxWindow { .. }
                | Action::FindLive { .. }
                | Action::Expect { .. } => self.asked.push(action),
                Action::Unexpect { .. }
                | Action::MarkOpaque { .. }
                | Action::MarkReadable { .. }
                | Action::Grant { .. }
                | Action::Revoke { .. }
                | Action::Forget { .. }
                | Action::Report(_) => {}
            }
        }
    }

    /// Answers the last question rightly.
    fn answer(&mut self) -> bool {
        match self.asked.pop() {
            Some(Action::Resolve { .. }) => self.alg.handle_resolved(Some(self.tuples), self.now),
            Some(Action::RelaxWindow { .. }) => self.alg.handle_relaxed(true, self.now),
            Some(Action::Expect { id, .. }) => self.alg.handle_expected(id, Ok(()), self.now),
            Some(Action::FindLive { tuples }) => self.alg.handle_live(&tuples, self.now),
            _ => return false,
        }
        self.collect();
        true
    }

    fn settle(&mut self) {
        while self.answer() {}
        let unanswered: Vec<_> = (1..=self.packets)
            .map(PacketId)
            .filter(|packet| self.verdicts.get(packet) != Some(&1))
            .collect();
        assert_eq!(unanswered, [], "of {} packets", self.packets);
    }
}

/// Every packet of a session with announcements of both sides, as they arrive at the gateway.
fn recorded(topology: Topology) -> Vec<Vec<u8>> {
    let tuples = topology.tuples(0);
    let turns = after_login(&[
        client("PORT 10,0,0,2,4,5"),
        server("200 ok"),
        client("PASV").cut(&[2], Duration::from_millis(10)),
        server("227 =10,0,0,5,19,137").cut(&[6], Duration::from_millis(10)),
        client("EPRT |2|fd00::2|5001|"),
        server("200 ok"),
    ]);
    let mut link = Link::of_script(tuples, &Script::new(&turns));
    link.run();
    let packets = link.delivered.iter().map(|frame| {
        let mut frame = frame.clone();
        let is_original = frame.destination == tuples.of(Direction::Reply).source;
        let arrived = if is_original {
            tuples.of(Direction::Original)
        } else {
            tuples.of(Direction::Reply)
        };
        (frame.source, frame.destination) = (arrived.source, arrived.destination);
        frame.encode()
    });
    packets.collect()
}

#[test]
fn truncated_packets_pass_and_do_no_harm() {
    for topology in Topology::ALL {
        let mut core = Core::new(topology);
        for packet in recorded(topology) {
            for length in 0..packet.len() {
                core.take_in(&packet[..length]);
                while core.answer() {}
            }
            core.take_in(&packet);
            core.settle();
        }
    }
}

#[test]
fn packets_with_any_bit_flipped_do_no_harm() {
    for topology in [Topology::Snat, Topology::Dnat, Topology::Snat6] {
        let packets = recorded(topology);
        for bit in 0..8 {
            let mut core = Core::new(topology);
            for packet in &packets {
                for at in 0..packet.len() {
                    let mut flipped = packet.clone();
                    flipped[at] ^= 1 << bit;
                    core.take_in(&flipped);
                    while core.answer() {}
                }
                core.now += Duration::from_millis(7);
                core.alg.handle_timeout(core.now);
                core.collect();
            }
            core.settle();
        }
    }
}

/// One thing that happens to a core.
#[derive(Clone, Debug)]
enum Operation {
    Packet(Odd),
    Noise(Vec<u8>),
    Answer,
    Resolved(bool),
    Relaxed(bool),
    Expected(u64, Option<ExpectError>),
    Recalled(usize),
    Wait(u64),
    Restart,
}

/// A segment whose fields do not fit together.
#[derive(Clone, Debug)]
struct Odd {
    is_original: bool,
    seq: u32,
    ack: u32,
    flags: u8,
    window: u16,
    urgent: u16,
    timestamps: Option<(u32, u32)>,
    sack: Vec<(u32, u32)>,
    payload: String,
}

impl Odd {
    fn encode(&self, tuples: &ConntrackTuples) -> Vec<u8> {
        let direction = if self.is_original {
            Direction::Original
        } else {
            Direction::Reply
        };
        let tuple = tuples.of(direction);
        let mut frame = Frame::new(tuple.source, tuple.destination);
        frame.seq = self.seq;
        frame.ack = self.ack;
        frame.flags = self.flags;
        frame.window = self.window;
        frame.urgent = self.urgent;
        frame.timestamps = self.timestamps;
        frame.sack = self.sack.clone();
        frame.payload = self.payload.clone().into_bytes();
        frame.encode()
    }
}

fn any_position() -> impl Strategy<Value = u32> {
    prop_oneof![
        8 => 0..400_u32,
        2 => (u32::MAX - 100)..=u32::MAX,
        1 => any::<u32>(),
        1 => Just(1 << 31),
    ]
}

fn any_odd() -> impl Strategy<Value = Odd> {
    let words = sample::select(vec![
        "",
        "PORT 10,0,0,2,4,5\r\n",
        "PORT 10,0",
        ",0,2,4,5\r\n",
        "PASV\r\n",
        "EPSV\r\nPASV\r\n",
        "227 =10,0,0,5,4,5\r\n",
        "227 =10",
        ",0,0,5,4,5\r",
        "\n",
        "229 (|||5001|)\r\n",
        "200 ok\r\n",
        "AUTH TLS\r\n",
        "234 go\r\n",
        "QUIT\r\n",
        "226-\r\n",
    ]);
    let flags = prop_oneof![6 => Just(0x18_u8), 2 => Just(0x10), 1 => any::<u8>()];
    (
        (any::<bool>(), any_position(), any_position()),
        (flags, any::<u16>(), any::<u16>()),
        proptest::option::of((any::<u32>(), any::<u32>())),
        vec((any_position(), any_position()), 0..3),
        (words, 0..20_usize),
    )
        .prop_map(|(place, fields, timestamps, sack, (word, times))| Odd {
            is_original: place.0,
            seq: place.1,
            ack: place.2,
            flags: fields.0,
            window: fields.1,
            urgent: fields.2,
            timestamps,
            sack,
            payload: word.repeat(if times > 17 { 100 } else { 1 }),
        })
}

fn any_operation() -> impl Strategy<Value = Operation> {
    let error = proptest::option::of(sample::select(vec![ExpectError::Clash, ExpectError::Gone]));
    prop_oneof![
        20 => any_odd().prop_map(Operation::Packet),
        1 => vec(any::<u8>(), 0..80).prop_map(Operation::Noise),
        20 => Just(Operation::Answer),
        2 => any::<bool>().prop_map(Operation::Resolved),
        2 => any::<bool>().prop_map(Operation::Relaxed),
        2 => (0..6_u64, error).prop_map(|(id, error)| Operation::Expected(id, error)),
        1 => any::<usize>().prop_map(Operation::Recalled),
        4 => prop_oneof![0..300_u64, 0..20_000_u64, Just(86_400_000)].prop_map(Operation::Wait),
        1 => Just(Operation::Restart),
    ]
}

fn apply(core: &mut Core, operation: &Operation) {
    let now = core.now;
    match operation {
        Operation::Packet(odd) => core.take_in(&odd.encode(&core.tuples.clone())),
        Operation::Noise(bytes) => core.take_in(bytes),
        Operation::Answer => {
            core.answer();
        }
        Operation::Resolved(is_known) => {
            let tuples = is_known.then_some(core.tuples);
            core.alg.handle_resolved(tuples, now);
        }
        Operation::Relaxed(is_relaxed) => core.alg.handle_relaxed(*is_relaxed, now),
        Operation::Expected(id, error) => {
            let result = error.map_or(Ok(()), Err);
            core.alg.handle_expected(ExpectationId(*id), result, now);
        }
        Operation::Recalled(index) => {
            if let Some(memory) = core.flow_store.get(index % core.flow_store.len().max(1)) {
                core.alg.handle_recalled(&memory.clone(), now);
            }
        }
        Operation::Wait(millis) => {
            core.now += Duration::from_millis(*millis);
            core.alg.handle_timeout(core.now);
        }
        Operation::Restart => {
            core.settle();
            core.alg = Alg::new(Settings::default(), LocalLeases::default());
        }
    }
    core.collect();
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 5_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn any_packets_and_answers_in_any_order_give_one_verdict_a_packet(
        topology in sample::select(Topology::ALL.to_vec()),
        operations in vec(any_operation(), 0..60),
    ) {
        let mut core = Core::new(topology);
        for operation in &operations {
            apply(&mut core, operation);
        }
        core.settle();
        prop_assert!(core.alg.memory_bytes() < 200_000, "{}", core.alg.memory_bytes());
    }
}
