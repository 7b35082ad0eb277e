//! Scaled dot-product attention: `softmax(scale Q K^T + mask) V` for every head of a sequence.
//!
//! Tiles of 12 queries meet blocks of 512 keys with a running maximum and sum (online softmax,
//! arXiv:2205.14135 §3.1), so that scores never leave the second-level cache. The block sizes are
//! constants: a sequence gives the same bits alone and in any batch. A query that may see no key
//! gives zeros.
#![expect(unsafe_code, reason = "tiles of scratch; heads written by several threads")]

mod tiles;

use crate::pool::Team;
use crate::view::{RawRows, Rows, RowsMut};
use std::ops::Range;

/// Extents of an attention, the same for all of its sequences.
#[derive(Clone, Copy, Debug)]
pub struct AttentionShape {
    /// Query heads.
    pub heads: usize,
    /// Heads of keys and values; divides `heads` (grouped queries share one).
    pub kv_heads: usize,
    /// Elements of one head.
    pub head_dim: usize,
    /// Factor of the scores, usually `1 / sqrt(head_dim)`.
    pub scale: f32,
    /// Whether query `i` sees only keys `j <= i + keys - queries`.
    pub causal: bool,
}

/// Numbers that are added to the scores; `-inf` hides a key.
#[derive(Clone, Copy)]
pub struct Mask<'a> {
    /// The numbers; the last axis is the keys, contiguous.
    pub data: &'a [f32],
    /// Elements from one sequence of a batch to the next; 0 if they share one.
    pub batch_stride: usize,
    /// Elements from one head to the next; 0 if they share one.
    pub head_stride: usize,
    /// Elements from one query to the next; 0 if they share one.
    pub row_stride: usize,
}

/// Queries, keys and values. Columns of a merged QKV product serve as they are.
#[derive(Clone, Copy)]
pub struct AttentionInput<'a> {
    /// `[queries, heads head_dim]`.
    pub q: Rows<'a>,
    /// `[keys, kv_heads head_dim]`.
    pub k: Rows<'a>,
    /// `[keys, kv_heads head_dim]`.
    pub v: Rows<'a>,
    /// `[heads, queries, keys]`, by strides.
    pub mask: Option<Mask<'a>>,
}

/// Attention of one sequence for some heads, on the calling thread.
///
/// `out` has the columns of these heads only: `[queries, heads.len() head_dim]`.
///
/// Scratch a thread: `512 (2 head_dim + 12)` floats and two a query.
///
/// # Panics
/// If the extents do not fit together.
pub fn attention(
    shape: &AttentionShape,
    input: &AttentionInput,
    heads: Range<usize>,
    out: RowsMut,
) {
    let d = shape.head_dim;
    input.check(shape, 1);
    assert!(heads.start <= heads.end && heads.end <= shape.heads, "heads {heads:?}");
    assert_eq!((out.rows(), out.columns()), (input.q.rows(), heads.len() * d), "extents of out");
    let mut out = out;
    for (index, head) in heads.enumerate() {
        let own = out.reborrow().column_range(index * d..index * d + d);
        tiles::one_head(shape, input, head, own);
    }
}

/// Attention within each of the sequences that lie one after the other in `q`, `k` and `v`.
///
/// Sequence `s` is rows `offsets[s]..offsets[s + 1]`; `out` is `[tokens, heads head_dim]`. An
/// input's mask is the same for all sequences and indexed within each.
///
/// # Panics
/// If the extents do not fit together, or the offsets fall or go beyond the rows.
pub fn attention_ragged(
    team: Team<'_>,
    shape: &AttentionShape,
    input: &AttentionInput,
    offsets: &[u32],
    out: RowsMut,
) {
    let sequences = offsets.len().saturating_sub(1);
    let rows = input.q.rows();
    assert!(offsets.is_sorted() && offsets.last().is_none_or(|&end| end as usize <= rows));
    assert_eq!(input.k.rows(), rows, "a key for every query");
    let longest = offsets.windows(2).map(|pair| (pair[1] - pair[0]) as usize).max().unwrap_or(0);
    input.check_rows(shape, longest, longest, 1);
    let part = |sequence: usize| {
        let rows = offsets[sequence] as usize..offsets[sequence + 1] as usize;
        let own = AttentionInput {
            q: input.q.row_range(rows.clone()),
            k: input.k.row_range(rows.clone()),
            v: input.v.row_range(rows.clone()),
            mask: input.mask,
        };
        (own, rows)
    };
    each_head(team, shape, sequences, &part, out);
}

