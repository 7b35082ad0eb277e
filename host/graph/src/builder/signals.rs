//! Builder methods: positions, transforms, bags, boxes and random bits.

use super::GraphBuilder;
use crate::op::{EmbeddingBag, Fft, NonMaxSuppression, Op, RandomBits, Rope, Suppression};
use crate::{Dim, GraphError, ValueId};

impl GraphBuilder {
    /// Rotary position embedding (arXiv:2104.09864) of `[.., heads * size]` in f32 or narrower: pair
    /// `i` of every head turns by `position * base^(-2 i / size)`. Its elements are `i` and
    /// `i + size / 2`, or `2 i` and `2 i + 1` if `interleaved`. `positions` (i32, i64 or u32) has the
    /// axes of `x` before the last, or the last few of them.
    ///
    /// # Errors
    /// [`GraphError`] on a wrong dtype, rank or extent, no heads, or a base that is not positive.
    pub fn rope(
        &mut self,
        x: ValueId,
        positions: ValueId,
        heads: u32,
        base: f32,
        interleaved: bool,
    ) -> Result<ValueId, GraphError> {
        self.push_one(Op::Rope(Rope { heads, base, interleaved }), &[x, positions])
    }

    /// Discrete Fourier transform along an axis of any extent; complex numbers are pairs on the last
    /// axis. With `inverse` divided by the extent (ONNX `DFT-17`). For floats.
    ///
    /// # Errors
    /// [`GraphError`] on a wrong dtype, a last axis without pairs, or an axis that is the last or
    /// holds rows.
    pub fn fft(&mut self, x: ValueId, axis: u32, inverse: bool) -> Result<ValueId, GraphError> {
        self.push_one(Op::Fft(Fft { axis, inverse, tables: None }), &[x])
    }

    /// Sums (with `mean` means) of rows of a table `[n, columns]`, f32 or narrower, at the `indices`
    /// (i32, i64 or u32, `[ragged(offsets)]`) of each sequence: `[batch, columns]`, zeros for an
    /// empty one. Indices are checked when a plan runs.
    ///
    /// # Errors
    /// [`GraphError`] on a wrong dtype or rank, or another ragged dimension.
    pub fn embedding_bag(
        &mut self,
        table: ValueId,
        indices: ValueId,
        offsets: ValueId,
        mean: bool,
    ) -> Result<ValueId, GraphError> {
        self.push_one(Op::EmbeddingBag(EmbeddingBag { mean }), &[table, indices, offsets])
    }

    /// Boxes that survive non-maximum suppression (ONNX `NonMaxSuppression-11`), padded: i64
    /// `[batches * classes * min(max_per_class, boxes), 3]` of batch, class and box, of which the first
    /// `count` rows count, the rest being 0; and `count`, an i64 scalar. `boxes` is
    /// `[batches, boxes, 4]`, `scores` is `[batches, classes, boxes]`, both f32 or narrower.
    ///
    /// # Errors
    /// [`GraphError`] on a wrong dtype, rank or extent, or rows.
    pub fn non_max_suppression_padded(
        &mut self,
        boxes: ValueId,
        scores: ValueId,
        options: Suppression,
    ) -> Result<(ValueId, ValueId), GraphError> {
        let op = Op::NonMaxSuppression(NonMaxSuppression { options, padded: true });
        let outputs = self.push(op, &[boxes, scores])?;
        Ok((outputs[0], outputs[1]))
    }

    /// As [`GraphBuilder::non_max_suppression_padded`], with as many rows as boxes survive: an extent
    /// that is found while a plan runs, which reserves memory for the most that there can be.
    ///
    /// # Errors
    /// As [`GraphBuilder::non_max_suppression_padded`].
    pub fn non_max_suppression(
        &mut self,
        boxes: ValueId,
        scores: ValueId,
        options: Suppression,
    ) -> Result<ValueId, GraphError> {
        let op = Op::NonMaxSuppression(NonMaxSuppression { options, padded: false });
        self.push_one(op, &[boxes, scores])
    }

    /// Random u32 of these dimensions by Threefry-2x32 (Salmon et al., SC11) from a u32 `[2]` key:
    /// elements `2 i` and `2 i + 1`, in row-major order, are the words of counter `i`.
    ///
    /// # Errors
    /// [`GraphError`] if the key is none, or the dimensions are not declared or have rows.
    pub fn random_bits(&mut self, key: ValueId, dims: &[Dim]) -> Result<ValueId, GraphError> {
        self.push_one(Op::RandomBits(RandomBits { dims: dims.to_vec() }), &[key])
    }
}
