//! IP packets with a TCP segment: reading, changing and making them.
//!
//! [`Segment::parse`] borrows a packet, and refuses all that is not one whole TCP segment.
//! [`rebuild()`] copies a packet with other sequence numbers and another payload. [`Injected`] is a
//! packet of our own. Each packet that leaves here has correct lengths and checksums.
//!
//! etherparse reads and writes the headers, and sums the checksums. TCP options are read here,
//! because etherparse stops at the first option that it does not know (TCP-AO, MPTCP, Fast Open).
//! The timestamps and SACK options behind it still have to be found, with their places.

#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects))]

mod checksum;
mod flags;
mod injected;
mod options;
mod packet_error;
mod rebuild;
mod segment;
#[cfg(test)]
mod tests;

pub use flags::Flags;
pub use injected::{Injected, keep_alive, keep_alive_to_sender, reset, reset_of_receiver};
pub use options::{SackBlock, Timestamps};
pub use packet_error::PacketError;
pub use rebuild::{Change, rebuild};
pub use segment::Segment;
