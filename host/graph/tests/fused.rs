//! Elementwise chains on the virtual GPU as kernels that are made at run time: the bits of launches one
//! by one, fewer launches, and nothing lost where a kernel cannot be made.
//!
//! They need NVIDIA's compiler (`cargo xtask fetch`); without it these tests say so and pass.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use aimass_graph::{
    CompileOptions, Dim, Gpu, GpuOptions, GraphBuilder, GraphError, GraphLimits, Plan, StepPlace,
    ValueId, compile,
};
use aimass_tensor::{DType, Tensor};
use aimass_vgpu::{Checks, Settings, Vgpu};
use std::sync::Arc;

/// The virtual GPU with a compiler; none, with a line, where there is none.
fn load(settings: Settings) -> Option<Vgpu> {
    let images = concat!(env!("CARGO_MANIFEST_DIR"), "/../../kernels/cuda/prebuilt");
    let settings = Settings { ptx: Some(images.into()), mem_mb: 256, ..settings };
    let vgpu = aimass_vgpu::load(&settings).unwrap();
    let fetched = aimass_vgpu::load_nvrtc();
    let gpu = Gpu::open(0, &GpuOptions::default()).unwrap();
    let fusion = gpu.state().fusion;
    if let Err(why) = fusion.compiler {
        eprintln!("left out: {why}; {fetched:?}");
        return None;
    }
    assert!(fusion.to_string().starts_with("NVRTC 1"), "{fusion}");
    Some(vgpu)
}

fn races() -> Settings {
    Settings { checks: Checks::Races, ..Settings::default() }
}

fn open(fused_kernels_max: usize) -> Arc<Gpu> {
    Gpu::open(0, &GpuOptions { fused_kernels_max, ..GpuOptions::default() }).unwrap()
}

/// Makes the outputs of a graph from its inputs.
type Build<'b> = dyn Fn(&mut GraphBuilder, &[ValueId]) -> Result<Vec<ValueId>, GraphError> + 'b;

/// A graph of inputs with these dtypes and dims.
fn plan(gpu: Option<&Arc<Gpu>>, inputs: &[(DType, &[Dim])], build: &Build<'_>) -> Plan {
    let mut builder = GraphBuilder::new(GraphLimits::default());
    let values: Vec<ValueId> = (inputs.iter().enumerate())
        .map(|(i, (dtype, dims))| builder.input(&format!("input {i}"), *dtype, dims).unwrap())
        .collect();
    for (i, output) in build(&mut builder, &values).unwrap().into_iter().enumerate() {
        builder.output(&format!("output {i}"), output).unwrap();
    }
    let options = CompileOptions { device: gpu.cloned(), ..CompileOptions::default() };
    compile(builder.finish().unwrap(), &options).unwrap()
}

/// Names of the launches.
fn launches(plan: &Plan) -> Vec<String> {
    let report = plan.device_report().unwrap().unwrap();
    let there = report.steps.iter().filter(|(_, place)| *place == StepPlace::Device);
    there.map(|(name, _)| name.to_string()).collect()
}

fn floats(shape: &[usize], seed: usize) -> Tensor {
    let elements: usize = shape.iter().product();
    let values: Vec<f32> =
        (0..elements).map(|i| ((i * 37 + seed * 11) % 101) as f32 / 17.0 - 3.0).collect();
    Tensor::from_slice(shape, &values).unwrap()
}

const ROWS: [Dim; 2] = [Dim::Batch, Dim::Fixed(33)];

/// Ops on rows and a constant: three of them have no reader but the next.
fn chain(builder: &mut GraphBuilder, x: &[ValueId]) -> Result<Vec<ValueId>, GraphError> {
    let table = builder.constant(floats(&[33], 7))?;
    let sum = builder.add(x[0], table)?;
    let bent = builder.sin(sum)?;
    let product = builder.mul(bent, x[0])?;
    Ok(vec![builder.sub(product, x[1])?])
}

