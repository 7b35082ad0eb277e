//! When a line may run: it counts as a request of its job's tenant, and waits where a client is refused.
//!
//! A job has time. Whatever stands in its way at the door passes, so that a line is never given up for it;
//! a job that shall not wait any longer is cancelled.

use crate::failure::{Failure, Retry};
use crate::flow::{Flow, Permit, Tenant};
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Wait after a refusal that does not say how long.
const PAUSE: Duration = Duration::from_secs(1);

/// What time it is, and the wait until later.
pub(super) trait Clock: Send + Sync {
    fn now(&self) -> Instant;

    fn sleep(&self, time: Duration) -> impl Future<Output = ()> + Send;
}

/// The machine's clock.
pub(super) struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Instant {
        Instant::now()
    }

    fn sleep(&self, time: Duration) -> impl Future<Output = ()> + Send {
        tokio::time::sleep(time)
    }
}

/// Waits until `tenant` has a line of `bytes` left of its rates, and then for a place, as often for at
/// most `wait` as it takes.
pub(super) async fn turn(
    flow: &Flow,
    tenant: &Arc<Tenant>,
    bytes: usize,
    wait: Duration,
    clock: &impl Clock,
) -> Permit {
    // Bytes first: a request that then waits for them would be taken from its rate again and again.
    while let Err(failure) = flow.take_body(tenant, bytes, clock.now()) {
        clock.sleep(pause(&failure)).await;
    }
    loop {
        let now = clock.now();
        match flow.enter(tenant.clone(), now, now + wait).await {
            Ok(permit) => return permit,
            Err(failure) => clock.sleep(pause(&failure)).await,
        }
    }
}

fn pause(failure: &Failure) -> Duration {
    match failure.retry {
        Retry::After(time) => time,
        Retry::Unsaid | Retry::Never => PAUSE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::GatewayConfig;
    use std::sync::Mutex;

    const SECOND: Duration = Duration::from_secs(1);
    const TICK: Duration = Duration::from_nanos(1);

    /// Time that passes only by waiting. A wait lets go of what is in `until_wait`.
    struct Simulated {
        start: Instant,
        passed: Mutex<Duration>,
        until_wait: Mutex<Option<Permit>>,
    }

    impl Simulated {
        fn new() -> Simulated {
            let start = Instant::now() + SECOND;
            Simulated { start, passed: Mutex::default(), until_wait: Mutex::new(None) }
        }

        fn passed(&self) -> Duration {
            *self.passed.lock().unwrap()
        }

        fn pass(&self, time: Duration) {
            *self.passed.lock().unwrap() += time;
        }
    }

    impl Clock for Simulated {
        fn now(&self) -> Instant {
            self.start + self.passed()
        }

        fn sleep(&self, time: Duration) -> impl Future<Output = ()> + Send {
            self.pass(time);
            drop(self.until_wait.lock().unwrap().take());
            std::future::ready(())
        }
    }

    fn flow(change: impl FnOnce(&mut GatewayConfig)) -> Flow {
        let mut config = GatewayConfig::default();
        change(&mut config);
        assert_eq!(config.validate(), Ok(()));
        Flow::new(&config)
    }

    /// When each of `lines` lines of `bytes` has its turn.
    async fn turns(
        flow: &Flow,
        tenant: &Arc<Tenant>,
        (lines, bytes): (usize, usize),
        clock: &Simulated,
    ) -> Vec<Duration> {
        let mut times = Vec::new();
        for _ in 0..lines {
            drop(turn(flow, tenant, bytes, SECOND, clock).await);
            times.push(clock.passed());
        }
        times
    }

    #[tokio::test]
    async fn lines_wait_for_the_rate_that_calls_have_too() {
        let flow = flow(|c| {
            c.flow.default.requests_per_minute = Some(60);
            c.flow.default.requests_burst = Some(2);
        });
        let (acme, clock) = (Arc::new(Tenant::new("acme")), Simulated::new());
        let times = turns(&flow, &acme, (5, 10), &clock).await;
        assert_eq!(times, [0, 0, 1, 2, 3].map(Duration::from_secs));
        // What lines took is missing to a call, to the nanosecond, and the other way round.
        let call = |at| flow.enter(acme.clone(), at, at + SECOND);
        let refused = call(clock.now()).await.err().unwrap();
        assert_eq!((refused.status.as_u16(), refused.retry), (429, Retry::After(SECOND)));
        clock.pass(SECOND - TICK);
        assert_eq!(call(clock.now()).await.err().unwrap().retry, Retry::After(TICK));
        clock.pass(TICK);
        assert!(call(clock.now()).await.is_ok());
        assert_eq!(turns(&flow, &acme, (1, 10), &clock).await, [5 * SECOND]);
        let other = Arc::new(Tenant::new("other"));
        assert_eq!(turns(&flow, &other, (2, 10), &clock).await, [5 * SECOND; 2]);
    }

    #[tokio::test]
    async fn lines_wait_for_the_rate_of_bytes_and_use_up_no_requests_meanwhile() {
        let flow = flow(|c| {
            c.flow.default.body_bytes_per_second = Some(1000);
            c.flow.default.body_bytes_burst = Some(1000);
            c.flow.default.requests_per_minute = Some(1);
            c.flow.default.requests_burst = Some(4);
        });
        let (acme, clock) = (Arc::new(Tenant::new("acme")), Simulated::new());
        let times = turns(&flow, &acme, (4, 600), &clock).await;
        assert_eq!(times, [0, 200, 800, 1400].map(Duration::from_millis));
        let late = turns(&flow, &acme, (1, 600), &clock).await;
        assert_eq!(late, [60 * SECOND], "the fifth request");
    }

    #[tokio::test]
    async fn a_line_takes_a_place_and_waits_for_one_without_giving_up() {
        let flow = flow(|c| (c.in_flight_max, c.flow.queue_max) = (1, 0));
        let (acme, clock) = (Arc::new(Tenant::new("acme")), Simulated::new());
        let held = turn(&flow, &acme, 10, SECOND, &clock).await;
        assert_eq!((flow.in_flight(), clock.passed()), (1, Duration::ZERO));
        let now = Instant::now();
        let refused = flow.enter(acme.clone(), now, now + SECOND).await.err().unwrap();
        assert_eq!(refused.status.as_u16(), 503, "calls are refused meanwhile");
        *clock.until_wait.lock().unwrap() = Some(held);
        drop(turn(&flow, &acme, 10, SECOND, &clock).await);
        assert!(clock.passed() > Duration::ZERO);
        assert_eq!(flow.in_flight(), 0);
    }
}
