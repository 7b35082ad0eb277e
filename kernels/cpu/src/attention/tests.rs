use super::*;
use crate::level::for_each_level;
use crate::pool::KernelPool;

const SHAPE: AttentionShape =
    AttentionShape { heads: 4, kv_heads: 2, head_dim: 20, scale: 0.3, causal: false };

fn numbers(count: usize, seed: usize) -> Vec<f32> {
    (0..count).map(|i| (((i + seed) * 7919) % 2003) as f32 / 1001.5 - 1.0).collect()
}

/// The definition, in f64.
fn reference(shape: &AttentionShape, input: &AttentionInput) -> Vec<f64> {
    let (d, queries, keys) = (shape.head_dim, input.q.rows(), input.k.rows());
    let mut out = vec![0f64; queries * shape.heads * d];
    for (head, i) in (0..shape.heads).flat_map(|head| (0..queries).map(move |i| (head, i))) {
        let kv = head / (shape.heads / shape.kv_heads) * d;
        let q = &input.q.row(i)[head * d..][..d];
        let score = |j: usize| {
            let k = &input.k.row(j)[kv..kv + d];
            let dot: f64 = q.iter().zip(k).map(|(&q, &k)| q as f64 * k as f64).sum();
            let mask = input.mask.map_or(0.0, |mask| {
                mask.data[head * mask.head_stride + i * mask.row_stride + j] as f64
            });
            match shape.causal && j + queries > i + keys {
                true => f64::NEG_INFINITY,
                false => dot * shape.scale as f64 + mask,
            }
        };
        let weights: Vec<f64> = (0..keys).map(|j| score(j).exp()).collect();
        let sum: f64 = weights.iter().sum();
        for (j, weight) in weights.iter().enumerate().filter(|(_, weight)| **weight > 0.0) {
            for (out, &v) in
                out[(i * shape.heads + head) * d..].iter_mut().take(d).zip(&input.v.row(j)[kv..])
            {
                *out += weight / sum * v as f64;
            }
        }
    }
    out
}

#[track_caller]
fn check(shape: &AttentionShape, queries: usize, keys: usize, mask: Option<Mask>) {
    let (wide, narrow) = (shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim);
    let q = numbers(queries * (wide + 3), 1);
    let kv = numbers(keys * 2 * narrow, 2);
    let input = AttentionInput {
        q: Rows::new(&q, queries, wide, wide + 3),
        k: Rows::new(&kv, keys, narrow, 2 * narrow),
        v: Rows::new(&kv[narrow..], keys, narrow, 2 * narrow),
        mask,
    };
    let want = reference(shape, &input);
    let mut first: Option<Vec<f32>> = None;
    for_each_level(|level| {
        let mut out = vec![f32::NAN; queries * wide];
        attention(shape, &input, 0..shape.heads, RowsMut::dense(&mut out, wide));
        for (index, (&got, &want)) in out.iter().zip(&want).enumerate() {
            assert!((got as f64 - want).abs() < 3e-6, "{level:?} at {index}: {got}, want {want}");
        }
        assert_eq!(*first.get_or_insert_with(|| out.clone()), out, "{level:?}");
    });
}

#[test]
fn all_lengths_and_widths_follow_the_definition() {
    for (queries, keys) in [(1, 1), (7, 16), (24, 33), (25, 100), (50, 600), (3, 1100)] {
        for head_dim in [1, 16, 20, 32] {
            for causal in [false, true] {
                check(&AttentionShape { head_dim, causal, ..SHAPE }, queries, keys, None);
            }
        }
    }
}

#[test]
fn masks_are_added_and_hidden_rows_are_zero() {
    let mut data = numbers(4 * 30 * 40, 9);
    data.iter_mut().step_by(3).for_each(|x| *x = f32::NEG_INFINITY);
    data[40..80].fill(f32::NEG_INFINITY);
    let mask =
        |head_stride, row_stride| Mask { data: &data, batch_stride: 0, head_stride, row_stride };
    check(&SHAPE, 30, 40, Some(mask(1200, 40)));
    check(&SHAPE, 30, 40, Some(mask(0, 40)));
    check(&SHAPE, 30, 40, Some(mask(40, 0)));
    check(&AttentionShape { causal: true, ..SHAPE }, 30, 4, None);
}

#[test]
fn a_sequence_gives_the_same_bits_alone_and_in_any_company() {
    let pool = KernelPool::new(3);
    let shape = AttentionShape { heads: 3, kv_heads: 3, head_dim: 32, scale: 0.17, causal: false };
    let lengths = [5usize, 0, 40, 600, 17, 1];
    let mut offsets = vec![0u32];
    offsets.extend(lengths.iter().scan(0, |end, &len| {
        *end += len as u32;
        Some(*end)
    }));
    let tokens = lengths.iter().sum::<usize>();
    let qkv = numbers(tokens * 288, 3);
    let part = |first: usize| Rows::new(&qkv[first..], tokens, 96, 288);
    let input = AttentionInput { q: part(0), k: part(96), v: part(192), mask: None };
    let mut together = vec![0f32; tokens * 96];
    attention_ragged(pool.team(3), &shape, &input, &offsets, RowsMut::dense(&mut together, 96));
    for pair in offsets.windows(2) {
        let rows = pair[0] as usize..pair[1] as usize;
        let copy = qkv[rows.start * 288..rows.end * 288].to_vec();
        let part = |first: usize| match copy.len() {
            0 => Rows::new(&[], 0, 96, 288),
            _ => Rows::new(&copy[first..], rows.len(), 96, 288),
        };
        let input = AttentionInput { q: part(0), k: part(96), v: part(192), mask: None };
        let mut alone = vec![0f32; rows.len() * 96];
        attention(&shape, &input, 0..3, RowsMut::dense(&mut alone, 96));
        let same =
            alone.iter().zip(&together[rows.start * 96..]).all(|(a, b)| a.to_bits() == b.to_bits());
        assert!(same, "rows {rows:?}");
        let mut batched = vec![0f32; rows.len() * 96];
        let out = RowsMut::dense(&mut batched, 96);
        attention_batched(pool.team(2), &shape, 1, &input, out);
        assert_eq!(alone, batched);
    }
}
