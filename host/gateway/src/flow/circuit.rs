//! A circuit breaker (Nygard, *Release It!*): calls that keep failing are refused without trying, until
//! a few probes show that they work again. A pure function of what happened and the time.

use std::time::{Duration, Instant};

/// Calls of the last so long count for the share of failures.
const WINDOW: Duration = Duration::from_secs(10);

/// When a circuit opens, and how it closes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CircuitRules {
    /// Failures in a row that open it, at least 1.
    pub failures_in_a_row: u32,
    /// Failures, in percent of the calls of ten seconds, that open it: 1 to 100.
    pub failures_percent: u32,
    /// Least calls in ten seconds for that share to count.
    pub calls_min: u32,
    /// How long it stays open at first; twice as long after each failed probe.
    pub open: Duration,
    /// Longest time that it stays open.
    pub open_max: Duration,
    /// Probes that must succeed in a row to close it, at least 1. One is on its way at a time.
    pub probes: u32,
}

/// One circuit. Ask [`Circuit::admit`] before a call and say how it went afterwards.
#[derive(Clone, Debug)]
pub struct Circuit {
    state: State,
    in_a_row: u32,
    window_since: Option<Instant>,
    calls: u32,
    failures: u32,
    open: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Closed,
    Open { until: Instant },
    HalfOpen { succeeded: u32, probe_until: Option<Instant> },
}

/// What [`Circuit::admit`] says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pass {
    /// Call, and say how it went.
    Call,
    /// Call, and say how it went: whether the circuit closes depends on it.
    Probe,
    /// Do not call. Worth another try after this time.
    Refused(Duration),
}

impl Default for Circuit {
    fn default() -> Circuit {
        Circuit {
            state: State::Closed,
            in_a_row: 0,
            window_since: None,
            calls: 0,
            failures: 0,
            open: Duration::ZERO,
        }
    }
}

impl Circuit {
    /// Whether a call may be tried at `now`. A probe that never says how it went is given up after the
    /// time that the circuit was open.
    pub fn admit(&mut self, rules: &CircuitRules, now: Instant) -> Pass {
        let (succeeded, probing) = match self.state {
            State::Closed => return Pass::Call,
            State::Open { until } => (0, Some(until)),
            State::HalfOpen { succeeded, probe_until } => (succeeded, probe_until),
        };
        if let Some(wait) = probing.map(|until| until.saturating_duration_since(now))
            && !wait.is_zero()
        {
            return Pass::Refused(wait);
        }
        let patience = self.open.max(rules.open);
        self.state = State::HalfOpen { succeeded, probe_until: Some(now + patience) };
        Pass::Probe
    }

    /// A call went well.
    pub fn succeeded(&mut self, rules: &CircuitRules, now: Instant) {
        self.in_a_row = 0;
        self.count(now);
        if let State::HalfOpen { succeeded, .. } = self.state {
            let succeeded = succeeded.saturating_add(1);
            if succeeded >= rules.probes {
                *self = Circuit::default();
            } else {
                self.state = State::HalfOpen { succeeded, probe_until: None };
            }
        }
    }

    /// A call failed, and not through its caller's fault. Whether that opened the circuit.
    pub fn failed(&mut self, rules: &CircuitRules, now: Instant) -> bool {
        self.in_a_row = self.in_a_row.saturating_add(1);
        self.count(now);
        self.failures = self.failures.saturating_add(1);
        match self.state {
            State::Closed => {
                let share = u64::from(self.failures) * 100
                    >= u64::from(self.calls) * u64::from(rules.failures_percent);
                let enough = self.calls >= rules.calls_min;
                if self.in_a_row >= rules.failures_in_a_row || enough && share {
                    self.open_for(rules.open, rules, now);
                    return true;
                }
                false
            }
            State::HalfOpen { .. } => {
                self.open_for(self.open.saturating_mul(2), rules, now);
                true
            }
            // A call that began before the circuit opened.
            State::Open { .. } => false,
        }
    }

    /// A call ended without saying anything about what was called, such as one that was cancelled.
    pub fn unsaid(&mut self) {
        if let State::HalfOpen { succeeded, .. } = self.state {
            self.state = State::HalfOpen { succeeded, probe_until: None };
        }
    }

    /// Whether calls are refused, or only probes pass.
    pub fn is_open(&self) -> bool {
        self.state != State::Closed
    }

    /// Whether it remembers anything that matters at `now`.
    pub fn is_idle(&self, now: Instant) -> bool {
        let recent =
            |since: Instant| now.saturating_duration_since(since) < WINDOW && self.failures > 0;
        match self.state {
            State::Closed => self.in_a_row == 0 && !self.window_since.is_some_and(recent),
            // Nobody has asked for long: the next call starts anew.
            State::Open { until } => now.saturating_duration_since(until) >= WINDOW,
            State::HalfOpen { probe_until, .. } => {
                probe_until.is_some_and(|until| now.saturating_duration_since(until) >= WINDOW)
            }
        }
    }

