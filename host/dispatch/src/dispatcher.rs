//! The dispatcher: a queue in front of one compute thread.

use crate::join::{compatibility, extents, join, split};
use crate::queue::{Pending, Queue};
use crate::slots::Slots;
use crate::{Clock, DispatchConfig, SlotKey};
use aimass_graph::{Coalescing, Plan, RunError};
use aimass_tensor::Tensor;
use std::hash::RandomState;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// One call of a plan.
#[derive(Clone)]
pub struct PlanCall {
    /// What to run.
    pub plan: Arc<Plan>,
    /// Inputs in the order of the plan's signature.
    pub inputs: Vec<Tensor>,
    /// Who is charged.
    pub tenant: Arc<str>,
    /// When the answer is worth nothing any more.
    pub deadline: Instant,
    /// Whose state the plan reads and writes; `None` starts from the initial state and forgets it.
    pub slot: Option<SlotKey>,
}

/// What a plan call answers.
#[derive(Clone, Debug)]
pub struct PlanAnswer {
    /// Outputs in the order of the plan's signature.
    pub outputs: Vec<Tensor>,
    /// Calls that shared the launch, this one included.
    pub batch_calls: usize,
    /// Time from arrival to launch.
    pub queued: Duration,
    /// Time of the launch.
    pub ran: Duration,
}

/// Why a plan call was not answered.
#[derive(Debug, thiserror::Error)]
pub enum DispatchError {
    /// The inputs do not fit the plan, or the run failed.
    #[error(transparent)]
    Run(#[from] RunError),
    /// The queue is full.
    #[error("{len} plan calls wait already, at most {max} may; try again later")]
    Overloaded {
        /// Calls that wait.
        len: usize,
        /// Limit.
        max: usize,
    },
    /// The deadline passed while the call waited or ran.
    #[error("the deadline passed before the plan had run")]
    DeadlineExceeded,
    /// No room for another sequence's state.
    #[error(
        "{slots} of {slots_max} slots are live and {bytes} of {bytes_max} state bytes would be \
         taken; end a sequence or raise the limit"
    )]
    SlotLimit {
        /// Live slots.
        slots: usize,
        /// Limit of slots.
        slots_max: usize,
        /// Bytes that would be taken.
        bytes: u64,
        /// Limit of bytes.
        bytes_max: u64,
    },
    /// The dispatcher is shutting down.
    #[error("the server is shutting down")]
    Closed,
    /// A kernel panicked: a defect of the server. The call is lost, the server goes on.
    #[error("a kernel failed; this is a defect of the server")]
    KernelPanic,
}

/// Counters since start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DispatchStats {
    /// Launches.
    pub batches: u64,
    /// Calls that were answered by a launch.
    pub calls: u64,
    /// Rows that were computed.
    pub rows: u64,
    /// Nanoseconds that launches took.
    pub busy_ns: u64,
    /// Calls that wait now.
    pub waiting: usize,
    /// Slots that are live now.
    pub slots: usize,
}

/// Runs plan calls, joined where that is proved harmless.
pub struct Dispatcher {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    config: DispatchConfig,
    clock: Arc<dyn Clock>,
    queue: Mutex<Queue>,
    wake: Condvar,
    slots: Mutex<Slots>,
    hasher: RandomState,
    counters: Counters,
}

#[derive(Default)]
struct Counters {
    batches: AtomicU64,
    calls: AtomicU64,
    rows: AtomicU64,
    busy_ns: AtomicU64,
}

impl Dispatcher {
    /// Starts the compute thread.
    ///
    /// # Panics
    /// If the operating system refuses a thread.
    pub fn new(config: DispatchConfig, clock: Arc<dyn Clock>) -> Arc<Dispatcher> {
        let shared = Arc::new(Shared {
            config,
            clock,
            queue: Mutex::default(),
            wake: Condvar::new(),
            slots: Mutex::default(),
            hasher: RandomState::new(),
            counters: Counters::default(),
        });
        let worker = shared.clone();
        let thread = std::thread::Builder::new()
            .name("aimass-compute".into())
            .spawn(move || worker.serve())
            .expect("the system starts one thread");
        Arc::new(Dispatcher { shared, thread: Some(thread) })
    }

    /// Runs one call, together with others of its plan that wait at the same time. Dropping the future
    /// takes a waiting call out of the queue.
    ///
    /// # Errors
    /// [`DispatchError`]; inputs are checked before they wait.
    pub async fn call(&self, call: PlanCall) -> Result<PlanAnswer, DispatchError> {
        let deadline = call.deadline;
        let answer = self.submit(call)?;
        match tokio::time::timeout_at(deadline.into(), answer).await {
            Ok(Ok(result)) => result,
            Ok(Err(_closed)) => Err(DispatchError::Closed),
            Err(_elapsed) => Err(DispatchError::DeadlineExceeded),
        }
    }

    /// Ends a slot; the sequence's next call starts from the initial state.
    pub fn end_slot(&self, key: &SlotKey) {
        lock(&self.shared.slots).remove(key);
    }

    /// Counters since start.
    pub fn stats(&self) -> DispatchStats {
        let counters = &self.shared.counters;
        DispatchStats {
            batches: counters.batches.load(Ordering::Relaxed),
            calls: counters.calls.load(Ordering::Relaxed),
            rows: counters.rows.load(Ordering::Relaxed),
            busy_ns: counters.busy_ns.load(Ordering::Relaxed),
            waiting: lock(&self.shared.queue).len(),
            slots: lock(&self.shared.slots).len(),
        }
    }

