//! Text generation over a cache of keys and values in pages, as a plan says it today: states that are
//! written by place, pages that are gathered by a table, and a mask for what is not there yet. On a device
//! the kernel of attention goes by the table, and the pages are not gathered.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use aimass_graph::{
    AttentionOptions, AttentionValues, CompileOptions, Dim, Gpu, GpuOptions, GraphBuilder,
    GraphError, GraphLimits, Plan, ScatterMode, StateInit, StepPlace, ValueId, compile,
};
use aimass_tensor::{DType, Tensor};
use aimass_vgpu::{Checks, Settings, Vgpu};
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

/// One that f16 holds as it is.
fn number(i: usize, seed: usize) -> f32 {
    ((i * 37 + seed * 101 + i * i % 7) % 41) as f32 / 16.0 - 1.25
}

fn floats(shape: &[usize], seed: usize) -> Tensor {
    let n: usize = shape.iter().product();
    let values: Vec<f32> = (0..n).map(|i| number(i, seed)).collect();
    Tensor::from_slice(shape, &values).unwrap()
}

fn dims(extents: &[usize]) -> Vec<Dim> {
    extents.iter().map(|n| Dim::Fixed(*n as u64)).collect()
}

/// The tensor in this dtype.
fn cast(x: Tensor, dtype: DType) -> Tensor {
    let mut b = GraphBuilder::new(GraphLimits::default());
    let value = b.input("x", DType::F32, &dims(x.shape())).unwrap();
    let value = b.cast(value, dtype).unwrap();
    b.output("y", value).unwrap();
    compiled(b, None).run(&[x], None).unwrap().remove(0)
}

fn compiled(b: GraphBuilder, device: Option<&Arc<Gpu>>) -> Plan {
    let options = CompileOptions { device: device.cloned(), ..CompileOptions::default() };
    compile(b.finish().unwrap(), &options).unwrap()
}

const OPTIONS: AttentionOptions = AttentionOptions {
    heads: HEADS as u32,
    kv_heads: KV_HEADS as u32,
    scale: None,
    causal: false,
    window: None,
};

/// What a step has beside the usual.
#[derive(Clone, Copy, PartialEq)]
enum Extra {
    Nothing,
    /// Gathered keys are an output, too.
    Keys,
    /// Values have a table of their own, which says the same.
    Table,
}

/// Rows of a cache in pages, one sequence after the other.
fn rows_of(b: &mut GraphBuilder, cache: ValueId, table: ValueId) -> Result<ValueId, GraphError> {
    let own = b.gather(cache, table, 0)?;
    let sequences = b.spec(table)?.dims[0].clone();
    b.reshape(own, &[sequences, Dim::Dynamic("".into()), Dim::Fixed(WIDTH as u64)])
}

