//! Plans on the virtual GPU: the same answers as the CPU, whatever the driver refuses and when.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use aimass_graph::{
    CompileOptions, Dim, GeluForm, Gpu, GpuOptions, Graph, GraphBuilder, GraphLimits, Plan,
    StepPlace, compile,
};
use aimass_tensor::{DType, Tensor};
use aimass_vgpu::{Checks, Settings, Vgpu};
use std::sync::Arc;

fn settings() -> Settings {
    let images = concat!(env!("CARGO_MANIFEST_DIR"), "/../../kernels/cuda/prebuilt");
    Settings { ptx: Some(images.into()), mem_mb: 256, ..Settings::default() }
}

fn load(settings: &Settings) -> Vgpu {
    aimass_vgpu::load(settings).unwrap()
}

fn floats(shape: &[usize], seed: usize) -> Tensor {
    let elements: usize = shape.iter().product();
    let values: Vec<f32> =
        (0..elements).map(|i| ((i * 37 + seed * 11) % 41) as f32 / 10.0 - 2.0).collect();
    Tensor::from_slice(shape, &values).unwrap()
}

/// Two layers with what lies between, a gather before them and a softmax behind.
fn network() -> Graph {
    let mut builder = GraphBuilder::new(GraphLimits::default());
    let ids = builder.input("ids", DType::I32, &[Dim::Batch]).unwrap();
    let table = builder.constant(floats(&[10, 24], 1)).unwrap();
    let x = builder.gather(table, ids, 0).unwrap();
    let w = builder.constant(floats(&[24, 33], 2)).unwrap();
    let bias = builder.constant(floats(&[33], 3)).unwrap();
    let y = builder.linear(x, w, Some(bias), false).unwrap();
    let y = builder.gelu(y, GeluForm::Erf).unwrap();
    let w = builder.constant(floats(&[33, 7], 4)).unwrap();
    let y = builder.linear(y, w, None, false).unwrap();
    let y = builder.softmax(y, 1).unwrap();
    builder.output("y", y).unwrap();
    builder.finish().unwrap()
}

fn ids(rows: usize) -> Tensor {
    Tensor::from_slice(&[rows], &(0..rows as i32).map(|i| i * 7 % 10).collect::<Vec<_>>()).unwrap()
}

fn on(gpu: Option<&Arc<Gpu>>) -> Plan {
    let options = CompileOptions { device: gpu.cloned(), ..CompileOptions::default() };
    compile(network(), &options).unwrap()
}

fn near(found: &[Tensor], expected: &[Tensor]) {
    for (found, expected) in found.iter().zip(expected) {
        assert_eq!(found.shape(), expected.shape());
        let (found, expected) = (found.as_slice::<f32>(), expected.as_slice::<f32>());
        for (found, expected) in found.unwrap().iter().zip(expected.unwrap()) {
            assert!((found - expected).abs() < 1e-5, "{found} {expected}");
        }
    }
}

#[test]
fn a_plan_is_launched_then_recorded_then_replayed() {
    let vgpu = load(&Settings { checks: Checks::Races, ..settings() });
    let gpu = Gpu::open(0, &GpuOptions::default()).unwrap();
    let (here, there) = (on(None), on(Some(&gpu)));
    let report = there.device_report().unwrap().unwrap();
    assert!(report.steps.iter().all(|(_, place)| *place == StepPlace::Device), "{report:?}");
    let launches = || vgpu.log().iter().filter(|call| **call == "cuLaunchKernel").count();
    for (earlier, rows) in [1, 5, 40].into_iter().enumerate() {
        let expected = here.run(&[ids(rows)], None).unwrap();
        for turn in 0..4 {
            let before = launches();
            near(&there.run(&[ids(rows)], None).unwrap(), &expected);
            assert_eq!(launches() > before, turn < 2, "launches one by one in turn {turn}");
            let report = there.device_report().unwrap().unwrap();
            assert_eq!(report.recorded, earlier + usize::from(turn > 0), "{rows} {turn}");
        }
    }
    let state = gpu.state();
    assert_eq!((state.runs, state.fallbacks, state.lost), (12, 0, None));
    assert_eq!(vgpu.findings(), Vec::<String>::new());
}

