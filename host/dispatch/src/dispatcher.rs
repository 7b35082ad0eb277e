//! The dispatcher: a queue and a compute thread for the CPU, and for each GPU.

use crate::estimate::Chance;
use crate::plan_record::{PlanBook, PlanRecord};
use crate::queue::{Expired, Next, Queue, Waiting};
use crate::slots::Slots;
use crate::stats::{Counters, PlanStats, Refusal};
use crate::{Clock, DispatchConfig, DispatchError, DispatchStats, SlotKey, lock};
use aimass_graph::{Plan, PlanState, RunError};
use aimass_telemetry::call::plan_ran;
use aimass_tensor::Tensor;
use std::hash::RandomState;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

#[cfg(test)]
mod tests;

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

/// Runs plan calls, joined where that is proved harmless.
pub struct Dispatcher {
    pub(crate) shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

/// How a plan is run; tests put something else in its place.
pub(crate) type RunPlan =
    dyn Fn(&Plan, &[Tensor], Option<&mut PlanState>) -> Result<Vec<Tensor>, RunError> + Send + Sync;

/// A call in the queue, and where its answer goes.
pub(crate) struct Job {
    pub(crate) call: PlanCall,
    pub(crate) answer: oneshot::Sender<Result<PlanAnswer, DispatchError>>,
}

/// What callers and the compute threads share.
pub(crate) struct Shared {
    pub(crate) config: DispatchConfig,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) run: Box<RunPlan>,
    /// The CPU's, then those of the configured devices.
    pub(crate) lanes: Vec<Lane>,
    pub(crate) slots: Mutex<Slots>,
    book: PlanBook,
    hasher: RandomState,
    totals: Counters,
}

/// A queue, and what wakes the compute thread behind it.
pub(crate) struct Lane {
    pub(crate) state: Mutex<State>,
    wake: Condvar,
}

/// What is behind the lock of the queue.
pub(crate) struct State {
    pub(crate) queue: Queue<Job>,
    closing: bool,
}

impl Dispatcher {
    /// Starts the compute threads: the CPU's, and one for each of [`DispatchConfig::devices`].
    ///
    /// # Panics
    /// If the operating system refuses a thread.
    pub fn new(config: DispatchConfig, clock: Arc<dyn Clock>) -> Arc<Dispatcher> {
        Dispatcher::start(config, clock, Box::new(|plan, inputs, state| plan.run(inputs, state)))
    }

    /// As [`Dispatcher::new`], with another way to run a plan.
    pub(crate) fn start(
        config: DispatchConfig,
        clock: Arc<dyn Clock>,
        run: Box<RunPlan>,
    ) -> Arc<Dispatcher> {
        let shared = Arc::new(Shared {
            lanes: (0..=config.devices.len()).map(|_| Lane::new(&config)).collect(),
            slots: Mutex::default(),
            book: PlanBook::new(config.plans_max),
            hasher: RandomState::new(),
            totals: Counters::default(),
            config,
            clock,
            run,
        });
        let threads = (0..shared.lanes.len()).map(|index| {
            let worker = shared.clone();
            let name = match index.checked_sub(1).map(|device| shared.config.devices[device]) {
                None => "aimass-compute".to_owned(),
                Some(number) => format!("aimass-cuda-{number}"),
            };
            let thread = std::thread::Builder::new().name(name);
            let thread = thread.spawn(move || worker.serve(&worker.lanes[index]));
            thread.expect("the system starts a thread for each device")
        });
        let threads = threads.collect();
        Arc::new(Dispatcher { shared, threads })
    }

