//! Shows the daemon the packets with which conntrack would pick a connection up in its middle, and
//! now and then the first one of a connection that it should read and cannot.
//!
//! Conntrack has lost the entry of such a connection: it has expired, or somebody has deleted it.
//! With the entry its NAT and its label are gone. The daemon puts back the entries of the
//! connections with a sequence offset. The packets of these must not pass untranslated. Of every
//! other connection no payload passes before the server has answered, and what passes first comes
//! from the client. So nothing passes unread, and the new entry has the client's direction for its
//! original one.
//!
//! With a FIN or RST conntrack picks nothing up, and with `nf_conntrack_tcp_loose = 0` with no
//! packet: it calls them invalid. They have no entry, so their own ports are compared.

use super::chain_parts::{HANDSHAKE, INSPECTION, RAW, base, filter, not_twice, rule};
use crate::{
    proto::packet::Flags as TcpFlags,
    ruleset::{
        ControlPort, FlagTest, HANDSHAKES_A_SECOND, PICKUP_QUEUE, Params, QueueStatement, Rule,
        State,
        Statement::{
            self, Beyond, Confirmed, ControlPort as ToControlPort, Drop, Flags, HasPayload, Queue,
            Rarely, Return, State as InState, ToPorts,
        },
        statement::Chain,
    },
};

/// The port of FTP (RFC 959 §5.2, IANA).
const FTP: u16 = 21;

/// No flag of a handshake: a first packet that begins no connection.
const MIDDLE: FlagTest = FlagTest::None(TcpFlags::SYN);

pub(super) fn chains(params: &Params) -> [Chain; 4] {
    // After destination NAT, at whatever priority the operator does it.
    let forwarded = |why, name, hook| {
        let state = [InState(State::New), HasPayload];
        let queued = to_queue(params, &state, ControlPort::Destination);
        base(why, name, filter(hook, RAW), queued.into())
    };
    let told = Some(untracked(params));
    [
        base(
            "connections that conntrack has forgotten: the daemon puts their entries back",
            "pickup_prerouting",
            filter("prerouting", INSPECTION),
            unknown(params, not_twice(), told),
        ),
        base(
            "",
            "pickup_output",
            filter("output", INSPECTION),
            unknown(params, not_twice(), None),
        ),
        forwarded(
            "the same behind a port-forward from another port",
            "pickup_input",
            "input",
        ),
        forwarded("", "pickup_postrouting", "postrouting"),
    ]
}

/// The same for connections that a bridge forwards. A bridge has no port-forward.
pub(super) fn bridge_chain(params: &Params) -> Chain {
    base(
        "connections that conntrack has forgotten: none of their packets passes unread",
        "pickup_forward",
        filter("forward", INSPECTION),
        unknown(params, [known()], None),
    )
}

/// The packets without an entry, after the rules `first`, and before the rule `last`.
fn unknown(
    params: &Params,
    first: impl IntoIterator<Item = Rule>,
    last: Option<Rule>,
) -> Vec<Rule> {
    let ports = [ControlPort::Destination, ControlPort::Source];
    let state = [InState(State::Unknown)];
    let queued = ports.map(|port| to_queue(params, &state, port));
    first
        .into_iter()
        .chain(queued.into_iter().flatten())
        .chain(last)
        .collect()
}

/// Other bytes cannot take a frame's place on every kernel. So a bridged connection is read before
/// the server has answered.
fn known() -> Rule {
    rule(
        "picked up, and not answered yet",
        [InState(State::New), Confirmed, Return],
    )
}

/// Queues the packets in the middle of a connection that have this state and this control port,
/// and drops those that are too many.
fn to_queue(params: &Params, state: &[Statement], port: ControlPort) -> [Rule; 2] {
    // A connection with an offset waits while no daemon runs.
    let queue = to_daemon(params, false);
    let picked_up = [state, &[ToControlPort(port), Flags(MIDDLE)]].concat();
    let with = |rest: &[Statement]| Rule {
        why: "",
        statements: [&picked_up, rest].concat(),
    };
    [
        with(&[Beyond(HANDSHAKES_A_SECOND), Drop]),
        with(std::slice::from_ref(&queue)),
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
