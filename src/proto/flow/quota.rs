//! Holds a session, and its client's host, to their quotas ([`budget`](crate::proto::budget)).

use std::net::IpAddr;

use super::context::Context;
use crate::proto::{
    budget::{SEGMENT_MIN, SegmentCost, TokenBucket},
    event::EventKind,
    net::Direction,
    session::endpoint_check::Refusal,
};

/// The quota of one session.
#[derive(Clone, Copy, Debug)]
pub(super) struct Quota {
    client: IpAddr,
    commands: TokenBucket,
    bytes: TokenBucket,
    pinholes: TokenBucket,
    /// The event that it has to wait was reported.
    has_reported: bool,
    /// It is counted among the sessions of its host.
    is_counted: bool,
}

/// The client's host has as many sessions as it may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionLimitReached;

impl Quota {
    pub(super) const fn new(client: IpAddr) -> Self {
        Self {
            client,
            commands: TokenBucket::FULL,
            bytes: TokenBucket::FULL,
            pinholes: TokenBucket::FULL,
            has_reported: false,
            is_counted: false,
        }
    }

    /// Counts the session among those of its host, from its first word on.
    ///
    /// # Errors
    /// The host has enough of them.
    pub(super) fn admit_session(
        &mut self,
        payload: &[u8],
        context: &Context<'_>,
    ) -> Result<(), SessionLimitReached> {
        if self.is_counted || payload.is_empty() {
            return Ok(());
        }
        let limits = &context.settings.limits;
        let mut hosts = context.shared.hosts();
        self.is_counted = hosts.begin_session(self.client, limits, context.now);
        self.is_counted.then_some(()).ok_or(SessionLimitReached)
    }

    /// Counts a session that goes on, however many its host has.
    pub(super) fn resume_session(&mut self, context: &Context<'_>) {
        context
            .shared
            .hosts()
            .resume_session(self.client, context.now);
        self.is_counted = true;
    }

    /// The session does not count any more.
    pub(super) fn release_session(&mut self, context: &Context<'_>) {
        if std::mem::take(&mut self.is_counted) {
            context.shared.hosts().end_session(self.client, context.now);
        }
    }

    /// Charges a segment before it is taken in. `false` where it has to come again later.
    ///
    /// A client's ends of lines count, so that nobody asks for much by sending little at a time. A
    /// repeated segment counts again.
    pub(super) fn charge_segment(
        &mut self,
        direction: Direction,
        payload: &[u8],
        context: &mut Context<'_>,
    ) -> bool {
        if payload.is_empty() {
            return true;
        }
        let is_admitted = self.can_afford(direction, payload, context);
        if !is_admitted && !std::mem::replace(&mut self.has_reported, true) {
            context.report(EventKind::Slowed);
        }
        is_admitted
    }

    /// Charges a pinhole to the session and to its client's host.
    ///
    /// # Errors
    /// [`Refusal::TooManyOpenings`].
    pub(super) fn charge_pinhole(&mut self, context: &Context<'_>) -> Result<(), Refusal> {
        let (limits, now) = (&context.settings.limits, context.now);
        let is_admitted = self.pinholes.take(1, limits.session_openings, now)
            && context
                .shared
                .hosts()
                .charge_pinhole(self.client, limits, now);
        is_admitted.then_some(()).ok_or(Refusal::TooManyOpenings)
    }

    fn can_afford(&mut self, direction: Direction, payload: &[u8], context: &Context<'_>) -> bool {
        let (limits, now) = (&context.settings.limits, context.now);
        let bytes = (payload.len() as u32).max(SEGMENT_MIN);
        if !self.bytes.take(bytes, limits.session_bytes, now) {
            return false;
        }
        if direction == Direction::Reply {
            return true;
        }
        let lines = payload.iter().filter(|&&byte| byte == b'\n').count() as u32;
        let commands = lines.max(1);
        self.commands.take(commands, limits.session_commands, now)
            && context.shared.hosts().charge_segment(
                self.client,
                SegmentCost { commands, bytes },
                limits,
                now,
            )
    }
}
