//! `ftp-alg`: a userspace FTP connection-tracking and NAT helper for Linux gateways.
//!
//! The crate has four layers, and imports run one way only, upwards in this list:
//!
//! * [`proto`]: the pure core. Packets and times in, actions out. No socket, file, clock, thread.
//! * [`ruleset`]: the nf_tables table as a value, and its spellings (nft, iptables, netlink).
//! * [`io`]: thin adapters to the kernel and to capture files.
//! * [`daemon`]: workers, configuration, control plane.
//! * [`cli`]: one file a subcommand.

pub mod cli;
pub mod daemon;
pub mod io;
pub mod proto;
pub mod ruleset;
