//! Builder methods: convolutions, pooling, normalization of channels, resampling.

use super::GraphBuilder;
use crate::op::{
    BatchNorm, Conv, ConvTranspose, GroupNorm, Op, Pool, PoolKind, Resample, Resize, ResizeMode,
    Window,
};
use crate::{Dim, GraphError, ValueId};

/// What a convolution multiplies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConvValues {
    /// `[rows, channels, spatial..]`, one to three spatial axes.
    pub x: ValueId,
    /// `[filters, channels / groups, window..]`, transposed `[channels, filters / groups, window..]`.
    pub w: ValueId,
    /// `[filters]`.
    pub bias: Option<ValueId>,
}

/// Parameters of a batch norm, `[channels]` each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchNormValues {
    /// Factor on the normalized element.
    pub scale: ValueId,
    /// Added at the end.
    pub bias: ValueId,
    /// Stored mean.
    pub mean: ValueId,
    /// Stored variance.
    pub variance: ValueId,
}

impl ConvValues {
    fn list(&self) -> Vec<ValueId> {
        [Some(self.x), Some(self.w), self.bias].into_iter().flatten().collect()
    }
}

impl GraphBuilder {
    /// Convolution of `[rows, channels, ..]` (ONNX `Conv-11`). Floats of 16 to 64 bits.
    ///
    /// # Errors
    /// [`GraphError`] on a wrong dtype, rank or extent, unknown extents of `w`, groups that do not
    /// divide, or a window larger than the padded input.
    pub fn conv(
        &mut self,
        values: ConvValues,
        window: Window,
        groups: u32,
    ) -> Result<ValueId, GraphError> {
        self.push_one(Op::Conv(Conv { window, groups }), &values.list())
    }

    /// Transposed convolution (ONNX `ConvTranspose-11`); `output_pads` adds elements behind.
    ///
    /// # Errors
    /// As [`GraphBuilder::conv`]; pads that cut off more than there is.
    pub fn conv_transpose(
        &mut self,
        values: ConvValues,
        window: Window,
        groups: u32,
        output_pads: &[u64],
    ) -> Result<ValueId, GraphError> {
        let output_pads = output_pads.to_vec();
        let op = Op::ConvTranspose(ConvTranspose { window, groups, output_pads });
        self.push_one(op, &values.list())
    }

    /// Largest element of each window of `size` elements (ONNX `MaxPool-12`). Numbers; padding is
    /// below all of them.
    ///
    /// # Errors
    /// [`GraphError`] on a wrong dtype, rank or list, or a window larger than the padded input.
    pub fn max_pool(
        &mut self,
        x: ValueId,
        size: &[u64],
        window: Window,
    ) -> Result<ValueId, GraphError> {
        let (kind, size) = (PoolKind::Max, size.to_vec());
        self.push_one(Op::Pool(Pool { kind, size, window }), &[x])
    }

    /// Mean of each window of `size` elements (ONNX `AveragePool-19`), over elements that exist or,
    /// with `count_pads`, all of the window. Floats of 16 to 64 bits.
    ///
    /// # Errors
    /// As [`GraphBuilder::max_pool`].
    pub fn average_pool(
        &mut self,
        x: ValueId,
        size: &[u64],
        window: Window,
        count_pads: bool,
    ) -> Result<ValueId, GraphError> {
        let (kind, size) = (PoolKind::Average { count_pads }, size.to_vec());
        self.push_one(Op::Pool(Pool { kind, size, window }), &[x])
    }

    /// Applies stored statistics to channels (axis 1). Floats of 16 to 64 bits.
    ///
    /// # Errors
    /// [`GraphError`] unless all parameters are `[channels]` of the dtype of `x`.
    pub fn batch_norm(
        &mut self,
        x: ValueId,
        values: BatchNormValues,
        epsilon: f32,
    ) -> Result<ValueId, GraphError> {
        let BatchNormValues { scale, bias, mean, variance } = values;
        let op = Op::BatchNorm(BatchNorm { epsilon });
        self.push_one(op, &[x, scale, bias, mean, variance])
    }

    /// Normalizes groups of channels (axis 1) of `[rows, channels, ..]`. Floats of 16 to 64 bits.
    ///
    /// # Errors
    /// [`GraphError`] unless `groups` divides a known number of channels, and scale and bias are
    /// `[channels]` of the dtype of `x`.
    pub fn group_norm(
        &mut self,
        x: ValueId,
        groups: u32,
        scale: ValueId,
        bias: ValueId,
        epsilon: f32,
    ) -> Result<ValueId, GraphError> {
        self.push_one(Op::GroupNorm(GroupNorm { groups, epsilon }), &[x, scale, bias])
    }

    /// Resamples the spatial axes of `[rows, channels, ..]` to `extents`, one axis after the other
    /// (ONNX `Resize-19`, half-pixel or with aligned corners). Floats of 16 to 64 bits.
    ///
    /// # Errors
    /// [`GraphError`] on a wrong dtype, or unless there is one extent a spatial axis.
    pub fn resize(
        &mut self,
        x: ValueId,
        extents: &[u64],
        mode: ResizeMode,
        antialias: bool,
        align_corners: bool,
    ) -> Result<ValueId, GraphError> {
        let spec = self.spec(x)?;
        if extents.is_empty() || spec.rank() != extents.len() + 2 {
            let (expected, got) = ("two more than extents", spec.rank());
            return Err(GraphError::Rank { op: "resize", expected, got });
        }
        let changes = |(i, extent): (usize, &u64)| spec.dims[i + 2] != Dim::Fixed(*extent);
        let changed: Vec<bool> = extents.iter().enumerate().map(changes).collect();
        let before = (self.values.len(), self.nodes.len(), self.operands);
        let mut value = x;
        for (i, (&extent, &changed)) in extents.iter().zip(&changed).enumerate() {
            // One axis is resampled in any case, so that every resize is checked and is a node.
            if !changed && (value != x || i + 1 < extents.len()) {
                continue;
            }
            let axis = i as u32 + 2;
            let op = Resize { axis, extent, mode, antialias, align_corners };
            value = match self.push_one(Op::Resize(op), &[value]) {
                Ok(value) => value,
                Err(error) => {
                    self.values.truncate(before.0);
                    self.nodes.truncate(before.1);
                    self.operands = before.2;
                    return Err(error);
                }
            };
        }
        Ok(value)
    }

    /// Weighted sums of elements along `axis`: `indices` is i32 and `weights` f32, both constants of
    /// `[extent, taps]`. Floats of 16 to 64 bits. An index outside is found at run time.
    ///
    /// # Errors
    /// [`GraphError`] on a wrong dtype, axis or table.
    pub fn resample(
        &mut self,
        x: ValueId,
        axis: u32,
        indices: ValueId,
        weights: ValueId,
    ) -> Result<ValueId, GraphError> {
        self.push_one(Op::Resample(Resample { axis }), &[x, indices, weights])
    }
}
