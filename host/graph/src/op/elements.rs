//! Selecting and updating single elements along an axis.

use super::gather::{INDEX_DTYPES, check_indices, is_index, with_index, with_word};
use super::{Arg, Call, Infer, OpRule, ScatterMode, is_number, with_number};
use crate::{Dim, GraphError, RunError, ValueSpec};
use aimass_cpu::shape_ops::{ElementIndices, Index, gather_elements, scatter_elements};
use aimass_tensor::DType;

/// `out[i, j, ..] = x[i, indices[i, j, ..], ..]` along `axis` (ONNX `GatherElements-13`, without
/// negative indices).
///
/// | tensor    | shape                                           | dtype           |
/// |-----------|-------------------------------------------------|-----------------|
/// | `x`       | `[.., n, ..]`                                   | whole bytes     |
/// | `indices` | as many axes, beside `axis` no longer than `x`'s | i32, i64 or u32 |
/// | output    | as `indices`                                    | as `x`          |
///
/// An index outside `0..n` fails the run. Rows of `x` stay rows if `axis` is another one.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct GatherElements {
    pub(crate) axis: u32,
}

/// `x` with `updates` at `indices` along `axis` (ONNX `ScatterElements-18`, without negative
/// indices).
///
/// | tensor               | shape                                           | dtype           |
/// |----------------------|-------------------------------------------------|-----------------|
/// | `x`, output          | `[.., n, ..]`                                   | whole bytes     |
/// | `indices`            | as many axes, beside `axis` no longer than `x`'s | i32, i64 or u32 |
/// | `updates`            | as `indices`                                    | as `x`          |
///
/// Other modes than replacing are for plain numbers. Updates of one element are taken in row-major
/// order. Rows stay rows if `axis` is another one.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ScatterElements {
    pub(crate) axis: u32,
    pub(crate) mode: ScatterMode,
}

/// Requires the extents of indices to lie within those of `x`, but for `axis`.
fn within(
    cx: &mut Infer<'_>,
    x: &ValueSpec,
    indices: &ValueSpec,
    axis: usize,
) -> Result<Vec<Dim>, GraphError> {
    cx.dtype(x, "elements of whole bytes", |d| d.size().is_some())?;
    cx.dtype(indices, INDEX_DTYPES, is_index)?;
    if indices.rank() != x.rank() {
        let expected = "as many for indices as for x";
        return Err(GraphError::Rank { op: cx.op, expected, got: indices.rank() });
    }
    let mut dims = indices.dims.clone();
    for (i, (dim, own)) in dims.iter_mut().zip(&x.dims).enumerate() {
        let shorter = || Some(dim.fixed()? <= own.fixed()?);
        if i != axis && shorter() != Some(true) {
            *dim = cx.dims.same(cx.op, dim, own)?;
        }
    }
    Ok(dims)
}

/// Requires updates of the dtype of `x` that the mode can combine.
pub(super) fn check_updates(
    cx: &Infer<'_>,
    x: &ValueSpec,
    updates: &ValueSpec,
    mode: ScatterMode,
) -> Result<(), GraphError> {
    if updates.dtype != x.dtype {
        return Err(GraphError::DTypes { op: cx.op, left: x.dtype, right: updates.dtype });
    }
    match mode {
        ScatterMode::Replace => Ok(()),
        ScatterMode::Add | ScatterMode::Mul | ScatterMode::Max | ScatterMode::Min => {
            cx.dtype(x, "a number of 8 to 64 bits, f32 or f64 for this mode", is_number)
        }
    }
}

fn element_indices<'a, I: Index + aimass_tensor::Element>(
    x: &'a Arg<'_>,
    axis: u32,
    indices: &'a Arg<'_>,
) -> ElementIndices<'a, I> {
    let (axis, extents) = (axis as usize, &indices.shape[..]);
    ElementIndices { shape: &x.shape, axis, indices: indices.numbers(), extents }
}

impl OpRule for GatherElements {
    fn name(&self) -> &'static str {
        "gather-elements"
    }

    fn infer(&self, cx: &mut Infer<'_>, x: &[&ValueSpec]) -> Result<Vec<ValueSpec>, GraphError> {
        let axis = cx.lane_axis(self.axis, x[0])?;
        let dims = within(cx, x[0], x[1], axis)?;
        Ok(vec![ValueSpec::new(x[0].dtype, dims)])
    }

    fn run(&self, call: &mut Call<'_, '_>) -> Result<(), RunError> {
        let (x, indices, out) = (&call.inputs[0], &call.inputs[1], &mut call.outputs[0]);
        check_indices(self.name(), indices, x.shape[self.axis as usize])?;
        with_index!(indices.dtype, I => {
            let at = element_indices::<I>(x, self.axis, indices);
            with_word!(x.dtype, T => gather_elements(at, x.numbers::<T>(), out.numbers()));
        });
        Ok(())
    }

    fn indices(&self) -> Option<usize> {
        Some(1)
    }
}

impl OpRule for ScatterElements {
    fn name(&self) -> &'static str {
        "scatter-elements"
    }

    fn infer(&self, cx: &mut Infer<'_>, x: &[&ValueSpec]) -> Result<Vec<ValueSpec>, GraphError> {
        let (x, indices, updates) = (x[0], x[1], x[2]);
        let axis = cx.lane_axis(self.axis, x)?;
        // Rows along the axis would write into one another's elements.
        cx.lane_axis(self.axis, indices)?;
        let dims = within(cx, x, indices, axis)?;
        check_updates(cx, x, updates, self.mode)?;
        if updates.rank() != dims.len() {
            let expected = "as many for updates as for indices";
            return Err(GraphError::Rank { op: cx.op, expected, got: updates.rank() });
        }
        for (own, dim) in updates.dims.iter().zip(&dims) {
            cx.dims.same(cx.op, own, dim)?;
        }
        Ok(vec![ValueSpec::new(x.dtype, x.dims.clone())])
    }

    fn run(&self, call: &mut Call<'_, '_>) -> Result<(), RunError> {
        let [x, indices, updates] = call.inputs else { return Err(super::DTYPE_DEFECT) };
        let out = &mut call.outputs[0];
        check_indices(self.name(), indices, x.shape[self.axis as usize])?;
        if !call.in_place {
            out.bytes.copy_from_slice(x.bytes);
        }
        with_index!(indices.dtype, I => {
            let at = element_indices::<I>(x, self.axis, indices);
            match self.mode {
                ScatterMode::Replace => with_word!(x.dtype, T => {
                    scatter_elements(at, updates.numbers::<T>(), |_, new| new, out.numbers());
                }),
                mode => with_number!(x.dtype, T => {
                    let updates = updates.numbers::<T>();
                    scatter_elements(at, updates, mode.combine(), out.numbers());
                }, else return Err(super::DTYPE_DEFECT)),
            }
        });
        Ok(())
    }

    fn in_place(&self) -> bool {
        true
    }

    fn indices(&self) -> Option<usize> {
        Some(1)
    }
}
