//! Which expected data connections have come. Only conntrack tells, once the elements that count
//! the uses are gone with their table.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
};

use crate::{
    io::{ctnetlink::Conntrack, netlink::NetlinkError, nftables::MasteredExpectation},
    proto::net::Direction,
    ruleset::{Backend, Labels},
};

/// The first packets of the data connections that have come, as far as conntrack knows them still.
#[derive(Debug, Default)]
pub(super) struct UsedConnections {
    open: BTreeSet<(IpAddr, SocketAddr)>,
    over: BTreeSet<(IpAddr, SocketAddr)>,
}

impl UsedConnections {
    /// Asks conntrack.
    pub(super) fn read(
        conntrack: &mut Conntrack,
        backend: Backend,
        labels: Labels,
    ) -> Result<Self, NetlinkError> {
        let mut used = Self::default();
        // Conntrack itself counts the use of its expectations.
        if backend == Backend::Nftables {
            conntrack.list_labelled(labels.data, |entry| {
                let first = entry.tuples.of(Direction::Original);
                let is_over = entry.is_over();
                let known = if is_over {
                    &mut used.over
                } else {
                    &mut used.open
                };
                known.insert((first.source.ip(), first.destination));
            })?;
        }
        Ok(used)
    }

    /// Whether the connection of an expectation has come. One that is over may be that of an
    /// earlier announcement, if there was one: servers use their ports again.
    pub(super) fn has(&self, one: &MasteredExpectation) -> bool {
        let (sources, destination) = (one.expectation.sources(), one.expectation.destination);
        let has = |known: &BTreeSet<(IpAddr, SocketAddr)>| {
            let came = (sources.network(), destination)..=(sources.broadcast(), destination);
            let mut known = known.range(came);
            known.any(|(_, to)| *to == destination)
        };
        has(&self.open) || (has(&self.over) && !one.is_repeated)
    }
}