    fn open_for(&mut self, time: Duration, rules: &CircuitRules, now: Instant) {
        self.open = time.clamp(rules.open, rules.open_max.max(rules.open));
        self.state = State::Open { until: now + self.open };
        (self.in_a_row, self.window_since) = (0, None);
    }

    /// Counts a call in a window that begins anew once it is over.
    fn count(&mut self, now: Instant) {
        let over = |since| now.saturating_duration_since(since) >= WINDOW;
        if self.window_since.is_none_or(over) {
            (self.window_since, self.calls, self.failures) = (Some(now), 0, 0);
        }
        self.calls = self.calls.saturating_add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: CircuitRules = CircuitRules {
        failures_in_a_row: 3,
        failures_percent: 50,
        calls_min: 10,
        open: Duration::from_secs(5),
        open_max: Duration::from_secs(15),
        probes: 2,
    };
    const TICK: Duration = Duration::from_nanos(1);

    fn opened(now: Instant) -> Circuit {
        let mut circuit = Circuit::default();
        assert!(!circuit.failed(&RULES, now));
        assert!(!circuit.failed(&RULES, now));
        assert!(!circuit.is_open());
        assert!(circuit.failed(&RULES, now));
        circuit
    }

    #[test]
    fn failures_in_a_row_open_it_and_one_success_starts_the_row_anew() {
        let now = Instant::now();
        let mut circuit = opened(now);
        assert!(circuit.is_open());
        assert_eq!(circuit.admit(&RULES, now), Pass::Refused(RULES.open));
        let mut circuit = Circuit::default();
        for _ in 0..4 {
            assert!(!circuit.failed(&RULES, now));
            assert!(!circuit.failed(&RULES, now));
            (0..4).for_each(|_| circuit.succeeded(&RULES, now));
        }
        assert_eq!(circuit.admit(&RULES, now), Pass::Call);
    }

    #[test]
    fn half_of_ten_calls_in_ten_seconds_open_it() {
        for (later, opens) in [(WINDOW - TICK, true), (WINDOW, false)] {
            let (mut circuit, now) = (Circuit::default(), Instant::now());
            for round in 0..8 {
                if round % 2 == 0 {
                    circuit.succeeded(&RULES, now)
                } else {
                    circuit.failed(&RULES, now);
                }
            }
            circuit.succeeded(&RULES, now);
            assert!(!circuit.is_open());
            assert_eq!(circuit.failed(&RULES, now + later), opens, "{later:?}");
        }
    }

    #[test]
    fn it_lets_one_probe_through_at_its_nanosecond_and_two_successes_close_it() {
        let now = Instant::now();
        let mut circuit = opened(now);
        let edge = now + RULES.open;
        assert_eq!(circuit.admit(&RULES, edge - TICK), Pass::Refused(TICK));
        assert_eq!(circuit.admit(&RULES, edge), Pass::Probe);
        assert_eq!(circuit.admit(&RULES, edge), Pass::Refused(RULES.open));
        circuit.succeeded(&RULES, edge);
        assert!(circuit.is_open());
        assert_eq!(circuit.admit(&RULES, edge), Pass::Probe);
        circuit.succeeded(&RULES, edge);
        assert!(!circuit.is_open());
        assert_eq!(circuit.admit(&RULES, edge), Pass::Call);
        assert!(circuit.is_idle(edge));
    }

    #[test]
    fn each_failed_probe_doubles_the_time_up_to_the_limit() {
        let mut now = Instant::now();
        let mut circuit = opened(now);
        for seconds in [5, 10, 15, 15] {
            let wait = Duration::from_secs(seconds);
            assert_eq!(circuit.admit(&RULES, now), Pass::Refused(wait));
            now += wait;
            assert_eq!(circuit.admit(&RULES, now), Pass::Probe);
            assert!(circuit.failed(&RULES, now));
        }
    }

    #[test]
    fn a_probe_that_says_nothing_makes_room_for_another() {
        let now = Instant::now();
        let mut circuit = opened(now);
        let edge = now + RULES.open;
        assert_eq!(circuit.admit(&RULES, edge), Pass::Probe);
        circuit.unsaid();
        assert_eq!(circuit.admit(&RULES, edge), Pass::Probe, "cancelled");
        let lost = edge + RULES.open;
        assert_eq!(circuit.admit(&RULES, lost - TICK), Pass::Refused(TICK));
        assert_eq!(circuit.admit(&RULES, lost), Pass::Probe, "lost");
    }

    #[test]
    fn it_is_idle_once_nothing_failed_for_ten_seconds() {
        let (mut circuit, now) = (Circuit::default(), Instant::now());
        assert!(circuit.is_idle(now));
        circuit.failed(&RULES, now);
        circuit.succeeded(&RULES, now);
        assert!(!circuit.is_idle(now + WINDOW - TICK));
        assert!(circuit.is_idle(now + WINDOW));
        let circuit = opened(now);
        assert!(!circuit.is_idle(now + RULES.open + WINDOW - TICK));
        assert!(circuit.is_idle(now + RULES.open + WINDOW));
    }
}
