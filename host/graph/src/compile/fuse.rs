//! Fusion of linear layers: bias, activation and residual into the epilogue; layers that share
//! their input into one matrix.

use super::{Draft, Inst, LinearInst};
use crate::graph::ValueId;
use crate::op::{Arithmetic, Binary, BinaryKind, Op, UnaryKind};
use crate::packing::Constant;
use crate::step::ColumnView;
use crate::{Dim, PlanError, ValueSpec};
use aimass_cpu::activation::Activation;
use aimass_tensor::{DType, Tensor};
use std::collections::HashMap;

const ADD: Op = Op::Binary(Binary { kind: BinaryKind::Arithmetic(Arithmetic::Add) });

/// Pulls additions and activations that follow a linear layer into its epilogue.
pub(super) fn epilogues(draft: &mut Draft) {
    let mut makers = draft.makers();
    let uses = draft.uses();
    let mut gone = vec![false; draft.insts.len()];
    for index in 0..draft.insts.len() {
        let Inst::Op { op, inputs, outputs } = &draft.insts[index] else { continue };
        let (inputs, out) = (inputs.clone(), outputs[0]);
        let candidates = if let Op::Unary(_) = op {
            vec![(inputs[0], None)]
        } else if *op == ADD {
            vec![(inputs[0], Some(inputs[1])), (inputs[1], Some(inputs[0]))]
        } else {
            continue;
        };
        let op = op.clone();
        let found = candidates.into_iter().find_map(|(value, other)| {
            let maker = *makers.get(&value)?;
            let Inst::Linear(linear) = &draft.insts[maker] else { return None };
            if uses.get(&value) != Some(&1) || draft.spec(value).dims != draft.spec(out).dims {
                return None;
            }
            Some((maker, absorbed(draft, linear, &op, other)?))
        });
        if let Some((maker, linear)) = found {
            gone[maker] = true;
            makers.insert(out, index);
            draft.insts[index] = Inst::Linear(LinearInst { out, ..linear });
        }
    }
    let mut gone = gone.into_iter();
    draft.insts.retain(|_| !gone.next().unwrap_or(false));
}

/// The layer with one more op in its epilogue, if that op fits there.
fn absorbed(
    draft: &Draft,
    linear: &LinearInst,
    op: &Op,
    other: Option<ValueId>,
) -> Option<LinearInst> {
    let plain = linear.activation == Activation::None;
    if linear.residual.is_some() {
        return None;
    }
    let Some(other) = other else {
        let Op::Unary(unary) = op else { return None };
        let activation = activation(unary.kind).filter(|_| plain)?;
        return Some(LinearInst { activation, ..linear.clone() });
    };
    let dims = &draft.spec(other).dims;
    if plain && linear.bias.is_none() && *dims == [Dim::Fixed(linear.columns() as u64)] {
        return Some(LinearInst { bias: Some(other), ..linear.clone() });
    }
    let rows = *dims == draft.spec(linear.out).dims;
    rows.then(|| LinearInst { residual: Some(other), ..linear.clone() })
}

/// The epilogue form of a function.
fn activation(kind: UnaryKind) -> Option<Activation> {
    let forms = [
        (UnaryKind::Gelu, Activation::Gelu),
        (UnaryKind::GeluTanh, Activation::GeluTanh),
        (UnaryKind::Relu, Activation::Relu),
        (UnaryKind::Silu, Activation::Silu),
        (UnaryKind::Tanh, Activation::Tanh),
        (UnaryKind::Sigmoid, Activation::Sigmoid),
    ];
    forms.into_iter().find(|(own, _)| *own == kind).map(|(_, form)| form)
}

/// Merges linear layers of one input whose outputs only attention reads: it takes columns.
pub(super) fn merged_linears(draft: &mut Draft) -> Result<(), PlanError> {
    let readers = readers(draft);
    let mut groups: Vec<Vec<usize>> = Vec::new();
    let mut by_input: HashMap<(ValueId, bool, bool), usize> = HashMap::new();
    for (index, inst) in draft.insts.iter().enumerate() {
        let Inst::Linear(linear) = inst else { continue };
        let constant_bias =
            linear.bias.is_none_or(|bias| draft.constants.contains_key(&draft.root(bias)));
        let plain = linear.activation == Activation::None && linear.residual.is_none();
        let only_attention = readers.get(&linear.out).is_some_and(|readers| {
            readers.iter().all(|&(value, attention)| attention && value == linear.out)
        });
        if !plain || !constant_bias || !only_attention || draft.results.contains(&linear.out) {
            continue;
        }
        let key = (linear.x, linear.parts[0].transposed, linear.bias.is_some());
        let group = *by_input.entry(key).or_insert_with(|| {
            groups.push(Vec::new());
            groups.len() - 1
        });
        groups[group].push(index);
    }
    let mut gone = vec![false; draft.insts.len()];
    for group in groups.iter().filter(|group| group.len() > 1) {
        let merged = merge(draft, group)?;
        draft.insts[group[0]] = Inst::Linear(merged);
        group[1..].iter().for_each(|&index| gone[index] = true);
    }
    let mut gone = gone.into_iter();
    draft.insts.retain(|_| !gone.next().unwrap_or(false));
    Ok(())
}

/// Who reads each root: as which value, and whether as query, key or value of an attention.
fn readers(draft: &Draft) -> HashMap<ValueId, Vec<(ValueId, bool)>> {
    let mut readers: HashMap<ValueId, Vec<(ValueId, bool)>> = HashMap::new();
    for inst in &draft.insts {
        let attention =
            matches!(inst, Inst::Op { op: Op::Attention(_) | Op::RaggedAttention(_), .. });
        for (i, value) in inst.inputs().into_iter().enumerate() {
            readers.entry(draft.root(value)).or_default().push((value, attention && i < 3));
        }
    }
    readers
}

fn merge(draft: &mut Draft, group: &[usize]) -> Result<LinearInst, PlanError> {
    let mut layers = Vec::with_capacity(group.len());
    for &index in group {
        let Inst::Linear(linear) = &draft.insts[index] else {
            return Err(PlanError::Internal("a merged instruction is no linear layer"));
        };
        layers.push(linear.clone());
    }
    let columns: usize = layers.iter().map(LinearInst::columns).sum();
    let ValueSpec { mut dims, .. } = draft.spec(layers[0].out).clone();
    if let Some(last) = dims.last_mut() {
        *last = Dim::Fixed(columns as u64);
    }
    let base = draft.add_value(DType::F32, dims);
    let (mut start, mut bias) = (0, Vec::new());
    for layer in &layers {
        draft.views.insert(layer.out, ColumnView { base, start, columns });
        start += layer.columns();
        if let Some(own) = layer.bias {
            let tensor = draft.constant(draft.root(own))?.load()?;
            let numbers = tensor.as_slice::<f32>();
            bias.extend_from_slice(numbers.map_err(|_| PlanError::Internal("a bias is no f32"))?);
        }
    }
    let bias = match bias.is_empty() {
        true => None,
        false => {
            let tensor = Tensor::from_slice(&[bias.len()], &bias)
                .map_err(|_| PlanError::Internal("a merged bias has another size"))?;
            let value = draft.add_value(DType::F32, vec![Dim::Fixed(columns as u64)]);
            draft.constants.insert(value, Constant::Tensor(tensor));
            Some(value)
        }
    };
    let parts = layers.iter().flat_map(|layer| layer.parts.clone()).collect();
    let activation = Activation::None;
    Ok(LinearInst { x: layers[0].x, parts, bias, activation, residual: None, out: base })
}
