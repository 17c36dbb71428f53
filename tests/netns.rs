//! The real kernel: our table, expectations, conntrack, queues, in network namespaces.
//!
//! These tests need root and are ignored unless asked for: `cargo test --test netns -- --ignored`.

#[path = "netns/confined.rs"]
mod confined;
#[path = "netns/conntrack.rs"]
mod conntrack;
#[path = "netns/expectations.rs"]
mod expectations;
#[path = "netns/independent_reader.rs"]
mod independent_reader;
#[path = "netns/injection.rs"]
mod injection;
#[path = "netns/interfaces.rs"]
mod interfaces;
#[path = "netns/kernel_expectations.rs"]
mod kernel_expectations;
#[path = "netns/lab.rs"]
mod lab;
#[path = "netns/marks.rs"]
mod marks;
#[path = "netns/queues.rs"]
mod queues;
#[path = "netns/running.rs"]
mod running;
#[path = "netns/table.rs"]
mod table;
#[path = "netns/table_life.rs"]
mod table_life;
#[path = "netns/tls.rs"]
mod tls;
#[path = "netns/zones.rs"]
mod zones;
