//! The pure core: FTP control connections in, verdicts and expectations out.
//!
//! Nothing below this module opens a socket or a file, reads a clock, starts a thread or keeps a
//! global. A capture replayed through it takes exactly the decisions that the daemon takes. What it
//! needs of the kernel it asks through one port, [`kernel::Kernel`]; what leaves is returned.
//!
//! Imports run one way: `net` → `packet`, `stream`, `ftp`, `budget` → `session`, `expect`, `ftps`,
//! `nat`, `saved_flow`, `shared`, `command_policy`, `kernel` → `event`, `egress` → `flow` → `alg`.

#![forbid(unsafe_code)]

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

/// When the unit tests begin. They add to it; none reads a clock.
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
