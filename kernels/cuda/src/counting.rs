//! Values that are made by counting.

use crate::entries;
use crate::error::DeviceError;
use crate::gather::{index_code, product, small};
use crate::launch::{Form, Grid};
use crate::memory::Slice;
use crate::parameters::ELEMENTWISE_THREADS;
use crate::queue::Queue;
use aimass_tensor::DType;

/// Threads of a block that numbers a sequence.
const THREADS: u32 = 128;

/// Rows of `depth` elements of which the indexed one is `one` and the others are 0; an index outside
/// gives zeros. Indices are integers of 8 to 64 bits; `one` is an element of 1, 2, 4 or 8 bytes.
///
/// # Errors
/// [`DeviceError::Defect`] for another dtype or size, or if an operand is too short; a refused launch.
pub fn one_hot(
    queue: &mut Queue<'_>,
    (indices, dtype, count): (Slice<'_>, DType, usize),
    depth: usize,
    one: &[u8],
    out: Slice<'_>,
) -> Result<(), DeviceError> {
    let size = one.len();
    let form = Form::of_size(size).ok_or(DeviceError::Defect("elements of no kernel's size"))?;
    let mut bits = [0; 8];
    bits.iter_mut().zip(one).for_each(|(to, byte)| *to = *byte);
    let n = product(&[count, depth])?;
    let kernel = entries::OneHot {
        indices: indices.elements(small(count)?.into(), dtype.size().unwrap_or(1))?,
        y: out.elements(n.into(), size)?,
        n,
        depth: small(depth)?,
        index_type: index_code(dtype)?,
        one: u64::from_le_bytes(bits),
    };
    match n {
        0 => Ok(()),
        n => queue.launch(&kernel, form, queue.over(n.into(), ELEMENTWISE_THREADS)),
    }
}

/// i64 of `[outer, extent, inner]`: `start, start + step, ..` along the middle axis, wrapping.
///
/// # Errors
/// [`DeviceError::Defect`] if the output is too short; a refused launch.
pub fn iota(
    queue: &mut Queue<'_>,
    [outer, extent, inner]: [usize; 3],
    (start, step): (i64, i64),
    out: Slice<'_>,
) -> Result<(), DeviceError> {
    let n = product(&[outer, extent, inner])?;
    let y = out.elements(n.into(), 8)?;
    match n {
        0 => Ok(()),
        n => {
            let (extent, inner) = (small(extent)?, small(inner)?);
            let kernel = entries::Iota { y, n, extent, inner, start, step };
            queue.launch(&kernel, Form::Plain, queue.over(n.into(), ELEMENTWISE_THREADS))
        }
    }
}

/// Position of each of `rows` rows within its sequence, from 0, as u32. `offsets` are u32: where each
/// sequence begins, and the number of rows.
///
/// # Errors
/// [`DeviceError::Defect`] if an operand is too short; a refused launch.
pub fn positions(
    queue: &mut Queue<'_>,
    (offsets, sequences): (Slice<'_>, usize),
    rows: usize,
    out: Slice<'_>,
) -> Result<(), DeviceError> {
    let kernel = entries::Positions {
        offsets: offsets.elements(sequences as u64 + 1, 4)?,
        y: out.elements(rows as u64, 4)?,
        sequences: small(sequences)?,
        rows: small(rows)?,
    };
    match kernel.rows.min(kernel.sequences) {
        0 => Ok(()),
        _ => {
            let grid = Grid::linear(queue.in_turn(kernel.sequences), THREADS);
            queue.launch(&kernel, Form::Plain, grid)
        }
    }
}
