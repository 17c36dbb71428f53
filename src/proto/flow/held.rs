//! The expectations that a session has pending, and the outside ports it holds.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use super::{Context, Flow, Request};
use crate::proto::{
    action::{Action, EventKind},
    expect::{ExpectError, Expectation, ExpectationId, Stage},
    session::{CommandNumber, Withdrawal},
};

/// How long a server may take to answer PORT before that is told: it may be one that connects
/// first, and wait in vain.
pub(super) const ANSWER_LATE: Duration = Duration::from_secs(2);

/// One expectation as its session knows it.
#[derive(Clone, Debug)]
pub(super) struct Held {
    pub(super) id: ExpectationId,
    /// PORT, or the PASV that was answered.
    pub(super) announced_by: CommandNumber,
    pub(super) expectation: Expectation,
    /// What the client announced is open once the server has accepted it.
    pub(super) stage: Stage,
    /// When it is told that the server has not answered.
    pub(super) late_at: Option<Instant>,
    /// The outside endpoint to give back. It is kept while a data connection may use it, which
    /// is longer than the expectation: a second connection to the same endpoint would clash.
    pub(super) lease: Option<SocketAddr>,
    pub(super) expires: Instant,
    /// Its time is up; only the lease is left.
    pub(super) is_expired: bool,
}

/// An expectation that the kernel is asked to open.
#[derive(Clone, Copy, Debug)]
pub(super) struct Opening {
    id: ExpectationId,
    /// It was refused once as a clash, and asked for again.
    is_retry: bool,
}

impl Flow {
    /// The server accepts what the client announced: asks the kernel to let it in, in place of the
    /// oldest that is open where that is one too many.
    pub(super) fn open_concerned(&mut self, context: &mut Context<'_>) -> Option<Request> {
        let current_command = self.session.current_command();
        let is_accepted =
            |held: &Held| held.announced_by == current_command && held.awaits_answer();
        let id = self.held.iter().find(|held| is_accepted(held))?.id;
        self.supersede(|held| held.is_open(), context);
        self.opening = Some(Opening {
            id,
            is_retry: false,
        });
        let reserved = self.held.iter().find(|held| held.id == id)?;
        Some(self.request_opening(reserved))
    }

    /// The kernel has opened a reserved expectation, or not.
    pub(super) fn handle_opened(
        &mut self,
        opening: Opening,
        result: Result<(), ExpectError>,
        context: &mut Context<'_>,
    ) -> Option<Request> {
        let at = self.held.iter().position(|held| held.id == opening.id)?;
        let expectation = self.held.get(at)?.expectation;
        match result {
            Ok(()) => {
                let held = self.held.get_mut(at)?;
                held.stage = Stage::Open;
                held.late_at = None;
                held.expires = context.now + expectation.timeout;
                self.report(EventKind::Opened { expectation }, context);
            }
            // The same endpoint may still be expected for a session that its client has given up.
            Err(ExpectError::Clash) if !opening.is_retry => {
                context.actions.push_back(Action::Unexpect {
                    id: opening.id,
                    expectation,
                    stage: Stage::Open,
                    master: self.tuples,
                    reason: Withdrawal::Superseded,
                });
                self.opening = Some(Opening {
                    is_retry: true,
                    ..opening
                });
                return Some(self.request_opening(self.held.get(at)?));
            }
            Err(error) => {
                let refused = self.held.remove(at);
                if let Some(outside) = refused.lease {
                    context.leases.release(outside);
                }
                self.report(EventKind::NotOpened { expectation, error }, context);
            }
        }
        self.lift_answered();
        None
    }

    fn request_opening(&self, held: &Held) -> Request {
        Request::Expect {
            id: held.id,
            expectation: held.expectation,
            stage: Stage::Open,
            master: self.tuples,
        }
    }

    /// Makes room for what the line at hand announces, beside what a transfer under way may need
    /// and what a pipelining client has announced after it.
    pub(super) fn supersede_held(&mut self, context: &mut Context<'_>) {
        let current_command = self.session.current_command();
        self.supersede(|held| held.announced_by <= current_command, context);
    }

    /// Withdraws the oldest of these until there is room for one more.
    fn supersede(&mut self, is_one: impl Fn(&Held) -> bool, context: &mut Context<'_>) {
        let in_use = usize::from(self.session.awaits_transfer());
        let room = context
            .settings
            .max_per_session
            .max(1)
            .saturating_add(in_use);
        while self.held.iter().filter(|held| is_one(held)).count() >= room {
            let Some(oldest) = self.held.iter().position(&is_one) else {
                return;
            };
            let oldest = self.held.remove(oldest);
            self.withdraw(oldest, Withdrawal::Superseded, context);
        }
    }

    /// Withdraws every expectation and gives every port back.
    pub(super) fn withdraw_all(&mut self, reason: Withdrawal, context: &mut Context<'_>) {
        for held in std::mem::take(&mut self.held) {
            self.withdraw(held, reason, context);
        }
        self.lift_answered();
    }

    /// Withdraws what the server has not accepted.
    pub(super) fn withdraw_reserved(&mut self, reason: Withdrawal, context: &mut Context<'_>) {
        for held in std::mem::take(&mut self.held) {
            if held.stage == Stage::Reserved {
                self.withdraw(held, reason, context);
            } else {
                self.held.push(held);
            }
        }
        self.lift_answered();
    }

    /// Withdraws what was announced up to the command that the last line was or answered.
    pub(super) fn withdraw_concerned(&mut self, reason: Withdrawal, context: &mut Context<'_>) {
        let current_command = self.session.current_command();
        for held in std::mem::take(&mut self.held) {
            if held.announced_by <= current_command {
                self.withdraw(held, reason, context);
            } else {
                self.held.push(held);
            }
        }
        self.lift_answered();
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
        self.lift_answered();
    }

    /// Tells of servers that take their time to answer.
    pub(super) fn report_unanswered(&mut self, context: &mut Context<'_>) {
        let now = context.now;
        let late = |held: &mut Held| {
            held.late_at
                .take_if(|at| *at <= now)
                .map(|_| held.expectation)
        };
        let unanswered: Vec<Expectation> = self.held.iter_mut().filter_map(late).collect();
        for expectation in unanswered {
            self.report(EventKind::Unanswered { expectation }, context);
        }
    }

    /// The next time at which an expectation expires, or its answer is late.
    pub(super) fn next_expiry(&self) -> Option<Instant> {
        self.held
            .iter()
            .filter(|held| !held.is_expired)
            .map(|held| {
                held.late_at
                    .map_or(held.expires, |late| late.min(held.expires))
            })
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
                stage: held.stage,
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
    /// Whether the server owes its answer to what the client announced.
    pub(super) fn awaits_answer(&self) -> bool {
        self.stage == Stage::Reserved && !self.is_expired
    }

    /// Whether its data connection is let in.
    fn is_open(&self) -> bool {
        self.stage == Stage::Open && !self.is_expired
    }

    /// Marks the expectation expired and gives what is to be withdrawn: all but the lease.
    fn expire(&mut self) -> Self {
        self.is_expired = true;
        Self {
            lease: None,
            ..self.clone()
        }
    }
}
