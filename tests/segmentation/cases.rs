//! Random cases: a topology, a dialogue, the way in which it is written, and a network.

use std::{collections::VecDeque, ops::RangeInclusive, sync::Arc, time::Duration};

use ftp_alg::proto::{
    command_policy::{CommandPolicy, PolicyAction, PolicyEntry, PolicyMatcher, Scope, Verb},
    event::EventKind,
    flow::Settings,
    ftp::Role,
    net::{ConntrackTuples, Direction},
};
use proptest::{collection::vec, option, prelude::*, sample};

use crate::harness::{
    dialogue::{Script, Turn, after_login, client, server},
    host::Config,
    link::{Ends, Fate, Link},
    oracle::expected_of,
    topology::Topology,
};

/// One case.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) topology: Topology,
    pub(crate) ports: RangeInclusive<u16>,
    pub(crate) bursts: Vec<Burst>,
    pub(crate) ends: Ends,
    pub(crate) fates: Vec<Fate>,
    /// The cuts of the turns, one after the other.
    pub(crate) cuts: Vec<(Vec<usize>, u8)>,
    /// A policy refuses some commands, so that none may pass before it was read.
    pub(crate) has_policy: bool,
}

/// Commands that the client sends without waiting, and their answers. The server answers one
/// command after the other.
#[derive(Clone, Debug)]
pub(crate) struct Burst {
    pub(crate) exchanges: Vec<Exchange>,
    /// All commands are in one write, and all replies too if the client waits for none of them.
    pub(crate) is_merged: bool,
}

/// A command and its answer.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Exchange {
    Noop,
    /// The announced port.
    Port(u16),
    PortZero(u16),
    PortThird,
    PortMalformed,
    /// No server reads an endpoint in it.
    PortUnreadable,
    /// With blanks, leading zeros and CR CR LF.
    PortOdd(u16),
    PortRejected(u16),
    Eprt(u16),
    Pasv(u16),
    PasvBare(u16),
    /// Without a blank behind the code, with blanks, and with CR CR LF.
    PasvOdd(u16),
    PasvUnasked(u16),
    Epsv(u16),
    /// A reply of several lines, one of which looks like a 227.
    MultiLine(u16),
    /// A command as long as this, and an answer.
    Filler(u16),
    /// A command that ends with LF alone. A reply that does may go on behind it.
    BareLf(u16),
    Abor,
    Retr,
    /// Refused where there is a policy.
    Dele(u16),
}

impl Case {
    /// Runs the case and compares.
    pub(crate) fn check(&self) -> Result<(), TestCaseError> {
        let tuples = self.topology.tuples(0);
        let settings = Settings {
            ports: self.ports.clone(),
            command_policy: if self.has_policy {
                command_policy()
            } else {
                Arc::default()
            },
            ..Settings::default()
        };
        let turns = self.turns(&tuples);
        let wanted = expected_of(&turns, &tuples, &settings);
        let mut link = Link::new(settings);
        link.fates = self.fates.clone().into();
        link.add_with(tuples, self.ends.clone(), &Script::new(&turns));
        link.run();
        prop_assert_eq!(link.faults(), Vec::<&String>::new());
        prop_assert_eq!(
            text(&link.server().received),
            text(&wanted.to_server),
            "to the server"
        );
        prop_assert_eq!(
            text(&link.client().received),
            text(&wanted.to_client),
            "to the client"
        );
        prop_assert_eq!(&link.kernel.expected, &wanted.expected);
        prop_assert!(link.kernel.live.is_empty(), "nothing outlives the session");
        let gave_up = link.kernel.event_kinds().into_iter().find(|kind| {
            matches!(
                kind,
                EventKind::PartialLineExpired | EventKind::LostSync { .. }
            )
        });
        prop_assert_eq!(gave_up, None);
        Ok(())
    }

