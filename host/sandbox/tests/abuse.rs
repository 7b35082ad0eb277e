//! Hostile plugins: each error names the plugin and the cause, and everybody else is served.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use aimass_sandbox::{Cause, CauseKind, SandboxError};
use aimass_tensor::Tensor;
use std::time::Duration;
use support::{
    Bench, CREATE, LOG, NOTHING, call, core, described, identity, module, module_with, package,
    package_with, process, processor,
};

const LOOP: &str = "(loop $forever (br $forever)) unreachable";

fn init(code: &str) -> String {
    let init = format!(r#"(func (export "init") {code})"#);
    let body = r#"(func (export "process") (param i32 i32 i32 i32) (result i32) unreachable)"#;
    module_with("", &init, body)
}

#[tokio::test]
async fn an_endless_loop_is_cut_at_the_deadline_and_lets_others_run() {
    let bench = Bench::new();
    let spinning = bench.load(&processor("", LOOP)).await.unwrap();
    let spin = spinning.process(call(Duration::from_millis(300)), vec![]);
    // One thread serves both: the guest that spins yields at each tick.
    let (spun, ()) = tokio::join!(spin, bench.still_works());
    let error = spun.unwrap_err();
    assert_eq!(error.cause, Cause::Deadline);
    assert_eq!(
        error.to_string(),
        "plugin acme/test 1.0.0 (processor) failed in process: its \
                                   deadline passed"
    );
    assert_eq!(bench.sandbox.metrics().failures(CauseKind::Deadline), 1);
    bench.still_works().await;
}

#[tokio::test]
async fn an_endless_init_start_or_realloc_is_cut() {
    let bench = Bench::with(|config| {
        config.limits.init_wall_max = Duration::from_millis(50);
        config.limits.wall_max = Duration::from_millis(50);
    });
    let start = init("").replace("(memory (", "(func $s (loop $l (br $l))) (start $s) (memory (");
    for wat in [init("(loop $l (br $l))"), start] {
        let error = bench.load(&wat).await.err().unwrap();
        let SandboxError::Plugin(error) = error else { panic!("{error}") };
        assert_eq!((error.function, error.cause), ("init", Cause::Deadline));
    }
    let realloc = identity().replace("(local $at i32)", "(local $at i32) (loop $l (br $l))");
    let plugin = bench.load(&realloc).await.unwrap();
    let x = Tensor::from_slice(&[1], &[1f32]).unwrap();
    let error = process(&plugin, vec![("x".into(), x)]).await.unwrap_err();
    assert_eq!(error.cause, Cause::Deadline);
    bench.still_works().await;
}

#[tokio::test]
async fn a_memory_bomb_stops_at_its_limit() {
    let bench = Bench::new();
    let code = "(loop $more (br_if $more (i32.ne (memory.grow (i32.const 16)) (i32.const -1))))
                unreachable";
    let bomb = package("processor", &core(&processor("", code)), r#"{"memoryBytesMax": 8388608}"#);
    let plugin = bench.load_package(&bomb).await.unwrap();
    let error = process(&plugin, vec![]).await.unwrap_err();
    assert_eq!(error.cause, Cause::Memory { limit_bytes: 8 << 20 });
    let error = bench.load(&init(code)).await.err().unwrap();
    let SandboxError::Plugin(error) = error else { panic!("{error}") };
    assert_eq!(error.cause, Cause::Memory { limit_bytes: 256 << 20 });
    bench.still_works().await;
}

#[tokio::test]
async fn a_table_bomb_does_not_load() {
    let bench = Bench::new();
    let table = "(table $t 1 funcref)";
    let grow = "(drop (table.grow $t (ref.null func) (i32.const 9000000)))";
    let wat = processor("", &format!("{grow} {NOTHING}"))
        .replace("(memory (", &format!("{table} (memory ("));
    assert!(bench.load(&wat).await.is_err());
    let large = identity().replace("(memory (", "(table 1000000 funcref) (memory (");
    assert!(bench.load(&large).await.is_err());
    bench.still_works().await;
}

#[tokio::test]
async fn deep_recursion_and_traps_end_the_instance_only() {
    let bench = Bench::new();
    let recursion = r#"(func $f (param i32) (result i32)
        (i32.add (call $f (i32.add (local.get 0) (i32.const 1))) (local.get 0)))
      (func (export "process") (param i32 i32 i32 i32) (result i32) (call $f (i32.const 0)))"#;
    let cause = bench.cause(&module("", recursion)).await;
    assert!(matches!(&cause, Cause::Trap { message } if message.contains("stack")), "{cause}");
    let cause = bench.cause(&processor("", "unreachable")).await;
    assert!(
        matches!(&cause, Cause::Trap { message } if message.contains("unreachable")),
        "{cause}"
    );
    let cause = bench.cause(&processor("", "(i32.load (i32.const -4))")).await;
    assert!(
        matches!(&cause, Cause::Trap { message } if message.contains("out of bounds")),
        "{cause}"
    );
    let cause = bench.cause(&processor("", "(i32.div_u (i32.const 1) (i32.const 0))")).await;
    assert!(matches!(cause, Cause::Trap { .. }));
    assert_eq!(bench.sandbox.metrics().failures(CauseKind::Trap), 4);
}

#[tokio::test]
async fn the_log_gets_a_backtrace_the_client_does_not() {
    let bench = Bench::new();
    let plugin = bench.load(&processor("", "unreachable")).await.unwrap();
    let error = process(&plugin, vec![]).await.unwrap_err();
    assert!(error.backtrace.is_some());
    assert!(!error.to_string().contains("+0x"), "{error}");
}

#[tokio::test]
async fn an_output_that_is_too_large_is_refused() {
    let bench = Bench::new();
    let identity = package("processor", &core(&identity()), r#"{"outputBytesMax": 1000}"#);
    let plugin = bench.load_package(&identity).await.unwrap();
    let x = Tensor::from_slice(&[251], &[0f32; 251]).unwrap();
    let error = process(&plugin, vec![("x".into(), x)]).await.unwrap_err();
    assert_eq!(error.cause, Cause::OutputTooLarge { limit_bytes: 1000, got_bytes: 1004 });
    bench.still_works().await;
}

#[tokio::test]
async fn outputs_that_differ_from_the_description_are_the_plugins_fault() {
    let bench = Bench::new();
    let plugin = bench.load(&described("outputs")).await.unwrap();
    let x = |values: &[f32]| ("x".into(), Tensor::from_slice(&[values.len()], values).unwrap());
    process(&plugin, vec![x(&[1., 2.])]).await.unwrap();
    let error = process(&plugin, vec![x(&[1., 2., 3.])]).await.unwrap_err();
    let Cause::BadOutput { message } = &error.cause else { panic!("{error}") };
    assert!(message.contains("expected 2 at axis 0"), "{message}");
    let error = process(&plugin, vec![]).await.unwrap_err();
    assert!(matches!(error.cause, Cause::BadOutput { .. }));
    let twice = "(call $return (local.get 0) (i32.const 2))";
    let cause = bench.cause(&processor("", twice)).await;
    assert!(matches!(cause, Cause::Trap { .. } | Cause::BadOutput { .. }), "{cause}");
}

#[tokio::test]
async fn lists_that_lie_about_their_length_trap() {
    let bench = Bench::new();
    for (pointer, len) in [(0, -1), (-16, 32), (8, 0x7fff_ffff), (1, 1_000_000)] {
        let code = format!(
            "(call $create (i32.const 4) (i32.const 0) (i32.const 1) (i32.const {pointer})
                           (i32.const {len}) (i32.const 512)) {NOTHING}"
        );
        let cause = bench.cause(&processor(CREATE, &code)).await;
        assert!(
            matches!(&cause, Cause::Trap { message } if message.contains("out of bounds")),
            "{cause}"
        );
        let code = format!("(call $return (i32.const {}) (i32.const {len}))", pointer & !3);
        let cause = bench.cause(&processor("", &code)).await;
        assert!(matches!(&cause, Cause::Trap { .. }), "{cause}");
    }
}

#[tokio::test]
async fn strings_that_alias_one_buffer_are_bounded() {
    let bench = Bench::new();
    let imports = r#"(import "aimass:plugin/tensor@0.1.0" "run"
        (func $run (param i32 i32 i32 i32 i32 i32 i32)))"#;
    let count = 20_000;
    let code = format!(
        "(drop (memory.grow (i32.const 16))) (local.set $i (i32.const 65536))
         (loop $next
            (i32.store offset=4 (local.get $i) (i32.const 65536))
            (local.set $i (i32.add (local.get $i) (i32.const 24)))
            (br_if $next (i32.lt_u (local.get $i) (i32.const {}))))
         (call $run (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 65536)
                    (i32.const {count}) (i32.const 512)) {NOTHING}",
        65536 + 24 * count
    );
    let cause = bench.cause(&processor(imports, &code)).await;
    assert_eq!(cause, Cause::HostCopy { limit_bytes: 16 << 20 });
}

