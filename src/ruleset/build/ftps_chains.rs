//! Shows the daemon the first packets of data connections of encrypted sessions.

use std::ops::RangeInclusive;

use super::chain_parts::{OPENING, RAW, base, filter, not_twice, rule};
use crate::ruleset::{
    Family, Params, QueueStatement, Rule, Set, SetKind,
    Statement::{Flags, FromFtpsPair, Queue, ToPorts},
    statement::Chain,
};

pub(super) const fn set(family: Family) -> Set {
    Set {
        why: "encrypted sessions, by client and server: the daemon sees who may open what",
        kind: SetKind::FtpsPairs(family),
    }
}

/// Before conntrack, so that conntrack finds the expectation that the daemon makes. The packet goes
/// on in any case, because this opens nothing.
pub(super) fn chains(ports: &RangeInclusive<u16>, params: &Params) -> [Chain; 2] {
    let rules = || -> Vec<Rule> {
        let queued = Family::BOTH.map(|family| {
            let ports = ToPorts {
                first: *ports.start(),
                last: *ports.end(),
            };
            let queue = Queue {
                number: *params.queues.start(),
                bypass: true,
                through_xt: params.queue_statement == QueueStatement::XtTarget,
            };
            rule("", [Flags(OPENING), ports, FromFtpsPair(family), queue])
        });
        not_twice().into_iter().chain(queued).collect()
    };
    [
        base(
            "data connections of encrypted sessions, before conntrack sees them",
            "tls_prerouting",
            filter("prerouting", RAW),
            rules(),
        ),
        base("", "tls_output", filter("output", RAW), rules()),
    ]
}