    fn turns(&self, tuples: &ConntrackTuples) -> Vec<Turn> {
        let mut turns = after_login(&[]);
        for burst in &self.bursts {
            burst.write(tuples, &mut turns);
        }
        turns.push(client("QUIT"));
        turns.push(server("221 bye"));
        for (turn, (cuts, gap)) in turns.iter_mut().zip(&self.cuts) {
            turn.cuts = cuts.iter().map(|cut| cut % turn.text.len()).collect();
            turn.gap = Duration::from_millis(u64::from(*gap));
        }
        turns
    }
}

impl Burst {
    fn write(&self, tuples: &ConntrackTuples, turns: &mut Vec<Turn>) {
        let pairs = self.exchanges.iter().map(|exchange| exchange.turns(tuples));
        let (mut commands, mut replies): (Vec<Turn>, Vec<Turn>) = pairs.unzip();
        for (reply, behind) in replies.iter_mut().rev().zip(0..) {
            reply.lines_behind = behind;
        }
        if self.is_merged {
            commands = merge(commands);
        }
        // A server does not get commands that wait for its answer to an earlier one.
        let mut earlier = self.exchanges.iter().rev().skip(1);
        if self.is_merged && !earlier.any(|exchange| exchange.is_waited_for()) {
            replies = merge(replies);
        }
        for command in commands.iter_mut().skip(1) {
            command.is_pipelined = true;
        }
        turns.extend(commands);
        turns.extend(replies);
    }
}

impl Exchange {
    /// Whether the client's next lines wait for the answer.
    fn is_waited_for(&self) -> bool {
        matches!(
            self,
            Self::Port(_)
                | Self::PortZero(_)
                | Self::PortRejected(_)
                | Self::Eprt(_)
                | Self::BareLf(_)
                | Self::PortThird
                | Self::PortMalformed
                | Self::PortUnreadable
                | Self::PortOdd(_)
                | Self::Dele(_)
        )
    }

    /// Whether later announcements depend on the time of the server's answer.
    fn is_open_ended(&self) -> bool {
        matches!(
            self,
            Self::Retr
                | Self::Pasv(_)
                | Self::PasvBare(_)
                | Self::PasvOdd(_)
                | Self::Epsv(_)
                | Self::MultiLine(_)
        )
    }

    fn turns(self, tuples: &ConntrackTuples) -> (Turn, Turn) {
        let ends = |direction| tuples.sender(direction).ip();
        let own = ends(Direction::Original);
        let theirs = ends(Direction::Reply);
        match self {
            Self::Noop => (client("NOOP"), server("200 ok")),
            Self::Port(port) => (client(&port_line(own, port)), server("200 ok")),
            Self::PortZero(port) => (
                client(&port_line([0, 0, 0, 0].into(), port)),
                server("200 ok"),
            ),
            Self::PortThird => (client("PORT 1,2,3,4,19,137"), server("500 no")),
            Self::PortMalformed => (client("PORT 10,0,0,2,19,256"), server("501 no")),
            Self::PortUnreadable => (client("PORT 1"), server("501 no")),
            Self::PortOdd(port) => odd_port(own, port),
            Self::PortRejected(port) => (client(&port_line(own, port)), server("500 no")),
            Self::Eprt(port) => (client(&eprt_line(own, port)), server("200 ok")),
            Self::Pasv(port) => (
                client("PASV"),
                server(&format!(
                    "227 Entering Passive Mode ({}).",
                    host_port(theirs, port)
                )),
            ),
            Self::PasvBare(port) => {
                let numbers = host_port(theirs, port);
                (client("pasv"), server(&format!("227 ={numbers}")))
            }
            Self::PasvOdd(port) => odd_pasv(theirs, port),
            Self::PasvUnasked(port) => (
                client("NOOP"),
                server(&format!("227 Entering ({})", host_port(theirs, port))),
            ),
            Self::Epsv(port) => (
                client("EPSV"),
                server(&format!("229 Entering Extended Passive Mode (|||{port}|)")),
            ),
            Self::MultiLine(port) => {
                let numbers = host_port(theirs, port);
                let text = "227-wait\r\n227-(#)\r\n 227 x (#)\r\n2\r\n227 now (#)";
                (client("PASV"), server(&text.replace('#', &numbers)))
            }
            Self::Filler(length) => (
                client(&format!("SITE {}", "x".repeat(usize::from(length)))),
                server(&format!("200 {}", "y".repeat(usize::from(length)))),
            ),
            Self::BareLf(port) => (
                Turn::new(Role::Client, format!("{}\n", port_line(own, port))),
                server("200 ok"),
            ),
            Self::Abor => (
                Turn::new(Role::Client, b"\xff\xf4\xff\xf2ABOR\r\n").urgent(),
                server("226 aborted"),
            ),
            Self::Dele(length) => (
                client(&format!("dele {}", "z".repeat(usize::from(length)))),
                server("200 nothing was done, and that well"),
            ),
            Self::Retr => (client("RETR file"), server("150 here\r\n226 done")),
        }
    }
}

