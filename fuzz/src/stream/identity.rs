//! What a connection is taken for, whatever comes: odd flags, a tuple that is used again,
//! evictions, restarts, silence.
//!
//! The operations act on the simulated link of the main crate's tests. What was refuted stays
//! refuted, a policy holds, nothing is opened before a login. And whatever has happened, a new
//! honest connection works.

use std::time::Duration;

use arbitrary::{Arbitrary, Unstructured};
use ftp_alg::proto::{
    budget::Limits,
    event::{Decision, EventKind},
    flow::Settings,
    ftp::Role,
};

use super::harness::{
    dialogue::{Script, Turn, after_login, client, server},
    frame::{ACK, FIN, Frame, PSH, RST, SYN, URG},
    host::Config,
    kernel::IIFS,
    link::{Ends, Link},
    topology::Topology,
};

/// The most operations of a run.
const OPERATIONS_MAX: usize = 60;

/// Lines of the client. The policy refuses SITE.
const COMMANDS: [&str; 10] = [
    "USER ann\r\n",
    "PASS secret\r\n",
    "PORT 10,0,0,2,19,137\r\n",
    "PORT 1",
    "SITE x\r\n",
    "GET / HTTP/1.1\r\n",
    "NOOP\r\n",
    "PASV\r\n",
    "AUTH TLS\r\n",
    "\x16\x03\x01\x02\x00",
];

/// Lines of the server.
const REPLIES: [&str; 8] = [
    "220 hello\r\n",
    "331 and?\r\n",
    LOGGED_IN,
    "200 ok\r\n",
    "500 what?\r\n",
    "227 =198,51,100,7,19,137\r\n",
    "234 go on\r\n",
    "227 (198",
];

const LOGGED_IN: &str = "230 welcome\r\n";

/// Combinations of flags.
const FLAGS: [u8; 12] = [
    SYN,
    SYN | ACK,
    SYN | ACK | PSH,
    SYN | FIN,
    RST,
    RST | ACK,
    FIN,
    FIN | ACK,
    ACK,
    ACK | PSH,
    PSH,
    URG,
];

/// Distances from the right number.
const PLACES: [u32; 8] = [
    0,
    1,
    u32::MAX,
    100,
    1 << 17,
    1 << 20,
    (1u32 << 20).wrapping_neg(),
    1 << 30,
];

#[derive(Arbitrary, Debug)]
struct Input {
    is_translated: bool,
    has_policy: bool,
    /// A new entry of conntrack has the id of the old one.
    keeps_ids: bool,
    /// The handshake of the honest connection at the end is seen.
    ends_seen: bool,
    operations: Vec<Operation>,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Operation {
    Client(u8),
    Server(u8),
    Odd(Odd),
    /// The tuple is used again, and the handshake is seen or not.
    Connect(bool),
    /// Conntrack forgets the connection, and picks it up with its next packet.
    Forget,
    Evict,
    /// The process is killed and started again, with or without its saved flows.
    Restart(bool),
    Hours(u8),
    Millis(u8),
}

/// A segment that one end sends, or somebody in its name.
#[derive(Arbitrary, Clone, Copy, Debug)]
struct Odd {
    is_client: bool,
    is_own_side: bool,
    flags: u8,
    place: u8,
    ack: u8,
    bytes: Option<u8>,
}

/// Runs the operations that `data` encodes.
///
/// # Panics
/// Where something that has to hold does not.
pub fn identity(data: &[u8]) {
    let Ok(input) = Input::arbitrary_take_rest(Unstructured::new(data)) else {
        return;
    };
    if std::env::var_os("FTP_ALG_TRACE").is_some() {
        eprintln!("{input:#?}");
    }
    let mut run = Run::new(&input);
    for operation in input.operations.iter().take(OPERATIONS_MAX) {
        run.perform(*operation);
        run.check();
    }
    run.end(input.ends_seen);
}

struct Run {
    link: Link,
    topology: Topology,
    settings: Settings,
    has_policy: bool,
    connections: u32,
    /// The events that were looked at.
    events: usize,
    /// Conntrack's present entry was shown to be no FTP.
    is_refuted: bool,
    /// The present connection was seen from its first packet, and never forgotten.
    is_whole: bool,
    /// Its server has let somebody in.
    has_let_in: bool,
}

impl Run {
    fn new(input: &Input) -> Self {
        let settings = Settings {
            command_policy: if input.has_policy {
                super::command_policy()
            } else {
                Default::default()
            },
            ..Settings::default()
        };
        let mut run = Self {
            link: Link::new(settings.clone()),
            topology: if input.is_translated {
                Topology::Snat
            } else {
                Topology::Routed
            },
            settings,
            has_policy: input.has_policy,
            connections: 0,
            events: 0,
            is_refuted: false,
            is_whole: false,
            has_let_in: false,
        };
        run.link.kernel.states.keeps_ids = input.keeps_ids;
        run.connect(true, &Script::default());
        run
    }

    fn perform(&mut self, operation: Operation) {
        match operation {
            Operation::Client(line) => self.say(Role::Client, pick(&COMMANDS, line)),
            Operation::Server(line) => self.say(Role::Server, pick(&REPLIES, line)),
            Operation::Odd(odd) => self.send(odd),
            Operation::Connect(is_seen) => self.connect(is_seen, &Script::default()),
            Operation::Forget => {
                self.link.kernel.forget_marks();
                (self.is_refuted, self.is_whole) = (false, false);
            }
            Operation::Evict => self.evict(),
            Operation::Restart(keeps_flows) => {
                if !keeps_flows {
                    self.link.kernel.saved.clear();
                }
                self.link.kernel.restart(self.settings.clone());
                self.is_whole = false;
            }
            Operation::Hours(hours) => {
                self.link
                    .run_for(Duration::from_secs(u64::from(hours) * 3600));
                self.is_whole = false;
            }
            Operation::Millis(millis) => {
                self.link.run_for(Duration::from_millis(u64::from(millis)));
            }
        }
    }

