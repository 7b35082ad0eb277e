//! Batches that do not fit the memory of the virtual GPU: parts of them run there, and answers stay right.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use aimass_graph::{
    CompileOptions, Dim, Gpu, GpuOptions, Graph, GraphBuilder, GraphLimits, Plan, RunError,
    StateInit, compile,
};
use aimass_tensor::{DType, Tensor};
use aimass_vgpu::{Settings, Vgpu};
use std::sync::Arc;

/// Bytes of f32 in a row of what the plans below read and answer: 1 MiB.
const WIDE: usize = 1 << 18;

fn load() -> Vgpu {
    let images = concat!(env!("CARGO_MANIFEST_DIR"), "/../../kernels/cuda/prebuilt");
    aimass_vgpu::load(&Settings { ptx: Some(images.into()), ..Settings::default() }).unwrap()
}

/// A GPU on which `mib` MiB may be taken besides what it needs itself, which retries a refused amount
/// after `refusal_runs` runs.
fn gpu(mib: u64, refusal_runs: u64) -> Arc<Gpu> {
    let mut options = GpuOptions { refusal_runs, ..GpuOptions::default() };
    options.device.memory_bytes_max = mib << 20;
    Gpu::open(0, &options).unwrap()
}

/// One large row each: `y = x + x`.
fn doubled(first: Dim) -> Graph {
    let mut builder = GraphBuilder::new(GraphLimits::default());
    let x = builder.input("x", DType::F32, &[first, Dim::Fixed(WIDE as u64)]).unwrap();
    let y = builder.add(x, x).unwrap();
    builder.output("y", y).unwrap();
    builder.finish().unwrap()
}

fn on(gpu: Option<&Arc<Gpu>>, graph: Graph) -> Plan {
    let options = CompileOptions { device: gpu.cloned(), ..CompileOptions::default() };
    compile(graph, &options).unwrap()
}

fn rows(count: usize) -> Tensor {
    let values: Vec<f32> = (0..count * WIDE).map(|i| (i / WIDE * 3 + i % 7) as f32).collect();
    Tensor::from_slice(&[count, WIDE], &values).unwrap()
}

fn assert_doubles(plan: &Plan, count: usize) {
    let x = rows(count);
    let y = plan.run(std::slice::from_ref(&x), None).unwrap().remove(0);
    assert_eq!(y.shape().to_vec(), [count, WIDE]);
    let (x, y) = (x.as_slice::<f32>().unwrap(), y.as_slice::<f32>().unwrap());
    assert!(x.iter().zip(y).all(|(x, y)| *y == x + x), "another answer");
}

/// Allocations of working memory that were tried so far.
fn attempts(vgpu: &Vgpu) -> usize {
    vgpu.log().iter().filter(|call| **call == "cuMemAlloc_v2").count()
}

#[test]
fn a_batch_that_does_not_fit_runs_on_the_device_in_parts() {
    let vgpu = load();
    // A row takes 1 MiB for its input and 1 for its output.
    let gpu = gpu(5, 1000);
    let plan = on(Some(&gpu), doubled(Dim::Batch));
    let counts = || {
        let state = gpu.state();
        (state.runs, state.split, state.fallbacks)
    };
    assert_doubles(&plan, 2);
    assert_eq!(counts(), (1, 0, 0));
    // Eight rows, then four, do not fit: parts of two.
    assert_doubles(&plan, 8);
    assert_eq!(counts(), (5, 1, 0));
    let before = attempts(&vgpu);
    assert_doubles(&plan, 8);
    assert_eq!(counts(), (9, 2, 0));
    assert_eq!(attempts(&vgpu), before, "what was refused is not tried again");
    // Seven rows are 3 and 4, which are 1 and 2, and twice 2.
    assert_doubles(&plan, 7);
    assert_eq!(counts(), (13, 3, 0));
    assert_doubles(&plan, 2);
    assert_eq!(counts(), (14, 3, 0));
    let held = gpu.state().memory_bytes;
    assert!(held <= 5 << 20, "{held}");
    drop(plan);
    assert_eq!(vgpu.findings(), Vec::<String>::new());
}

#[test]
fn a_refusal_is_forgotten_after_a_while() {
    let vgpu = load();
    let gpu = gpu(5, 3);
    let plan = on(Some(&gpu), doubled(Dim::Batch));
    let small = on(Some(&gpu), doubled(Dim::Batch));
    assert_doubles(&plan, 4);
    assert_eq!((gpu.state().runs, gpu.state().split), (2, 1));
    let mut tried = Vec::new();
    for _ in 0..6 {
        let before = attempts(&vgpu);
        assert_doubles(&plan, 4);
        tried.push(attempts(&vgpu) > before);
    }
    assert!(tried.contains(&true) && tried.contains(&false), "{tried:?}");
    assert_eq!(gpu.state().fallbacks, 0);
    assert_doubles(&small, 1);
}

#[test]
fn a_single_row_that_does_not_fit_and_rows_that_belong_together_go_to_the_cpu() {
    let _vgpu = load();
    let counts = |gpu: &Gpu| {
        let state = gpu.state();
        (state.runs, state.split, state.fallbacks)
    };
    // Not even a row fits.
    let tiny = gpu(1, 1000);
    let plan = on(Some(&tiny), doubled(Dim::Batch));
    assert_doubles(&plan, 4);
    assert_eq!(counts(&tiny), (0, 0, 1));
    assert!(tiny.state().last_error.unwrap().contains("limit of 1048576 bytes"));
    // Eight rows that are no batch.
    let fixed = gpu(5, 1000);
    let plan = on(Some(&fixed), doubled(Dim::Fixed(8)));
    assert_doubles(&plan, 8);
    assert_eq!(counts(&fixed), (0, 0, 1));
}

