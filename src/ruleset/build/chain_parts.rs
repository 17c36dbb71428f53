//! The parts that several chains of the table are made of.

use crate::{
    proto::packet::Flags as TcpFlags,
    ruleset::{
        ChainType, FlagTest, Hook, Rule,
        Statement::{self, FromLoopback, FromVrf, Return},
        statement::Chain,
    },
};

/// The priority before conntrack.
pub(super) const RAW: i32 = -300;

/// After conntrack (-200), before destination NAT (-100): a packet still has its own tuple. And
/// after the operator's mangle chains (-150), so that a queued packet has the mark that they give
/// it.
pub(super) const INSPECTION: i32 = -149;

/// The answer to the first packet of a connection.
pub(super) const HANDSHAKE: FlagTest = FlagTest::Exactly {
    set: TcpFlags::SYN.union(TcpFlags::ACK),
    of: TcpFlags::SYN.union(TcpFlags::ACK),
};

/// The first packet of a connection.
pub(super) const OPENING: FlagTest = FlagTest::Exactly {
    set: TcpFlags::SYN,
    of: TcpFlags::SYN
        .union(TcpFlags::ACK)
        .union(TcpFlags::FIN)
        .union(TcpFlags::RST),
};

/// Packets of the machine to itself pass the output and the prerouting hook. Packets by a member of
/// a VRF pass the prerouting hook as the member's, and then as the VRF's, where the kernel frees
/// what is queued (drivers/net/vrf.c, `vrf_rcv_finish`).
pub(super) fn not_twice() -> [Rule; 2] {
    [
        rule("the output chain has seen it", [FromLoopback, Return]),
        rule("seen as a packet of the VRF's member", [FromVrf, Return]),
    ]
}

pub(super) fn rule<const N: usize>(why: &'static str, statements: [Statement; N]) -> Rule {
    Rule {
        why,
        statements: statements.into(),
    }
}

/// A chain that others jump to.
pub(super) const fn chain(why: &'static str, name: &'static str, rules: Vec<Rule>) -> Chain {
    Chain {
        why,
        name,
        hook: None,
        rules,
    }
}

/// A chain that the kernel calls.
pub(super) const fn base(
    why: &'static str,
    name: &'static str,
    hook: Hook,
    rules: Vec<Rule>,
) -> Chain {
    Chain {
        why,
        name,
        hook: Some(hook),
        rules,
    }
}

pub(super) const fn filter(name: &'static str, priority: i32) -> Hook {
    Hook {
        chain_type: ChainType::Filter,
        name,
        priority,
    }
}

pub(super) const fn nat(name: &'static str, priority: i32) -> Hook {
    Hook {
        chain_type: ChainType::Nat,
        name,
        priority,
    }
}
