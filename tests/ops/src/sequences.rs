//! Ops on ragged dimensions: sequences one after the other, empty ones among them.

use crate::reference::{Array, Case, check, check_floats, check_narrow, flag, float, int, refused};
use aimass_tensor::{DType, Tensor};

pub(crate) const CASES: &[Case] = &[
    ("positions", positions),
    ("ragged-mean", || pool("ragged-mean", |rows| rows.iter().sum::<f64>() / rows.len() as f64)),
    ("ragged-sum", || pool("ragged-sum", |rows| rows.iter().sum())),
    ("ragged-max", || pool("ragged-max", |rows| rows.iter().copied().fold(f64::MIN, f64::max))),
    ("ragged-first", || pool("ragged-first", |rows| rows[0])),
    ("ragged-last", || pool("ragged-last", |rows| rows[rows.len() - 1])),
    ("ragged-attention", ragged_attention),
];

const OFFSETS: [&[u32]; 5] = [&[0, 3, 4, 9], &[0, 0, 5, 5], &[0, 1], &[0, 0], &[0]];

fn offsets(offsets: &[u32]) -> Tensor {
    Tensor::from_slice(&[offsets.len()], offsets).unwrap()
}

fn positions() {
    for own in OFFSETS {
        let expected: Vec<f64> =
            own.windows(2).flat_map(|pair| (0..pair[1] - pair[0]).map(f64::from)).collect();
        check("positions", &[offsets(own)], &[], &Array::new(&[expected.len()], expected), 0.0);
    }
    refused("positions", &[offsets(&[1, 2])], &[], "offsets");
    refused("positions", &[offsets(&[0, 3, 2])], &[], "offsets");
    refused("positions", &[offsets(&[])], &[], "offsets");
    refused("positions", &[Array::new(&[1], [0.0]).tensor(DType::I64)], &[], "dtype");
}

fn pool(op: &str, f: fn(&[f64]) -> f64) {
    for own in OFFSETS {
        let rows = own[own.len() - 1] as usize;
        for tail in [&[][..], &[5], &[2, 3], &[0]] {
            let mut shape = vec![rows];
            shape.extend_from_slice(tail);
            let x = Array::random(&shape, 3);
            let columns: usize = tail.iter().product();
            let mut expected = Vec::new();
            for pair in own.windows(2) {
                let range = pair[0] as usize..pair[1] as usize;
                for column in 0..columns {
                    let lane: Vec<f64> =
                        range.clone().map(|row| x.data[row * columns + column]).collect();
                    expected.push(if lane.is_empty() { 0.0 } else { f(&lane) });
                }
            }
            let mut shape = vec![own.len() - 1];
            shape.extend_from_slice(tail);
            check_floats(op, &[&x], &[offsets(own)], &[], &Array::new(&shape, expected), 1e-6);
        }
    }
    let x = Array::random(&[4, 2], 1);
    refused(op, &[x.f32(), offsets(&[0, 3])], &[], "offsets");
    refused(op, &[x.f32()], &[], "input-count");
    refused(op, &[Array::new(&[], [1.0]).f32(), offsets(&[0, 1])], &[], "shape");
}

fn ragged_attention() {
    for own in OFFSETS {
        let rows = own[own.len() - 1] as usize;
        for (heads, kv_heads, size, causal) in
            [(1usize, 1usize, 4usize, false), (2, 2, 8, true), (4, 2, 3, false), (3, 1, 32, true)]
        {
            let q = Array::random(&[rows, heads * size], 1);
            let k = Array::random(&[rows, kv_heads * size], 2);
            let v = Array::random(&[rows, kv_heads * size], 3);
            let sequence = |row: usize| own.windows(2).find(|pair| (row as u32) < pair[1]).unwrap();
            let expected = Array::from_fn(&[rows, heads * size], |index| {
                let (row, head) = (index[0], index[1] / size);
                let kv = head / (heads / kv_heads);
                let start = sequence(row)[0] as usize;
                let end = if causal { row + 1 } else { sequence(row)[1] as usize };
                let score = |key: usize| -> f64 {
                    let part =
                        |i: usize| q.at(&[row, head * size + i]) * k.at(&[key, kv * size + i]);
                    ((0..size).map(part).sum::<f64>() / (size as f64).sqrt()).exp()
                };
                let total: f64 = (start..end).map(score).sum();
                let value = |key: usize| score(key) * v.at(&[key, kv * size + index[1] % size]);
                (start..end).map(value).sum::<f64>() / total
            });
            let inputs = [q.f32(), k.f32(), v.f32(), offsets(own)];
            let attributes =
                [int("heads", heads), int("kv-heads", kv_heads), flag("causal", causal)];
            check("ragged-attention", &inputs, &attributes, &expected, 2e-6);
            check_narrow("ragged-attention", &[&q, &k, &v], &[offsets(own)], &attributes);
        }
    }
    let x = Array::random(&[2, 6], 1);
    let inputs = [x.f32(), x.f32(), x.f32(), offsets(&[0, 2])];
    refused("ragged-attention", &inputs, &[int("heads", 4)], "argument");
    refused("ragged-attention", &inputs, &[int("heads", 0)], "argument");
    refused("ragged-attention", &inputs, &[int("heads", 2), int("window", 1)], "op");
    let endless = [int("heads", 2), float("scale", f64::INFINITY)];
    refused("ragged-attention", &inputs, &endless, "argument");
}
