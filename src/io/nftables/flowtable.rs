//! Whether anybody's rules use a flowtable.

use super::{TableOwner, message};
use crate::{io::netlink::NetlinkError, proto::net::Layer};

const NFT_MSG_GETFLOWTABLE: i32 = 23;

impl TableOwner {
    /// Whether this network namespace has a flowtable, in whatever table.
    ///
    /// # Errors
    /// The kernel cannot be asked. One without flowtables has none.
    pub fn has_flowtable(&self) -> Result<bool, NetlinkError> {
        let mut found = false;
        let mut head = message(Layer::Routed, NFT_MSG_GETFLOWTABLE);
        head.family = libc::AF_UNSPEC as u8;
        let listed = self.lock().socket.list(head, |_| {}, |_| found = true);
        match listed {
            Err(error) if error.is(libc::EINVAL) || error.is(libc::EOPNOTSUPP) => Ok(false),
            other => other.map(|()| found),
        }
    }
}
