//! One behaviour a file, each told as a dialogue over the simulated link.

#[path = "../harness/mod.rs"]
mod harness;

mod port_through_snat;
