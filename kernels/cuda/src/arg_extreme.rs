//! Index of the largest or smallest element of a lane.

use crate::entries;
use crate::error::DeviceError;
use crate::lanes::Lanes;
use crate::launch::{Form, Grid};
use crate::memory::Slice;
use crate::queue::Queue;

/// Threads of a block, along x one for each lane, by the length of a lane.
fn threads(lanes: Lanes) -> [u32; 2] {
    match (lanes.n, lanes.inner) {
        (512.., 1) => [1, 256],
        (..32, _) => [256, 1],
        (_, 1) => [8, 32],
        _ => [32, 8],
    }
}

/// `y[outer, inner]` (i64): index of the first largest element along the middle axis of `lanes`, or
/// of the first smallest unless `largest`; a NaN before any number. `x` holds floats, i32 or i64.
///
/// # Errors
/// [`DeviceError::Defect`] if an operand is too short or lanes have no elements, or a refused launch.
pub fn arg_extreme(
    queue: &mut Queue<'_>,
    lanes: Lanes,
    largest: bool,
    form: Form,
    (x, y): (Slice<'_>, Slice<'_>),
) -> Result<(), DeviceError> {
    let (all, count) = (lanes.elements()?, lanes.lanes()?);
    if count == 0 {
        return Ok(());
    }
    if lanes.n == 0 {
        return Err(DeviceError::Defect("the extreme of no elements"));
    }
    let kernel = entries::ArgExtreme {
        x: x.elements(all, form.bytes())?,
        y: y.elements(count, size_of::<i64>())?,
        lanes: count as u32,
        n: lanes.n,
        inner: lanes.inner,
        largest: largest.into(),
    };
    let [x, y] = threads(lanes);
    let blocks = [kernel.lanes.div_ceil(x), 1, 1];
    queue.launch(&kernel, form, Grid { blocks, threads: [x, y, 1], shared: 0 })
}
