//! What lets announced data connections in: one interface, two backends.

use crate::{
    io::{ctnetlink::ConntrackExpectations, nftables::ExpectationStore},
    proto::{
        expect::{ExpectError, Expectation, ExpectationId},
        net::ConntrackTuples,
    },
};

/// A worker's connection to the backend that was chosen.
#[derive(Debug)]
pub enum Expectations {
    /// Elements of sets and maps in our own table; data connections carry our mark.
    Nftables(ExpectationStore),
    /// The kernel's own expectations; data connections are RELATED.
    Conntrack(ConntrackExpectations),
}

impl Expectations {
    /// Installs an expectation of a control connection; it is in force when this returns.
    ///
    /// # Errors
    /// Nothing is in force then.
    pub fn expect(
        &mut self,
        id: ExpectationId,
        expectation: &Expectation,
        master: &ConntrackTuples,
    ) -> Result<(), ExpectError> {
        match self {
            Self::Nftables(store) => store.expect(id, expectation),
            Self::Conntrack(expectations) => expectations.expect(id, expectation, master),
        }
    }

    /// Withdraws an expectation. Tells whether it was still unused.
    ///
    /// # Errors
    /// When the kernel refuses; the expectation then lives until its timeout.
    pub fn unexpect(
        &mut self,
        id: ExpectationId,
        expectation: &Expectation,
        master: &ConntrackTuples,
    ) -> Result<bool, ExpectError> {
        match self {
            Self::Nftables(store) => store.unexpect(id, expectation),
            Self::Conntrack(expectations) => expectations.unexpect(id, expectation, master),
        }
    }
}
