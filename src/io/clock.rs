//! The clock. Time is an argument everywhere else: this is the one place that reads it.

use std::time::Instant;

/// The present time.
#[must_use]
#[expect(
    clippy::disallowed_methods,
    reason = "the one place that reads the clock"
)]
pub fn now() -> Instant {
    Instant::now()
}
