//! Convolutions as products of matrices by cuBLASLt: of images as they lie, where a window is one element,
//! else of their windows, written out some at a time (im2col).

use crate::conv::{Axis, ConvOperands, ConvShape, Layout};
use crate::cublaslt;
use crate::device::Device;
use crate::entries;
use crate::error::DeviceError;
use crate::finish::{Ending, Finish};
use crate::launch::{Address, Form, Grid};
use crate::matmul::{Matrix, ProductDims, ProductEnd, matmul};
use crate::memory::Slice;
use crate::parameters;
use crate::queue::Queue;

/// Most bytes of windows that are written out at once, and most parts of the device's memory.
const WINDOW_BYTES: u64 = 128 << 20;
const MEMORY_PARTS: u64 = 64;
/// Rows of a product are multiples of this, but for the last.
const ROWS: u64 = 128;
/// Outputs of a block, and most taps of a window: as in im2col.cu.
const BLOCK_ROWS: u32 = 32;
const TAPS_MAX: u64 = 128;
/// Filters from which on there is a product at all.
const FILTERS_MIN: u32 = 16;
/// Outputs, and filters, from which on a product is worth its windows, in f32 arithmetic and on tensor cores:
/// measured on an H100 (docs/cuda.md).
const WORTH: [u64; 2] = [1024, 128];
const WORTH_TENSOR: [u64; 2] = [512, 32];

/// A convolution as a product.
#[derive(Clone, Copy)]
pub(crate) struct ConvProduct {
    /// Outputs of all images.
    rows: u64,
    /// Terms of the sum of each.
    terms: u32,
    filters: u32,
    /// Rows of windows that are written out at once; none if images are used as they lie.
    windows: Option<u64>,
}

impl ConvProduct {
    /// None for those that are no product of whole matrices, or faster otherwise.
    pub(crate) fn new(device: &Device, form: Form, shape: &ConvShape) -> Option<ConvProduct> {
        let terms = u32::try_from(shape.terms()).ok()?;
        let rows = shape.results() / u64::from(shape.filters.max(1));
        let bytes = u64::from(terms) * form.bytes() as u64;
        // What cuBLASLt computes fast is aligned; what is not, it may also round more than once.
        let is_product = shape.groups == 1
            && shape.layout == Layout::ChannelsLast
            && shape.filters >= FILTERS_MIN
            && bytes.is_multiple_of(16)
            && (u64::from(shape.filters) * form.bytes() as u64).is_multiple_of(16)
            && rows > 0
            && rows < 1 << 31;
        if !is_product {
            return None;
        }
        let unmoved = |axis: &Axis| {
            axis.kernel == 1 && axis.stride == 1 && axis.before == 0 && axis.input == axis.output
        };
        let own = ConvProduct { rows, terms, filters: shape.filters, windows: None };
        if shape.axes.iter().all(unmoved) {
            return Some(own);
        }
        let taps = shape.axes.iter().map(|axis| u64::from(axis.kernel)).product::<u64>();
        let whole_words = (u64::from(shape.channels) * form.bytes() as u64).is_multiple_of(4);
        let room = WINDOW_BYTES.min(device.memory().1 / MEMORY_PARTS);
        let at_once = (room / bytes / ROWS).max(1) * ROWS;
        let is_tensor = form != Form::F32 || device.options().tf32;
        let [rows_min, filters_min] = if is_tensor { WORTH_TENSOR } else { WORTH };
        let fits = taps <= TAPS_MAX
            && whole_words
            && at_once * u64::from(terms) < 1 << 31
            && rows >= rows_min
            && u64::from(shape.filters) >= filters_min;
        fits.then_some(ConvProduct { windows: Some(at_once.min(rows)), ..own })
    }

    /// Bytes of the windows that are written out.
    pub(crate) fn scratch(&self, form: Form) -> usize {
        let rows = self.windows.unwrap_or(0);
        (rows * u64::from(self.terms)) as usize * form.bytes()
    }

