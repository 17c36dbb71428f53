//! Thin adapters to the kernel and to capture files.
//!
//! Each adapter turns one kernel interface into values of the pure core and back, and decides
//! nothing. Unsafe code is confined to the few files that say so in their first lines.

pub mod clock;
pub mod confinement;
pub mod cthelper;
pub mod ctnetlink;
pub mod expectations;
pub mod injector;
pub mod interfaces;
pub mod netlink;
pub mod nfqueue;
pub mod nftables;
pub mod pcap;
mod refusal;
