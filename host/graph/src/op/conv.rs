//! Convolutions and transposed convolutions.

use super::{Call, Infer, OpRule, Window, widened};
use crate::dim::Dims;
use crate::{Dim, GraphError, RunError, ValueSpec};
use aimass_cpu::conv::{self, ConvDims, Float};
use aimass_tensor::{DType, Shape};

/// N-dimensional convolution, one to three spatial axes (ONNX `Conv-11`).
///
/// | tensor | shape                                   | dtype                |
/// |--------|-----------------------------------------|----------------------|
/// | `x`    | `[rows, channels, input..]`             | f16, bf16, f32, f64  |
/// | `w`    | `[filters, channels / groups, window..]`| as `x`               |
/// | `bias` | `[filters]`                             | as `x`               |
/// | output | `[rows, filters, output..]`             | as `x`; halves by f32|
///
/// The extents of `w` are known. Every row depends on itself only.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Conv {
    pub(crate) window: Window,
    pub(crate) groups: u32,
}

/// Transposed convolution (ONNX `ConvTranspose-11`): `x: [rows, channels, input..]`,
/// `w: [channels, filters / groups, window..]`, `output_pads` more elements behind. Pads of the
/// window are cut off. Dtypes as [`Conv`].
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ConvTranspose {
    pub(crate) window: Window,
    pub(crate) groups: u32,
    pub(crate) output_pads: Vec<u64>,
}

fn is_float(dtype: DType) -> bool {
    matches!(dtype, DType::F16 | DType::Bf16 | DType::F32 | DType::F64)
}

/// What is known about the weights of a convolution.
struct Weights {
    extents: Vec<u64>,
    groups: u64,
}

impl Weights {
    /// Requires known extents of `w`, one dtype of all, and groups that divide `w`'s first extent.
    fn of(cx: &mut Infer<'_>, x: &[&ValueSpec], groups: u32) -> Result<Weights, GraphError> {
        cx.dtype(x[0], "f16, bf16, f32 or f64", is_float)?;
        for other in &x[1..] {
            if other.dtype != x[0].dtype {
                let (left, right) = (x[0].dtype, other.dtype);
                return Err(GraphError::DTypes { op: cx.op, left, right });
            }
        }
        if x[1].rank() != x[0].rank() {
            let (expected, got) = ("as many dimensions of w as of x", x[1].rank());
            return Err(GraphError::Rank { op: cx.op, expected, got });
        }
        let extents: Option<Vec<u64>> = x[1].dims.iter().map(Dim::fixed).collect();
        let known = || cx.argument("w", "known extents", &Dims(&x[1].dims));
        let extents = extents.ok_or_else(known)?;
        let groups = u64::from(groups);
        if groups == 0 || !extents[0].is_multiple_of(groups) {
            let expected = format!("at least 1, dividing {}", extents[0]);
            return Err(cx.argument("groups", &expected, &groups));
        }
        Ok(Weights { extents, groups })
    }

    /// `extent * groups`.
    fn all_groups(&self, cx: &Infer<'_>, extent: u64) -> Result<Dim, GraphError> {
        let all = extent.checked_mul(self.groups);
        all.map(Dim::Fixed).ok_or(GraphError::Elements { op: cx.op })
    }
}

fn check_bias(
    cx: &mut Infer<'_>,
    bias: Option<&&ValueSpec>,
    filters: &Dim,
) -> Result<(), GraphError> {
    let Some(bias) = bias else { return Ok(()) };
    if bias.rank() != 1 {
        return Err(GraphError::Rank { op: cx.op, expected: "1 (of the bias)", got: bias.rank() });
    }
    cx.dims.same(cx.op, &bias.dims[0], filters).map(drop)
}

