//! `ftp-alg`: a userspace FTP connection-tracking and NAT helper for Linux gateways.
//!
//! The crate has five layers, and imports run one way only, upwards in this list:
//!
//! * [`proto`]: the pure core. It opens no socket and no file, reads no clock, starts no thread.
//! * [`ruleset`]: the nf_tables table as a value, and its spellings (nft, iptables, netlink).
//! * `io`: thin adapters to the kernel and to capture files.
//! * `daemon`: workers, configuration, control plane.
//! * `cli`: one file a subcommand.
//!
//! The first two build on any system, without C libraries. The others are the feature `daemon`,
//! which is on by default.

#[cfg(feature = "daemon")]
pub mod cli;
#[cfg(feature = "daemon")]
pub mod daemon;
#[cfg(feature = "daemon")]
pub mod io;
pub mod proto;
pub mod ruleset;
