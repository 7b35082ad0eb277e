//! Linear algebra and layers of neural networks.

use crate::reference::{Array, Case, check, check_floats, check_narrow, flag, float, int, refused};
use aimass_tensor::DType;

pub(crate) const CASES: &[Case] = &[
    ("softmax", || softmax("softmax", |x| x)),
    ("log-softmax", || softmax("log-softmax", f64::ln)),
    ("layer-norm", layer_norm),
    ("rms-norm", rms_norm),
    ("l2-normalize", l2_normalize),
    ("attention", attention),
];

/// Applies `f` to every lane along an axis.
fn lanes(x: &Array, axis: usize, f: impl Fn(&[f64], usize) -> f64) -> Array {
    Array::from_fn(&x.shape, |index| {
        let lane: Vec<f64> = (0..x.shape[axis])
            .map(|i| {
                let mut from = index.to_vec();
                from[axis] = i;
                x.at(&from)
            })
            .collect();
        f(&lane, index[axis])
    })
}

fn softmax(op: &str, last: fn(f64) -> f64) {
    for (shape, axis) in [
        (&[3usize][..], 0usize),
        (&[2, 5], 1),
        (&[2, 5], 0),
        (&[2, 3, 4], 1),
        (&[1, 1], 1),
        (&[3, 70], 1),
    ] {
        let x = Array::random(shape, 1).map(|x| 3.0 * x);
        let expected = lanes(&x, axis, |lane, i| {
            let total: f64 = lane.iter().map(|x| x.exp()).sum();
            last(lane[i].exp() / total)
        });
        check_floats(op, &[&x], &[], &[int("axis", axis)], &expected, 2e-6);
    }
    let large = Array::new(&[1, 2], [1000.0, 1000.0]);
    let half = Array::new(&[1, 2], [0.5; 2]).map(last);
    check_floats(op, &[&large], &[], &[int("axis", 1)], &half, 1e-6);
    check(op, &[Array::new(&[0, 2], []).f32()], &[int("axis", 1)], &Array::new(&[0, 2], []), 0.0);
    if op == "softmax" {
        let nothing = Array::new(&[2], [f64::NEG_INFINITY; 2]);
        let zeros = Array::new(&[2], [0.0; 2]);
        check_floats(op, &[&nothing], &[], &[int("axis", 0)], &zeros, 0.0);
    }
    refused(op, &[large.f32()], &[int("axis", 2)], "axis");
    refused(op, &[large.tensor(DType::I64)], &[int("axis", 1)], "dtype");
}

fn layer_norm() {
    for shape in [&[1usize][..], &[5], &[3, 17], &[2, 3, 384], &[0, 4]] {
        let last = shape.len() - 1;
        let (x, n) = (Array::random(shape, 1), shape[last]);
        let (scale, bias) = (Array::random(&[n], 2), Array::random(&[n], 3));
        let epsilon = f64::from(1e-3f32);
        let normal = |lane: &[f64], i: usize| {
            let mean = lane.iter().sum::<f64>() / n as f64;
            let variance = lane.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n as f64;
            (lane[i] - mean) / (variance + epsilon).sqrt() * scale.at(&[i])
        };
        let attributes = [float("epsilon", 1e-3)];
        let plain = lanes(&x, last, normal);
        check_floats("layer-norm", &[&x, &scale], &[], &attributes, &plain, 1e-5);
        let biased = lanes(&x, last, |lane, i| normal(lane, i) + bias.at(&[i]));
        check_floats("layer-norm", &[&x, &scale, &bias], &[], &attributes, &biased, 1e-5);
    }
    let (x, scale) = (Array::random(&[2, 3], 1), Array::random(&[2], 1));
    refused("layer-norm", &[x.f32(), scale.f32()], &[float("epsilon", 1e-5)], "shape-mismatch");
    let scale = Array::random(&[3], 1);
    refused("layer-norm", &[x.f32(), scale.f32()], &[float("epsilon", -1.0)], "argument");
    let inputs = [x.tensor(DType::F16), scale.f32()];
    refused("layer-norm", &inputs, &[float("epsilon", 1e-5)], "dtype");
}

fn rms_norm() {
    for shape in [&[4usize][..], &[3, 17], &[2, 2, 64]] {
        let last = shape.len() - 1;
        let (x, scale) = (Array::random(shape, 1), Array::random(&[shape[last]], 2));
        let expected = lanes(&x, last, |lane, i| {
            let mean = lane.iter().map(|x| x * x).sum::<f64>() / lane.len() as f64;
            lane[i] / (mean + f64::from(1e-5f32)).sqrt() * scale.at(&[i])
        });
        let attributes = [float("epsilon", 1e-5)];
        check_floats("rms-norm", &[&x, &scale], &[], &attributes, &expected, 1e-5);
    }
}

