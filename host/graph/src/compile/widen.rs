//! Ops on floats below 32 bits become their f32 forms between conversions.
//!
//! So one kernel serves all of them, a result is rounded once, and the f32 copies are values of the
//! graph: planned, charged and fused like any other.

use super::{Draft, Inst};
use crate::device::computes_narrow;
use crate::graph::ValueId;
use crate::op::{Cast, Op};
use aimass_tensor::DType;
use std::collections::HashMap;

/// Rewrites the ops that have no kernel of their own for floats below 32 bits; with `narrow`, those
/// that a device has none for.
pub(super) fn narrow_floats(draft: &mut Draft, narrow: bool) {
    let insts = std::mem::take(&mut draft.insts);
    draft.insts.reserve(insts.len());
    // The f32 copy of each value, made once.
    let mut wide: HashMap<ValueId, ValueId> = HashMap::new();
    for inst in insts {
        match inst {
            Inst::Op { op, inputs, outputs }
                if op.rule().widens() && !(narrow && runs_narrow(draft, &op, &inputs)) =>
            {
                let inputs =
                    inputs.iter().map(|&x| widened(draft, &mut wide, x)).collect::<Vec<ValueId>>();
                let own: Vec<ValueId> = outputs
                    .iter()
                    .map(|&out| if is_narrow(draft, out) { f32_value(draft, out) } else { out })
                    .collect();
                draft.insts.push(Inst::Op { op, inputs, outputs: own.clone() });
                let pairs = own.into_iter().zip(outputs);
                for (from, to) in pairs.filter(|(from, to)| from != to) {
                    let op = Op::Cast(Cast { dtype: draft.spec(to).dtype });
                    draft.insts.push(Inst::Op { op, inputs: vec![from], outputs: vec![to] });
                }
            }
            Inst::Op { .. } | Inst::Linear(_) | Inst::Image(_) => draft.insts.push(inst),
        }
    }
}

/// Whether a device computes the op without wider copies of its inputs.
fn runs_narrow(draft: &Draft, op: &Op, inputs: &[ValueId]) -> bool {
    let specs: Vec<_> = inputs.iter().map(|&input| draft.spec(input)).collect();
    computes_narrow(op, &specs)
}

fn is_narrow(draft: &Draft, value: ValueId) -> bool {
    let dtype = draft.spec(value).dtype;
    dtype.is_float() && !matches!(dtype, DType::F32 | DType::F64)
}

fn f32_value(draft: &mut Draft, like: ValueId) -> ValueId {
    let dims = draft.spec(like).dims.clone();
    draft.add_value(DType::F32, dims)
}

/// The value in f32; the value itself if it is no narrow float.
fn widened(draft: &mut Draft, wide: &mut HashMap<ValueId, ValueId>, x: ValueId) -> ValueId {
    if !is_narrow(draft, x) {
        return x;
    }
    if let Some(&known) = wide.get(&x) {
        return known;
    }
    let out = f32_value(draft, x);
    let op = Op::Cast(Cast { dtype: DType::F32 });
    draft.insts.push(Inst::Op { op, inputs: vec![x], outputs: vec![out] });
    wide.insert(x, out);
    out
}
