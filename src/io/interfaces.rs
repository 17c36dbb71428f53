//! The machine's network interfaces and addresses, for the log.

use std::net::IpAddr;

/// One interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Whether it is administratively up.
    pub is_up: bool,
    /// Whether it is the loopback interface.
    pub is_loopback: bool,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
}

/// The interfaces of this network namespace, by name.
#[must_use]
pub fn interfaces() -> Vec<Interface> {
    let mut interfaces: Vec<_> = pnet::datalink::interfaces()
        .into_iter()
        .map(|found| Interface {
            is_up: found.is_up(),
            is_loopback: found.is_loopback(),
            addresses: found.ips.iter().map(|network| network.ip()).collect(),
            name: found.name,
        })
        .collect();
    interfaces.sort_by(|one, other| one.name.cmp(&other.name));
    interfaces
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_machine_has_a_loopback_interface() {
        assert!(
            super::interfaces()
                .iter()
                .any(|interface| interface.is_loopback)
        );
    }
}
