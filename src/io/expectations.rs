//! The two backends that let announced data connections in, behind one interface.

use crate::{
    io::{
        ctnetlink::{Conntrack, ConntrackExpectations},
        nftables::{ExpectationStore, Master},
    },
    proto::{
        expect::{ExpectError, Expectation, ExpectationId},
        kernel::Renewal,
        net::{ConntrackTuples, Direction, Layer},
        session::Withdrawal,
    },
};

/// A worker's connection to the backend that was chosen.
#[derive(Debug)]
pub enum Expectations {
    /// Elements of sets and maps in our own table; data connections carry our label.
    Nftables {
        /// The elements.
        store: ExpectationStore,
        /// Tells the marks of control connections.
        conntrack: Conntrack,
    },
    /// The kernel's own expectations; data connections are RELATED.
    Conntrack {
        /// The expectations.
        expectations: ConntrackExpectations,
        /// The interfaces by which they must not arrive, which only our table can test.
        denied_iif: ExpectationStore,
    },
}

impl Expectations {
    /// Installs an expectation of a control connection, whose packets are seen at this layer. It
    /// is in force when this returns.
    ///
    /// # Errors
    /// Nothing is in force then.
    pub fn expect(
        &mut self,
        id: ExpectationId,
        expectation: &Expectation,
        master: &ConntrackTuples,
        layer: Layer,
    ) -> Result<(), ExpectError> {
        let original = master.of(Direction::Original);
        match self {
            Self::Nftables { store, conntrack } => {
                // What cannot be asked has the mark of a connection without one.
                let entry = conntrack.resolve(&original).ok().flatten();
                let mark = entry.map_or(0, |entry| entry.mark);
                let master = Master {
                    original,
                    mark,
                    layer,
                };
                store.expect(id, expectation, master)
            }
            // The kernel itself gives the mark on.
            Self::Conntrack {
                expectations,
                denied_iif,
            } => {
                denied_iif.expect(id, expectation, original.into())?;
                expectations.expect(id, expectation, master)
            }
        }
    }

    /// Gives an expectation that is still unused its time again. A first packet that comes at the
    /// same moment may be let in, and one more after it.
    pub fn renew(
        &mut self,
        id: ExpectationId,
        expectation: &Expectation,
        master: &ConntrackTuples,
        layer: Layer,
    ) -> Renewal {
        match self.is_used(expectation, master) {
            Some(true) => return Renewal::Used,
            None => return Renewal::Failed,
            Some(false) => {}
        }
        let original = master.of(Direction::Original);
        let renewed = match self {
            Self::Nftables { .. } => self.expect(id, expectation, master, layer),
            Self::Conntrack {
                expectations,
                denied_iif,
            } => denied_iif
                .expect(id, expectation, original.into())
                .and_then(|()| expectations.renew(id, expectation, master)),
        };
        renewed.map_or(Renewal::Failed, |()| Renewal::Renewed)
    }

    /// Withdraws an expectation that is still unused. One that could still be used goes at once,
    /// any other with the next [`expect`](Self::expect) or [`flush`](Self::flush).
    pub fn unexpect(
        &mut self,
        id: ExpectationId,
        expectation: &Expectation,
        master: &ConntrackTuples,
        reason: Withdrawal,
    ) {
        match self {
            Self::Nftables { store, .. } => {
                store.unexpect(id, expectation);
                if !matches!(reason, Withdrawal::Superseded | Withdrawal::Finished) {
                    store.flush();
                }
            }
            Self::Conntrack {
                expectations,
                denied_iif,
            } => {
                if expectation.denied_iif.is_some() {
                    denied_iif.unexpect(id, expectation);
                }
                // A failure is logged, and the expectation expires by itself.
                let _ = expectations.unexpect(id, expectation, master);
            }
        }
    }

    /// Whether the first packet of an expected connection has come. `None` where the kernel does
    /// not tell.
    pub fn is_used(&mut self, expectation: &Expectation, master: &ConntrackTuples) -> Option<bool> {
        match self {
            Self::Nftables { store, .. } => {
                store.is_used(expectation, master.of(Direction::Original))
            }
            Self::Conntrack { expectations, .. } => expectations.is_used(expectation, master),
        }
    }

    /// Whether withdrawn expectations are not deleted yet.
    #[must_use]
    pub fn has_pending_deletes(&self) -> bool {
        match self {
            Self::Nftables { store, .. }
            | Self::Conntrack {
                denied_iif: store, ..
            } => store.has_pending_deletes(),
        }
    }

    /// Deletes the withdrawn expectations.
    pub fn flush(&mut self) {
        match self {
            Self::Nftables { store, .. }
            | Self::Conntrack {
                denied_iif: store, ..
            } => store.flush(),
        }
    }
}
