//! Activations that exporters spell out become the ops they are.

use super::{Draft, Inst};
use crate::graph::ValueId;
use crate::op::{Arithmetic, Binary, BinaryKind, Clamp, Op, Unary, UnaryKind};
use aimass_tensor::DType;
use std::collections::HashMap;

/// Rewrites `x min(max(x + 3, 0), 6) / 6` and `x hard-sigmoid(x)` to `hard-swish`, and
/// `x sigmoid(x)` to `silu`.
pub(super) fn activations(draft: &mut Draft) {
    let makers = draft.makers();
    for index in 0..draft.insts.len() {
        let finder = Finder { draft, makers: &makers };
        let Some((kind, x)) = finder.find(&draft.insts[index]) else { continue };
        let Inst::Op { op, inputs, .. } = &mut draft.insts[index] else { continue };
        *op = Op::Unary(Unary { kind });
        *inputs = vec![x];
    }
}

/// Arithmetic of an op, if it is that.
pub(super) fn arithmetic(op: &Op) -> Option<Arithmetic> {
    let Op::Binary(Binary { kind: BinaryKind::Arithmetic(arithmetic) }) = op else { return None };
    Some(*arithmetic)
}

impl Draft {
    /// The number that a constant of one f32 element holds.
    pub(super) fn number(&self, value: ValueId) -> Option<f32> {
        let root = self.root(value);
        let spec = self.spec(value);
        let one = spec.dims.iter().all(|dim| dim.fixed() == Some(1));
        if spec.dtype != DType::F32 || !one {
            return None;
        }
        let tensor = self.constants.get(&root)?.load().ok()?;
        tensor.as_slice::<f32>().ok()?.first().copied()
    }
}

struct Finder<'a> {
    draft: &'a Draft,
    makers: &'a HashMap<ValueId, usize>,
}

impl Finder<'_> {
    fn find(&self, inst: &Inst) -> Option<(UnaryKind, ValueId)> {
        let Inst::Op { op, inputs, outputs } = inst else { return None };
        let arithmetic = arithmetic(op)?;
        let [left, right] = inputs[..] else { return None };
        let spec = self.draft.spec(outputs[0]);
        if spec.dtype != DType::F32 {
            return None;
        }
        let same = |x: ValueId| self.draft.spec(x).dims == spec.dims;
        let product = match arithmetic {
            Arithmetic::Div if self.draft.number(right) == Some(6.0) => left,
            Arithmetic::Mul if self.is_sixth(right) => left,
            Arithmetic::Mul if self.is_sixth(left) => right,
            Arithmetic::Mul => {
                let gate = |x: ValueId, gate: ValueId| Some((self.gate(x, gate)?, x));
                return gate(left, right).or_else(|| gate(right, left)).filter(|(_, x)| same(*x));
            }
            _ => return None,
        };
        let [left, right] = self.made(product, Arithmetic::Mul)?;
        let x = [(left, right), (right, left)];
        let x = x.into_iter().find(|&(x, clamped)| self.is_clamped(x, clamped))?.0;
        same(x).then_some((UnaryKind::HardSwish, x))
    }

    fn is_sixth(&self, value: ValueId) -> bool {
        self.draft.number(value).is_some_and(|number| (number - 1.0 / 6.0).abs() < 1e-6)
    }

    fn maker(&self, value: ValueId) -> Option<(&Op, &[ValueId])> {
        match &self.draft.insts[*self.makers.get(&value)?] {
            Inst::Op { op, inputs, .. } => Some((op, inputs)),
            Inst::Linear(_) | Inst::Image(_) => None,
        }
    }

    fn made(&self, value: ValueId, by: Arithmetic) -> Option<[ValueId; 2]> {
        let (op, inputs) = self.maker(value)?;
        (arithmetic(op)? == by).then(|| inputs.try_into().ok())?
    }

    /// Whether `clamped` is `min(max(x + 3, 0), 6)`.
    fn is_clamped(&self, x: ValueId, clamped: ValueId) -> bool {
        let sum = || {
            let (op, inputs) = self.maker(clamped)?;
            (*op == Op::Clamp(Clamp { low: 0.0, high: 6.0 })).then_some(inputs[0])
        };
        let Some([left, right]) = sum().and_then(|sum| self.made(sum, Arithmetic::Add)) else {
            return false;
        };
        let three = |value: ValueId| self.draft.number(value) == Some(3.0);
        left == x && three(right) || right == x && three(left)
    }

    /// The function of `x` that its product with `gate` is.
    fn gate(&self, x: ValueId, gate: ValueId) -> Option<UnaryKind> {
        let (Op::Unary(unary), inputs) = self.maker(gate)? else { return None };
        if inputs[0] != x {
            return None;
        }
        if let UnaryKind::HardSigmoid { alpha, beta } = unary.kind {
            let swish = (alpha - 1.0 / 6.0).abs() < 1e-6 && beta == 0.5;
            return swish.then_some(UnaryKind::HardSwish);
        }
        (unary.kind == UnaryKind::Sigmoid).then_some(UnaryKind::Silu)
    }
}
