//! Reordered axes.

use super::{Call, Infer, OpRule};
use crate::{GraphError, RunError, ValueSpec};
use aimass_cpu::shape_ops::transpose;

/// Output axis `i` is input axis `permutation[i]`. Rows stay axis 0.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Transpose {
    pub(crate) permutation: Vec<usize>,
}

impl OpRule for Transpose {
    fn name(&self) -> &'static str {
        "transpose"
    }

    fn infer(&self, cx: &mut Infer<'_>, x: &[&ValueSpec]) -> Result<Vec<ValueSpec>, GraphError> {
        let x = x[0];
        cx.dtype(x, "elements of whole bytes", |d| d.size().is_some())?;
        let mut sorted = self.permutation.clone();
        sorted.sort_unstable();
        if sorted.len() != x.rank() || sorted.iter().enumerate().any(|(i, &axis)| i != axis) {
            let got = format!("{:?}", self.permutation);
            return Err(cx.argument("permutation", "each axis once", &got));
        }
        let dims = self.permutation.iter().map(|&axis| x.dims[axis].clone()).collect();
        Ok(vec![ValueSpec::new(x.dtype, dims)])
    }

    fn run(&self, call: &mut Call<'_, '_>) -> Result<(), RunError> {
        let (x, out) = (&call.inputs[0], &mut call.outputs[0]);
        let size = x.dtype.size().ok_or(super::DTYPE_DEFECT)?;
        transpose(call.team, size, x.bytes, &x.shape, &self.permutation, out.bytes);
        Ok(())
    }
}
