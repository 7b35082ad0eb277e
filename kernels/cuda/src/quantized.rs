//! Linear layers with weights of 4 and 8 bits.

use crate::entries;
use crate::error::DeviceError;
use crate::launch::{Address, Form, Grid};
use crate::matmul::{Job, Matrix, ProductDims, ProductEnd, matmul};
use crate::memory::Slice;
use crate::product::kind;
use crate::queue::Queue;

/// Most rows of kernels that read the weights as they are.
const ROWS_MAX: u32 = 8;
/// Warps of a block, and columns that each sums.
const WARPS: u32 = 8;
const COLUMNS: u32 = 2;
/// Warps that keep a large device loading.
const WARPS_BUSY: u32 = 4096;

/// Width of a quantized weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WeightBits {
    /// Two in a byte, the first in the low half.
    Four,
    /// One a byte.
    Eight,
}

/// Weights `(q - zero) scale` of a linear layer, row-major `[n, k]`, with a scale and a zero point for
/// each `group` of successive weights of a row; the last group of a row may be shorter.
#[derive(Clone, Copy, Debug)]
pub struct QuantizedWeights<'m> {
    /// Columns of the product.
    pub n: u32,
    /// Length of the sums.
    pub k: u32,
    /// Weights that share a scale, at least 1.
    pub group: u32,
    /// Width of weights and zero points.
    pub bits: WeightBits,
    /// Whether they are two's complement.
    pub signed: bool,
    /// `[n, k]`, without gaps between rows.
    pub weights: Slice<'m>,
    /// `[n, ceil(k / group)]`.
    pub scales: Slice<'m>,
    /// [`Form::F32`], [`Form::F16`] or [`Form::Bf16`].
    pub scale_form: Form,
    /// `[n, ceil(k / group)]`, without gaps; none for 0 if signed, else for the middle (8 or 128).
    pub zeros: Option<Slice<'m>>,
}

/// What kernels are told about the weights.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Quantization {
    k: u32,
    group: u32,
    groups: u32,
    bits: u32,
    flip: u32,
    middle: u32,
    scale_kind: u32,
}

/// Addresses of weights that are all there.
#[derive(Clone, Copy)]
struct Held {
    weights: Address,
    scales: Address,
    zeros: Address,
    quantization: Quantization,
}

impl QuantizedWeights<'_> {
    fn checked(&self) -> Result<Held, DeviceError> {
        if self.group == 0 {
            return Err(DeviceError::Defect("a group of no weights"));
        }
        let groups = self.k.div_ceil(self.group);
        let elements = |columns: u32| u64::from(self.n) * u64::from(columns);
        let bits = match self.bits {
            WeightBits::Four => 4u32,
            WeightBits::Eight => 8,
        };
        let bytes = |elements: u64| (elements * u64::from(bits)).div_ceil(8);
        let middle = 1 << (bits - 1);
        let zeros =
            self.zeros.map(|zeros| zeros.elements(bytes(elements(groups)), 1)).transpose()?;
        Ok(Held {
            weights: self.weights.elements(bytes(elements(self.k)), 1)?,
            scales: self.scales.elements(elements(groups), self.scale_form.bytes())?,
            zeros: zeros.unwrap_or(Address(0)),
            quantization: Quantization {
                k: self.k,
                group: self.group,
                groups,
                bits,
                flip: if self.signed { middle } else { 0 },
                middle,
                scale_kind: kind(self.scale_form)?,
            },
        })
    }

    /// Whether every 16 bytes of weights are aligned and have one scale.
    fn is_wide(&self) -> bool {
        let width = match self.bits {
            WeightBits::Four => 32,
            WeightBits::Eight => 16,
        };
        let one_scale = self.group.is_multiple_of(width) || self.group >= self.k;
        self.weights.is_aligned(16) && self.k.is_multiple_of(width) && one_scale
    }
}

