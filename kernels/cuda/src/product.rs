//! Operands of matrix products: where they lie, and that they lie in their memory.

use crate::error::DeviceError;
use crate::finish::Finish;
use crate::launch::{Address, Form};
use crate::memory::Slice;

/// Extents of a batched product `[batch, m, k] [batch, k, n] = [batch, m, n]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProductDims {
    /// Products.
    pub batch: u32,
    /// Rows of the left side.
    pub m: u32,
    /// Columns of the right side.
    pub n: u32,
    /// Length of the sums.
    pub k: u32,
}

/// Matrices in memory, one for each product of a batch; strides are in elements.
#[derive(Clone, Copy, Debug)]
pub struct Matrix<'m> {
    /// From the first element of the first matrix on.
    pub data: Slice<'m>,
    /// [`Form::F32`], [`Form::F16`] or [`Form::Bf16`].
    pub form: Form,
    /// From one matrix to the next; 0 if all products share one.
    pub batch_stride: u64,
    /// From one row to the next.
    pub row_stride: u32,
    /// From one column to the next.
    pub column_stride: u32,
}

impl<'m> Matrix<'m> {
    /// Dense row-major matrices.
    pub fn dense(data: Slice<'m>, form: Form, rows: u32, columns: u32) -> Matrix<'m> {
        let batch_stride = u64::from(rows) * u64::from(columns);
        Matrix { data, form, batch_stride, row_stride: columns, column_stride: 1 }
    }

    /// Dense matrices that are stored transposed: `[columns, rows]`.
    pub fn transposed(data: Slice<'m>, form: Form, rows: u32, columns: u32) -> Matrix<'m> {
        let batch_stride = u64::from(rows) * u64::from(columns);
        Matrix { data, form, batch_stride, row_stride: 1, column_stride: rows }
    }

    /// The same matrix for every product.
    pub fn shared(self) -> Matrix<'m> {
        Matrix { batch_stride: 0, ..self }
    }

    /// The address, if every element of `batch` matrices is there. One matrix ends within 2^31
    /// elements, so that kernels may count them in 32 bits.
    pub(crate) fn checked(&self, [batch, rows, columns]: [u32; 3]) -> Result<Address, DeviceError> {
        if batch == 0 || rows == 0 || columns == 0 {
            return self.data.elements(0, self.form.bytes());
        }
        let reach = |count: u32, stride: u64| u64::from(count - 1).checked_mul(stride);
        let own = reach(rows, self.row_stride.into())
            .zip(reach(columns, self.column_stride.into()))
            .and_then(|(rows, columns)| rows.checked_add(columns))
            .filter(|&own| own < 1 << 31);
        let all = own
            .zip(reach(batch, self.batch_stride))
            .and_then(|(own, batch)| own.checked_add(batch).and_then(|last| last.checked_add(1)));
        match all {
            Some(all) => self.data.elements(all, self.form.bytes()),
            None => Err(DeviceError::Defect("an operand of a product passes 2^31 elements")),
        }
    }

    /// As [`Matrix::checked`], of what is written: rows are dense and no two elements are one.
    pub(crate) fn checked_output(&self, extents: [u32; 3]) -> Result<Address, DeviceError> {
        let [batch, rows, columns] = extents;
        let own = u64::from(rows.saturating_sub(1)) * u64::from(self.row_stride);
        let nothing = extents.contains(&0);
        let apart = nothing
            || (rows <= 1 || self.row_stride >= columns)
                && (batch <= 1 || self.batch_stride >= own + u64::from(columns));
        match self.column_stride == 1 && apart {
            true => self.checked(extents),
            false => Err(DeviceError::Defect("an output of a product whose elements overlap")),
        }
    }

    /// Whether `bytes` may be loaded at once along the axis of stride 1: every row of that axis
    /// begins at a multiple of them.
    pub(crate) fn is_vector(&self, bytes: usize) -> bool {
        let elements = bytes / self.form.bytes();
        let other = match (self.row_stride, self.column_stride) {
            (other, 1) | (1, other) => other,
            _ => return false,
        };
        let whole = |stride: u64| stride.is_multiple_of(elements as u64);
        self.data.is_aligned(bytes as u64) && whole(other.into()) && whole(self.batch_stride)
    }
}

/// What happens to a product on its way to memory: `finish(sums + bias, residual)`.
#[derive(Clone, Copy, Debug, Default)]
pub struct ProductEnd<'m> {
    /// `[n]`, of the type of the output.
    pub bias: Option<Slice<'m>>,
    /// As the output, which it may be; added as `finish` says.
    pub residual: Option<Matrix<'m>>,
    /// Applied to product and bias.
    pub finish: Finish,
}

/// Number of a form in `enum Kind` of `product.cuh`.
pub(crate) fn kind(form: Form) -> Result<u32, DeviceError> {
    match form {
        Form::F32 => Ok(0),
        Form::F16 => Ok(1),
        Form::Bf16 => Ok(2),
        Form::I32
        | Form::I64
        | Form::I8
        | Form::U8
        | Form::B8
        | Form::B16
        | Form::B32
        | Form::B64
        | Form::B128
        | Form::Plain => Err(DeviceError::Defect("a product of what are no floats")),
    }
}

/// Shape and strides as kernels take them.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct ProductShape {
    pub(crate) a_batch: u64,
    pub(crate) b_batch: u64,
    pub(crate) c_batch: u64,
    pub(crate) residual_batch: u64,
    pub(crate) batch: u32,
    pub(crate) m: u32,
    pub(crate) n: u32,
    pub(crate) k: u32,
    pub(crate) splits: u32,
    pub(crate) k_split: u32,
    pub(crate) a_row: u32,
    pub(crate) a_column: u32,
    pub(crate) b_row: u32,
    pub(crate) b_column: u32,
    pub(crate) c_row: u32,
    pub(crate) residual_row: u32,
    pub(crate) a_kind: u32,
    pub(crate) b_kind: u32,
    pub(crate) a_vector: u32,
    pub(crate) b_vector: u32,
}

/// Where sums go, as kernels take it.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Target {
    pub(crate) bias: Address,
    pub(crate) residual: Address,
    pub(crate) c: Address,
    pub(crate) partial: Address,
}
