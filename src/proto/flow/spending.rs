//! Holds a session, and its client's host, to what they may ask for (`budget`).

use super::{Context, Flow};
use crate::proto::{
    action::EventKind,
    budget::{Budget, SEGMENT_MIN},
    net::Direction,
    packet::Segment,
    session::endpoint_check::Refusal,
};

/// What a session has spent.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Spending {
    commands: Budget,
    bytes: Budget,
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

    /// Takes its place among its host's sessions with the first word that is said; `false` where the
    /// host has enough of them.
    pub fn take_place(&mut self, segment: &Segment<'_>, context: &Context<'_>) -> bool {
        if self.spending.is_counted || segment.payload.is_empty() {
            return true;
        }
        let (host, limits, now) = (self.client(), &context.settings.limits, context.now);
        context.hosts.with_hosts(&mut |hosts| {
            self.spending.is_counted = hosts.begin_session(host, limits, now);
        });
        self.spending.is_counted
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

    /// Spends what a segment costs before it is taken in; `false` where it has to come again later.
    /// A client's ends of lines count, so that nobody asks for much by sending little at a time, and
    /// so does what is repeated.
    pub(super) fn spend_segment(
        &mut self,
        direction: Direction,
        segment: &Segment<'_>,
        context: &mut Context<'_>,
    ) -> bool {
        if segment.payload.is_empty() || self.is_opaque {
            return true;
        }
        let is_admitted = self.can_afford(direction, segment.payload, context);
        if !is_admitted && !std::mem::replace(&mut self.spending.is_told, true) {
            self.report(EventKind::Slowed, context);
        }
        is_admitted
    }

    fn can_afford(&mut self, direction: Direction, payload: &[u8], context: &Context<'_>) -> bool {
        let (limits, now) = (&context.settings.limits, context.now);
        let spent = &mut self.spending;
        let bytes = (payload.len() as u32).max(SEGMENT_MIN);
        if !spent.bytes.spend(bytes, limits.session_bytes, now) {
            return false;
        }
        if direction == Direction::Reply {
            return true;
        }
        let lines = payload.iter().filter(|&&byte| byte == b'\n').count() as u32;
        let commands = lines.max(1);
        if !spent.commands.spend(commands, limits.session_commands, now) {
            return false;
        }
        let (host, mut is_admitted) = (self.client(), false);
        context.hosts.with_hosts(&mut |hosts| {
            is_admitted = hosts.spend_said(host, (commands, bytes), limits, now);
        });
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
