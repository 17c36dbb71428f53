//! The open expectations of one session, and the outside ports that it has leased.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use super::context::Context;
use crate::proto::{
    event::EventKind,
    expect::{Expectation, ExpectationId},
    kernel::{InheritedPinhole, Outcome, Renewal},
    net::ConntrackTuples,
    session::{CommandNumber, Withdrawal},
};

/// The most pinholes beside [`Settings::max_per_session`](super::Settings::max_per_session): one
/// for each transfer that a pipelining client has asked for and that has not ended.
const IN_USE_MAX: usize = 8;

/// How long a pinhole may stay open while its server says that it is at work: mainframes recall
/// their tapes within minutes, and answer each minute. An hour is the longest timeout that an
/// operator may choose, too.
const RENEWED_MAX: Duration = Duration::from_secs(3600);

/// A pinhole is renewed once so much of its time is over: the fifth part. Each renewal costs a
/// transaction, and the 150 of most transfers comes at once.
const RENEWAL_PARTS: u32 = 5;

/// The pinholes of one session.
#[derive(Clone, Debug, Default)]
pub(super) struct Pinholes(Vec<Pinhole>);

/// One pinhole.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pinhole {
    /// The name of its expectation.
    pub(super) id: ExpectationId,
    /// PORT, or the PASV that was answered.
    pub(super) announced_by: CommandNumber,
    /// What it lets in.
    pub(super) expectation: Expectation,
    /// The outside endpoint to give back. It is kept while a data connection may use it, which is
    /// longer than the expectation: a second connection to the same endpoint would clash.
    pub(super) lease: Option<SocketAddr>,
    /// When its time is up. `None` once it was: then only the lease is left.
    pub(super) expires: Option<Instant>,
    /// Until when its time may be renewed. `None` once its connection has come.
    pub(super) renewable_until: Option<Instant>,
}

impl Pinhole {
    /// One that was opened just now.
    pub(super) fn open(
        (id, expectation): (ExpectationId, Expectation),
        announced_by: CommandNumber,
        lease: Option<SocketAddr>,
        now: Instant,
    ) -> Self {
        Self {
            id,
            announced_by,
            expectation,
            lease,
            expires: Some(now + expectation.timeout),
            renewable_until: Some(now + RENEWED_MAX),
        }
    }

    /// Renews it, where enough of its time is over. Its name stays.
    fn renew(&mut self, master: &ConntrackTuples, context: &mut Context<'_>) {
        let timeout = self.expectation.timeout;
        let (Some(expires), Some(until)) = (self.expires, self.renewable_until) else {
            return;
        };
        let wanted = (context.now + timeout).min(until);
        if wanted < expires + timeout / RENEWAL_PARTS {
            return;
        }
        let renewed = Expectation {
            timeout: wanted.saturating_duration_since(context.now),
            ..self.expectation
        };
        match context.kernel.renew(self.id, &renewed, master) {
            Renewal::Renewed => self.expires = Some(wanted),
            Renewal::Used => self.renewable_until = None,
            Renewal::Failed => {}
        }
    }
}

impl Pinholes {
    /// Adds a pinhole that the kernel has opened.
    pub(super) fn record(&mut self, pinhole: Pinhole) {
        // Most sessions have one at a time, and there are many sessions.
        self.0.reserve_exact(1);
        self.0.push(pinhole);
    }

    /// Takes over what an earlier process has opened for the session.
    pub(super) fn inherit(&mut self, master: &ConntrackTuples, context: &mut Context<'_>) {
        for inherited in context.kernel.inherit(master) {
            let InheritedPinhole { expectation, lease } = inherited;
            let inherited = (ExpectationId::INHERITED, expectation);
            let announced_by = CommandNumber::default();
            self.record(Pinhole::open(inherited, announced_by, lease, context.now));
        }
    }

    /// Withdraws the oldest pinholes that were announced up to a command, until there is room for
    /// one more beside those that transfers under way may need.
    pub(super) fn make_room(
        &mut self,
        up_to: CommandNumber,
        in_use: usize,
        master: &ConntrackTuples,
        context: &mut Context<'_>,
    ) {
        let most = context.settings.max_per_session.max(1);
        let room = most.saturating_add(in_use.min(IN_USE_MAX));
        let is_older = |pinhole: &Pinhole| pinhole.announced_by <= up_to;
        while self.0.iter().filter(|pinhole| is_older(pinhole)).count() >= room {
            let Some(oldest) = self.0.iter().position(is_older) else {
                return;
            };
            let oldest = self.0.remove(oldest);
            withdraw(&oldest, Withdrawal::Superseded, master, context);
        }
    }