#[test]
fn the_self_test_holds() {
    let vgpu = load(&Settings { checks: Checks::Races, sm: 90, seed: 3, ..settings() });
    let gpu = Gpu::open(0, &GpuOptions::default()).unwrap();
    let outcome = gpu.self_test();
    assert_eq!(outcome.failures, Vec::<String>::new());
    assert!(outcome.cases > 100, "{}", outcome.cases);
    assert_eq!(vgpu.findings(), Vec::<String>::new());
}

#[test]
fn a_deterministic_device_gives_each_row_the_same_bits_in_any_batch() {
    let _vgpu = load(&settings());
    let mut options = GpuOptions::default();
    options.device.deterministic = true;
    let gpu = Gpu::open(0, &options).unwrap();
    let mut builder = GraphBuilder::new(GraphLimits::default());
    let x = builder.input("x", DType::F32, &[Dim::Batch, Dim::Fixed(1100)]).unwrap();
    let w = builder.constant(floats(&[1100, 40], 2)).unwrap();
    let y = builder.linear(x, w, None, false).unwrap();
    let y = builder.softmax(y, 1).unwrap();
    builder.output("y", y).unwrap();
    let options = CompileOptions { device: Some(gpu.clone()), ..CompileOptions::default() };
    let plan = compile(builder.finish().unwrap(), &options).unwrap();
    let all = floats(&[70, 1100], 5);
    let together = plan.run(std::slice::from_ref(&all), None).unwrap().remove(0);
    for rows in [0..1, 3..7, 40..70] {
        let alone = plan.run(&[all.rows(rows.clone())], None).unwrap().remove(0);
        assert_eq!(alone.bytes(), together.rows(rows.clone()).bytes(), "{rows:?}");
    }
    assert_eq!(gpu.state().fallbacks, 0);
}

#[test]
fn a_bad_index_is_the_callers_error_with_its_row() {
    let _vgpu = load(&settings());
    let gpu = Gpu::open(0, &GpuOptions::default()).unwrap();
    let (here, there) = (on(None), on(Some(&gpu)));
    let bad = Tensor::from_slice(&[3], &[1, 10, 2]).unwrap();
    let expected = here.run(std::slice::from_ref(&bad), None).unwrap_err().to_string();
    for _ in 0..3 {
        let error = there.run(std::slice::from_ref(&bad), None).unwrap_err();
        assert_eq!(error.to_string(), expected);
    }
    // The device is as good as before.
    near(&there.run(&[ids(3)], None).unwrap(), &here.run(&[ids(3)], None).unwrap());
    assert_eq!(gpu.state().fallbacks, 0);
}

#[test]
fn every_step_and_both_transfers_have_their_time() {
    let vgpu = load(&settings());
    let gpu = Gpu::open(0, &GpuOptions::default()).unwrap();
    let plan = on(Some(&gpu));
    let times = plan.device_times(&[ids(5)]).unwrap().unwrap();
    assert_eq!(times.steps.len(), plan.device_report().unwrap().unwrap().steps.len());
    let all = [times.inputs, times.results].into_iter().chain(times.steps.iter().copied());
    assert!(all.clone().all(|seconds| seconds >= 0.0), "{times:?}");
    assert!(all.sum::<f64>() > 0.0, "{times:?}");
    let count = |name: &str| vgpu.log().iter().filter(|call| **call == name).count();
    assert_eq!(count("cuEventCreate"), times.steps.len() + 3);
    assert_eq!(count("cuEventDestroy_v2"), count("cuEventCreate"));
    assert!(on(None).device_times(&[ids(5)]).is_none());
    let bad = Tensor::from_slice(&[1], &[10]).unwrap();
    let error = plan.device_times(&[bad]).unwrap().unwrap_err().to_string();
    assert!(error.contains("without a device"), "{error}");
    assert_eq!(vgpu.findings(), Vec::<String>::new());
}

