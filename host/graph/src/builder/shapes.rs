//! Builder methods: shape ops, gather, reductions, sequences.

use super::GraphBuilder;
use crate::graph::Origin;
use crate::op::{
    ArgExtreme, Broadcast, Concat, Cumulative, CumulativeKind, DynamicSlice, Gather, Iota, OneHot,
    Op, Pad, PadMode, Positions, RaggedPool, RaggedPoolKind, Reduce, ReduceKind, Reshape, Reverse,
    ShapeOf, Slice, Split, Tile, TopK, Transpose,
};
use crate::{Dim, GraphError, ValueId};
use aimass_tensor::DType;

impl GraphBuilder {
    /// The same elements under other dimensions; one may be `Dynamic("")`, to be inferred. A batch
    /// or ragged dimension stays axis 0.
    ///
    /// # Errors
    /// [`GraphError`] if the element counts differ or rows would be mixed.
    pub fn reshape(&mut self, x: ValueId, dims: &[Dim]) -> Result<ValueId, GraphError> {
        self.push_one(Op::Reshape(Reshape { dims: dims.to_vec() }), &[x])
    }

    /// Reorders axes: output axis `i` is input axis `permutation[i]`.
    ///
    /// # Errors
    /// [`GraphError`] if it is no permutation of the axes or would move the rows.
    pub fn transpose(&mut self, x: ValueId, permutation: &[u32]) -> Result<ValueId, GraphError> {
        let permutation = permutation.iter().map(|&axis| axis as usize).collect();
        self.push_one(Op::Transpose(Transpose { permutation }), &[x])
    }

    /// Repeats extents of 1 to these dimensions, aligned at the last axis.
    ///
    /// # Errors
    /// [`GraphError`] if the shapes do not broadcast.
    pub fn broadcast(&mut self, x: ValueId, dims: &[Dim]) -> Result<ValueId, GraphError> {
        self.push_one(Op::Broadcast(Broadcast { dims: dims.to_vec() }), &[x])
    }

    /// Elements `start, start + step, ..` below `end` (cut at the extent) along one axis.
    ///
    /// # Errors
    /// [`GraphError`] if the axis is out of range or a row dimension, or `step` is 0.
    pub fn slice(
        &mut self,
        x: ValueId,
        axis: u32,
        start: u64,
        end: u64,
        step: u64,
    ) -> Result<ValueId, GraphError> {
        self.push_one(Op::Slice(Slice { axis, start, end, step }), &[x])
    }

    /// As [`GraphBuilder::slice`] with step 1, between bounds that are i64 scalars of the graph. Where
    /// they are no constants, the extent is found while a plan runs, which reserves memory for that of
    /// `x`. A negative bound is `input/index` then.
    ///
    /// # Errors
    /// [`GraphError`] on a wrong axis, bounds of another type, or an axis of rows.
    pub fn dynamic_slice(
        &mut self,
        x: ValueId,
        axis: u32,
        start: ValueId,
        end: ValueId,
    ) -> Result<ValueId, GraphError> {
        if let (Some(start), Some(end)) = (self.known_bound(start)?, self.known_bound(end)?) {
            return self.slice(x, axis, start, end, 1);
        }
        self.push_one(Op::DynamicSlice(DynamicSlice { axis }), &[x, start, end])
    }

    /// The content of a constant i64 scalar that is not negative.
    fn known_bound(&self, value: ValueId) -> Result<Option<u64>, GraphError> {
        let content = match &self.value(value)?.origin {
            Origin::Constant(tensor) if tensor.shape().rank() == 0 => tensor.as_slice::<i64>().ok(),
            Origin::Constant(_)
            | Origin::Input(_)
            | Origin::Weight(_)
            | Origin::State(_)
            | Origin::Node(_) => None,
        };
        Ok(content.and_then(|bound| u64::try_from(*bound.first()?).ok()))
    }

    /// Joins values along an axis; all other extents are equal.
    ///
    /// # Errors
    /// [`GraphError`] on no values, unequal dtypes or extents, or a row axis.
    pub fn concat(&mut self, xs: &[ValueId], axis: u32) -> Result<ValueId, GraphError> {
        self.push_one(Op::Concat(Concat { axis }), xs)
    }

    /// Parts of these sizes along an axis of known extent.
    ///
    /// # Errors
    /// [`GraphError`] unless the sizes sum to the extent.
    pub fn split(
        &mut self,
        x: ValueId,
        axis: u32,
        sizes: &[u64],
    ) -> Result<Vec<ValueId>, GraphError> {
        self.push(Op::Split(Split { axis, sizes: sizes.to_vec() }), &[x])
    }

