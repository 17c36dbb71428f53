//! Values that are addresses and networks.

use std::{collections::BTreeMap, net::IpAddr, ops::Deref};

use ipnetwork::IpNetwork;
use serde::Deserialize;

use super::values::List;
use crate::proto::net::PublicAddresses;

/// More outside addresses than any gateway has that another router translates one to one.
const PUBLIC_MAX: usize = 256;

/// Each of them costs each first packet of a connection some expressions.
const SOURCES_MAX: usize = 32;

/// The shortest prefixes of such networks. No farm of servers has more addresses.
const SOURCE_PREFIX_MIN: [u8; 2] = [16, 48];

/// Outside addresses and their public ones.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "BTreeMap<IpAddr, IpAddr>")]
pub struct PublicMap(BTreeMap<IpAddr, IpAddr>);

impl TryFrom<BTreeMap<IpAddr, IpAddr>> for PublicMap {
    type Error = String;

    fn try_from(pairs: BTreeMap<IpAddr, IpAddr>) -> Result<Self, String> {
        if pairs.len() > PUBLIC_MAX {
            return Err(format!("more than {PUBLIC_MAX} addresses"));
        }
        let mut seen = BTreeMap::new();
        for (outside, public) in &pairs {
            if let Some(odd) = [outside, public].into_iter().find(|at| is_no_host(**at)) {
                return Err(format!("{odd} is no address of a host"));
            }
            if outside.is_ipv4() != public.is_ipv4() {
                return Err(format!("{outside} and {public} are not of one IP version"));
            }
            if outside == public {
                return Err(format!("{outside} is its own public address: take it out"));
            }
            if let Some(other) = seen.insert(public, outside) {
                return Err(format!(
                    "{public} is the public address of {other} and of {outside}: only an address \
                     that is translated one to one can be announced"
                ));
            }
        }
        Ok(Self(pairs))
    }
}

impl PublicMap {
    /// What the core makes of them.
    #[must_use]
    pub fn addresses(&self) -> PublicAddresses {
        PublicAddresses::new(self.0.iter().map(|(outside, public)| (*outside, *public)))
    }
}

fn is_no_host(address: IpAddr) -> bool {
    let is_broadcast = address == IpAddr::from([255; 4]);
    address.is_unspecified() || address.is_multicast() || address.is_loopback() || is_broadcast
}

/// A network whose addresses are all of the same servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "IpNetwork")]
pub struct SourceNetwork(IpNetwork);

impl TryFrom<IpNetwork> for SourceNetwork {
    type Error = String;

    fn try_from(written: IpNetwork) -> Result<Self, String> {
        let [v4, v6] = SOURCE_PREFIX_MIN;
        let least = if written.is_ipv4() { v4 } else { v6 };
        let prefix = written.prefix();
        if prefix < least {
            return Err(format!(
                "{written} is too large: at most a /{v4} of IPv4 or a /{v6} of IPv6"
            ));
        }
        if prefix == IpNetwork::from(written.ip()).prefix() {
            return Err(format!(
                "{written} is one address, from which its server may connect anyway"
            ));
        }
        let network = IpNetwork::new(written.network(), prefix);
        network.map(Self).map_err(|error| error.to_string())
    }
}

/// The networks of servers that open data connections from any of their addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "List<SourceNetwork>")]
pub struct SourceNetworks(Vec<IpNetwork>);

impl TryFrom<List<SourceNetwork>> for SourceNetworks {
    type Error = String;

    fn try_from(written: List<SourceNetwork>) -> Result<Self, String> {
        if written.len() > SOURCES_MAX {
            return Err(format!("more than {SOURCES_MAX} networks"));
        }
        Ok(Self(written.iter().map(|network| network.0).collect()))
    }
}

impl Deref for SourceNetworks {
    type Target = [IpNetwork];

    fn deref(&self) -> &[IpNetwork] {
        &self.0
    }
}