#[test]
fn a_chain_is_one_launch_with_the_same_bits_at_any_extent() {
    let Some(vgpu) = load(races()) else { return };
    let (fused, unfused) = (open(64), open(0));
    let inputs: [(DType, &[Dim]); 2] = [(DType::F32, &ROWS), (DType::F32, &ROWS)];
    let (one, four) = (plan(Some(&fused), &inputs, &chain), plan(Some(&unfused), &inputs, &chain));
    assert_eq!(launches(&one), ["fused(add sin mul sub)"]);
    assert_eq!(launches(&four), ["add", "sin", "mul", "sub"]);
    let launched = || vgpu.log().iter().filter(|call| **call == "cuLaunchKernel").count();
    for rows in [1, 31, 33, 4, 1023, 1025] {
        let x = [floats(&[rows, 33], 1), floats(&[rows, 33], 2)];
        let expected = four.run(&x, None).unwrap();
        // Launched, recorded, replayed.
        for turn in 0..3 {
            let before = launched();
            let found = one.run(&x, None).unwrap();
            assert_eq!(launched() - before, usize::from(turn < 2), "{rows} rows, turn {turn}");
            assert_eq!(found[0].bytes(), expected[0].bytes(), "{rows} rows, turn {turn}");
        }
    }
    let (state, plain) = (fused.state(), unfused.state());
    assert_eq!((state.fusion.launches, state.fusion.ops, state.fusion.refused), (1, 4, 0));
    assert_eq!((state.fallbacks, plain.fallbacks), (0, 0));
    assert_eq!(plain.fusion.to_string(), "none: switched off by the configuration");
    assert_eq!(vgpu.findings(), Vec::<String>::new());
}

#[test]
fn what_others_read_or_what_has_other_extents_stays_outside() {
    let Some(_vgpu) = load(Settings::default()) else { return };
    let gpu = open(64);
    let rows: (DType, &[Dim]) = (DType::F32, &ROWS);
    let of = |build: &Build<'_>| launches(&plan(Some(&gpu), &[rows, rows], build));
    // An output is in memory, and so is what is read in another shape.
    let output = of(&|builder, x| {
        let sum = builder.add(x[0], x[1])?;
        Ok(vec![sum, builder.sin(sum)?])
    });
    assert_eq!(output, ["add", "sin"]);
    let reduced = of(&|builder, x| {
        let sum = builder.add(x[0], x[1])?;
        let bent = builder.sin(sum)?;
        let most = builder.softmax(sum, 1)?;
        let cosine = builder.cos(bent)?;
        Ok(vec![builder.mul(cosine, most)?])
    });
    assert_eq!(reduced, ["add", "softmax", "fused(sin cos mul)"]);
    // A value that is read twice within is inside; both ways lead to the root.
    let diamond = of(&|builder, x| {
        let sum = builder.add(x[0], x[1])?;
        let (left, right) = (builder.sin(sum)?, builder.cos(sum)?);
        Ok(vec![builder.maximum(left, right)?])
    });
    assert_eq!(diamond, ["fused(add sin cos maximum)"]);
    // One row is made once, not for every row that it is added to.
    let single: (DType, &[Dim]) = (DType::F32, &[Dim::Fixed(1), Dim::Fixed(33)]);
    let row = plan(Some(&gpu), &[rows, single], &|builder, x| {
        let row = builder.add(x[1], x[1])?;
        let row = builder.sin(row)?;
        let sum = builder.mul(x[0], row)?;
        Ok(vec![builder.cos(sum)?])
    });
    assert_eq!(launches(&row), ["fused(add sin)", "fused(mul cos)"]);
}

#[test]
fn limits_on_ops_and_inputs_cut_chains() {
    let Some(_vgpu) = load(Settings::default()) else { return };
    let gpu = open(64);
    let rows: (DType, &[Dim]) = (DType::F32, &ROWS);
    // 40 ops: one kernel of 32 and one of 8.
    let long = plan(Some(&gpu), &[rows, rows], &|builder, x| {
        let mut y = x[0];
        for i in 0..20 {
            y = builder.add(y, x[1])?;
            y = if i % 2 == 0 { builder.sin(y)? } else { builder.cos(y)? };
        }
        Ok(vec![y])
    });
    let names = launches(&long);
    let ops: Vec<usize> = names.iter().map(|name| name.split(' ').count()).collect();
    assert_eq!(ops, [8, 32], "{names:?}");
    // A sum of twelve: eight values at most enter a kernel.
    let many = [rows; 12];
    let sum = |builder: &mut GraphBuilder, x: &[ValueId]| {
        let mut y = builder.sin(x[0])?;
        for &x in &x[1..] {
            y = builder.add(y, x)?;
        }
        Ok(vec![y])
    };
    let wide = plan(Some(&gpu), &many, &sum);
    let names = launches(&wide);
    let ops: Vec<usize> = names.iter().map(|name| name.split(' ').count()).collect();
    assert_eq!(ops, [5, 7], "{names:?}");
    let x: Vec<Tensor> = (0..12).map(|i| floats(&[3, 33], i)).collect();
    let expected = plan(Some(&open(0)), &many, &sum).run(&x, None).unwrap();
    assert_eq!(wide.run(&x, None).unwrap()[0].bytes(), expected[0].bytes());
}

