//! The pure core: FTP control connections in, verdicts and expectations out.
//!
//! Nothing below this module opens a socket or a file, reads a clock, starts a thread or keeps a
//! global. A capture replayed through it takes exactly the decisions that the daemon takes.
//! Imports run one way: `net` → `packet`, `stream`, `ftp`, `budget` → `rules`, `session`, `expect`, `tls`, `memory`,
//! `nat` → `action`
//! → `flow` → `alg`.

#![forbid(unsafe_code)]

pub mod action;
pub mod alg;
pub mod budget;
pub mod command_policy;
pub mod expect;
pub mod flow;
pub mod ftp;
pub mod nat;
pub mod net;
pub mod packet;
pub mod saved_flow;
pub mod session;
pub mod stream;
pub mod tls;