#[tokio::test]
async fn a_handle_bomb_gets_errors_and_no_memory() {
    let bench = Bench::new();
    // 5,000 scalars; the last answers must be errors (1), of family limit (2).
    let code = format!(
        "(loop $next
            (call $create (i32.const 4) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 1)
                          (i32.const 512))
            (local.set $i (i32.add (local.get $i) (i32.const 1)))
            (br_if $next (i32.lt_u (local.get $i) (i32.const 5000))))
         (if (i32.ne (i32.load8_u (i32.const 512)) (i32.const 1)) (then unreachable))
         (if (i32.ne (i32.load8_u (i32.const 516)) (i32.const 2)) (then unreachable)) {NOTHING}"
    );
    let plugin = bench.load(&processor(CREATE, &code)).await.unwrap();
    assert_eq!(process(&plugin, vec![]).await.unwrap().stats.host_calls, 5000);
}

#[tokio::test]
async fn host_memory_of_tensors_is_bounded() {
    let bench = Bench::new();
    let code = format!(
        "(i64.store (i32.const 512) (i64.const 65536))
         (loop $next
            (call $create (i32.const 4) (i32.const 512) (i32.const 1) (i32.const 0)
                          (i32.const 65536) (i32.const 520))
            (local.set $i (i32.add (local.get $i) (i32.const 1)))
            (br_if $next (i32.eqz (i32.load8_u (i32.const 520)))))
         (if (i32.ne (local.get $i) (i32.const 11)) (then unreachable)) {NOTHING}"
    );
    let limits = r#"{"hostBytesMax": 700000}"#;
    let bomb = package("processor", &core(&processor(CREATE, &code)), limits);
    let plugin = bench.load_package(&bomb).await.unwrap();
    process(&plugin, vec![]).await.unwrap();
}