#[test]
fn what_the_driver_refuses_is_launched_one_by_one_and_told() {
    // This driver takes no machine code of a newer compiler, and no text of one.
    let settings = Settings { driver: 12000, ..Settings::default() };
    let Some(vgpu) = load(settings) else { return };
    let gpu = open(64);
    let inputs: [(DType, &[Dim]); 2] = [(DType::F32, &ROWS), (DType::F32, &ROWS)];
    let plan = plan(Some(&gpu), &inputs, &chain);
    assert_eq!(launches(&plan), ["add", "sin", "mul", "sub"]);
    plan.run(&[floats(&[5, 33], 1), floats(&[5, 33], 2)], None).unwrap();
    let state = gpu.state();
    assert_eq!((state.runs, state.fallbacks, state.last_error), (1, 0, None));
    assert_eq!((state.fusion.launches, state.fusion.refused), (0, 1));
    let why = state.fusion.last_error.unwrap();
    assert!(why.contains("cuModuleLoadData: CUDA_ERROR_UNSUPPORTED_PTX_VERSION"), "{why}");
    assert_eq!(vgpu.findings(), Vec::<String>::new());
}

#[test]
fn the_self_test_tries_kernels_made_at_run_time() {
    let Some(vgpu) = load(Settings { sm: 90, ..Settings::default() }) else { return };
    let gpu = open(64);
    let outcome = gpu.self_test();
    assert_eq!(outcome.failures, Vec::<String>::new());
    let fusion = gpu.state().fusion;
    assert!(fusion.launches >= 7 && fusion.refused == 0, "{fusion:?}");
    assert_eq!(vgpu.findings(), Vec::<String>::new());
}

#[test]
fn a_plan_gets_no_more_kernels_than_it_may() {
    let Some(_vgpu) = load(Settings::default()) else { return };
    let rows: (DType, &[Dim]) = (DType::F32, &ROWS);
    // Three groups, two of them alike.
    let three = |builder: &mut GraphBuilder, x: &[ValueId]| {
        let mut y = x[0];
        for last in [false, true, true] {
            let bent = builder.sin(y)?;
            let sum = if last { builder.add(bent, x[0])? } else { builder.mul(bent, x[0])? };
            y = builder.softmax(sum, 1)?;
        }
        Ok(vec![y])
    };
    let names = |most: usize| launches(&plan(Some(&open(most)), &[rows], &three));
    let alike = ["fused(sin add)", "softmax", "fused(sin add)", "softmax"];
    let apart = |first: &[&'static str]| [first, &["softmax"], &alike].concat();
    assert_eq!(names(2), apart(&["fused(sin mul)"]));
    assert_eq!(names(1), apart(&["sin", "mul"]));
}

/// Opens the device, makes plans, runs one, and drops all; whether the device was lost.
fn life(expected: &[Tensor]) -> Option<bool> {
    let gpu = Gpu::open(0, &GpuOptions::default()).ok()?;
    let inputs: [(DType, &[Dim]); 2] = [(DType::F32, &ROWS), (DType::F32, &ROWS)];
    let (plan, _twin) = (plan(Some(&gpu), &inputs, &chain), plan(Some(&gpu), &inputs, &chain));
    for _ in 0..3 {
        let found = plan.run(&[floats(&[5, 33], 1), floats(&[5, 33], 2)], None).unwrap();
        for (found, expected) in
            found[0].as_slice::<f32>().unwrap().iter().zip(expected[0].as_slice::<f32>().unwrap())
        {
            let state = gpu.state();
            assert!((found - expected).abs() < 1e-5, "{found} {expected}: {state:?}");
        }
    }
    Some(gpu.state().lost.is_some())
}

#[test]
fn every_driver_call_may_fail_and_every_module_is_unloaded() {
    let Some(vgpu) = load(Settings::default()) else { return };
    let inputs: [(DType, &[Dim]); 2] = [(DType::F32, &ROWS), (DType::F32, &ROWS)];
    let x = [floats(&[5, 33], 1), floats(&[5, 33], 2)];
    let expected = plan(None, &inputs, &chain).run(&x, None).unwrap();
    drop(vgpu);
    let vgpu = load(Settings::default()).unwrap();
    assert_eq!(life(&expected), Some(false));
    let count = |name: &str| vgpu.log().iter().filter(|call| **call == name).count();
    // Twice the kernels of the crate, and one that was made for both plans: its machine code, which the
    // virtual GPU does not take, then its text.
    assert_eq!((count("cuModuleLoadData"), count("cuModuleUnload")), (4, 3));
    assert_eq!(count("cuMemAlloc_v2"), count("cuMemFree_v2"));
    let calls = vgpu.calls();
    drop(vgpu);
    let images = concat!(env!("CARGO_MANIFEST_DIR"), "/../../kernels/cuda/prebuilt");
    let all = std::env::var("AIMASS_ALL").is_ok_and(|all| all == "1");
    let seconds = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs();
    let (start, step) = if all { (1, 1) } else { (1 + seconds % 5, 5) };
    println!("faults at calls {start}, {}, .. of {calls}", start + step);
    for code in [2, 700] {
        let mut opened = 0;
        for index in (start..=calls).step_by(step as usize) {
            let fail_at = Some((index, code));
            let vgpu = aimass_vgpu::load(&Settings {
                ptx: Some(images.into()),
                mem_mb: 256,
                fail_at,
                ..Settings::default()
            })
            .unwrap();
            opened += u64::from(life(&expected).is_some());
            let findings = vgpu.findings();
            assert!(findings.is_empty(), "call {index} gives {code}: {findings:?}");
        }
        assert!(opened > 0, "{code}");
    }
}

/// Numbers of a fixed sequence.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 20) as usize % n
    }
}

