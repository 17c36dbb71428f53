//! A kernel on paper, to run the core without a real one.

use super::{Kernel, LookUpError, MarkError, Outcome, Renewal, SetLiberalError, TrackedConnection};
use crate::proto::{
    expect::{ExpectError, Expectation, ExpectationId},
    ftps::HostPair,
    net::{ConntrackTuples, Tuple},
    saved_flow::SavedFlow,
    session::Withdrawal,
};

/// A kernel that grants all requests. It knows one connection, that of the packet at hand, because
/// the core asks for no other. It keeps no marks, so the core goes on to follow what it would leave
/// alone.
#[derive(Clone, Copy, Debug)]
pub struct PaperKernel(pub Option<ConntrackTuples>);

impl Kernel for PaperKernel {
    fn look_up(&mut self, _: Tuple) -> Result<Option<TrackedConnection>, LookUpError> {
        Ok(self.0.map(TrackedConnection::unmarked))
    }

    fn load(&mut self, _: &ConntrackTuples) -> Option<SavedFlow> {
        None
    }

    fn set_liberal(&mut self, _: &ConntrackTuples) -> Result<(), SetLiberalError> {
        Ok(())
    }

    fn expect(
        &mut self,
        _: ExpectationId,
        _: &Expectation,
        _: &ConntrackTuples,
    ) -> Result<(), ExpectError> {
        Ok(())
    }

    fn unexpect(
        &mut self,
        _: ExpectationId,
        _: &Expectation,
        _: &ConntrackTuples,
        _: Withdrawal,
    ) -> Outcome {
        Outcome::Unknown
    }

    fn renew(&mut self, _: ExpectationId, _: &Expectation, _: &ConntrackTuples) -> Renewal {
        Renewal::Renewed
    }

    fn are_alive(&mut self, originals: &[Tuple]) -> Vec<Tuple> {
        originals.to_vec()
    }

    fn mark_opaque(&mut self, _: &ConntrackTuples) {}

    fn mark_readable(&mut self, _: &ConntrackTuples) {}

    fn mark_untouched(&mut self, _: &ConntrackTuples) -> Result<(), MarkError> {
        Err(MarkError)
    }

    fn queue_data_syns(&mut self, _: HostPair) {}

    fn pass_data_syns(&mut self, _: HostPair) {}
}
