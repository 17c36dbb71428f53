//! Dialogs with the kernel's netfilter subsystems over netlink.
//!
//! [`Socket`] sends requests and waits for their answers. Callers add attributes through a
//! [`MessageBuffer`] and read those of the answer through [`Attributes`]. One socket serves one
//! thread and stays open, because opening one costs more than a hundred requests.
//!
//! Attributes are written and read in safe Rust, not through libmnl's pointer functions. The format
//! is a length, a type and padding, and here a mistake in it is an error instead of undefined
//! behaviour. libmnl carries the bytes.

mod attributes;
mod message;
mod netlink_error;
mod socket;

use std::time::Duration;

pub use attributes::{Attributes, Message, Messages};
pub(crate) use message::flags;
pub use message::{Head, MessageBuffer, MessageType};
pub use netlink_error::NetlinkError;
pub use socket::{Batch, Socket};

/// How long an answer may take. The kernel answers within the call that sends the request, so this
/// limits only the cost of a bug of ours.
pub(crate) const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// The flag of an attribute that contains attributes (`NLA_F_NESTED`).
pub(crate) const NESTED: u16 = 0x8000;

/// Octets of `struct nlmsghdr`.
const HEADER: usize = 16;
/// Octets of `struct nfgenmsg`, which follows the header in every netfilter message.
const NETFILTER_HEADER: usize = 4;

const fn aligned(length: usize) -> usize {
    (length + 3) & !3
}