    /// Runs one call, together with others of its plan that wait at the same time. Dropping the future
    /// takes a waiting call out of the queue at once.
    ///
    /// # Errors
    /// [`DispatchError`]; inputs are checked, and calls that cannot be in time refused, before they
    /// wait.
    pub async fn call(&self, call: PlanCall) -> Result<PlanAnswer, DispatchError> {
        let deadline = call.deadline;
        let arrived = Instant::now();
        let shared = &*self.shared;
        let lane = shared.lane_of(&call.plan);
        let (id, answer) = shared.submit(lane, call)?;
        let mut ticket = Ticket { shared, lane, id, refusal: Some(Refusal::Cancelled) };
        match tokio::time::timeout_at(deadline.into(), answer).await {
            Ok(outcome) => {
                ticket.refusal = None;
                let answer = outcome.unwrap_or(Err(DispatchError::Closed))?;
                plan_ran(arrived, answer.queued, answer.ran, answer.batch_calls);
                Ok(answer)
            }
            Err(_elapsed) => {
                ticket.refusal = Some(Refusal::Late);
                Err(DispatchError::DeadlineExceeded)
            }
        }
    }

    /// Ends a slot; the sequence's next call starts from the initial state. What a call that is running
    /// writes to it is dropped.
    pub fn end_slot(&self, key: &SlotKey) {
        lock(&self.shared.slots).remove(key);
    }

    /// Counters of all plans since start. Does not wait for a plan that runs.
    pub fn stats(&self) -> DispatchStats {
        DispatchStats { counted: self.shared.totals.read(), slots: lock(&self.shared.slots).len() }
    }

    /// What was counted and measured of each plan that is remembered, in no order. Does not wait for a
    /// plan that runs.
    pub fn plan_stats(&self) -> Vec<PlanStats> {
        self.shared.book.stats()
    }
}

impl Drop for Dispatcher {
    fn drop(&mut self) {
        for lane in &self.shared.lanes {
            lock(&lane.state).closing = true;
            lane.wake.notify_one();
        }
        for thread in self.threads.drain(..) {
            // The thread catches the panics of kernels; nothing is left to report here.
            let _ = thread.join();
        }
    }
}

/// A place in the queue, given up when the caller stops to wait.
struct Ticket<'a> {
    shared: &'a Shared,
    lane: &'a Lane,
    id: u64,
    /// Why the caller goes; `None` if it has its answer.
    refusal: Option<Refusal>,
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        let Some(refusal) = self.refusal else { return };
        let waiting = lock(&self.lane.state).queue.remove(self.id);
        if let Some(waiting) = waiting {
            self.shared.count(&waiting.record, |counters| counters.refused(refusal, true));
        }
    }
}

impl Lane {
    fn new(config: &DispatchConfig) -> Lane {
        let queue = Queue::new(config.clone());
        Lane { state: Mutex::new(State { queue, closing: false }), wake: Condvar::new() }
    }
}

impl Shared {
    /// The lane of a plan: always the same, also after its device was lost, so that the calls of a
    /// sequence keep their order.
    fn lane_of(&self, plan: &Plan) -> &Lane {
        let own = plan.device_number();
        let at = own.and_then(|own| self.config.devices.iter().position(|number| *number == own));
        &self.lanes[at.map_or(0, |at| at + 1)]
    }

    /// Counts something, in all and for the plan.
    pub(crate) fn count(&self, record: &PlanRecord, count: impl Fn(&Counters)) {
        count(&self.totals);
        count(&record.counters);
    }

    fn submit(
        &self,
        lane: &Lane,
        call: PlanCall,
    ) -> Result<(u64, oneshot::Receiver<Result<PlanAnswer, DispatchError>>), DispatchError> {
        let rows = call.plan.check(&call.inputs)?;
        if let Some(observer) = &self.config.observer {
            observer.called(&call);
        }
        let record = self.book.record(call.plan.key(), call.plan.signature());
        let load = record.load(&call.plan, &call.inputs, rows, &self.hasher)?;
        let now = self.clock.now();
        let probe = self.in_time(&record, load.work, call.deadline, now)?;
        let joins = call.plan.joins();
        let group =
            joins.then(|| (record.key, record.rule.compatibility(&call.inputs, &self.hasher)));
        let (sender, receiver) = oneshot::channel();
        let waiting = Waiting {
            tenant: call.tenant.clone(),
            group,
            record: record.clone(),
            load,
            slot: call.slot.clone(),
            input_bytes: call.inputs.iter().map(|tensor| tensor.byte_len() as u64).sum(),
            arrived: now,
            deadline: call.deadline,
            probe,
            item: Job { call, answer: sender },
        };
        let mut state = lock(&lane.state);
        if state.closing {
            return Err(DispatchError::Closed);
        }
        let pushed = state.queue.push(waiting, now);
        // Counted under the lock, so that a call is never taken before it has come.
        let id = match pushed {
            Ok(id) => {
                self.count(&record, Counters::arrived);
                id
            }
            Err(error) => {
                drop(state);
                self.count(&record, |counters| counters.refused(refusal_of(&error), false));
                return Err(error);
            }
        };
        drop(state);
        lane.wake.notify_one();
        Ok((id, receiver))
    }

