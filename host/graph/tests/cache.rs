//! Text generation over a cache of keys and values in pages, as a plan says it today: states that are
//! written by place, pages that are gathered by a table, and a mask for what is not there yet.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use aimass_graph::{
    AttentionOptions, AttentionValues, CompileOptions, Dim, Gpu, GpuOptions, GraphBuilder,
    GraphLimits, Plan, ScatterMode, StateInit, StepPlace, ValueId, compile,
};
use aimass_tensor::{DType, Tensor};
use aimass_vgpu::{Checks, Settings};
use std::sync::Arc;

const SEQUENCES: usize = 3;
/// Keys of a page.
const PAGE: usize = 8;
/// Pages of a sequence: more keys than one block of the grid takes.
const EACH: usize = 40;
const KEYS: usize = PAGE * EACH;
const HEADS: usize = 4;
const KV_HEADS: usize = 2;
const SIZE: usize = 16;
const WIDTH: usize = KV_HEADS * SIZE;

fn number(i: usize, seed: usize) -> f32 {
    ((i * 37 + seed * 101 + i * i % 7) % 41) as f32 / 10.0 - 2.0
}

fn floats(shape: &[usize], seed: usize) -> Tensor {
    let n: usize = shape.iter().product();
    let values: Vec<f32> = (0..n).map(|i| number(i, seed)).collect();
    Tensor::from_slice(shape, &values).unwrap()
}

fn dims(extents: &[usize]) -> Vec<Dim> {
    extents.iter().map(|n| Dim::Fixed(*n as u64)).collect()
}

/// Appends a row to each sequence, and attends to all of its rows.
fn step(device: Option<&Arc<Gpu>>) -> Plan {
    let mut b = GraphBuilder::new(GraphLimits::default());
    let q = b.input("q", DType::F32, &dims(&[SEQUENCES, 1, HEADS * SIZE])).unwrap();
    let rows =
        ["k", "v"].map(|name| b.input(name, DType::F32, &dims(&[SEQUENCES, WIDTH])).unwrap());
    let places = b.input("places", DType::I64, &dims(&[SEQUENCES, 2])).unwrap();
    let table = b.input("table", DType::I64, &dims(&[SEQUENCES, EACH])).unwrap();
    let mask = b.input("mask", DType::F32, &dims(&[SEQUENCES, 1, 1, KEYS])).unwrap();
    let mut keys = |name: &str, row: ValueId, seed: usize| {
        let cache = [SEQUENCES * EACH, PAGE, WIDTH];
        let before = b.constant(floats(&cache, seed)).unwrap();
        let init = StateInit::Value(before);
        let cache = b.state(name, DType::F32, &cache.map(|n| n as u64), init).unwrap();
        let cache = b.scatter_nd(cache, places, row, ScatterMode::Replace).unwrap();
        b.state_write(name, cache).unwrap();
        let own = b.gather(cache, table, 0).unwrap();
        b.reshape(own, &dims(&[SEQUENCES, KEYS, WIDTH])).unwrap()
    };
    let (k, v) = (keys("keys", rows[0], 1), keys("values", rows[1], 2));
    let options = AttentionOptions {
        heads: HEADS as u32,
        kv_heads: KV_HEADS as u32,
        scale: None,
        causal: false,
        window: None,
    };
    let y = b.attention(AttentionValues { q, k, v }, Some(mask), options).unwrap();
    b.output("y", y).unwrap();
    let options = CompileOptions { device: device.cloned(), ..CompileOptions::default() };
    compile(b.finish().unwrap(), &options).unwrap()
}

/// Page of a sequence's `page`th keys: an order that is not theirs.
fn page(sequence: usize, page: usize) -> usize {
    (sequence * EACH + page) * 77 % (SEQUENCES * EACH)
}

/// What a step attends to, kept by the test itself.
struct Cache {
    lengths: [usize; SEQUENCES],
    /// Keys and values, by page.
    rows: [Vec<f32>; 2],
}

impl Cache {
    fn new() -> Cache {
        let content =
            |seed| (0..SEQUENCES * EACH * PAGE * WIDTH).map(|i| number(i, seed)).collect();
        Cache { lengths: [300, 0, 7], rows: [content(1), content(2)] }
    }

    fn row(&self, which: usize, sequence: usize, key: usize) -> &[f32] {
        let place = page(sequence, key / PAGE) * PAGE + key % PAGE;
        &self.rows[which][place * WIDTH..][..WIDTH]
    }

