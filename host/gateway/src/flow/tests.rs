//! Flow control as room 2 uses it.

use super::*;
use crate::failure::Retry;
use std::future::Future;
use std::task::{Context, Poll, Waker};

const MS: Duration = Duration::from_millis(1);

fn flow(change: impl FnOnce(&mut GatewayConfig)) -> Flow {
    let mut config = GatewayConfig::default();
    change(&mut config);
    assert_eq!(config.validate(), Ok(()));
    Flow::new(&config)
}

fn tenant(name: &str) -> Arc<Tenant> {
    Arc::new(Tenant::new(name))
}

async fn enter(flow: &Flow, tenant: &Arc<Tenant>, now: Instant) -> Result<Permit, Failure> {
    flow.enter(tenant.clone(), now, Instant::now() + Duration::from_secs(60)).await
}

fn refused(result: Result<Permit, Failure>) -> (u16, String, Retry) {
    let failure = result.err().expect("a refusal");
    (failure.status.as_u16(), failure.code.into_owned(), failure.retry)
}

/// Polls a future once, and drops it unless it is ready.
fn poll_once<F: Future>(future: F) -> Option<F::Output> {
    let future = std::pin::pin!(future);
    match future.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}

#[tokio::test]
async fn a_tenant_s_rate_opens_again_at_its_nanosecond() {
    let flow = flow(|c| {
        c.flow.default.requests_per_minute = Some(120);
        c.flow.default.requests_burst = Some(2);
    });
    let (acme, now) = (tenant("acme"), Instant::now() + MS);
    assert!(enter(&flow, &acme, now).await.is_ok());
    assert!(enter(&flow, &acme, now).await.is_ok());
    let (status, code, retry) = refused(enter(&flow, &acme, now).await);
    assert_eq!((status, &*code, retry), (429, "rate-limit", Retry::After(500 * MS)));
    assert!(enter(&flow, &tenant("other"), now).await.is_ok());
    let tick = Duration::from_nanos(1);
    let (.., retry) = refused(enter(&flow, &acme, now + 500 * MS - tick).await);
    assert_eq!(retry, Retry::After(tick));
    assert!(enter(&flow, &acme, now + 500 * MS).await.is_ok());
    assert!(enter(&flow, &acme, now + 1000 * MS + tick).await.is_ok());
}

#[tokio::test]
async fn a_tenant_s_bytes_come_back_at_their_nanosecond() {
    let flow = flow(|c| {
        c.flow.default.body_bytes_per_second = Some(1000);
        c.flow.default.body_bytes_burst = Some(1000);
    });
    let (acme, now) = (tenant("acme"), Instant::now() + MS);
    let permit = enter(&flow, &acme, now).await.unwrap();
    let take = |bytes, at| permit.take_body(bytes, at).map_err(|failure| failure.retry);
    assert_eq!(take(600, now), Ok(()));
    assert_eq!(take(600, now), Err(Retry::After(200 * MS)));
    let tick = Duration::from_nanos(1);
    assert_eq!(take(600, now + 200 * MS - tick), Err(Retry::After(tick)));
    assert_eq!(take(600, now + 200 * MS), Ok(()));
    permit.held().charge(500, now + 200 * MS);
    assert_eq!(take(1, now + 200 * MS), Err(Retry::After(501 * MS)));
}

#[tokio::test]
async fn a_request_without_a_place_waits_for_the_next_free_one() {
    let flow = flow(|c| c.in_flight_max = 1);
    let (acme, now) = (tenant("acme"), Instant::now());
    let first = enter(&flow, &acme, now).await.unwrap();
    let leave = async {
        while flow.door.waiting() == 0 {
            tokio::task::yield_now().await;
        }
        drop(first);
    };
    let (second, ()) = tokio::join!(enter(&flow, &acme, now), leave);
    assert!(second.is_ok());
    assert_eq!((flow.in_flight(), flow.door.waiting()), (1, 0));
    drop(second);
    assert_eq!(flow.in_flight(), 0);
}

