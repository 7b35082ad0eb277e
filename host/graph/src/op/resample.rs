//! Weighted sums along an axis, and the tables of weights of a resize.

use super::{Call, Infer, OpRule, check_indices, widened};
use crate::{Dim, GraphError, RunError, ValueSpec};
use aimass_cpu::reduce::Lanes;
use aimass_cpu::resample::{Taps, Weighted, resample};
use aimass_tensor::{DType, Shape};

/// How a resize picks its samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResizeMode {
    /// The nearest element; the lower one of two.
    Nearest,
    /// Between the two elements around.
    Bilinear,
    /// Cubic convolution (Keys, 1981): with `a = -0.75` as ONNX, antialiased with `a = -0.5` as Pillow and
    /// PyTorch.
    Bicubic,
}

/// `y[.., o, ..] = Σ t weights[o, t] x[.., indices[o, t], ..]` along `axis`; the tables are constants
/// of `[extent, taps]`, i32 and f32. For floats of 16 to 64 bits.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Resample {
    pub(crate) axis: u32,
}

/// Resamples one axis to `extent` elements (ONNX `Resize-19` with half-pixel or aligned corners).
///
/// Elements beyond the edge are the edge's, but an antialiased filter leaves them out and divides by
/// the weights that are left.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Resize {
    pub(crate) axis: u32,
    pub(crate) extent: u64,
    pub(crate) mode: ResizeMode,
    pub(crate) antialias: bool,
    pub(crate) align_corners: bool,
}

fn is_float(dtype: DType) -> bool {
    matches!(dtype, DType::F16 | DType::Bf16 | DType::F32 | DType::F64)
}

fn compute(axis: u32, taps: &Taps<'_>, call: &mut Call<'_, '_>) -> Result<(), RunError> {
    fn typed<T: Weighted>(axis: usize, taps: &Taps<'_>, call: &mut Call<'_, '_>) {
        let (x, out) = (&call.inputs[0], &mut call.outputs[0]);
        let lanes = Lanes::of(&x.shape, axis..axis + 1);
        resample::<T>(call.team, lanes, taps, x.numbers(), out.numbers());
    }
    match call.inputs[0].dtype {
        DType::F32 => typed::<f32>(axis as usize, taps, call),
        DType::F64 => typed::<f64>(axis as usize, taps, call),
        _ => return widened(call, |call| compute(axis, taps, call)),
    }
    Ok(())
}

impl OpRule for Resample {
    fn name(&self) -> &'static str {
        "resample"
    }

    fn infer(&self, cx: &mut Infer<'_>, x: &[&ValueSpec]) -> Result<Vec<ValueSpec>, GraphError> {
        cx.dtype(x[0], "f16, bf16, f32 or f64", is_float)?;
        let axis = cx.lane_axis(self.axis, x[0])?;
        cx.dtype(x[1], "i32 (of the indices)", |d| d == DType::I32)?;
        cx.dtype(x[2], "f32 (of the weights)", |d| d == DType::F32)?;
        for table in &x[1..3] {
            if !table.constant || table.rank() != 2 {
                return Err(cx.argument("indices", "constants of [extent, taps]", table));
            }
        }
        cx.dims.same(cx.op, &x[1].dims[0], &x[2].dims[0])?;
        cx.dims.same(cx.op, &x[1].dims[1], &x[2].dims[1])?;
        let mut dims = x[0].dims.clone();
        dims[axis] = x[1].dims[0].clone();
        Ok(vec![ValueSpec::new(x[0].dtype, dims)])
    }

    fn flops(&self, inputs: &[Shape], outputs: &[Shape]) -> u64 {
        2 * (outputs[0].elements() as u64).saturating_mul(inputs[1][1] as u64)
    }

    fn run(&self, call: &mut Call<'_, '_>) -> Result<(), RunError> {
        let (x, indices, weights) = (&call.inputs[0], &call.inputs[1], &call.inputs[2]);
        check_indices(self.name(), indices, x.shape[self.axis as usize])?;
        let (indices, taps) = (indices.numbers(), indices.shape[1]);
        let taps = Taps { taps, indices, weights: weights.numbers() };
        compute(self.axis, &taps, call)
    }
}