fn l2_normalize() {
    for shape in [&[1usize][..], &[7], &[3, 384], &[0, 4]] {
        let x = Array::random(shape, 1);
        let expected = lanes(&x, shape.len() - 1, |lane, i| {
            lane[i] / lane.iter().map(|x| x * x).sum::<f64>().sqrt().max(1e-12)
        });
        let attributes = [float("epsilon", 1e-12)];
        check_floats("l2-normalize", &[&x], &[], &attributes, &expected, 1e-6);
    }
    let zeros = Array::new(&[2, 2], [0.0; 4]);
    check("l2-normalize", &[zeros.f32()], &[float("epsilon", 1e-12)], &zeros, 0.0);
    refused("l2-normalize", &[Array::new(&[], [1.0]).f32()], &[float("epsilon", 0.0)], "shape");
}

/// Attention of one size: `[batch, queries]` over `[batch, keys]`, query heads over heads of keys.
struct Attended {
    batch: usize,
    queries: usize,
    keys: usize,
    heads: usize,
    kv_heads: usize,
    size: usize,
}

impl Attended {
    /// `q`, `k` and `v`.
    fn values(&self) -> [Array; 3] {
        let Attended { batch, queries, keys, heads, kv_heads, size } = *self;
        [
            Array::random(&[batch, queries, heads * size], 1),
            Array::random(&[batch, keys, kv_heads * size], 2),
            Array::random(&[batch, keys, kv_heads * size], 3),
        ]
    }

    fn check(&self, mask: Option<&[usize]>, causal: bool) {
        let Attended { queries, keys, heads, kv_heads, size, .. } = *self;
        let [q, k, v] = self.values();
        let mask = mask.map(|shape| Array::random(shape, 4));
        let expected = Array::from_fn(&q.shape, |index| {
            let (b, row, head) = (index[0], index[1], index[2] / size);
            let kv = head / (heads / kv_heads) * size;
            let visible = |key: &usize| !causal || *key <= row + keys - queries;
            let score = |key: usize| {
                let part = |i: usize| q.at(&[b, row, head * size + i]) * k.at(&[b, key, kv + i]);
                let added = mask.as_ref().map_or(0.0, |mask| mask.spread(&[b, head, row, key]));
                ((0..size).map(part).sum::<f64>() * 0.5 + added).exp()
            };
            let seen: Vec<(usize, f64)> =
                (0..keys).filter(visible).map(|key| (key, score(key))).collect();
            let total: f64 = seen.iter().map(|(_, score)| score).sum();
            let value =
                |&(key, score): &(usize, f64)| score * v.at(&[b, key, kv + index[2] % size]);
            seen.iter().map(value).sum::<f64>() / total
        });
        let mut inputs = vec![q.f32(), k.f32(), v.f32()];
        inputs.extend(mask.as_ref().map(Array::f32));
        let attributes = [
            int("heads", heads),
            int("kv-heads", kv_heads),
            float("scale", 0.5),
            flag("causal", causal),
        ];
        check("attention", &inputs, &attributes, &expected, 2e-6);
        let arrays: Vec<&Array> = [&q, &k, &v].into_iter().chain(mask.as_ref()).collect();
        check_narrow("attention", &arrays, &[], &attributes);
    }
}

fn attention() {
    let (batch, queries, keys, heads) = (2, 3, 4, 2);
    let own = Attended { batch, queries, keys, heads, kv_heads: heads, size: 5 };
    let masks: [Option<&[usize]>; 7] = [
        None,
        Some(&[batch, 1, 1, keys]),
        Some(&[batch, heads, queries, keys]),
        Some(&[1, heads, queries, 1]),
        Some(&[keys]),
        Some(&[queries, keys]),
        Some(&[]),
    ];
    for mask in masks {
        for causal in [false, true] {
            own.check(mask, causal);
        }
    }
    let [q, k, _] = own.values();
    let inputs = [q.f32(), k.f32(), k.f32(), Array::random(&[3], 1).f32()];
    refused("attention", &inputs, &[int("heads", heads)], "shape");
    refused("attention", &inputs[..3], &[int("heads", 3)], "argument");
    attention_over_a_cache();
}

/// The steps of text generation: one query a sequence, and a few behind many keys, which heads share.
fn attention_over_a_cache() {
    for (queries, keys, heads, kv_heads, size) in [
        (1, 1, 2, 2, 8),
        (1, 37, 2, 1, 16),
        (1, 600, 2, 2, 8),
        (1, 257, 6, 1, 8),
        (5, 300, 4, 2, 4),
        (40, 40, 3, 1, 8),
    ] {
        let own = Attended { batch: 3, queries, keys, heads, kv_heads, size };
        for causal in [false, true] {
            own.check(None, causal);
            own.check(Some(&[3, 1, 1, keys]), causal);
            own.check(Some(&[heads, queries, keys]), causal);
        }
    }
}
