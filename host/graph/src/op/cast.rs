//! Conversions between dtypes.

use super::{Call, Infer, OpRule};
use crate::{GraphError, RunError, ValueSpec};
use aimass_cpu::cast::{cast, castable};
use aimass_tensor::DType;

/// Converts every element: bool, integers of 4 to 64 bits, floats of 8 to 64 bits. Shape as `x`.
///
/// Floats to integers truncate and saturate, NaN gives 0; integers wrap; what goes to a float is
/// rounded once, to nearest, halves to even, and overflows to infinity or, without one, to NaN
/// (ONNX `Cast-19` with `saturate = 0`).
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Cast {
    pub(crate) dtype: DType,
}

/// The same bits as another dtype of the same size. Shape as `x`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Bitcast {
    pub(crate) dtype: DType,
}

impl OpRule for Cast {
    fn name(&self) -> &'static str {
        "cast"
    }

    fn infer(&self, cx: &mut Infer<'_>, x: &[&ValueSpec]) -> Result<Vec<ValueSpec>, GraphError> {
        for dtype in [x[0].dtype, self.dtype] {
            if !castable(dtype, DType::F32) {
                let expected = "bool, an integer of 4 to 64 bits or a float of 8 to 64 bits";
                return Err(GraphError::DType { op: cx.op, expected, got: dtype });
            }
        }
        Ok(vec![ValueSpec::new(self.dtype, x[0].dims.clone())])
    }

    fn run(&self, call: &mut Call<'_, '_>) -> Result<(), RunError> {
        let (x, out) = (&call.inputs[0], &mut call.outputs[0]);
        if cast(x.dtype, x.bytes, self.dtype, out.bytes) {
            Ok(())
        } else {
            Err(super::DTYPE_DEFECT)
        }
    }

    fn moves_no_bytes(&self, x: &ValueSpec, _: &ValueSpec) -> bool {
        x.dtype == self.dtype
    }
}

impl OpRule for Bitcast {
    fn name(&self) -> &'static str {
        "bitcast"
    }

    fn infer(&self, cx: &mut Infer<'_>, x: &[&ValueSpec]) -> Result<Vec<ValueSpec>, GraphError> {
        if x[0].dtype.size().is_none() || x[0].dtype.size() != self.dtype.size() {
            let expected = "two dtypes of the same size";
            return Err(GraphError::DType { op: cx.op, expected, got: x[0].dtype });
        }
        Ok(vec![ValueSpec::new(self.dtype, x[0].dims.clone())])
    }

    fn run(&self, call: &mut Call<'_, '_>) -> Result<(), RunError> {
        call.outputs[0].bytes.copy_from_slice(call.inputs[0].bytes);
        Ok(())
    }

    fn moves_no_bytes(&self, _: &ValueSpec, _: &ValueSpec) -> bool {
        true
    }
}
