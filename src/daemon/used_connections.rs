//! Which expected data connections have come. Only conntrack tells, once the elements that count
//! the uses are gone with their table.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
};

use crate::{
    io::{
        ctnetlink::{Conntrack, TcpState},
        netlink::NetlinkError,
        nftables::MasteredExpectation,
    },
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
                let is_over = entry.tcp_state.is_some_and(TcpState::is_over);
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
        let key = (one.expectation.source, one.expectation.destination);
        self.open.contains(&key) || (self.over.contains(&key) && !one.is_repeated)
    }
}
