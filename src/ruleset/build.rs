//! Builds the table from its parameters.
//!
//! Two decisions are not obvious from the rules themselves:
//!
//! * Workers are chosen by a hash of the *conntrack's* original source port. The kernel's own
//!   spreading over queues hashes the addresses a packet carries at that hook, which under NAT
//!   differ between the two directions of one connection; both must reach the same worker.
//! * Map elements of IPv4 are taken out as soon as the connection is through; those of IPv6 wait
//!   for the daemon or their timeout, because nft 1.0.6 aborts on any text that deletes from a
//!   map with a concatenated IPv6 key, and this table must be expressible as text.

use super::{
    Backend, ChainType, ControlPort, Family, FlagTest, HelperObject, Hook, Marks, Params,
    QueueStatement, Rule, Ruleset, Set, SetKind, State,
    Statement::{self, *},
    TcpFlags, WhenAbsent,
    table::Chain,
};

/// After conntrack (-200), before anything is queued.
const ATTACHMENT: i32 = -160;
/// After conntrack (-200), before destination NAT (-100): a packet still has its own tuple.
const INSPECTION: i32 = -150;
/// Before the operator's destination NAT (-100).
const DESTINATION_NAT: i32 = -110;
/// Before the operator's source NAT (100).
const SOURCE_NAT: i32 = 90;
/// After all NAT, at the end of a packet's way through the machine.
const SWEEP: i32 = 110;
/// Before conntrack.
const RAW: i32 = -300;

const OPENING: FlagTest = FlagTest::Exactly {
    set: TcpFlags::SYN,
    of: TcpFlags(0x17),
};

impl Ruleset {
    /// The table for these parameters.
    #[must_use]
    pub fn build(params: &Params) -> Self {
        let queues_itself = params.queue_statement != QueueStatement::Elsewhere;
        let is_ours = params.backend == Backend::Nftables;
        let mut sets = Vec::new();
        let mut chains = vec![injected()];
        if queues_itself || !is_ours {
            sets.push(Set {
                why: "connections to or from these ports are FTP control connections",
                kind: SetKind::ControlPorts(params.control_ports.clone()),
            });
        }
        if queues_itself {
            chains.extend(inspection_chains(params));
        }
        if is_ours {
            sets.extend(Family::BOTH.into_iter().flat_map(expectation_sets));
            chains.push(admission(&params.marks));
        }
        if queues_itself || is_ours {
            chains.extend(entries(queues_itself, is_ours));
        }
        if is_ours {
            chains.extend(translation_chains(&params.marks));
            chains.extend(sweep_chains(&params.marks));
        } else {
            chains.extend(attachment_chains());
        }
        let helper = (!is_ours).then_some(HelperObject {
            why: "the daemon's connection tracking helper, which it registers when it starts",
        });
        Self {
            helper,
            sets,
            chains,
        }
    }
}

fn expectation_sets(family: Family) -> [Set; 3] {
    [
        Set {
            why: "connections that were announced and may come, once, from any source port",
            kind: SetKind::Permission(family),
        },
        Set {
            why: "where they go, if their control connection's announcer is behind NAT",
            kind: SetKind::Destination(family),
        },
        Set {
            why: "who they come from, if the connecting side is behind NAT",
            kind: SetKind::Source(family),
        },
    ]
}

fn injected() -> Chain {
    let rules = vec![rule("", [PacketMark(super::INJECTED_MARK), Notrack])];
    base(
        "what the daemon injects is no connection of this machine",
        "raw_output",
        (ChainType::Filter, "output", RAW),
        rules,
    )
}

/// `inspect` picks the packets the daemon must see, `deliver*` hand them to its workers.
fn inspection_chains(params: &Params) -> [Chain; 3] {
    let Marks { adjust, opaque, .. } = params.marks;
    let bypass = params.when_absent == WhenAbsent::Bypass;
    let handshake = TcpFlags::SYN.or(TcpFlags::ACK);
    let inspect = vec![
        rule("encrypted: nothing to read", [is_marked(opaque), Return]),
        rule(
            "every packet of a flow whose sequence numbers are adjusted, whatever runs or not",
            [is_marked(adjust), Goto("deliver_always")],
        ),
        rule(
            "the beginning and the end of a connection",
            [
                Flags(FlagTest::Exactly {
                    set: handshake,
                    of: handshake,
                }),
                Goto("deliver"),
            ],
        ),
        rule(
            "",
            [
                Flags(FlagTest::Any(TcpFlags::FIN.or(TcpFlags::RST))),
                Goto("deliver"),
            ],
        ),
        rule("segments with payload", [HasPayload, Goto("deliver")]),
    ];
    [
        chain(
            "to the workers; without a daemon as `when_absent` says",
            "deliver",
            deliver(params, bypass),
        ),
        chain(
            "to the workers; without a daemon the packet is dropped",
            "deliver_always",
            deliver(params, false),
        ),
        chain(
            "which packets of a control connection the daemon must see",
            "inspect",
            inspect,
        ),
    ]
}

fn deliver(params: &Params, bypass: bool) -> Vec<Rule> {
    let through_xt = params.queue_statement == QueueStatement::XtTarget;
    let queues = params.queues.clone();
    let of = u16::try_from(queues.clone().count()).unwrap_or(u16::MAX);
    let to = |number| Queue {
        number,
        bypass,
        through_xt,
    };
    if of == 1 {
        return queues.map(|number| rule("", [to(number)])).collect();
    }
    queues
        .zip(0..)
        .map(|(number, index)| rule("", [Tcp, Share { index, of }, to(number)]))
        .collect()
}