    /// Adds elements at both ends of every axis; `fill` is used by [`PadMode::Constant`].
    ///
    /// # Errors
    /// [`GraphError`] on a wrong number of pads, padded rows, or `PadMode::Wrap`.
    pub fn pad(
        &mut self,
        x: ValueId,
        before: &[u64],
        after: &[u64],
        mode: PadMode,
        fill: f64,
    ) -> Result<ValueId, GraphError> {
        let (before, after) = (before.to_vec(), after.to_vec());
        self.push_one(Op::Pad(Pad { before, after, mode, fill }), &[x])
    }

    /// Repeats the whole value along each axis.
    ///
    /// # Errors
    /// [`GraphError`] on a wrong number of repeats or repeated rows.
    pub fn tile(&mut self, x: ValueId, repeats: &[u64]) -> Result<ValueId, GraphError> {
        self.push_one(Op::Tile(Tile { repeats: repeats.to_vec() }), &[x])
    }

    /// Reverses the order along an axis.
    ///
    /// # Errors
    /// [`GraphError`] if the axis is out of range or holds rows.
    pub fn reverse(&mut self, x: ValueId, axis: u32) -> Result<ValueId, GraphError> {
        self.push_one(Op::Reverse(Reverse { axis }), &[x])
    }

    /// Extents of `x`: i64 `[rank]`.
    ///
    /// # Errors
    /// [`GraphError`] if `x` has a batch or ragged dimension.
    pub fn shape_of(&mut self, x: ValueId) -> Result<ValueId, GraphError> {
        self.push_one(Op::ShapeOf(ShapeOf), &[x])
    }

    /// `start, start + step, ..` along an axis of the given dimensions, i64.
    ///
    /// # Errors
    /// [`GraphError`] if the axis is out of range or holds rows.
    pub fn iota(
        &mut self,
        dims: &[Dim],
        axis: u32,
        start: i64,
        step: i64,
    ) -> Result<ValueId, GraphError> {
        self.push_one(Op::Iota(Iota { dims: dims.to_vec(), axis, start, step }), &[])
    }

    /// Position of each row within its sequence: u32 of `[ragged(name)]`.
    ///
    /// # Errors
    /// [`GraphError::NotOffsets`] unless `offsets` came from [`GraphBuilder::offsets`].
    pub fn positions(&mut self, offsets: ValueId) -> Result<ValueId, GraphError> {
        self.push_one(Op::Positions(Positions), &[offsets])
    }

    /// Slices of `x` along `axis` at integer `indices` (i32, i64 or u32): the shape of `x` with
    /// that axis replaced by the shape of `indices`. Indices are checked when a plan runs.
    ///
    /// # Errors
    /// [`GraphError`] on a wrong dtype or axis, or if rows would be mixed.
    pub fn gather(
        &mut self,
        x: ValueId,
        indices: ValueId,
        axis: u32,
    ) -> Result<ValueId, GraphError> {
        self.push_one(Op::Gather(Gather { axis }), &[x, indices])
    }

    /// One-hot rows of `depth` elements of `dtype`; an index outside gives zeros.
    ///
    /// # Errors
    /// [`GraphError`] on a wrong dtype.
    pub fn one_hot(
        &mut self,
        indices: ValueId,
        depth: u64,
        dtype: DType,
    ) -> Result<ValueId, GraphError> {
        self.push_one(Op::OneHot(OneHot { depth, dtype }), &[indices])
    }

    /// Index of the first largest element along an axis, i64.
    ///
    /// # Errors
    /// [`GraphError`] if `x` is no number or on a wrong axis.
    pub fn arg_max(&mut self, x: ValueId, axis: u32, keep: bool) -> Result<ValueId, GraphError> {
        self.push_one(Op::ArgExtreme(ArgExtreme { axis, keep, largest: true }), &[x])
    }

    /// Index of the first smallest element along an axis, i64.
    ///
    /// # Errors
    /// As [`GraphBuilder::arg_max`].
    pub fn arg_min(&mut self, x: ValueId, axis: u32, keep: bool) -> Result<ValueId, GraphError> {
        self.push_one(Op::ArgExtreme(ArgExtreme { axis, keep, largest: false }), &[x])
    }

