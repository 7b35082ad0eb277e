//! Nodes of constants are computed once, when the plan is compiled.

use super::{Draft, Inst};
use crate::graph::ValueId;
use crate::op::{Arg, Call, Op, Out};
use crate::packing::Constant;
use crate::{PlanError, RunError};
use aimass_cpu::pool::Team;
use aimass_tensor::{BufferMut, Shape, Tensor};
use std::collections::HashSet;

/// Outputs up to this size are always folded; larger ones only if they are at most four times their
/// inputs, as 8-bit weights in f32 are.
const SMALL_BYTES_MAX: usize = 1 << 20;
/// Bytes that the folded constants of any plan may take.
const TOTAL_BYTES_LEAST: usize = 16 << 20;
/// Most bytes that the folded constants of one plan take.
const TOTAL_BYTES_MAX: usize = 1 << 30;

/// Replaces instructions of constants by their outputs. What they take together is bounded by what the
/// graph brought, so that no chain of small steps makes much out of little.
pub(super) fn constants(draft: &mut Draft) -> Result<(), PlanError> {
    let mut total = 0;
    let given = given_bytes(draft).saturating_mul(4).saturating_add(TOTAL_BYTES_LEAST);
    let total_max = given.min(TOTAL_BYTES_MAX);
    for index in 0..draft.insts.len() {
        let Inst::Op { op, inputs, outputs } = &draft.insts[index] else { continue };
        // A loop takes as long as it takes: it is charged and run with the plan.
        if !op.rule().regions().is_empty() {
            continue;
        }
        let known = inputs.iter().all(|&value| draft.constants.contains_key(&draft.root(value)));
        // A constant may be read under extents that only a run knows.
        let fixed = known && fixed_shapes(draft, inputs).is_some();
        let Some(shapes) = fixed.then(|| fixed_shapes(draft, outputs)).flatten() else { continue };
        // An empty constant counts as if it were not, since loops over its other extents run.
        let bytes = |value: &ValueId, shape: &Shape| {
            let dtype = draft.spec(*value).dtype;
            dtype.bytes_for(shape.room()).unwrap_or(usize::MAX)
        };
        let sizes: Vec<usize> = outputs.iter().zip(&shapes).map(|(v, s)| bytes(v, s)).collect();
        let size = sizes.iter().fold(0usize, |sum, &size| sum.saturating_add(size));
        let source = inputs.iter().filter_map(|&value| {
            let shape = fixed_shapes(draft, &[value])?.pop()?;
            Some(bytes(&value, &shape))
        });
        let source = source.fold(0usize, usize::saturating_add);
        if size > SMALL_BYTES_MAX.max(source.saturating_mul(4)) || size > total_max - total {
            continue;
        }
        total += size;
        let tensors = compute(draft, op, inputs, outputs, &shapes)?;
        let outputs = outputs.clone();
        for (output, tensor) in outputs.into_iter().zip(tensors) {
            draft.constants.insert(output, Constant::Tensor(tensor));
        }
    }
    let done = |draft: &Draft, inst: &Inst| {
        inst.outputs().iter().all(|output| draft.constants.contains_key(output))
    };
    let keep: Vec<bool> = draft.insts.iter().map(|inst| !done(draft, inst)).collect();
    let mut keep = keep.into_iter();
    draft.insts.retain(|_| keep.next().unwrap_or(true));
    Ok(())
}

/// Bytes of the weights and constants that the graph names; a weight counts once, however often it is
/// named.
fn given_bytes(draft: &Draft) -> usize {
    let mut weights = HashSet::new();
    let own = |constant: &Constant| match constant {
        Constant::Tensor(tensor) => tensor.byte_len(),
        Constant::Weight(weight) => {
            let range = (weight.range.start, weight.range.end);
            let fresh = weights.insert((weight.source.digest(), range));
            if fresh { usize::try_from(range.1 - range.0).unwrap_or(usize::MAX) } else { 0 }
        }
    };
    draft.constants.values().map(own).fold(0, usize::saturating_add)
}

fn fixed_shapes(draft: &Draft, values: &[ValueId]) -> Option<Vec<Shape>> {
    let shape = |value: &ValueId| {
        let dims = draft.spec(*value).dims.iter();
        let dims: Option<Vec<usize>> = dims.map(|dim| Some(dim.fixed()? as usize)).collect();
        Shape::new(&dims?).ok()
    };
    values.iter().map(shape).collect()
}

fn compute(
    draft: &Draft,
    op: &Op,
    inputs: &[ValueId],
    outputs: &[ValueId],
    shapes: &[Shape],
) -> Result<Vec<Tensor>, PlanError> {
    let failed = |error: RunError| PlanError::Constant(Box::new(error));
    let mut tensors = Vec::with_capacity(inputs.len());
    for &input in inputs {
        tensors.push(draft.constant(draft.root(input))?.load()?);
    }
    let source = fixed_shapes(draft, inputs).ok_or(PlanError::Internal("a constant is dynamic"))?;
    let arg = |i: usize| Arg {
        dtype: draft.spec(inputs[i]).dtype,
        shape: source[i],
        bytes: tensors[i].bytes(),
        stride: None,
    };
    let args: Vec<Arg<'_>> = (0..inputs.len()).map(arg).collect();
    let dtype = |i: usize| draft.spec(outputs[i]).dtype;
    let size = |i: usize| dtype(i).bytes_for(shapes[i].elements()).unwrap_or(0);
    let mut buffers: Vec<BufferMut> =
        (0..outputs.len()).map(|i| BufferMut::uninit(size(i))).collect();
    let mut outs: Vec<Out<'_>> = buffers
        .iter_mut()
        .enumerate()
        .map(|(i, buffer)| Out { dtype: dtype(i), shape: shapes[i], bytes: buffer.as_mut_slice() })
        .collect();
    let mut call = Call { inputs: &args, outputs: &mut outs, team: Team::alone(), in_place: false };
    op.rule().run(&mut call).map_err(failed)?;
    let made = buffers.into_iter().enumerate().map(|(i, buffer)| {
        Tensor::new(dtype(i), shapes[i], buffer.freeze())
            .map_err(|_| PlanError::Internal("a folded constant has another size"))
    });
    made.collect()
}
