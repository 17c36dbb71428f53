//! The machine's interfaces, by name and number.

use ftp_alg::{io::interfaces::Interfaces, proto::net::IfIndex};

use super::lab::Lab;

/// The number that the kernel has given an interface, as `ip` knows it.
fn index_of(lab: &Lab, name: &str) -> IfIndex {
    let path = format!("/sys/class/net/{name}/ifindex");
    let number = lab.gateway.run("cat", &[&path]);
    IfIndex(number.trim().parse().unwrap())
}

#[test]
#[ignore = "needs root"]
fn a_snapshot_has_the_names_numbers_and_addresses_of_its_namespace() {
    let lab = Lab::new();
    lab.gateway.ip("link add later type veth peer name other");
    let interfaces = lab.gateway.inside(Interfaces::snapshot);
    for (name, addresses) in [
        ("in", ["10.0.0.1/24", "fd00:1::1/64"]),
        ("out", ["203.0.113.1/24", "2001:db8::1/64"]),
    ] {
        let index = index_of(&lab, name);
        assert_eq!(interfaces.name(index), name);
        let found = interfaces.get(index).unwrap();
        assert!(found.is_up, "{found:?}");
        for address in addresses {
            let address = address.parse().unwrap();
            assert!(found.addresses.contains(&address), "{found:?}");
        }
    }
    assert!(!interfaces.get(index_of(&lab, "later")).unwrap().is_up);
    let shown = interfaces.to_string();
    assert!(
        shown.contains("in 10.0.0.1/24") && !shown.contains("later"),
        "{shown}"
    );
}