fn log_flood(times: u32) -> Vec<u8> {
    let code = format!(
        "(loop $next
            (call $log (i32.const 2) (i32.const 0) (i32.const 5000))
            (local.set $i (i32.add (local.get $i) (i32.const 1)))
            (br_if $next (i32.lt_u (local.get $i) (i32.const {times})))) {NOTHING}"
    );
    core(&processor(LOG, &code))
}

#[tokio::test]
async fn a_log_flood_is_dropped_and_counted() {
    let bench = Bench::new();
    let plugin = bench.load_package(&package("processor", &log_flood(1000), "{}")).await.unwrap();
    let stats = process(&plugin, vec![]).await.unwrap().stats;
    assert_eq!(stats.log_bytes, 64 << 10);
    let mut dropped = 0;
    bench.sandbox.metrics().each(|name, value| {
        if name == "log_bytes_dropped" {
            dropped = value;
        }
    });
    assert_eq!(dropped, 5_000_000 - (64 << 10));
}

#[tokio::test]
async fn a_flood_of_host_calls_ends_the_call() {
    let bench = Bench::new();
    let flood = package("processor", &log_flood(1000), r#"{"hostCallsMax": 999}"#);
    let plugin = bench.load_package(&flood).await.unwrap();
    let error = process(&plugin, vec![]).await.unwrap_err();
    assert_eq!(error.cause, Cause::HostCalls { limit: 999 });
}

#[tokio::test]
async fn an_import_that_the_manifest_does_not_name_is_refused() {
    let refusal = package_with("processor", &log_flood(1), "{}", r#""tensor": {}"#).unwrap_err();
    assert!(refusal.to_string().contains("aimass:plugin/log@0.1.0"), "{refusal}");
}

#[tokio::test]
async fn all_instances_in_use_is_overloaded_and_dropped_calls_leave_none() {
    let bench = Bench::with(|config| config.instances_max = Some(1));
    let identity = bench.load(&identity()).await.unwrap();
    let spinning = bench.load(&processor("", LOOP)).await.unwrap();
    let spin = spinning.process(call(Duration::from_secs(60)), vec![]);
    let other = async {
        tokio::time::sleep(Duration::from_millis(20)).await;
        process(&identity, vec![]).await
    };
    tokio::select! {
        spun = spin => panic!("{spun:?}"),
        error = other => {
            let cause = error.unwrap_err().cause;
            assert_eq!(cause, Cause::Overloaded { instances_max: 1 });
        }
    }
    process(&identity, vec![]).await.unwrap();
}
