//! Thin adapters to what lies outside the process. They decide nothing.

pub mod clock;
pub mod pcap;
