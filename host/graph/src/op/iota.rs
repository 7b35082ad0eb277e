//! Counting along an axis.

use super::{Call, Infer, Op, OpRule};
use crate::{Dim, GraphError, RunError, ValueSpec};
use aimass_tensor::DType;

/// `start, start + step, ..` along `axis`, the same at every other place; i64 of `dims`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Iota {
    pub(crate) dims: Vec<Dim>,
    pub(crate) axis: u32,
    pub(crate) start: i64,
    pub(crate) step: i64,
}

impl OpRule for Iota {
    fn name(&self) -> &'static str {
        "iota"
    }

    fn infer(&self, cx: &mut Infer<'_>, _: &[&ValueSpec]) -> Result<Vec<ValueSpec>, GraphError> {
        let axis = cx.axis(self.axis, self.dims.len())?;
        cx.declared(&self.dims, &[])?;
        cx.not_rows(&self.dims[axis])?;
        Ok(vec![ValueSpec::new(DType::I64, self.dims.clone())])
    }

    fn renamed(&self, names: &dyn Fn(&Dim) -> Dim) -> Option<Op> {
        let dims = self.dims.iter().map(names).collect();
        Some(Op::Iota(Iota { dims, ..self.clone() }))
    }

    fn run(&self, call: &mut Call<'_, '_>) -> Result<(), RunError> {
        let out = &mut call.outputs[0];
        let axis = self.axis as usize;
        let inner: usize = out.shape[axis + 1..].iter().product();
        let (n, start, step) = (out.shape[axis].max(1), self.start, self.step);
        for (i, out) in out.numbers::<i64>().iter_mut().enumerate() {
            let index = (i / inner.max(1)) % n;
            *out = start.wrapping_add(step.wrapping_mul(index as i64));
        }
        Ok(())
    }
}
