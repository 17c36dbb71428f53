//! Keeps conntrack's entry of a control connection while its data connection works.
//!
//! During a transfer nobody speaks on the control connection. An operator's timeout for idle
//! connections may be shorter than the transfer. Conntrack would then forget the control
//! connection, and the server's 226 would arrive without its NAT.
//!
//! The cost is one question to conntrack for each transfer of more than a second. Conntrack is
//! searched for the data connection only after half of the entry's time, and once for each
//! transfer.

use std::time::{Duration, Instant};

use super::context::Context;
use crate::proto::{
    expect::Expectation,
    net::{ConntrackTuples, Tuple},
};

/// How long a transfer goes on before conntrack is asked.
const ASKED_AFTER: Duration = Duration::from_secs(1);

/// The least time between two questions. Conntrack counts in seconds.
const INTERVAL_MIN: Duration = Duration::from_millis(500);

/// What is known of the entry during one transfer.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Keeping {
    /// When conntrack is asked next. `None` while no transfer is under way.
    next: Option<Instant>,
    /// How long the entry lives without packets.
    lifetime: Option<Duration>,
    /// The first packet of the data connection, once it was found.
    data: Option<Tuple>,
}

impl Keeping {
    /// A transfer is under way.
    pub(super) fn begin(&mut self, now: Instant) {
        *self = Self {
            next: Some(now + ASKED_AFTER),
            ..Self::default()
        };
    }

    /// When conntrack is asked next.
    pub(super) const fn poll_timeout(&self) -> Option<Instant> {
        self.next
    }

    /// Looks after the entry, where it is time to. `expectation` is that of the transfer, if it is
    /// not over. Tells whether the entry was given its time again.
    pub(super) fn handle_timeout(
        &mut self,
        expectation: Option<Expectation>,
        tuples: &ConntrackTuples,
        context: &mut Context<'_>,
    ) -> bool {
        if self.next.take_if(|next| *next <= context.now).is_none() {
            return false;
        }
        let looked = expectation.and_then(|one| self.look_after(&one, tuples, context));
        self.next = looked.map(|(after, _)| context.now + after.max(INTERVAL_MIN));
        looked.is_some_and(|(_, is_extended)| is_extended)
    }

    /// Gives the entry its whole time again, where half of it is over and data flows. Tells when to
    /// ask again, and whether it has; `None` where the transfer is over, or conntrack does not
    /// tell.
    fn look_after(
        &mut self,
        expectation: &Expectation,
        tuples: &ConntrackTuples,
        context: &mut Context<'_>,
    ) -> Option<(Duration, bool)> {
        let left = context.kernel.lifetime(tuples)?;
        // Nobody has spoken since the transfer began, as far as the first question goes.
        let first = left + ASKED_AFTER;
        let lifetime = left.max(*self.lifetime.get_or_insert(first));
        self.lifetime = Some(lifetime);
        let until_half = left.saturating_sub(lifetime / 2);
        if !until_half.is_zero() {
            return Some((until_half, false));
        }
        let data = match self.data {
            Some(known) => context.kernel.are_alive(&[known]).pop(),
            None => match context.kernel.find_expected(expectation) {
                Ok(found) => found,
                Err(_) => return Some((left / 2, false)),
            },
        };
        self.data = Some(data?);
        context.kernel.extend(tuples, lifetime);
        Some((lifetime / 2, true))
    }
}
