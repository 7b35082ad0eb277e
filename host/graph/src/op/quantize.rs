//! Between floats and integers with a scale and a zero point.

use super::{Arg, Call, Infer, OpRule};
use crate::{Dim, GraphError, RunError, ValueSpec};
use aimass_cpu::quantize::{Quantum, Scaling, dequantize, quantize};
use aimass_cpu::reduce::Lanes;
use aimass_tensor::DType;

/// `saturate(round(x / scale) + zero)`, halves to even, NaN as 0 (ONNX `QuantizeLinear-13`).
///
/// | tensor          | shape                                 | dtype                  |
/// |-----------------|---------------------------------------|------------------------|
/// | `x`             | any                                   | f16, bf16, f32         |
/// | `scale`         | one element, or `[extent]` of `axis`  | f16, bf16, f32         |
/// | `zero`, if any  | as `scale`                            | `dtype`                |
/// | output          | as `x`                                | i8, u8, i16, u16 or i32 |
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Quantize {
    pub(crate) axis: Option<u32>,
    pub(crate) dtype: DType,
}

/// `(x - zero) * scale` (ONNX `DequantizeLinear-13`).
///
/// | tensor          | shape                                 | dtype                   |
/// |-----------------|---------------------------------------|-------------------------|
/// | `x`             | any                                   | i8, u8, i16, u16 or i32 |
/// | `scale`         | one element, or `[extent]` of `axis`  | f16, bf16, f32          |
/// | `zero`, if any  | as `scale`                            | as `x`                  |
/// | output          | as `x`                                | f32                     |
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Dequantize {
    pub(crate) axis: Option<u32>,
}

const QUANTA: &str = "i8, u8, i16, u16 or i32";

/// Runs an expression with `$T` the Rust type of a dtype that quantizes.
macro_rules! with_quantum {
    ($dtype:expr, $T:ident => $body:expr, else $other:expr) => {
        match $dtype {
            DType::I8 => {
                type $T = i8;
                $body
            }
            DType::U8 => {
                type $T = u8;
                $body
            }
            DType::I16 => {
                type $T = i16;
                $body
            }
            DType::U16 => {
                type $T = u16;
                $body
            }
            DType::I32 => {
                type $T = i32;
                $body
            }
            _ => $other,
        }
    };
}

fn is_quantum(dtype: DType) -> bool {
    with_quantum!(dtype, _T => true, else false)
}

/// Requires scales and zero points of one element, or one for each index of the axis.
fn check_scaling(
    cx: &mut Infer<'_>,
    x: &ValueSpec,
    axis: Option<u32>,
    scaling: &[&ValueSpec],
) -> Result<(), GraphError> {
    cx.f32_or_narrower(scaling[0])?;
    let axis = axis.map(|axis| cx.axis(axis, x.rank())).transpose()?;
    for own in scaling {
        match axis {
            Some(axis) => cx.extent_vector(own, &x.dims[axis])?,
            None if own.dims.iter().all(|dim| *dim == Dim::Fixed(1)) => {}
            None => {
                let expected = "scale and zero point of one element, or an axis".to_owned();
                return Err(GraphError::Shape { op: cx.op, expected, got: own.to_string() });
            }
        }
    }
    Ok(())
}

fn scaling<'a, T: Quantum>(axis: Option<u32>, inputs: &[Arg<'a>]) -> Scaling<'a, T> {
    let (x, scale, zero) = (&inputs[0], &inputs[1], inputs.get(2));
    let lanes = match axis {
        Some(axis) => Lanes::of(&x.shape, axis as usize..axis as usize + 1),
        None => Lanes { outer: 1, n: 1, inner: x.shape.elements() },
    };
    Scaling { lanes, scales: scale.numbers(), zeros: zero.map(Arg::numbers) }
}

impl OpRule for Quantize {
    fn name(&self) -> &'static str {
        "quantize"
    }

    fn infer(&self, cx: &mut Infer<'_>, x: &[&ValueSpec]) -> Result<Vec<ValueSpec>, GraphError> {
        cx.f32_or_narrower(x[0])?;
        if !is_quantum(self.dtype) {
            return Err(GraphError::DType { op: cx.op, expected: QUANTA, got: self.dtype });
        }
        if let Some(zero) = x.get(2) {
            let expected = "a zero point of the dtype that is asked for";
            cx.dtype(zero, expected, |dtype| dtype == self.dtype)?;
        }
        check_scaling(cx, x[0], self.axis, &x[1..])?;
        Ok(vec![ValueSpec::new(self.dtype, x[0].dims.clone())])
    }

    fn run(&self, call: &mut Call<'_, '_>) -> Result<(), RunError> {
        let out = &mut call.outputs[0];
        with_quantum!(self.dtype, T => {
            let scaling = scaling::<T>(self.axis, call.inputs);
            quantize(scaling, call.inputs[0].numbers(), out.numbers());
        }, else return Err(super::DTYPE_DEFECT));
        Ok(())
    }

    fn widens(&self) -> bool {
        true
    }
}

impl OpRule for Dequantize {
    fn name(&self) -> &'static str {
        "dequantize"
    }

    fn infer(&self, cx: &mut Infer<'_>, x: &[&ValueSpec]) -> Result<Vec<ValueSpec>, GraphError> {
        cx.dtype(x[0], QUANTA, is_quantum)?;
        if let Some(zero) = x.get(2) {
            cx.alike(x[0], zero)?;
        }
        check_scaling(cx, x[0], self.axis, &x[1..])?;
        Ok(vec![ValueSpec::new(DType::F32, x[0].dims.clone())])
    }

    fn run(&self, call: &mut Call<'_, '_>) -> Result<(), RunError> {
        let out = &mut call.outputs[0];
        with_quantum!(call.inputs[0].dtype, T => {
            let scaling = scaling::<T>(self.axis, call.inputs);
            dequantize(scaling, call.inputs[0].numbers(), out.numbers());
        }, else return Err(super::DTYPE_DEFECT));
        Ok(())
    }

    fn widens(&self) -> bool {
        true
    }
}
