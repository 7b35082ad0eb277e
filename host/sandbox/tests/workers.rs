//! Worker processes that die, hang and lie: it hurts their own calls only, and the next call succeeds.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use aimass_sandbox::{Call, Cause, CgroupUse, Plugin, SandboxConfig, SandboxError};
use aimass_tensor::Tensor;
use rustix::process::{Pid, Signal, kill_process};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use support::{Bench, call, child_program, identity, process, processor};

const LOOP: &str = "(loop $again (br $again)) unreachable";
const NOTHING: &str = "(call $return (i32.const 0) (i32.const 0))";

fn pids(bench: &Bench) -> Vec<Pid> {
    let pids = bench.sandbox.worker_pids();
    pids.into_iter().map(|pid| Pid::from_raw(pid as i32).unwrap()).collect()
}

fn of_tenant(tenant: &str, wall: Duration) -> Call {
    Call { tenant: tenant.into(), ..call(wall) }
}

async fn answers(plugin: &Plugin) {
    let x = ("x".into(), Tensor::from_slice(&[2], &[1f32, 2.]).unwrap());
    let outputs = process(plugin, vec![x]).await.unwrap().outputs;
    assert_eq!(outputs[0].1.as_slice::<f32>().unwrap(), [1., 2.]);
}

/// Starts an endless call and waits until it runs.
async fn spinning(
    plugin: &Arc<Plugin>,
    tenant: &'static str,
    wall: Duration,
) -> tokio::task::JoinHandle<Cause> {
    let plugin = plugin.clone();
    let running = tokio::spawn(async move {
        plugin.process(of_tenant(tenant, wall), vec![]).await.unwrap_err().cause
    });
    tokio::time::sleep(Duration::from_millis(300)).await;
    running
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_worker_fails_its_own_calls_and_the_next_call_succeeds() {
    let bench = Bench::new();
    let good = bench.load(&identity()).await.unwrap();
    let endless = bench.load(&processor("", LOOP)).await.unwrap();
    good.process(of_tenant("a", Duration::from_secs(60)), vec![]).await.unwrap();
    let before = pids(&bench);
    let in_a = spinning(&endless, "a", Duration::from_secs(60)).await;
    let in_b = spinning(&endless, "b", Duration::from_secs(60)).await;
    let of_b: Vec<Pid> = pids(&bench).into_iter().filter(|pid| !before.contains(pid)).collect();
    assert_eq!(of_b.len(), 1, "each tenant has a worker of its own");
    kill_process(of_b[0], Signal::KILL).unwrap();
    let cause = in_b.await.unwrap();
    assert!(matches!(&cause, Cause::WorkerLost { reason } if reason.contains("ended")), "{cause}");
    assert!(!in_a.is_finished(), "another tenant's call goes on");
    for tenant in ["b", "a"] {
        good.process(of_tenant(tenant, Duration::from_secs(60)), vec![]).await.unwrap();
    }
    in_a.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_worker_is_killed_after_deadline_and_grace() {
    let bench = Bench::with(|config| config.worker.grace = Duration::from_millis(100));
    let good = bench.load(&identity()).await.unwrap();
    answers(&good).await;
    let all = pids(&bench);
    all.iter().for_each(|&pid| kill_process(pid, Signal::STOP).unwrap());
    let started = Instant::now();
    let error = good.process(call(Duration::from_millis(200)), vec![]).await.unwrap_err();
    assert_eq!(error.cause, Cause::Deadline);
    assert!(started.elapsed() >= Duration::from_millis(300), "the grace is given");
    assert!(pids(&bench).len() < all.len(), "the worker is gone");
    answers(&good).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_workers_end_and_there_are_never_too_many() {
    let bench = Bench::with(|config| {
        config.worker.idle_max = Duration::from_millis(500);
        config.worker.workers_max = 2;
    });
    let good = bench.load(&identity()).await.unwrap();
    let endless = bench.load(&processor("", LOOP)).await.unwrap();
    for tenant in ["a", "b", "c"] {
        good.process(of_tenant(tenant, Duration::from_secs(60)), vec![]).await.unwrap();
        assert!(pids(&bench).len() <= 2);
    }
    let first = spinning(&endless, "a", Duration::from_secs(60)).await;
    let second = spinning(&endless, "b", Duration::from_secs(60)).await;
    let busy = good.process(of_tenant("c", Duration::from_secs(60)), vec![]).await.unwrap_err();
    assert_eq!(busy.cause, Cause::NoWorker { workers_max: 2 });
    first.abort();
    second.abort();
    let give_up = Instant::now() + Duration::from_secs(30);
    while !pids(&bench).is_empty() {
        assert!(Instant::now() < give_up, "idle workers live on");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    answers(&good).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn long_messages_cross_by_shared_memory_within_its_limit() {
    let bench = Bench::with(|config| config.worker.shared_bytes_max = 8 << 20);
    let good = bench.load(&identity()).await.unwrap();
    let numbers: Vec<f32> = (0..1 << 20).map(|n| n as f32).collect();
    let x = || ("x".into(), Tensor::from_slice(&[1 << 20], &numbers).unwrap());
    for _ in 0..3 {
        let outputs = process(&good, vec![x()]).await.unwrap().outputs;
        assert!(outputs[0].1.as_slice::<f32>().unwrap() == numbers);
    }
    let three = vec![x(), ("y".into(), x().1), ("z".into(), x().1)];
    let cause = process(&good, three).await.unwrap_err().cause;
    assert!(matches!(&cause, Cause::Host { message } if message.contains("8388608")), "{cause}");
    answers(&good).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_lies_is_killed_and_nothing_else_happens() {
    for lie in 1..=20 {
        let liar = |config: &mut SandboxConfig| {
            config.child_program = Some(child_program("liar"));
            config.worker.instances_max = lie;
            config.worker.grace = Duration::from_millis(100);
            config.limits.init_wall_max = Duration::from_millis(200);
            config.limits.host_calls_max = 1_000;
            config.compile.wall_max = Duration::from_millis(200);
        };
        let bench = Bench::with(liar);
        let started = Instant::now();
        let error = bench.load(&processor("", NOTHING)).await.err().unwrap();
        assert!(started.elapsed() < Duration::from_secs(20), "lie {lie}: {error}");
        let expected = match &error {
            SandboxError::Plugin(error) => {
                matches!(error.cause, Cause::WorkerLost { .. }) && (lie <= 13 || lie >= 16)
            }
            // A slow machine may not see all packets of a flood in time.
            SandboxError::Compiler { .. } => [13, 14, 15, 20].contains(&lie),
            _ => false,
        };
        assert!(expected, "lie {lie}: {error}");
        assert!(bench.sandbox.worker_pids().is_empty(), "lie {lie}");
    }
}

/// A program that starts workers and writes a line each time. One start that finds a file `hang` takes it away
/// as `hung`, and goes on when that is gone.
fn program_that_can_hang(folder: &Path) -> PathBuf {
    use std::os::unix::fs::PermissionsExt;
    let program = folder.join("hangs");
    let script = format!(
        "#!/bin/sh\ncd {}\necho started >> starts\n\
         if mv hang hung 2> /dev/null; then while [ -e hung ]; do sleep 0.02; done; fi\n\
         cd /; exec {} \"$@\"\n",
        folder.display(),
        child_program("child").display()
    );
    std::fs::write(&program, script).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    program
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_hangs_at_its_start_delays_its_own_calls_only() {
    let folder = tempfile::tempdir().unwrap();
    let bench = Bench::with(|config| {
        config.child_program = Some(program_that_can_hang(folder.path()));
        config.worker.workers_max = 100;
    });
    let file = |name: &str| folder.path().join(name);
    let starts = || std::fs::read_to_string(file("starts")).unwrap().lines().count();
    let good = bench.load(&identity()).await.unwrap();
    let in_background = |tenant: &str, wall: Duration| {
        let (good, tenant) = (good.clone(), tenant.to_owned());
        tokio::spawn(async move { good.process(of_tenant(&tenant, wall), vec![]).await })
    };
    let minute = Duration::from_secs(60);
    // Owners that get the spare are served, and the start that hangs is the next spare's.
    let (mut hangs, mut owner, mut served) = (None, String::new(), 0);
    while hangs.is_none() {
        std::fs::write(file("hang"), "").unwrap();
        owner = format!("owner-{served}");
        let mut call = in_background(&owner, minute);
        match tokio::time::timeout(Duration::from_secs(5), &mut call).await {
            Ok(answer) => drop(answer.unwrap().unwrap()),
            Err(_) => hangs = Some(call),
        }
        served += 1;
        assert!(served < 20, "nobody hangs");
    }
    let before = starts();
    let waiting: Vec<_> = (0..4).map(|_| in_background(&owner, minute)).collect();
    let late = in_background(&owner, Duration::from_millis(200)).await.unwrap().unwrap_err();
    assert_eq!(late.cause, Cause::Deadline, "a call's own deadline holds meanwhile");
    for other in ["another", "one more"] {
        in_background(other, minute).await.unwrap().unwrap();
    }
    assert!(waiting.iter().chain(&hangs).all(|call| !call.is_finished()));
    std::fs::remove_file(file("hung")).unwrap();
    for call in waiting.into_iter().chain(hangs) {
        call.await.unwrap().unwrap();
    }
    let begun = starts() - before;
    assert!((1..=3).contains(&begun), "one for each other owner and a spare, got {begun}");
}

#[test]
fn a_worker_opens_no_file_connects_nowhere_and_starts_nothing() {
    let probe = std::process::Command::new(child_program("child"))
        .args(["__probe", "worker"])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&probe.stdout);
    assert!(probe.status.success(), "{}", String::from_utf8_lossy(&probe.stderr));
    assert!(text.contains("attempts") && !text.contains("got out"), "{text}");
}

/// A function that compiles for seconds: loops inside loops over many locals, within what admission allows.
fn slow_to_compile() -> String {
    let (loops, locals) = (40, 490);
    let declared = "(local i32)".repeat(locals);
    let mut code = String::new();
    for depth in 0..loops {
        let set = |at: usize| {
            let (to, from) = (6 + at, 6 + (at * 31 + depth) % locals);
            format!("(local.set {to} (i32.add (local.get {from}) (i32.const 1)))")
        };
        code += &format!("(loop $l{depth} {}", (0..locals).map(set).collect::<String>());
    }
    for depth in (0..loops).rev() {
        code += &format!("(br_if $l{depth} (local.get {})))", 6 + depth);
    }
    processor("", &format!("{declared} {code} {NOTHING}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_compiles_for_too_long_is_refused_for_processor_time_alone() {
    let bench = Bench::with(|config| {
        config.limits.init_wall_max = Duration::from_millis(1);
        config.compile.cpu_max = Duration::from_millis(1);
    });
    let error = bench.load(&slow_to_compile()).await.err().unwrap();
    let SandboxError::Refused { code, message, .. } = error else { panic!("{error}") };
    assert_eq!(code, "complexity");
    assert!(message.contains("more than 1ms of processor time"), "{message}");
    assert!(bench.sandbox.worker_pids().is_empty(), "it was killed");
    let bench = Bench::with(|config| {
        // A tenth of what compiling it takes where that is quick.
        config.limits.init_wall_max = Duration::from_millis(10);
        config.compile.wall_max = Duration::from_millis(10);
        config.worker.grace = Duration::from_millis(10);
    });
    let error = bench.load(&slow_to_compile()).await.err().unwrap();
    let SandboxError::Compiler { message, .. } = error else { panic!("{error}") };
    assert!(message.contains("the machine is busy"), "{message}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_worker_is_put_into_the_group_that_is_asked_for_or_does_not_start() {
    let root = tempfile::tempdir().unwrap();
    let below = |config: &mut SandboxConfig| {
        config.worker.cgroups = CgroupUse::Below(root.path().to_owned());
    };
    let error = Bench::with(below).load(&identity()).await.err().unwrap().to_string();
    assert!(error.contains("cgroup.controllers"), "{error}");
    std::fs::write(root.path().join("cgroup.controllers"), "memory pids\n").unwrap();
    std::fs::write(root.path().join("cgroup.procs"), "").unwrap();
    let bench = Bench::with(below);
    let good = bench.load(&identity()).await.unwrap();
    answers(&good).await;
    let workers = bench.sandbox.worker_pids();
    assert!(!workers.is_empty());
    for pid in workers {
        let file = root.path().join(format!("worker-{pid}/cgroup.procs"));
        assert_eq!(std::fs::read_to_string(file).unwrap(), pid.to_string());
    }
}

#[tokio::test]
async fn without_a_program_for_workers_the_tier_is_refused() {
    let bench = Bench::with(|config| config.child_program = None);
    let error = bench.load(&identity()).await.err().unwrap();
    let SandboxError::Refused { code, message, .. } = error else { panic!("{error}") };
    assert_eq!(code, "tier");
    assert!(message.contains("trust.toml"), "{message}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_is_given_up_leaves_its_worker_to_the_others() {
    let bench = Bench::new();
    let good = bench.load(&identity()).await.unwrap();
    let endless = bench.load(&processor("", LOOP)).await.unwrap();
    answers(&good).await;
    let before = pids(&bench);
    for _ in 0..20 {
        let spin = endless.process(call(Duration::from_secs(60)), vec![]);
        let _ = tokio::time::timeout(Duration::from_millis(20), spin).await;
        answers(&good).await;
    }
    assert_eq!(pids(&bench).len(), before.len(), "no worker was lost");
}
