//! Thin adapters to the kernel and to capture files.
//!
//! Each adapter turns one interface of the kernel into values of the core and back. It decides
//! nothing. The few files with unsafe code say so in their first lines.

pub mod clock;
pub mod confinement;
pub mod cthelper;
pub mod ctnetlink;
mod ethernet;
pub mod expectations;
pub mod injector;
pub mod interfaces;
pub mod local_ports;
pub mod namespaces;
pub mod netlink;
pub mod nfqueue;
pub mod nftables;
pub mod pcap;
mod refusal;
mod vrf;
