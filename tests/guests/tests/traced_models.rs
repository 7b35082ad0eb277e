//! Models whose format traces, served by the engine: what is kept, what is shared, what it costs.

use std::sync::Arc;
use std::time::Duration;

use aimass_engine::{Family, TracedConfig};
use aimass_guest_tests::Server;
use aimass_tensor::{Shape, Strings, Tensor};

async fn start(program: &str) -> Server {
    with(program, TracedConfig::default()).await
}

async fn with(program: &str, traced: TracedConfig) -> Server {
    let server = Server::start(program, traced).await;
    server.unwrap_or_else(|error| panic!("{program}: {error}"))
}

fn floats(shape: &[usize], values: &[f32]) -> Tensor {
    Tensor::from_slice(shape, values).expect("as many as the shape has")
}

fn ones(shape: &[usize]) -> Tensor {
    floats(shape, &vec![1.0; shape.iter().product()])
}

fn int(shape: &[usize], value: i64) -> Tensor {
    Tensor::from_slice(shape, &[value]).expect("one element")
}

fn strings(items: &[&str]) -> Tensor {
    let strings = Strings::from_slices(items).expect("short strings");
    Tensor::from_strings(Shape::new(&[items.len()]).expect("a shape"), strings).expect("as many")
}

fn values(tensors: &[Tensor]) -> &[f32] {
    tensors[0].as_slice::<f32>().expect("f32")
}

