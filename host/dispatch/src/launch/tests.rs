//! Launches that fail, panic or take long, with a run of the test's own in place of the kernels.

use crate::dispatcher::RunPlan;
use crate::plan_record::PlanRecord;
use crate::{
    Clock, DispatchConfig, DispatchError, Dispatcher, ManualClock, PlanAnswer, PlanCall, SlotKey,
    SystemClock, lock,
};
use aimass_graph::{
    CompileOptions, Dim, GraphBuilder, GraphLimits, Plan, RunError, StateInit, compile,
};
use aimass_tensor::{DType, Tensor};
use std::hash::RandomState;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Looks rows up in a table of four: ids [batch] -> [batch, 2]. Another id is out of range.
fn lookup() -> Arc<Plan> {
    let mut builder = GraphBuilder::new(GraphLimits::default());
    let ids = builder.input("ids", DType::I32, &[Dim::Batch]).unwrap();
    let rows: Vec<f32> = (0..8).map(|value| value as f32).collect();
    let table = builder.constant(Tensor::from_slice(&[4, 2], &rows).unwrap()).unwrap();
    let found = builder.gather(table, ids, 0).unwrap();
    builder.output("found", found).unwrap();
    Arc::new(compile(builder.finish().unwrap(), &CompileOptions::default()).unwrap())
}

/// Adds its input to a state and answers the sum so far.
fn accumulator() -> Arc<Plan> {
    let mut builder = GraphBuilder::new(GraphLimits::default());
    let x = builder.input("x", DType::F32, &[Dim::Fixed(1)]).unwrap();
    let old = builder.state("sum", DType::F32, &[1], StateInit::Zeros).unwrap();
    let new = builder.add(old, x).unwrap();
    builder.state_write("sum", new).unwrap();
    builder.output("sum", new).unwrap();
    Arc::new(compile(builder.finish().unwrap(), &CompileOptions::default()).unwrap())
}

/// A call of `lookup` for one id; its tenant is named after the id.
fn call(plan: &Arc<Plan>, id: i32) -> PlanCall {
    PlanCall {
        plan: plan.clone(),
        inputs: vec![Tensor::from_slice(&[1], &[id]).unwrap()],
        tenant: Arc::from(format!("t{id}")),
        deadline: Instant::now() + Duration::from_secs(600),
        slot: None,
    }
}

/// A dispatcher that launches exactly when `calls` calls wait.
fn gathering(calls: usize, run: Box<RunPlan>) -> Arc<Dispatcher> {
    let config = DispatchConfig {
        batch_wait_max: Duration::from_secs(6000),
        batch_calls_max: calls,
        batch_time_max: Duration::ZERO,
        ..DispatchConfig::default()
    };
    Dispatcher::start(config, Arc::new(SystemClock), run)
}

fn kernels() -> Box<RunPlan> {
    Box::new(|plan, inputs, state| plan.run(inputs, state))
}

/// A run that fails in `how` when one of the ids is 3.
fn failing(how: fn() -> RunError) -> Box<RunPlan> {
    Box::new(move |plan, inputs, state| match inputs[0].as_slice::<i32>().unwrap().contains(&3) {
        true => Err(how()),
        false => plan.run(inputs, state),
    })
}

async fn all(
    dispatcher: &Arc<Dispatcher>,
    calls: Vec<PlanCall>,
) -> Vec<Result<PlanAnswer, DispatchError>> {
    let spawn = |call| {
        let dispatcher = dispatcher.clone();
        tokio::spawn(async move { dispatcher.call(call).await })
    };
    let tasks: Vec<_> = calls.into_iter().map(spawn).collect();
    let mut answers = Vec::new();
    for task in tasks {
        answers.push(task.await.unwrap());
    }
    answers
}

/// 32 calls of which those at `at_fault` ask for `bad`: the others get their rows, these their error.
async fn assert_isolated(run: Box<RunPlan>, at_fault: &[usize], bad: i32) -> Arc<Dispatcher> {
    let (plan, dispatcher) = (lookup(), gathering(32, run));
    let ids: Vec<i32> = (0..32)
        .map(|index| if at_fault.contains(&(index as usize)) { bad } else { index % 3 })
        .collect();
    let answers = all(&dispatcher, ids.iter().map(|&id| call(&plan, id)).collect()).await;
    for (id, answer) in ids.iter().zip(answers) {
        if *id == bad {
            assert!(matches!(answer, Err(DispatchError::Run(_) | DispatchError::KernelPanic)));
        } else {
            let row = answer.unwrap().outputs[0].as_slice::<f32>().unwrap().to_vec();
            assert_eq!(row, [*id as f32 * 2.0, *id as f32 * 2.0 + 1.0]);
        }
    }
    dispatcher
}