    /// Queues it, if cuBLASLt is there and can end it as `finish` says; whether that was done.
    ///
    /// # Errors
    /// [`DeviceError::Defect`] if an operand is too short, or a refused launch.
    pub(crate) fn run(
        &self,
        queue: &mut Queue<'_>,
        (form, shape): (Form, &parameters::ConvShape),
        operands: &ConvOperands<'_>,
        finish: Finish,
    ) -> Result<bool, DeviceError> {
        let there = queue.device().blas(!queue.is_recording()).is_some();
        let room = operands.scratch.bytes() >= self.scratch(form);
        let aligned = [operands.x, operands.w, operands.y, operands.scratch];
        if !there || !room || !aligned.iter().all(|slice| slice.is_aligned(16)) {
            return Ok(false);
        }
        let has_residual = operands.residual.bytes() > 0;
        let in_one = cublaslt::can_finish(&finish, has_residual);
        let in_place = has_residual && operands.residual.address() == operands.y.address();
        // The second pass reads sums from where they are, so they must be whole.
        if !in_one && (form != Form::F32 || in_place) {
            return Ok(false);
        }
        let at_once = self.windows.unwrap_or(self.rows);
        let mut first = 0;
        while first < self.rows {
            let rows = at_once.min(self.rows - first);
            self.multiply(queue, (form, shape), operands, (first, rows), in_one.then_some(finish))?;
            first += rows;
        }
        if !in_one {
            self.finish_sums(queue, (form, shape), operands, finish)?;
        }
        Ok(true)
    }

    /// The product for rows `first..first + rows`; without a finish of the sums alone.
    fn multiply(
        &self,
        queue: &mut Queue<'_>,
        (form, shape): (Form, &parameters::ConvShape),
        operands: &ConvOperands<'_>,
        (first, rows): (u64, u64),
        finish: Option<Finish>,
    ) -> Result<(), DeviceError> {
        let row = |width: u32| width as usize * form.bytes();
        let a = match self.windows {
            None => part(operands.x, row(self.terms), (first, rows))?,
            Some(_) => {
                write_windows(queue, (form, shape), operands, (first, rows))?;
                operands.scratch
            }
        };
        let filters = self.filters;
        let y = part(operands.y, row(filters), (first, rows))?;
        let m = rows as u32;
        let a = Matrix::dense(a, form, m, self.terms);
        let w = Matrix::transposed(operands.w, form, self.terms, filters);
        let c = Matrix::dense(y, form, m, filters);
        let mut end = ProductEnd::default();
        if let Some(finish) = finish {
            end.finish = finish;
            end.bias = (operands.bias.bytes() > 0).then_some(operands.bias);
            if operands.residual.bytes() > 0 {
                let residual = part(operands.residual, row(filters), (first, rows))?;
                end.residual = Some(Matrix::dense(residual, form, m, filters));
            }
        }
        let dims = ProductDims { batch: 1, m, n: filters, k: self.terms };
        matmul(queue, dims, [&a, &w], &c, &end)
    }

    /// Finishes sums that are in `y`.
    fn finish_sums(
        &self,
        queue: &mut Queue<'_>,
        (form, shape): (Form, &parameters::ConvShape),
        operands: &ConvOperands<'_>,
        finish: Finish,
    ) -> Result<(), DeviceError> {
        let address = |slice: Slice<'_>| Address(slice.address());
        let y = address(operands.y);
        let kernel = entries::ConvJoin {
            partial: y,
            bias: address(operands.bias),
            residual: address(operands.residual),
            y,
            shape: parameters::ConvShape { splits: 1, ..*shape },
            ending: Ending::from(finish),
        };
        queue.launch(&kernel, form, queue.over(self.rows * u64::from(self.filters), 256))
    }
}

/// `rows` rows of `row` bytes from row `first` on.
fn part(slice: Slice<'_>, row: usize, (first, rows): (u64, u64)) -> Result<Slice<'_>, DeviceError> {
    slice.part(first as usize * row, rows as usize * row)
}

/// Writes the windows of these outputs to the scratch memory.
fn write_windows(
    queue: &mut Queue<'_>,
    (form, shape): (Form, &parameters::ConvShape),
    operands: &ConvOperands<'_>,
    (first, rows): (u64, u64),
) -> Result<(), DeviceError> {
    let bytes = shape.channels as usize * form.bytes();
    let fits = |word: &usize| bytes.is_multiple_of(*word) && operands.x.is_aligned(*word as u64);
    let word = [16, 8, 4].into_iter().find(fits);
    let word = word.ok_or(DeviceError::Defect("windows of parts of words"))?;
    let terms = u64::from(shape.channels) * u64::from(shape.taps);
    let kernel = entries::Im2col {
        x: Address(operands.x.address()),
        columns: operands.scratch.elements(rows * terms, form.bytes())?,
        shape: *shape,
        first: first as u32,
        rows: rows as u32,
        width: (word / form.bytes()) as u32,
    };
    let blocks = (rows as u32).div_ceil(BLOCK_ROWS);
    let form = Form::of_size(word).unwrap_or(Form::B128);
    queue.launch(&kernel, form, Grid::linear(blocks, 256))
}
