//! Largest element and mean of windows (ONNX `MaxPool-12`, `AveragePool-19`).

use crate::conv::Axis;
use crate::entries;
use crate::error::DeviceError;
use crate::launch::{Address, Form};
use crate::memory::Slice;
use crate::parameters;
use crate::queue::Queue;

/// Extents of a pooling. `x: [planes, input.., inner]`, `y: [planes, output.., inner]`: planes are the
/// batch times channels and `inner` is 1, or the batch and the channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolShape {
    /// Planes of `x` and of the result.
    pub planes: u32,
    /// Elements from one position to the next.
    pub inner: u32,
    /// How the window moves.
    pub axes: [Axis; 3],
}

/// The largest element of each window, where NaN wins; `-inf`, or the lowest integer, where a window lies
/// on no element. Floats, i8, u8, i32 and i64.
///
/// # Errors
/// [`DeviceError::Defect`] if an operand is too short, or a refused launch.
pub fn max_pool(
    queue: &mut Queue<'_>,
    form: Form,
    shape: &PoolShape,
    (x, y): (Slice<'_>, Slice<'_>),
) -> Result<(), DeviceError> {
    let Job { x, y, n, shape } = Job::new(form, shape, (x, y))?;
    match n {
        0 => Ok(()),
        _ => queue.launch(&entries::MaxPool { x, y, n, shape }, form, queue.over(n.into(), 256)),
    }
}

/// The mean of each window over its elements that lie on the input, or with `count_pads` over all of
/// them; 0 where a window lies on no element. Floats; summed in f32.
///
/// # Errors
/// As [`max_pool`].
pub fn average_pool(
    queue: &mut Queue<'_>,
    form: Form,
    shape: &PoolShape,
    count_pads: bool,
    (x, y): (Slice<'_>, Slice<'_>),
) -> Result<(), DeviceError> {
    let Job { x, y, n, mut shape } = Job::new(form, shape, (x, y))?;
    shape.count_pads = count_pads.into();
    match n {
        0 => Ok(()),
        _ => {
            let kernel = entries::AveragePool { x, y, n, shape };
            queue.launch(&kernel, form, queue.over(n.into(), 256))
        }
    }
}

/// A checked call.
struct Job {
    x: Address,
    y: Address,
    n: u32,
    shape: parameters::PoolShape,
}

impl Job {
    fn new(
        form: Form,
        shape: &PoolShape,
        (x, y): (Slice<'_>, Slice<'_>),
    ) -> Result<Job, DeviceError> {
        let PoolShape { planes, inner, axes } = *shape;
        let all = |of: fn(&Axis) -> u32| {
            let lanes = u64::from(planes) * u64::from(inner);
            axes.iter().fold(lanes, |all, axis| all.saturating_mul(of(axis).into()))
        };
        let (inputs, outputs) = (all(|axis| axis.input), all(|axis| axis.output));
        let reaches = |axis: &Axis| {
            u64::from(axis.output) * u64::from(axis.stride)
                + u64::from(axis.kernel) * u64::from(axis.dilation)
                + u64::from(axis.input)
                + u64::from(axis.before)
                < 1 << 31
        };
        let steps = |axis: &Axis| axis.stride > 0 && axis.dilation > 0;
        if outputs >= 1 << 31 || !axes.iter().all(|axis| reaches(axis) && steps(axis)) {
            return Err(DeviceError::Defect(
                "a pooling of 2^31 elements or more, or without steps",
            ));
        }
        let size = form.bytes();
        Ok(Job {
            x: x.elements(inputs, size)?,
            y: y.elements(outputs, size)?,
            n: outputs as u32,
            shape: parameters::PoolShape {
                planes,
                inner,
                input: axes.map(|axis| axis.input),
                output: axes.map(|axis| axis.output),
                kernel: axes.map(|axis| axis.kernel),
                stride: axes.map(|axis| axis.stride),
                dilation: axes.map(|axis| axis.dilation),
                before: axes.map(|axis| axis.before),
                count_pads: 0,
            },
        })
    }
}
