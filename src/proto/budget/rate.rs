//! A token bucket that is one point in time (the generic cell rate algorithm, ITU-T I.371 annex A).

use std::time::{Duration, Instant};

/// The time over which a rate is averaged: so much may be spent at once after a rest.
pub const BURST: Duration = Duration::from_secs(10);

/// What was spent of a rate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Budget {
    /// When all that was spent will have come in again.
    even_at: Option<Instant>,
}

impl Budget {
    /// A bucket from which nothing was taken.
    pub const FULL: Self = Self { even_at: None };

    /// Spends `count` of `rate` a second, unless more was spent already than a [`BURST`] has.
    ///
    /// The last one may overdraw: a segment's commands are spent as a whole.
    pub fn spend(&mut self, count: u32, rate: u32, now: Instant) -> bool {
        self.spend_within(BURST, (count, rate), now)
    }

    /// The same with another time over which the rate is averaged.
    pub fn spend_within(
        &mut self,
        burst: Duration,
        (count, rate): (u32, u32),
        now: Instant,
    ) -> bool {
        let even_at = self.even_at.map_or(now, |at| at.max(now));
        if even_at.saturating_duration_since(now) >= burst {
            return false;
        }
        // Rounded up, or so many thirds of a second would be less than a second.
        let rate = rate.max(1);
        let costs = Duration::from_secs(1).saturating_mul(count);
        let cost = costs.saturating_add(Duration::from_nanos(u64::from(rate) - 1)) / rate;
        self.even_at = even_at.checked_add(cost);
        true
    }

    /// Whether nothing is missing: forgetting it changes nothing.
    #[must_use]
    pub fn is_whole(&self, now: Instant) -> bool {
        self.even_at.is_none_or(|at| at <= now)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::proto::test_origin;

    #[test]
    fn a_burst_is_spent_at_once_and_comes_in_again_at_the_rate() {
        let mut budget = Budget::default();
        let spent =
            |budget: &mut Budget, now| (0..1000).filter(|_| budget.spend(1, 5, now)).count();
        assert_eq!(spent(&mut budget, test_origin()), 50);
        assert_eq!(spent(&mut budget, test_origin()), 0);
        assert_eq!(
            spent(&mut budget, test_origin() + Duration::from_secs(2)),
            10
        );
        assert!(!budget.is_whole(test_origin() + Duration::from_millis(11_999)));
        assert!(budget.is_whole(test_origin() + Duration::from_secs(12)));
        assert_eq!(
            spent(&mut budget, test_origin() + Duration::from_secs(3600)),
            50
        );
    }

    #[test]
    fn what_is_spent_as_a_whole_may_overdraw_once() {
        let mut budget = Budget::default();
        assert!(budget.spend(1000, 10, test_origin()));
        assert!(!budget.spend(1, 10, test_origin() + Duration::from_secs(89)));
        assert!(budget.spend(1, 10, test_origin() + Duration::from_millis(90_001)));
    }

    proptest! {
        /// In any window, a bucket gives no more than the window's rate and one burst.
        #[test]
        fn no_schedule_gets_more_than_rate_and_burst(
            rate in 1u32..1000,
            waits in prop::collection::vec(0u64..50_000, 1..300),
        ) {
            let (mut budget, mut now, mut spent) = (Budget::default(), test_origin(), 0u32);
            for wait in waits {
                now += Duration::from_micros(wait);
                for _ in 0..100 {
                    spent += u32::from(budget.spend(1, rate, now));
                }
            }
            let time = now - test_origin() + BURST;
            prop_assert!(f64::from(spent) <= time.as_secs_f64() * f64::from(rate) + 1.0);
        }
    }
}