/// `y = finish(x wᵀ + bias, residual)` for `x: [m, k]` and `y: [m, n]` of one type.
///
/// Up to eight rows are multiplied with the weights as they are read, in f32. For more, some columns
/// at a time become numbers of the type of `x` in the workspace, which rounds them if that is a
/// half, and go through [`matmul`].
///
/// # Errors
/// As [`matmul`].
pub fn quantized_linear(
    queue: &mut Queue<'_>,
    w: &QuantizedWeights<'_>,
    m: u32,
    [x, y]: [&Matrix<'_>; 2],
    end: &ProductEnd<'_>,
) -> Result<(), DeviceError> {
    let held = w.checked()?;
    let dims = ProductDims { batch: 1, m, n: w.n, k: w.k };
    if m == 0 || w.n == 0 {
        return Ok(());
    }
    let x_is_wide = x.is_vector(16) && x.column_stride == 1;
    match m <= ROWS_MAX && w.k > 0 && w.is_wide() && x_is_wide {
        true => few_rows(queue, &held, dims, [x, y], end),
        false => by_slabs(queue, &held, dims, [x, y], end),
    }
}

fn few_rows(
    queue: &mut Queue<'_>,
    held: &Held,
    dims: ProductDims,
    [x, y]: [&Matrix<'_>; 2],
    end: &ProductEnd<'_>,
) -> Result<(), DeviceError> {
    // The left side stands in for the right one, whose extents were checked.
    let job = Job::new(
        dims,
        [x, &Matrix { batch_stride: 0, row_stride: 0, column_stride: 0, ..*x }],
        y,
        end,
    )?;
    let Job { a: x, to, mut shape, ending, .. } = job;
    let Held { weights, scales, zeros, quantization } = *held;
    let width = 128 / quantization.bits;
    let wanted = WARPS_BUSY.div_ceil(shape.n.div_ceil(COLUMNS));
    let share = 1 << wanted.min(shape.k.div_ceil(32 * width)).clamp(1, WARPS).ilog2();
    shape.k_split = share;
    let grid = Grid::linear(shape.n.div_ceil(WARPS / share * COLUMNS), WARPS * 32);
    macro_rules! launch {
        ($kernel:ident) => {
            queue.launch(
                &entries::$kernel { x, weights, scales, zeros, to, shape, quantization, ending },
                Form::Plain,
                grid,
            )
        };
    }
    match (shape.m, quantization.bits) {
        (1, 4) => launch!(QuantizedOne4),
        (1, _) => launch!(QuantizedOne8),
        (_, 4) => launch!(QuantizedFew4),
        (_, _) => launch!(QuantizedFew8),
    }
}

fn by_slabs(
    queue: &mut Queue<'_>,
    held: &Held,
    dims: ProductDims,
    [x, y]: [&Matrix<'_>; 2],
    end: &ProductEnd<'_>,
) -> Result<(), DeviceError> {
    let ProductDims { m, n, k, .. } = dims;
    let (scratch, size) = (queue.scratch(), y.form.bytes());
    let columns = scratch.bytes() / (k.max(1) as usize * size) / 8 * 8;
    let columns = u32::try_from(columns).unwrap_or(u32::MAX).min(n);
    if columns == 0 {
        return Err(DeviceError::Defect("a workspace that holds no 8 columns of weights"));
    }
    // Output, bias and residual are cut at the same columns.
    let from = |slice: &Slice<'_>, column: u32| -> Result<(usize, usize), DeviceError> {
        let start = column as usize * size;
        let rest = slice.bytes().checked_sub(start);
        Ok((start, rest.ok_or(DeviceError::Defect("an output of too few columns"))?))
    };
    let mut column = 0;
    while column < n {
        let own = columns.min(n - column);
        let elements = own * k;
        let Held { weights, scales, zeros, quantization } = *held;
        let out = scratch.elements(elements.into(), size)?;
        let expand = entries::QuantizedExpand {
            weights,
            scales,
            zeros,
            out,
            quantization,
            first: column,
            elements,
        };
        if elements > 0 {
            queue.launch(&expand, y.form, queue.over(elements.into(), 256))?;
        }
        let (start, rest) = from(&y.data, column)?;
        let part = Matrix { data: y.data.part(start, rest)?, ..*y };
        let mut end = *end;
        if let Some(bias) = &mut end.bias {
            let (start, rest) = from(bias, column)?;
            *bias = bias.part(start, rest)?;
        }
        if let Some(residual) = &mut end.residual {
            let (start, rest) = from(&residual.data, column)?;
            residual.data = residual.data.part(start, rest)?;
        }
        let b = Matrix::transposed(scratch, y.form, k, own);
        let dims = ProductDims { n: own, ..dims };
        matmul(queue, ProductDims { m, ..dims }, [x, &b], &part, &end)?;
        column += own;
    }
    Ok(())
}
