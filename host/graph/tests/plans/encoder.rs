//! A small random BERT encoder, in graph form and as naive loops in f64.

use crate::support::{Random, builder, near, plan_on, weight};
use aimass_graph::{
    AttentionOptions, AttentionValues, Coalescing, Dim, GeluForm, GraphBuilder, Plan, ValueId,
};
use aimass_tensor::{DType, Tensor};

const VOCABULARY: usize = 50;
const POSITIONS: usize = 64;
const LAYERS: usize = 2;

/// Extents and weights of an encoder.
pub(crate) struct Encoder {
    pub(crate) hidden: usize,
    pub(crate) heads: usize,
    wide: usize,
    words: Vec<f32>,
    positions: Vec<f32>,
    norm: [Vec<f32>; 2],
    layers: Vec<Layer>,
}

struct Layer {
    /// Query, key, value, output, wide, narrow: weights `[out, in]` and biases.
    linears: Vec<(Vec<f32>, Vec<f32>)>,
    norms: [[Vec<f32>; 2]; 2],
}

impl Encoder {
    pub(crate) fn random(hidden: usize, heads: usize, seed: u64) -> Encoder {
        let mut random = Random(seed);
        let wide = 4 * hidden;
        let scaled = |random: &mut Random, count: usize, fan: usize| -> Vec<f32> {
            let scale = 1.5 / (fan as f32).sqrt();
            random.numbers(count).into_iter().map(|x| x * scale).collect()
        };
        let norm = |random: &mut Random| {
            let scale = random.numbers(hidden).into_iter().map(|x| 1.0 + 0.1 * x).collect();
            [scale, random.numbers(hidden)]
        };
        let layer = |random: &mut Random| Layer {
            linears: [
                (hidden, hidden),
                (hidden, hidden),
                (hidden, hidden),
                (hidden, hidden),
                (hidden, wide),
                (wide, hidden),
            ]
            .into_iter()
            .map(|(k, n)| (scaled(random, k * n, k), scaled(random, n, 1)))
            .collect(),
            norms: [norm(random), norm(random)],
        };
        Encoder {
            hidden,
            heads,
            wide,
            words: random.numbers(VOCABULARY * hidden),
            positions: random.numbers(POSITIONS * hidden),
            norm: norm(&mut random),
            layers: (0..LAYERS).map(|_| layer(&mut random)).collect(),
        }
    }

    /// Ids in; hidden rows and one pooled row a sequence out.
    pub(crate) fn plan(&self, threads: usize) -> Plan {
        let mut b = builder();
        let offsets = b.offsets("offsets").unwrap();
        let ids = b.input("ids", DType::I64, &[Dim::Ragged("offsets".into())]).unwrap();
        let hidden = self.hidden as u64;
        let words = weight(&mut b, &[VOCABULARY as u64, hidden], &self.words);
        let table = weight(&mut b, &[POSITIONS as u64, hidden], &self.positions);
        let words = b.gather(words, ids, 0).unwrap();
        let places = b.positions(offsets).unwrap();
        let places = b.gather(table, places, 0).unwrap();
        let sum = b.add(words, places).unwrap();
        let mut x = norm(&mut b, sum, &self.norm);
        for layer in &self.layers {
            x = self.layer(&mut b, x, offsets, layer);
        }
        b.output("hidden", x).unwrap();
        let pooled = b.ragged_mean(x, offsets).unwrap();
        let pooled = b.l2_normalize(pooled, 1e-12).unwrap();
        b.output("pooled", pooled).unwrap();
        plan_on(b, threads)
    }

    fn layer(&self, b: &mut GraphBuilder, x: ValueId, offsets: ValueId, layer: &Layer) -> ValueId {
        let (h, f) = (self.hidden as u64, self.wide as u64);
        let linear = |b: &mut GraphBuilder, x, index: usize, n, k| {
            let (w, bias) = &layer.linears[index];
            let w = weight(b, &[n, k], w);
            let bias = weight(b, &[n], bias);
            b.linear(x, w, Some(bias), true).unwrap()
        };
        let q = linear(b, x, 0, h, h);
        let k = linear(b, x, 1, h, h);
        let v = linear(b, x, 2, h, h);
        let heads = self.heads as u32;
        let options =
            AttentionOptions { heads, kv_heads: heads, scale: None, causal: false, window: None };
        let mixed = b.ragged_attention(AttentionValues { q, k, v }, offsets, options).unwrap();
        let mixed = linear(b, mixed, 3, h, h);
        let sum = b.add(mixed, x).unwrap();
        let x = norm(b, sum, &layer.norms[0]);
        let wide = linear(b, x, 4, f, h);
        let wide = b.gelu(wide, GeluForm::Erf).unwrap();
        let narrow = linear(b, wide, 5, h, f);
        let sum = b.add(x, narrow).unwrap();
        norm(b, sum, &layer.norms[1])
    }

