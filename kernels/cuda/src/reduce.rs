//! Reductions of one axis of a tensor, or of two that do not touch.
//!
//! Lanes that are long and few are cut into slices, which are reduced at once and joined in their
//! order; where they are cut depends on the shape alone.

use crate::entries;
use crate::error::DeviceError;
use crate::lanes::{Lanes, column_grid, elements, is_vector, row_grid};
use crate::launch::{Form, Grid};
use crate::memory::Slice;
use crate::parameters::ReduceLanes;
use crate::queue::Queue;

/// What a lane comes to; in the order of `enum Kind` in `reduce.cu`.
///
/// An empty lane gives 0 (sums and lengths), 1 (product), NaN (mean), or the lowest or highest of
/// the type (max and min).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Reduction {
    /// Sum; integers wrap.
    Sum,
    /// Sum divided by the count; of floats.
    Mean,
    /// Product; integers wrap.
    Prod,
    /// The largest, NaN if there is one; of bools whether any is true.
    Max,
    /// The smallest, NaN if there is one; of bools whether all are true.
    Min,
    /// Sum of squares; of floats.
    SumSquares,
    /// Sum of absolute values; of floats.
    L1,
    /// Root of the sum of squares; of floats.
    L2,
}

/// Rows up to this length have one thread each.
const ROW_OF_THREAD_MAX: u32 = 8;
/// Least elements of a slice.
const SLICE_MIN: u32 = 4096;
/// Blocks that fill any device; lanes that give as many are not cut.
const BLOCKS_ENOUGH: u32 = 512;
/// Length of the last axis from which threads that are neighbors have neighbors along it.
const ACROSS_MIN: u32 = 32;
/// Threads that then share a lane.
const ACROSS_THREADS: u32 = 256;
/// Most slices of a lane.
const SLICES_MAX: u32 = 256;
/// Threads of a block that joins slices: of that many lanes, with that many for each.
const JOINERS: [u32; 2] = [8, 32];

impl Reduction {
    fn takes(self, form: Form) -> bool {
        let integer = matches!(form, Form::I32 | Form::I64);
        let float = matches!(form, Form::F32 | Form::F16 | Form::Bf16);
        match self {
            Reduction::Max | Reduction::Min => float || integer || form == Form::U8,
            Reduction::Sum | Reduction::Prod => float || integer,
            Reduction::Mean | Reduction::SumSquares | Reduction::L1 | Reduction::L2 => float,
        }
    }
}

/// A tensor `[outer, first, between, last, inner]` of which `first` and `last` are reduced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the extents, in order")]
pub struct Reduced {
    pub outer: u32,
    pub first: u32,
    pub between: u32,
    pub last: u32,
    pub inner: u32,
}

impl From<Lanes> for Reduced {
    fn from(Lanes { outer, n, inner }: Lanes) -> Reduced {
        Reduced { outer, first: 1, between: 1, last: n, inner }
    }
}

impl Reduced {
    fn elements(&self) -> Result<u64, DeviceError> {
        elements(&[self.outer, self.first, self.between, self.last, self.inner])
    }

    /// What is left, and what a launch has to know; none if nothing is left.
    fn lanes(&self) -> Result<Option<ReduceLanes>, DeviceError> {
        let Reduced { outer, first, between, last, inner } = *self;
        let lanes = elements(&[outer, between, inner])? as u32;
        if lanes == 0 {
            return Ok(None);
        }
        let n = elements(&[first, last])? as u32;
        // One axis, if nothing is between or one of the two is not there.
        let (between, inner) = match (first, last) {
            (_, 1) => (1, between * inner),
            (1, _) => (1, inner),
            _ => (between, inner),
        };
        let last = if between == 1 { n } else { last };
        Ok(Some(ReduceLanes { lanes, n, between, last, inner, slice: n }))
    }
}

fn are_rows(lanes: &ReduceLanes) -> bool {
    lanes.inner == 1 && lanes.between == 1 && lanes.n > ROW_OF_THREAD_MAX
}

