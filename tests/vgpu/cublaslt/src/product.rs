//! A product: its checks, and the sums.

use std::ffi::{c_int, c_void};

use half::{bf16, f16};

use crate::descriptor::{Activation, Element, Layout, Operation, Status};
use crate::driver::Access;

/// `D = epilogue(alpha op(A) op(B) + beta C)`, with addresses on the device.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Product {
    pub(crate) operation: Operation,
    /// Layouts of A, B, C and D.
    pub(crate) layouts: [Layout; 4],
    /// Addresses of A, B, C and D.
    pub(crate) addresses: [u64; 4],
    pub(crate) alpha: f64,
    pub(crate) beta: f64,
}

/// Rows and columns after transposition.
fn turned(layout: &Layout, transposed: bool) -> (u64, u64) {
    if transposed { (layout.columns, layout.rows) } else { (layout.rows, layout.columns) }
}

/// Refuses operands that do not fit each other or that cuBLASLt has no kernels for.
pub(crate) fn check(operation: &Operation, layouts: &[Layout; 4]) -> Result<(), Status> {
    layouts.iter().try_for_each(Layout::check)?;
    let [a, b, c, d] = layouts;
    let (m, k) = turned(a, operation.transpose_a);
    let (depth, n) = turned(b, operation.transpose_b);
    let fit = k == depth && [c, d].iter().all(|one| (one.rows, one.columns) == (m, n));
    let batches = layouts.iter().all(|one| one.batches == d.batches);
    if !fit || !batches || c.row_order != d.row_order {
        return Err(Status::InvalidValue);
    }
    let types = [a, b, c, d].map(|one| one.element);
    let supported = match types {
        [Element::S8, Element::S8, Element::S32, Element::S32] => {
            // Only A transposed, B not, in column order, and dimensions that are multiples of 4.
            let fours = [m, n, k].iter().all(|size| size.is_multiple_of(4));
            let columns = !layouts.iter().any(|one| one.row_order);
            let leading = [a, b].iter().all(|one| one.leading % 4 == 0);
            let turned = operation.transpose_a && !operation.transpose_b;
            operation.integer && fours && columns && leading && turned && !has_epilogue(operation)
        }
        [Element::F32, Element::F32, Element::F32, Element::F32] => !operation.integer,
        [a, b, c, d] if a == b && c == d && matches!(a, Element::F16 | Element::Bf16) => {
            !operation.integer && (c == a || c == Element::F32)
        }
        _ => false,
    };
    let bias_order = !operation.has_bias || !d.row_order;
    if supported && bias_order { Ok(()) } else { Err(Status::NotSupported) }
}

fn has_epilogue(operation: &Operation) -> bool {
    operation.has_bias || operation.activation != Activation::None
}

fn decode(element: Element, bytes: &[u8]) -> f64 {
    match (element, bytes) {
        (Element::F32, &[a, b, c, d]) => f64::from(f32::from_le_bytes([a, b, c, d])),
        (Element::S32, &[a, b, c, d]) => f64::from(i32::from_le_bytes([a, b, c, d])),
        (Element::F16, &[a, b]) => f16::from_le_bytes([a, b]).to_f64(),
        (Element::Bf16, &[a, b]) => bf16::from_le_bytes([a, b]).to_f64(),
        (Element::S8, &[a]) => f64::from(a as i8),
        _ => 0.0,
    }
}

fn encode(element: Element, value: f64, to: &mut [u8]) {
    match element {
        Element::F32 => to.copy_from_slice(&(value as f32).to_le_bytes()),
        Element::S32 => to.copy_from_slice(&(value as i32).to_le_bytes()),
        Element::F16 => to.copy_from_slice(&f16::from_f64(value).to_le_bytes()),
        Element::Bf16 => to.copy_from_slice(&bf16::from_f64(value).to_le_bytes()),
        Element::S8 => to.copy_from_slice(&(value as i8).to_le_bytes()),
    }
}

/// The tanh form, as cuBLASLt's `GELU` epilogue (arXiv:1606.08415 §2).
fn gelu(x: f64) -> f64 {
    let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x * x * x);
    0.5 * x * (1.0 + inner.tanh())
}

