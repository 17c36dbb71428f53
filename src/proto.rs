//! The pure core: it takes packets of FTP control connections, and gives verdicts and expectations.
//!
//! Nothing in this module opens a socket or a file, reads a clock, starts a thread or keeps a
//! global. So a replayed capture leads to the same decisions as in the daemon. The core asks the
//! kernel through one port, [`kernel::Kernel`]. All other effects are return values.
//!
//! Imports run one way: `net` → `packet`, `stream`, `ftp`, `budget` → `session`, `expect`, `ftps`,
//! `nat`, `saved_flow`, `shared`, `command_policy`, `kernel` → `event`, `egress` → `flow` → `alg`.

#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    warn(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)
)]

pub mod alg;
pub mod budget;
pub mod command_policy;
pub mod egress;
pub mod event;
pub mod expect;
pub mod flow;
pub mod ftp;
pub mod ftps;
pub mod kernel;
pub mod nat;
pub mod net;
pub mod packet;
pub mod saved_flow;
pub mod session;
pub mod shared;
pub mod stream;

/// The time at which the unit tests begin. They add to it, and none reads a clock.
#[cfg(test)]
#[expect(
    clippy::disallowed_methods,
    reason = "an `Instant` can only be had of the clock"
)]
pub(crate) fn test_origin() -> std::time::Instant {
    static ORIGIN: std::sync::LazyLock<std::time::Instant> =
        std::sync::LazyLock::new(std::time::Instant::now);
    *ORIGIN
}
