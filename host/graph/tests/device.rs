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

/// This process has no NVRTC, unless the machine has it for everyone.
#[test]
fn without_a_compiler_chains_are_launched_one_by_one_and_the_state_says_so() {
    let _vgpu = load(&settings());
    let gpu = Gpu::open(0, &GpuOptions::default()).unwrap();
    let fusion = gpu.state().fusion;
    let Err(why) = &fusion.compiler else {
        return eprintln!("left out: the loader finds {fusion}");
    };
    assert!(why.contains("NVRTC was not found"), "{why}");
    assert_eq!(fusion.to_string(), format!("none: {why}"));
    let mut builder = GraphBuilder::new(GraphLimits::default());
    let x = builder.input("x", DType::F32, &[Dim::Batch, Dim::Fixed(8)]).unwrap();
    let y = builder.sin(x).unwrap();
    let y = builder.mul(y, x).unwrap();
    builder.output("y", y).unwrap();
    let options = CompileOptions { device: Some(gpu.clone()), ..CompileOptions::default() };
    let plan = compile(builder.finish().unwrap(), &options).unwrap();
    let report = plan.device_report().unwrap().unwrap();
    let names: Vec<&str> = report.steps.iter().map(|(name, _)| &**name).collect();
    assert_eq!(names, ["sin", "mul"]);
    let fusion = gpu.state().fusion;
    assert_eq!((fusion.launches, fusion.refused, fusion.last_error), (0, 0, None));
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

/// A layer of weights in 8 bits behind ONNX's `DynamicQuantizeLinear`, and a normalization.
fn quantized_network() -> Graph {
    let mut b = GraphBuilder::new(GraphLimits::default());
    let x = b.input("x", DType::F32, &[Dim::Batch, Dim::Fixed(70)]).unwrap();
    let number = |b: &mut GraphBuilder, number: f32| {
        b.constant(Tensor::from_slice(&[], &[number]).unwrap()).unwrap()
    };
    let (zero, levels) = (number(&mut b, 0.0), number(&mut b, 255.0));
    let low = b.reduce_min(x, &[0, 1], false).unwrap();
    let high = b.reduce_max(x, &[0, 1], false).unwrap();
    let (low, high) = (b.minimum(low, zero).unwrap(), b.maximum(high, zero).unwrap());
    let range = b.sub(high, low).unwrap();
    let scale = b.div(range, levels).unwrap();
    let below = b.neg(low).unwrap();
    let steps = b.div(below, scale).unwrap();
    let steps = b.round(steps).unwrap();
    let point = b.cast(steps, DType::U8).unwrap();
    let q = b.quantize(x, scale, Some(point), None, DType::U8).unwrap();
    let weights: Vec<i8> = (0..70 * 33).map(|i| (i * 29 % 127) as i8 - 63).collect();
    let w = b.constant(Tensor::from_slice(&[70, 33], &weights).unwrap()).unwrap();
    let sums = b.matmul_integer(q, w, Some(point), None).unwrap();
    let sums = b.cast(sums, DType::F32).unwrap();
    let own = b.constant(floats(&[33], 3)).unwrap();
    let own = b.mul(scale, own).unwrap();
    let y = b.mul(sums, own).unwrap();
    let y = b.softmax(y, 1).unwrap();
    b.output("y", y).unwrap();
    b.finish().unwrap()
}

#[test]
fn a_dynamically_quantized_model_runs_on_the_device_whole_and_as_the_cpu() {
    let vgpu = load(&Settings { checks: Checks::Races, ..settings() });
    let gpu = Gpu::open(0, &GpuOptions::default()).unwrap();
    for exact_quantization in [false, true] {
        let plan = |device: Option<Arc<Gpu>>| {
            let options = CompileOptions { device, exact_quantization, ..Default::default() };
            compile(quantized_network(), &options).unwrap()
        };
        let (here, there) = (plan(None), plan(Some(gpu.clone())));
        let report = there.device_report().unwrap().unwrap();
        assert!(report.steps.iter().all(|(_, place)| *place == StepPlace::Device), "{report:?}");
        for rows in [1, 5, 40] {
            let x = floats(&[rows, 70], rows);
            let expected = here.run(std::slice::from_ref(&x), None).unwrap();
            near(&there.run(&[x], None).unwrap(), &expected);
        }
    }
    assert_eq!(gpu.state().fallbacks, 0);
    assert_eq!(vgpu.findings(), Vec::<String>::new());
}

#[test]
fn a_bad_index_of_a_weighted_sum_is_the_callers_error_and_no_fallback() {
    let _vgpu = load(&settings());
    let gpu = Gpu::open(0, &GpuOptions::default()).unwrap();
    let plan = |device: Option<Arc<Gpu>>| {
        let mut b = GraphBuilder::new(GraphLimits::default());
        let x = b.input("x", DType::F32, &[Dim::Fixed(2), Dim::Dynamic("n".into())]).unwrap();
        let indices = Tensor::from_slice(&[2, 1], &[0, 3]).unwrap();
        let (indices, weights) =
            (b.constant(indices).unwrap(), b.constant(floats(&[2, 1], 1)).unwrap());
        let y = b.resample(x, 1, indices, weights).unwrap();
        b.output("y", y).unwrap();
        compile(b.finish().unwrap(), &CompileOptions { device, ..Default::default() }).unwrap()
    };
    let (here, there) = (plan(None), plan(Some(gpu.clone())));
    for n in [4, 3, 0, 5] {
        let x = floats(&[2, n], 1);
        let answer = |plan: &Plan| plan.run(std::slice::from_ref(&x), None);
        match (answer(&here), answer(&there)) {
            (Ok(expected), Ok(found)) => near(&found, &expected),
            (Err(expected), Err(found)) => assert_eq!(found.to_string(), expected.to_string()),
            (here, there) => panic!("{n}: {here:?} {there:?}"),
        }
        assert_eq!(answer(&here).is_ok(), n > 3, "{n}");
    }
    assert_eq!(gpu.state().fallbacks, 0);
}

/// Products of which every row of a batch meets both right sides: a run of two products a row.
#[test]
fn a_product_of_too_many_runs_is_done_by_the_cpu() {
    let vgpu = load(&settings());
    let gpu = Gpu::open(0, &GpuOptions::default()).unwrap();
    let mut builder = GraphBuilder::new(GraphLimits::default());
    let two = || Dim::Fixed(2);
    let x = builder.input("x", DType::F32, &[Dim::Batch, Dim::Fixed(1), two(), two()]).unwrap();
    let y = builder.input("y", DType::F32, &[two(), two(), two()]).unwrap();
    let z = builder.matmul(x, y).unwrap();
    builder.output("z", z).unwrap();
    let options = CompileOptions { device: Some(gpu.clone()), ..CompileOptions::default() };
    let plan = compile(builder.finish().unwrap(), &options).unwrap();
    let right = floats(&[2, 2, 2], 1);
    let y = right.as_slice::<f32>().unwrap();
    for (rows, fallbacks) in [(1024, 0), (1025, 1)] {
        let left = floats(&[rows, 1, 2, 2], 2);
        let x = left.as_slice::<f32>().unwrap();
        let of = |i: usize| {
            let (row, side, at) = (i / 8, i / 4 % 2, i % 4);
            (0..2).map(|k| x[row * 4 + at / 2 * 2 + k] * y[side * 4 + k * 2 + at % 2]).sum()
        };
        let expected: Vec<f32> = (0..rows * 8).map(of).collect();
        let expected = Tensor::from_slice(&[rows, 2, 2, 2], &expected).unwrap();
        near(&plan.run(&[left.clone(), right.clone()], None).unwrap(), &[expected]);
        assert_eq!(gpu.state().fallbacks, fallbacks, "{rows} rows");
    }
    assert_eq!(vgpu.findings(), Vec::<String>::new());
}
