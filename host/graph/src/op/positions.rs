//! Where a row stands in its sequence.

use super::{Call, Infer, OpRule};
use crate::{Dim, GraphError, RunError, ValueSpec};
use aimass_tensor::DType;

/// Position of each row within its sequence, from 0: u32 of `[ragged(offsets)]`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Positions;

impl OpRule for Positions {
    fn name(&self) -> &'static str {
        "positions"
    }

    fn infer(&self, cx: &mut Infer<'_>, x: &[&ValueSpec]) -> Result<Vec<ValueSpec>, GraphError> {
        match &x[0].offsets {
            Some(name) => Ok(vec![ValueSpec::new(DType::U32, vec![Dim::Ragged(name.clone())])]),
            None => {
                let expected = "any ragged dimension".into();
                Err(GraphError::NotOffsets { op: cx.op, expected })
            }
        }
    }

    fn run(&self, call: &mut Call<'_, '_>) -> Result<(), RunError> {
        let offsets = call.inputs[0].numbers::<u32>();
        let out = call.outputs[0].numbers::<u32>();
        for pair in offsets.windows(2) {
            let own = &mut out[pair[0] as usize..pair[1] as usize];
            own.iter_mut().zip(0..).for_each(|(out, position)| *out = position);
        }
        Ok(())
    }
}