#[tokio::test]
async fn who_gives_up_waiting_leaves_no_trace() {
    let flow = flow(|c| {
        (c.in_flight_max, c.in_flight_per_tenant_max) = (1, 2);
    });
    let (acme, now) = (tenant("acme"), Instant::now());
    let first = enter(&flow, &acme, now).await.unwrap();
    for _ in 0..100 {
        assert!(poll_once(enter(&flow, &acme, now)).is_none());
        assert_eq!((flow.in_flight(), flow.door.waiting()), (1, 0));
    }
    // Given up after its place was handed over, but before it was told.
    let mut waiting = Box::pin(enter(&flow, &acme, now));
    assert!(poll_once(waiting.as_mut()).is_none());
    drop(first);
    assert_eq!((flow.in_flight(), flow.door.waiting()), (1, 0));
    drop(waiting);
    assert_eq!(flow.in_flight(), 0);
    assert!(enter(&flow, &acme, now).await.is_ok());
}

#[tokio::test]
async fn a_wait_ends_with_its_limit_and_full_queues_are_refused_at_once() {
    let flow = flow(|c| {
        (c.in_flight_max, c.flow.queue_ms_max, c.flow.queue_max) = (1, 1, 2);
        c.flow.sojourn_target_ms = 1;
        c.flow.default.queue_max = Some(1);
    });
    let (acme, now) = (tenant("acme"), Instant::now());
    let _first = enter(&flow, &acme, now).await.unwrap();
    let (status, code, _) = refused(enter(&flow, &acme, now).await);
    assert_eq!((status, &*code), (503, "overloaded"), "after a millisecond");
    let mut waiting = [(); 2].map(|()| Box::pin(enter(&flow, &acme, now)));
    assert!(poll_once(waiting[0].as_mut()).is_none());
    let (status, code, _) = refused(poll_once(waiting[1].as_mut()).unwrap());
    assert_eq!((status, &*code), (429, "tenant-queue"));
    let other = tenant("other");
    let mut second = Box::pin(enter(&flow, &other, now));
    assert!(poll_once(second.as_mut()).is_none());
    let third = tenant("third");
    let (status, code, _) = refused(poll_once(enter(&flow, &third, now)).unwrap());
    assert_eq!((status, &*code), (503, "overloaded"));
    let mut page = Page::default();
    flow.write_metrics(&mut page);
    let text = page.into_text();
    for line in ["{reason=\"waited-out\"} 1", "{reason=\"tenant-queue\"} 1", "{reason=\"queue\"} 1"]
    {
        assert!(text.contains(line), "{line} in {text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn places_are_neither_lost_nor_given_twice() {
    let flow = Arc::new(flow(|c| {
        (c.in_flight_max, c.flow.queue_max) = (3, 1000);
        c.flow.queue_ms_max = 60_000;
        c.flow.sojourn_target_ms = 60_000;
        c.flow.default.queue_max = Some(1000);
    }));
    let inside = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let tenants = ["a", "b", "c", "d"].map(tenant);
    let mut tasks = tokio::task::JoinSet::new();
    for index in 0..64 {
        let (flow, inside) = (flow.clone(), inside.clone());
        let tenant = tenants[index % 4].clone();
        tasks.spawn(async move {
            for round in 0..200 {
                if (index + round) % 7 == 0 {
                    // Withdrawn, or given back at once.
                    drop(poll_once(enter(&flow, &tenant, Instant::now())));
                    continue;
                }
                let permit = enter(&flow, &tenant, Instant::now()).await;
                let permit = permit.map_err(|failure| failure.message).unwrap();
                use std::sync::atomic::Ordering::SeqCst;
                assert!(inside.fetch_add(1, SeqCst) < 3);
                tokio::task::yield_now().await;
                inside.fetch_sub(1, SeqCst);
                drop(permit);
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    assert_eq!((flow.in_flight(), flow.door.waiting()), (0, 0));
}