type Step = fn(&mut GraphBuilder, ValueId, ValueId) -> Result<ValueId, GraphError>;

/// Ops of two floats, some of which ignore the second.
const OPS: [Step; 14] = [
    |b, x, y| b.add(x, y),
    |b, x, y| b.sub(y, x),
    |b, x, y| b.mul(x, y),
    |b, x, y| b.maximum(x, y),
    |b, x, y| b.div(x, y),
    |b, x, _| b.tanh(x),
    |b, x, _| b.sin(x),
    |b, x, _| b.abs(x),
    |b, x, _| b.clamp(x, -0.75, 1.25),
    |b, x, _| b.sigmoid(x),
    |b, x, _| b.leaky_relu(x, 0.3),
    |b, x, _| b.erf(x),
    |b, x, y| {
        let which = b.less(x, y)?;
        b.select(which, x, y)
    },
    |b, x, _| {
        let whole = b.cast(x, DType::I32)?;
        let odd = b.bit_not(whole)?;
        b.cast(odd, DType::F32)
    },
];

#[test]
fn random_graphs_give_the_same_bits_fused_and_unfused() {
    let Some(vgpu) = load(races()) else { return };
    let (fused, unfused) = (open(64), open(0));
    let shapes: [&[Dim]; 4] =
        [&ROWS, &[Dim::Fixed(33)], &[Dim::Batch, Dim::Fixed(1)], &[Dim::Fixed(1)]];
    let inputs: Vec<(DType, &[Dim])> = shapes.iter().map(|dims| (DType::F32, *dims)).collect();
    for seed in 1..=8u64 {
        let build = |builder: &mut GraphBuilder, x: &[ValueId]| {
            let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
            let mut values = x.to_vec();
            for _ in 0..6 + random.below(12) {
                // Mostly what was made last, so that chains arise.
                let near = values.len() - 1 - random.below(2.min(values.len()));
                let y = values[random.below(values.len())];
                values.push(OPS[random.below(OPS.len())](builder, values[near], y)?);
            }
            let whole = builder.add(values[values.len() - 1], x[0])?;
            Ok(vec![whole])
        };
        let one = plan(Some(&fused), &inputs, &build);
        let many = plan(Some(&unfused), &inputs, &build);
        assert!(launches(&one).len() < launches(&many).len(), "{:?}", launches(&one));
        for rows in [1, 7, 31] {
            let x =
                [floats(&[rows, 33], 1), floats(&[33], 2), floats(&[rows, 1], 3), floats(&[1], 4)];
            let (found, expected) = (one.run(&x, None).unwrap(), many.run(&x, None).unwrap());
            assert_eq!(found[0].bytes(), expected[0].bytes(), "{seed}: {:?}", launches(&one));
        }
    }
    assert_eq!((fused.state().fallbacks, unfused.state().fallbacks), (0, 0));
    assert_eq!(fused.state().fusion.refused, 0);
    assert_eq!(vgpu.findings(), Vec::<String>::new());
}
