//! The library's run as `aimass device report` makes it, on the virtual GPU.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use aimass_graph::{Gpu, GpuOptions};
use aimass_op_tests::{CaseOutcome, run};
use aimass_vgpu::Settings;
use std::collections::BTreeSet;

fn settings() -> Settings {
    let images = concat!(env!("CARGO_MANIFEST_DIR"), "/../../kernels/cuda/prebuilt");
    Settings { ptx: Some(images.into()), ..Settings::default() }
}

/// Methods of the contract's builder that have parameters and give values: its ops, among others.
fn methods() -> BTreeSet<&'static str> {
    let wit = include_str!("../../../wit/graph.wit");
    let builder = wit.split_once("resource builder {").unwrap().1;
    let method = |line: &'static str| {
        let (name, rest) = line.trim().split_once(": ")?;
        rest.starts_with("func(").then_some(name)
    };
    builder.lines().filter_map(method).collect()
}

#[test]
#[cfg_attr(target_arch = "aarch64", ignore = "an interpreter in an emulator takes minutes")]
fn every_op_of_the_contract_is_run_and_told() {
    let vgpu = aimass_vgpu::load(&settings()).unwrap();
    let gpu = Gpu::open(0, &GpuOptions::default()).unwrap();
    let mut cases: Vec<CaseOutcome> = Vec::new();
    let suite = run(&gpu, |case| cases.push(case.clone()));
    assert!(suite.holds(), "{:?}", suite.failures);

    let run: BTreeSet<&str> = cases.iter().map(|case| case.op).collect();
    // Inputs, weights and the like are methods too; ops that no backend has are refused by name.
    let refused =
        |name: &str| aimass_graph::run_op(name, &[], &[]).is_err_and(|error| error.code() == "op");
    let missing: Vec<&str> =
        methods().difference(&run).filter(|name| !refused(name)).copied().collect();
    assert!(run.len() > 120 && missing.is_empty(), "{} ops, not {missing:?}", run.len());

    assert_eq!(suite.cases, cases.len());
    assert_eq!(suite.device_runs, cases.iter().map(|case| case.device_runs).sum::<usize>());
    assert!(cases.iter().all(|case| case.seconds > 0.0 && case.seconds < suite.seconds));
    let of = |op: &str| cases.iter().find(|case| case.op == op).unwrap();
    let (add, where_true) = (of("add"), of("non-zero"));
    assert!(add.family == "elementwise" && add.device_runs > 0, "{add:?}");
    // What finds its extents on the way has no kernel.
    assert!(where_true.device_runs == 0 && !where_true.on_cpu.is_empty(), "{where_true:?}");
    assert_eq!(vgpu.findings(), Vec::<String>::new());
}

#[test]
fn once_the_device_is_lost_no_case_follows() {
    // An address that does not exist.
    let lost = Settings { fail: vec![("cuLaunchKernel".into(), 40, 700)], ..settings() };
    let _vgpu = aimass_vgpu::load(&lost).unwrap();
    let gpu = Gpu::open(0, &GpuOptions::default()).unwrap();
    let mut last = None;
    let suite = run(&gpu, |case| last = Some(case.clone()));
    let failure = last.and_then(|case| case.failure).unwrap();
    assert!(failure.contains("CUDA_ERROR_ILLEGAL_ADDRESS"), "{failure}");
    assert_eq!(suite.failures.len(), 1, "{:?}", suite.failures);
    assert!(suite.left_out > 100 && suite.lost.is_some() && !suite.holds(), "{suite:?}");

    let again = run(&gpu, |case| panic!("{case:?}"));
    assert_eq!((again.cases, again.left_out), (0, suite.cases + suite.left_out));
    assert!(!again.holds() && again.failures.is_empty(), "{again:?}");
}