impl OpRule for Conv {
    fn name(&self) -> &'static str {
        "conv"
    }

    fn infer(&self, cx: &mut Infer<'_>, x: &[&ValueSpec]) -> Result<Vec<ValueSpec>, GraphError> {
        let spatial = self.window.check(cx, x[0])?;
        let weights = Weights::of(cx, x, self.groups)?;
        let channels = weights.all_groups(cx, weights.extents[1])?;
        cx.dims.same(cx.op, &x[0].dims[1], &channels)?;
        let filters = Dim::Fixed(weights.extents[0]);
        check_bias(cx, x.get(2), &filters)?;
        let mut dims = vec![x[0].dims[0].clone(), filters];
        for i in 0..spatial {
            let kernel = weights.extents[i + 2];
            dims.push(self.window.positions(cx, i, kernel, &x[0].dims[i + 2])?);
        }
        Ok(vec![ValueSpec::new(x[0].dtype, dims)])
    }

    fn flops(&self, inputs: &[Shape], outputs: &[Shape]) -> u64 {
        let window: usize = inputs[1][1..].iter().product();
        2 * (outputs[0].elements() as u64).saturating_mul(window as u64)
    }

    fn run(&self, call: &mut Call<'_, '_>) -> Result<(), RunError> {
        match call.inputs[0].dtype {
            DType::F32 => self.compute::<f32>(call),
            DType::F64 => self.compute::<f64>(call),
            _ => return widened(call, |call| self.run(call)),
        }
        Ok(())
    }
}

impl Conv {
    fn compute<T: Float>(&self, call: &mut Call<'_, '_>) {
        let (x, w, out) = (&call.inputs[0], &call.inputs[1], &mut call.outputs[0]);
        let dims = ConvDims {
            batch: x.shape[0],
            groups: self.groups as usize,
            channels: x.shape[1],
            filters: w.shape[0],
            axes: self.window.axes(&x.shape, &out.shape, &w.shape[2..]),
        };
        let bias = call.inputs.get(2).map(|bias| bias.numbers::<T>());
        conv::conv(call.team, &dims, x.numbers::<T>(), w.numbers(), bias, out.numbers());
    }
}

impl OpRule for ConvTranspose {
    fn name(&self) -> &'static str {
        "conv-transpose"
    }

    fn infer(&self, cx: &mut Infer<'_>, x: &[&ValueSpec]) -> Result<Vec<ValueSpec>, GraphError> {
        let spatial = self.window.check(cx, x[0])?;
        let weights = Weights::of(cx, x, self.groups)?;
        if self.output_pads.len() != spatial {
            let expected = "one number a spatial dimension";
            return Err(cx.argument("output-pads", expected, &self.output_pads.len()));
        }
        cx.dims.same(cx.op, &x[0].dims[1], &Dim::Fixed(weights.extents[0]))?;
        let filters = weights.all_groups(cx, weights.extents[1])?;
        check_bias(cx, x.get(2), &filters)?;
        let mut dims = vec![x[0].dims[0].clone(), filters];
        for i in 0..spatial {
            let kernel = (weights.extents[i + 2], self.output_pads[i]);
            dims.push(self.window.spread(cx, i, kernel, &x[0].dims[i + 2])?);
        }
        Ok(vec![ValueSpec::new(x[0].dtype, dims)])
    }

    fn flops(&self, inputs: &[Shape], _: &[Shape]) -> u64 {
        let window: usize = inputs[1][1..].iter().product();
        2 * (inputs[0].elements() as u64).saturating_mul(window as u64)
    }

    fn run(&self, call: &mut Call<'_, '_>) -> Result<(), RunError> {
        match call.inputs[0].dtype {
            DType::F32 => self.compute::<f32>(call),
            DType::F64 => self.compute::<f64>(call),
            _ => return widened(call, |call| self.run(call)),
        }
        Ok(())
    }
}

impl ConvTranspose {
    fn compute<T: Float>(&self, call: &mut Call<'_, '_>) {
        let (x, w, out) = (&call.inputs[0], &call.inputs[1], &mut call.outputs[0]);
        let dims = ConvDims {
            batch: x.shape[0],
            groups: self.groups as usize,
            channels: x.shape[1],
            filters: out.shape[1],
            axes: self.window.axes(&out.shape, &x.shape, &w.shape[2..]),
        };
        let bias = call.inputs.get(2).map(|bias| bias.numbers::<T>());
        conv::conv_transpose(call.team, &dims, x.numbers::<T>(), w.numbers(), bias, out.numbers());
    }
}
