//! Holds a session, and its client's host, to what they may ask for (`budget`).

use super::{Context, Flow};
use crate::proto::{
    action::EventKind, budget::Budget, net::Direction, packet::Segment, session::policy::Refusal,
};

/// What a session has spent.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Spending {
    commands: Budget,
    openings: Budget,
    /// That it has to wait was told.
    is_told: bool,
    /// It is one of its host's sessions.
    is_counted: bool,
}

impl Flow {
    /// It was counted as one of its host's sessions, and gives its place back when it closes.
    pub fn record_counted(&mut self) {
        self.spending.is_counted = true;
    }

    /// Gives back its place among its host's sessions.
    pub(super) fn release_place(&mut self, context: &Context<'_>) {
        self.end_ruled(context);
        if std::mem::take(&mut self.spending.is_counted) {
            let (host, now) = (self.client(), context.now);
            context
                .hosts
                .with_hosts(&mut |hosts| hosts.end_session(host, now));
        }
    }

    /// Spends what a segment of the client may bring, before it is taken in; `false` where it has to
    /// come again later. Its ends of lines count, so that nobody asks for much by sending little at
    /// a time, and so do those that it repeats.
    pub(super) fn spend_commands(
        &mut self,
        direction: Direction,
        segment: &Segment<'_>,
        context: &mut Context<'_>,
    ) -> bool {
        if direction == Direction::Reply || self.is_opaque {
            return true;
        }
        let count = segment
            .payload
            .iter()
            .filter(|&&byte| byte == b'\n')
            .count() as u32;
        if count == 0 {
            return true;
        }
        let (limits, now) = (&context.settings.limits, context.now);
        let mut is_admitted = self
            .spending
            .commands
            .spend(count, limits.session_commands, now);
        if is_admitted {
            let host = self.client();
            context.hosts.with_hosts(&mut |hosts| {
                is_admitted = hosts.spend_commands(host, count, limits, now);
            });
        }
        if !is_admitted && !std::mem::replace(&mut self.spending.is_told, true) {
            self.report(EventKind::Slowed, context);
        }
        is_admitted
    }

    /// Spends an opening of the session and of its client's host.
    ///
    /// # Errors
    /// [`Refusal::TooManyOpenings`].
    pub(super) fn spend_opening(&mut self, context: &Context<'_>) -> Result<(), Refusal> {
        let (limits, now) = (&context.settings.limits, context.now);
        let host = self.client();
        let mut is_admitted = self
            .spending
            .openings
            .spend(1, limits.session_openings, now);
        if is_admitted {
            context.hosts.with_hosts(&mut |hosts| {
                is_admitted = hosts.spend_opening(host, limits, now);
            });
        }
        is_admitted.then_some(()).ok_or(Refusal::TooManyOpenings)
    }
}
