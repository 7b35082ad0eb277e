//! Builder methods: linear algebra and neural layers.

use super::GraphBuilder;
use crate::op::{
    Attention, AttentionOptions, Axes, DotGeneral, LayerNorm, Linear, MatMul, Normalize,
    NormalizeKind, Op, RaggedAttention, Softmax,
};
use crate::{GraphError, ValueId};

/// Queries, keys and values of an attention.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AttentionValues {
    /// Queries, `[.., heads * size]`.
    pub q: ValueId,
    /// Keys, `[.., kv_heads * size]`.
    pub k: ValueId,
    /// Values, `[.., kv_heads * size]`.
    pub v: ValueId,
}

/// Which axes of two values a contraction pairs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Contraction<'a> {
    /// Axes of `x` that pair with `batch_y` and stay.
    pub batch_x: &'a [u32],
    /// As many axes of `y`.
    pub batch_y: &'a [u32],
    /// Axes of `x` that pair with `contract_y` and are summed over.
    pub contract_x: &'a [u32],
    /// As many axes of `y`.
    pub contract_y: &'a [u32],
}

impl GraphBuilder {
    /// Contraction of `x` and `y` over any axes (StableHLO `dot_general`): the output has the batch
    /// axes, the other axes of `x`, then those of `y`, in order. For numbers of one dtype; integers
    /// wrap, halves are multiplied in f32.
    ///
    /// # Errors
    /// [`GraphError`] on a wrong dtype, axis or extent, or if rows would be mixed.
    pub fn dot_general(
        &mut self,
        x: ValueId,
        y: ValueId,
        axes: Contraction<'_>,
    ) -> Result<ValueId, GraphError> {
        let own = |batch: &[u32], contract: &[u32]| Axes {
            batch: batch.to_vec(),
            contract: contract.to_vec(),
        };
        let x_axes = own(axes.batch_x, axes.contract_x);
        let y_axes = own(axes.batch_y, axes.contract_y);
        self.push_one(Op::DotGeneral(DotGeneral { x: x_axes, y: y_axes }), &[x, y])
    }

    /// Matrix product over the last two axes, leading axes broadcast (numpy `matmul`). For numbers
    /// of one dtype: integers wrap, halves are multiplied in f32.
    ///
    /// # Errors
    /// [`GraphError`] on a wrong dtype, rank or inner extent, or if rows would be mixed.
    pub fn matmul(&mut self, x: ValueId, y: ValueId) -> Result<ValueId, GraphError> {
        self.push_one(Op::MatMul(MatMul), &[x, y])
    }

    /// `x · w + bias` over the last axis of `x`: `w` is `[in, out]`, or `[out, in]` with
    /// `transposed`. For numbers of one dtype as [`GraphBuilder::matmul`]; beside f32 a constant `w`
    /// may be f16 or bf16.
    ///
    /// # Errors
    /// [`GraphError`] on a wrong dtype, rank or inner extent.
    pub fn linear(
        &mut self,
        x: ValueId,
        w: ValueId,
        bias: Option<ValueId>,
        transposed: bool,
    ) -> Result<ValueId, GraphError> {
        let op = Op::Linear(Linear { transposed });
        match bias {
            Some(bias) => self.push_one(op, &[x, w, bias]),
            None => self.push_one(op, &[x, w]),
        }
    }

    /// `exp(x) / sum(exp(x))` along an axis. A lane of only `-inf` gives zeros. For floats.
    ///
    /// # Errors
    /// [`GraphError`] on a wrong dtype or axis.
    pub fn softmax(&mut self, x: ValueId, axis: u32) -> Result<ValueId, GraphError> {
        self.push_one(Op::Softmax(Softmax { axis, log: false }), &[x])
    }

    /// `log(softmax(x))` along an axis. For floats.
    ///
    /// # Errors
    /// As [`GraphBuilder::softmax`].
    pub fn log_softmax(&mut self, x: ValueId, axis: u32) -> Result<ValueId, GraphError> {
        self.push_one(Op::Softmax(Softmax { axis, log: true }), &[x])
    }

    /// `(x - mean) / sqrt(variance + epsilon) * scale + bias` over the last axis. For
    /// floats.
    ///
    /// # Errors
    /// [`GraphError`] unless `scale` and `bias` are `[last extent]`.
    pub fn layer_norm(
        &mut self,
        x: ValueId,
        scale: ValueId,
        bias: Option<ValueId>,
        epsilon: f32,
    ) -> Result<ValueId, GraphError> {
        let op = Op::LayerNorm(LayerNorm { epsilon });
        match bias {
            Some(bias) => self.push_one(op, &[x, scale, bias]),
            None => self.push_one(op, &[x, scale]),
        }
    }

    /// `x / sqrt(mean(x²) + epsilon) * scale` over the last axis. For floats.
    ///
    /// # Errors
    /// [`GraphError`] unless `scale` is `[last extent]`.
    pub fn rms_norm(
        &mut self,
        x: ValueId,
        scale: ValueId,
        epsilon: f32,
    ) -> Result<ValueId, GraphError> {
        let kind = NormalizeKind::Rms;
        self.push_one(Op::Normalize(Normalize { kind, epsilon }), &[x, scale])
    }

    /// `x / max(sqrt(sum(x²)), epsilon)` over the last axis. For floats.
    ///
    /// # Errors
    /// [`GraphError`] on a wrong dtype or a scalar.
    pub fn l2_normalize(&mut self, x: ValueId, epsilon: f32) -> Result<ValueId, GraphError> {
        let kind = NormalizeKind::L2;
        self.push_one(Op::Normalize(Normalize { kind, epsilon }), &[x])
    }

    /// Scaled dot-product attention inside each sequence of `[ragged(offsets), heads * size]`
    /// (arXiv:2205.14135). f16, bf16 or f32.
    ///
    /// # Errors
    /// [`GraphError`] on a wrong dtype or extent, another ragged dimension, or a `window`.
    pub fn ragged_attention(
        &mut self,
        values: AttentionValues,
        offsets: ValueId,
        options: AttentionOptions,
    ) -> Result<ValueId, GraphError> {
        let op = Op::RaggedAttention(RaggedAttention { options });
        self.push_one(op, &[values.q, values.k, values.v, offsets])
    }

    /// Scaled dot-product attention on `[batch, tokens, heads * size]`; `mask` is added to the
    /// scores and broadcasts to `[batch, heads, queries, keys]`. f16, bf16 or f32.
    ///
    /// # Errors
    /// [`GraphError`] on a wrong dtype or extent, or a `window`.
    pub fn attention(
        &mut self,
        values: AttentionValues,
        mask: Option<ValueId>,
        options: AttentionOptions,
    ) -> Result<ValueId, GraphError> {
        let op = Op::Attention(Attention { options });
        match mask {
            Some(mask) => self.push_one(op, &[values.q, values.k, values.v, mask]),
            None => self.push_one(op, &[values.q, values.k, values.v]),
        }
    }
}
