//! One row out of the rows of each sequence, or out of the rows of a table that it names.

use crate::entries;
use crate::error::DeviceError;
use crate::index_type::IndexType;
use crate::lanes::{elements, is_vector};
use crate::launch::{Form, Grid};
use crate::memory::Slice;
use crate::parameters::RaggedRows;
use crate::queue::Queue;

/// How rows become one; in the order of `enum Kind` in `ragged_pool.cu`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Pooling {
    /// Sum of the rows divided by their number.
    Mean,
    /// Sum of the rows.
    Sum,
    /// Largest of each column; NaN if there is one.
    Max,
    /// The first row.
    First,
    /// The last row.
    Last,
}

/// Operands of a pooling.
#[derive(Clone, Copy, Debug)]
pub struct Ragged<'m> {
    /// `[rows, columns]`, floats.
    pub x: Slice<'m>,
    /// `[sequences + 1]` of u32, rising, at most the number of rows, or of indices.
    pub offsets: Slice<'m>,
    /// `[sequences, columns]`, as `x`.
    pub y: Slice<'m>,
    /// Rows of `x`.
    pub rows: u32,
    /// Elements of a row.
    pub columns: u32,
    /// Rows of `y`.
    pub sequences: u32,
}

/// Rows of a table that sequences consist of.
#[derive(Clone, Copy, Debug)]
pub struct Named<'m> {
    /// `[count]`, each a row of the table.
    pub indices: Slice<'m>,
    /// Their type.
    pub index_type: IndexType,
    /// How many there are.
    pub count: u32,
    /// One u64: made the least place of an index that is no row, if that is less than it was.
    pub fault: Slice<'m>,
}

/// Parts of a row that a block has, and threads that share its rows.
const THREADS: [u32; 2] = [32, 8];

/// `y[s] = pool(x[offsets[s]..offsets[s + 1]])`; computed in f32, rounded once. A sequence without
/// rows gives zeros. No row outside of `x` is read, whatever the offsets are.
///
/// # Errors
/// [`DeviceError::Defect`] if an operand is too short, or a refused launch.
pub fn ragged_pool(
    queue: &mut Queue<'_>,
    kind: Pooling,
    form: Form,
    ragged: &Ragged<'_>,
) -> Result<(), DeviceError> {
    pool(queue, kind, form, ragged, None)
}

/// As [`ragged_pool`] of the rows of the table `x` at `named.indices[offsets[s]..offsets[s + 1]]`:
/// an embedding bag. Rows that there are not count as zeros.
///
/// # Errors
/// As [`ragged_pool`].
pub fn ragged_pool_named(
    queue: &mut Queue<'_>,
    kind: Pooling,
    form: Form,
    ragged: &Ragged<'_>,
    named: &Named<'_>,
) -> Result<(), DeviceError> {
    pool(queue, kind, form, ragged, Some(named))
}

fn pool(
    queue: &mut Queue<'_>,
    kind: Pooling,
    form: Form,
    ragged: &Ragged<'_>,
    named: Option<&Named<'_>>,
) -> Result<(), DeviceError> {
    let Ragged { rows, columns, sequences, .. } = *ragged;
    let (size, results) = (form.bytes(), elements(&[sequences, columns])?);
    let vector = is_vector(form, columns, ragged.x.is_aligned(16) && ragged.y.is_aligned(16));
    let none = Slice::none().elements(0, 1)?;
    let (indices, fault, places, index_type) = match named {
        None => (none, none, rows, IndexType::I32),
        Some(named) => (
            named.indices.elements(named.count.into(), named.index_type.bytes())?,
            named.fault.elements(1, size_of::<u64>())?,
            named.count,
            named.index_type,
        ),
    };
    let kernel = entries::RaggedPool {
        x: ragged.x.elements(elements(&[rows, columns])?, size)?,
        offsets: ragged.offsets.elements(u64::from(sequences) + 1, size_of::<u32>())?,
        y: ragged.y.elements(results, size)?,
        ragged: RaggedRows { indices, fault, rows, columns, places, index_type: index_type as u32 },
        kind: kind as u32,
        vector: vector.into(),
    };
    if results == 0 {
        return Ok(());
    }
    let [x, y] = THREADS;
    let blocks = [sequences, columns.div_ceil(x * 16 / size as u32), 1];
    queue.launch(&kernel, form, Grid { blocks, threads: [x, y, 1], shared: 0 })
}
