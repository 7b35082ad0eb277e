//! Repetition of a whole value.

use super::{Call, Infer, OpRule};
use crate::dim::DimRule;
use crate::{Dim, GraphError, RunError, ValueSpec};

/// Repeats `x` `repeats[i]` times along each axis (ONNX `Tile-13`). Rows repeat once only.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Tile {
    pub(crate) repeats: Vec<u64>,
}

impl OpRule for Tile {
    fn name(&self) -> &'static str {
        "tile"
    }

    fn infer(&self, cx: &mut Infer<'_>, x: &[&ValueSpec]) -> Result<Vec<ValueSpec>, GraphError> {
        let x = x[0];
        cx.dtype(x, "elements of whole bytes", |d| d.size().is_some())?;
        if self.repeats.len() != x.rank() {
            return Err(cx.argument("repeats", "one number an axis", &self.repeats.len()));
        }
        let mut dims = Vec::with_capacity(x.rank());
        for (dim, &repeat) in x.dims.iter().zip(&self.repeats) {
            dims.push(match (dim, repeat) {
                (_, 1) => dim.clone(),
                (Dim::Fixed(extent), _) => {
                    let extent = extent.checked_mul(repeat);
                    Dim::Fixed(extent.ok_or(GraphError::Elements { op: cx.op })?)
                }
                (Dim::Dynamic(_), _) => cx.dims.derive(DimRule::Product(repeat, vec![dim.clone()])),
                (Dim::Batch | Dim::Ragged(_), _) => {
                    let dim = dim.clone();
                    return Err(GraphError::DimClass { op: cx.op, dim, other: None });
                }
            });
        }
        Ok(vec![ValueSpec::new(x.dtype, dims)])
    }

    fn run(&self, call: &mut Call<'_, '_>) -> Result<(), RunError> {
        let (x, out) = (&call.inputs[0], &mut call.outputs[0]);
        let size = x.dtype.size().ok_or(super::DTYPE_DEFECT)?;
        if out.bytes.is_empty() {
            return Ok(());
        }
        // From the last axis outwards: what is written so far is repeated in place.
        let rank = x.shape.rank();
        let mut bytes = x.bytes.to_vec();
        let mut chunk = size;
        for axis in (0..rank).rev() {
            chunk *= x.shape[axis];
            let repeat = self.repeats[axis] as usize;
            if repeat != 1 {
                bytes = bytes.chunks_exact(chunk).flat_map(|part| part.repeat(repeat)).collect();
                chunk *= repeat;
            }
        }
        out.bytes.copy_from_slice(&bytes);
        Ok(())
    }
}
