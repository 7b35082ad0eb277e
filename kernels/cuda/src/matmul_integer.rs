//! Matrix products of 8-bit integers (ONNX `MatMulInteger-10`), exact modulo 2^32.

use crate::entries;
use crate::error::DeviceError;
use crate::launch::{Address, Form, Grid};
use crate::memory::Slice;
use crate::parameters::IntegerShape;
use crate::product::ProductDims;
use crate::queue::Queue;

/// Rows up to which the tiles are small.
const FEW_ROWS: u32 = 16;

/// One side of a product of bytes: dense row-major matrices, one for each product of a batch.
#[derive(Clone, Copy, Debug)]
pub struct ByteMatrix<'m> {
    /// From the first element of the first matrix on.
    pub data: Slice<'m>,
    /// Whether elements and zero points are i8; else they are u8.
    pub signed: bool,
    /// Elements from one matrix to the next; 0 if all products share one.
    pub batch_stride: u64,
    /// What is subtracted from the elements.
    pub zeros: ZeroPoints<'m>,
}

/// Zero points of one side of a product, of its type.
#[derive(Clone, Copy, Debug)]
pub struct ZeroPoints<'m> {
    /// Nothing for zeros.
    pub data: Slice<'m>,
    /// Whether every row (of the left side) or column (of the right one) has its own.
    pub each: bool,
    /// From those of one product to those of the next; 0 if all share them.
    pub batch_stride: u64,
}

/// What becomes of the sums of a product of bytes.
#[derive(Clone, Copy, Debug)]
pub enum IntegerEnd<'m> {
    /// i32.
    I32,
    /// f32, rounded to nearest.
    F32,
    /// f32 times one number.
    ScaledByOne(Slice<'m>),
    /// f32 times the number of the column: `[n]`.
    ScaledByColumn(Slice<'m>),
}

impl<'m> ZeroPoints<'m> {
    /// Zeros.
    pub fn none() -> ZeroPoints<'m> {
        ZeroPoints { data: Slice::none(), each: false, batch_stride: 0 }
    }

    fn checked(&self, batch: u32, len: u32) -> Result<Address, DeviceError> {
        if self.data.bytes() == 0 {
            return Ok(Address(0));
        }
        let own = if self.each { u64::from(len) } else { 1 };
        self.data.elements(reach(batch, self.batch_stride, own)?, 1)
    }
}

/// Elements up to the end of the last of `batch` groups of `own`.
fn reach(batch: u32, stride: u64, own: u64) -> Result<u64, DeviceError> {
    if batch == 0 || own == 0 {
        return Ok(0);
    }
    u64::from(batch - 1)
        .checked_mul(stride)
        .and_then(|last| last.checked_add(own))
        .ok_or(DeviceError::Defect("an operand of a product of bytes passes 2^64 elements"))
}

impl ByteMatrix<'_> {
    fn checked(&self, [batch, rows, columns]: [u32; 3]) -> Result<Address, DeviceError> {
        let own = u64::from(rows) * u64::from(columns);
        if own >= 1 << 31 {
            return Err(DeviceError::Defect("a matrix of 2^31 bytes or more"));
        }
        self.data.elements(reach(batch, self.batch_stride, own)?, 1)
    }

    /// Whether rows of `row` bytes may be read four bytes at a time.
    fn is_vector(&self, row: u32) -> bool {
        self.data.is_aligned(4) && row.is_multiple_of(4) && self.batch_stride.is_multiple_of(4)
    }
}

/// `c = Σ (a - zero of a) (b - zero of b)` for `a: [batch, m, k]`, `b: [batch, k, n]` and a dense
/// `c: [batch, m, n]`, wrapping.
///
/// # Errors
/// [`DeviceError::Defect`] if an operand is too short or a matrix has 2^31 elements or more, or a refused
/// launch.
pub fn matmul_integer(
    queue: &mut Queue<'_>,
    dims: ProductDims,
    [a, b]: [&ByteMatrix<'_>; 2],
    end: IntegerEnd<'_>,
    c: Slice<'_>,
) -> Result<(), DeviceError> {
    let ProductDims { batch, m, n, k } = dims;
    let all = [batch, m, n].iter().fold(1u64, |all, &n| all.saturating_mul(n.into()));
    if all >= 1 << 31 {
        return Err(DeviceError::Defect("a product of 2^31 elements or more"));
    }
    let (scales, scale) = match end {
        IntegerEnd::I32 | IntegerEnd::F32 => (Address(0), 0),
        IntegerEnd::ScaledByOne(one) => (one.elements(1, 4)?, 0),
        IntegerEnd::ScaledByColumn(each) => (each.elements(n.into(), 4)?, 1),
    };
    let shape = IntegerShape {
        a_batch: a.batch_stride,
        b_batch: b.batch_stride,
        a_zero_batch: a.zeros.batch_stride,
        b_zero_batch: b.zeros.batch_stride,
        batch,
        m,
        n,
        k,
        b_row: n,
        b_column: 1,
        a_signed: a.signed.into(),
        b_signed: b.signed.into(),
        a_vector: a.is_vector(k).into(),
        // Only a vector lies along k.
        b_vector: (n == 1 && b.is_vector(4)).into(),
        a_zero: a.zeros.each.into(),
        b_zero: b.zeros.each.into(),
        scale,
        is_float: (!matches!(end, IntegerEnd::I32)).into(),
    };
    let (a_zeros, b_zeros) = (a.zeros.checked(batch, m)?, b.zeros.checked(batch, n)?);
    let (a, b) = (a.checked([batch, m, k])?, b.checked([batch, k, n])?);
    let c = c.elements(all, 4)?;
    let blocks = |rows: u32, columns: u32| {
        let tiles = u64::from(m.div_ceil(rows)) * u64::from(n.div_ceil(columns));
        // Each tile has an element at least, of which there are fewer than 2^31.
        (u64::from(batch) * tiles) as u32
    };
    match (all, m) {
        (0, _) => Ok(()),
        (_, ..=FEW_ROWS) => {
            let kernel = entries::MatmulIntegerFew { a, b, a_zeros, b_zeros, scales, c, shape };
            queue.launch(&kernel, Form::Plain, Grid::linear(blocks(16, 32), 128))
        }
        (_, _) => {
            let kernel = entries::MatmulIntegerTiles { a, b, a_zeros, b_zeros, scales, c, shape };
            queue.launch(&kernel, Form::Plain, Grid::linear(blocks(64, 64), 256))
        }
    }
}
