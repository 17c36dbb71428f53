//! Connections that are no FTP.
//!
//! What was refuted stays refuted for as long as conntrack knows the connection. Otherwise a server
//! could let its browser wait until the flow is forgotten. It leaves the queue for good where
//! nothing of it has to be read. Else it is kept like a connection with an offset: through silence,
//! beside evictions, and across a restart of the process.

use super::{Flow, context::Context, refutation::Refutation};
use crate::proto::{
    event::EventKind,
    ftp::Role,
    session::{Withdrawal, endpoint_check::Refusal},
};

impl Flow {
    /// Whether the connection has left the queue, and need not be followed any more.
    #[must_use]
    pub fn is_left_alone(&self) -> bool {
        self.refutation == Refutation::LeftAlone
    }

    /// Whether it was shown that the connection is no FTP.
    #[must_use]
    pub fn is_refuted(&self) -> bool {
        self.dialogue.is_refuted()
    }

    /// It is known from before that the connection is no FTP.
    pub fn refute(&mut self) {
        self.dialogue.refute();
        self.relay.record_refutation();
    }

    /// Whether the connection is no FTP, and the operator has not exempted its server.
    pub(super) fn is_not_ftp(&self, context: &Context<'_>) -> bool {
        self.dialogue.is_refuted()
            && !context
                .settings
                .is_exempt(Refusal::NotFtp, self.relay.tuples())
    }

    /// Sees to it that what is no FTP stays so. Where the kernel refuses, the next segment tries
    /// again.
    pub(super) fn settle_refuted(&mut self, context: &mut Context<'_>) {
        let is_due = self.refutation == Refutation::None && !self.life.is_closed();
        if !is_due || !self.is_not_ftp(context) {
            return;
        }
        if self.can_leave() {
            self.leave_alone(context);
        } else if self.relay.set_liberal(context).is_ok() {
            self.relay.record_refutation();
            self.refutation = Refutation::Kept;
            self.withdraw_all(Withdrawal::Closed, context);
            context.report(EventKind::NotFtp {
                is_left_alone: false,
            });
        }
    }

    /// Whether each packet of the connection may pass as it is from now on.
    fn can_leave(&self) -> bool {
        !self.dialogue.must_read(Role::Client)
            && !self.dialogue.awaits_refusal()
            && !self.relay.is_adjusted()
            && !self.relay.has_edits()
    }

    /// Nothing of it was acknowledged locally: what is held here still has its sender, and comes
    /// again where it does not leave with the packet at hand.
    fn leave_alone(&mut self, context: &mut Context<'_>) {
        let tuples = self.relay.tuples();
        if context.kernel.mark_untouched(tuples).is_ok() {
            self.refutation = Refutation::LeftAlone;
            self.relay.stop_reading();
            context.report(EventKind::NotFtp {
                is_left_alone: true,
            });
        }
    }
}
