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

/// Looks after the entry during transfers. An idle session has nothing of it.
#[derive(Clone, Debug, Default)]
pub(super) struct Keeping(Option<Box<Transfer>>);

/// What is known of the entry during one transfer.
#[derive(Clone, Copy, Debug)]
struct Transfer {
    /// When conntrack is asked next.
    next: Instant,
    /// How long the entry lives without packets.
    lifetime: Option<Duration>,
    /// The first packet of the data connection, once it was found.
    data: Option<Tuple>,
}

impl Keeping {
    /// A transfer is under way.
    pub(super) fn begin(&mut self, now: Instant) {
        self.0 = Some(Box::new(Transfer {
            next: now + ASKED_AFTER,
            lifetime: None,
            data: None,
        }));
    }

    /// No transfer is under way any more.
    pub(super) fn end(&mut self) {
        self.0 = None;
    }

    /// When conntrack is asked next.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.0.as_ref().map(|transfer| transfer.next)
    }

    /// Bytes of memory behind this value, not counting the value itself.
    pub(super) fn heap_bytes(&self) -> usize {
        self.0.as_ref().map_or(0, |_| size_of::<Transfer>())
    }

    /// Looks after the entry, where it is time to. `expectation` is that of the transfer, if it is
    /// not over. Tells whether the entry was given its time again.
    pub(super) fn handle_timeout(
        &mut self,
        expectation: Option<Expectation>,
        tuples: &ConntrackTuples,
        context: &mut Context<'_>,
    ) -> bool {
        let is_due = |transfer: &mut Box<Transfer>| transfer.next <= context.now;
        let Some(mut transfer) = self.0.take_if(is_due) else {
            return false;
        };
        let looked = expectation.and_then(|one| transfer.look_after(&one, tuples, context));
        let Some((after, is_extended)) = looked else {
            return false;
        };
        transfer.next = context.now + after.max(INTERVAL_MIN);
        self.0 = Some(transfer);
        is_extended
    }
}

impl Transfer {
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