/// Recognises an expected connection by its first packet.
fn admission(marks: &Marks) -> Chain {
    let mut rules = vec![rule(
        "a repeated first packet: already admitted",
        [is_marked(marks.data), Return],
    )];
    rules.extend(Family::BOTH.map(|family| {
        rule(
            "",
            [
                Flags(OPENING),
                Expected(family),
                Consume(family),
                SetConnectionMark(marks.data),
            ],
        )
    }));
    chain(
        "an expected connection is admitted once, and known by its mark from then on",
        "admit",
        rules,
    )
}

/// Gives each control connection the helper, before its first packet is through: no later one
/// can. Which port a server listens on behind a port-forward shows only after destination NAT.
fn attachment_chains() -> [Chain; 4] {
    let attach = |why, name, hook, port| {
        let rules = vec![rule(
            "",
            [Tcp, State(State::New), ControlPort(port), AttachHelper],
        )];
        base(why, name, (ChainType::Filter, hook, ATTACHMENT), rules)
    };
    let (dialled, listening) = (ControlPort::Dialled, ControlPort::Listening);
    [
        attach(
            "only a connection with a helper can have expectations",
            "attach_prerouting",
            "prerouting",
            dialled,
        ),
        attach("", "attach_output", "output", dialled),
        attach(
            "the same behind a port-forward from another port",
            "attach_input",
            "input",
            listening,
        ),
        attach("", "attach_postrouting", "postrouting", listening),
    ]
}

/// Where packets enter the table.
fn entries(queues_itself: bool, admits: bool) -> [Chain; 2] {
    let mut dispatch = Vec::new();
    if admits {
        dispatch.push(rule("", [Tcp, State(State::New), Jump("admit")]));
    }
    if queues_itself {
        dispatch.extend([ControlPort::Dialled, ControlPort::Listening].map(|port| {
            rule(
                "",
                [
                    Tcp,
                    State(State::Established),
                    ControlPort(port),
                    Goto("inspect"),
                ],
            )
        }));
    }
    let mut prerouting = vec![rule("the output chain has seen it", [FromLoopback, Return])];
    prerouting.extend(dispatch.iter().cloned());
    [
        base(
            "",
            "prerouting",
            (ChainType::Filter, "prerouting", INSPECTION),
            prerouting,
        ),
        base(
            "",
            "output",
            (ChainType::Filter, "output", INSPECTION),
            dispatch,
        ),
    ]
}

fn translation_chains(marks: &Marks) -> [Chain; 6] {
    let nat = |why, name, hook, priority, target| {
        base(
            why,
            name,
            (ChainType::Nat, hook, priority),
            vec![rule("", [is_marked(marks.data), Goto(target)])],
        )
    };
    [
        chain(
            "as the map says, else to where it goes already; no NAT rule of yours is asked",
            "to_announcer",
            vec![
                rule("", [TranslateDestination(Family::Ipv4)]),
                rule("", [TranslateDestination(Family::Ipv6)]),
                rule("", [KeepDestination(Family::Ipv4)]),
                rule("", [KeepDestination(Family::Ipv6)]),
            ],
        ),
        chain(
            "as the map says, else from where it comes already",
            "from_connector",
            vec![
                rule("", [Tcp, TranslateSource(Family::Ipv4)]),
                rule("", [Tcp, TranslateSource(Family::Ipv6)]),
                rule("", [KeepSource(Family::Ipv4)]),
                rule("", [KeepSource(Family::Ipv6)]),
            ],
        ),
        nat(
            "",
            "nat_prerouting",
            "prerouting",
            DESTINATION_NAT,
            "to_announcer",
        ),
        nat("", "nat_output", "output", DESTINATION_NAT, "to_announcer"),
        nat("", "nat_input", "input", SOURCE_NAT, "from_connector"),
        nat(
            "",
            "nat_postrouting",
            "postrouting",
            SOURCE_NAT,
            "from_connector",
        ),
    ]
}

fn sweep_chains(marks: &Marks) -> [Chain; 3] {
    let entry = |name, hook| {
        let rules = vec![rule(
            "",
            [Tcp, State(State::New), is_marked(marks.data), Goto("sweep")],
        )];
        base("", name, (ChainType::Filter, hook, SWEEP), rules)
    };
    [
        chain(
            "the connection has its NAT: its map elements are done",
            "sweep",
            vec![
                rule("", [Tcp, ForgetDestination]),
                rule("", [Tcp, ForgetSource]),
            ],
        ),
        entry("sweep_input", "input"),
        entry("sweep_postrouting", "postrouting"),
    ]
}

const fn is_marked(bits: u32) -> Statement {
    ConnectionMark { bits, set: true }
}

fn rule<const N: usize>(why: &'static str, statements: [Statement; N]) -> Rule {
    Rule {
        why,
        statements: statements.into(),
    }
}

const fn chain(why: &'static str, name: &'static str, rules: Vec<Rule>) -> Chain {
    Chain {
        why,
        name,
        hook: None,
        rules,
    }
}

const fn base(
    why: &'static str,
    name: &'static str,
    (chain_type, hook, priority): (ChainType, &'static str, i32),
    rules: Vec<Rule>,
) -> Chain {
    let hook = Some(Hook {
        chain_type,
        name: hook,
        priority,
    });
    Chain {
        why,
        name,
        hook,
        rules,
    }
}
