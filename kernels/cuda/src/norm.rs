//! Layer norm, RMS norm and unit length of rows (ONNX `LayerNormalization-17`, arXiv:1910.07467).

use crate::entries;
use crate::error::DeviceError;
use crate::lanes::{elements, is_vector, row_grid};
use crate::launch::Form;
use crate::memory::Slice;
use crate::parameters::NormRows;
use crate::queue::Queue;

/// Which normalization; in the order of `enum Kind` in `norm.cu`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Norm {
    /// `(x - mean) / sqrt(variance + epsilon)`.
    Layer,
    /// `x / sqrt(mean(x²) + epsilon)`.
    Rms,
    /// `x / max(sqrt(sum(x²)), epsilon)`.
    Unit,
}

/// Operands of a normalization of `rows` rows of `n` elements, all of one form of floats.
#[derive(Clone, Copy, Debug)]
pub struct NormOperands<'m> {
    /// `[rows, n]`.
    pub x: Slice<'m>,
    /// `[rows, n]`, added to `x` and rounded before anything else.
    pub added: Option<Slice<'m>>,
    /// `[rows, n]` for `x + added`; may be either of them.
    pub sum: Option<Slice<'m>>,
    /// `[n]`, by which the result is multiplied.
    pub weight: Option<Slice<'m>>,
    /// `[n]`, added at the end; only with a weight.
    pub bias: Option<Slice<'m>>,
    /// `[rows, n]` for the result; may be `x` or `added`, not `sum`.
    pub y: Slice<'m>,
    /// Rows.
    pub rows: u32,
    /// Elements of a row.
    pub n: u32,
}

/// Normalizes rows: mean, then squares around it, computed in f32 and rounded once.
///
/// # Errors
/// [`DeviceError::Defect`] if an operand is too short, or one is there without the one it belongs
/// to, or a refused launch.
pub fn norm(
    queue: &mut Queue<'_>,
    norm: Norm,
    epsilon: f32,
    form: Form,
    operands: &NormOperands<'_>,
) -> Result<(), DeviceError> {
    let NormOperands { x, added, sum, weight, bias, y, rows, n } = *operands;
    if bias.is_some() && weight.is_none() || sum.is_some() && added.is_none() {
        return Err(DeviceError::Defect("a bias without a weight, or a sum without a summand"));
    }
    if sum == Some(y) {
        return Err(DeviceError::Defect("the sum and the result are the same memory"));
    }
    let (all, size) = (elements(&[rows, n])?, form.bytes());
    let address = |slice: Option<Slice<'_>>, elements: u64| {
        slice.map_or(Ok(Slice::none().elements(0, size)?), |slice| slice.elements(elements, size))
    };
    let aligned = [Some(x), added, sum, weight, bias, Some(y)]
        .iter()
        .flatten()
        .all(|slice| slice.is_aligned(16));
    let kernel = entries::Norm {
        rows: NormRows {
            x: x.elements(all, size)?,
            added: address(added, all)?,
            weight: address(weight, n.into())?,
            bias: address(bias, n.into())?,
            sum: address(sum, all)?,
            y: y.elements(all, size)?,
            rows,
            n,
        },
        kind: norm as u32,
        epsilon,
        vector: is_vector(form, n, aligned).into(),
    };
    match all {
        0 => Ok(()),
        _ => queue.launch(&kernel, form, row_grid(form, rows, n)),
    }
}
