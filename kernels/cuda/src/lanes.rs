//! A tensor seen as `[outer, n, inner]`, and the threads that share its rows and columns.

use crate::error::DeviceError;
use crate::launch::{Form, Grid};

/// A tensor whose middle axis a kernel works on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lanes {
    /// Product of the extents before the axis.
    pub outer: u32,
    /// Extent of the axis, or of several adjacent ones.
    pub n: u32,
    /// Product of the extents after the axis.
    pub inner: u32,
}

/// Numbers of a row that a thread holds; `ROW_ITEMS` of `row.cuh`.
const ROW_ITEMS: u32 = 16;
/// Threads of a warp.
const WARP: u32 = 32;
/// Most threads that share a row.
const ROW_THREADS_MAX: u32 = 512;
/// Warps of a block where each has its own row.
const ROWS_OF_BLOCK: u32 = 8;

impl Lanes {
    /// Elements of the whole tensor.
    ///
    /// # Errors
    /// [`DeviceError::Defect`] from 2^31 on: kernels count in 32 bits.
    pub fn elements(&self) -> Result<u64, DeviceError> {
        elements(&[self.outer, self.n, self.inner])
    }

    /// Elements of the tensor without the middle axis.
    ///
    /// # Errors
    /// As [`Lanes::elements`].
    pub fn lanes(&self) -> Result<u64, DeviceError> {
        elements(&[self.outer, self.inner])
    }
}

/// Elements of a tensor with these extents.
pub(crate) fn elements(extents: &[u32]) -> Result<u64, DeviceError> {
    extents
        .iter()
        .try_fold(1u64, |all, &extent| all.checked_mul(extent.into()))
        .filter(|&all| all < 1 << 31)
        .ok_or(DeviceError::Defect("a tensor of 2^31 elements or more"))
}

/// Numbers in 16 bytes.
fn part(form: Form) -> u32 {
    16 / form.bytes() as u32
}

/// Whether rows of `n` that begin where `aligned` says can be read 16 bytes at a time.
pub(crate) fn is_vector(form: Form, n: u32, aligned: bool) -> bool {
    aligned && n.is_multiple_of(part(form))
}

/// Groups of threads for rows of `n` (see `row.cuh`): a warp each for short rows, else a block each.
pub(crate) fn row_grid(form: Form, rows: u32, n: u32) -> Grid {
    if n <= WARP * ROW_ITEMS {
        let groups = ROWS_OF_BLOCK.min(rows);
        return Grid {
            blocks: [rows.div_ceil(groups), 1, 1],
            threads: [WARP, groups, 1],
            shared: 0,
        };
    }
    let threads = n.div_ceil(part(form)).next_multiple_of(WARP).min(ROW_THREADS_MAX);
    Grid::linear(rows, threads)
}

/// Threads for lanes that are not rows: along x one for each lane, along y several that share one.
pub(crate) fn column_grid(columns: u32, n: u32) -> Grid {
    let (x, y) = match (columns, n) {
        (_, ..16) => (256, 1),
        (..4096, 512..) => (32, 32),
        _ => (32, 8),
    };
    Grid { blocks: [columns.div_ceil(x), 1, 1], threads: [x, y, 1], shared: 0 }
}
