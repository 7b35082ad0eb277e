//! Calls of one plan from many callers: joined, answered as if alone, failed alone.
#![expect(clippy::unwrap_used, reason = "a test fails where it stands")]

use aimass_dispatch::{
    CallObserver, DispatchConfig, DispatchError, Dispatcher, PlanAnswer, PlanCall, SlotKey,
    SystemClock,
};
use aimass_graph::{CompileOptions, Dim, GraphBuilder, GraphLimits, Plan, StateInit, compile};
use aimass_tensor::{DType, Tensor};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Looks rows up in a table of four rows: ids [ragged] -> [ragged, 2], and their mean a sequence.
fn lookup() -> Arc<Plan> {
    let mut builder = GraphBuilder::new(GraphLimits::default());
    let offsets = builder.offsets("offsets").unwrap();
    let ids = builder.input("ids", DType::I32, &[Dim::Ragged(Arc::from("offsets"))]).unwrap();
    let rows: Vec<f32> = (0..8).map(|value| value as f32).collect();
    let table = builder.constant(Tensor::from_slice(&[4, 2], &rows).unwrap()).unwrap();
    let found = builder.gather(table, ids, 0).unwrap();
    let mean = builder.ragged_mean(found, offsets).unwrap();
    builder.output("found", found).unwrap();
    builder.output("mean", mean).unwrap();
    plan(builder)
}

/// Adds its input to a state and answers the sum so far.
fn accumulator() -> Arc<Plan> {
    let mut builder = GraphBuilder::new(GraphLimits::default());
    let x = builder.input("x", DType::F32, &[Dim::Fixed(1)]).unwrap();
    let old = builder.state("sum", DType::F32, &[1], StateInit::Zeros).unwrap();
    let new = builder.add(old, x).unwrap();
    builder.state_write("sum", new).unwrap();
    builder.output("sum", new).unwrap();
    plan(builder)
}

fn plan(builder: GraphBuilder) -> Arc<Plan> {
    let graph = builder.finish().unwrap();
    Arc::new(compile(graph, &CompileOptions::default()).unwrap())
}

fn call(plan: &Arc<Plan>, ids: &[i32]) -> PlanCall {
    let tensors: Vec<(&str, Tensor)> = vec![
        ("ids", Tensor::from_slice(&[ids.len()], ids).unwrap()),
        ("offsets", Tensor::from_slice(&[2], &[0u32, ids.len() as u32]).unwrap()),
    ];
    let named = |name: &str| tensors.iter().find(|(own, _)| *own == name).unwrap().1.clone();
    PlanCall {
        plan: plan.clone(),
        inputs: plan.signature().inputs.iter().map(|spec| named(&spec.name)).collect(),
        tenant: Arc::from("t"),
        deadline: Instant::now() + Duration::from_secs(60),
        slot: None,
    }
}

/// A dispatcher that launches exactly when `calls` calls wait.
fn gathering(calls: usize) -> Arc<Dispatcher> {
    let config = DispatchConfig {
        batch_wait_max: Duration::from_secs(600),
        batch_calls_max: calls,
        batch_rows_max: usize::MAX,
        ..DispatchConfig::default()
    };
    Dispatcher::new(config, Arc::new(SystemClock))
}

async fn all(
    dispatcher: &Arc<Dispatcher>,
    calls: Vec<PlanCall>,
) -> Vec<Result<PlanAnswer, DispatchError>> {
    let tasks: Vec<_> = calls
        .into_iter()
        .map(|call| {
            let dispatcher = dispatcher.clone();
            tokio::spawn(async move { dispatcher.call(call).await })
        })
        .collect();
    let mut answers = Vec::new();
    for task in tasks {
        answers.push(task.await.unwrap());
    }
    answers
}

fn floats(answer: &PlanAnswer, output: usize) -> Vec<f32> {
    answer.outputs[output].as_slice::<f32>().unwrap().to_vec()
}

#[tokio::test]
async fn waiting_calls_share_one_launch_and_get_their_own_rows() {
    let (plan, dispatcher) = (lookup(), gathering(3));
    let ids: [&[i32]; 3] = [&[0, 3], &[], &[2, 2, 1]];
    let answers = all(&dispatcher, ids.iter().map(|ids| call(&plan, ids)).collect()).await;
    assert_eq!(dispatcher.stats().counted.launches, 1);
    let alone = Dispatcher::new(DispatchConfig::default(), Arc::new(SystemClock));
    for (ids, answer) in ids.iter().zip(answers) {
        let (answer, expected) = (answer.unwrap(), alone.call(call(&plan, ids)).await.unwrap());
        assert_eq!(answer.batch_calls, 3);
        assert_eq!(expected.batch_calls, 1);
        assert_eq!(floats(&answer, 0), floats(&expected, 0));
        assert_eq!(floats(&answer, 1), floats(&expected, 1));
    }
}