    /// Withdraws those that the kernel cannot tell from a new expectation: the end of an older one
    /// would otherwise be the end of the new one.
    pub(super) fn withdraw_same(
        &mut self,
        expectation: &Expectation,
        master: &ConntrackTuples,
        context: &mut Context<'_>,
    ) {
        let key = |of: &Expectation| (of.source, of.destination);
        self.0.retain(|pinhole| {
            let is_same = key(&pinhole.expectation) == key(expectation);
            if is_same {
                withdraw(pinhole, Withdrawal::Superseded, master, context);
            }
            !is_same
        });
    }

    /// Withdraws every pinhole and gives every port back.
    pub(super) fn withdraw_all(
        &mut self,
        reason: Withdrawal,
        master: &ConntrackTuples,
        context: &mut Context<'_>,
    ) {
        for pinhole in std::mem::take(&mut self.0) {
            withdraw(&pinhole, reason, master, context);
        }
    }

    /// Withdraws what was announced up to a command.
    pub(super) fn withdraw_up_to(
        &mut self,
        command: CommandNumber,
        reason: Withdrawal,
        master: &ConntrackTuples,
        context: &mut Context<'_>,
    ) {
        self.0.retain(|pinhole| {
            let is_meant = pinhole.announced_by <= command;
            if is_meant {
                withdraw(pinhole, reason, master, context);
            }
            !is_meant
        });
    }

    /// Renews what was announced up to a command: the server is at work on its transfer.
    pub(super) fn renew_up_to(
        &mut self,
        command: CommandNumber,
        master: &ConntrackTuples,
        context: &mut Context<'_>,
    ) {
        for pinhole in &mut self.0 {
            if pinhole.announced_by <= command {
                pinhole.renew(master, context);
            }
        }
    }

    /// What the oldest one lets in, or has let in.
    pub(super) fn oldest(&self) -> Option<Expectation> {
        self.0.first().map(|pinhole| pinhole.expectation)
    }

    /// Whether one of them is open, as far as is known.
    pub(super) fn is_busy(&self) -> bool {
        self.0.iter().any(|pinhole| pinhole.expires.is_some())
    }

    /// Whether one of them has an outside port.
    pub(super) fn has_lease(&self) -> bool {
        self.0.iter().any(|pinhole| pinhole.lease.is_some())
    }

    /// When the next one expires.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.0.iter().filter_map(|pinhole| pinhole.expires).min()
    }

    /// Notes that the time of pinholes is up: the kernel has dropped them. Their ports stay leased
    /// until the session announces anew or ends, because a data connection may still use them.
    pub(super) fn handle_timeout(&mut self, context: &mut Context<'_>) {
        let now = context.now;
        for pinhole in &mut self.0 {
            if pinhole.expires.take_if(|at| *at <= now).is_some() {
                context.report(EventKind::Withdrawn {
                    expectation: pinhole.expectation,
                    reason: Withdrawal::Expired,
                    outcome: Outcome::Unknown,
                });
            }
        }
    }

    /// Bytes of memory behind this value, not counting the value itself.
    pub(super) fn heap_bytes(&self) -> usize {
        self.0.capacity().saturating_mul(size_of::<Pinhole>())
    }
}

fn withdraw(
    pinhole: &Pinhole,
    reason: Withdrawal,
    master: &ConntrackTuples,
    context: &mut Context<'_>,
) {
    if let Some(outside) = pinhole.lease {
        let peer = pinhole.expectation.source;
        context.shared.ports().release(outside, peer, context.now);
    }
    if pinhole.expires.is_none() {
        return;
    }
    let expectation = pinhole.expectation;
    let outcome = context
        .kernel
        .unexpect(pinhole.id, &expectation, master, reason);
    context.report(EventKind::Withdrawn {
        expectation,
        reason,
        outcome,
    });
}
