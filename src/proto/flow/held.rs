//! The expectations that a session has pending, and the outside ports it holds.

use std::{net::SocketAddr, time::Instant};

use super::{Context, Flow};
use crate::proto::{
    action::{Action, EventKind},
    expect::{Expectation, ExpectationId},
    session::{CommandNumber, Withdrawal},
};

/// One expectation as its session knows it.
#[derive(Clone, Debug)]
pub(super) struct Held {
    pub(super) id: ExpectationId,
    /// PORT, or the PASV that was answered.
    pub(super) announced_by: CommandNumber,
    pub(super) expectation: Expectation,
    /// The outside endpoint to give back. It is kept while a data connection may use it, which
    /// is longer than the expectation: a second connection to the same endpoint would clash.
    pub(super) lease: Option<SocketAddr>,
    pub(super) expires: Instant,
    /// Its time is up; only the lease is left.
    pub(super) is_expired: bool,
}

impl Flow {
    /// Makes room for one more expectation.
    pub(super) fn supersede_held(&mut self, context: &mut Context<'_>) {
        while self.held.len() >= context.settings.max_per_session.max(1) {
            let oldest = self.held.remove(0);
            self.withdraw(oldest, Withdrawal::Superseded, context);
        }
    }

    /// Withdraws every expectation and gives every port back.
    pub(super) fn withdraw_all(&mut self, reason: Withdrawal, context: &mut Context<'_>) {
        for held in std::mem::take(&mut self.held) {
            self.withdraw(held, reason, context);
        }
    }

    /// Withdraws what was announced up to the command that the last line was or answered.
    pub(super) fn withdraw_concerned(&mut self, reason: Withdrawal, context: &mut Context<'_>) {
        let concerned = self.session.concerned();
        for held in std::mem::take(&mut self.held) {
            if held.announced_by <= concerned {
                self.withdraw(held, reason, context);
            } else {
                self.held.push(held);
            }
        }
    }

    /// Withdraws what is past its time. Its port stays leased until the session announces anew
    /// or ends: a data connection may still use it.
    pub(super) fn expire_held(&mut self, context: &mut Context<'_>) {
        let now = context.now;
        let expired: Vec<Held> = self
            .held
            .iter_mut()
            .filter(|held| !held.is_expired && held.expires <= now)
            .map(Held::expire)
            .collect();
        for held in expired {
            self.withdraw(held, Withdrawal::Expired, context);
        }
    }

    /// The next time at which an expectation expires.
    pub(super) fn next_expiry(&self) -> Option<Instant> {
        self.held
            .iter()
            .filter(|held| !held.is_expired)
            .map(|held| held.expires)
            .min()
    }

    fn withdraw(&self, held: Held, reason: Withdrawal, context: &mut Context<'_>) {
        if let Some(outside) = held.lease {
            context.leases.release(outside);
        }
        if held.is_expired && reason != Withdrawal::Expired {
            return;
        }
        let expectation = held.expectation;
        if reason != Withdrawal::Expired {
            context.actions.push_back(Action::Unexpect {
                id: held.id,
                expectation,
                master: self.tuples,
                reason,
            });
        }
        self.report(
            EventKind::Withdrawn {
                expectation,
                reason,
            },
            context,
        );
    }
}

impl Held {
    /// Marks the expectation expired and gives what is to be withdrawn: all but the lease.
    fn expire(&mut self) -> Self {
        self.is_expired = true;
        Self {
            lease: None,
            ..self.clone()
        }
    }
}
