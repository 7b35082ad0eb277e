//! Bounds on every element.

use super::{Call, Infer, NUMERIC, OpRule, is_numeric, with_number};
use crate::{GraphError, RunError, ValueSpec};
use aimass_cpu::activation::clamp;
use aimass_tensor::DType;

/// `min(max(x, low), high)`; NaN stays NaN. Shape and dtype as `x` (ONNX `Clip-13`).
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Clamp {
    pub(crate) low: f64,
    pub(crate) high: f64,
}

impl OpRule for Clamp {
    fn name(&self) -> &'static str {
        "clamp"
    }

    fn infer(&self, cx: &mut Infer<'_>, x: &[&ValueSpec]) -> Result<Vec<ValueSpec>, GraphError> {
        cx.dtype(x[0], NUMERIC, is_numeric)?;
        if self.low.is_nan() || self.high.is_nan() || self.low > self.high {
            let got = format!("{}..{}", self.low, self.high);
            return Err(cx.argument("low", "low <= high, neither NaN", &got));
        }
        Ok(vec![ValueSpec::new(x[0].dtype, x[0].dims.clone())])
    }

    fn run(&self, call: &mut Call<'_, '_>) -> Result<(), RunError> {
        let (x, out) = (&call.inputs[0], &mut call.outputs[0]);
        if x.dtype == DType::F32 {
            clamp(x.numbers(), self.low as f32, self.high as f32, out.numbers());
            return Ok(());
        }
        // Bounds saturate to the dtype, so that the comparison is exact.
        with_number!(x.dtype, T => {
            let (low, high) = (self.low.ceil() as T, self.high.floor() as T);
            let (low, high) = match x.dtype {
                DType::F64 => (self.low as T, self.high as T),
                _ => (low, high),
            };
            for (out, &x) in out.numbers::<T>().iter_mut().zip(x.numbers::<T>()) {
                let x = if x < low { low } else { x };
                *out = if x > high { high } else { x };
            }
        }, else return Err(super::DTYPE_DEFECT));
        Ok(())
    }

    fn widens(&self) -> bool {
        true
    }
}
