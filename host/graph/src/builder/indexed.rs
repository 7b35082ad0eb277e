//! Builder methods: elements and slices by index.

use super::GraphBuilder;
use crate::op::{GatherElements, GatherNd, NonZero, Op, ScatterElements, ScatterMode, ScatterNd};
use crate::{GraphError, ValueId};

impl GraphBuilder {
    /// Elements of `x` along `axis` at `indices` (i32, i64 or u32), whose shape the output has (ONNX
    /// `GatherElements-13`; indices are not negative). Beside `axis`, extents of `indices` may be
    /// shorter than those of `x`. Indices are checked when a plan runs.
    ///
    /// # Errors
    /// [`GraphError`] on a wrong dtype, rank, extent or axis, or if rows would be mixed.
    pub fn gather_elements(
        &mut self,
        x: ValueId,
        indices: ValueId,
        axis: u32,
    ) -> Result<ValueId, GraphError> {
        self.push_one(Op::GatherElements(GatherElements { axis }), &[x, indices])
    }

    /// Slices of `x` at index tuples, the last axis of `indices`, behind `batch_dims` axes that both
    /// share (ONNX `GatherND-13`; indices are not negative). The length of a tuple is a known
    /// extent.
    ///
    /// # Errors
    /// [`GraphError`] on a wrong dtype, rank or extent, or if rows would be mixed.
    pub fn gather_nd(
        &mut self,
        x: ValueId,
        indices: ValueId,
        batch_dims: u32,
    ) -> Result<ValueId, GraphError> {
        self.push_one(Op::GatherNd(GatherNd { batch_dims }), &[x, indices])
    }

    /// `x` with `updates`, of the shape of `indices`, written or combined along `axis` (ONNX
    /// `ScatterElements-18`; indices are not negative), in row-major order. Modes other than
    /// [`ScatterMode::Replace`] are for plain numbers.
    ///
    /// # Errors
    /// As [`GraphBuilder::gather_elements`].
    pub fn scatter_elements(
        &mut self,
        x: ValueId,
        indices: ValueId,
        updates: ValueId,
        axis: u32,
        mode: ScatterMode,
    ) -> Result<ValueId, GraphError> {
        self.push_one(Op::ScatterElements(ScatterElements { axis, mode }), &[x, indices, updates])
    }

    /// `x` with slices of `updates` written or combined at index tuples, the last axis of `indices`
    /// (ONNX `ScatterND-18`; indices are not negative). Modes as for
    /// [`GraphBuilder::scatter_elements`]; no value may have rows.
    ///
    /// # Errors
    /// As [`GraphBuilder::gather_nd`].
    pub fn scatter_nd(
        &mut self,
        x: ValueId,
        indices: ValueId,
        updates: ValueId,
        mode: ScatterMode,
    ) -> Result<ValueId, GraphError> {
        self.push_one(Op::ScatterNd(ScatterNd { mode }), &[x, indices, updates])
    }

    /// Where `x` (bool or number, of any rank) is not zero: i64 `[rank, elements]`, of which the
    /// first `count` columns count, in row-major order, the rest being 0; and `count`, an i64 scalar.
    ///
    /// # Errors
    /// [`GraphError`] on a wrong dtype, or if `x` has rows.
    pub fn non_zero(&mut self, x: ValueId) -> Result<(ValueId, ValueId), GraphError> {
        let outputs = self.push(Op::NonZero(NonZero), &[x])?;
        Ok((outputs[0], outputs[1]))
    }
}
