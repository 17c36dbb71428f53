//! No packets in any order cause a panic, and each packet has one verdict.

#[path = "harness/mod.rs"]
#[expect(dead_code, reason = "each test uses a part of the harness")]
mod harness;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use ftp_alg::proto::{
    alg::{Alg, InboundPacket},
    egress::{Effects, PacketId, Save, Verdict},
    expect::{ExpectError, Expectation, ExpectationId},
    flow::Settings,
    ftps::{HostPair, TlsSettings},
    kernel::{
        Kernel, LookUpError, MarkError, Outcome, SetLiberalError, TrackedConnection,
        WhenKernelHelps,
    },
    net::{ConntrackTuples, Direction, Tuple},
    saved_flow::SavedFlow,
    session::Withdrawal,
};
use proptest::{collection::vec, prelude::*, sample};

use self::harness::{
    dialogue::{Script, after_login, client, server},
    frame::Frame,
    link::Link,
    origin,
    topology::Topology,
};

/// A core, and a kernel with the answers of the test.
struct Core {
    alg: Alg,
    kernel: Answers,
    packets: u64,
    now: Instant,
}

/// The kernel's answers.
struct Answers {
    tuples: ConntrackTuples,
    is_known: bool,
    id: u32,
    is_established: bool,
    refuses_mark: bool,
    is_beginning: bool,
    is_adjusted: bool,
    is_opaque: bool,
    kernel_helper: Option<WhenKernelHelps>,
    refuses_liberal: bool,
    expect: Option<ExpectError>,
    are_dead: bool,
    saved: Vec<SavedFlow>,
    loads: usize,
}

impl Kernel for Answers {
    fn look_up(&mut self, _: Tuple) -> Result<Option<TrackedConnection>, LookUpError> {
        Ok(self.is_known.then_some(TrackedConnection {
            is_beginning: self.is_beginning,
            is_over: self.are_dead && !self.is_beginning,
            tuples: self.tuples,
            id: self.id,
            is_established: self.is_established,
            is_adjusted: self.is_adjusted,
            is_offloaded: self.is_opaque,
            is_renumbered: self.is_established,
            is_opaque: self.is_opaque,
            kernel_helper: self.kernel_helper,
        }))
    }

    fn load(&mut self, _: &ConntrackTuples) -> Option<SavedFlow> {
        let index = self.loads % self.saved.len().max(1);
        self.saved.get(index).cloned()
    }

    fn set_liberal(&mut self, _: &ConntrackTuples) -> Result<(), SetLiberalError> {
        if self.refuses_liberal {
            Err(SetLiberalError)
        } else {
            Ok(())
        }
    }

    fn expect(
        &mut self,
        _: ExpectationId,
        _: &Expectation,
        _: &ConntrackTuples,
    ) -> Result<(), ExpectError> {
        self.expect.map_or(Ok(()), Err)
    }

    fn unexpect(
        &mut self,
        _: ExpectationId,
        _: &Expectation,
        _: &ConntrackTuples,
        _: Withdrawal,
    ) -> Outcome {
        Outcome::Unused
    }

    fn are_alive(&mut self, originals: &[Tuple]) -> Vec<Tuple> {
        if self.are_dead {
            Vec::new()
        } else {
            originals.to_vec()
        }
    }

    fn mark_opaque(&mut self, _: &ConntrackTuples) {}

    fn mark_readable(&mut self, _: &ConntrackTuples) {}

    fn mark_untouched(&mut self, _: &ConntrackTuples) -> Result<(), MarkError> {
        if self.refuses_mark {
            Err(MarkError)
        } else {
            Ok(())
        }
    }

    fn queue_data_syns(&mut self, _: HostPair) {}

    fn pass_data_syns(&mut self, _: HostPair) {}
}

impl Core {
    fn new(topology: Topology) -> Self {
        Self {
            alg: new_alg(),
            kernel: Answers {
                tuples: topology.tuples(0),
                is_known: true,
                id: 0,
                is_established: false,
                refuses_mark: false,
                is_beginning: true,
                is_adjusted: false,
                is_opaque: false,
                kernel_helper: None,
                refuses_liberal: false,
                expect: None,
                are_dead: false,
                saved: Vec::new(),
                loads: 0,
            },
            packets: 0,
            now: origin(),
        }
    }

    fn take_in(&mut self, packet: &[u8]) {
        self.packets += 1;
        let inbound = InboundPacket::new(PacketId(self.packets), packet);
        let egress = self.alg.handle_packet(&inbound, &mut self.kernel, self.now);
        if let Verdict::Replace(packet) = egress.verdict {
            Frame::decode(&packet);
        }
        self.check(egress.effects);
    }

