//! Compiling in a jailed child: bombs cost their authors, and the jail has no way out.

mod support;

use aimass_sandbox::{SandboxConfig, SandboxError};
use aimass_tensor::Tensor;
use std::fmt::Write;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use support::{Bench, child_program, core, identity, module, open, package, process};

/// A function that compiles for minutes: loops inside loops, each touching every local.
fn bomb() -> Vec<u8> {
    const LOOPS: usize = 400;
    const LOCALS: usize = 1_000;
    let mut code = String::new();
    for depth in 0..LOOPS {
        let _ = write!(code, "(loop $l{depth} ");
        for local in (depth % 7..LOCALS).step_by(7) {
            let from = (local * 31 + depth) % LOCALS;
            let _ =
                write!(code, "(local.set $v{local} (i32.add (local.get $v{from}) (i32.const 1)))");
        }
    }
    for depth in (0..LOOPS).rev() {
        let _ = write!(code, "(br_if $l{depth} (local.get $v{}))) ", depth % LOCALS);
    }
    let mut locals = String::new();
    for local in 0..LOCALS {
        let _ = write!(locals, "(local $v{local} i32)");
    }
    let body = format!(
        r#"(func (export "process") (param i32 i32 i32 i32) (result i32)
            {locals} {code} (call $return (i32.const 0) (i32.const 0)))"#
    );
    core(&module("", &body))
}

/// Limits that let the bomb through to the compiler, which is a child with these bounds.
fn unadmitting(config: &mut SandboxConfig) {
    config.child_program = Some(child_program("child"));
    config.admission.loop_nesting_max = u32::MAX;
    config.admission.loop_locals_max = u64::MAX;
    config.admission.nesting_max = u32::MAX;
}

async fn refusal(bench: &Bench, component: &[u8]) -> (&'static str, String) {
    match bench.load_package(&package("processor", component, "{}")).await {
        Err(SandboxError::Refused { code, message, .. }) => (code, message),
        Err(other) => panic!("expected a refusal, got {other}"),
        Ok(_) => panic!("expected a refusal, it was loaded"),
    }
}