fn odd_port(own: std::net::IpAddr, port: u16) -> (Turn, Turn) {
    let numbers = host_port(own, port).replace(',', " , 0");
    (client(&format!("port\t{numbers}\r")), server("200 ok\r"))
}

fn odd_pasv(theirs: std::net::IpAddr, port: u16) -> (Turn, Turn) {
    let numbers = host_port(theirs, port).replace(',', ",\t");
    let answer = server(&format!("227({numbers} )\r"));
    (client("\tPASV now\r"), answer)
}

/// A policy that refuses DELE.
fn command_policy() -> Arc<CommandPolicy> {
    let commands = Verb::parse("DELE").into_iter().collect();
    Arc::new(CommandPolicy::new(vec![PolicyEntry {
        name: "no-deletes".into(),
        scope: Scope::default(),
        matcher: PolicyMatcher {
            commands,
            ..PolicyMatcher::default()
        },
        action: PolicyAction::Refuse,
        text: None,
    }]))
}

fn port_line(address: std::net::IpAddr, port: u16) -> String {
    format!("PORT {}", host_port(address, port))
}

fn host_port(address: std::net::IpAddr, port: u16) -> String {
    let octets = match address {
        std::net::IpAddr::V4(address) => address.octets(),
        // The form has no IPv6 address, so the line is refused.
        std::net::IpAddr::V6(_) => [10, 0, 0, 2],
    };
    let [a, b, c, d] = octets;
    format!("{a},{b},{c},{d},{},{}", port >> 8, port & 0xff)
}

fn eprt_line(address: std::net::IpAddr, port: u16) -> String {
    let family = if address.is_ipv4() { 1 } else { 2 };
    format!("EPRT |{family}|{address}|{port}|")
}