    /// Hidden rows of one sequence, by the definition.
    fn naive(&self, ids: &[i64]) -> Vec<f64> {
        let h = self.hidden;
        let mut x = Vec::new();
        for (place, &id) in ids.iter().enumerate() {
            x.extend((0..h).map(|i| {
                f64::from(self.words[id as usize * h + i])
                    + f64::from(self.positions[place * h + i])
            }));
        }
        let mut x = naive_norm(&x, h, &self.norm);
        for layer in &self.layers {
            let linear = |x: &[f64], k: usize, index: usize| {
                let (w, bias) = &layer.linears[index];
                naive_linear(x, k, w, bias)
            };
            let (q, k, v) = (linear(&x, h, 0), linear(&x, h, 1), linear(&x, h, 2));
            let mixed = linear(&naive_attention(&q, &k, &v, h, self.heads), h, 3);
            let sum: Vec<f64> = x.iter().zip(&mixed).map(|(a, b)| a + b).collect();
            x = naive_norm(&sum, h, &layer.norms[0]);
            let wide: Vec<f64> = linear(&x, h, 4).into_iter().map(naive_gelu).collect();
            let sum: Vec<f64> =
                x.iter().zip(linear(&wide, self.wide, 5)).map(|(a, b)| a + b).collect();
            x = naive_norm(&sum, h, &layer.norms[1]);
        }
        x
    }
}

/// Inputs of sequences of these lengths with random ids.
pub(crate) fn inputs(sequences: &[Vec<i64>]) -> [Tensor; 2] {
    let mut offsets = vec![0u32];
    for sequence in sequences {
        offsets.push(offsets[offsets.len() - 1] + sequence.len() as u32);
    }
    let ids = sequences.concat();
    [
        Tensor::from_slice(&[offsets.len()], &offsets).unwrap(),
        Tensor::from_slice(&[ids.len()], &ids).unwrap(),
    ]
}

pub(crate) fn random_sequences(random: &mut Random, count: usize, len_max: usize) -> Vec<Vec<i64>> {
    let one = |random: &mut Random| {
        let len = random.below(len_max.min(POSITIONS) + 1);
        (0..len).map(|_| random.below(VOCABULARY) as i64).collect()
    };
    (0..count).map(|_| one(random)).collect()
}

fn norm(b: &mut GraphBuilder, x: ValueId, [scale, bias]: &[Vec<f32>; 2]) -> ValueId {
    let scale = weight(b, &[scale.len() as u64], scale);
    let bias = weight(b, &[bias.len() as u64], bias);
    b.layer_norm(x, scale, Some(bias), 1e-12).unwrap()
}

fn naive_norm(x: &[f64], h: usize, [scale, bias]: &[Vec<f32>; 2]) -> Vec<f64> {
    let rows = x.chunks_exact(h).flat_map(|row| {
        let mean = row.iter().sum::<f64>() / h as f64;
        let variance = row.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / h as f64;
        let normal = move |i: usize| (row[i] - mean) / (variance + 1e-12).sqrt();
        (0..h).map(move |i| normal(i) * f64::from(scale[i]) + f64::from(bias[i]))
    });
    rows.collect()
}

fn naive_linear(x: &[f64], k: usize, w: &[f32], bias: &[f32]) -> Vec<f64> {
    let rows = x.chunks_exact(k).flat_map(|row| {
        w.chunks_exact(k).zip(bias).map(move |(w, bias)| {
            row.iter().zip(w).map(|(x, w)| x * f64::from(*w)).sum::<f64>() + f64::from(*bias)
        })
    });
    rows.collect()
}

fn naive_attention(q: &[f64], k: &[f64], v: &[f64], h: usize, heads: usize) -> Vec<f64> {
    let (rows, size) = (q.len() / h, h / heads);
    let mut out = vec![0.0; q.len()];
    for row in 0..rows {
        for head in 0..heads {
            let at = |row: usize, i: usize| row * h + head * size + i;
            let score = |key: usize| {
                let dot: f64 = (0..size).map(|i| q[at(row, i)] * k[at(key, i)]).sum();
                (dot / (size as f64).sqrt()).exp()
            };
            let total: f64 = (0..rows).map(score).sum();
            for i in 0..size {
                out[at(row, i)] =
                    (0..rows).map(|key| score(key) * v[at(key, i)]).sum::<f64>() / total;
            }
        }
    }
    out
}

