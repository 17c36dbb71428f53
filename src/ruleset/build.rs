//! Builds the table from its parameters.
//!
//! One decision is not obvious from the rules themselves. A hash of *conntrack's* original source
//! port chooses the worker, because both directions of a connection must reach the same one. The
//! kernel's own spreading over queues hashes the addresses of the packet, which differ between the
//! directions under NAT.

mod admission;
mod attachment;
mod bridge;
mod chain_parts;
mod fast_open;
mod ftps_chains;
mod pickup_chains;

use ipnetwork::IpNetwork;

use chain_parts::{HANDSHAKE, INSPECTION, OPENING, RAW, base, chain, filter, nat, not_twice, rule};

use super::{
    AcceptLine, Backend, ControlPort, Family, FlagTest, HELPER, KeySource, Labels, Params,
    QueueStatement, Rule, Ruleset, Set, SetKind, State, Statement::*, WhenAbsent, statement::Chain,
};
use crate::proto::{net::Layer, packet::Flags as TcpFlags};

/// Before the operator's destination NAT (-100).
const DESTINATION_NAT: i32 = -110;
/// Before the operator's source NAT (100).
const SOURCE_NAT: i32 = 90;

impl Ruleset {
    /// The table for these parameters.
    #[must_use]
    pub fn build(params: &Params) -> Self {
        let queues_itself = params.queue_statement != QueueStatement::Elsewhere;
        let is_ours = params.backend == Backend::Nftables;
        let mut sets = Vec::new();
        let mut chains = vec![injected(), denied_iif(&params.data_sources)];
        sets.extend(Family::BOTH.map(|family| Set {
            why: "interfaces of the announcer: a data connection that arrives by one is forged",
            kind: SetKind::Spoofed(family),
        }));
        sets.push(Set {
            why: "connections to or from these ports are FTP control connections",
            kind: SetKind::ControlPorts(params.control_ports.clone()),
        });
        chains.extend(fast_open::chains());
        if queues_itself {
            chains.extend(inspection_chains(params, not_twice().into()));
            chains.extend(pickup_chains::chains(params));
        }
        if is_ours {
            sets.extend(Family::BOTH.into_iter().flat_map(admission::sets));
            chains.extend(admission::chains(params));
        } else {
            chains.push(attachment::label_room(params));
        }
        if let (Some(ports), true) = (&params.tls_ports, queues_itself) {
            sets.extend(Family::BOTH.map(ftps_chains::set));
            chains.extend(ftps_chains::chains(ports, params));
        }
        if queues_itself {
            chains.extend(entries(params));
        }
        if is_ours {
            chains.extend(translation_chains(params));
        } else {
            chains.extend(attachment::chains());
        }
        let helper = (!is_ours).then_some(attachment::HELPER_OBJECT);
        Self {
            layer: Layer::Routed,
            advice: advice(params),
            helper,
            sets,
            chains,
        }
    }
}

fn advice(params: &Params) -> Vec<String> {
    let accept = AcceptLine::new(params.backend, params.marks.data).nft;
    let mut advice = vec![format!(
        "ftp-alg's own table, for the control ports {:?}.",
        params.control_ports
    )];
    advice.extend(match params.backend {
        Backend::Nftables => vec![
            format!("Your own rules must accept expected data connections: {accept}"),
            format!(
                "The same by their label, in whatever chain: ct label {} accept",
                params.labels.data.number()
            ),
            "A flowtable must not be given control connections: no rule sees them any more then."
                .to_owned(),
        ],
        Backend::Conntrack => vec![
            format!("Expected data connections are related: {accept}"),
            format!("Loads only while the helper {HELPER} is registered, which the daemon does."),
        ],
    });
    if let Some(ports) = &params.tls_ports {
        let (first, last) = (ports.start(), ports.end());
        advice.push(format!(
            "tls_data = \"range\": data connections of encrypted sessions, ports {first}-{last}."
        ));
    }
    if params.queue_statement == QueueStatement::XtTarget {
        advice.push(
            "This text does not load: the kernel lacks nft's queue statement (CONFIG_NFT_QUEUE)."
                .to_owned(),
        );
        advice.push(
            "The daemon loads the same table with the NFQUEUE target; by hand use iptables."
                .to_owned(),
        );
    }
    advice
}

fn injected() -> Chain {
    let rules = vec![rule(
        "",
        [PacketPriority(super::INJECTED_PRIORITY), Notrack],
    )];
    base(
        "packets that the daemon injects are no connections of this machine",
        "raw_output",
        filter("output", RAW),
        rules,
    )
}

