//! The choices of a schedule.

use ftp_alg::proto::net::Direction;

use crate::{
    end::End,
    harness::frame::{ACK, FIN, Frame, RST, SYN},
};

/// One choice. A packet is named by its place on the wire that leads to the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Step {
    /// A packet passes the gateway, and all that leaves arrives. Any packet may be the next one.
    Pass(usize),
    /// A packet that left the gateway, and was late, arrives.
    Arrive(usize),
    /// An end retransmits all that is not acknowledged.
    Retransmit(Direction),
    /// The next deadline of the core passes.
    Due,
    /// A packet is lost before the gateway.
    Lose(usize),
    /// A packet passes the gateway, and all that leaves is lost.
    LoseBehind(usize),
    /// The next deadline of the core passes, and all that leaves is lost.
    LoseDue,
    /// A packet passes the gateway, and comes again later.
    Repeat(usize),
    /// A packet passes the gateway, and what leaves is late.
    Delay(usize),
    /// A packet arrives as two, cut at this byte.
    Cut(usize, usize),
    /// Its sender writes a packet in two parts under Nagle's algorithm.
    Part(usize, usize),
    /// An odd packet with the address of this end, by its interface.
    Odd(Direction, Odd),
    /// The daemon is killed, and a new one starts.
    Kill,
    /// The same, after what a packet causes was saved, and before its verdict.
    KillBeforeVerdict(usize),
    /// The same, after the verdict on a packet, and before the packets behind it.
    KillAfterVerdict(usize),
}

/// A segment that no TCP sends in this place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Odd {
    SynAckElsewhere,
    SynElsewhere,
    RstInWindow,
    RstBeyondWindow,
    FinAhead,
    FinBeyondWindow,
    FinBefore,
    AckBeyond,
}

impl Odd {
    pub(crate) const ALL: [Self; 8] = [
        Self::SynAckElsewhere,
        Self::SynElsewhere,
        Self::RstInWindow,
        Self::RstBeyondWindow,
        Self::FinAhead,
        Self::FinBeyondWindow,
        Self::FinBefore,
        Self::AckBeyond,
    ];

    /// The segment, from an end to its peer.
    pub(crate) fn frame(self, end: &End, peer: &End) -> Frame {
        let (flags, distance) = match self {
            Self::SynAckElsewhere => (SYN | ACK, 5000),
            Self::SynElsewhere => (SYN, 5000),
            Self::RstInWindow => (RST | ACK, 100),
            Self::RstBeyondWindow => (RST | ACK, 100_000),
            Self::FinAhead => (FIN | ACK, 100),
            Self::FinBeyondWindow => (FIN | ACK, 100_000),
            Self::FinBefore => (FIN | ACK, 0),
            Self::AckBeyond => (ACK, 100_000),
        };
        let mut frame = end.frame(flags);
        frame.seq = frame.seq.wrapping_add_signed(distance);
        if self == Self::FinBefore {
            frame.seq = end.seq_of(end.una).wrapping_sub(10);
        } else if self == Self::SynAckElsewhere {
            frame.ack = peer.seq_of(0);
        } else if self == Self::AckBeyond {
            frame.ack = frame.ack.wrapping_add(100_000);
        }
        frame
    }
}

impl Step {
    /// The timer that fires: of an end, or of the core.
    pub(crate) fn timer(self) -> Option<usize> {
        if let Self::Retransmit(direction) = self {
            return Some(direction as usize);
        }
        (self == Self::Due).then_some(2)
    }

    pub(crate) fn is_kill(self) -> bool {
        matches!(
            self,
            Self::Kill | Self::KillBeforeVerdict(_) | Self::KillAfterVerdict(_)
        )
    }

    /// The packet that it is about.
    pub(crate) fn packet(self) -> Option<usize> {
        match self {
            Self::Pass(at)
            | Self::Lose(at)
            | Self::LoseBehind(at)
            | Self::Repeat(at)
            | Self::Delay(at)
            | Self::Cut(at, _)
            | Self::Part(at, _)
            | Self::KillBeforeVerdict(at)
            | Self::KillAfterVerdict(at) => Some(at),
            Self::Arrive(_)
            | Self::Retransmit(_)
            | Self::Due
            | Self::LoseDue
            | Self::Odd(..)
            | Self::Kill => None,
        }
    }
}
