//! The core's port to the kernel, for the requests that it makes while it handles an input.
//!
//! The daemon implements [`Kernel`] with netlink, `replay` with a kernel that grants everything,
//! and tests with a model. Each call returns once the kernel has answered. So the order of the
//! calls is the order of the effects: an expectation is in force before its announcement leaves.

mod paper;

pub use paper::PaperKernel;

use std::{net::SocketAddr, time::Duration};

use serde::Deserialize;

use super::{
    expect::{ExpectError, Expectation, ExpectationId},
    ftps::HostPair,
    net::{ConntrackTuples, Tuple},
    saved_flow::SavedFlow,
    session::Withdrawal,
};

/// The kernel as the core sees it.
pub trait Kernel {
    /// Looks a connection up by the tuple of one of its directions, as a packet shows it before
    /// NAT. `None` where conntrack does not know it.
    ///
    /// # Errors
    /// Conntrack was not asked, or could not be.
    fn look_up(&mut self, tuple: Tuple) -> Result<Option<TrackedConnection>, LookUpError>;

    /// Reads the flow that an earlier process has saved of a connection.
    fn load(&mut self, tuples: &ConntrackTuples) -> Option<SavedFlow>;

    /// Makes conntrack accept sequence numbers that it did not see, in both directions
    /// (`IP_CT_TCP_FLAG_BE_LIBERAL`). Marks the connection `adjust`, so that all its packets are
    /// queued from now on.
    ///
    /// # Errors
    /// Nothing has changed then.
    fn set_liberal(&mut self, tuples: &ConntrackTuples) -> Result<(), SetLiberalError>;

    /// Installs an expectation of the control connection `master`. It is in force on return.
    ///
    /// # Errors
    /// Nothing is in force then. [`ExpectError::Clash`] where the same connection is expected
    /// already.
    fn expect(
        &mut self,
        id: ExpectationId,
        expectation: &Expectation,
        master: &ConntrackTuples,
    ) -> Result<(), ExpectError>;

    /// Withdraws an expectation, used or not, before its timeout. A superseded one may wait for the
    /// next expectation, and one whose transfer is finished for a quiet moment. Any other one could
    /// still be used, and is withdrawn at once. Tells what has become of it, where that is easy to
    /// find out and of interest.
    fn unexpect(
        &mut self,
        id: ExpectationId,
        expectation: &Expectation,
        master: &ConntrackTuples,
        reason: Withdrawal,
    ) -> Outcome;

    /// Takes over the expectations of a control connection that an earlier process has left in
    /// force. They have the name [`ExpectationId::INHERITED`]. A second call gives none. A kernel
    /// that forgets all with the process has none.
    fn inherit(&mut self, _master: &ConntrackTuples) -> Vec<InheritedPinhole> {
        Vec::new()
    }

    /// Gives an expectation its time again, unless its connection has come. A kernel that cannot
    /// leaves it as it is.
    fn renew(
        &mut self,
        _id: ExpectationId,
        _expectation: &Expectation,
        _master: &ConntrackTuples,
    ) -> Renewal {
        Renewal::Failed
    }

    /// How long conntrack goes on to know a connection if no packet of it comes. `None` where that
    /// is not known, or the connection is not.
    fn lifetime(&mut self, _tuples: &ConntrackTuples) -> Option<Duration> {
        None
    }

    /// Has conntrack know a connection for so long, even if no packet of it comes.
    fn extend(&mut self, _tuples: &ConntrackTuples, _lifetime: Duration) {}

    /// The original tuple of the data connection that has come for an expectation, and has not
    /// ended.
    ///
    /// # Errors
    /// Conntrack could not be asked, or is asked too often.
    fn find_expected(&mut self, _expectation: &Expectation) -> Result<Option<Tuple>, LookUpError> {
        Ok(None)
    }

    /// The connections, of these by their original tuples, that conntrack knows and that have not
    /// ended.
    fn are_alive(&mut self, originals: &[Tuple]) -> Vec<Tuple>;

    /// Marks the connection `opaque`. From now on only its FIN, its RST and packets that begin with
    /// text are queued.
    fn mark_opaque(&mut self, tuples: &ConntrackTuples);

    /// Clears the mark `opaque`.
    fn mark_readable(&mut self, tuples: &ConntrackTuples);