/// Before conntrack, because conntrack would use the expectation up.
fn denied_iif(networks: &[IpNetwork]) -> Chain {
    let whole = Family::BOTH.map(KeySource::Whole);
    let whole = whole.map(|source| rule("", [Flags(OPENING), Spoofed(source), Drop]));
    let of_networks = networks.iter().map(|network| {
        let spoofed = Spoofed(KeySource::Network(*network));
        rule("", [Flags(OPENING), FromNetwork(*network), spoofed, Drop])
    });
    let rules = whole.into_iter().chain(of_networks).collect();
    base(
        "packets in the connector's name from the announcer's side are spoofed",
        "spoofed_prerouting",
        filter("prerouting", RAW),
        rules,
    )
}

/// `inspect` picks the packets that the daemon must see, `deliver*` hand them to its workers.
/// `first` are the rules that come before.
fn inspection_chains(params: &Params, first: Vec<Rule>) -> [Chain; 3] {
    let Labels { adjust, opaque, .. } = params.labels;
    let bypass = params.when_absent == WhenAbsent::Bypass;
    let inspect = [
        rule(
            "left to the kernel's own helper",
            [Label(adjust), Label(opaque), Return],
        ),
        rule(
            "every packet of a flow with a sequence offset, even while no daemon runs",
            [Label(adjust), Goto("deliver_always")],
        ),
        rule(
            "a flood of handshakes passes unseen: the greeting makes such a connection known",
            [Flags(HANDSHAKE), Beyond(super::HANDSHAKES_A_SECOND), Return],
        ),
        rule(
            "the beginning and the end of a connection",
            [Flags(HANDSHAKE), Goto("deliver")],
        ),
        rule(
            "",
            [
                Flags(FlagTest::Any(TcpFlags::FIN.union(TcpFlags::RST))),
                Goto("deliver"),
            ],
        ),
        rule(
            "encrypted: nothing to read, unless it is in the clear again (CCC)",
            [Label(opaque), BeginsAsText, Goto("deliver")],
        ),
        rule("", [Label(opaque), Return]),
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
            "the packets of a control connection that the daemon must see",
            "inspect",
            first.into_iter().chain(inspect).collect(),
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

/// The entrances of inspection. Other traffic leaves each rule early: a packet of an established
/// connection evaluates some fifteen expressions here.
fn entries(params: &Params) -> [Chain; 2] {
    let mut dispatch = Vec::from([ControlPort::Dialled, ControlPort::Listening].map(|port| {
        rule(
            "",
            [
                State(State::Established),
                Tcp,
                ControlPort(port),
                Goto("inspect"),
            ],
        )
    }));
    dispatch.extend(pickup_chains::elsewhere(params));
    [
        base(
            "",
            "prerouting",
            filter("prerouting", INSPECTION),
            dispatch.clone(),
        ),
        base("", "output", filter("output", INSPECTION), dispatch),
    ]
}

fn translation_chains(params: &Params) -> [Chain; 6] {
    let data = params.labels.data;
    let translate = |name, hook, target| {
        let rules = vec![rule("", [Label(data), Goto(target)])];
        base("", name, hook, rules)
    };
    let (destination, source) = (DESTINATION_NAT, SOURCE_NAT);
    [
        chain(
            "as the map says, else unchanged; no NAT rule of yours is asked",
            "to_announcer",
            to_announcer(&params.data_sources),
        ),
        chain(
            "as the map says, else unchanged",
            "from_connector",
            from_connector(&params.data_sources),
        ),
        translate(
            "nat_prerouting",
            nat("prerouting", destination),
            "to_announcer",
        ),
        translate("nat_output", nat("output", destination), "to_announcer"),
        translate("nat_input", nat("input", source), "from_connector"),
        translate(
            "nat_postrouting",
            nat("postrouting", source),
            "from_connector",
        ),
    ]
}

fn to_announcer(networks: &[IpNetwork]) -> Vec<Rule> {
    let whole =
        Family::BOTH.map(|family| rule("", [TranslateDestination(KeySource::Whole(family))]));
    let of_networks = networks.iter().map(|network| {
        let by_map = TranslateDestination(KeySource::Network(*network));
        rule("", [FromNetwork(*network), by_map])
    });
    let keep = Family::BOTH.map(|family| rule("", [KeepDestination(family)]));
    whole.into_iter().chain(of_networks).chain(keep).collect()
}

fn from_connector(networks: &[IpNetwork]) -> Vec<Rule> {
    let whole =
        Family::BOTH.map(|family| rule("", [Tcp, TranslateSource(KeySource::Whole(family))]));
    let of_networks = networks.iter().map(|network| {
        let by_map = TranslateSource(KeySource::Network(*network));
        rule("", [Tcp, FromNetwork(*network), by_map])
    });
    let keep = Family::BOTH.map(|family| rule("", [KeepSource(family)]));
    whole.into_iter().chain(of_networks).chain(keep).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ruleset::Statement;

    fn chain_named(params: &Params, name: &str) -> Chain {
        let chains = Ruleset::build(params).chains;
        chains.into_iter().find(|chain| chain.name == name).unwrap()
    }

    fn queues(rules: &[Rule]) -> Vec<(u16, bool)> {
        let queue = |statement: &Statement| {
            let Queue { number, bypass, .. } = *statement else {
                return None;
            };
            Some((number, bypass))
        };
        rules
            .iter()
            .flat_map(|rule| rule.statements.iter().filter_map(queue))
            .collect()
    }

    #[test]
    fn an_adjusted_flow_is_queued_even_when_it_goes_encrypted() {
        let Labels { adjust, opaque, .. } = Labels::default();
        let rules = chain_named(&Params::default(), "inspect").rules;
        let first = |bits| {
            let tests = |rule: &Rule| rule.statements[0] == Label(bits);
            rules.iter().position(tests).unwrap()
        };
        assert!(first(adjust) < first(opaque));
    }

    #[test]
    fn of_an_encrypted_flow_its_ends_and_what_begins_as_text_are_queued() {
        let Labels { adjust, opaque, .. } = Labels::default();
        let rules = chain_named(&Params::default(), "inspect").rules;
        let statements: Vec<_> = rules.into_iter().map(|rule| rule.statements).collect();
        let place = |wanted: &[Statement]| {
            let found = statements.iter().position(|rule| rule == wanted);
            found.unwrap_or_else(|| panic!("no rule {wanted:?}"))
        };
        let ends = Flags(FlagTest::Any(TcpFlags::FIN.union(TcpFlags::RST)));
        let order = [
            place(&[Label(adjust), Label(opaque), Return]),
            place(&[Label(adjust), Goto("deliver_always")]),
            place(&[ends, Goto("deliver")]),
            place(&[Label(opaque), BeginsAsText, Goto("deliver")]),
            place(&[Label(opaque), Return]),
            place(&[HasPayload, Goto("deliver")]),
        ];
        assert!(order.is_sorted(), "{order:?}");
    }

    #[test]
    fn first_packets_are_queued_to_the_first_worker_and_bypassed_where_any_is_granted_something() {
        let tls_ports = Some(50_000..=50_099);
        let params = Params {
            queues: 3..=4,
            when_absent: WhenAbsent::Drop,
            tls_ports: tls_ports.clone(),
            ..Params::default()
        };
        for name in ["tls_prerouting", "tls_output"] {
            let chain = chain_named(&params, name);
            assert_eq!(queues(&chain.rules), [(3, true); 2]);
            // Before conntrack.
            assert!(chain.hook.is_some_and(|hook| hook.priority < -200));
        }
        let without = |params: &Params| {
            let Ruleset { chains, sets, .. } = Ruleset::build(params);
            let is_grants = |set: &Set| matches!(set.kind, SetKind::FtpsPairs(_));
            !chains.iter().any(|chain| chain.name.starts_with("tls_"))
                && !sets.iter().any(is_grants)
        };
        assert!(without(&Params::default()));
        assert!(!without(&params));
        let queue_statement = QueueStatement::Elsewhere;
        let elsewhere = Params {
            queue_statement,
            tls_ports,
            ..Params::default()
        };
        assert!(without(&elsewhere));
    }

    #[test]
    fn an_adjusted_flow_is_never_bypassed() {
        for when_absent in [WhenAbsent::Bypass, WhenAbsent::Drop] {
            let params = Params {
                when_absent,
                queues: 3..=4,
                ..Params::default()
            };
            let always = chain_named(&params, "deliver_always").rules;
            assert_eq!(queues(&always), [(3, false), (4, false)]);
            let bypass = when_absent == WhenAbsent::Bypass;
            let deliver = chain_named(&params, "deliver").rules;
            assert_eq!(queues(&deliver), [(3, bypass), (4, bypass)]);
        }
    }

    #[test]
    fn every_chain_that_is_jumped_to_exists_and_comes_first() {
        let ruleset = Ruleset::build(&Params::default());
        let mut known = Vec::new();
        for chain in &ruleset.chains {
            for statement in chain.rules.iter().flat_map(|rule| &rule.statements) {
                if let Jump(target) | Goto(target) = statement {
                    assert!(known.contains(target), "{} jumps to {target}", chain.name);
                }
            }
            known.push(chain.name);
        }
    }

    #[test]
    fn where_iptables_queues_the_table_does_not() {
        let queue_statement = QueueStatement::Elsewhere;
        let ruleset = Ruleset::build(&Params {
            queue_statement,
            ..Params::default()
        });
        assert!(
            ruleset
                .chains
                .iter()
                .all(|chain| queues(&chain.rules).is_empty())
        );
    }
}