/// Threads for slices of `n` elements of each lane.
fn grid(lanes: &ReduceLanes, form: Form, n: u32) -> Grid {
    if are_rows(lanes) {
        return row_grid(form, lanes.lanes, n);
    }
    match lanes.inner == 1 && lanes.between > 1 && lanes.last >= ACROSS_MIN {
        // Neighbors are along the lane.
        true => Grid { blocks: [lanes.lanes, 1, 1], threads: [1, ACROSS_THREADS, 1], shared: 0 },
        false => column_grid(lanes.lanes, n),
    }
}

/// Elements of a slice of a lane.
fn slice_of(lanes: &ReduceLanes, form: Form) -> u32 {
    let blocks = grid(lanes, form, lanes.n).blocks[0].max(1);
    let slices = (BLOCKS_ENOUGH / blocks).min(lanes.n / SLICE_MIN).clamp(1, SLICES_MAX);
    // A multiple of what is read at a time.
    lanes.n.div_ceil(slices).max(1).next_multiple_of(16)
}

/// Bytes that [`reduce`] needs as `scratch` for this shape; 0 for most.
///
/// # Errors
/// [`DeviceError::Defect`] for 2^31 elements or more.
pub fn scratch_bytes(shape: Reduced, form: Form) -> Result<usize, DeviceError> {
    shape.elements()?;
    let Some(lanes) = shape.lanes()? else { return Ok(0) };
    let slices = lanes.n.div_ceil(slice_of(&lanes, form));
    let each = if form == Form::I64 { 8 } else { 4 };
    let all = lanes.lanes as usize * slices as usize * each;
    Ok(if slices > 1 { all.next_multiple_of(8) } else { 0 })
}

/// Operands of a reduction.
#[derive(Clone, Copy, Debug)]
pub struct ReduceOperands<'m> {
    /// Shape of `x`.
    pub shape: Reduced,
    /// Of `shape`; floats, i32, i64, or bools as u8.
    pub x: Slice<'m>,
    /// `[outer, between, inner]`, as `x`.
    pub y: Slice<'m>,
    /// [`scratch_bytes`], aligned to 8 bytes; its content is lost.
    pub scratch: Slice<'m>,
}

/// Reduces `first` and `last`; floats are accumulated in f32 and rounded once.
///
/// # Errors
/// [`DeviceError::Defect`] if an operand is too short or the reduction has no such form, or a
/// refused launch.
pub fn reduce(
    queue: &mut Queue<'_>,
    kind: Reduction,
    form: Form,
    operands: &ReduceOperands<'_>,
) -> Result<(), DeviceError> {
    let ReduceOperands { shape, x, y, scratch } = *operands;
    if !kind.takes(form) {
        return Err(DeviceError::Defect("a reduction of a type that it does not take"));
    }
    let all = shape.elements()?;
    let Some(mut lanes) = shape.lanes()? else { return Ok(()) };
    lanes.slice = slice_of(&lanes, form);
    let kind = kind as u32;
    let slices = lanes.n.div_ceil(lanes.slice).max(1);
    let vector = is_vector(form, lanes.n, x.is_aligned(16)).into();
    let partial = scratch.elements(scratch_bytes(shape, form)? as u64 / 8, 8)?;
    let (x, y) = (x.elements(all, form.bytes())?, y.elements(lanes.lanes.into(), form.bytes())?);
    let mut grid = grid(&lanes, form, lanes.slice.min(lanes.n));
    grid.blocks[1] = slices;
    match are_rows(&lanes) {
        true => {
            let kernel = entries::ReduceRows { x, y, partial, lanes, kind, vector };
            queue.launch(&kernel, form, grid)?;
        }
        false => {
            let kernel = entries::ReduceColumns { x, y, partial, lanes, kind };
            queue.launch(&kernel, form, grid)?;
        }
    }
    if slices == 1 {
        return Ok(());
    }
    let kernel = entries::ReduceFinish { partial, y, lanes, slices, kind };
    let [x, y] = JOINERS;
    let blocks = [lanes.lanes.div_ceil(x), 1, 1];
    queue.launch(&kernel, form, Grid { blocks, threads: [x, y, 1], shared: 0 })
}
