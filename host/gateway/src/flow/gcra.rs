//! Rates: the generic cell rate algorithm (ITU-T I.371, also known as a leaky bucket as a meter).
//!
//! A bucket is one number, the *theoretical arrival time*: when all that was taken so far is paid
//! for. Taking units moves it on by the time that they cost; it may be ahead of now by as much as
//! the burst costs. Whole nanoseconds since a start that the caller chooses; costs are rounded down,
//! so that a burst is never refused for rounding.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A rate with a burst.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rate {
    units: u64,
    per_nanos: u64,
    burst: u64,
}

/// How full a bucket is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Level {
    /// Units that may be taken at once, now.
    pub(crate) left: u64,
    /// Until one more may be taken; nothing if that is a whole burst already.
    pub(crate) more_in: Duration,
}

impl Rate {
    /// `units` each `per`, at most `burst` at once. Zeros count as 1.
    pub(crate) fn new(units: u64, per: Duration, burst: u64) -> Rate {
        let per_nanos = u64::try_from(per.as_nanos()).unwrap_or(u64::MAX);
        Rate { units: units.max(1), per_nanos, burst: burst.max(1) }
    }

    /// Units that may be taken at once.
    pub(crate) fn burst(&self) -> u64 {
        self.burst
    }

    /// The time in which a whole burst comes back.
    pub(crate) fn window(&self) -> Duration {
        Duration::from_nanos(self.cost(self.burst))
    }

    /// Units that come back in a second.
    pub(crate) fn each_second(&self) -> u64 {
        let units = u128::from(self.units) * 1_000_000_000 / u128::from(self.per_nanos.max(1));
        u64::try_from(units).unwrap_or(u64::MAX)
    }

    /// Nanoseconds in which `units` come back.
    fn cost(&self, units: u64) -> u64 {
        let nanos = u128::from(units) * u128::from(self.per_nanos) / u128::from(self.units);
        u64::try_from(nanos).unwrap_or(u64::MAX)
    }

    /// The arrival time after taking `units` at `now`, or how many nanoseconds are missing. More
    /// units than a burst need a full bucket and leave a debt.
    fn take(&self, arrival: u64, now: u64, units: u64) -> Result<u64, u64> {
        let start = arrival.max(now);
        let edge = (start - now).saturating_add(self.cost(units.min(self.burst)));
        match edge.checked_sub(self.cost(self.burst)) {
            None | Some(0) => Ok(start.saturating_add(self.cost(units))),
            Some(missing) => Err(missing),
        }
    }

    fn level(&self, arrival: u64, now: u64) -> Level {
        let owed = arrival.saturating_sub(now);
        let free = self.cost(self.burst).saturating_sub(owed);
        let left = u128::from(free) * u128::from(self.units) / u128::from(self.per_nanos.max(1));
        let left = u64::try_from(left).unwrap_or(u64::MAX).min(self.burst);
        let room = self.cost(self.burst).saturating_sub(self.cost(left.saturating_add(1)));
        Level { left, more_in: Duration::from_nanos(owed.saturating_sub(room)) }
    }
}

/// What was taken at some rate, shared by threads without a lock.
#[derive(Debug, Default)]
pub(crate) struct Bucket {
    arrival: AtomicU64,
}

impl Bucket {
    /// Takes `units`, `now` nanoseconds after the start; or says how long to wait first.
    pub(crate) fn take(&self, rate: &Rate, now: u64, units: u64) -> Result<(), Duration> {
        let step = |arrival| rate.take(arrival, now, units).ok();
        let taken = self.arrival.fetch_update(Ordering::Relaxed, Ordering::Relaxed, step);
        taken.map(|_| ()).map_err(|arrival| {
            let missing = rate.take(arrival, now, units).err().unwrap_or(1);
            Duration::from_nanos(missing)
        })
    }

    /// Takes `units` even if that leaves a debt.
    pub(crate) fn charge(&self, rate: &Rate, now: u64, units: u64) {
        let step = |arrival: u64| Some(arrival.max(now).saturating_add(rate.cost(units)));
        let _ = self.arrival.fetch_update(Ordering::Relaxed, Ordering::Relaxed, step);
    }

