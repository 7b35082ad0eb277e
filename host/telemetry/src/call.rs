//! The call that the present task works on: who it is in logs and traces, and what it has used.
//!
//! It travels with the task instead of through every signature, so that the rooms below the gateway
//! add what they know (time in a plugin, share of a launch) whoever called them, also when the call
//! fails or its client goes away. Outside of a call, adding does nothing.

use crate::trace::{Attribute, SpanName, Trace};
use std::future::poll_fn;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

tokio::task_local! {
    static CURRENT: Arc<Call>;
}

/// One call, from its header to its answer.
pub struct Call {
    request: Arc<str>,
    trace: Option<Arc<Trace>>,
    served: Mutex<Option<Served>>,
    inner: Mutex<Vec<Arc<str>>>,
    plugin_ns: AtomicU64,
    kernel_ns: AtomicU64,
    queue_ns: AtomicU64,
}

/// Models that a call remembers having asked; further ones are not named.
pub const INNER_MODELS_MAX: usize = 16;

/// What answers a call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Served {
    /// Version of the model.
    pub version: u64,
    /// Plugins of its steps, as `publisher/name@version`, in order.
    pub plugins: Arc<[Arc<str>]>,
}

/// What a call has used so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CallUse {
    /// What answers it, once that is known.
    pub served: Served,
    /// Models that its plugins called, as `name@version`, each once, at most [`INNER_MODELS_MAX`].
    pub inner_models: Vec<Arc<str>>,
    /// Time on a thread inside plugins.
    pub plugin: Duration,
    /// Its share of the launches that computed its plans.
    pub kernel: Duration,
    /// Time that its plans waited for the device.
    pub queued: Duration,
}

impl Call {
    /// A call with this request id; with a trace if it is sampled.
    pub fn new(request: &str, trace: Option<Arc<Trace>>) -> Arc<Call> {
        Call::of(request.into(), trace)
    }

    fn of(request: Arc<str>, trace: Option<Arc<Trace>>) -> Arc<Call> {
        Arc::new(Call {
            request,
            trace,
            served: Mutex::default(),
            inner: Mutex::default(),
            plugin_ns: AtomicU64::new(0),
            kernel_ns: AtomicU64::new(0),
            queue_ns: AtomicU64::new(0),
        })
    }

    /// A call of its own within the present one, with the same request id and trace.
    pub fn within() -> Arc<Call> {
        let same = |call: &Arc<Call>| Call::of(call.request.clone(), call.trace.clone());
        CURRENT.try_with(same).unwrap_or_else(|_| Call::new("", None))
    }

    /// The request's id; empty if it has none.
    pub fn request(&self) -> &Arc<str> {
        &self.request
    }

    /// Its trace, if it is sampled.
    pub fn trace(&self) -> Option<&Arc<Trace>> {
        self.trace.as_ref()
    }

    /// What it has used so far.
    pub fn used(&self) -> CallUse {
        let time = |ns: &AtomicU64| Duration::from_nanos(ns.load(Ordering::Relaxed));
        let served = self.served.lock().unwrap_or_else(PoisonError::into_inner).clone();
        CallUse {
            served: served.unwrap_or_default(),
            inner_models: self.inner.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            plugin: time(&self.plugin_ns),
            kernel: time(&self.kernel_ns),
            queued: time(&self.queue_ns),
        }
    }

    /// Runs `future` as part of this call.
    pub fn scope<F: Future>(self: Arc<Call>, future: F) -> impl Future<Output = F::Output> {
        CURRENT.scope(self, future)
    }
}

/// The present call, for a task of its own that works for it, too; nothing outside of one.
pub fn present() -> Option<Arc<Call>> {
    CURRENT.try_with(Arc::clone).ok()
}

/// Shows the present call to `look`; nothing outside of one.
pub fn current<T>(look: impl FnOnce(&Call) -> T) -> Option<T> {
    CURRENT.try_with(|call| look(call)).ok()
}

/// Says what answers the present call.
pub fn served_by(version: u64, plugins: &Arc<[Arc<str>]>) {
    current(|call| {
        let served = Served { version, plugins: plugins.clone() };
        *call.served.lock().unwrap_or_else(PoisonError::into_inner) = Some(served);
    });
}