    fn say(&mut self, from: Role, text: &str) {
        self.has_let_in |= text == LOGGED_IN;
        let turns = [Turn::new(from, text)];
        match from {
            Role::Client => self.link.client_says(&turns),
            Role::Server => self.link.server_says(&turns),
        }
        self.link.run_for(Duration::from_millis(10));
    }

    /// By the other side nothing comes before each end was heard of: the core knows then by which
    /// interface it is reached.
    fn send(&mut self, odd: Odd) {
        let knows_sides = self.is_whole && self.link.hosts[1].received.len() > 1;
        let is_own_side = odd.is_own_side || !knows_sides;
        let (sender, own, other, lines) = if odd.is_client {
            (0, IIFS.original, IIFS.reply, &COMMANDS[..])
        } else {
            (1, IIFS.reply, IIFS.original, &REPLIES[..])
        };
        let frame = self.link.hosts[sender].odd(|frame| {
            frame.flags = pick(&FLAGS, odd.flags);
            frame.seq = frame.seq.wrapping_add(pick(&PLACES, odd.place));
            frame.ack = frame.ack.wrapping_add(pick(&PLACES, odd.ack));
            if let Some(line) = odd.bytes {
                frame.payload = pick(lines, line).as_bytes().to_vec();
            }
        });
        let lets_in = odd.bytes.is_some_and(|line| pick(lines, line) == LOGGED_IN);
        self.has_let_in |= !odd.is_client && is_own_side && lets_in;
        self.link
            .send_forged(&frame, if is_own_side { own } else { other });
        self.link.run_for(Duration::from_millis(10));
    }

    /// Two new hosts connect, with far numbers.
    fn connect(&mut self, is_seen: bool, script: &Script) {
        self.connections += 1;
        let isn = self.connections.wrapping_mul(0x3579_bdf1);
        let config = Config {
            isn,
            ..Config::default()
        };
        self.link.hosts.clear();
        self.link.run_for(Duration::from_millis(5));
        self.link.kernel.is_absent = !is_seen;
        let tuples = self.topology.tuples(0);
        self.link.add_with(tuples, Ends::alike(config), script);
        self.link.run_for(Duration::from_millis(5));
        self.link.kernel.is_absent = false;
        (self.is_refuted, self.is_whole, self.has_let_in) = (false, is_seen, false);
        self.events = self.link.kernel.events.len();
    }

    fn evict(&mut self) {
        let limits = Limits {
            memory: 0,
            ..Limits::default()
        };
        let settings = Settings {
            limits,
            ..self.settings.clone()
        };
        self.link.kernel.alg.handle_settings(settings);
        let hosts = std::mem::take(&mut self.link.hosts);
        let script = Script::open(&after_login(&[]));
        self.link.add(self.topology.tuples(1), &script);
        self.link.run_for(Duration::from_millis(50));
        self.link.hosts = hosts;
        self.link.kernel.alg.handle_settings(self.settings.clone());
        self.is_whole = false;
    }

    fn check(&mut self) {
        for event in &self.link.kernel.events[self.events..] {
            self.is_refuted |= matches!(event.kind, EventKind::NotFtp { .. });
            if let EventKind::Announcement(report) = &event.kind
                && let Decision::Expect { .. } = report.decision
            {
                assert!(!self.is_refuted, "it was no FTP");
                assert!(self.has_let_in || !self.is_whole, "nobody was let in");
            }
        }
        self.events = self.link.kernel.events.len();
        let heard = String::from_utf8_lossy(&self.link.hosts[1].received);
        let has_refused = heard.split('\n').any(|line| line.starts_with("SITE"));
        let is_held = self.has_policy && self.is_whole;
        assert!(!is_held || !has_refused, "a refused command came through");
        let is_bare = |frame: &Frame| !frame.has(SYN) || frame.has(FIN) || frame.payload.is_empty();
        let has_bare = self.link.delivered.drain(..).all(|frame| is_bare(&frame));
        // What conntrack cannot assign is not queued, nor is what was left alone.
        let is_read = self.is_whole && !self.is_refuted;
        assert!(has_bare || !is_read, "bytes beside a SYN");
    }

    /// Whatever has happened, a new connection works.
    fn end(&mut self, is_seen: bool) {
        self.link.run_for(Duration::from_secs(60));
        self.link.kernel.forget_marks();
        self.link.kernel.states.keeps_ids = false;
        let turns = after_login(&[client("PORT 10,0,0,2,19,138"), server("200 ok")]);
        self.connect(is_seen, &Script::open(&turns));
        self.link.run_for(Duration::from_millis(200));
        let heard = String::from_utf8_lossy(&self.link.hosts[1].received).into_owned();
        let said = if self.topology == Topology::Snat {
            "PORT 203,0,113,1,"
        } else {
            "PORT 10,0,0,2,19,138\r\n"
        };
        assert!(
            heard.contains(said),
            "the new connection's server heard {heard:?}"
        );
        assert_eq!(self.link.faults(), Vec::<&String>::new());
        let opened = self.link.kernel.expected.last();
        let port = opened.map(|expectation| expectation.translated_destination.port());
        assert_eq!(
            port,
            Some(19 * 256 + 138),
            "the new connection opens nothing"
        );
    }
}

fn pick<T: Copy>(all: &[T], choice: u8) -> T {
    all[usize::from(choice) % all.len()]
}