/// Opens the device, compiles, runs every way, and lets go of everything.
fn life(expected: &[Tensor]) -> Option<bool> {
    let gpu = Gpu::open(0, &GpuOptions::default()).ok()?;
    let plan = on(Some(&gpu));
    for _ in 0..4 {
        near(&plan.run(&[ids(6)], None).unwrap(), expected);
    }
    Some(gpu.state().lost.is_some())
}

#[test]
fn a_fault_at_any_driver_call_gives_an_error_or_the_answer_of_the_cpu() {
    let expected = on(None).run(&[ids(6)], None).unwrap();
    let calls = {
        let vgpu = load(&settings());
        assert_eq!(life(&expected), Some(false));
        vgpu.calls()
    };
    assert!(calls > 60, "{calls}");
    // Out of memory, a launch that failed, an address that does not exist, what nobody knows.
    for code in [2, 719, 700, 999] {
        let (mut opened, mut lost) = (0, 0);
        for index in sampled(calls) {
            let vgpu = load(&Settings { fail_at: Some((index, code)), ..settings() });
            let outcome = life(&expected);
            opened += u64::from(outcome.is_some());
            lost += u64::from(outcome == Some(true));
            let findings = vgpu.findings();
            assert!(findings.is_empty(), "call {index} gives {code}: {findings:?}");
        }
        // Some calls come after the device is open, and are survived.
        assert!(opened > 0 && opened < calls, "{code}: {opened} of {calls}");
        assert_eq!(lost > 0, code != 2, "{code}: {lost}");
    }
}

/// Every call with `AIMASS_ALL=1`; else every tenth from a printed start.
fn sampled(calls: u64) -> impl Iterator<Item = u64> {
    let all = std::env::var("AIMASS_ALL").is_ok_and(|all| all == "1");
    let seconds = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs();
    let (start, step) = if all { (1, 1) } else { (1 + seconds % 10, 10) };
    println!("faults at calls {start}, {}, .. of {calls}", start + step);
    (start..=calls).step_by(step as usize)
}

#[test]
fn all_memory_comes_back() {
    let vgpu = load(&settings());
    let expected = on(None).run(&[ids(6)], None).unwrap();
    assert_eq!(life(&expected), Some(false));
    let balance = |made: &str, freed: &str| {
        let count = |name: &str| vgpu.log().iter().filter(|call| **call == name).count();
        assert_eq!(count(made), count(freed), "{made}");
        assert!(count(made) > 0, "{made}");
    };
    balance("cuMemAlloc_v2", "cuMemFree_v2");
    balance("cuMemHostAlloc", "cuMemFreeHost");
    balance("cuStreamCreate", "cuStreamDestroy_v2");
    balance("cuModuleLoadData", "cuModuleUnload");
    balance("cuDevicePrimaryCtxRetain", "cuDevicePrimaryCtxRelease_v2");
    balance("cuStreamBeginCapture_v2", "cuStreamEndCapture");
    balance("cuGraphInstantiateWithFlags", "cuGraphExecDestroy");
    balance("cuStreamEndCapture", "cuGraphDestroy");
}

#[test]
fn limits_of_a_run_hold_on_the_device_as_on_the_cpu() {
    let _vgpu = load(&settings());
    let gpu = Gpu::open(0, &GpuOptions::default()).unwrap();
    let refused = |device: Option<&Arc<Gpu>>| {
        let device = device.cloned();
        let options = CompileOptions { device, arena_bytes_max: 1000, ..CompileOptions::default() };
        let plan = compile(network(), &options).unwrap();
        plan.run(&[ids(40)], None).unwrap_err().to_string()
    };
    assert_eq!(refused(Some(&gpu)), refused(None));
    assert_eq!(gpu.state().runs, 0);
}