    /// How full it is.
    pub(crate) fn level(&self, rate: &Rate, now: u64) -> Level {
        rate.level(self.arrival.load(Ordering::Relaxed), now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: u64 = 1_000_000_000;

    fn rate(units: u64, burst: u64) -> Rate {
        Rate::new(units, Duration::from_secs(1), burst)
    }

    #[test]
    fn a_unit_comes_back_exactly_when_its_time_is_over() {
        let (rate, bucket) = (rate(2, 2), Bucket::default());
        let at = SECOND * 7;
        assert_eq!(bucket.take(&rate, at, 1), Ok(()));
        assert_eq!(bucket.take(&rate, at, 1), Ok(()));
        assert_eq!(bucket.take(&rate, at, 1), Err(Duration::from_millis(500)));
        let edge = at + SECOND / 2;
        assert_eq!(bucket.take(&rate, edge - 1, 1), Err(Duration::from_nanos(1)));
        assert_eq!(bucket.take(&rate, edge, 1), Ok(()));
        assert_eq!(bucket.take(&rate, edge, 1), Err(Duration::from_millis(500)));
        assert_eq!(bucket.take(&rate, edge + SECOND / 2 + 1, 1), Ok(()));
    }

    #[test]
    fn a_burst_is_not_refused_for_rounding_and_idling_saves_no_more_than_it() {
        for (units, burst) in [(3, 3), (7, 49), (999_983, 1_000)] {
            let (rate, bucket) = (rate(units, burst), Bucket::default());
            for at in [0, 3600 * SECOND] {
                for _ in 0..burst {
                    assert_eq!(bucket.take(&rate, at, 1), Ok(()), "{units} {burst}");
                }
                assert!(bucket.take(&rate, at, 1).is_err(), "{units} {burst}");
            }
        }
    }

    #[test]
    fn more_than_a_burst_needs_a_full_bucket_and_leaves_a_debt() {
        let (rate, bucket) = (rate(1_000, 1_000), Bucket::default());
        assert_eq!(bucket.take(&rate, 0, 3_000), Ok(()));
        let more_in = Duration::from_millis(2_001);
        assert_eq!(bucket.level(&rate, 0), Level { left: 0, more_in });
        assert_eq!(bucket.take(&rate, 2 * SECOND, 1), Err(Duration::from_millis(1)));
        assert_eq!(bucket.take(&rate, 2 * SECOND + SECOND / 1_000, 1), Ok(()));
        let again = Bucket::default();
        assert_eq!(again.take(&rate, 0, 1), Ok(()));
        assert_eq!(again.take(&rate, 0, 3_000), Err(Duration::from_millis(1)));
        again.charge(&rate, 0, 2_999);
        assert_eq!(again.level(&rate, 0), Level { left: 0, more_in });
    }

    #[test]
    fn the_level_says_what_is_left_and_when_one_more_is() {
        let (rate, bucket) = (Rate::new(60, Duration::from_secs(60), 5), Bucket::default());
        assert_eq!(rate.window(), Duration::from_secs(5));
        assert_eq!(bucket.level(&rate, 9), Level { left: 5, more_in: Duration::ZERO });
        bucket.take(&rate, 0, 2).unwrap();
        assert_eq!(bucket.level(&rate, 0), Level { left: 3, more_in: Duration::from_secs(1) });
        let soon = Level { left: 3, more_in: Duration::from_nanos(1) };
        assert_eq!(bucket.level(&rate, SECOND - 1), soon);
        assert_eq!(bucket.level(&rate, SECOND).left, 4);
    }

    #[test]
    fn extremes_do_not_overflow() {
        let rate = Rate::new(0, Duration::MAX, 1 << 40);
        let bucket = Bucket::default();
        bucket.charge(&rate, u64::MAX, u64::MAX);
        assert_eq!(bucket.level(&rate, 0).left, 0);
        assert_eq!(bucket.take(&rate, u64::MAX, u64::MAX), Ok(()), "all time has passed");
        let rate = Rate::new(u64::MAX, Duration::ZERO, u64::MAX);
        assert_eq!(Bucket::default().take(&rate, 0, u64::MAX), Ok(()));
    }

    proptest! {
        /// Whatever the arrivals, no window lets through more than a burst and what came back.
        #[test]
        fn no_window_lets_more_through(
            units in 1u64..2_000, burst in 1u64..50, gaps in prop::collection::vec(0u64..5_000_000, 1..300)
        ) {
            let (rate, bucket) = (rate(units, burst), Bucket::default());
            let (mut now, mut passed) = (0, 0);
            for gap in gaps {
                now += gap;
                passed += u64::from(bucket.take(&rate, now, 1).is_ok());
                let allowed = u128::from(burst) + u128::from(now) * u128::from(units) / u128::from(SECOND);
                // One more at most, for costs that are rounded down.
                prop_assert!(u128::from(passed) <= allowed + 1);
            }
        }
    }
}
