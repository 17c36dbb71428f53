//! Keeps bytes of a client from its server that nobody would read (TCP Fast Open, RFC 7413).

use super::chain_parts::{RAW, base, filter, rule};
use crate::{
    proto::packet::Flags as TcpFlags,
    ruleset::{
        ControlPort, FlagTest,
        Statement::{ControlPort as ToControlPort, Drop, Flags, HasPayload},
        statement::Chain,
    },
};

/// A SYN that answers none, whatever else is set.
const SYN: FlagTest = FlagTest::Exactly {
    set: TcpFlags::SYN,
    of: TcpFlags::SYN.union(TcpFlags::RST).union(TcpFlags::ACK),
};

/// No SYN is queued, so that what comes with one would pass unread. A sender repeats its SYN
/// without data (RFC 7413 §4.2.1). The port on which a server listens behind a port-forward shows
/// only after destination NAT. Conntrack is not asked: what it calls invalid passes, too.
pub(super) fn chains() -> [Chain; 4] {
    [
        drop(WHY, "fast_open_prerouting", "prerouting"),
        drop("", "fast_open_output", "output"),
        drop(
            "the same behind a port-forward from another port",
            "fast_open_input",
            "input",
        ),
        drop("", "fast_open_postrouting", "postrouting"),
    ]
}

/// The same for frames that a bridge forwards.
pub(super) fn bridge_chain() -> Chain {
    drop(WHY, "fast_open_forward", "forward")
}

const WHY: &str =
    "a first packet with data (TCP Fast Open) would pass unread: it comes again without";

fn drop(why: &'static str, name: &'static str, hook: &'static str) -> Chain {
    let statements = [
        Flags(SYN),
        ToControlPort(ControlPort::Destination),
        HasPayload,
        Drop,
    ];
    base(why, name, filter(hook, RAW), vec![rule("", statements)])
}
