//! Random bits from a key.

use super::{Call, Infer, Op, OpRule};
use crate::{Dim, GraphError, RunError, ValueSpec};
use aimass_cpu::random::random_bits;
use aimass_tensor::DType;

/// Random u32 of `dims` by Threefry-2x32 with 20 rounds (Salmon et al., SC11) from a u32 `[2]` key:
/// elements `2 i` and `2 i + 1`, in row-major order, are the two words of counter `i`, whose low
/// half is its first word. The same key gives the same bits everywhere. Dims without rows.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct RandomBits {
    pub(crate) dims: Vec<Dim>,
}

impl OpRule for RandomBits {
    fn name(&self) -> &'static str {
        "random-bits"
    }

    fn infer(&self, cx: &mut Infer<'_>, x: &[&ValueSpec]) -> Result<Vec<ValueSpec>, GraphError> {
        cx.dtype(x[0], "a u32 key", |dtype| dtype == DType::U32)?;
        cx.extent_vector(x[0], &Dim::Fixed(2))?;
        cx.declared(&self.dims, x)?;
        self.dims.iter().try_for_each(|dim| cx.not_rows(dim))?;
        Ok(vec![ValueSpec::new(DType::U32, self.dims.clone())])
    }

    fn flops(&self, _: &[aimass_tensor::Shape], outputs: &[aimass_tensor::Shape]) -> u64 {
        (outputs[0].elements() as u64).saturating_mul(32)
    }

    fn renamed(&self, names: &dyn Fn(&Dim) -> Dim) -> Option<Op> {
        let dims = self.dims.iter().map(names).collect();
        Some(Op::RandomBits(RandomBits { dims }))
    }

    fn run(&self, call: &mut Call<'_, '_>) -> Result<(), RunError> {
        let &[a, b] = call.inputs[0].numbers::<u32>() else { return Err(super::DTYPE_DEFECT) };
        random_bits([a, b], call.outputs[0].numbers());
        Ok(())
    }
}
