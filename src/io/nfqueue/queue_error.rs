//! Why a queue cannot be used, and what to do about it.

use super::probe;
use crate::{io::netlink::NetlinkError, ruleset::LOCK_QUEUE};

/// Why a queue cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum QueueError {
    /// Another process reads this queue.
    #[error(
        "queue {0} is read by another process (/proc/net/netfilter/nfnetlink_queue lists them): \
         stop it, or choose other numbers with `queue`"
    )]
    InUse(u16),
    /// Another daemon works in this network namespace.
    #[error(
        "another ftp-alg works in this network namespace (it holds queue {LOCK_QUEUE} in \
         /proc/net/netfilter/nfnetlink_queue): one host has one table and one daemon; stop the \
         other one, or let one daemon read all `control_ports`"
    )]
    Locked,
    /// This process may not read queues.
    #[error(
        "reading queue {0} needs CAP_NET_ADMIN: run as root, or grant it with \
         `setcap cap_net_admin,cap_net_raw+ep`"
    )]
    NotPermitted(u16),
    /// The kernel has no queues.
    #[error("the kernel has no queues: it needs CONFIG_NETFILTER_NETLINK_QUEUE (nfnetlink_queue)")]
    Unsupported,
    /// The replacement of a packet is too long for the kernel. The packet was dropped.
    #[error("a packet of {0} octets is too long to be handed to the kernel")]
    TooLong(usize),
    /// Any other trouble.
    #[error("queue: {0}")]
    Netlink(#[from] NetlinkError),
}

impl QueueError {
    /// The kernel has one error number for a queue of another process and for a missing privilege.
    /// So a second request shows whether the privilege is missing.
    pub(super) fn of_bind(number: u16, error: NetlinkError) -> Self {
        match error.errno() {
            Some(libc::EBUSY) => Self::InUse(number),
            Some(libc::EPERM) if probe().is_ok() => Self::InUse(number),
            Some(libc::EPERM) => Self::NotPermitted(number),
            Some(libc::EINVAL | libc::EOPNOTSUPP | libc::EPROTONOSUPPORT) => Self::Unsupported,
            Some(_) | None => Self::Netlink(error),
        }
    }
}
