//! Whether this machine forwards packets.

use std::{fs, io};

use tracing::info;

/// What the kernel forwards.
#[derive(Clone, Copy, Debug)]
pub(super) struct Forwarding {
    ipv4: bool,
    ipv6: bool,
}

impl Forwarding {
    /// Asks this network namespace. What cannot be asked counts as forwarded.
    pub(super) fn read() -> Self {
        Self {
            ipv4: is_set("/proc/sys/net/ipv4/ip_forward").unwrap_or(true),
            ipv6: is_set("/proc/sys/net/ipv6/conf/all/forwarding").unwrap_or(true),
        }
    }

    /// Tells it where it is not what a gateway has. Many gateways forward IPv4 alone.
    pub(super) fn tell(self) {
        match (self.ipv4, self.ipv6) {
            (true, _) => {}
            (false, true) => info!("this machine does not forward IPv4 (net.ipv4.ip_forward = 0)"),
            (false, false) => info!(
                "this machine forwards nothing (net.ipv4.ip_forward = 0, \
                 net.ipv6.conf.all.forwarding = 0)"
            ),
        }
    }
}

fn is_set(path: &str) -> io::Result<bool> {
    Ok(fs::read_to_string(path)?.trim() != "0")
}