    /// Refuses a call that cannot be in time. Whether it runs although it looks like one.
    fn in_time(
        &self,
        record: &PlanRecord,
        work: u64,
        deadline: Instant,
        now: Instant,
    ) -> Result<bool, DispatchError> {
        let left = deadline.saturating_duration_since(now);
        let (refusal, error) = match record.chance(work, left, now) {
            _ if left.is_zero() => (Refusal::Late, DispatchError::DeadlineExceeded),
            Chance::Good => return Ok(false),
            Chance::Probe => return Ok(true),
            Chance::None(needed) => {
                (Refusal::TooNear, DispatchError::DeadlineTooNear { left, needed })
            }
        };
        self.count(record, |counters| counters.refused(refusal, false));
        Err(error)
    }

    fn serve(&self, lane: &Lane) {
        let _closing = Closing(self, lane);
        while let Some(batch) = self.next_batch(lane) {
            self.launch(lane, batch);
        }
    }

    /// Waits for a batch; `None` when the dispatcher closes.
    fn next_batch(&self, lane: &Lane) -> Option<Vec<Waiting<Job>>> {
        let mut state = lock(&lane.state);
        loop {
            if state.closing {
                return None;
            }
            let now = self.clock.now();
            let expired = state.queue.expire(now);
            if !expired.is_empty() {
                drop(state);
                expired.into_iter().for_each(|(waiting, why)| self.refuse(waiting, why));
                state = lock(&lane.state);
                continue;
            }
            state = match state.queue.next(now) {
                Next::Launch(batch) => return Some(batch),
                Next::Wait(None) => lane.wake.wait(state).unwrap_or_else(PoisonError::into_inner),
                Next::Wait(Some(at)) => {
                    let rest = at.saturating_duration_since(now);
                    let woken = lane.wake.wait_timeout(state, rest);
                    woken.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }

    fn refuse(&self, waiting: Waiting<Job>, why: Expired) {
        let (refusal, error) = match why {
            Expired::Late => (Refusal::Late, DispatchError::DeadlineExceeded),
            Expired::TooNear { left, needed } => {
                (Refusal::TooNear, DispatchError::DeadlineTooNear { left, needed })
            }
        };
        self.count(&waiting.record, |counters| counters.refused(refusal, true));
        // A caller that is gone reads no answer.
        let _ = waiting.item.answer.send(Err(error));
    }
}

/// Answers everybody in a lane when its compute thread ends, even by a defect of this crate: nobody must wait for
/// a thread that is gone.
struct Closing<'a>(&'a Shared, &'a Lane);

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        let mut state = lock(&self.1.state);
        state.closing = true;
        let waiting = state.queue.drain();
        drop(state);
        for call in waiting {
            self.0.count(&call.record, |counters| counters.refused(Refusal::Cancelled, true));
            // A caller that is gone reads no answer.
            let _ = call.item.answer.send(Err(DispatchError::Closed));
        }
    }
}

/// What a refused [`Queue::push`] counts as.
fn refusal_of(error: &DispatchError) -> Refusal {
    match error {
        DispatchError::Quota { .. } => Refusal::Quota,
        DispatchError::Overloaded { .. }
        | DispatchError::Run(_)
        | DispatchError::DeadlineExceeded
        | DispatchError::DeadlineTooNear { .. }
        | DispatchError::SlotLimit { .. }
        | DispatchError::Closed
        | DispatchError::KernelPanic => Refusal::Overloaded,
    }
}