    fn wait(&mut self, time: Duration) {
        self.now += time;
        let effects = self.alg.handle_timeout(&mut self.kernel, self.now);
        self.check(effects);
    }

    /// Checks that each packet can be read, and that each saved flow is read as it was.
    fn check(&mut self, effects: Effects) {
        for packet in effects.packets {
            Frame::decode(&packet.bytes);
        }
        for save in effects.saves {
            if let Save::Store(saved) = save {
                assert_eq!(SavedFlow::parse(&saved.encode()).as_ref(), Ok(&*saved));
                self.kernel.saved.push(*saved);
            }
        }
    }
}

/// A core that grants data connections of encrypted sessions, so that it decides on first packets.
fn new_alg() -> Alg {
    let tls = TlsSettings {
        ports: Some(1024..=65535),
        at_once: 1,
        ..TlsSettings::default()
    };
    let settings = Settings {
        tls,
        ..Settings::default()
    };
    Alg::new(settings, Arc::default())
}

/// All packets of a session with announcements of both sides, as they arrive at the gateway.
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
            }
            core.take_in(&packet);
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
                }
                core.wait(Duration::from_millis(7));
            }
        }
    }
}

/// One input or change of the surroundings.
#[derive(Clone, Debug)]
enum Operation {
    Packet(Odd),
    Noise(Vec<u8>),
    /// Conntrack knows the connection from now on, with these marks, or does not know it.
    Tracked(bool, bool, bool),
    Begins(bool),
    /// Its entry has this id, is established or not, and can be marked or not.
    Entry(u32, bool, bool),
    KernelHelper(Option<WhenKernelHelps>),
    RefuseLiberal(bool),
    RefuseExpect(Option<ExpectError>),
    Die(bool),
    Load(usize),
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
        2 => any::<(bool, bool, bool)>()
            .prop_map(|(known, adjusted, opaque)| Operation::Tracked(known, adjusted, opaque)),
        1 => sample::select(vec![
            None,
            None,
            Some(WhenKernelHelps::StepAside),
            Some(WhenKernelHelps::Refuse),
        ]).prop_map(Operation::KernelHelper),
        1 => any::<bool>().prop_map(Operation::Begins),
        1 => (0u32..3, any::<bool>(), any::<bool>()).prop_map(|(id, is_established, refuses_mark)| {
            Operation::Entry(id, is_established, refuses_mark)
        }),
        2 => any::<bool>().prop_map(Operation::RefuseLiberal),
        2 => error.prop_map(Operation::RefuseExpect),
        1 => any::<bool>().prop_map(Operation::Die),
        1 => any::<usize>().prop_map(Operation::Load),
        4 => prop_oneof![0..300_u64, 0..20_000_u64, Just(86_400_000)].prop_map(Operation::Wait),
        1 => Just(Operation::Restart),
    ]
}

fn apply(core: &mut Core, operation: &Operation) {
    let kernel = &mut core.kernel;
    match operation {
        Operation::Packet(odd) => {
            let tuples = kernel.tuples;
            core.take_in(&odd.encode(&tuples));
        }
        Operation::Noise(bytes) => core.take_in(bytes),
        Operation::Tracked(is_known, is_adjusted, is_opaque) => {
            kernel.is_known = *is_known;
            kernel.is_adjusted = *is_adjusted;
            kernel.is_opaque = *is_opaque;
        }
        Operation::Begins(is_beginning) => kernel.is_beginning = *is_beginning,
        Operation::Entry(id, is_established, refuses_mark) => {
            kernel.id = *id;
            kernel.is_established = *is_established;
            kernel.refuses_mark = *refuses_mark;
        }
        Operation::KernelHelper(then) => kernel.kernel_helper = *then,
        Operation::RefuseLiberal(refuses) => kernel.refuses_liberal = *refuses,
        Operation::RefuseExpect(error) => kernel.expect = *error,
        Operation::Die(are_dead) => kernel.are_dead = *are_dead,
        Operation::Load(index) => kernel.loads = *index,
        Operation::Wait(millis) => core.wait(Duration::from_millis(*millis)),
        Operation::Restart => core.alg = new_alg(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 5_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn any_packets_and_answers_in_any_order_do_no_harm(
        topology in sample::select(Topology::ALL.to_vec()),
        operations in vec(any_operation(), 0..60),
    ) {
        let mut core = Core::new(topology);
        for operation in &operations {
            apply(&mut core, operation);
        }
        prop_assert!(core.alg.memory_bytes() < 200_000, "{}", core.alg.memory_bytes());
    }
}