#[tokio::test]
async fn a_child_compiles_what_the_server_then_runs_and_keeps() {
    let bench = Bench::with(|config| config.child_program = Some(child_program("child")));
    let package = package("processor", &core(&identity()), "{}");
    for _ in 0..2 {
        let plugin = bench.load_package(&package).await.unwrap();
        let x = ("x".into(), Tensor::from_slice(&[2], &[1f32, 2.]).unwrap());
        let outputs = process(&plugin, vec![x]).await.unwrap().outputs;
        assert_eq!(outputs[0].1.as_slice::<f32>().unwrap(), [1., 2.]);
    }
    let metrics = bench.sandbox.metrics();
    assert_eq!(metrics.cache_misses.load(Ordering::Relaxed), 1);
    assert_eq!(metrics.cache_hits.load(Ordering::Relaxed), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_bombs_at_once_are_refused_and_others_answered() {
    let cache = tempfile::tempdir().unwrap();
    let patient = open(cache.path(), |_| ());
    let beside = package("processor", &core(&identity()), "{}");
    patient
        .load(&beside, support::setup(b"{}", std::sync::Arc::new(aimass_sandbox::NoFiles)))
        .await
        .unwrap();
    let bench = Bench {
        sandbox: open(cache.path(), |config| {
            unadmitting(config);
            config.instances_max = Some(256);
            config.compile.cpu_max = Duration::from_millis(20);
        }),
        cache,
    };
    let plugin = bench.load_package(&beside).await.unwrap();
    let component = bomb();
    let over = AtomicBool::new(false);
    let bombs = async {
        let loads = (0..200).map(|_| refusal(&bench, &component));
        let refusals = futures_util::future::join_all(loads).await;
        over.store(true, Ordering::Relaxed);
        refusals
    };
    let calls = async {
        let mut answered = 0;
        while !over.load(Ordering::Relaxed) {
            let x = ("x".into(), Tensor::from_slice(&[1], &[answered as f32]).unwrap());
            let outputs = process(&plugin, vec![x]).await.unwrap().outputs;
            assert_eq!(outputs[0].1.as_slice::<f32>().unwrap(), [answered as f32]);
            answered += 1;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        answered
    };
    let (refusals, answered) = tokio::join!(bombs, calls);
    assert!(answered > 20, "{answered}");
    for (code, message) in refusals {
        assert_eq!(code, "complexity", "{message}");
        assert!(message.contains("took more than"), "{message}");
    }
}

#[tokio::test]
async fn a_compiler_that_wants_too_much_memory_is_told_as_that() {
    let bench = Bench::with(|config| {
        unadmitting(config);
        config.compile.memory_bytes_max = 24 << 20;
    });
    let (code, message) = refusal(&bench, &bomb()).await;
    assert_eq!(code, "complexity", "{message}");
    assert!(message.contains("bytes of memory"), "{message}");
}

#[tokio::test]
async fn processor_time_is_bounded_over_all_threads() {
    let bench = Bench::with(|config| {
        unadmitting(config);
        config.compile.cpu_max = Duration::from_secs(1);
    });
    let (code, message) = refusal(&bench, &bomb()).await;
    assert_eq!(code, "complexity", "{message}");
    assert!(message.contains("more than 1s of processor time"), "{message}");
}

#[tokio::test]
async fn a_machine_too_busy_to_compile_or_to_start_a_compiler_is_told_as_that() {
    let busy = async |change: fn(&mut SandboxConfig)| {
        let bench = Bench::with(|config| {
            unadmitting(config);
            change(config);
        });
        match bench.load_package(&package("processor", &bomb(), "{}")).await.err() {
            Some(SandboxError::Compiler { message, .. }) => message,
            other => panic!("expected the host's fault, got {other:?}"),
        }
    };
    let message = busy(|config| config.compile.wall_max = Duration::from_millis(300)).await;
    assert!(message.contains("in 300ms its compiler got 0."), "{message}");
    assert!(message.contains("of the 240s of processor time"), "{message}");
    let message = busy(|config| config.child_start_max = Duration::ZERO).await;
    assert!(message.contains("did not start within 0ns"), "{message}");
}

#[tokio::test]
async fn a_compiler_that_is_not_there_or_not_ours_is_the_hosts_fault() {
    for program in ["/nowhere/aimass", "/bin/true", "/bin/cat"] {
        let bench = Bench::with(|config| config.child_program = Some(PathBuf::from(program)));
        match bench.load(&identity()).await {
            Err(SandboxError::Compiler { message, .. }) => assert!(!message.is_empty()),
            Err(SandboxError::Refused { code, message, .. }) => {
                assert_ne!(program, "/nowhere/aimass", "{code}: {message}");
            }
            Err(other) => panic!("{program}: {other}"),
            Ok(_) => panic!("{program} compiled it"),
        }
    }
}

#[test]
fn nothing_gets_out_of_the_jail() {
    for role in ["compiler", "worker"] {
        let output = Command::new(child_program("child")).args(["__probe", role]).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(text.contains("14 attempts"), "{text}");
        assert!(!text.contains("got out"), "{role}: {text}");
    }
}

#[tokio::test]
async fn a_compiler_that_breaks_off_and_goes_on_does_not_keep_its_turn() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("mute");
    std::fs::write(&program, "#!/bin/sh\nexec sleep 600 >&-\n").unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let bench = Bench::with(|config| {
        config.child_program = Some(program);
        config.compile.children_max = 1;
    });
    for _ in 0..2 {
        let identity = identity();
        let loading = tokio::time::timeout(Duration::from_secs(20), bench.load(&identity));
        match loading.await.expect("the turn is given back").err() {
            Some(SandboxError::Refused { code: "invalid", message, .. }) => {
                assert!(message.contains("went on"), "{message}");
            }
            other => panic!("expected a refusal, got {other:?}"),
        }
    }
}
