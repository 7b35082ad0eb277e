//! The whole suite as one call, with an outcome a case.

use crate::backend::Scope;
use crate::panics::Catcher;
use crate::reference::Case;
use aimass_graph::Gpu;
use std::sync::Arc;
use std::time::Instant;

/// The name of a family of ops, and its cases.
type Family = (&'static str, &'static [Case]);

/// Every family; each is a module.
pub(crate) const FAMILIES: &[Family] = &[
    ("casts", crate::casts::CASES),
    ("convolutions", crate::convolutions::CASES),
    ("elementwise", crate::elementwise::CASES),
    ("indexed", crate::indexed::CASES),
    ("layers", crate::layers::CASES),
    ("moves", crate::moves::CASES),
    ("products", crate::products::CASES),
    ("quantized", crate::quantized::CASES),
    ("recurrent", crate::recurrent::CASES),
    ("reductions", crate::reductions::CASES),
    ("sequences", crate::sequences::CASES),
    ("shapes", crate::shapes::CASES),
    ("signals", crate::signals::CASES),
];

/// How one case went.
#[derive(Clone, Debug, PartialEq)]
pub struct CaseOutcome {
    /// The op's family: `elementwise`, `products`.
    pub family: &'static str,
    /// The op, by its name in `wit/graph.wit`. Several families may have cases of one op.
    pub op: &'static str,
    /// What was wrong first, in one line with the place in these sources, if anything was; what the case
    /// would have tried after that was not tried.
    pub failure: Option<String>,
    /// How long it took, the naive reference included.
    pub seconds: f64,
    /// Runs of single ops that the device did.
    pub device_runs: usize,
    /// Forms that have no kernel there and ran on the CPU, such as `add(f64, f64)`, in order.
    pub on_cpu: Vec<String>,
}

/// How the suite went.
#[derive(Clone, Debug, PartialEq)]
pub struct SuiteOutcome {
    /// Cases that were run.
    pub cases: usize,
    /// Those that failed, one line each.
    pub failures: Vec<String>,
    /// Cases that were not run, since the device was lost before.
    pub left_out: usize,
    /// Why nothing runs on the device any more; none if it still works.
    pub lost: Option<String>,
    /// Runs of single ops that the device did, over all cases.
    pub device_runs: usize,
    /// How long it took.
    pub seconds: f64,
}

impl SuiteOutcome {
    /// Whether every case was run and none failed.
    pub fn holds(&self) -> bool {
        self.failures.is_empty() && self.left_out == 0 && self.lost.is_none()
    }
}

/// Runs every case of every family on a device, one after the other on this thread, and compares with
/// references on the CPU; `watch` is told how each went.
///
/// A case that fails does not keep others from running. Once the device is lost none follows.
///
/// Cases fail by panics, which are caught and not printed: meanwhile the panic hook of the **process** is
/// another one, which passes on what panics elsewhere. So this is for a command, not for a server, and for
/// programs whose panics unwind. What fails for others that use the device at the same time may be taken for
/// a failure of the case that runs.
///
/// ```no_run
/// use aimass_graph::{Gpu, GpuOptions};
///
/// let gpu = Gpu::open(0, &GpuOptions::default())?;
/// let outcome = aimass_op_tests::run(&gpu, |case| {
///     println!("{} {}: {:?}", case.family, case.op, case.failure);
/// });
/// assert!(outcome.holds(), "{:?}", outcome.failures);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn run(gpu: &Arc<Gpu>, watch: impl FnMut(&CaseOutcome)) -> SuiteOutcome {
    run_families(Some(gpu), FAMILIES, watch)
}