#[test]
fn calls_of_a_plan_that_runs_alone_cost_what_their_own_shapes_do() {
    let mut builder = GraphBuilder::new(GraphLimits::default());
    let x = builder.input("x", DType::F32, &[Dim::Batch]).unwrap();
    let sum = builder.state("sum", DType::F32, &[1], StateInit::Zeros).unwrap();
    builder.state_write("sum", sum).unwrap();
    let y = builder.exp(x).unwrap();
    builder.output("y", y).unwrap();
    let plan = compile(builder.finish().unwrap(), &CompileOptions::default()).unwrap();
    let record = PlanRecord::new(plan.key(), plan.signature());
    let hasher = RandomState::new();
    let work = |rows: usize| {
        let inputs = [Tensor::from_slice(&[rows], &vec![0f32; rows]).unwrap()];
        let rows = plan.check(&inputs).unwrap();
        record.load(&plan, &inputs, rows, &hasher).unwrap().work
    };
    assert!(work(1000) > 700 * work(1), "{} and {}", work(1000), work(1));
    assert!(work(1023) > work(1000), "equal powers of two");
}

#[tokio::test]
async fn a_named_row_fails_alone_in_three_launches_and_its_tenant_pays() {
    let dispatcher = assert_isolated(kernels(), &[13], 9).await;
    let counted = dispatcher.stats().counted;
    assert_eq!((counted.launches, counted.retries, counted.rows), (3, 2, 32 + 1 + 31));
    assert_eq!((counted.calls, counted.failed), (32, 1));
    let shared = dispatcher.shared.clone();
    // Waits for the compute thread, which charges when all have their answers.
    drop(dispatcher);
    let state = lock(&shared.lanes[0].state);
    let paid = |tenant: &str| state.queue.tag(tenant);
    assert!(paid("t9") >= 32 * paid("t0") / 11, "{} of {}", paid("t9"), paid("t0"));
}

#[tokio::test]
async fn an_error_without_a_row_is_found_by_halving() {
    let dispatcher = assert_isolated(failing(|| RunError::Internal("x")), &[13], 3).await;
    let counted = dispatcher.stats().counted;
    assert_eq!(counted.launches, 1 + 2 * 5, "32 calls are halved five times");
    assert_eq!(counted.rows, 32 + 32 + 16 + 8 + 4 + 2);
}

#[tokio::test]
async fn however_many_are_at_fault_the_retries_are_bounded() {
    let everybody: Vec<usize> = (0..32).collect();
    for at_fault in [&everybody[..], &everybody[7..], &[0, 9, 10, 31]] {
        let counted = assert_isolated(kernels(), at_fault, 9).await.stats().counted;
        assert!(counted.rows <= 32 * (3 + 5), "{} rows", counted.rows);
        assert_eq!(counted.failed as usize, at_fault.len());
    }
}

#[tokio::test]
async fn a_panicking_kernel_fails_its_call_and_the_dispatcher_lives_on() {
    let dispatcher = assert_isolated(failing(|| panic!("a kernel's defect")), &[5], 3).await;
    let plan = lookup();
    let calls: Vec<PlanCall> = (0..32).map(|_| call(&plan, 1)).collect();
    assert!(all(&dispatcher, calls).await.iter().all(Result::is_ok));
}

/// A run that reports its beginning and waits to be let go.
struct Gate {
    begun: Receiver<()>,
    go: SyncSender<()>,
}

impl Gate {
    /// A gate, and the run behind it.
    fn new() -> (Gate, Box<RunPlan>) {
        let (begin, begun) = sync_channel(64);
        let (go, gone) = sync_channel(64);
        let gone = Mutex::new(gone);
        let run: Box<RunPlan> = Box::new(move |plan, inputs, state| {
            begin.send(()).unwrap();
            lock(&gone).recv().unwrap();
            plan.run(inputs, state)
        });
        (Gate { begun, go }, run)
    }

    /// Waits until a run has begun.
    async fn begun(&self) {
        while self.begun.try_recv().is_err() {
            tokio::task::yield_now().await;
        }
    }
}

fn slot_call(plan: &Arc<Plan>, value: f32) -> PlanCall {
    let slot = SlotKey {
        tenant: Arc::from("t"),
        model_version: Arc::from("m@1"),
        sequence: Arc::from("s"),
    };
    PlanCall {
        inputs: vec![Tensor::from_slice(&[1], &[value]).unwrap()],
        slot: Some(slot),
        ..call(plan, 0)
    }
}

#[tokio::test]
async fn stats_are_read_and_slots_ended_while_a_stateful_plan_runs() {
    let (gate, run) = Gate::new();
    let dispatcher = Dispatcher::start(DispatchConfig::default(), Arc::new(SystemClock), run);
    let plan = accumulator();
    let spawn = |value| {
        let (dispatcher, call) = (dispatcher.clone(), slot_call(&plan, value));
        tokio::spawn(async move {
            dispatcher.call(call).await.unwrap().outputs[0].as_slice::<f32>().unwrap()[0]
        })
    };
    let running = spawn(1.0);
    gate.begun().await;
    let waiting = spawn(2.0);
    while dispatcher.stats().counted.waiting == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(dispatcher.stats().slots, 1);
    assert_eq!(dispatcher.plan_stats()[0].counted.waiting, 1);
    dispatcher.end_slot(&slot_call(&plan, 0.0).slot.unwrap());
    assert_eq!(dispatcher.stats().slots, 0);
    (0..2).for_each(|_| gate.go.send(()).unwrap());
    assert_eq!(running.await.unwrap(), 1.0);
    assert_eq!(waiting.await.unwrap(), 2.0, "what ran when the slot ended was dropped");
}

