//! Ops get their constants in the layout that their kernels read.

use super::{Draft, Inst};
use crate::PlanError;
use crate::graph::ValueId;
use crate::packing::Constant;
use crate::prepared::Source;
use aimass_tensor::Shape;

/// Lets every op prepare its constant inputs; it then no longer reads them.
///
/// # Errors
/// [`PlanError`] if a weight cannot be read.
pub(super) fn constants(draft: &mut Draft) -> Result<(), PlanError> {
    for index in 0..draft.insts.len() {
        let Inst::Op { op, inputs, outputs } = &draft.insts[index] else { continue };
        let constants: Vec<Option<Constant>> =
            inputs.iter().map(|&value| constant(draft, value)).collect::<Result<_, _>>()?;
        let source = |(&value, constant)| Source {
            spec: draft.spec(value),
            constant: Option::as_ref(constant),
        };
        let sources: Vec<Source<'_>> = inputs.iter().zip(&constants).map(source).collect();
        let Some((op, kept)) = op.rule().prepared(&sources)? else { continue };
        let (inputs, outputs) = (kept.into_iter().map(|i| inputs[i]).collect(), outputs.clone());
        draft.insts[index] = Inst::Op { op, inputs, outputs };
    }
    Ok(())
}

/// The constant of a value, in the shape that the op sees: reshaping moves no bytes, so that what lies
/// below may be of another one.
fn constant(draft: &Draft, value: ValueId) -> Result<Option<Constant>, PlanError> {
    let root = draft.root(value);
    let Some(constant) = draft.constants.get(&root) else { return Ok(None) };
    if root == value {
        return Ok(Some(constant.clone()));
    }
    let dims = draft.spec(value).dims.iter();
    let dims: Option<Vec<usize>> = dims.map(|dim| Some(dim.fixed()? as usize)).collect();
    let shape = dims.and_then(|dims| Shape::new(&dims).ok());
    let shape = shape.ok_or(PlanError::Internal("a constant is dynamic"))?;
    constant.reshaped(shape).map(Some)
}
