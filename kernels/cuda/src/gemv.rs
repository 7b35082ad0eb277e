//! Products of 1 to 8 rows, as fast as the right side can be read.

use crate::entries;
use crate::error::DeviceError;
use crate::launch::Grid;
use crate::matmul::Job;
use crate::queue::Queue;

/// Most rows.
const ROWS_MAX: u32 = 8;
/// Warps of a block.
const WARPS: u64 = 8;
/// Columns that a warp sums at once where columns are dense.
const COLUMNS: u64 = 4;
/// Warps that keep a large device loading.
const WARPS_BUSY: u64 = 4096;
/// Steps of `k` below which a block's sum is not split.
const SPLIT_MIN: u32 = 64;

impl Job {
    /// Weights of one 16-byte load.
    fn width(&self) -> u32 {
        (16 / self.forms[1].bytes()) as u32
    }

    /// Whether columns of the right side are dense and can be read so.
    fn has_dense_columns(&self) -> bool {
        let shape = &self.shape;
        let left = self.wide[0] && shape.a_column == 1;
        left && shape.b_row == 1 && shape.k.is_multiple_of(self.width())
    }

    /// Whether rows of the right side are dense and can be read so.
    fn has_dense_rows(&self) -> bool {
        let shape = &self.shape;
        shape.a_column == 1 && shape.b_column == 1 && shape.n.is_multiple_of(self.width())
    }

    /// Whether [`Job::few_rows`] can do it.
    pub(crate) fn is_few_rows(&self) -> bool {
        let fits = self.shape.m <= ROWS_MAX && self.shape.k > 0 && self.wide[1];
        fits && (self.has_dense_columns() || self.has_dense_rows())
    }

    /// The product of few rows.
    pub(crate) fn few_rows(self, queue: &mut Queue<'_>) -> Result<(), DeviceError> {
        match self.has_dense_columns() {
            true => self.dense_columns(queue),
            false => self.dense_rows(queue),
        }
    }

    fn dense_columns(mut self, queue: &mut Queue<'_>) -> Result<(), DeviceError> {
        let groups = u64::from(self.shape.batch) * u64::from(self.shape.n).div_ceil(COLUMNS);
        let loads = self.shape.k.div_ceil(32 * self.width());
        let wanted = WARPS_BUSY.div_ceil(groups).min(loads.into()).min(WARPS);
        let share = 1 << wanted.max(1).ilog2();
        self.shape.k_split = share as u32;
        let across = u64::from(self.shape.n).div_ceil(WARPS / share * COLUMNS);
        let grid = grid(u64::from(self.shape.batch) * across)?;
        let Job { a, b, to, shape, ending, forms: [_, form], .. } = self;
        match shape.m {
            1 => {
                let kernel = entries::GemvColumnsOne { a, b, to, shape, ending };
                queue.launch(&kernel, form, grid)
            }
            _ => {
                let kernel = entries::GemvColumnsFew { a, b, to, shape, ending };
                queue.launch(&kernel, form, grid)
            }
        }
    }

    fn dense_rows(mut self, queue: &mut Queue<'_>) -> Result<(), DeviceError> {
        let across = u64::from(self.shape.n).div_ceil(u64::from(32 * self.width()));
        let blocks = u64::from(self.shape.batch) * across;
        let most = u64::from(self.shape.k / SPLIT_MIN).max(1);
        let splits = (WARPS_BUSY / WARPS).div_ceil(blocks).min(most);
        let splits = self.split(queue, splits)?;
        let grid = grid(blocks * u64::from(splits))?;
        let Job { a, b, to, shape, ending, forms: [_, form], .. } = self;
        match shape.m {
            1 => {
                let kernel = entries::GemvRowsOne { a, b, to, shape, ending };
                queue.launch(&kernel, form, grid)?;
            }
            _ => {
                let kernel = entries::GemvRowsFew { a, b, to, shape, ending };
                queue.launch(&kernel, form, grid)?;
            }
        }
        self.gather(queue)
    }
}

fn grid(blocks: u64) -> Result<Grid, DeviceError> {
    match u32::try_from(blocks) {
        Ok(blocks) if blocks < 1 << 31 => Ok(Grid::linear(blocks, WARPS as u32 * 32)),
        Ok(_) | Err(_) => Err(DeviceError::Defect("a product of more than 2^31 blocks")),
    }
}
