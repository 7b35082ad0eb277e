//! Weighted sums of elements along one axis: what every separable resampling is.

use crate::entries;
use crate::error::DeviceError;
use crate::launch::Form;
use crate::memory::Slice;
use crate::queue::Queue;

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
    let kernel = entries::Resample {
        x: x.elements(inputs, form.bytes())?,
        indices: table.indices.elements(entries_of, 4)?,
        weights: table.weights.elements(entries_of, 4)?,
        y: y.elements(outputs, form.bytes())?,
        count: outputs as u32,
        n,
        inner,
        extent,
        taps,
    };
    match outputs {
        0 => Ok(()),
        _ => queue.launch(&kernel, form, queue.over(outputs, 256)),
    }
}