#[test]
fn a_batch_runs_in_as_many_parts_as_it_may_and_no_more() {
    let _vgpu = load();
    for (parts_max, expected) in [(4, (1, 0)), (3, (0, 1))] {
        let mut options = GpuOptions { parts_max, ..GpuOptions::default() };
        options.device.memory_bytes_max = 5 << 20;
        let gpu = Gpu::open(0, &options).unwrap();
        assert_doubles(&on(Some(&gpu), doubled(Dim::Batch)), 8);
        let state = gpu.state();
        assert_eq!((state.split, state.fallbacks), expected, "{parts_max} parts at most");
    }
}

#[test]
fn a_plan_with_a_state_is_not_taken_apart() {
    let _vgpu = load();
    let gpu = gpu(5, 1000);
    let mut builder = GraphBuilder::new(GraphLimits::default());
    let x = builder.input("x", DType::F32, &[Dim::Batch, Dim::Fixed(WIDE as u64)]).unwrap();
    let old = builder.state("last", DType::F32, &[1], StateInit::Zeros).unwrap();
    let y = builder.add(x, old).unwrap();
    let new = builder.add(old, old).unwrap();
    builder.state_write("last", new).unwrap();
    builder.output("y", y).unwrap();
    let plan = on(Some(&gpu), builder.finish().unwrap());
    let mut state = plan.new_state();
    let x = rows(8);
    let y = plan.run(std::slice::from_ref(&x), Some(&mut state)).unwrap().remove(0);
    assert_eq!(y.bytes(), x.bytes());
    assert_eq!((gpu.state().split, gpu.state().fallbacks), (0, 1));
}

#[test]
fn a_ragged_batch_is_taken_apart_between_sequences() {
    let _vgpu = load();
    let gpu = gpu(5, 1000);
    let ragged = || Dim::Ragged(Arc::from("offsets"));
    let graph = || {
        let mut builder = GraphBuilder::new(GraphLimits::default());
        builder.offsets("offsets").unwrap();
        let x = builder.input("x", DType::F32, &[ragged(), Dim::Fixed(WIDE as u64)]).unwrap();
        let y = builder.add(x, x).unwrap();
        builder.output("y", y).unwrap();
        builder.finish().unwrap()
    };
    // Sequences of one, two, none, two and one row.
    let inputs = [Tensor::from_slice(&[6], &[0u32, 1, 3, 3, 5, 6]).unwrap(), rows(6)];
    let (here, there) = (on(None, graph()), on(Some(&gpu), graph()));
    let expected = here.run(&inputs, None).unwrap().remove(0);
    let found = there.run(&inputs, None).unwrap().remove(0);
    assert_eq!(found.shape(), expected.shape());
    assert!(found.bytes() == expected.bytes(), "another answer");
    let state = gpu.state();
    assert_eq!((state.split, state.fallbacks), (1, 0), "{state:?}");
}

#[test]
fn a_bad_index_in_a_part_is_told_with_the_row_of_the_whole() {
    let _vgpu = load();
    let gpu = gpu(5, 1000);
    let graph = || {
        let mut builder = GraphBuilder::new(GraphLimits::default());
        let ids = builder.input("ids", DType::I32, &[Dim::Batch]).unwrap();
        let table = Tensor::from_slice(&[2, WIDE / 4], &vec![1.5f32; WIDE / 2]).unwrap();
        let table = builder.constant(table).unwrap();
        let y = builder.gather(table, ids, 0).unwrap();
        builder.output("y", y).unwrap();
        builder.finish().unwrap()
    };
    let mut ids = vec![1i32; 64];
    ids[50] = 2;
    let ids = Tensor::from_slice(&[64], &ids).unwrap();
    let refused =
        |plan: &Plan| -> RunError { plan.run(std::slice::from_ref(&ids), None).unwrap_err() };
    let expected = refused(&on(None, graph()));
    let found = refused(&on(Some(&gpu), graph()));
    assert_eq!(found.to_string(), expected.to_string());
    assert!(gpu.state().runs > 0, "parts before the bad row ran on the device");
}

/// The driver itself has no more memory: whatever allocation it refuses, answers are right, and once it
/// has room again the device is used again.
#[test]
fn refused_allocations_of_the_driver_are_survived_wherever_they_come() {
    const OUT_OF_MEMORY: i32 = 2;
    let expected = on(None, doubled(Dim::Batch)).run(&[rows(3)], None).unwrap();
    for nth in 1..=12 {
        let images = concat!(env!("CARGO_MANIFEST_DIR"), "/../../kernels/cuda/prebuilt");
        let fail = vec![("cuMemAlloc_v2".to_owned(), nth, OUT_OF_MEMORY)];
        let settings = Settings { ptx: Some(images.into()), fail, ..Settings::default() };
        let vgpu = aimass_vgpu::load(&settings).unwrap();
        let Ok(gpu) = Gpu::open(0, &GpuOptions::default()) else { continue };
        let plan = on(Some(&gpu), doubled(Dim::Batch));
        for _ in 0..4 {
            let found = plan.run(&[rows(3)], None).unwrap();
            assert_eq!(found[0].bytes(), expected[0].bytes());
        }
        let state = gpu.state();
        assert_eq!((state.lost, state.fallbacks), (None, 0), "allocation {nth}");
        assert!(state.runs >= 4, "{} runs", state.runs);
        drop((plan, gpu));
        let count = |name: &str| vgpu.log().iter().filter(|call| **call == name).count();
        let refused = usize::from(count("cuMemAlloc_v2") >= nth as usize);
        assert_eq!(count("cuMemAlloc_v2") - refused, count("cuMemFree_v2"), "allocation {nth}");
    }
}