/// Says that a plugin of the present call had a model answer.
pub fn asked_model(name: &str, version: u64) {
    current(|call| {
        let model: Arc<str> = format!("{name}@{version}").into();
        let mut inner = call.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if inner.len() < INNER_MODELS_MAX && !inner.contains(&model) {
            inner.push(model);
        }
    });
}

/// Charges the present call with a plan call that waited for `queued` and shared a launch of `ran`
/// with `calls - 1` others.
pub fn plan_ran(arrived: Instant, queued: Duration, ran: Duration, calls: usize) {
    current(|call| {
        let share = ran / u32::try_from(calls.max(1)).unwrap_or(u32::MAX);
        add(&call.kernel_ns, share);
        add(&call.queue_ns, queued);
        if let Some(trace) = &call.trace {
            let launch = arrived + queued;
            trace.done(SpanName::Batcher, (arrived, launch), &[Attribute::BatchCalls(calls)]);
            trace.done(SpanName::Executor, (launch, launch + ran), &[]);
        }
    });
}

/// Charges the present call with the time on a thread that `future` takes. It is measured around each
/// poll, so that waiting costs nothing; what else the thread does meanwhile is not told apart.
///
/// A large future is best given pinned (`pin!`): by value it takes its room twice.
pub async fn in_plugin<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    poll_fn(|context| {
        let start = Instant::now();
        let polled = future.as_mut().poll(context);
        current(|call| add(&call.plugin_ns, start.elapsed()));
        polled
    })
    .await
}

/// Runs `future` in a span of the present call's trace, if it has one.
///
/// A large future is best given pinned (`pin!`): by value it takes its room twice.
pub async fn room<F: Future>(
    name: SpanName,
    attributes: impl FnOnce() -> Vec<Attribute>,
    future: F,
) -> F::Output {
    let trace = current(|call| call.trace.clone()).flatten();
    let Some(trace) = trace else { return future.await };
    let span = trace.enter(name, attributes());
    let output = future.await;
    drop(span);
    output
}

fn add(counter: &AtomicU64, time: Duration) {
    let ns = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    counter.fetch_add(ns, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_added_inside_a_call_is_charged_to_it_and_outside_to_nobody() {
        let (ms, arrived) = (Duration::from_millis, Instant::now());
        plan_ran(arrived, ms(1), ms(1), 1);
        let call = Call::new("r", None);
        let plugins: Arc<[Arc<str>]> = Arc::from(["a/b@1".into()]);
        let work = async {
            plan_ran(arrived, ms(2), ms(8), 4);
            plan_ran(arrived, ms(1), ms(5), 0);
            served_by(7, &plugins);
            let inner = Call::within();
            inner.clone().scope(async { plan_ran(arrived, ms(9), ms(9), 1) }).await;
            assert_eq!(inner.used().kernel, ms(9));
            assert_eq!(&**inner.request(), "r");
        };
        call.clone().scope(work).await;
        let used = call.used();
        assert_eq!((used.kernel, used.queued), (ms(7), ms(3)));
        assert_eq!(used.served, Served { version: 7, plugins });
        assert_eq!(&**Call::within().request(), "");
    }

    #[tokio::test]
    async fn sixteen_models_that_were_asked_are_named_each_once() {
        let call = Call::new("r", None);
        let work = async {
            asked_model("a", 1);
            asked_model("a", 1);
            (1..=INNER_MODELS_MAX as u64).for_each(|version| asked_model("b", version));
        };
        call.clone().scope(work).await;
        let named = call.used().inner_models;
        assert_eq!((named.len(), &*named[0], &*named[15]), (16, "a@1", "b@15"));
    }

    #[tokio::test]
    async fn time_in_a_plugin_is_counted_while_it_runs_and_not_while_it_waits() {
        let call = Call::new("r", None);
        let plugin = in_plugin(async {
            std::thread::sleep(Duration::from_millis(3));
            tokio::time::sleep(Duration::from_millis(200)).await;
        });
        call.clone().scope(plugin).await;
        let used = call.used().plugin;
        assert!((Duration::from_millis(3)..Duration::from_millis(200)).contains(&used), "{used:?}");
    }
}
