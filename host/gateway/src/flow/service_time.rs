//! How long requests hold a place: a moving histogram, kept without a lock.
//!
//! Four buckets an octave of microseconds, so that a quantile is right to an eighth. After 1,024
//! requests all counts are halved, so that the figures follow the load.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

const BUCKETS: usize = 128;
/// Requests after which the past counts half.
const HALVED_AFTER: u32 = 1024;
/// Requests after which mean and quantile are computed again, once there are that many.
const COMPUTED_AFTER: u32 = 32;
/// The share of requests that are no longer than the quantile, in percent.
const QUANTILE: u64 = 90;

/// Times of recent requests.
#[derive(Debug)]
pub(crate) struct ServiceTimes {
    counts: [AtomicU32; BUCKETS],
    total: AtomicU32,
    mean_micros: AtomicU64,
    quantile_micros: AtomicU64,
}

impl Default for ServiceTimes {
    fn default() -> ServiceTimes {
        ServiceTimes {
            counts: std::array::from_fn(|_| AtomicU32::new(0)),
            total: AtomicU32::new(0),
            mean_micros: AtomicU64::new(0),
            quantile_micros: AtomicU64::new(0),
        }
    }
}

impl ServiceTimes {
    /// Counts a request.
    pub(crate) fn record(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.counts[bucket(micros)].fetch_add(1, Ordering::Relaxed);
        let total = self.total.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        if total >= HALVED_AFTER {
            self.halve();
        } else if total.is_multiple_of(COMPUTED_AFTER)
            || total < COMPUTED_AFTER && total.is_power_of_two()
        {
            self.compute();
        }
    }

    /// Mean; zero before the first request.
    pub(crate) fn mean(&self) -> Duration {
        Duration::from_micros(self.mean_micros.load(Ordering::Relaxed))
    }

    /// What nine of ten requests take at most; zero before the first request.
    pub(crate) fn quantile(&self) -> Duration {
        Duration::from_micros(self.quantile_micros.load(Ordering::Relaxed))
    }

    /// Requests that are counted meanwhile may be lost; nobody relies on one of them.
    fn halve(&self) {
        let mut total = 0;
        for count in &self.counts {
            let half = count.load(Ordering::Relaxed) / 2;
            count.store(half, Ordering::Relaxed);
            total += half;
        }
        self.total.store(total, Ordering::Relaxed);
        self.compute();
    }

    fn compute(&self) {
        let counts: [u64; BUCKETS] =
            std::array::from_fn(|at| u64::from(self.counts[at].load(Ordering::Relaxed)));
        let total: u64 = counts.iter().sum();
        if total == 0 {
            return;
        }
        let (mut below, mut sum, mut quantile) = (0, 0, 0);
        for (at, &count) in counts.iter().enumerate() {
            if count > 0 && below * 100 < total * QUANTILE {
                quantile = middle(at);
            }
            below += count;
            sum += count * middle(at);
        }
        self.mean_micros.store((sum / total).max(1), Ordering::Relaxed);
        self.quantile_micros.store(quantile, Ordering::Relaxed);
    }
}

/// The bucket of a time: its octave, and two bits below.
fn bucket(micros: u64) -> usize {
    let shifted = micros.saturating_mul(4).max(4);
    let octave = shifted.ilog2() as usize - 2;
    let quarter = (shifted >> octave) as usize & 3;
    (octave * 4 + quarter).min(BUCKETS - 1)
}

/// The middle of a bucket, in microseconds, at least 1.
fn middle(bucket: usize) -> u64 {
    let (octave, quarter) = (bucket / 4, (bucket % 4) as u64);
    let low = (4 + quarter) << octave;
    let width = 1 << octave;
    ((2 * low + width) / 8).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(got: Duration, expected: Duration) {
        let ratio = got.as_secs_f64() / expected.as_secs_f64();
        assert!((0.87..=1.14).contains(&ratio), "{got:?} for {expected:?}");
    }

    #[test]
    fn buckets_are_right_to_an_eighth_from_microseconds_to_half_an_hour() {
        let mut last = 0;
        for power in 3..31 {
            for micros in [1 << power, (1 << power) + (1 << (power - 1)), (2 << power) - 1] {
                close(Duration::from_micros(middle(bucket(micros))), Duration::from_micros(micros));
                assert!(bucket(micros) >= last);
                last = bucket(micros);
            }
        }
        assert_eq!((bucket(0), bucket(1)), (0, 0));
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn mean_and_quantile_follow_the_load() {
        let times = ServiceTimes::default();
        assert_eq!(times.mean(), Duration::ZERO);
        times.record(Duration::from_millis(10));
        close(times.mean(), Duration::from_millis(10));
        close(times.quantile(), Duration::from_millis(10));
        for round in 0..1000 {
            times.record(Duration::from_millis(if round % 5 == 0 { 100 } else { 10 }));
        }
        close(times.mean(), Duration::from_millis(28));
        close(times.quantile(), Duration::from_millis(100));
        (0..20_000).for_each(|_| times.record(Duration::from_millis(1)));
        close(times.mean(), Duration::from_millis(1));
        close(times.quantile(), Duration::from_millis(1));
    }
}