/// Attention of a batch of sequences of one length: rows are `[batch queries]` and `[batch keys]`.
///
/// # Panics
/// If the extents do not fit together.
pub fn attention_batched(
    team: Team<'_>,
    shape: &AttentionShape,
    batch: usize,
    input: &AttentionInput,
    out: RowsMut,
) {
    let (queries, keys) = match batch {
        0 => (0, 0),
        _ => (input.q.rows() / batch, input.k.rows() / batch),
    };
    assert_eq!((input.q.rows(), input.k.rows()), (queries * batch, keys * batch), "whole batches");
    input.check_rows(shape, queries, keys, batch);
    let part = |item: usize| {
        let rows = item * queries..item * queries + queries;
        let mask = input.mask.map(|mask| {
            let start = (item * mask.batch_stride).min(mask.data.len());
            Mask { data: &mask.data[start..], ..mask }
        });
        let own = AttentionInput {
            q: input.q.row_range(rows.clone()),
            k: input.k.row_range(item * keys..item * keys + keys),
            v: input.v.row_range(item * keys..item * keys + keys),
            mask,
        };
        (own, rows)
    };
    each_head(team, shape, batch, &part, out);
}

type Part<'p, 'a> = dyn Fn(usize) -> (AttentionInput<'a>, Range<usize>) + Sync + 'p;

fn each_head(
    team: Team<'_>,
    shape: &AttentionShape,
    sequences: usize,
    part: &Part<'_, '_>,
    out: RowsMut,
) {
    let mut out = out;
    let RawRows { columns, .. } = out.raw();
    let (d, heads) = (shape.head_dim, shape.heads);
    assert_eq!(columns, heads * d, "columns of out");
    let raw = out.raw();
    team.run(sequences * heads, &|task| {
        let (sequence, head) = (task / heads, task % heads);
        let (input, rows) = part(sequence);
        // SAFETY: every task has rows and columns of its own, and the run ends before the borrow
        // of `out`.
        let own = unsafe { raw.part(rows, head * d..head * d + d) };
        tiles::one_head(shape, &input, head, own);
    });
}

impl AttentionInput<'_> {
    fn check(&self, shape: &AttentionShape, batch: usize) {
        self.check_rows(shape, self.q.rows(), self.k.rows(), batch);
    }

    fn check_rows(&self, shape: &AttentionShape, queries: usize, keys: usize, batch: usize) {
        let AttentionShape { heads, kv_heads, head_dim, .. } = *shape;
        assert!(kv_heads > 0 && heads.is_multiple_of(kv_heads), "{kv_heads} of {heads} heads");
        assert_eq!(self.q.columns(), heads * head_dim, "columns of q");
        assert_eq!(self.k.columns(), kv_heads * head_dim, "columns of k");
        assert_eq!(self.v.columns(), kv_heads * head_dim, "columns of v");
        assert_eq!(self.v.rows(), self.k.rows(), "a value for every key");
        let Some(mask) = self.mask else { return };
        if batch * heads * queries * keys == 0 {
            return;
        }
        let end = (batch - 1) * mask.batch_stride
            + (heads - 1) * mask.head_stride
            + (queries - 1) * mask.row_stride
            + keys;
        assert!(end <= mask.data.len(), "{end} elements of a mask of {}", mask.data.len());
    }
}

#[cfg(test)]
mod tests;