/// Abramowitz and Stegun's series for erf, far beyond f32.
fn naive_gelu(x: f64) -> f64 {
    let z = x / 2f64.sqrt();
    let (mut term, mut sum) = (z, z);
    for n in 1..150 {
        term *= -z * z / f64::from(n);
        sum += term / f64::from(2 * n + 1);
    }
    let erf = if z.abs() > 5.0 { z.signum() } else { sum * std::f64::consts::FRAC_2_SQRT_PI };
    0.5 * x * (1.0 + erf)
}

#[test]
fn an_encoder_matches_naive_loops() {
    for (hidden, heads) in [(24, 3), (64, 2)] {
        let encoder = Encoder::random(hidden, heads, 1);
        let sequences = random_sequences(&mut Random(2), 6, 40);
        let outputs = encoder.plan(2).run(&inputs(&sequences), None).unwrap();
        let expected: Vec<f64> = sequences.iter().flat_map(|ids| encoder.naive(ids)).collect();
        near(outputs[0].as_slice().unwrap(), &expected, 1e-4);
    }
}

#[test]
fn an_encoder_becomes_few_steps_few_matrices_and_few_slots() {
    let plan = Encoder::random(32, 4, 1).plan(1);
    let stats = plan.stats();
    // Of six linear layers each, query, key and value are one.
    assert_eq!(stats.matrices, 4 * LAYERS, "{}", plan.describe());
    assert_eq!(stats.segments, LAYERS + 2, "{}", plan.describe());
    assert_eq!(stats.steps, 2 * LAYERS + 4, "{}", plan.describe());
    assert!(stats.slots <= 4 && stats.slot_values > stats.slots, "{stats:?}");
    assert_eq!(*plan.coalescing(), Coalescing::Ragged { offsets: "offsets".into() });
    let text = plan.describe();
    for part in ["input   ids: i64 [ragged(offsets)]", "linear 32x128 + bias Gelu", "+ residual"] {
        assert!(text.contains(part), "{part} in {text}");
    }
}

#[test]
fn memory_is_reused_from_run_to_run() {
    let plan = Encoder::random(32, 4, 1).plan(2);
    let mut random = Random(5);
    let large = inputs(&random_sequences(&mut random, 12, 40));
    plan.run(&large, None).unwrap();
    for _ in 0..8 {
        let sequences = random_sequences(&mut random, 3, 10);
        plan.run(&inputs(&sequences), None).unwrap();
        plan.run(&large, None).unwrap();
    }
    let stats = plan.stats();
    assert_eq!((stats.runs, stats.arena_allocations), (17, 1));
}

#[test]
fn no_sequences_and_empty_sequences_are_fine() {
    let encoder = Encoder::random(16, 2, 1);
    let plan = encoder.plan(2);
    let outputs = plan.run(&inputs(&[]), None).unwrap();
    assert_eq!(outputs[0].shape()[..], [0, 16]);
    assert_eq!(outputs[1].shape()[..], [0, 16]);
    let outputs = plan.run(&inputs(&[vec![], vec![7, 8], vec![]]), None).unwrap();
    assert_eq!(outputs[1].shape()[..], [3, 16]);
    let pooled = outputs[1].as_slice::<f32>().unwrap();
    assert!(pooled[..16].iter().chain(&pooled[32..]).all(|&x| x == 0.0));
    near(outputs[0].as_slice().unwrap(), &encoder.naive(&[7, 8]), 1e-4);
}

#[test]
fn cost_grows_with_rows_and_is_what_the_arena_takes() {
    let plan = Encoder::random(32, 4, 1).plan(1);
    let ids = |n: usize| inputs(&[vec![1; n]]);
    let (small, large) = (plan.cost(&ids(4)).unwrap(), plan.cost(&ids(40)).unwrap());
    assert_eq!((small.rows, large.rows), (4, 40));
    assert!(large.flops > 9 * small.flops, "{small:?} {large:?}");
    assert!(large.arena_bytes > small.arena_bytes && large.arena_bytes < 40 * 32 * 4 * 12);
    // 6 linear layers of hidden x hidden and 2 of four times that, twice a multiply-add.
    let linear = (2 * 40 * LAYERS * (4 + 8) * 32 * 32) as u64;
    assert!(large.flops > linear && large.flops < 2 * linear, "{large:?} {linear}");
}

#[test]
fn plans_of_one_graph_share_their_key_and_others_do_not() {
    let key = |seed| Encoder::random(16, 2, seed).plan(1).key();
    assert_eq!(key(1), key(1));
    assert_ne!(key(1), key(2));
    assert_eq!(Encoder::random(16, 2, 1).plan(2).key(), key(1));
}