#[tokio::test]
async fn a_bad_row_fails_alone() {
    let (plan, dispatcher) = (lookup(), gathering(3));
    let calls = vec![call(&plan, &[1]), call(&plan, &[9]), call(&plan, &[2])];
    let answers = all(&dispatcher, calls).await;
    assert_eq!(floats(answers[0].as_ref().unwrap(), 0), [2.0, 3.0]);
    assert!(matches!(answers[1], Err(DispatchError::Run(_))), "{:?}", answers[1]);
    assert_eq!(floats(answers[2].as_ref().unwrap(), 0), [4.0, 5.0]);
}

#[tokio::test]
async fn a_tenant_alone_gets_half_of_the_queue_and_a_dropped_call_leaves_it() {
    let plan = lookup();
    let config = DispatchConfig {
        batch_wait_max: Duration::from_secs(600),
        queue_calls_max: 4,
        ..DispatchConfig::default()
    };
    let dispatcher = Dispatcher::new(config, Arc::new(SystemClock));
    let waiting: Vec<_> = (0..2)
        .map(|_| {
            let (dispatcher, call) = (dispatcher.clone(), call(&plan, &[1]));
            tokio::spawn(async move { dispatcher.call(call).await })
        })
        .collect();
    while dispatcher.stats().counted.waiting < 2 {
        tokio::task::yield_now().await;
    }
    let refused = dispatcher.call(call(&plan, &[1])).await;
    assert!(matches!(refused, Err(DispatchError::Quota { got: 3, max: 2 })), "{refused:?}");
    let text = refused.unwrap_err().to_string();
    assert!(text.contains("queue_calls_tenant_max"), "the limit is named: {text}");
    for task in waiting {
        task.abort();
        assert!(task.await.unwrap_err().is_cancelled());
    }
    let counted = dispatcher.stats().counted;
    assert_eq!((counted.waiting, counted.cancelled, counted.quota), (0, 2, 1), "at once");
}

#[tokio::test]
async fn a_deadline_is_kept_while_waiting() {
    let (plan, dispatcher) = (lookup(), gathering(2));
    let late = PlanCall { deadline: Instant::now(), ..call(&plan, &[1]) };
    assert!(matches!(dispatcher.call(late).await, Err(DispatchError::DeadlineExceeded)));
}

#[tokio::test]
async fn wrong_inputs_are_refused_before_they_wait() {
    let (plan, dispatcher) = (lookup(), gathering(2));
    let mut wrong = call(&plan, &[1, 2]);
    wrong.inputs.pop();
    assert!(matches!(dispatcher.call(wrong).await, Err(DispatchError::Run(_))));
    assert_eq!(dispatcher.stats().counted.waiting, 0);
}

#[tokio::test]
async fn slots_keep_their_state_apart_and_end() {
    let plan = accumulator();
    let dispatcher = Dispatcher::new(DispatchConfig::default(), Arc::new(SystemClock));
    let key = |sequence: &str| SlotKey {
        tenant: Arc::from("t"),
        model_version: Arc::from("m@1"),
        sequence: Arc::from(sequence),
    };
    let add = async |sequence: Option<&str>, value: f32| {
        let call = PlanCall {
            plan: plan.clone(),
            inputs: vec![Tensor::from_slice(&[1], &[value]).unwrap()],
            tenant: Arc::from("t"),
            deadline: Instant::now() + Duration::from_secs(60),
            slot: sequence.map(key),
        };
        floats(&dispatcher.call(call).await.unwrap(), 0)[0]
    };
    assert_eq!(add(Some("a"), 1.0).await, 1.0);
    assert_eq!(add(Some("b"), 10.0).await, 10.0);
    assert_eq!(add(Some("a"), 2.0).await, 3.0);
    assert_eq!(add(None, 5.0).await, 5.0, "no slot, no memory");
    dispatcher.end_slot(&key("a"));
    assert_eq!(add(Some("a"), 4.0).await, 4.0);
    assert_eq!(dispatcher.stats().slots, 2);
}

