//! Largest element and mean of windows.

use super::{Call, Infer, OpRule, Window, is_number, widened, with_integer};
use crate::{GraphError, RunError, ValueSpec};
use aimass_cpu::conv::{PoolDims, average_pool, max_pool};
use aimass_cpu::elementwise::Integer;
use aimass_tensor::{DType, Shape};

/// What a pooling computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PoolKind {
    /// The largest element; padding is below every number (ONNX `MaxPool-12`).
    Max,
    /// The mean; over all elements of the window if pads count (ONNX `AveragePool-19`). A window that
    /// lies on padding only gives 0.
    Average {
        /// Whether padding counts.
        count_pads: bool,
    },
}

/// Folds windows of `[rows, channels, ..]`, one to three spatial axes. Floats of 16 to 64 bits; the
/// maximum also integers of 8 to 64 bits, for which padding is the lowest number.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Pool {
    pub(crate) kind: PoolKind,
    pub(crate) size: Vec<u64>,
    pub(crate) window: Window,
}

impl OpRule for Pool {
    fn name(&self) -> &'static str {
        match self.kind {
            PoolKind::Max => "max-pool",
            PoolKind::Average { .. } => "average-pool",
        }
    }

    fn infer(&self, cx: &mut Infer<'_>, x: &[&ValueSpec]) -> Result<Vec<ValueSpec>, GraphError> {
        let x = x[0];
        let half = |d| matches!(d, DType::F16 | DType::Bf16);
        match self.kind {
            PoolKind::Max => {
                cx.dtype(x, "a number of 8 to 64 bits", |d| is_number(d) || half(d))?;
            }
            PoolKind::Average { .. } => cx.dtype(x, "f16, bf16, f32 or f64", |d| {
                matches!(d, DType::F32 | DType::F64) || half(d)
            })?,
        }
        let spatial = self.window.check(cx, x)?;
        if self.size.len() != spatial {
            return Err(cx.argument("size", "one number a spatial dimension", &self.size.len()));
        }
        cx.not_rows(&x.dims[1])?;
        let mut dims = x.dims[..2].to_vec();
        for (i, &size) in self.size.iter().enumerate() {
            dims.push(self.window.positions(cx, i, size, &x.dims[i + 2])?);
        }
        Ok(vec![ValueSpec::new(x.dtype, dims)])
    }

    fn flops(&self, inputs: &[Shape], outputs: &[Shape]) -> u64 {
        let extents = inputs[0][2..].iter().map(|&extent| extent as u64);
        let visited = self.size.iter().zip(extents).map(|(&size, extent)| size.min(extent).max(1));
        visited.fold(outputs[0].elements() as u64, u64::saturating_mul)
    }

    fn run(&self, call: &mut Call<'_, '_>) -> Result<(), RunError> {
        let (x, team) = (&call.inputs[0], call.team);
        let out = &mut call.outputs[0];
        let kernel: Vec<usize> = self.size.iter().map(|&size| size as usize).collect();
        let dims = PoolDims {
            planes: x.shape[0] * x.shape[1],
            axes: self.window.axes(&x.shape, &out.shape, &kernel),
        };
        let lowest = (f32::NEG_INFINITY, f64::NEG_INFINITY);
        match (self.kind, x.dtype) {
            (PoolKind::Max, DType::F32) => {
                max_pool(team, &dims, lowest.0, x.numbers(), out.numbers());
            }
            (PoolKind::Max, DType::F64) => {
                max_pool(team, &dims, lowest.1, x.numbers(), out.numbers());
            }
            (PoolKind::Average { count_pads }, DType::F32) => {
                average_pool::<f32>(team, &dims, count_pads, x.numbers(), out.numbers());
            }
            (PoolKind::Average { count_pads }, DType::F64) => {
                average_pool::<f64>(team, &dims, count_pads, x.numbers(), out.numbers());
            }
            (_, DType::F16 | DType::Bf16) => return widened(call, |call| self.run(call)),
            (_, dtype) => with_integer!(dtype, T => {
                max_pool(team, &dims, <T as Integer>::LOWEST, x.numbers::<T>(), out.numbers());
            }, else return Err(super::DTYPE_DEFECT)),
        }
        Ok(())
    }
}
