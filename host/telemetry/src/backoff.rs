//! How long to leave a remote alone that does not answer as it should.

use std::time::Duration;

/// Waits between attempts at one remote: each failure in a row doubles them, so that a remote that is down
/// is asked rarely.
#[derive(Clone, Debug)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    next: Duration,
}

impl Backoff {
    /// Waits of `first`, twice that, and so on, up to `longest`. Nothing is shorter than a millisecond.
    pub fn new(first: Duration, longest: Duration) -> Backoff {
        let first = first.max(Duration::from_millis(1));
        Backoff { first, longest: longest.max(first), next: first }
    }

    /// An attempt failed; the wait before the next one. What the remote asked for prolongs it, up to the
    /// longest wait, and never shortens it.
    pub fn failed(&mut self, asked: Option<Duration>) -> Duration {
        let wait = self.next.max(asked.unwrap_or_default()).min(self.longest);
        self.next = self.next.saturating_mul(2).min(self.longest);
        wait
    }

    /// An attempt went well: the next failure waits as the first did.
    pub fn succeeded(&mut self) {
        self.next = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn waits_double_up_to_the_longest_and_begin_anew_after_a_success() {
        let mut backoff = Backoff::new(SECOND, 5 * SECOND);
        let waits = [(); 5].map(|()| backoff.failed(None));
        assert_eq!(waits, [1, 2, 4, 5, 5].map(Duration::from_secs));
        backoff.succeeded();
        assert_eq!(backoff.failed(None), SECOND);
    }

    #[test]
    fn what_a_remote_asks_for_prolongs_a_wait_and_never_shortens_it() {
        let mut backoff = Backoff::new(SECOND, 60 * SECOND);
        assert_eq!(backoff.failed(Some(7 * SECOND)), 7 * SECOND);
        assert_eq!(backoff.failed(Some(Duration::ZERO)), 2 * SECOND);
        assert_eq!(backoff.failed(Some(3600 * SECOND)), 60 * SECOND);
        let mut none = Backoff::new(Duration::ZERO, Duration::ZERO);
        assert!(none.failed(None) > Duration::ZERO, "never at once");
    }

    #[test]
    fn a_remote_that_is_down_for_an_hour_is_asked_a_few_times() {
        let mut backoff = Backoff::new(SECOND, 300 * SECOND);
        let (mut passed, mut attempts) = (Duration::ZERO, 0);
        while passed < 3600 * SECOND {
            attempts += 1;
            passed += backoff.failed(Some(Duration::ZERO));
        }
        assert_eq!(attempts, 20);
    }
}
