//! What a worker does in the kernel for encrypted sessions: their marks, the sets of grants, and
//! which of their connections are alive.

use tracing::{debug, warn};

use super::{ports::SharedLeases, worker::Kernel};
use crate::{
    io::{ctnetlink::TcpState, netlink::NetlinkError},
    proto::{
        net::{ConntrackTuples, Direction, Tuple},
        tls::{Grants, HostPair},
    },
};

impl Kernel {
    /// Takes an encrypted connection out of the queue.
    pub(super) fn mark_opaque(&mut self, tuples: &ConntrackTuples) {
        let opaque = self.marks.opaque;
        if let Err(error) = self.conntrack.set_mark(tuples, opaque, opaque) {
            warn!(%error, "an encrypted connection could not be marked: it stays in the queue");
        }
    }

    /// Takes a connection back into the queue that is in the clear again.
    pub(super) fn mark_readable(&mut self, tuples: &ConntrackTuples) {
        if let Err(error) = self.conntrack.set_mark(tuples, 0, self.marks.opaque) {
            warn!(%error, "a connection in the clear again could not be marked: it is not read");
        }
    }

    /// Takes a connection out of the queue for good: no other has both marks.
    pub(super) fn mark_untouched(&mut self, tuples: &ConntrackTuples) {
        let both = self.marks.opaque | self.marks.adjust;
        if let Err(error) = self.conntrack.set_mark(tuples, both, both) {
            warn!(%error, "a connection of the kernel's helper could not be marked: it stays in the queue");
        }
    }

    /// Lets first packets of a pair be queued.
    pub(super) fn grant(&mut self, pair: HostPair) {
        let Some(grants) = &mut self.grants else {
            return;
        };
        match grants.add(pair) {
            Ok(()) => {}
            // Rules of iptables queue them all; a table that was printed for another configuration,
            // none.
            Err(error) if error.is(libc::ENOENT) => {
                debug!(client = %pair.client, "the loaded table has no set of grants");
            }
            Err(error) => self.warn_of(pair, &error),
        }
    }

    /// Lets them pass by the queue, unless another worker has granted them something meanwhile.
    pub(super) fn revoke(&mut self, pair: HostPair, leases: &SharedLeases) {
        let Some(grants) = &mut self.grants else {
            return;
        };
        if let Err(error) = grants.remove(pair) {
            self.warn_of(pair, &error);
        }
        let mut is_granted = false;
        leases.with_grants(&mut |grants| is_granted = grants.has(pair));
        if is_granted {
            self.grant(pair);
        }
    }

    /// Those of the connections that conntrack knows, and has not seen end.
    pub(super) fn find_live(&mut self, tuples: Vec<Tuple>) -> Vec<Tuple> {
        let mut live = tuples;
        live.retain(|tuple| self.is_live(tuple));
        live
    }

    fn is_live(&mut self, tuple: &Tuple) -> bool {
        match self.conntrack.resolve(tuple) {
            Ok(entry) => entry.is_some_and(|entry| {
                entry.tuples.of(Direction::Original) == *tuple
                    && !entry.tcp_state.is_some_and(TcpState::is_over)
            }),
            Err(error) => {
                warn!(%tuple, %error, "conntrack could not be asked: taken as alive");
                true
            }
        }
    }

    fn warn_of(&self, pair: HostPair, error: &NetlinkError) {
        let (client, server) = (pair.client, pair.server);
        warn!(%client, %server, %error, "a set of grants could not be changed");
    }
}
