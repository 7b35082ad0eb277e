//! Updates of elements and slices at indices, as if made one after the other in row-major order: of
//! several updates of one place the last one stays, and sums have one order.
//!
//! An index that is out of range updates nothing and is reported as in [`crate::gather`].

use crate::entries;
use crate::error::DeviceError;
use crate::gather::{ElementsAt, Indices, TuplesAt, product, row_word, word_form};
use crate::launch::{Form, Grid, is_signed};
use crate::memory::Slice;
use crate::queue::Queue;
use aimass_tensor::DType;

/// What an update does with the element that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScatterMode {
    /// Takes its place.
    Replace,
    /// Is added to it; integers wrap.
    Add,
    /// Is multiplied with it; integers wrap.
    Mul,
    /// The larger one stays; NaN wins.
    Max,
    /// The smaller one stays; NaN wins.
    Min,
}

/// The same with the dtype; in the order of `enum Update` in `scatter.cu`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
enum Update {
    Replace,
    Add,
    Mul,
    Max,
    MaxSigned,
    Min,
    MinSigned,
    AddFloat,
    MulFloat,
    MaxFloat,
    MinFloat,
}

/// Threads of a block, and those of a block that takes one line together.
const THREADS: u32 = 128;
const WARP: u32 = 32;
/// Lines from which each has a thread of its own.
const LINES_MIN: u32 = 4096;
/// Most tuples of which each is compared with all others.
const PAIRS_MAX: u32 = 1 << 14;

/// Whether there is a kernel: any whole bytes to replace; integers of 8 to 64 bits, f32 and f64 for
/// the other modes.
pub fn has_mode(mode: ScatterMode, dtype: DType) -> bool {
    update(mode, dtype).is_some()
}

fn update(mode: ScatterMode, dtype: DType) -> Option<Update> {
    let float = matches!(dtype, DType::F32 | DType::F64);
    if mode == ScatterMode::Replace {
        return dtype.size().and_then(Form::of_size).map(|_| Update::Replace);
    }
    if !float && Form::of_integer(dtype).is_none() {
        return None;
    }
    Some(match (mode, float, is_signed(dtype)) {
        (ScatterMode::Replace, _, _) => Update::Replace,
        (ScatterMode::Add, true, _) => Update::AddFloat,
        (ScatterMode::Add, false, _) => Update::Add,
        (ScatterMode::Mul, true, _) => Update::MulFloat,
        (ScatterMode::Mul, false, _) => Update::Mul,
        (ScatterMode::Max, true, _) => Update::MaxFloat,
        (ScatterMode::Max, false, true) => Update::MaxSigned,
        (ScatterMode::Max, false, false) => Update::Max,
        (ScatterMode::Min, true, _) => Update::MinFloat,
        (ScatterMode::Min, false, true) => Update::MinSigned,
        (ScatterMode::Min, false, false) => Update::Min,
    })
}

/// Updates and what they do.
#[derive(Clone, Copy, Debug)]
pub struct Updates<'s> {
    /// Dtype of the updates and of the value.
    pub dtype: DType,
    /// What they do.
    pub mode: ScatterMode,
    /// The updates, dense.
    pub slice: Slice<'s>,
}

/// Writes or combines updates, of the extents of the indices, into `y` (ONNX `ScatterElements-18`).
///
/// # Errors
/// [`DeviceError::Defect`] for another dtype (see [`has_mode`]), if extents do not fit or an operand
/// is too short; a refused launch.
pub fn scatter_elements(
    queue: &mut Queue<'_>,
    updates: Updates<'_>,
    at: ElementsAt<'_>,
    indices: Indices<'_>,
    y: Slice<'_>,
) -> Result<(), DeviceError> {
    let (update, form) = updates.kernel()?;
    let n = product(at.extents)?;
    let (index, fault, index_type) = indices.of(n)?;
    let (mut layout, along) = at.layout(index_type)?;
    // Of the lines along the axis: all other axes.
    let inner = at.shape.len() - 1 - at.axis;
    layout.extents[inner] = 1;
    let kernel = entries::ScatterElements {
        updates: updates.slice.elements(n.into(), form.bytes())?,
        indices: index,
        y: y.elements(product(at.shape)?.into(), form.bytes())?,
        fault,
        layout: crate::parameters::Strides { words: n / along.count.max(1), ..layout },
        along,
        update: update as u32,
        together: u32::from(together(n / along.count.max(1), along.count)),
    };
    match n {
        0 => Ok(()),
        _ => queue.launch(&kernel, form, line_grid(queue, kernel.layout.words, kernel.together)),
    }
}

/// Writes or combines updates, `[tuples, slice]`, into slices of `y` (ONNX `ScatterND-18`); one batch
/// item.
///
/// # Errors
/// As [`scatter_elements`].
pub fn scatter_tuples(
    queue: &mut Queue<'_>,
    updates: Updates<'_>,
    at: TuplesAt<'_>,
    indices: Indices<'_>,
    y: Slice<'_>,
) -> Result<(), DeviceError> {
    let (update, form) = updates.kernel()?;
    if at.batch != 1 {
        return Err(DeviceError::Defect("updates of more than one batch item"));
    }
    let n = product(&[at.tuples, at.slice])?;
    let (indices_at, fault, _) = indices.of(at.indices()?)?;
    let size = form.bytes();
    let source = updates.slice.elements(n.into(), size)?;
    let target = y.elements(at.elements()?.into(), size)?;
    if n == 0 {
        return crate::gather::check(queue, at, indices);
    }
    if update == Update::Replace && at.tuples <= PAIRS_MAX as usize {
        let word = row_word(size, at.slice, &[updates.slice, y])?;
        let layout = at.layout(word / size, indices.dtype)?;
        let kernel = entries::ScatterSlices {
            updates: source,
            indices: indices_at,
            y: target,
            fault,
            layout,
        };
        let grid = Grid::linear(queue.in_turn(layout.tuples), THREADS);
        return queue.launch(&kernel, word_form(word), grid);
    }
    let layout = at.layout(1, indices.dtype)?;
    let kernel = entries::ScatterTuples {
        updates: source,
        indices: indices_at,
        y: target,
        fault,
        layout,
        update: update as u32,
        together: u32::from(together(layout.slice, layout.tuples)),
    };
    queue.launch(&kernel, form, line_grid(queue, layout.slice, kernel.together))
}

impl Updates<'_> {
    fn kernel(&self) -> Result<(Update, Form), DeviceError> {
        let update = update(self.mode, self.dtype);
        let form = self.dtype.size().and_then(Form::of_size);
        update.zip(form).ok_or(DeviceError::Defect("no kernel for updates of this dtype"))
    }
}

/// Whether a warp takes each line, rather than a thread.
fn together(lines: u32, count: u32) -> bool {
    lines < LINES_MIN && count > WARP
}

fn line_grid(queue: &Queue<'_>, lines: u32, together: u32) -> Grid {
    match together {
        0 => queue.over(lines.into(), THREADS),
        _ => Grid::linear(queue.in_turn(lines), WARP),
    }
}