#[tokio::test]
async fn callers_that_leave_are_gone_at_once_while_a_plan_runs() {
    let (gate, run) = Gate::new();
    let dispatcher = Dispatcher::start(DispatchConfig::default(), Arc::new(SystemClock), run);
    let plan = lookup();
    let spawn = |id| {
        let (dispatcher, call) = (dispatcher.clone(), call(&plan, id));
        tokio::spawn(async move { dispatcher.call(call).await })
    };
    let running = spawn(1);
    gate.begun().await;
    let left: Vec<_> = (0..10).map(|_| spawn(2)).collect();
    while dispatcher.stats().counted.waiting < 10 {
        tokio::task::yield_now().await;
    }
    for task in &left {
        task.abort();
    }
    for task in left {
        assert!(task.await.unwrap_err().is_cancelled());
    }
    let counted = dispatcher.stats().counted;
    assert_eq!((counted.waiting, counted.cancelled), (0, 10));
    lock(&dispatcher.shared.lanes[0].state).queue.assert_empty();
    gate.go.send(()).unwrap();
    assert!(running.await.unwrap().is_ok());
}

#[tokio::test]
async fn a_caller_that_left_during_a_failed_launch_is_not_run_again() {
    let (gate, run) = Gate::new();
    let failed = AtomicBool::new(false);
    let run: Box<RunPlan> = Box::new(move |plan, inputs, state| {
        let outcome = run(plan, inputs, state);
        match failed.swap(true, Ordering::Relaxed) {
            false => Err(RunError::Internal("the first launch fails")),
            true => outcome,
        }
    });
    let (plan, dispatcher) = (lookup(), gathering(2, run));
    let spawn = |id| {
        let (dispatcher, call) = (dispatcher.clone(), call(&plan, id));
        tokio::spawn(async move { dispatcher.call(call).await })
    };
    let (stays, leaves) = (spawn(1), spawn(2));
    gate.begun().await;
    leaves.abort();
    assert!(leaves.await.unwrap_err().is_cancelled());
    (0..3).for_each(|_| gate.go.send(()).unwrap());
    assert!(stays.await.unwrap().is_ok());
    assert_eq!(dispatcher.stats().counted.launches, 2);
}

#[tokio::test]
async fn a_call_that_cannot_be_in_time_is_refused_while_the_machine_is_busy() {
    let (gate, run) = Gate::new();
    let clock = ManualClock::new();
    let slow: Box<RunPlan> = {
        let clock = clock.clone();
        Box::new(move |plan, inputs, state| {
            clock.advance(Duration::from_millis(10));
            run(plan, inputs, state)
        })
    };
    let dispatcher = Dispatcher::start(DispatchConfig::default(), Arc::new(clock.clone()), slow);
    let plan = lookup();
    for _ in 0..30 {
        gate.go.send(()).unwrap();
        assert!(dispatcher.call(call(&plan, 1)).await.is_ok());
        gate.begun().await;
    }
    let busy = {
        let (dispatcher, call) = (dispatcher.clone(), call(&plan, 1));
        tokio::spawn(async move { dispatcher.call(call).await })
    };
    gate.begun().await;
    let within =
        |ms| PlanCall { deadline: clock.now() + Duration::from_millis(ms), ..call(&plan, 1) };
    let refused = dispatcher.call(within(9)).await;
    assert!(matches!(refused, Err(DispatchError::DeadlineTooNear { .. })), "{refused:?}");
    let counted = dispatcher.stats().counted;
    assert_eq!((counted.too_near, counted.waiting), (1, 0));
    (0..2).for_each(|_| gate.go.send(()).unwrap());
    assert!(busy.await.unwrap().is_ok());
    assert!(dispatcher.call(within(11_000)).await.is_ok());
}

#[tokio::test]
async fn a_dispatcher_that_ends_answers_everybody() {
    let (gate, run) = Gate::new();
    let dispatcher = Dispatcher::start(DispatchConfig::default(), Arc::new(SystemClock), run);
    let plan = lookup();
    let shared = dispatcher.shared.clone();
    let running = {
        let (dispatcher, call) = (dispatcher.clone(), call(&plan, 1));
        tokio::spawn(async move { dispatcher.call(call).await })
    };
    gate.begun().await;
    gate.go.send(()).unwrap();
    assert!(running.await.unwrap().is_ok());
    drop(dispatcher);
    assert_eq!(shared.lanes[0].state.lock().unwrap().queue.drain().len(), 0);
}