    /// Inputs of the next step, whose rows are appended here too, and what it answers.
    fn step(&mut self, seed: usize) -> (Vec<Tensor>, Vec<f64>) {
        let [q, k, v] = [HEADS * SIZE, WIDTH, WIDTH].map(|n| SEQUENCES * n);
        let [q, k, v] = [(q, 3), (k, 4), (v, 5)]
            .map(|(n, own)| -> Vec<f32> { (0..n).map(|i| number(i, own + 7 * seed)).collect() });
        let (mut places, mut mask) = (Vec::new(), Vec::new());
        for (sequence, length) in self.lengths.iter_mut().enumerate() {
            let at = [page(sequence, *length / PAGE), *length % PAGE];
            places.extend(at.map(|n| n as i64));
            for (rows, own) in self.rows.iter_mut().zip([&k, &v]) {
                let to = (at[0] * PAGE + at[1]) * WIDTH;
                rows[to..to + WIDTH].copy_from_slice(&own[sequence * WIDTH..][..WIDTH]);
            }
            *length += 1;
            mask.extend((0..KEYS).map(|key| if key < *length { 0.0 } else { f32::NEG_INFINITY }));
        }
        let table: Vec<i64> =
            (0..SEQUENCES * EACH).map(|i| page(i / EACH, i % EACH) as i64).collect();
        let expected = self.attended(&q);
        let inputs = vec![
            Tensor::from_slice(&[SEQUENCES, 1, HEADS * SIZE], &q).unwrap(),
            Tensor::from_slice(&[SEQUENCES, WIDTH], &k).unwrap(),
            Tensor::from_slice(&[SEQUENCES, WIDTH], &v).unwrap(),
            Tensor::from_slice(&[SEQUENCES, 2], &places).unwrap(),
            Tensor::from_slice(&[SEQUENCES, EACH], &table).unwrap(),
            Tensor::from_slice(&[SEQUENCES, 1, 1, KEYS], &mask).unwrap(),
        ];
        (inputs, expected)
    }

    fn attended(&self, q: &[f32]) -> Vec<f64> {
        let mut all = Vec::new();
        for (sequence, head) in (0..SEQUENCES * HEADS).map(|i| (i / HEADS, i % HEADS)) {
            let own = &q[(sequence * HEADS + head) * SIZE..][..SIZE];
            let kv = head / (HEADS / KV_HEADS) * SIZE;
            let weight = |key: usize| {
                let row = &self.row(0, sequence, key)[kv..kv + SIZE];
                let product = |(q, k): (&f32, &f32)| f64::from(*q) * f64::from(*k);
                (own.iter().zip(row).map(product).sum::<f64>() / (SIZE as f64).sqrt()).exp()
            };
            let weights: Vec<f64> = (0..self.lengths[sequence]).map(weight).collect();
            let total: f64 = weights.iter().sum();
            all.extend((kv..kv + SIZE).map(|column| {
                let value = |(key, weight): (usize, &f64)| {
                    weight * f64::from(self.row(1, sequence, key)[column])
                };
                weights.iter().enumerate().map(value).sum::<f64>() / total
            }));
        }
        all
    }
}

fn check(plan: &Plan) {
    let (mut cache, mut state) = (Cache::new(), plan.new_state());
    for turn in 0..12 {
        let (inputs, expected) = cache.step(turn);
        let found = plan.run(&inputs, Some(&mut state)).unwrap();
        let found = found[0].as_slice::<f32>().unwrap();
        for (at, (found, expected)) in found.iter().zip(&expected).enumerate() {
            let near = (f64::from(*found) - expected).abs() < 2e-5;
            assert!(near, "step {turn} [{at}]: expected {expected}, got {found}");
        }
    }
}

#[test]
fn a_cache_in_pages_is_written_and_attended_to_step_after_step() {
    check(&step(None));
    let images = concat!(env!("CARGO_MANIFEST_DIR"), "/../../kernels/cuda/prebuilt");
    let settings = Settings {
        ptx: Some(images.into()),
        mem_mb: 256,
        checks: Checks::Races,
        seed: 5,
        ..Settings::default()
    };
    let vgpu = aimass_vgpu::load(&settings).unwrap();
    let gpu = Gpu::open(0, &GpuOptions::default()).unwrap();
    let plan = step(Some(&gpu));
    let report = plan.device_report().unwrap().unwrap();
    assert!(report.steps.iter().all(|(_, place)| *place == StepPlace::Device), "{report:?}");
    check(&plan);
    let launched: Vec<String> = vgpu.counters().into_iter().map(|(name, _)| name).collect();
    for kernel in ["attention_decode_grouped_f32", "attention_join_f32"] {
        assert!(launched.iter().any(|name| name == kernel), "{kernel}: {launched:?}");
    }
    let state = gpu.state();
    assert_eq!((state.runs, state.fallbacks), (12, 0), "{:?}", state.last_error);
    assert_eq!(vgpu.findings(), Vec::<String>::new());
}
