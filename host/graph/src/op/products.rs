//! Products of matrices of any number dtype, as `matmul`, `linear` and `dot-general` need them.

use super::{DTYPE_DEFECT, with_number};
use crate::RunError;
use aimass_cpu::elementwise::Number;
use aimass_cpu::matmul::{MatmulDims, Operand, matmul_dynamic, matmul_numbers};
use aimass_cpu::pool::Team;
use aimass_cpu::view::{numbers, numbers_mut};
use aimass_tensor::{DType, Element};

/// Where the matrices of one side of a product lie, in elements.
#[derive(Clone, Copy)]
pub(super) struct Side<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) batch_stride: usize,
    pub(super) row_stride: usize,
    pub(super) column_stride: usize,
}

impl<'a> Side<'a> {
    /// Dense row-major matrices.
    pub(super) fn dense(bytes: &'a [u8], rows: usize, columns: usize) -> Side<'a> {
        let batch_stride = rows * columns;
        Side { bytes, batch_stride, row_stride: columns, column_stride: 1 }
    }

    /// Dense matrices that are stored transposed.
    pub(super) fn dense_transposed(bytes: &'a [u8], rows: usize, columns: usize) -> Side<'a> {
        let batch_stride = rows * columns;
        Side { bytes, batch_stride, row_stride: 1, column_stride: rows }
    }

    fn operand<T: Element>(&self) -> Operand<'a, T> {
        let data: &[T] = if self.bytes.is_empty() { &[] } else { numbers(self.bytes) };
        let Side { batch_stride, row_stride, column_stride, .. } = *self;
        Operand { data, batch_stride, row_stride, column_stride }
    }
}

/// Whether products of a dtype are computed: of plain numbers, and of halves as f32.
pub(super) fn multiplies(dtype: DType) -> bool {
    super::is_number(dtype) || matches!(dtype, DType::F16 | DType::Bf16)
}

/// A batched product of two sides of one dtype, and a row that is added to each of its rows.
pub(super) struct Product<'a> {
    pub(super) dtype: DType,
    pub(super) dims: MatmulDims,
    pub(super) sides: [Side<'a>; 2],
    /// `[n]` of the dtype.
    pub(super) bias: Option<&'a [u8]>,
}

impl Product<'_> {
    /// Computes it to the elements of `out`: f32 is fast, the other dtypes take the plain blocked
    /// kernel, integers wrapping.
    pub(super) fn run(&self, team: Team<'_>, out: &mut [u8]) -> Result<(), RunError> {
        let Product { dtype, dims, sides: [a, b], bias } = *self;
        if out.is_empty() {
            return Ok(());
        }
        if dtype == DType::F32 {
            matmul_dynamic(team, dims, a.operand(), b.operand(), numbers_mut(out));
        } else {
            with_number!(dtype, T => {
                matmul_numbers(team, dims, a.operand::<T>(), b.operand(), numbers_mut(out));
            }, else return Err(DTYPE_DEFECT));
        }
        if let Some(bias) = bias {
            with_number!(dtype, T => {
                let bias = numbers::<T>(bias);
                for row in numbers_mut::<T>(out).chunks_exact_mut(dims.n) {
                    row.iter_mut().zip(bias).for_each(|(out, &bias)| *out = out.add(bias));
                }
            }, else return Err(DTYPE_DEFECT));
        }
        Ok(())
    }
}