    /// Running sum along an axis; `exclusive` leaves the own element out, `reverse` starts at the
    /// end. Integers wrap.
    ///
    /// # Errors
    /// [`GraphError`] if `x` is no number or on a wrong axis.
    pub fn cumulative_sum(
        &mut self,
        x: ValueId,
        axis: u32,
        exclusive: bool,
        reverse: bool,
    ) -> Result<ValueId, GraphError> {
        let kind = CumulativeKind::Sum;
        self.push_one(Op::Cumulative(Cumulative { kind, axis, exclusive, reverse }), &[x])
    }

    /// Running product along an axis; `exclusive` and `reverse` as for
    /// [`GraphBuilder::cumulative_sum`].
    ///
    /// # Errors
    /// [`GraphError`] on halves, bool or a wrong axis.
    pub fn cumulative_prod(
        &mut self,
        x: ValueId,
        axis: u32,
        exclusive: bool,
        reverse: bool,
    ) -> Result<ValueId, GraphError> {
        let kind = CumulativeKind::Prod;
        self.push_one(Op::Cumulative(Cumulative { kind, axis, exclusive, reverse }), &[x])
    }

    /// The `k` largest (or smallest) elements along the last axis, sorted, and their i64 indices.
    /// Equal elements keep their order.
    ///
    /// # Errors
    /// [`GraphError`] if `x` is no number or `k` is above the extent.
    pub fn top_k(
        &mut self,
        x: ValueId,
        k: u64,
        largest: bool,
    ) -> Result<(ValueId, ValueId), GraphError> {
        let outputs = self.push(Op::TopK(TopK { k: Some(k), largest }), &[x])?;
        Ok((outputs[0], outputs[1]))
    }

    /// Sorts along the last axis; answers values and i64 indices. Stable.
    ///
    /// # Errors
    /// [`GraphError`] if `x` is no number.
    pub fn sort(&mut self, x: ValueId, descending: bool) -> Result<(ValueId, ValueId), GraphError> {
        let outputs = self.push(Op::TopK(TopK { k: None, largest: descending }), &[x])?;
        Ok((outputs[0], outputs[1]))
    }
}

macro_rules! reductions {
    ($($(#[doc = $doc:literal])* $name:ident => $kind:ident;)*) => { impl GraphBuilder { $(
        $(#[doc = $doc])*
        ///
        /// # Errors
        /// [`GraphError`] on a wrong dtype or axis, or if rows would be mixed.
        pub fn $name(
            &mut self,
            x: ValueId,
            axes: &[u32],
            keep: bool,
        ) -> Result<ValueId, GraphError> {
            let (kind, axes) = (ReduceKind::$kind, axes.to_vec());
            self.push_one(Op::Reduce(Reduce { kind, axes, keep }), &[x])
        }
    )* } };
}

reductions! {
    /// Sum over `axes`; `keep` leaves them with extent 1. For numbers.
    reduce_sum => Sum;
    /// Arithmetic mean over `axes`; `keep` leaves them with extent 1. For floats.
    reduce_mean => Mean;
    /// Product over `axes`; `keep` leaves them with extent 1. For numbers.
    reduce_prod => Prod;
    /// Largest element over `axes`; `keep` leaves them with extent 1. For numbers and bool ("any").
    reduce_max => Max;
    /// Smallest element over `axes`; `keep` leaves them with extent 1. For numbers and bool ("all").
    reduce_min => Min;
}

macro_rules! ragged_pools {
    ($($(#[doc = $doc:literal])* $name:ident => $kind:ident;)*) => { impl GraphBuilder { $(
        $(#[doc = $doc])*
        /// `[ragged(offsets), ..]` to `[batch, ..]`. For floats.
        ///
        /// # Errors
        /// [`GraphError`] unless axis 0 of `x` is the ragged dimension of `offsets`.
        pub fn $name(&mut self, x: ValueId, offsets: ValueId) -> Result<ValueId, GraphError> {
            let kind = RaggedPoolKind::$kind;
            self.push_one(Op::RaggedPool(RaggedPool { kind }), &[x, offsets])
        }
    )* } };
}

ragged_pools! {
    /// Mean of the rows of each sequence. No rows give zeros.
    ragged_mean => Mean;
    /// Sum of the rows of each sequence.
    ragged_sum => Sum;
    /// Element-wise maximum over the rows of each sequence. No rows give zeros.
    ragged_max => Max;
    /// First row of each sequence (a CLS token). No rows give zeros.
    ragged_first => First;
    /// Last row of each sequence. No rows give zeros.
    ragged_last => Last;
}
