//! Softmax and log-softmax over one axis (ONNX `Softmax-13`, `LogSoftmax-13`).
//!
//! Rows of up to 8,192 aligned elements are read once, others once a pass: largest, sum, result. Lanes
//! that are no rows are read twice (arXiv:1805.02867).

use crate::entries;
use crate::error::DeviceError;
use crate::lanes::{Lanes, column_grid, is_vector, row_grid};
use crate::launch::Form;
use crate::memory::Slice;
use crate::queue::Queue;

/// Rows up to this length have one thread each.
const ROW_OF_THREAD_MAX: u32 = 8;

/// `y = exp(x - max) / Σ exp(x - max)` over the middle axis of `lanes`, or with `logarithm` its
/// logarithm; floats, computed in f32 and rounded once. `y` may be `x`.
///
/// A lane of only `-inf` gives zeros, and with `logarithm` itself. A NaN in a lane makes all of it
/// NaN, as does `inf`.
///
/// # Errors
/// [`DeviceError::Defect`] if an operand is too short, or a refused launch.
pub fn softmax(
    queue: &mut Queue<'_>,
    lanes: Lanes,
    logarithm: bool,
    form: Form,
    (x, y): (Slice<'_>, Slice<'_>),
) -> Result<(), DeviceError> {
    let elements = lanes.elements()?;
    let vector = is_vector(form, lanes.n, x.is_aligned(16) && y.is_aligned(16));
    let (x, y) = (x.elements(elements, form.bytes())?, y.elements(elements, form.bytes())?);
    let Lanes { outer, n, inner } = lanes;
    if elements == 0 {
        return Ok(());
    }
    let logarithm = logarithm.into();
    if inner == 1 && n > ROW_OF_THREAD_MAX {
        let vector = vector.into();
        let kernel = entries::SoftmaxRows { x, y, rows: outer, n, logarithm, vector };
        return queue.launch(&kernel, form, row_grid(form, outer, n));
    }
    let columns = outer * inner;
    let kernel = entries::SoftmaxColumns { x, y, columns, n, inner, logarithm };
    queue.launch(&kernel, form, column_grid(columns, n))
}