impl Product {
    /// One matrix of the batch as numbers in its own order.
    fn read(&self, access: &Access, which: usize, batch: usize) -> Result<Vec<f64>, c_int> {
        let layout = &self.layouts[which];
        let element = layout.element;
        let offset = layout.batch_stride as i128 * batch as i128 * element.bytes() as i128;
        let address = (i128::from(self.addresses[which]) + offset) as u64;
        let matrix = access.read(address, layout.extent() * element.bytes())?;
        Ok(matrix.chunks_exact(element.bytes()).map(|bytes| decode(element, bytes)).collect())
    }

    fn bias(&self, access: &Access, batch: usize) -> Result<Vec<f64>, c_int> {
        let d = &self.layouts[3];
        if !self.operation.has_bias {
            return Ok(vec![0.0; d.rows as usize]);
        }
        let element = self.operation.bias_type.unwrap_or(d.element);
        let offset = self.operation.bias_stride * (batch * element.bytes()) as i64;
        let address = self.operation.bias.wrapping_add_signed(offset);
        let bytes = access.read(address, d.rows as usize * element.bytes())?;
        Ok(bytes.chunks_exact(element.bytes()).map(|bytes| decode(element, bytes)).collect())
    }

    /// Computes every matrix of the batch.
    pub(crate) fn run(&self, access: &Access) -> Result<(), c_int> {
        let [a, b, c, d] = &self.layouts;
        let depth = turned(a, self.operation.transpose_a).1 as usize;
        for batch in 0..d.batches as usize {
            let (left, right) = (self.read(access, 0, batch)?, self.read(access, 1, batch)?);
            let old = if self.beta == 0.0 { Vec::new() } else { self.read(access, 2, batch)? };
            let bias = self.bias(access, batch)?;
            let offset = d.batch_stride * (batch * d.element.bytes()) as i64;
            let address = self.addresses[3].wrapping_add_signed(offset);
            let bytes = d.element.bytes();
            // What lies between the columns is not touched.
            let lines = if d.row_order { d.rows } else { d.columns } as usize;
            let length = if d.row_order { d.columns } else { d.rows } as usize;
            for line in 0..lines {
                let mut content = vec![0; length * bytes];
                for at in 0..length {
                    let (row, column) = if d.row_order { (line, at) } else { (at, line) };
                    let factor = |k: usize| {
                        let from = if self.operation.transpose_a { (k, row) } else { (row, k) };
                        let to = if self.operation.transpose_b { (column, k) } else { (k, column) };
                        (left[a.place(from.0, from.1)], right[b.place(to.0, to.1)])
                    };
                    let sum = self.sum(depth, factor);
                    let old = if self.beta == 0.0 { 0.0 } else { old[c.place(row, column)] };
                    let value = self.alpha * sum + self.beta * old + bias[row];
                    let value = match self.operation.activation {
                        Activation::None => value,
                        Activation::Relu => value.max(0.0),
                        Activation::Gelu => gelu(value),
                    };
                    encode(d.element, value, &mut content[at * bytes..(at + 1) * bytes]);
                }
                let start = d.leading as u64 * line as u64 * bytes as u64;
                access.write(address + start, &content)?;
            }
        }
        Ok(())
    }

    fn sum(&self, depth: usize, factor: impl Fn(usize) -> (f64, f64)) -> f64 {
        if self.operation.integer {
            let product = |(a, b): (f64, f64)| (a as i32).wrapping_mul(b as i32);
            return f64::from((0..depth).map(|k| product(factor(k))).fold(0, i32::wrapping_add));
        }
        let product = |(a, b): (f64, f64)| a as f32 * b as f32;
        f64::from((0..depth).map(|k| product(factor(k))).sum::<f32>())
    }
}

/// Runs the product behind `data`; the driver calls it.
pub(crate) extern "C" fn run(data: *mut c_void, access: *const Access) -> c_int {
    // SAFETY: `data` is the product that was boxed for this callback and not yet dropped.
    let product = unsafe { &*data.cast::<Product>() };
    // SAFETY: the driver passes memory that is valid for the call.
    let access = unsafe { &*access };
    product.run(access).err().unwrap_or(0)
}

/// Frees the product behind `data`; the driver calls it once.
pub(crate) extern "C" fn free(data: *mut c_void) {
    // SAFETY: `data` came from `Box::into_raw` of a product, and this is its only end.
    drop(unsafe { Box::from_raw(data.cast::<Product>()) });
}
