//! Ops get their constants in the layout that their kernels read.

use super::{Draft, Inst};
use crate::PlanError;
use crate::graph::ValueId;
use crate::prepared::Source;

/// Lets every op prepare its constant inputs; it then no longer reads them.
///
/// # Errors
/// [`PlanError`] if a weight cannot be read.
pub(super) fn constants(draft: &mut Draft) -> Result<(), PlanError> {
    for index in 0..draft.insts.len() {
        let Inst::Op { op, inputs, outputs } = &draft.insts[index] else { continue };
        let source = |&value: &ValueId| Source {
            spec: draft.spec(value),
            constant: draft.constants.get(&draft.root(value)),
        };
        let sources: Vec<Source<'_>> = inputs.iter().map(source).collect();
        let Some((op, kept)) = op.rule().prepared(&sources)? else { continue };
        let (inputs, outputs) = (kept.into_iter().map(|i| inputs[i]).collect(), outputs.clone());
        draft.insts[index] = Inst::Op { op, inputs, outputs };
    }
    Ok(())
}
