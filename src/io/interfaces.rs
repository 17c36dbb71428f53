//! The machine's network interfaces and their addresses, as they were at one time.
//!
//! The kernel numbers interfaces; people name them. pnet reads both. It opens sockets for that, and
//! the confined daemon may not, so the daemon reads them once, when it starts. An interface that
//! appears later, such as that of a new PPP connection, is shown by its number.

use std::{collections::BTreeMap, fmt};

use ipnetwork::IpNetwork;

use crate::proto::net::IfIndex;

/// One interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Whether it is administratively up.
    pub is_up: bool,
    /// Its addresses, each with the length of its prefix.
    pub addresses: Vec<IpNetwork>,
}

/// The interfaces of one network namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interfaces(BTreeMap<u32, Interface>);

impl Interfaces {
    /// Reads the interfaces of the calling thread's network namespace.
    #[must_use]
    pub fn snapshot() -> Self {
        let found = pnet::datalink::interfaces().into_iter().map(|found| {
            let interface = Interface {
                is_up: found.is_up(),
                addresses: found.ips,
                name: found.name,
            };
            (found.index, interface)
        });
        Self(found.collect())
    }

    /// The interface of this number.
    #[must_use]
    pub fn get(&self, index: IfIndex) -> Option<&Interface> {
        self.0.get(&index.0)
    }

    /// How to tell a person of this interface.
    #[must_use]
    pub fn name(&self, index: IfIndex) -> String {
        match (index.0, self.get(index)) {
            (0, _) => "this machine".to_owned(),
            (_, Some(interface)) => interface.name.clone(),
            (number, None) => format!("interface {number}"),
        }
    }
}

/// The interfaces that are up: `lan 10.0.0.1/24; wan 203.0.113.1/29`.
impl fmt::Display for Interfaces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let up = self.0.values().filter(|interface| interface.is_up);
        let shown: Vec<_> = up.map(ToString::to_string).collect();
        f.write_str(&shown.join("; "))
    }
}

impl fmt::Display for Interface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        let mut addresses = self.addresses.iter();
        addresses.try_for_each(|address| write!(f, " {address}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interface_is_shown_by_its_name_and_an_unknown_one_by_its_number() {
        let interface = |name: &str, is_up, addresses: &[&str]| Interface {
            name: name.to_owned(),
            is_up,
            addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(),
        };
        let interfaces = Interfaces(BTreeMap::from([
            (2, interface("lan", true, &["10.0.0.1/24", "fd00::1/64"])),
            (3, interface("wan", false, &[])),
            (4, interface("ppp0", true, &["203.0.113.1/32"])),
        ]));
        assert_eq!(interfaces.name(IfIndex(3)), "wan");
        assert_eq!(interfaces.name(IfIndex(9)), "interface 9");
        assert_eq!(interfaces.name(IfIndex(0)), "this machine");
        assert_eq!(
            interfaces.to_string(),
            "lan 10.0.0.1/24 fd00::1/64; ppp0 203.0.113.1/32"
        );
    }
}