    fn submit(
        &self,
        call: PlanCall,
    ) -> Result<oneshot::Receiver<Result<PlanAnswer, DispatchError>>, DispatchError> {
        call.plan.check(&call.inputs)?;
        if let Some(observer) = &self.shared.config.observer {
            observer.called(&call);
        }
        let (sender, receiver) = oneshot::channel();
        let pending = self.shared.pending(call, sender);
        let mut queue = lock(&self.shared.queue);
        if queue.closing {
            return Err(DispatchError::Closed);
        }
        queue.push(pending, &self.shared.config)?;
        drop(queue);
        self.shared.wake.notify_one();
        Ok(receiver)
    }
}

impl Drop for Dispatcher {
    fn drop(&mut self) {
        lock(&self.shared.queue).closing = true;
        self.shared.wake.notify_one();
        if let Some(thread) = self.thread.take() {
            // The thread catches the panics of kernels; nothing is left to report here.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn pending(
        &self,
        call: PlanCall,
        answer: oneshot::Sender<Result<PlanAnswer, DispatchError>>,
    ) -> Pending {
        let signature = call.plan.signature();
        let (ragged, batch) = extents(signature, &call.inputs);
        let joinable = match call.plan.coalescing() {
            Coalescing::Batch | Coalescing::Ragged { .. } => !call.plan.has_state(),
            Coalescing::Alone { .. } => false,
        };
        let group = joinable
            .then(|| (call.plan.key(), compatibility(signature, &call.inputs, &self.hasher)));
        let rows = ragged.max(batch).max(1);
        Pending { call, group, rows, arrived: self.clock.now(), answer }
    }

    fn serve(&self) {
        while let Some(batch) = self.next_batch() {
            if !batch.is_empty() {
                self.run_batch(batch);
            }
        }
    }

    /// Waits for a batch; `None` when the dispatcher closes. The batch is empty if all calls were dead.
    fn next_batch(&self) -> Option<Vec<Pending>> {
        let mut queue = lock(&self.queue);
        loop {
            if queue.closing {
                for pending in queue.drain() {
                    // A caller that is gone reads no answer.
                    let _ = pending.answer.send(Err(DispatchError::Closed));
                }
                return None;
            }
            let now = self.clock.now();
            let Some(oldest) = queue.oldest() else {
                queue = self.wake.wait(queue).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let waited = now.saturating_duration_since(oldest);
            if waited >= self.config.batch_wait_max || queue.fills_a_batch(&self.config) {
                return Some(queue.take_batch(now, &self.config));
            }
            let rest = self.config.batch_wait_max - waited;
            let woken = self.wake.wait_timeout(queue, rest);
            queue = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn run_batch(&self, batch: Vec<Pending>) {
        if batch.len() == 1 {
            batch.into_iter().for_each(|pending| self.run_alone(pending, 1));
            return;
        }
        let plan = batch[0].call.plan.clone();
        let inputs: Vec<&[Tensor]> = batch.iter().map(|p| p.call.inputs.as_slice()).collect();
        let (joined, parts) = join(plan.signature(), &inputs);
        let start = self.clock.now();
        let outcome = catch_unwind(AssertUnwindSafe(|| plan.run(&joined, None)));
        let ran = self.clock.now().saturating_duration_since(start);
        match outcome {
            Ok(Ok(outputs)) => {
                self.count(&batch, ran);
                let batch_calls = batch.len();
                for (pending, part) in batch.into_iter().zip(&parts) {
                    let outputs = split(plan.signature(), &outputs, part);
                    let queued = start.saturating_duration_since(pending.arrived);
                    // A caller that is gone reads no answer.
                    let _ =
                        pending.answer.send(Ok(PlanAnswer { outputs, batch_calls, queued, ran }));
                }
            }
            // One bad row must fail alone, so each call runs by itself and earns its own answer.
            Ok(Err(_)) | Err(_) => batch.into_iter().for_each(|pending| self.run_alone(pending, 1)),
        }
    }

    fn run_alone(&self, pending: Pending, batch_calls: usize) {
        let start = self.clock.now();
        let outcome = catch_unwind(AssertUnwindSafe(|| self.run_call(&pending.call, start)));
        let ran = self.clock.now().saturating_duration_since(start);
        self.count(std::slice::from_ref(&pending), ran);
        let queued = start.saturating_duration_since(pending.arrived);
        let answer = match outcome {
            Ok(Ok(outputs)) => Ok(PlanAnswer { outputs, batch_calls, queued, ran }),
            Ok(Err(error)) => Err(error),
            Err(_panic) => Err(DispatchError::KernelPanic),
        };
        // A caller that is gone reads no answer.
        let _ = pending.answer.send(answer);
    }

    fn run_call(&self, call: &PlanCall, now: Instant) -> Result<Vec<Tensor>, DispatchError> {
        match &call.slot {
            Some(key) => {
                let mut slots = lock(&self.slots);
                let state = slots.state(key, &call.plan, now, &self.config)?;
                Ok(call.plan.run(&call.inputs, Some(state))?)
            }
            None => Ok(call.plan.run(&call.inputs, None)?),
        }
    }

    fn count(&self, batch: &[Pending], ran: Duration) {
        let rows: usize = batch.iter().map(|pending| pending.rows).sum();
        self.counters.batches.fetch_add(1, Ordering::Relaxed);
        self.counters.calls.fetch_add(batch.len() as u64, Ordering::Relaxed);
        self.counters.rows.fetch_add(rows as u64, Ordering::Relaxed);
        self.counters.busy_ns.fetch_add(ran.as_nanos() as u64, Ordering::Relaxed);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
