//! Products of integers that are converted to f32 and scaled do so on their way to memory.

use super::patterns::arithmetic;
use super::{Draft, Inst};
use crate::graph::ValueId;
use crate::op::{Arithmetic, Cast, IntegerEnd, MatMulInteger, Op};
use aimass_tensor::DType;

/// Pulls a cast to f32, then a factor for all or for each column, into the product before it.
pub(super) fn scaled_products(draft: &mut Draft) {
    let mut makers = draft.makers();
    let uses = draft.uses();
    let mut gone = vec![false; draft.insts.len()];
    for index in 0..draft.insts.len() {
        let Inst::Op { op, inputs, outputs } = &draft.insts[index] else { continue };
        let out = outputs[0];
        let candidates = match (op, arithmetic(op)) {
            (Op::Cast(Cast { dtype: DType::F32 }), _) => vec![(inputs[0], None)],
            (_, Some(Arithmetic::Mul)) => {
                vec![(inputs[0], Some(inputs[1])), (inputs[1], Some(inputs[0]))]
            }
            _ => continue,
        };
        let found = candidates.into_iter().find_map(|(value, factor)| {
            let maker = *makers.get(&value)?;
            let same = draft.spec(value).dims == draft.spec(out).dims;
            let (product, mut inputs) = product(&draft.insts[maker])?;
            if uses.get(&value) != Some(&1) || !same {
                return None;
            }
            let end = match (product.end, factor) {
                (IntegerEnd::I32, None) => IntegerEnd::F32,
                (IntegerEnd::F32, Some(factor)) if is_scale(draft, factor, out) => {
                    inputs.push(factor);
                    IntegerEnd::Scaled
                }
                _ => return None,
            };
            let op = Op::MatMulInteger(MatMulInteger { end, ..product });
            Some((maker, Inst::Op { op, inputs, outputs: vec![out] }))
        });
        if let Some((maker, inst)) = found {
            gone[maker] = true;
            makers.insert(out, index);
            draft.insts[index] = inst;
        }
    }
    let mut gone = gone.into_iter();
    draft.insts.retain(|_| !gone.next().unwrap_or(false));
}

fn product(inst: &Inst) -> Option<(MatMulInteger, Vec<ValueId>)> {
    match inst {
        Inst::Op { op: Op::MatMulInteger(product), inputs, .. } => {
            Some((product.clone(), inputs.clone()))
        }
        Inst::Op { .. } | Inst::Linear(_) | Inst::Image(_) => None,
    }
}

/// Whether a value is one f32 number, or one for each column of `out`.
fn is_scale(draft: &Draft, factor: ValueId, out: ValueId) -> bool {
    let (factor, out) = (draft.spec(factor), draft.spec(out));
    let Some(last) = out.dims.last() else { return false };
    let (own, front) = match factor.dims.split_last() {
        Some((own, front)) => (Some(own), front),
        None => (None, &[][..]),
    };
    let fits = own.is_none_or(|own| own.fixed() == Some(1) || own.fixed().is_some() && own == last);
    factor.dtype == DType::F32 && fits && front.iter().all(|dim| dim.fixed() == Some(1))
}
