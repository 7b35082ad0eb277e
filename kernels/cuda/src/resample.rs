//! Weighted sums of elements along one axis: what every separable resampling is, and the weights of a
//! resize.

use crate::entries;
use crate::error::DeviceError;
use crate::gather::{Indices, TuplesAt, check};
use crate::launch::{Form, Grid};
use crate::memory::Slice;
use crate::parameters;
use crate::queue::Queue;
use aimass_tensor::DType;

/// Extents of a resampling: `x: [outer, n, inner]`, `y: [outer, extent, inner]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "extents of the shapes above")]
pub struct ResampleShape {
    pub outer: u32,
    pub n: u32,
    pub inner: u32,
    pub extent: u32,
    /// Elements that each output takes.
    pub taps: u32,
}

/// Which elements make each element of the result, `[extent, taps]` each.
#[derive(Clone, Copy, Debug)]
pub struct Taps<'m> {
    /// i32, in `0..n`; an index beyond is taken for the last.
    pub indices: Slice<'m>,
    /// f32.
    pub weights: Slice<'m>,
    /// Where the position of the first index beyond is reported, as
    /// [`Indices::fault`](crate::gather::Indices); nothing to report none.
    pub fault: Slice<'m>,
}

/// How a resize picks its samples; in the order of `enum Mode` in `resample.cu`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum ResizeMode {
    /// The nearest element, the lower one of two.
    Nearest,
    /// Between the two elements around.
    Linear,
    /// Cubic convolution (Keys, 1981), `a = -0.75`, antialiased `a = -0.5`.
    Cubic,
}

/// One axis of a resize from `n` elements to `extent`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ResizeAxis {
    /// How samples are picked.
    pub mode: ResizeMode,
    /// Whether the filter leaves out what lies beyond the edge, and divides by the weights that are left.
    pub antialias: bool,
    /// Whether the first and the last element are samples; else samples are centers of their elements.
    pub align_corners: bool,
    /// Elements of the input, at least 1.
    pub n: u32,
    /// Elements of the output.
    pub extent: u32,
    /// Elements that each output takes.
    pub taps: u32,
    /// Elements of the input from one sample to the next.
    pub step: f64,
    /// How much wider the filter is than without antialiasing.
    pub widening: f64,
    /// Elements that the filter reaches on each side of a sample.
    pub reach: f64,
}

/// `y[o, i, :] = Σ t weights[i, t] x[o, indices[i, t], :]`, summed in f32 in the order of `t`.
///
/// # Errors
/// [`DeviceError::Defect`] if an operand is too short or there is nothing to take elements from, or a
/// refused launch.
pub fn resample(
    queue: &mut Queue<'_>,
    form: Form,
    shape: &ResampleShape,
    table: &Taps<'_>,
    (x, y): (Slice<'_>, Slice<'_>),
) -> Result<(), DeviceError> {
    let ResampleShape { outer, n, inner, extent, taps } = *shape;
    let lanes = u64::from(outer) * u64::from(inner);
    let (inputs, outputs) = (lanes.saturating_mul(n.into()), lanes.saturating_mul(extent.into()));
    let entries_of = u64::from(extent) * u64::from(taps);
    if outputs >= 1 << 31 || n == 0 && outputs > 0 && taps > 0 {
        return Err(DeviceError::Defect("a resampling of no elements, or of 2^31 or more"));
    }
    let reports = table.fault.bytes() > 0;
    let kernel = entries::Resample {
        x: x.elements(inputs, form.bytes())?,
        indices: table.indices.elements(entries_of, 4)?,
        weights: table.weights.elements(entries_of, 4)?,
        y: y.elements(outputs, form.bytes())?,
        fault: table.fault.elements(reports.into(), 8)?,
        count: outputs as u32,
        n,
        inner,
        extent,
        taps,
    };
    match outputs {
        // Nobody reads the indices then, and bad ones are told all the same.
        0 if reports => {
            let indices = Indices { dtype: DType::I32, slice: table.indices, fault: table.fault };
            let tuples = usize::try_from(entries_of).unwrap_or(usize::MAX);
            let at = TuplesAt { batch: 1, extents: &[n as usize], slice: 0, tuples };
            check(queue, at, indices)
        }
        0 => Ok(()),
        _ => queue.launch(&kernel, form, queue.over(outputs, 256)),
    }
}

/// Writes what the outputs of a resize are made of: elements beyond the edge are the edge's. Numbers are
/// those of the same formulas in f64, rounded to f32.
///
/// # Errors
/// [`DeviceError::Defect`] if the table is too short, or a refused launch.
pub fn resize_taps(
    queue: &mut Queue<'_>,
    axis: &ResizeAxis,
    table: &Taps<'_>,
) -> Result<(), DeviceError> {
    let ResizeAxis { mode, antialias, align_corners, n, extent, taps, .. } = *axis;
    let entries_of = u64::from(extent) * u64::from(taps);
    if n == 0 || taps == 0 || entries_of >= 1 << 31 {
        return Err(DeviceError::Defect("a resize of no elements, or of 2^31 weights or more"));
    }
    let kernel = entries::ResizeTaps {
        indices: table.indices.elements(entries_of, 4)?,
        weights: table.weights.elements(entries_of, 4)?,
        axis: parameters::ResizeAxis {
            step: axis.step,
            widening: axis.widening,
            reach: axis.reach,
            n,
            extent,
            taps,
            mode: mode as u32,
            antialias: antialias.into(),
            align_corners: align_corners.into(),
        },
    };
    match extent {
        0 => Ok(()),
        _ => queue.launch(&kernel, Form::Plain, Grid::linear(extent.div_ceil(128), 128)),
    }
}
