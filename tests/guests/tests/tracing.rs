//! Formats that trace, in the sandbox alone: what a session answers, and what it makes of lies.

use std::sync::Arc;
use std::time::{Duration, Instant};

use aimass_graph::CompileOptions;
use aimass_guest_tests::Bench;
use aimass_sandbox::{
    Cause, NamedTensors, Plugin, PluginError, PluginSignature, TraceSession, TracedInput,
    TracedStage,
};
use aimass_tensor::{DType, Shape, Strings, Tensor};

async fn load(bench: &Bench, name: &str) -> (Arc<Plugin>, Arc<PluginSignature>) {
    let plugin = bench.load_tracer(name).await.unwrap_or_else(|error| panic!("{name}: {error}"));
    let signature = plugin.load_signature().await.unwrap_or_else(|error| panic!("{name}: {error}"));
    (plugin, Arc::new(signature))
}

async fn session(plugin: &Arc<Plugin>, signature: &Arc<PluginSignature>) -> TraceSession {
    let session = plugin.trace_session(signature, &CompileOptions::default()).await;
    session.unwrap_or_else(|error| panic!("{error}"))
}

fn input(name: &str, dtype: DType, shape: &[usize]) -> TracedInput {
    let shape = Shape::new(shape).expect("a small shape");
    TracedInput { name: name.into(), dtype, shape }
}

fn x(shape: &[usize]) -> TracedInput {
    input("x", DType::F32, shape)
}

fn floats(shape: &[usize], values: &[f32]) -> Tensor {
    Tensor::from_slice(shape, values).expect("as many as the shape has")
}

fn observed(name: &str, tensor: Tensor) -> NamedTensors {
    vec![(name.into(), tensor)]
}

