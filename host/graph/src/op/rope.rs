//! Rotary position embedding.

use super::gather::{INDEX_DTYPES, is_index};
use super::{Call, Infer, OpRule, last_extent};
use crate::dim::DimRule;
use crate::{GraphError, RunError, ValueSpec};
use aimass_cpu::rope::{Rotation, rotate};
use aimass_tensor::{DType, Shape};

/// Turns pair `i` of every head by `position * base^(-2 i / size)` (arXiv:2104.09864).
///
/// | tensor      | shape                                       | dtype           |
/// |-------------|---------------------------------------------|-----------------|
/// | `x`         | `[.., heads * size]`, `size` even           | f16, bf16, f32  |
/// | `positions` | the axes of `x` before the last, or the last few of them | i32, i64 or u32 |
/// | output      | as `x`                                      | as `x`          |
///
/// A pair is `i` and `i + size / 2`, or with `interleaved` `2 i` and `2 i + 1`. Positions are exact up
/// to 2^40. Each output row depends on its row and its position only.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Rope {
    pub(crate) heads: u32,
    pub(crate) base: f32,
    pub(crate) interleaved: bool,
}

impl OpRule for Rope {
    fn name(&self) -> &'static str {
        "rope"
    }

    fn infer(&self, cx: &mut Infer<'_>, x: &[&ValueSpec]) -> Result<Vec<ValueSpec>, GraphError> {
        let (x, positions) = (x[0], x[1]);
        cx.f32_or_narrower(x)?;
        cx.dtype(positions, INDEX_DTYPES, is_index)?;
        cx.rank_at_least(x, 1, "at least 1")?;
        let Some((last, lead)) = x.dims.split_last() else {
            return Err(GraphError::Rank { op: cx.op, expected: "at least 1", got: 0 });
        };
        cx.not_rows(last)?;
        if self.heads == 0 {
            return Err(cx.argument("heads", "at least 1", &self.heads));
        }
        if !(self.base.is_finite() && self.base > 0.0) {
            return Err(cx.argument("base", "a positive number", &self.base));
        }
        let pairs = 2 * u64::from(self.heads);
        match last.fixed() {
            Some(extent) if extent.is_multiple_of(pairs) => {}
            Some(extent) => {
                let expected = format!("{pairs} times a whole number of elements");
                return Err(GraphError::Shape { op: cx.op, expected, got: extent.to_string() });
            }
            None => {
                // The quotient exists only if the extent is a whole number of pairs of all heads.
                let (factor, above) = (1, vec![last.clone()]);
                cx.dims.derive(DimRule::Quotient {
                    factor,
                    above,
                    divisor: pairs,
                    below: Vec::new(),
                });
            }
        }
        let Some(skip) = lead.len().checked_sub(positions.rank()) else {
            let expected = "at most those of x before the last";
            return Err(GraphError::Rank { op: cx.op, expected, got: positions.rank() });
        };
        for (own, dim) in positions.dims.iter().zip(&lead[skip..]) {
            cx.dims.same(cx.op, own, dim)?;
        }
        Ok(vec![ValueSpec::new(x.dtype, x.dims.clone())])
    }

    fn flops(&self, inputs: &[Shape], _: &[Shape]) -> u64 {
        (inputs[0].elements() as u64).saturating_mul(6)
    }

    fn widens(&self) -> bool {
        true
    }

    fn in_place(&self) -> bool {
        true
    }

    fn run(&self, call: &mut Call<'_, '_>) -> Result<(), RunError> {
        let (x, positions, out) = (&call.inputs[0], &call.inputs[1], &mut call.outputs[0]);
        if !call.in_place {
            out.bytes.copy_from_slice(x.bytes);
        }
        let columns = last_extent(&x.shape);
        let positions: Vec<i64> = match positions.dtype {
            DType::I32 => positions.numbers::<i32>().iter().copied().map(i64::from).collect(),
            DType::I64 => positions.numbers::<i64>().to_vec(),
            DType::U32 => positions.numbers::<u32>().iter().copied().map(i64::from).collect(),
            _ => return Err(super::DTYPE_DEFECT),
        };
        let rotation = Rotation::new(columns / self.heads as usize, self.base, self.interleaved);
        rotate(call.team, &rotation, columns, &positions, out.numbers());
        Ok(())
    }
}
