//! Selecting and updating slices at index tuples.

use super::elements::check_updates;
use super::gather::{INDEX_DTYPES, check_tuples, is_index, with_index, with_word};
use super::{Arg, Call, Infer, OpRule, ScatterMode, last_extent, with_number};
use crate::{Dim, GraphError, RunError, ValueSpec};
use aimass_cpu::shape_ops::{Index, TupleIndices, gather_tuples, scatter_tuples};
use aimass_tensor::{DType, Element, Shape};

/// `out[b, t, ..] = x[b, indices[b, t, 0], .., indices[b, t, k - 1], ..]` (ONNX `GatherND-13`,
/// without negative indices).
///
/// | tensor    | shape                        | dtype           |
/// |-----------|------------------------------|-----------------|
/// | `x`       | `[batch.., n_0, .., after..]` | whole bytes     |
/// | `indices` | `[batch.., tuples.., k]`     | i32, i64 or u32 |
/// | output    | `[batch.., tuples.., after..]` | as `x`        |
///
/// `k` is a known extent from 1 to the axes of `x` behind the `batch_dims` first ones, none of
/// which holds rows unless it is a batch axis.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct GatherNd {
    pub(crate) batch_dims: u32,
}

/// `x` with `updates` in the slices at `indices` (ONNX `ScatterND-18`, without negative indices).
///
/// | tensor      | shape                       | dtype           |
/// |-------------|-----------------------------|-----------------|
/// | `x`, output | `[n_0, .., after..]`        | whole bytes     |
/// | `indices`   | `[tuples.., k]`, `k` known  | i32, i64 or u32 |
/// | `updates`   | `[tuples.., after..]`       | as `x`          |
///
/// Modes as for `scatter-elements`. No value has rows: tuples may name any slice.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ScatterNd {
    pub(crate) mode: ScatterMode,
}

/// Components of a tuple, checked against the axes of `x` behind the batch axes.
fn components(
    cx: &Infer<'_>,
    x: &ValueSpec,
    indices: &ValueSpec,
    batch: usize,
) -> Result<usize, GraphError> {
    cx.dtype(x, "elements of whole bytes", |d| d.size().is_some())?;
    cx.dtype(indices, INDEX_DTYPES, is_index)?;
    let lead = x.rank().min(indices.rank().saturating_sub(1));
    if batch > lead {
        let expected = format!("at most {lead}, the leading axes of x and indices");
        return Err(cx.argument("batch-dims", &expected, &batch));
    }
    cx.rank_at_least(indices, 1, "at least 1 (of indices)")?;
    let last = &indices.dims[indices.rank() - 1];
    let axes = x.rank() - batch;
    let known = last.fixed().and_then(|k| usize::try_from(k).ok());
    match known {
        Some(k) if (1..=axes).contains(&k) => Ok(k),
        Some(_) | None => {
            let expected = format!("indices of [.., k] with a known k from 1 to {axes}");
            Err(GraphError::Shape { op: cx.op, expected, got: indices.to_string() })
        }
    }
}

fn tuple_indices<'a, I: Index + Element>(
    x: &'a Shape,
    indices: &Arg<'a>,
    batch: usize,
) -> TupleIndices<'a, I> {
    let k = last_extent(&indices.shape);
    let tuples = &indices.shape[batch..indices.shape.rank() - 1];
    TupleIndices {
        batch: x[..batch].iter().product(),
        extents: &x[batch..batch + k],
        slice: x[batch + k..].iter().product(),
        tuples: tuples.iter().product(),
        indices: indices.numbers(),
    }
}

impl OpRule for GatherNd {
    fn name(&self) -> &'static str {
        "gather-nd"
    }

    fn infer(&self, cx: &mut Infer<'_>, x: &[&ValueSpec]) -> Result<Vec<ValueSpec>, GraphError> {
        let (x, indices, batch) = (x[0], x[1], self.batch_dims as usize);
        let k = components(cx, x, indices, batch)?;
        let mut dims: Vec<Dim> = indices.dims[..indices.rank() - 1].to_vec();
        for (dim, own) in dims.iter_mut().zip(&x.dims[..batch]) {
            *dim = cx.dims.same(cx.op, dim, own)?;
        }
        for dim in &x.dims[batch..] {
            cx.not_rows(dim)?;
        }
        dims.extend_from_slice(&x.dims[batch + k..]);
        Ok(vec![ValueSpec::new(x.dtype, dims)])
    }

    fn run(&self, call: &mut Call<'_, '_>) -> Result<(), RunError> {
        let (x, indices, out) = (&call.inputs[0], &call.inputs[1], &mut call.outputs[0]);
        let (batch, k) = (self.batch_dims as usize, last_extent(&indices.shape));
        check_tuples(self.name(), indices, &x.shape[batch..batch + k])?;
        with_index!(indices.dtype, I => {
            let at = tuple_indices::<I>(&x.shape, indices, batch);
            with_word!(x.dtype, T => gather_tuples(at, x.numbers::<T>(), out.numbers()));
        });
        Ok(())
    }

    fn indices(&self) -> Option<usize> {
        Some(1)
    }
}

impl OpRule for ScatterNd {
    fn name(&self) -> &'static str {
        "scatter-nd"
    }

    fn infer(&self, cx: &mut Infer<'_>, x: &[&ValueSpec]) -> Result<Vec<ValueSpec>, GraphError> {
        let (x, indices, updates) = (x[0], x[1], x[2]);
        for dim in x.dims.iter().chain(&indices.dims).chain(&updates.dims) {
            cx.not_rows(dim)?;
        }
        let k = components(cx, x, indices, 0)?;
        check_updates(cx, x, updates, self.mode)?;
        let mut dims: Vec<Dim> = indices.dims[..indices.rank() - 1].to_vec();
        dims.extend_from_slice(&x.dims[k..]);
        if updates.rank() != dims.len() {
            let expected = "those of indices but the last, and those of x behind the tuples'";
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
        check_tuples(self.name(), indices, &x.shape[..last_extent(&indices.shape)])?;
        if !call.in_place {
            out.bytes.copy_from_slice(x.bytes);
        }
        with_index!(indices.dtype, I => {
            let at = tuple_indices::<I>(&x.shape, indices, 0);
            match self.mode {
                ScatterMode::Replace => with_word!(x.dtype, T => {
                    scatter_tuples(at, updates.numbers::<T>(), |_, new| new, out.numbers());
                }),
                mode => with_number!(x.dtype, T => {
                    scatter_tuples(at, updates.numbers::<T>(), mode.combine(), out.numbers());
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
