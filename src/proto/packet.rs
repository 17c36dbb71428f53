//! One IP packet that holds a TCP segment: read, changed, made.
//!
//! [`Segment::parse`] borrows a packet and refuses, as a value, everything that is not one whole
//! TCP segment. [`rebuild()`] copies it with other sequence numbers and another payload,
//! [`Injected`] makes a packet of our own. Every packet that leaves here has right lengths and
//! right checksums.
//!
//! Headers and checksums are etherparse's. TCP options are walked by hand, because etherparse
//! stops at the first option it does not know (TCP-AO, MPTCP, Fast Open …), while the timestamp
//! and SACK options behind it still have to be found, with their place.

#![cfg_attr(
    not(test),
    warn(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects
    )
)]

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
pub use injected::{Injected, reset, reset_of_receiver};
pub use options::{SackBlock, Timestamps};
pub use packet_error::PacketError;
pub use rebuild::{Change, rebuild};
pub use segment::Segment;
