//! Linear layers whose weights are known become packed ones.

use super::{Draft, Inst, LinearInst};
use crate::Dim;
use crate::graph::ValueId;
use crate::op::Op;
use crate::packing::{Constant, Int8Scaling, Part};
use aimass_tensor::DType;
use std::collections::HashMap;

/// Rewrites `linear`, and `matmul` with a constant matrix, to packed linears of f32; with `narrow`, of
/// floats of 16 bits as well.
pub(super) fn linears(draft: &mut Draft, narrow: bool) {
    let makers = draft.makers();
    for index in 0..draft.insts.len() {
        let Inst::Op { op, inputs, outputs } = &draft.insts[index] else { continue };
        if let Op::DynamicLinear(_) = op {
            if let Some(part) = int8_part(draft, inputs) {
                let linear = LinearInst::new(inputs[0], part, None, outputs[0]);
                draft.insts[index] = Inst::Linear(linear);
            }
            continue;
        }
        let transposed = if let Op::Linear(linear) = op {
            linear.transposed
        } else if matches!(op, Op::MatMul(_)) && draft.spec(inputs[1]).rank() == 2 {
            false
        } else {
            continue;
        };
        match draft.spec(inputs[0]).dtype {
            DType::F32 => {}
            DType::F16 | DType::Bf16 if narrow => {}
            _ => continue,
        }
        let Some(part) = weight_part(draft, &makers, inputs[1], transposed) else { continue };
        let linear = LinearInst::new(inputs[0], part, inputs.get(2).copied(), outputs[0]);
        draft.insts[index] = Inst::Linear(linear);
    }
}

/// The weights of a dynamic layer, which are constants; none without columns or rows.
fn int8_part(draft: &Draft, inputs: &[ValueId]) -> Option<Part> {
    let [k, n] = &draft.spec(inputs[1]).dims[..] else { return None };
    let extent = |dim: &Dim| dim.fixed().and_then(|extent| usize::try_from(extent).ok());
    let (k, n) = (extent(k)?, extent(n)?);
    let constant = |value: &ValueId| draft.constants.get(&draft.root(*value)).cloned();
    let zero = match inputs.get(3) {
        Some(zero) => Some(constant(zero)?),
        None => None,
    };
    let int8 = Some(Int8Scaling { scale: constant(&inputs[2])?, zero });
    let weight = constant(&inputs[1])?;
    (k > 0 && n > 0).then_some(Part { weight, transposed: false, k, n, int8 })
}

/// The constant matrix behind a value, seen through transposes and casts of halves.
fn weight_part(
    draft: &Draft,
    makers: &HashMap<ValueId, usize>,
    w: ValueId,
    transposed: bool,
) -> Option<Part> {
    let extents: Vec<u64> = draft.spec(w).dims.iter().filter_map(|dim| dim.fixed()).collect();
    let [a, b] = extents[..] else { return None };
    let (k, n) = if transposed { (b, a) } else { (a, b) };
    let (k, n) = (usize::try_from(k).ok()?, usize::try_from(n).ok()?);
    if k == 0 || n == 0 {
        return None;
    }
    let (mut value, mut flipped) = (w, transposed);
    loop {
        let root = draft.root(value);
        if draft.spec(root).dtype != draft.spec(value).dtype {
            return None;
        }
        if let Some(weight) = draft.constants.get(&root) {
            return matrix(weight).then(|| Part {
                weight: weight.clone(),
                transposed: flipped,
                k,
                n,
                int8: None,
            });
        }
        let Inst::Op { op, inputs, .. } = &draft.insts[*makers.get(&root)?] else { return None };
        if let Op::Transpose(transpose) = op {
            // A reshape in between would need the transposed order.
            if root != value || draft.spec(root).rank() != 2 {
                return None;
            }
            flipped ^= transpose.permutation == [1, 0];
        } else if let Op::Cast(cast) = op {
            let from = draft.spec(inputs[0]).dtype;
            if cast.dtype != DType::F32 || !matches!(from, DType::F16 | DType::Bf16) {
                return None;
            }
        } else {
            return None;
        }
        value = inputs[0];
    }
}

fn matrix(weight: &Constant) -> bool {
    let dtype = match weight {
        Constant::Weight(weight) => weight.dtype,
        Constant::Tensor(tensor) => tensor.dtype(),
    };
    matches!(dtype, DType::F32 | DType::F16 | DType::Bf16)
}