/// As [`run`], of some families; without a device on the CPU.
fn run_families(
    gpu: Option<&Arc<Gpu>>,
    families: &[Family],
    mut watch: impl FnMut(&CaseOutcome),
) -> SuiteOutcome {
    let start = Instant::now();
    let catcher = Catcher::new();
    let lost = || gpu.and_then(|gpu| gpu.state().lost);
    let mut suite = SuiteOutcome {
        cases: 0,
        failures: Vec::new(),
        left_out: 0,
        lost: lost(),
        device_runs: 0,
        seconds: 0.0,
    };
    for &(family, cases) in families {
        for case in cases {
            if suite.lost.is_some() {
                suite.left_out += 1;
                continue;
            }
            let outcome = outcome(&catcher, gpu, family, case);
            watch(&outcome);
            suite.cases += 1;
            suite.device_runs += outcome.device_runs;
            if let Some(failure) = outcome.failure {
                suite.failures.push(format!("{family} {}: {failure}", outcome.op));
            }
            suite.lost = lost();
        }
    }
    suite.seconds = start.elapsed().as_secs_f64();
    suite
}

fn outcome(
    catcher: &Catcher,
    gpu: Option<&Arc<Gpu>>,
    family: &'static str,
    &(op, case): &Case,
) -> CaseOutcome {
    let scope = Scope::of(gpu);
    let start = Instant::now();
    let failure = catcher.caught(case);
    let seconds = start.elapsed().as_secs_f64();
    let places = scope.end();
    let on_cpu = places.on_cpu.into_iter().collect();
    CaseOutcome { family, op, failure, seconds, device_runs: places.device_runs, on_cpu }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic;
    use std::sync::atomic::{AtomicUsize, Ordering};

    const BROKEN: &[Family] = &[
        ("first", &[("a", || panic!("a text")), ("b", || {})]),
        (
            "second",
            &[("c", || panic!("one,\n of {}", 2)), ("d", || panic::panic_any(3)), ("e", || {})],
        ),
        ("third", &[("f", || panic!("{}", "x".repeat(10_000)))]),
    ];

    /// The one test of this process that changes the hook.
    #[test]
    fn a_failing_case_is_told_the_others_run_and_the_hook_is_put_back() {
        static SEEN: AtomicUsize = AtomicUsize::new(0);
        thread_local!(static OWN: std::cell::Cell<bool> = const { std::cell::Cell::new(false) });
        let usual = panic::take_hook();
        panic::set_hook(Box::new(move |info| match OWN.get() {
            true => _ = SEEN.fetch_add(1, Ordering::Relaxed),
            false => usual(info),
        }));
        OWN.set(true);
        let mut cases = Vec::new();
        let suite = run_families(None, BROKEN, |case| cases.push(case.clone()));
        let unseen = SEEN.load(Ordering::Relaxed);
        let after = panic::catch_unwind(|| panic!("after the suite"));
        OWN.set(false);
        assert_eq!((unseen, SEEN.load(Ordering::Relaxed)), (0, 1), "the hook was put back");
        assert!(after.is_err());

        let ops: Vec<(&str, &str)> = cases.iter().map(|case| (case.family, case.op)).collect();
        let order = ["first", "first", "second", "second", "second", "third"];
        assert_eq!(ops, order.into_iter().zip(["a", "b", "c", "d", "e", "f"]).collect::<Vec<_>>());
        let failures: Vec<Option<&str>> =
            cases.iter().map(|case| case.failure.as_deref()).collect();
        let told = |at: usize, text: &str| {
            let failure = failures[at].unwrap();
            assert!(failure.starts_with(&format!("{text} (")), "{failure}");
            assert!(failure.contains("src/suite.rs:"), "{failure}");
        };
        told(0, "a text");
        told(2, "one,; of 2");
        told(3, "a panic without a text");
        told(5, &format!("{}...", "x".repeat(2000)));
        assert_eq!((failures[1], failures[4]), (None, None));
        assert_eq!((suite.cases, suite.failures.len(), suite.left_out), (6, 4, 0));
        assert!(suite.failures[1].starts_with("second c: one,; of 2 ("), "{:?}", suite.failures);
        assert!(!suite.holds() && suite.lost.is_none());
    }
}
