//! A token bucket that is one point in time (the generic cell rate algorithm, ITU-T I.371 annex A).

use std::time::{Duration, Instant};

/// The depth of a bucket, as the time in which its rate fills it. After ten idle seconds the tokens
/// of ten seconds may be taken at once.
pub const BURST: Duration = Duration::from_secs(10);

/// A token bucket. Its rate is an argument of each call, so that a reload can change it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TokenBucket {
    /// When the bucket will be full again; `None` where nothing was taken yet.
    full_at: Option<Instant>,
}

impl TokenBucket {
    /// A bucket from which nothing was taken.
    pub const FULL: Self = Self { full_at: None };

    /// Takes `count` tokens, of which `rate` come in each second. `false` where the bucket, which
    /// is [`BURST`] deep, is empty.
    ///
    /// The last call before that may overdraw, because a segment's commands are taken as a whole.
    pub fn take(&mut self, count: u32, rate: u32, now: Instant) -> bool {
        self.take_within(BURST, count, rate, now)
    }

    /// [`take`](Self::take) for a bucket of another depth.
    pub fn take_within(&mut self, depth: Duration, count: u32, rate: u32, now: Instant) -> bool {
        let full_at = self.full_at.map_or(now, |at| at.max(now));
        if full_at.saturating_duration_since(now) >= depth {
            return false;
        }
        // Rounded up. Otherwise three tokens of a third of a second each would cost less than one
        // second, and in the long run more than the rate would be taken.
        let rate = rate.max(1);
        let costs = Duration::from_secs(1).saturating_mul(count);
        let cost = costs.saturating_add(Duration::from_nanos(u64::from(rate) - 1)) / rate;
        self.full_at = full_at.checked_add(cost);
        true
    }

    /// Takes one token of a bucket that saves those of one second.
    pub fn take_one(&mut self, rate: u32, now: Instant) -> bool {
        self.take_within(Duration::from_secs(1), 1, rate, now)
    }

    /// Whether the bucket is full, so that forgetting it changes nothing.
    #[must_use]
    pub fn is_full(&self, now: Instant) -> bool {
        self.full_at.is_none_or(|at| at <= now)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::proto::test_origin;

    #[test]
    fn a_burst_is_taken_at_once_and_comes_in_again_at_the_rate() {
        let mut bucket = TokenBucket::default();
        let taken =
            |bucket: &mut TokenBucket, now| (0..1000).filter(|_| bucket.take(1, 5, now)).count();
        assert_eq!(taken(&mut bucket, test_origin()), 50);
        assert_eq!(taken(&mut bucket, test_origin()), 0);
        assert_eq!(
            taken(&mut bucket, test_origin() + Duration::from_secs(2)),
            10
        );
        assert!(!bucket.is_full(test_origin() + Duration::from_millis(11_999)));
        assert!(bucket.is_full(test_origin() + Duration::from_secs(12)));
        assert_eq!(
            taken(&mut bucket, test_origin() + Duration::from_secs(3600)),
            50
        );
    }

    #[test]
    fn a_count_that_is_taken_as_a_whole_may_overdraw_once() {
        let mut bucket = TokenBucket::default();
        assert!(bucket.take(1000, 10, test_origin()));
        assert!(!bucket.take(1, 10, test_origin() + Duration::from_secs(89)));
        assert!(bucket.take(1, 10, test_origin() + Duration::from_millis(90_001)));
    }

    proptest! {
        /// In any window, a bucket gives no more than the window's rate and one burst.
        #[test]
        fn no_schedule_gets_more_than_rate_and_burst(
            rate in 1u32..1000,
            waits in prop::collection::vec(0u64..50_000, 1..300),
        ) {
            let (mut bucket, mut now, mut taken) = (TokenBucket::default(), test_origin(), 0u32);
            for wait in waits {
                now += Duration::from_micros(wait);
                for _ in 0..100 {
                    taken += u32::from(bucket.take(1, rate, now));
                }
            }
            let time = now - test_origin() + BURST;
            prop_assert!(f64::from(taken) <= time.as_secs_f64() * f64::from(rate) + 1.0);
        }
    }
}
