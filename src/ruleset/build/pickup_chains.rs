//! Shows the daemon the packets with which conntrack would pick a connection up in its middle, and
//! now and then the first one of a connection that it should read and cannot.
//!
//! Conntrack has lost the entry of such a connection: it has expired, or somebody has deleted it.
//! With the entry its NAT and its label are gone. The daemon puts back the entries of the
//! connections with a sequence offset. The packets of these must not pass untranslated. With a FIN
//! or RST conntrack picks nothing up, and with `nf_conntrack_tcp_loose = 0` with no packet: it
//! calls them invalid. They have no entry, so their own ports are compared.

use super::chain_parts::{HANDSHAKE, base, filter, not_twice, rule};
use crate::{
    proto::packet::Flags as TcpFlags,
    ruleset::{
        ControlPort, FlagTest, HANDSHAKES_A_SECOND, PICKUP_QUEUE, Params, QueueStatement, Rule,
        State,
        Statement::{
            self, Beyond, ControlPort as ToControlPort, Drop, Flags, Queue, Rarely,
            State as InState, ToPorts,
        },
        statement::Chain,
    },
};

/// After conntrack (-200), and before our helper is attached (-160): with a helper of userspace, a
/// packet that was queued is confirmed before its NAT is decided (`nf_conntrack_update`).
const PICKUP: i32 = -170;

/// The port of FTP (RFC 959 §5.2, IANA).
const FTP: u16 = 21;

/// No flag of a handshake: a first packet that begins no connection.
const MIDDLE: FlagTest = FlagTest::None(TcpFlags::SYN);

pub(super) fn chains(params: &Params) -> [Chain; 2] {
    // A connection with an offset waits while no daemon runs.
    let queue = to_daemon(params, false);
    let of_port = |port| {
        let picked_up = [InState(State::Unknown), ToControlPort(port), Flags(MIDDLE)];
        let with = |rest: &[Statement]| Rule {
            why: "",
            statements: [&picked_up, rest].concat(),
        };
        [
            with(&[Beyond(HANDSHAKES_A_SECOND), Drop]),
            with(std::slice::from_ref(&queue)),
        ]
    };
    let rules = |told: Option<Rule>| -> Vec<Rule> {
        let ports = [ControlPort::Destination, ControlPort::Source];
        let queued = ports.into_iter().flat_map(of_port);
        not_twice().into_iter().chain(queued).chain(told).collect()
    };
    [
        base(
            "connections that conntrack has forgotten: the daemon puts their entries back",
            "pickup_prerouting",
            filter("prerouting", PICKUP),
            rules(Some(untracked(params))),
        ),
        base("", "pickup_output", filter("output", PICKUP), rules(None)),
    ]
}

fn to_daemon(params: &Params, bypass: bool) -> Statement {
    Queue {
        number: PICKUP_QUEUE,
        bypass,
        through_xt: params.queue_statement == QueueStatement::XtTarget,
    }
}

/// SYNPROXY does not track the client's handshake either, but that of the server.
fn untracked(params: &Params) -> Rule {
    rule(
        "a control connection that conntrack does not see: the daemon says so",
        [
            InState(State::Untracked),
            ToControlPort(ControlPort::Source),
            Flags(HANDSHAKE),
            Rarely,
            to_daemon(params, true),
        ],
    )
}

/// What passes at the port of FTP, where that is no control port. Control connections have left the
/// chain before it.
pub(super) fn elsewhere(params: &Params) -> Option<Rule> {
    let is_read = params.control_ports.contains(&FTP);
    (!is_read).then(|| {
        rule(
            "FTP at its own port, which is none of the control ports: the daemon says so",
            [
                InState(State::Established),
                ToPorts {
                    first: FTP,
                    last: FTP,
                },
                Rarely,
                to_daemon(params, true),
            ],
        )
    })
}
