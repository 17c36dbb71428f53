//! A simulated link: two TCP ends, the core between them behind a fake kernel, and a fake clock.
//!
//! * [`frame`]: packets, made and read by code of its own, so that the code under test does not
//!   check itself;
//! * [`host`]: a TCP end with real sequence arithmetic (RFC 9293), retransmission, cumulative
//!   and selective acknowledgements, Nagle's algorithm, delayed acknowledgements, a window;
//! * [`conntrack`]: what the kernel makes of a packet's flags;
//! * [`kernel`]: conntrack, NAT, the queue rules and the expectation table around one
//!   [`Alg`](ftp_alg::proto::alg::Alg);
//! * [`link`]: the wires, on which packets are lost, repeated, delayed and cut;
//! * [`dialogue`]: the lines of the two ends, and the pieces in which they write them;
//! * [`oracle`]: the bytes that each end must have received, by a naive model.

pub(crate) mod conntrack;
pub(crate) mod dialogue;
pub(crate) mod frame;
pub(crate) mod host;
pub(crate) mod kernel;
pub(crate) mod link;
pub(crate) mod oracle;
pub(crate) mod topology;

use std::{sync::OnceLock, time::Instant};

/// The time at which each simulation starts.
#[expect(
    clippy::disallowed_methods,
    reason = "a fake clock needs an origin, and there is no other Instant to be had"
)]
pub(crate) fn origin() -> Instant {
    static ORIGIN: OnceLock<Instant> = OnceLock::new();
    *ORIGIN.get_or_init(Instant::now)
}