/// Appends a row to each sequence, and attends to all of its rows; caches are of this dtype.
fn step(device: Option<&Arc<Gpu>>, dtype: DType, extra: Extra) -> Plan {
    let mut b = GraphBuilder::new(GraphLimits::default());
    let q = b.input("q", DType::F32, &dims(&[SEQUENCES, 1, HEADS * SIZE])).unwrap();
    let rows =
        ["k", "v"].map(|name| b.input(name, DType::F32, &dims(&[SEQUENCES, WIDTH])).unwrap());
    let places = b.input("places", DType::I64, &dims(&[SEQUENCES, 2])).unwrap();
    let table = b.input("table", DType::I64, &dims(&[SEQUENCES, EACH])).unwrap();
    let mask = b.input("mask", DType::F32, &dims(&[SEQUENCES, 1, 1, KEYS])).unwrap();
    let other = match extra {
        Extra::Table => b.input("other", DType::I64, &dims(&[SEQUENCES, EACH])).unwrap(),
        Extra::Nothing | Extra::Keys => table,
    };
    let mut keys = |name: &str, row: ValueId, table: ValueId, seed: usize| {
        let shape = [SEQUENCES * EACH, PAGE, WIDTH];
        let before = b.constant(cast(floats(&shape, seed), dtype)).unwrap();
        let init = StateInit::Value(before);
        let cache = b.state(name, dtype, &shape.map(|n| n as u64), init).unwrap();
        let row = b.cast(row, dtype).unwrap();
        let cache = b.scatter_nd(cache, places, row, ScatterMode::Replace).unwrap();
        b.state_write(name, cache).unwrap();
        rows_of(&mut b, cache, table).unwrap()
    };
    let (k, v) = (keys("keys", rows[0], table, 1), keys("values", rows[1], other, 2));
    let [q, mask] = [q, mask].map(|value| b.cast(value, dtype).unwrap());
    let y = b.attention(AttentionValues { q, k, v }, Some(mask), OPTIONS).unwrap();
    let y = b.cast(y, DType::F32).unwrap();
    b.output("y", y).unwrap();
    if extra == Extra::Keys {
        b.output("gathered", k).unwrap();
    }
    compiled(b, device)
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

const STEPS: usize = 12;

/// Runs steps from the first on, and holds what they answer to what they should.
fn check(plan: &Plan, extra: Extra, tolerance: f64) {
    let (mut cache, mut state) = (Cache::new(), plan.new_state());
    for turn in 0..STEPS {
        let (mut inputs, expected) = cache.step(turn);
        if extra == Extra::Table {
            inputs.push(inputs[4].clone());
        }
        let found = plan.run(&inputs, Some(&mut state)).unwrap();
        near(&found[0], &expected, tolerance, turn);
        if extra == Extra::Keys {
            let rows = (0..SEQUENCES * KEYS).flat_map(|i| cache.row(0, i / KEYS, i % KEYS));
            let rows: Vec<f32> = rows.copied().collect();
            assert_eq!(found[1].as_slice::<f32>().unwrap(), rows, "keys of step {turn}");
        }
    }
}

fn doubles(x: &Tensor) -> Vec<f64> {
    x.as_slice::<f32>().unwrap().iter().map(|x| f64::from(*x)).collect()
}

fn near(found: &Tensor, expected: &[f64], tolerance: f64, turn: usize) {
    let found = found.as_slice::<f32>().unwrap();
    assert_eq!(found.len(), expected.len());
    for (at, (found, expected)) in found.iter().zip(expected).enumerate() {
        let near = (f64::from(*found) - expected).abs() < tolerance;
        assert!(near, "step {turn} [{at}]: expected {expected}, got {found}");
    }
}

const EXACT: f64 = 2e-5;

fn load() -> (Vgpu, Arc<Gpu>) {
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
    (vgpu, gpu)
}

/// Steps of a plan, all of which are on its device.
fn steps(plan: &Plan) -> Vec<String> {
    let report = plan.device_report().unwrap().unwrap();
    assert!(report.steps.iter().all(|(_, place)| *place == StepPlace::Device), "{report:?}");
    report.steps.into_iter().map(|(name, _)| name.into_owned()).collect()
}

/// How often kernels of these names were launched.
fn launches<const N: usize>(vgpu: &Vgpu, names: [&str; N]) -> [u64; N] {
    let counters = vgpu.counters();
    names.map(|name| {
        counters.iter().find(|(own, _)| own == name).map_or(0, |(_, counters)| counters.launches)
    })
}

/// What gathers the numbers of a table.
const TABLE: &str = "gather_b32";
/// What gathers pages, 16 bytes at a time.
const PAGES: &str = "gather_b128";

fn assert_clean(vgpu: &Vgpu, gpu: &Gpu, runs: u64) {
    let state = gpu.state();
    assert_eq!((state.runs, state.fallbacks), (runs, 0), "{:?}", state.last_error);
    assert_eq!(vgpu.findings(), Vec::<String>::new());
}

#[test]
fn a_cache_in_pages_is_written_and_attended_to_where_it_lies_step_after_step() {
    check(&step(None, DType::F32, Extra::Nothing), Extra::Nothing, EXACT);
    let (vgpu, gpu) = load();
    let plan = step(Some(&gpu), DType::F32, Extra::Nothing);
    assert_eq!(steps(&plan), ["scatter-nd", "scatter-nd", "attention(paged)"]);
    check(&plan, Extra::Nothing, EXACT);
    let names = [TABLE, PAGES, "attention_decode_grouped_f32", "attention_join_f32"];
    assert_eq!(launches(&vgpu, names), [12, 0, 12, 12], "{names:?}");
    assert_clean(&vgpu, &gpu, 12);
}

#[test]
fn a_cache_of_halves_is_attended_to_where_it_lies() {
    const NEAR: f64 = 2e-3;
    check(&step(None, DType::F16, Extra::Nothing), Extra::Nothing, NEAR);
    let (vgpu, gpu) = load();
    let plan = step(Some(&gpu), DType::F16, Extra::Nothing);
    let names = steps(&plan);
    assert!(names.iter().any(|name| name == "attention(paged)"), "{names:?}");
    assert!(!names.iter().any(|name| name == "gather"), "{names:?}");
    check(&plan, Extra::Nothing, NEAR);
    let names = [TABLE, PAGES, "attention_decode_grouped_f16", "attention_join_f16"];
    assert_eq!(launches(&vgpu, names), [12, 0, 12, 12], "{names:?}");
    assert_clean(&vgpu, &gpu, 12);
}

#[test]
fn keys_that_are_an_output_as_well_are_gathered_for_it() {
    check(&step(None, DType::F32, Extra::Keys), Extra::Keys, EXACT);
    let (vgpu, gpu) = load();
    let plan = step(Some(&gpu), DType::F32, Extra::Keys);
    assert_eq!(steps(&plan), ["scatter-nd", "gather", "scatter-nd", "attention(paged)"]);
    check(&plan, Extra::Keys, EXACT);
    assert_eq!(launches(&vgpu, [TABLE, PAGES]), [12, 12]);
    assert_clean(&vgpu, &gpu, 12);
}

#[test]
fn keys_and_values_by_tables_of_their_own_are_gathered() {
    let (vgpu, gpu) = load();
    let plan = step(Some(&gpu), DType::F32, Extra::Table);
    assert_eq!(steps(&plan), ["scatter-nd", "gather", "scatter-nd", "gather", "attention"]);
    check(&plan, Extra::Table, EXACT);
    assert_eq!(launches(&vgpu, [TABLE, PAGES]), [0, 24]);
    assert_clean(&vgpu, &gpu, 12);
}

#[test]
fn a_page_out_of_range_is_refused_as_by_the_cpu_and_the_next_step_is_right() {
    let (vgpu, gpu) = load();
    let plans = [None, Some(&gpu)].map(|device| step(device, DType::F32, Extra::Nothing));
    let mut states = plans.each_ref().map(Plan::new_state);
    let mut cache = Cache::new();
    let pages = (SEQUENCES * EACH) as i64;
    // Of 2^32 + 1, 32 bits would be a page.
    for (turn, bad) in [-1, pages, (1 << 32) + 1, i64::MIN].into_iter().enumerate() {
        let (inputs, expected) = cache.step(turn);
        let mut table = inputs[4].as_slice::<i64>().unwrap().to_vec();
        table[2 * EACH + turn] = bad;
        let mut wrong = inputs.clone();
        wrong[4] = Tensor::from_slice(&[SEQUENCES, EACH], &table).unwrap();
        let refusals: Vec<String> = (plans.iter().zip(&mut states))
            .map(|(plan, state)| plan.run(&wrong, Some(state)).unwrap_err().to_string())
            .collect();
        assert_eq!(refusals[0], refusals[1]);
        assert!(refusals[0].starts_with(&format!("gather: index {bad} at ")), "{}", refusals[0]);
        for (plan, state) in plans.iter().zip(&mut states) {
            near(&plan.run(&inputs, Some(state)).unwrap()[0], &expected, EXACT, turn);
        }
    }
    assert_eq!(launches(&vgpu, [TABLE, PAGES]), [8, 0]);
    assert_clean(&vgpu, &gpu, 4);
}

/// Sequences and their pages as many as a call has; the caches are no states.
fn of_any_extent(device: Option<&Arc<Gpu>>) -> Plan {
    let mut b = GraphBuilder::new(GraphLimits::default());
    let any = |name: &str| Dim::Dynamic(name.into());
    let width = |heads: usize| Dim::Fixed((heads * SIZE) as u64);
    let q = b.input("q", DType::F32, &[Dim::Batch, Dim::Fixed(1), width(HEADS)]).unwrap();
    let table = b.input("table", DType::I32, &[Dim::Batch, any("each")]).unwrap();
    let places = b.input("places", DType::I64, &[any("rows"), Dim::Fixed(2)]).unwrap();
    let row = b.input("row", DType::F32, &[any("rows"), width(KV_HEADS)]).unwrap();
    let [k, v] = ["keys", "values"].map(|name| {
        let cache = b.input(name, DType::F32, &dims(&[SEQUENCES * EACH, PAGE, WIDTH])).unwrap();
        let cache = b.scatter_nd(cache, places, row, ScatterMode::Replace).unwrap();
        rows_of(&mut b, cache, table).unwrap()
    });
    let y = b.attention(AttentionValues { q, k, v }, None, OPTIONS).unwrap();
    b.output("y", y).unwrap();
    compiled(b, device)
}

#[test]
fn sequences_and_pages_of_any_number_are_attended_to_where_they_lie() {
    let (vgpu, gpu) = load();
    let (here, there) = (of_any_extent(None), of_any_extent(Some(&gpu)));
    assert_eq!(steps(&there), ["scatter-nd", "scatter-nd", "attention(paged)"]);
    let cache = [SEQUENCES * EACH, PAGE, WIDTH];
    let mut runs = 0;
    for (sequences, each) in [(1, 1), (3, 40), (5, 7), (2, 0), (0, 4)] {
        let table: Vec<i32> =
            (0..sequences * each).map(|i| page(i / EACH % SEQUENCES, i % EACH) as i32).collect();
        let inputs = [
            floats(&[sequences, 1, HEADS * SIZE], 3),
            Tensor::from_slice(&[sequences, each], &table).unwrap(),
            Tensor::from_slice(&[2, 2], &[page(0, 0) as i64, 3, 7, 1]).unwrap(),
            floats(&[2, WIDTH], 4),
            floats(&cache, 1),
            floats(&cache, 2),
        ];
        let expected = doubles(&here.run(&inputs, None).unwrap()[0]);
        // Launched, recorded and replayed.
        for turn in 0..3 {
            near(&there.run(&inputs, None).unwrap()[0], &expected, EXACT, turn);
            runs += 1;
        }
    }
    assert_eq!(launches(&vgpu, [PAGES]), [0]);
    assert_clean(&vgpu, &gpu, runs);
}

/// Attention of two sequences over pages of eight keys that may not be what the kernel takes.
#[derive(Clone, Copy)]
struct Odd {
    queries: usize,
    size: usize,
    /// Pages of the caches of keys and of values.
    pages: [usize; 2],
    keys: usize,
    table: &'static [usize],
    /// What the table is reshaped to before.
    by: &'static [usize],
}

const EVEN: Odd =
    Odd { queries: 1, size: 16, pages: [9, 9], keys: 24, table: &[2, 3], by: &[2, 3] };

impl Odd {
    fn plan(&self, device: Option<&Arc<Gpu>>) -> Plan {
        let mut b = GraphBuilder::new(GraphLimits::default());
        let q = b.input("q", DType::F32, &dims(&[2, self.queries, 2 * self.size])).unwrap();
        let table = b.input("table", DType::I64, &dims(self.table)).unwrap();
        let table = b.reshape(table, &dims(self.by)).unwrap();
        let [k, v] = self.pages.map(|pages| {
            let cache = b.constant(floats(&[pages, 8, self.size], pages)).unwrap();
            let own = b.gather(cache, table, 0).unwrap();
            b.reshape(own, &dims(&[2, self.keys, self.size])).unwrap()
        });
        let options = AttentionOptions { heads: 2, kv_heads: 1, ..OPTIONS };
        let y = b.attention(AttentionValues { q, k, v }, None, options).unwrap();
        b.output("y", y).unwrap();
        compiled(b, device)
    }
}

#[test]
fn what_the_kernel_cannot_read_in_pages_is_gathered() {
    let (vgpu, gpu) = load();
    let cases = [
        (EVEN, true),
        (Odd { by: &[6], ..EVEN }, true),
        (Odd { table: &[6], ..EVEN }, true),
        // The second page is half of each sequence.
        (Odd { keys: 12, table: &[3], by: &[3], ..EVEN }, false),
        (Odd { keys: 12, table: &[1, 3], by: &[1, 3], ..EVEN }, false),
        (Odd { queries: 2, ..EVEN }, false),
        (Odd { size: 264, ..EVEN }, false),
        (Odd { pages: [9, 12], ..EVEN }, false),
    ];
    for (at, (odd, paged)) in cases.into_iter().enumerate() {
        let (here, there) = (odd.plan(None), odd.plan(Some(&gpu)));
        let names = steps(&there);
        assert_eq!(names.contains(&"attention(paged)".to_owned()), paged, "case {at}: {names:?}");
        assert_ne!(names.contains(&"gather".to_owned()), paged, "case {at}: {names:?}");
        let pages: Vec<i64> =
            (0..odd.table.iter().product()).map(|i: usize| [7, 0, 4, 8, 1, 7][i]).collect();
        let inputs = [
            floats(&[2, odd.queries, 2 * odd.size], 1),
            Tensor::from_slice(odd.table, &pages).unwrap(),
        ];
        let expected = doubles(&here.run(&inputs, None).unwrap()[0]);
        near(&there.run(&inputs, None).unwrap()[0], &expected, EXACT, at);
    }
    assert_clean(&vgpu, &gpu, cases.len() as u64);
}
