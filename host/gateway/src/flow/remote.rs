//! Calls to others, such as exporters and key servers: a circuit, and a budget for retries, so that a
//! remote that is down is asked rarely and a slow one is not asked twice as often.

use super::circuit::{Circuit, CircuitRules, Pass};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Hundredths of a retry.
const RETRY: u64 = 100;

/// How a remote is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RemoteRules {
    /// When it is not asked at all.
    pub circuit: CircuitRules,
    /// Retries, in percent of calls.
    pub retries_percent: u32,
    /// Retries a second that are allowed however few calls there are.
    pub retries_per_second: u32,
    /// Retries that can be saved up.
    pub retries_max: u32,
}

impl Default for RemoteRules {
    /// Five failures in a row close it for a second, up to a minute; one retry in five calls, and one
    /// a second; ten can be saved up.
    fn default() -> RemoteRules {
        RemoteRules {
            circuit: CircuitRules {
                failures_in_a_row: 5,
                failures_percent: 50,
                calls_min: 20,
                open: Duration::from_secs(1),
                open_max: Duration::from_secs(60),
                probes: 1,
            },
            retries_percent: 20,
            retries_per_second: 1,
            retries_max: 10,
        }
    }
}

/// One remote, shared by whoever calls it.
#[derive(Debug)]
pub struct Remote {
    rules: RemoteRules,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    circuit: Circuit,
    /// In hundredths of a retry.
    balance: u64,
    refilled: Option<Instant>,
}

impl Remote {
    /// A remote that has not been called yet.
    pub fn new(rules: RemoteRules) -> Remote {
        let balance = u64::from(rules.retries_max) * RETRY;
        let state = State { circuit: Circuit::default(), balance, refilled: None };
        Remote { rules, state: Mutex::new(state) }
    }

    /// Whether to call it at `now`; say afterwards how it went. A first attempt pays into the budget
    /// for retries, so `retry` says which this is.
    ///
    /// # Errors
    /// The time after which another attempt is worthwhile: the circuit is open, or the budget for
    /// retries is used up.
    pub fn admit(&self, retry: bool, now: Instant) -> Result<(), Duration> {
        let mut state = self.state();
        self.refill(&mut state, now);
        if retry && state.balance < RETRY {
            return Err(Duration::from_secs(1));
        }
        match state.circuit.admit(&self.rules.circuit, now) {
            Pass::Refused(wait) => return Err(wait),
            Pass::Call | Pass::Probe => {}
        }
        if retry {
            state.balance -= RETRY;
        } else {
            let saved = state.balance + u64::from(self.rules.retries_percent);
            state.balance = saved.min(self.balance_max());
        }
        Ok(())
    }

    /// A call went well.
    pub fn succeeded(&self, now: Instant) {
        self.state().circuit.succeeded(&self.rules.circuit, now);
    }

    /// A call failed.
    pub fn failed(&self, now: Instant) {
        self.state().circuit.failed(&self.rules.circuit, now);
    }

    /// Whether it is asked only now and then.
    pub fn is_open(&self) -> bool {
        self.state().circuit.is_open()
    }

    fn refill(&self, state: &mut State, now: Instant) {
        let since = *state.refilled.get_or_insert(now);
        let millis = now.saturating_duration_since(since).as_millis();
        let millis = u64::try_from(millis).unwrap_or(u64::MAX);
        let more = millis.saturating_mul(u64::from(self.rules.retries_per_second)) * RETRY / 1000;
        if more > 0 {
            state.balance = state.balance.saturating_add(more).min(self.balance_max());
            state.refilled = Some(now);
        }
    }

    fn balance_max(&self) -> u64 {
        u64::from(self.rules.retries_max) * RETRY
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn remote(percent: u32, per_second: u32) -> Remote {
        let rules = RemoteRules::default();
        Remote::new(RemoteRules {
            retries_percent: percent,
            retries_per_second: per_second,
            retries_max: 2,
            ..rules
        })
    }

    #[test]
    fn retries_are_paid_by_calls() {
        let (remote, now) = (remote(20, 0), Instant::now());
        assert_eq!(remote.admit(true, now), Ok(()));
        assert_eq!(remote.admit(true, now), Ok(()));
        assert_eq!(remote.admit(true, now), Err(Duration::from_secs(1)), "saved ones are used up");
        for call in 1..=5 {
            assert!(remote.admit(true, now).is_err(), "{call}");
            assert_eq!(remote.admit(false, now), Ok(()));
        }
        assert_eq!(remote.admit(true, now), Ok(()));
        assert!(remote.admit(true, now).is_err());
    }

    #[test]
    fn retries_come_back_with_time_up_to_the_limit() {
        let (remote, now) = (remote(0, 1), Instant::now());
        let at = |millis| now + Duration::from_millis(millis);
        (0..2).for_each(|_| assert!(remote.admit(true, now).is_ok()));
        assert!(remote.admit(true, at(999)).is_err());
        assert!(remote.admit(true, at(1999)).is_ok());
        assert!(remote.admit(true, at(1999)).is_err());
        (0..2).for_each(|_| assert!(remote.admit(true, at(60_000)).is_ok()));
        assert!(remote.admit(true, at(60_000)).is_err());
    }

    #[test]
    fn a_remote_that_is_down_is_not_asked() {
        let (remote, now) = (remote(20, 1), Instant::now());
        for _ in 0..5 {
            assert_eq!(remote.admit(false, now), Ok(()));
            remote.failed(now);
        }
        let second = Duration::from_secs(1);
        assert_eq!(remote.admit(false, now), Err(second));
        assert!(remote.is_open());
        assert_eq!(remote.admit(false, now + second), Ok(()));
        remote.succeeded(now + second);
        assert!(!remote.is_open());
    }
}
