//! Stages that could not be made, for a while: a broken model is not traced at every request.

use crate::{EngineError, Family};
use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// What failed: the stage before it, if any, and the digest of exactly what was asked of it.
pub(crate) type Asked = (Option<u64>, u64);

/// Failures by what was asked.
pub(crate) struct Failures {
    kept: Mutex<Kept>,
    /// Failures that are kept at once.
    max: usize,
    /// How long one is.
    time: Duration,
}

#[derive(Default)]
struct Kept {
    errors: HashMap<Asked, EngineError>,
    /// When each goes, the first one in front.
    ends: VecDeque<(Instant, Asked)>,
}

impl Failures {
    /// None yet; at most `max` at once, each for `time`.
    pub(crate) fn new(max: usize, time: Duration) -> Failures {
        Failures { kept: Mutex::default(), max, time }
    }

    /// The error that this came to not long before `now`.
    pub(crate) fn find(&self, asked: Asked, now: Instant) -> Option<EngineError> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.forget(now, usize::MAX);
        kept.errors.get(&asked).cloned()
    }

    /// Keeps an error, unless a later attempt may come to another; the oldest goes if there are too
    /// many.
    pub(crate) fn keep(&self, asked: Asked, error: &EngineError, now: Instant) {
        let lasting = match error.family() {
            Family::InvalidInput | Family::TooLarge | Family::Plugin | Family::Deadline => true,
            Family::Forbidden
            | Family::NotFound
            | Family::PackageRefused
            | Family::Quota
            | Family::Unavailable => false,
        };
        let Some(end) = now.checked_add(self.time) else { return };
        if !lasting || self.max == 0 || self.time.is_zero() {
            return;
        }
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.forget(now, self.max - 1);
        if kept.errors.insert(asked, error.clone()).is_none() {
            kept.ends.push_back((end, asked));
        }
    }
}

impl Kept {
    /// Forgets what is over, and the oldest until there are at most `max`.
    fn forget(&mut self, now: Instant, max: usize) {
        while let Some(&(end, asked)) = self.ends.front() {
            if end > now && self.ends.len() <= max {
                return;
            }
            self.ends.pop_front();
            self.errors.remove(&asked);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIME: Duration = Duration::from_secs(10);

    fn error(family: Family) -> EngineError {
        EngineError::new(family, "code", "message")
    }

    #[test]
    fn a_failure_is_kept_for_its_time_and_not_longer() {
        let (failures, start) = (Failures::new(8, TIME), Instant::now());
        failures.keep((None, 1), &error(Family::Plugin), start);
        let found = |asked, after| failures.find(asked, start + after).is_some();
        assert!(found((None, 1), TIME - Duration::from_millis(1)));
        assert!(!found((Some(1), 1), Duration::ZERO) && !found((None, 2), Duration::ZERO));
        assert!(!found((None, 1), TIME));
        assert!(!found((None, 1), Duration::ZERO), "it was forgotten");
    }

    #[test]
    fn the_oldest_goes_first() {
        let (failures, start) = (Failures::new(2, TIME), Instant::now());
        for digest in [1, 2, 2, 3] {
            failures.keep((None, digest), &error(Family::InvalidInput), start);
        }
        let kept = [1, 2, 3].map(|digest| failures.find((None, digest), start).is_some());
        assert_eq!(kept, [false, true, true]);
    }

    #[test]
    fn what_may_pass_by_itself_is_not_kept() {
        let (failures, start) = (Failures::new(2, TIME), Instant::now());
        failures.keep((None, 1), &error(Family::Unavailable), start);
        assert!(failures.find((None, 1), start).is_none());
        for none in [Failures::new(0, TIME), Failures::new(2, Duration::ZERO)] {
            none.keep((None, 1), &error(Family::Plugin), start);
            assert!(none.find((None, 1), start).is_none());
        }
    }
}