fn run(stage: &TracedStage, inputs: &[Tensor]) -> Vec<Tensor> {
    let plan = stage.plan.as_ref().expect("a stage with a graph");
    plan.run(inputs, None).unwrap_or_else(|error| panic!("{error}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_format_that_traces_says_its_signature_and_what_it_detects() {
    let bench = Bench::new();
    let (plugin, signature) = load(&bench, "pick").await;
    assert_eq!(plugin.detect().await.expect("an answer").as_deref(), Some("tracer"));
    let names: Vec<&str> = signature.inputs.iter().map(|spec| &*spec.name).collect();
    assert_eq!(names, ["x", "which"]);
    let error = plugin.load_graph(&CompileOptions::default()).await.err().expect("no plans");
    assert!(error.to_string().contains("the world tracing-format has no load"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn content_picks_the_graph_and_one_trace_serves_every_batch() {
    let bench = Bench::new();
    let (plugin, signature) = load(&bench, "pick").await;
    for (which, expected) in [(0, [2f32, 4.0, 6.0, 8.0]), (1, [1.0, 4.0, 9.0, 16.0])] {
        let mut session = session(&plugin, &signature).await;
        let inputs = [x(&[1, 2]), input("which", DType::I64, &[])];
        let first = session.trace(&inputs).await.expect("a stage");
        assert!(first.plan.is_none() && first.batched && first.reusable);
        assert_eq!(first.observe, ["which".into()]);
        let which = Tensor::from_slice(&[], &[which as i64]).expect("a scalar");
        let last = session.resume(observed("which", which)).await.expect("a stage");
        assert!(last.observe.is_empty());
        let y = run(&last, &[floats(&[2, 2], &[1.0, 2.0, 3.0, 4.0])]);
        assert_eq!(y[0].as_slice::<f32>().expect("f32"), expected);
        let more = session.resume(Vec::new()).await.err().expect("the trace has ended");
        assert!(matches!(more.cause, Cause::Host { .. }), "{more}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loop_is_traced_until_what_it_observes_ends_it() {
    let bench = Bench::new();
    let (plugin, signature) = load(&bench, "countdown").await;
    let mut session = session(&plugin, &signature).await;
    let inputs = [input("n", DType::I64, &[1]), x(&[3])];
    let mut stage = session.trace(&inputs).await.expect("a stage");
    let (first, mut sum) = (floats(&[3], &[1.0, 2.0, 3.0]), floats(&[3], &[1.0, 2.0, 3.0]));
    let mut left = Tensor::from_slice(&[1], &[3i64]).expect("one element");
    let mut stages = 1;
    loop {
        let name = stage.observe[0].to_string();
        stage = session.resume(observed(&name, left.clone())).await.expect("a stage");
        stages += 1;
        let plan = stage.plan.as_ref().expect("a graph");
        let values = plan.signature().inputs.iter().map(|spec| match &*spec.name {
            "x" => first.clone(),
            name if name.starts_with('x') => sum.clone(),
            _ => left.clone(),
        });
        let outputs = run(&stage, &values.collect::<Vec<_>>());
        if stage.observe.is_empty() {
            assert_eq!(outputs[0].as_slice::<f32>().expect("f32"), [4.0, 8.0, 12.0]);
            break;
        }
        (left, sum) = (outputs[0].clone(), outputs[1].clone());
    }
    assert_eq!(stages, 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stage_says_what_keeps_it_from_serving_every_batch() {
    let bench = Bench::new();
    let (plugin, signature) = load(&bench, "double-alone").await;
    let stage = session(&plugin, &signature).await.trace(&[x(&[1, 2])]).await.expect("a stage");
    let blocked_by = stage.blocked_by.as_deref();
    assert!(!stage.batched && blocked_by == Some(&*"x".repeat(1_024)), "{blocked_by:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn strings_are_observed_and_known_and_an_input_is_an_output() {
    let bench = Bench::new();
    let (plugin, signature) = load(&bench, "loud").await;
    let mut session = session(&plugin, &signature).await;
    session.trace(&[input("text", DType::Bytes, &[2])]).await.expect("a stage");
    let text = Strings::from_slices(&["ab", "ß"]).expect("short");
    let text = Tensor::from_strings(Shape::new(&[2]).expect("a shape"), text).expect("two");
    let last = session.resume(observed("text", text)).await.expect("a stage");
    let (name, loud) = &last.known[0];
    assert!(&**name == "loud" && last.plan.is_none() && last.observe.is_empty());
    let loud = loud.strings().expect("strings");
    assert!(loud.iter().eq(["AB".as_bytes(), "SS".as_bytes()]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_compiles_nothing_and_must_answer_the_same() {
    let bench = Bench::new();
    let (plugin, signature) = load(&bench, "double-any").await;
    let trace = async |shape: &[usize]| {
        session(&plugin, &signature).await.trace(&[x(shape)]).await.expect("a stage")
    };
    let expected = trace(&[1, 3]).await;
    let same = session(&plugin, &signature).await.replay_trace(&[x(&[5, 3])], &expected).await;
    same.expect("the same stage for another batch");
    let mut other = session(&plugin, &signature).await;
    let error = other.replay_trace(&[x(&[1, 4])], &expected).await.expect_err("another stage");
    assert_eq!(error.cause.kind().as_str(), "bad-output");
    assert!(other.resume(Vec::new()).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_out_of_order_are_the_hosts_fault() {
    let bench = Bench::new();
    let (plugin, signature) = load(&bench, "pick").await;
    let inputs = [x(&[1, 2]), input("which", DType::I64, &[])];
    let which = || observed("which", Tensor::from_slice(&[], &[0i64]).expect("a scalar"));
    let mut fresh = session(&plugin, &signature).await;
    assert!(matches!(
        fresh.resume(which()).await.err().expect("too soon").cause,
        Cause::Host { .. }
    ));
    let mut twice = session(&plugin, &signature).await;
    twice.trace(&inputs).await.expect("a stage");
    assert!(twice.trace(&inputs).await.is_err());
    let mut wrong = session(&plugin, &signature).await;
    wrong.trace(&inputs).await.expect("a stage");
    let other = observed("x", floats(&[1, 2], &[0.0, 0.0]));
    assert!(matches!(
        wrong.resume(other).await.err().expect("not asked").cause,
        Cause::Host { .. }
    ));
    let mut shapes = session(&plugin, &signature).await;
    let error = shapes.trace(&[x(&[1, 3]), inputs[1].clone()]).await.err().expect("a wrong shape");
    assert!(matches!(error.cause, Cause::BadInput { .. }), "{error}");
}

/// Traces `x` f32 [3, 2], and resumes with it if asked, until there is an error; `None` if there is none.
async fn end_of(bench: &Bench, name: &str) -> Option<PluginError> {
    let plugin = bench.load_tracer(name).await.unwrap_or_else(|error| panic!("{name}: {error}"));
    let signature = match plugin.load_signature().await {
        Ok(signature) => Arc::new(signature),
        Err(error) => return Some(error),
    };
    let mut session = session(&plugin, &signature).await;
    let mut answer = session.trace(&[x(&[3, 2])]).await;
    for _ in 0..1000 {
        match answer {
            Err(error) => return Some(error),
            Ok(stage) if stage.observe.is_empty() => return None,
            Ok(_) => answer = session.resume(observed("x", floats(&[3, 2], &[0.0; 6]))).await,
        }
    }
    None
}

#[tokio::test(flavor = "multi_thread")]
async fn every_lie_is_found_and_harms_nobody() {
    let bench = Bench::new();
    let expected = [
        ("unknown-input", "bad-output", "`nope`, which is no value"),
        ("wrong-shape", "bad-output", "as [7, 2], but it is [3, 2]"),
        ("wrong-input-dtype", "bad-output", "`x` as i64, but it is f32"),
        ("name-twice", "bad-output", "got `x` again"),
        ("dynamic-input", "bad-output", "as [3, n], but it is [3, 2]"),
        ("frozen-batch", "bad-output", "as [3, 2], but it is [batch, 2]"),
        ("fickle-batch", "bad-output", "`batched` to be the same"),
        ("observe-unknown", "bad-output", "`nope`"),
        ("observe-twice", "bad-output", "`x` twice"),
        ("endless", "bad-output", "at most 50 stages"),
        ("long-blame", "bad-output", "at most 1024 bytes, got 1025"),
        ("needless-blame", "bad-output", "expected no `blocked-by`"),
        ("missing-output", "bad-output", "output `y`"),
        ("wrong-dtype", "bad-output", "expected dtype f32, got i64"),
        ("wrong-rank", "bad-output", "`y`: expected [batch, 2], got [2]"),
        ("known-bytes", "output-too-large", "33554432"),
        ("known-many", "bad-output", "at most 256"),
        ("loop", "deadline", "deadline"),
        ("resume-loop", "deadline", "deadline"),
        ("resume-panic", "trap", "resume"),
        ("memory", "memory", "67108864"),
        ("refuse", "guest-error", "expected another input"),
        ("no-dtype", "bad-output", "expected a dtype"),
        ("late-batch", "bad-output", "no batch at 1"),
        ("no-output", "bad-output", "at least one output"),
    ];
    let mut wrong = Vec::new();
    for (name, kind, words) in expected {
        let started = Instant::now();
        let Some(error) = end_of(&bench, name).await else {
            wrong.push(format!("{name}: expected {kind}, got no error"));
            continue;
        };
        let text = error.to_string();
        if error.cause.kind().as_str() != kind || !text.contains(words) {
            wrong.push(format!("{name}: expected {kind}, {words}; got {text}"));
        }
        if started.elapsed() > Duration::from_secs(30) {
            wrong.push(format!("{name}: took {:?}", started.elapsed()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let (plugin, signature) = load(&bench, "double").await;
    let stage = session(&plugin, &signature).await.trace(&[x(&[1, 2])]).await.expect("a stage");
    let y = run(&stage, &[floats(&[1, 2], &[1.0, 2.0])]);
    assert_eq!(y[0].as_slice::<f32>().expect("f32"), [2.0, 4.0]);
    assert_eq!(
        bench.sandbox.metrics().instances_live.load(std::sync::atomic::Ordering::Relaxed),
        0
    );
}
