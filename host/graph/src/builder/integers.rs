//! Builder methods: quantized numbers.

use super::GraphBuilder;
use crate::op::{Dequantize, MatMulInteger, Op, Quantize, QuantizedLinear};
use crate::{GraphError, ValueId};
use aimass_tensor::DType;

/// Values of a linear layer with quantized weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QuantizedLinearValues {
    /// `[.., in]`, f32, f16 or bf16.
    pub x: ValueId,
    /// `[out, in]`, u8 or i8; constants also u4 and i4, two in a byte, the first in the low half,
    /// without gaps between rows.
    pub w: ValueId,
    /// `[out, ceil(in / group)]`, f32, f16 or bf16.
    pub scales: ValueId,
    /// As `scales`, of the dtype of `w`; none for 0 (i4, i8) or the middle (8 of u4, 128 of u8).
    pub zero_points: Option<ValueId>,
    /// `[out]`, f32, f16 or bf16.
    pub bias: Option<ValueId>,
}

impl GraphBuilder {
    /// Matrix product of u8 or i8 values in i32, from which zero points are subtracted first: a
    /// scalar, or one a row of `x` (`[m]` or `[.., m, 1]`) and one a column of `y` (`[n]` or
    /// `[.., 1, n]`), of the dtype of their side (ONNX `MatMulInteger-10`). Sums are exact modulo
    /// 2^32.
    ///
    /// # Errors
    /// [`GraphError`] on a wrong dtype, rank or extent, or if rows would be mixed.
    pub fn matmul_integer(
        &mut self,
        x: ValueId,
        y: ValueId,
        x_zero: Option<ValueId>,
        y_zero: Option<ValueId>,
    ) -> Result<ValueId, GraphError> {
        let (there, inputs) = (x_zero.is_some(), [Some(x), Some(y), x_zero, y_zero]);
        let op = MatMulInteger { x_zero: there, y_zero: y_zero.is_some(), packed: None };
        let inputs: Vec<ValueId> = inputs.into_iter().flatten().collect();
        self.push_one(Op::MatMulInteger(op), &inputs)
    }

    /// `x · wᵀ + bias` with weights `(w - zero point) * scale` of 4 or 8 bits, of which `group`
    /// successive ones of a row share scale and zero point; the last group of a row may be shorter.
    /// Computed in f32.
    ///
    /// # Errors
    /// [`GraphError`] on a wrong dtype, rank or extent, or if `group` is 0.
    pub fn quantized_linear(
        &mut self,
        values: QuantizedLinearValues,
        group: u64,
    ) -> Result<ValueId, GraphError> {
        let QuantizedLinearValues { x, w, scales, zero_points, bias } = values;
        let (zero, there) = (zero_points.is_some(), bias.is_some());
        let op = QuantizedLinear { group, zero, bias: there, packed: None };
        let inputs = [Some(x), Some(w), Some(scales), zero_points, bias];
        let inputs: Vec<ValueId> = inputs.into_iter().flatten().collect();
        self.push_one(Op::QuantizedLinear(op), &inputs)
    }

    /// `saturate(round(x / scale) + zero_point)` to i8, u8, i16, u16 or i32, halves to even (ONNX
    /// `QuantizeLinear-13`). Scale and zero point have one element, or with `axis` one for each of
    /// its indices; the zero point is of `dtype`, none is 0.
    ///
    /// # Errors
    /// [`GraphError`] on a wrong dtype, shape or axis.
    pub fn quantize(
        &mut self,
        x: ValueId,
        scale: ValueId,
        zero_point: Option<ValueId>,
        axis: Option<u32>,
        dtype: DType,
    ) -> Result<ValueId, GraphError> {
        let inputs: Vec<ValueId> =
            [Some(x), Some(scale), zero_point].into_iter().flatten().collect();
        self.push_one(Op::Quantize(Quantize { axis, dtype }), &inputs)
    }

    /// `(x - zero_point) * scale` in f32 (ONNX `DequantizeLinear-13`). Scale and zero point as for
    /// [`GraphBuilder::quantize`]; the zero point is of the dtype of `x`.
    ///
    /// # Errors
    /// As [`GraphBuilder::quantize`].
    pub fn dequantize(
        &mut self,
        x: ValueId,
        scale: ValueId,
        zero_point: Option<ValueId>,
        axis: Option<u32>,
    ) -> Result<ValueId, GraphError> {
        let inputs: Vec<ValueId> =
            [Some(x), Some(scale), zero_point].into_iter().flatten().collect();
        self.push_one(Op::Dequantize(Dequantize { axis }), &inputs)
    }
}