impl OpRule for Resize {
    fn name(&self) -> &'static str {
        "resize"
    }

    fn infer(&self, cx: &mut Infer<'_>, x: &[&ValueSpec]) -> Result<Vec<ValueSpec>, GraphError> {
        cx.dtype(x[0], "f16, bf16, f32 or f64", is_float)?;
        let axis = cx.lane_axis(self.axis, x[0])?;
        if x[0].dims[axis] == Dim::Fixed(0) && self.extent > 0 {
            return Err(cx.argument("extents", "0, as the axis has no elements", &self.extent));
        }
        if self.extent > i32::MAX as u64 || x[0].dims[axis].fixed() > Some(i32::MAX as u64) {
            return Err(GraphError::Elements { op: cx.op });
        }
        let mut dims = x[0].dims.clone();
        dims[axis] = Dim::Fixed(self.extent);
        Ok(vec![ValueSpec::new(x[0].dtype, dims)])
    }

    fn flops(&self, inputs: &[Shape], outputs: &[Shape]) -> u64 {
        let taps = self.taps(inputs[0][self.axis as usize]);
        2 * (outputs[0].elements() as u64).saturating_mul(taps as u64)
    }

    fn run(&self, call: &mut Call<'_, '_>) -> Result<(), RunError> {
        let extent = call.inputs[0].shape[self.axis as usize];
        if call.outputs[0].bytes.is_empty() {
            return Ok(());
        }
        if extent == 0 || extent > i32::MAX as usize {
            let what = format!("resize: axis {}", self.axis);
            return Err(RunError::Dims { what, reason: "has no elements, or too many" });
        }
        if extent as u64 == self.extent {
            // Every sample falls on its own element, whatever the filter.
            call.outputs[0].bytes.copy_from_slice(call.inputs[0].bytes);
            return Ok(());
        }
        let (indices, weights) = self.tables(extent);
        let taps = self.taps(extent);
        compute(self.axis, &Taps { taps, indices: &indices, weights: &weights }, call)
    }
}

impl Resize {
    /// Input elements a step of the output.
    pub(crate) fn step(&self, extent: usize) -> f64 {
        match (self.align_corners, self.extent) {
            (true, 0 | 1) => 0.0,
            (true, out) => (extent as f64 - 1.0) / (out as f64 - 1.0),
            (false, out) => extent as f64 / out as f64,
        }
    }

    /// How much wider the filter is because the output has fewer elements.
    pub(crate) fn widening(&self, extent: usize) -> f64 {
        if self.antialias { self.step(extent).max(1.0) } else { 1.0 }
    }

    /// Elements of the input on each side of a sample that its filter reaches.
    pub(crate) fn reach(&self, extent: usize) -> f64 {
        match self.mode {
            ResizeMode::Nearest => 0.5,
            ResizeMode::Bilinear => self.widening(extent),
            ResizeMode::Bicubic => 2.0 * self.widening(extent),
        }
    }

    /// Elements that each output takes.
    pub(crate) fn taps(&self, extent: usize) -> usize {
        match self.mode {
            ResizeMode::Nearest => 1,
            ResizeMode::Bilinear | ResizeMode::Bicubic if !self.antialias => {
                2 * self.reach(extent) as usize
            }
            // No filter has more elements than the axis that it covers, and two for rounding.
            ResizeMode::Bilinear | ResizeMode::Bicubic => {
                (2.0 * self.reach(extent).ceil() + 1.0).min(extent as f64 + 2.0) as usize
            }
        }
    }

    fn filter(&self, x: f64) -> f64 {
        let x = x.abs();
        let a = if self.antialias { -0.5 } else { -0.75 };
        match self.mode {
            ResizeMode::Nearest => 1.0,
            ResizeMode::Bilinear => (1.0 - x).max(0.0),
            ResizeMode::Bicubic if x <= 1.0 => ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0,
            ResizeMode::Bicubic if x < 2.0 => ((a * x - 5.0 * a) * x + 8.0 * a) * x - 4.0 * a,
            ResizeMode::Bicubic => 0.0,
        }
    }

    /// Indices and weights for an axis of `extent` elements, `[self.extent, taps]`.
    fn tables(&self, extent: usize) -> (Vec<i32>, Vec<f32>) {
        let (count, step, taps) = (self.extent as usize, self.step(extent), self.taps(extent));
        let (mut indices, mut weights) = (Vec::new(), Vec::new());
        let last = extent as i64 - 1;
        for position in 0..count {
            let center = match self.align_corners {
                true => position as f64 * step,
                false => (position as f64 + 0.5) * step - 0.5,
            };
            if self.mode == ResizeMode::Nearest {
                indices.push(((center - 0.5).ceil() as i64).clamp(0, last) as i32);
                weights.push(1.0);
                continue;
            }
            let (scale, reach) = (self.widening(extent), self.reach(extent));
            let first = match self.antialias {
                true => ((center - reach).ceil() as i64).max(0),
                false => center.floor() as i64 + 1 - reach as i64,
            };
            let start = weights.len();
            for index in first..first + taps as i64 {
                let inside = (0..=last).contains(&index);
                let weight = self.filter((index as f64 - center) / scale);
                weights.push(if self.antialias && !inside { 0.0 } else { weight as f32 });
                indices.push(index.clamp(0, last) as i32);
            }
            let sum: f32 = weights[start..].iter().sum();
            if self.antialias && sum != 0.0 {
                weights[start..].iter_mut().for_each(|weight| *weight /= sum);
            }
        }
        (indices, weights)
    }
}