/// Several turns of one end in one write.
fn merge(turns: Vec<Turn>) -> Vec<Turn> {
    let whole = turns.into_iter().reduce(|mut whole, turn| {
        whole.text.extend(turn.text);
        whole.is_urgent |= turn.is_urgent;
        whole.lines_behind = turn.lines_behind;
        whole
    });
    whole.into_iter().collect()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

pub(crate) fn any_case() -> impl Strategy<Value = Case> {
    let ports = prop_oneof![Just(1024..=65_535_u16), Just(10_000..=10_009_u16)];
    (
        sample::select(Topology::ALL.to_vec()),
        ports,
        vec(any_burst(), 1..5),
        (any_config(), any_config()),
        vec(any_fate(), 0..120),
        vec((vec(any::<usize>(), 0..4), 0..40_u8), 0..16),
        any::<bool>(),
    )
        .prop_map(
            |(topology, ports, bursts, (client, server), fates, cuts, has_policy)| Case {
                has_policy,
                topology,
                ports,
                bursts,
                ends: Ends { client, server },
                fates: bounded(fates),
                cuts,
            },
        )
}

/// No more losses than a connection survives within the time that a partial line is held.
fn bounded(mut fates: Vec<Fate>) -> Vec<Fate> {
    let mut lost = 0;
    for fate in &mut fates {
        if *fate == Fate::Drop {
            lost += 1;
            if lost > 8 {
                *fate = Fate::Pass;
            }
        }
    }
    fates
}

fn any_burst() -> impl Strategy<Value = Burst> {
    (vec(any_exchange(), 1..8), any::<bool>()).prop_map(|(exchanges, is_merged)| Burst {
        exchanges: without_races(exchanges),
        is_merged,
    })
}

/// Removes races. The outside port of an announcement may depend on whether an earlier transfer is
/// over or an earlier PASV is answered. A client that does not wait cannot know that. And a 227
/// that nobody has asked for answers the PASV behind it, if that has come already.
fn without_races(exchanges: Vec<Exchange>) -> Vec<Exchange> {
    let mut is_racing = false;
    let asks = exchanges.iter().any(|exchange| exchange.is_open_ended());
    let waits = |exchange: &Exchange| {
        let is_unasked = matches!(exchange, Exchange::PasvUnasked(_));
        let is_left_out = (is_racing && exchange.is_waited_for()) || (asks && is_unasked);
        is_racing |= exchange.is_open_ended();
        !is_left_out
    };
    exchanges.into_iter().filter(waits).collect()
}

fn any_exchange() -> impl Strategy<Value = Exchange> {
    // No shorter port can be chosen for those with few digits, so that the line grows.
    let port = || prop_oneof![1024..=65_535_u16, 10_000..=10_009_u16, 1024..=1033_u16];
    prop_oneof![
        2 => Just(Exchange::Noop),
        4 => port().prop_map(Exchange::Port),
        1 => port().prop_map(Exchange::PortZero),
        1 => Just(Exchange::PortThird),
        1 => Just(Exchange::PortMalformed),
        1 => Just(Exchange::PortUnreadable),
        2 => port().prop_map(Exchange::PortOdd),
        1 => port().prop_map(Exchange::PortRejected),
        4 => port().prop_map(Exchange::Eprt),
        4 => port().prop_map(Exchange::Pasv),
        4 => port().prop_map(Exchange::PasvBare),
        2 => port().prop_map(Exchange::PasvOdd),
        1 => port().prop_map(Exchange::PasvUnasked),
        4 => port().prop_map(Exchange::Epsv),
        1 => port().prop_map(Exchange::MultiLine),
        3 => (1..600_u16).prop_map(Exchange::Filler),
        1 => port().prop_map(Exchange::BareLf),
        1 => Just(Exchange::Abor),
        1 => Just(Exchange::Retr),
        2 => (0..600_u16).prop_map(Exchange::Dele),
    ]
}

fn any_config() -> impl Strategy<Value = Config> {
    let isn = prop_oneof![any::<u32>(), (u32::MAX - 300)..=u32::MAX];
    let mss = sample::select(vec![40_u16, 100, 536, 536, 536, 1460]);
    let window = sample::select(vec![30_u16, 200, 2000, 65_000, 65_000]);
    let flags = (
        any::<bool>(),
        any::<bool>(),
        any::<bool>(),
        any::<bool>(),
        any::<bool>(),
    );
    (
        (isn, mss, window, 0..4_u8),
        flags,
        option::of(sample::select(vec![5_u64, 40, 200])),
        vec(1..100_u16, 0..12),
        option::of((0..200_u64, 1..900_u64)),
        option::of(20..300_u64),
    )
        .prop_map(
            |((isn, mss, window, scale), flags, delay, recuts, closed, alive)| Config {
                isn,
                mss,
                window,
                scale,
                has_timestamps: flags.0,
                has_sack: flags.1,
                has_nagle: flags.2,
                probes_with_byte: flags.3,
                keeps_alive_with_byte: flags.4,
                delayed_ack: delay.map(Duration::from_millis),
                recuts: VecDeque::from(recuts),
                closed_window: closed.map(|(from, length)| {
                    let millis = Duration::from_millis;
                    (millis(from), millis(from + length))
                }),
                keep_alive: alive.map(Duration::from_millis),
            },
        )
}

fn any_fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        8 => Just(Fate::Pass),
        1 => Just(Fate::Drop),
        1 => (0..50_u16).prop_map(Fate::Duplicate),
        1 => (1..50_u16).prop_map(Fate::Delay),
        2 => (1..60_u16).prop_map(Fate::Split),
    ]
}