async fn count_down(server: &Server, n: i64, len: usize) -> f32 {
    let outputs = server.ask(&[("n", int(&[1], n)), ("x", ones(&[len]))]).await;
    let outputs = outputs.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(outputs[0].shape()[..], [len]);
    values(&outputs)[0]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_of_known_shapes_is_traced_before_it_is_ready() {
    let server = start("double").await;
    while server.engine.models().is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let before = server.traced();
    assert_eq!(before, (2, 2), "one at publishing, one at loading");
    let calls = server.counter("aimass_sandbox_calls_total");
    for batch in [1, 3, 7] {
        let y = server.ask(&[("x", ones(&[batch, 2]))]).await.expect("an answer");
        assert_eq!(values(&y), vec![2.0; 2 * batch]);
    }
    assert_eq!(server.traced_since(before), (0, 0));
    assert_eq!(server.counter("aimass_sandbox_calls_total"), calls, "no call entered the sandbox");
}

#[tokio::test(flavor = "multi_thread")]
async fn shapes_are_traced_once_and_batches_are_told_apart_only_if_they_must_be() {
    for (program, expected) in [("double-any", 1), ("double-alone", 3)] {
        let server = start(program).await;
        let ask = async |batch| {
            let y = server.ask(&[("x", ones(&[batch, 2]))]).await.expect("an answer");
            assert_eq!(values(&y), vec![2.0; 2 * batch]);
        };
        ask(2).await;
        let before = server.traced();
        for batch in [2, 3, 4, 5, 3, 4, 5] {
            ask(batch).await;
        }
        let sessions = server.traced_since(before).0;
        assert_eq!(sessions, if expected == 1 { 0 } else { expected }, "{program}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn content_picks_the_graph_and_a_refused_content_is_the_callers_fault() {
    let server = start("pick").await;
    let x = || ("x", floats(&[1, 2], &[3.0, 4.0]));
    for _ in 0..2 {
        for (which, expected) in [(0, [6.0, 8.0]), (1, [9.0, 16.0])] {
            let y = server.ask(&[x(), ("which", int(&[], which))]).await.expect("an answer");
            assert_eq!(values(&y), expected);
        }
    }
    let (sessions, stages) = server.traced();
    // At publishing and at loading the first stage; then one session for each content.
    assert_eq!((sessions, stages), (4, 4));
    let error = server.ask(&[x(), ("which", int(&[], 7))]).await.expect_err("no such content");
    assert_eq!((error.family(), error.code()), (Family::InvalidInput, "which"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loop_reuses_the_stages_that_another_one_left() {
    let server = start("countdown").await;
    assert_eq!(count_down(&server, 3, 4).await, 4.0);
    assert_eq!(server.traced(), (1, 5));
    assert_eq!(count_down(&server, 3, 4).await, 4.0);
    assert_eq!(server.traced(), (1, 5), "the same loop again");
    // What was observed first differs, so only the first stage is shared, and repeated.
    assert_eq!(count_down(&server, 2, 4).await, 3.0);
    assert_eq!(server.traced(), (2, 8));
    assert_eq!(count_down(&server, 0, 4).await, 1.0);
    assert_eq!(server.traced(), (3, 9));
}

#[tokio::test(flavor = "multi_thread")]
async fn strings_pass_and_an_input_can_be_an_output() {
    let server = start("loud").await;
    for _ in 0..2 {
        let outputs = server.ask(&[("text", strings(&["ab", "ß"]))]).await.expect("an answer");
        assert!(outputs[0].strings().expect("strings").iter().eq([&b"AB"[..], b"SS"]));
        assert!(
            outputs[1].strings().expect("strings").iter().eq(["ab".as_bytes(), "ß".as_bytes()])
        );
    }
    assert_eq!(server.traced(), (1, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_reusable_is_asked_for_every_time() {
    let server = start("moody").await;
    server.ask(&[("x", ones(&[3, 2]))]).await.expect("an answer");
    let before = server.traced();
    for _ in 0..3 {
        let y = server.ask(&[("x", ones(&[3, 2]))]).await.expect("an answer");
        assert_eq!(values(&y), [2.0; 6]);
    }
    assert_eq!(server.traced_since(before), (3, 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn inputs_are_checked_before_anything_is_traced() {
    let server = start("countdown").await;
    let wrong = [
        (int(&[1], 1), ones(&[2, 2]), "input x: expected 1 dimensions"),
        (Tensor::from_slice(&[2], &[1i64, 2]).expect("two"), ones(&[2]), "input n: expected 1 at"),
        (ones(&[1]), ones(&[2]), "input \"n\" takes INT64"),
    ];
    for (n, x, words) in wrong {
        let error = server.ask(&[("n", n), ("x", x)]).await.expect_err("wrong inputs");
        assert_eq!(error.family(), Family::InvalidInput);
        assert!(error.to_string().contains(words), "{error}");
    }
    assert_eq!(server.traced(), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_that_miss_the_same_wait_for_one_trace() {
    for program in ["slow", "countdown"] {
        let server = Arc::new(start(program).await);
        // The model is loaded first, so that all start together.
        while server.engine.models().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let mut callers = Vec::new();
        for _ in 0..8 {
            let server = server.clone();
            callers.push(tokio::spawn(async move {
                match program {
                    "slow" => {
                        let y = server.ask(&[("x", ones(&[2, 3]))]).await.expect("an answer");
                        assert_eq!(values(&y), [2.0; 6]);
                    }
                    _ => assert_eq!(count_down(&server, 5, 6).await, 6.0),
                }
            }));
        }
        for caller in callers {
            caller.await.expect("no panic");
        }
        let expected = if program == "slow" { (1, 1) } else { (1, 7) };
        assert_eq!(server.traced(), expected, "{program}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_outlives_the_request_that_asked_for_it() {
    let server = start("slow").await;
    while server.engine.models().is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let x = || [("x", ones(&[2, 3]))];
    for _ in 0..2 {
        let error = server.ask_within(Duration::from_millis(20), &x()).await.expect_err("too slow");
        assert_eq!(error.family(), Family::Deadline, "{error}");
    }
    let y = server.ask(&x()).await.expect("an answer");
    assert_eq!(values(&y), [2.0; 6]);
    assert_eq!(server.traced(), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn combinations_of_shapes_go_when_there_are_too_many() {
    for (roots_max, retraced) in [(3, 0), (2, 1)] {
        let server = with("double-any", TracedConfig { roots_max, ..Default::default() }).await;
        let ask = async |n| server.ask(&[("x", ones(&[1, n]))]).await.expect("an answer");
        for n in [1, 2, 1, 3] {
            ask(n).await;
        }
        let before = server.traced();
        // 2 was used longest ago.
        ask(1).await;
        ask(3).await;
        assert_eq!(server.traced_since(before), (0, 0));
        ask(2).await;
        assert_eq!(server.traced_since(before), (retraced, retraced), "{roots_max}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn stages_go_from_the_end_when_there_are_too_many() {
    // Counting down from 3 takes 5 stages, from 1 two more.
    for (stages_max, retraced) in [(7, (0, 0)), (6, (1, 1))] {
        let server = with("countdown", TracedConfig { stages_max, ..Default::default() }).await;
        count_down(&server, 3, 2).await;
        count_down(&server, 1, 2).await;
        let before = server.traced();
        assert_eq!(count_down(&server, 1, 2).await, 2.0);
        assert_eq!(server.traced_since(before), (0, 0));
        assert_eq!(count_down(&server, 3, 2).await, 4.0);
        assert_eq!(server.traced_since(before), retraced, "{stages_max}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn content_goes_when_it_takes_too_many_bytes() {
    // Each text is observed and answered: twice 10 bytes and two offsets.
    for (content_bytes_max, retraced) in [(72, (0, 0)), (71, (1, 1)), (35, (1, 1))] {
        let traced = TracedConfig { content_bytes_max, ..Default::default() };
        let server = with("loud", traced).await;
        let ask = async |text: &str| server.ask(&[("text", strings(&[text]))]).await;
        ask("aaaaaaaaaa").await.expect("an answer");
        ask("bbbbbbbbbb").await.expect("an answer");
        let before = server.traced();
        ask("aaaaaaaaaa").await.expect("an answer");
        assert_eq!(server.traced_since(before), retraced, "{content_bytes_max}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_has_an_end_in_bytes() {
    // Each stage makes 8 bytes of `n` and 8 of `x`; three of them, and 8 of `y`.
    for (call_bytes_max, fits) in [(56, true), (55, false)] {
        let server = with("countdown", TracedConfig { call_bytes_max, ..Default::default() }).await;
        let answer = server.ask(&[("n", int(&[1], 3)), ("x", ones(&[2]))]).await;
        match answer {
            Ok(_) => assert!(fits),
            Err(error) => {
                assert_eq!((error.family(), fits), (Family::TooLarge, false), "{error}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lies_end_in_errors_and_the_model_goes_on() {
    for (program, family, code) in [
        ("unknown-input", Family::Plugin, "bad-output"),
        ("wrong-dtype", Family::Plugin, "bad-output"),
        ("resume-panic", Family::Plugin, "trap"),
        ("memory", Family::Plugin, "memory"),
        ("endless", Family::Plugin, "bad-output"),
        ("refuse", Family::InvalidInput, "not-this"),
    ] {
        let server = start(program).await;
        for _ in 0..2 {
            let error = server.ask(&[("x", ones(&[3, 2]))]).await.expect_err(program);
            assert_eq!((error.family(), error.code()), (family, code), "{program}: {error}");
        }
        assert_eq!(server.counter("aimass_sandbox_instances_live"), 0, "{program}");
    }
    for program in ["no-dtype", "no-output"] {
        assert!(Server::start(program, TracedConfig::default()).await.is_err(), "{program}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_trace_is_remembered_for_a_while() {
    let an_hour = Duration::from_secs(3_600);
    // Sessions that five requests of one shape, then two of another and one of the first, open.
    for (program, failures_max, failure_kept, sessions) in [
        ("refuse", 1_024, an_hour, [1, 2, 2]),
        ("refuse", 1, an_hour, [1, 2, 3]),
        ("refuse", 0, an_hour, [5, 7, 8]),
        ("refuse", 1_024, Duration::ZERO, [5, 7, 8]),
        // The first stage is kept, and what it fails to go on with is remembered behind it.
        ("resume-panic", 1_024, an_hour, [1, 2, 2]),
    ] {
        let traced = TracedConfig { failures_max, failure_kept, ..Default::default() };
        let server = with(program, traced).await;
        let mut counted = Vec::new();
        for (shape, requests) in [([3, 2], 5), ([3, 4], 2), ([3, 2], 1)] {
            for _ in 0..requests {
                let error = server.ask(&[("x", ones(&shape))]).await.expect_err(program);
                let code = if program == "refuse" { "not-this" } else { "trap" };
                assert_eq!(error.code(), code, "{program}: {error}");
            }
            counted.push(server.traced().0);
        }
        assert_eq!(counted, sessions, "{program}, {failures_max} for {failure_kept:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fixtures_trace_at_publishing() {
    let fixture = |expected: f32| {
        format!(
            r#"[{{"name": "doubled", "tolerance": 0,
                "inputs": [{{"name": "x", "datatype": "FP32", "shape": [1, 1], "data": [2]}}],
                "outputs": [{{"name": "y", "datatype": "FP32", "shape": [1, 1],
                              "data": [{expected}]}}]}}]"#
        )
    };
    let publish = async |expected| {
        let files = [("a.fixture.json", &*fixture(expected))];
        Server::with_files("double-any", TracedConfig::default(), &files).await
    };
    let server = publish(4.0).await.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(server.traced().0, 1);
    let error = publish(5.0).await.err().expect("a wrong fixture");
    assert_eq!(error.code(), "fixture-failed");
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_of_one_stage_get_their_own_answers() {
    let server = Arc::new(start("double").await);
    server.ask(&[("x", ones(&[1, 2]))]).await.expect("an answer");
    let mut callers = Vec::new();
    for caller in 0..64 {
        let server = server.clone();
        callers.push(tokio::spawn(async move {
            let (batch, value) = (1 + caller % 5, caller as f32);
            let x = floats(&[batch, 2], &vec![value; batch * 2]);
            let y = server.ask(&[("x", x)]).await.expect("an answer");
            assert_eq!(values(&y), vec![2.0 * value; batch * 2]);
        }));
    }
    for caller in callers {
        caller.await.expect("no panic");
    }
}