#[tokio::test]
async fn one_slot_more_than_allowed_is_refused() {
    let plan = accumulator();
    let config = DispatchConfig { slots_max: 1, ..DispatchConfig::default() };
    let dispatcher = Dispatcher::new(config, Arc::new(SystemClock));
    let call = |sequence: &str| PlanCall {
        plan: plan.clone(),
        inputs: vec![Tensor::from_slice(&[1], &[1f32]).unwrap()],
        tenant: Arc::from("t"),
        deadline: Instant::now() + Duration::from_secs(60),
        slot: Some(SlotKey {
            tenant: Arc::from("t"),
            model_version: Arc::from("m@1"),
            sequence: Arc::from(sequence),
        }),
    };
    assert!(dispatcher.call(call("a")).await.is_ok());
    assert!(matches!(dispatcher.call(call("b")).await, Err(DispatchError::SlotLimit { .. })));
    assert!(dispatcher.call(call("a")).await.is_ok());
}

/// Counts calls and their inputs.
#[derive(Debug, Default)]
struct Counter(std::sync::Mutex<Vec<usize>>);

impl CallObserver for Counter {
    fn called(&self, call: &PlanCall) {
        self.0.lock().unwrap().push(call.inputs.len());
    }
}

#[tokio::test]
async fn an_observer_sees_every_call_that_fits_its_plan_and_no_other() {
    let counter = Arc::new(Counter::default());
    let config = DispatchConfig { observer: Some(counter.clone()), ..DispatchConfig::default() };
    let dispatcher = Dispatcher::new(config, Arc::new(SystemClock));
    let plan = lookup();
    dispatcher.call(call(&plan, &[1, 2])).await.unwrap();
    dispatcher.call(call(&plan, &[9])).await.unwrap_err();
    let wrong = PlanCall { inputs: Vec::new(), ..call(&plan, &[1]) };
    dispatcher.call(wrong).await.unwrap_err();
    assert_eq!(*counter.0.lock().unwrap(), [2, 2]);
}

#[tokio::test]
async fn calls_of_different_plugins_and_tenants_share_one_launch() {
    let dispatcher = gathering(3);
    // Two plugins that build the same graph get plans of one key; who calls does not matter.
    let (one, other) = (lookup(), lookup());
    assert!(!Arc::ptr_eq(&one, &other));
    let of = |plan: &Arc<Plan>, tenant: &str| PlanCall {
        tenant: Arc::from(tenant),
        ..call(plan, &[1, 2])
    };
    let calls = vec![of(&one, "a"), of(&other, "b"), of(&other, "c")];
    let answers = all(&dispatcher, calls).await;
    assert!(answers.iter().all(|answer| answer.as_ref().unwrap().batch_calls == 3));
    let stats = dispatcher.plan_stats();
    assert_eq!(stats.len(), 1);
    let counted = stats[0].counted;
    assert_eq!((counted.launches, counted.calls, counted.rows), (1, 3, 6));
    assert_eq!(counted.batch_sizes[..3], [0, 1, 0], "two or three calls");
    assert_eq!(stats[0].estimates[0].samples, 1);
    assert_eq!(stats[0].key, one.key());
}

#[tokio::test]
async fn a_launch_takes_no_more_than_its_bytes() {
    let plan = lookup();
    let bytes = plan.cost(&call(&plan, &[1]).inputs).unwrap().arena_bytes;
    let config = DispatchConfig {
        batch_wait_max: Duration::from_secs(600),
        batch_bytes_max: 2 * bytes,
        ..DispatchConfig::default()
    };
    let dispatcher = Dispatcher::new(config, Arc::new(SystemClock));
    let answers = all(&dispatcher, (0..6).map(|_| call(&plan, &[1])).collect()).await;
    assert!(answers.iter().all(|answer| answer.as_ref().unwrap().batch_calls == 2));
    let large = dispatcher.call(call(&plan, &[1; 50])).await.unwrap();
    assert_eq!(large.batch_calls, 1, "a larger call runs alone");
}

#[tokio::test]
async fn inputs_that_no_arena_holds_are_refused_before_they_wait() {
    let mut builder = GraphBuilder::new(GraphLimits::default());
    let x = builder.input("x", DType::F32, &[Dim::Batch]).unwrap();
    let y = builder.exp(x).unwrap();
    builder.output("y", y).unwrap();
    let options = CompileOptions { arena_bytes_max: 64, ..CompileOptions::default() };
    let plan = Arc::new(compile(builder.finish().unwrap(), &options).unwrap());
    let dispatcher = gathering(9);
    let inputs = vec![Tensor::from_slice(&[17], &[0f32; 17]).unwrap()];
    let large = PlanCall { inputs, plan: plan.clone(), ..call(&lookup(), &[1]) };
    let refused = dispatcher.call(large).await;
    assert!(matches!(refused, Err(DispatchError::Run(_))), "{refused:?}");
}
