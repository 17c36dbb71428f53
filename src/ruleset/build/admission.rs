//! Recognises expected data connections (backend `nftables`).
//!
//! Three decisions are not obvious from the rules themselves:
//!
//! * An expectation is used once, because its element carries a limit of one packet a day, and no
//!   timeout is as long. A rule that deletes the element would leave an expired one behind until
//!   the kernel collects it, once a second. After some sixteen of the same key the kernel refuses
//!   another (EBUSY), and the transaction fails. The limit also has a lock: of two packets that
//!   come at the same time, one passes.
//! * The lasting sign of such a connection is a bit of its label. Operators copy the conntrack mark
//!   to packets and route by it, so the connection gets the mark of its control connection, as
//!   the kernel gives it to a connection that it expects (`init_conntrack`). It has that mark
//!   before the operator's mangle chains restore it.
//! * Operators accept these connections by a bit of the mark all the same, which every firewall can
//!   test. Only a packet that begins a connection needs it, and only where it is filtered. So the
//!   bit comes after the mangle chains and goes when the packet has passed.

use super::chain_parts::{OPENING, base, chain, filter, not_twice, rule};
use crate::ruleset::{
    Family, KeySource, Params, Rule, Set, SetKind, State,
    Statement::{
        ClearConnectionMark, ConnectionMark, Expected, Flags, FromNetwork, InheritMark, Jump,
        Label, Return, SetConnectionMark, SetLabel, State as InState, Tcp,
    },
    statement::Chain,
};

/// After conntrack (-200), before the operator's mangle chains (-150).
const ADMISSION: i32 = -155;

/// After the operator's mangle chains (-150), before those that filter (0).
const MARKING: i32 = -149;

/// After all chains of iptables, whose last is at 300.
const UNMARKING: i32 = 500;

pub(super) fn sets(family: Family) -> [Set; 4] {
    [
        Set {
            why: "connections that were announced and may come, once, from any source port",
            kind: SetKind::Permission(family),
        },
        Set {
            why: "the conntrack marks of their control connections, where these have one",
            kind: SetKind::MasterMark(family),
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

/// Those of frames that a bridge forwards. A bridge translates nothing.
pub(super) fn bridge_sets(family: Family) -> [Set; 2] {
    let [permission, mark, ..] = sets(family);
    [permission, mark]
}

/// The chains for them. The hook `prerouting` of a bridge sees frames to this machine as well, but
/// no element of this table admits them.
pub(super) fn bridge_chains(params: &Params) -> [Chain; 4] {
    [
        admission(params, Vec::new()),
        base(
            "before your mangle chains, which find the mark of the control connection",
            "admit_prerouting",
            filter("prerouting", ADMISSION),
            admit(params),
        ),
        base(
            "for your filters the mark has our bit while a first packet passes",
            "mark_forward",
            filter("forward", MARKING),
            vec![marking(params)],
        ),
        base(
            "no later packet gets our bit from the mark",
            "unmark_postrouting",
            filter("postrouting", UNMARKING),
            vec![unmarking(params)],
        ),
    ]
}

pub(super) fn chains(params: &Params) -> [Chain; 8] {
    let mark = |why, name, hook| base(why, name, filter(hook, MARKING), vec![marking(params)]);
    let unmark =
        |why, name, hook| base(why, name, filter(hook, UNMARKING), vec![unmarking(params)]);
    [
        admission(params, not_twice().into()),
        base(
            "before your mangle chains, which find the mark of the control connection",
            "admit_prerouting",
            filter("prerouting", ADMISSION),
            admit(params),
        ),
        base(
            "",
            "admit_output",
            filter("output", ADMISSION),
            admit(params),
        ),
        mark(
            "for your filters the mark has our bit while a first packet passes",
            "mark_input",
            "input",
        ),
        mark("", "mark_forward", "forward"),
        mark("", "mark_output", "output"),
        unmark(
            "no later packet gets our bit from the mark",
            "unmark_input",
            "input",
        ),
        unmark("", "unmark_postrouting", "postrouting"),
    ]
}

fn admit(params: &Params) -> Vec<Rule> {
    vec![
        unmarking(params),
        rule("", [InState(State::New), Tcp, Jump("admit")]),
    ]
}

/// Recognises an expected connection by its first packet, if it passes the rules that come first.
fn admission(params: &Params, mut rules: Vec<Rule>) -> Chain {
    let data = params.labels.data;
    rules.push(rule(
        "a repeated first packet: already admitted",
        [Label(data), Return],
    ));
    rules.extend(Family::BOTH.map(|family| {
        rule(
            "",
            [
                Flags(OPENING),
                Expected(KeySource::Whole(family)),
                SetLabel(data),
                InheritMark(KeySource::Whole(family)),
            ],
        )
    }));
    rules.extend(params.data_sources.iter().map(|network| {
        rule(
            "from any address of the server's network",
            [
                Flags(OPENING),
                FromNetwork(*network),
                Expected(KeySource::Network(*network)),
                SetLabel(data),
                InheritMark(KeySource::Network(*network)),
            ],
        )
    }));
    chain(
        "an expected connection is admitted once, and known by its label from then on",
        "admit",
        rules,
    )
}

fn marking(params: &Params) -> Rule {
    rule(
        "",
        [
            InState(State::New),
            Label(params.labels.data),
            SetConnectionMark(params.marks.data),
        ],
    )
}

/// A packet that the operator's filter drops does not reach the last chains. The next packet takes
/// the bit back before the mangle chains restore it.
fn unmarking(params: &Params) -> Rule {
    rule(
        "",
        [
            ConnectionMark(params.marks.data),
            Label(params.labels.data),
            ClearConnectionMark(params.marks.data),
        ],
    )
}