    /// Marks the connection so that none of its packets is queued any more, for as long as
    /// conntrack knows it: the kernel's helper has it, or it is no FTP.
    ///
    /// # Errors
    /// Nothing has changed then.
    fn mark_untouched(&mut self, tuples: &ConntrackTuples) -> Result<(), MarkError>;

    /// Queues the first packets of data connections from this client to this server, within the
    /// granted ports, before conntrack sees them. They may be queued already.
    fn queue_data_syns(&mut self, pair: HostPair);

    /// Ends [`queue_data_syns`](Self::queue_data_syns) for this pair.
    fn pass_data_syns(&mut self, pair: HostPair);
}

/// What has become of an expectation whose time was to begin anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renewal {
    /// It has.
    Renewed,
    /// The connection has come, so the expectation is gone.
    Used,
    /// It has not, and is as it was.
    Failed,
}

/// What has become of an expectation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nobody has asked, or it cannot be told.
    Unknown,
    /// The data connection has not come.
    Unused,
    /// Its first packet was let in, and conntrack has no entry for it: a rule of the operator's has
    /// stopped it, or its announcer has refused it.
    Stopped,
    /// Its first packet has left this machine, and no answer has come.
    Unanswered,
    /// It has come about.
    Connected,
}

/// A connection that conntrack knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrackedConnection {
    /// Its tuples.
    pub tuples: ConntrackTuples,
    /// The id of its entry; 0 where it is not known. Another id shows another connection with the
    /// same tuples. The same id shows nothing: the kernel makes it from the entry's place in memory
    /// and from the tuple (`nf_ct_get_id`).
    pub id: u32,
    /// Whether its handshake is under way: conntrack has seen its SYN, and not the acknowledgement
    /// of the SYN/ACK (`TCP_CONNTRACK_SYN_SENT`, `SYN_RECV`). Only such a connection begins.
    pub is_beginning: bool,
    /// Whether both of its SYNs are acknowledged and no end of it was seen
    /// (`TCP_CONNTRACK_ESTABLISHED`). No connection that was closing comes back to that.
    pub is_established: bool,
    /// Whether conntrack has seen its end: a RST, or the FIN of both ends (`TCP_CONNTRACK_CLOSE`,
    /// `TIME_WAIT`). Its ends need not have seen that.
    pub is_over: bool,
    /// Whether its label has the bit `adjust`, because it has a sequence offset.
    pub is_adjusted: bool,
    /// Whether a flowtable has it: its packets pass no hook (`IPS_OFFLOAD`).
    pub is_offloaded: bool,
    /// Whether the kernel itself adjusts its sequence numbers (`IPS_SEQ_ADJUST`), as SYNPROXY does.
    pub is_renumbered: bool,
    /// Whether its label has the bit `opaque`, because it is encrypted.
    pub is_opaque: bool,
    /// The treatment of a connection with the kernel's own FTP helper; `None` without it.
    pub kernel_helper: Option<WhenKernelHelps>,
}

impl TrackedConnection {
    /// A connection that no process has marked, and that begins.
    #[must_use]
    pub const fn unmarked(tuples: ConntrackTuples) -> Self {
        Self {
            tuples,
            id: 0,
            is_beginning: true,
            is_established: false,
            is_over: false,
            is_adjusted: false,
            is_offloaded: false,
            is_renumbered: false,
            is_opaque: false,
            kernel_helper: None,
        }
    }

    /// Whether it was [left alone](Kernel::mark_untouched): its label has both bits. A packet of it
    /// was in the queue already.
    #[must_use]
    pub const fn is_untouched(&self) -> bool {
        self.is_adjusted && self.is_opaque
    }
}

/// The treatment of a control connection that the kernel's own FTP helper reads as well. Two
/// helpers must not rewrite the same line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WhenKernelHelps {
    /// It is left to the kernel's helper.
    #[default]
    StepAside,
    /// Its packets are dropped, so that only our policy opens anything.
    Refuse,
}

/// An expectation of an earlier process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InheritedPinhole {
    /// The expectation, with the time that it has left.
    pub expectation: Expectation,
    /// Its outside endpoint, if it is leased for the session.
    pub lease: Option<SocketAddr>,
}

/// Why a connection was not looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LookUpError {
    /// Conntrack could not be asked. The log has the reason.
    Failed,
    /// Too many were searched in the whole table in this second. The packet has to come again.
    Postponed,
}

/// Conntrack could not be set liberal. The log has the reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SetLiberalError;

/// The connection could not be marked. The log has the reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MarkError;
