//! Running sums and products (ONNX `CumSum-14`).

use crate::entries;
use crate::error::DeviceError;
use crate::lanes::Lanes;
use crate::launch::{Form, Grid};
use crate::memory::Slice;
use crate::parameters::ScanLanes;
use crate::queue::Queue;

/// What runs along an axis, and how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scan {
    /// A product instead of a sum.
    pub product: bool,
    /// Leaves out the element at the place itself.
    pub exclusive: bool,
    /// Begins at the end.
    pub reverse: bool,
}

/// Threads of a block.
const THREADS: u32 = 256;
/// Length from which the threads of a block share a lane.
const SHARED_MIN: u32 = 128;
/// Lanes that are as many as this have one thread each.
const LANES_ENOUGH: u64 = 16_384;

/// Running results along the middle axis of `lanes`, of floats, i32 or i64; `y` is as `x` and may be
/// `x`. Integers wrap; floats are accumulated in f32 and rounded for each element.
///
/// # Errors
/// [`DeviceError::Defect`] if an operand is too short, or a refused launch.
pub fn cumulative(
    queue: &mut Queue<'_>,
    lanes: Lanes,
    scan: Scan,
    form: Form,
    (x, y): (Slice<'_>, Slice<'_>),
) -> Result<(), DeviceError> {
    let all = lanes.elements()?;
    let (x, y) = (x.elements(all, form.bytes())?, y.elements(all, form.bytes())?);
    if all == 0 {
        return Ok(());
    }
    let count = lanes.lanes()?;
    let own = ScanLanes {
        lanes: count as u32,
        n: lanes.n,
        inner: lanes.inner,
        exclusive: scan.exclusive.into(),
        reverse: scan.reverse.into(),
    };
    // Products overflow in another order than they are asked for.
    if !scan.product && lanes.n >= SHARED_MIN && count < LANES_ENOUGH {
        let kernel = entries::CumulativeTiles { x, y, scan: own };
        return queue.launch(&kernel, form, Grid::linear(own.lanes, THREADS));
    }
    let kernel = entries::Cumulative { x, y, scan: own, product: scan.product.into() };
    queue.launch(&kernel, form, Grid::linear(own.lanes.div_ceil(THREADS), THREADS))
}
