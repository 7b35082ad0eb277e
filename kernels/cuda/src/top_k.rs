//! The largest or smallest elements of rows, in order (ONNX `TopK-11`).

use crate::entries;
use crate::error::DeviceError;
use crate::lanes::elements;
use crate::launch::{Form, Grid};
use crate::memory::Slice;
use crate::queue::Queue;

/// Most elements that are put in order; `SORTED` in `top_k.cu`.
const TOP_K_MAX: u32 = 2048;

/// Operands of a selection.
#[derive(Clone, Copy, Debug)]
pub struct TopK<'m> {
    /// `[rows, n]`, floats or i32.
    pub x: Slice<'m>,
    /// `[rows, k]`, as `x`.
    pub values: Slice<'m>,
    /// `[rows, k]`, i64.
    pub indices: Slice<'m>,
    /// Rows.
    pub rows: u32,
    /// Elements of a row.
    pub n: u32,
    /// Elements to keep, at most `n`.
    pub k: u32,
    /// Whether the largest are kept, not the smallest.
    pub largest: bool,
}

/// Whether [`top_k`] takes `k` of `n` elements: one of them is at most 2048.
pub fn takes(n: u32, k: u32) -> bool {
    n.min(k) <= TOP_K_MAX
}

/// The best `k` of every row, sorted, and their places. Equal elements keep their order; NaN counts as
/// larger than any number.
///
/// # Errors
/// [`DeviceError::Defect`] if an operand is too short, `k` is above `n` or not one that [`takes`]
/// allows, or a refused launch.
pub fn top_k(queue: &mut Queue<'_>, form: Form, top_k: &TopK<'_>) -> Result<(), DeviceError> {
    let TopK { rows, n, k, largest, .. } = *top_k;
    if k > n || !takes(n, k) {
        return Err(DeviceError::Defect("more elements in order than a row or a block has"));
    }
    let results = elements(&[rows, k])?;
    let kernel = entries::TopK {
        x: top_k.x.elements(elements(&[rows, n])?, form.bytes())?,
        values: top_k.values.elements(results, form.bytes())?,
        indices: top_k.indices.elements(results, size_of::<i64>())?,
        n,
        k,
        largest: largest.into(),
    };
    // Half of what is sorted; all that there are where a long row is searched.
    let threads = if n > TOP_K_MAX { 1024 } else { (n.next_power_of_two() / 2).clamp(32, 1024) };
    match results {
        0 => Ok(()),
        _ => queue.launch(&kernel, form, Grid::linear(rows, threads)),
    }
}
