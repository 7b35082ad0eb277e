//! Fusion of linear layers and operations on images: bias, activations, factors and residual into the
//! epilogue; layers that share their input into one matrix.

use super::patterns::arithmetic;
use super::{Draft, ImageInst, ImageKind, Inst, LinearInst};
use crate::graph::ValueId;
use crate::op::{Arithmetic, Op, UnaryKind};
use crate::packing::{Constant, Part};
use crate::step::ColumnView;
use crate::{Dim, PlanError, ValueSpec};
use aimass_cpu::activation::{Activation, Finish};
use aimass_tensor::{Shape, Tensor};
use std::collections::HashMap;

/// An epilogue: what a layer does with its sums.
#[derive(Clone, Copy)]
struct Epilogue {
    bias: Option<ValueId>,
    finish: Finish,
    residual: Option<ValueId>,
}

/// Pulls additions, factors and activations that follow a layer into its epilogue.
pub(super) fn epilogues(draft: &mut Draft) {
    let mut makers = draft.makers();
    let uses = draft.uses();
    let mut gone = vec![false; draft.insts.len()];
    for index in 0..draft.insts.len() {
        let Inst::Op { op, inputs, outputs } = &draft.insts[index] else { continue };
        let out = outputs[0];
        let candidates = match (op, arithmetic(op)) {
            (Op::Unary(_) | Op::Clamp(_), _) => vec![(inputs[0], None)],
            (_, Some(Arithmetic::Add | Arithmetic::Mul)) => {
                vec![(inputs[0], Some(inputs[1])), (inputs[1], Some(inputs[0]))]
            }
            (_, Some(Arithmetic::Sub | Arithmetic::Div)) => vec![(inputs[0], Some(inputs[1]))],
            _ => continue,
        };
        let found = candidates.into_iter().find_map(|(value, other)| {
            let maker = *makers.get(&value)?;
            if uses.get(&value) != Some(&1) || draft.spec(value).dims != draft.spec(out).dims {
                return None;
            }
            let fused = fused(draft, &draft.insts[maker], op, other)?;
            // The layer moves to the place of the op, where its residual is made.
            Some((maker, fused.with_output(out)))
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

impl Inst {
    fn with_output(self, out: ValueId) -> Inst {
        match self {
            Inst::Op { op, inputs, .. } => Inst::Op { op, inputs, outputs: vec![out] },
            Inst::Linear(linear) => Inst::Linear(LinearInst { out, ..linear }),
            Inst::Image(image) => Inst::Image(ImageInst { out, ..image }),
        }
    }
}

/// The layer with one more op in its epilogue, if that op fits there.
fn fused(draft: &Draft, layer: &Inst, op: &Op, other: Option<ValueId>) -> Option<Inst> {
    match layer {
        Inst::Op { .. } => None,
        Inst::Linear(linear) => {
            let LinearInst { bias, finish, residual, out, .. } = *linear;
            let epilogue = Epilogue { bias, finish, residual };
            let columns = Some(linear.columns() as u64);
            let Epilogue { bias, finish, residual } =
                absorbed(draft, epilogue, (op, other), (out, columns))?;
            Some(Inst::Linear(LinearInst { bias, finish, residual, ..linear.clone() }))
        }
        Inst::Image(image) => {
            let ImageInst { bias, finish, residual, out, .. } = *image;
            let epilogue = Epilogue { bias, finish, residual };
            let Epilogue { bias, finish, residual } =
                absorbed(draft, epilogue, (op, other), (out, None))?;
            let residual_fits = match image.kind {
                ImageKind::Dense { .. } | ImageKind::Depthwise { .. } => true,
                ImageKind::Spread { .. } => residual.is_none(),
                ImageKind::Pool(_) => false,
            };
            let image = ImageInst { bias, finish, residual, ..image.clone() };
            residual_fits.then_some(Inst::Image(image))
        }
    }
}

/// The epilogue of a layer that makes `out`, and one more op. `columns` are given where a vector of as
/// many may become the bias.
fn absorbed(
    draft: &Draft,
    epilogue: Epilogue,
    (op, other): (&Op, Option<ValueId>),
    (out, columns): (ValueId, Option<u64>),
) -> Option<Epilogue> {
    let Epilogue { bias, finish, residual } = epilogue;
    let plain = finish.is_plain() && residual.is_none();
    if finish.last != Activation::None {
        return None;
    }
    let Some(other) = other else {
        let activation = activation(op)?;
        let finish = match plain {
            true => Finish { activation, ..finish },
            false => Finish { last: activation, ..finish },
        };
        return Some(Epilogue { finish, ..epilogue });
    };
    if residual.is_some() {
        return None;
    }
    let arithmetic = arithmetic(op)?;
    let dims = &draft.spec(other).dims;
    let add = arithmetic == Arithmetic::Add;
    if add && plain && bias.is_none() && columns.is_some_and(|n| *dims == [Dim::Fixed(n)]) {
        return Some(Epilogue { bias: Some(other), ..epilogue });
    }
    if let Some(number) = draft.number(other) {
        let (factor, summand) = finish.scaled.unwrap_or((1.0, 0.0));
        let scaled = match arithmetic {
            Arithmetic::Add => (factor, summand + number),
            Arithmetic::Sub => (factor, summand - number),
            Arithmetic::Mul => (factor * number, summand * number),
            Arithmetic::Div => (factor / number, summand / number),
            _ => return None,
        };
        return Some(Epilogue { finish: Finish { scaled: Some(scaled), ..finish }, ..epilogue });
    }
    (add && *dims == draft.spec(out).dims).then_some(Epilogue { residual: Some(other), ..epilogue })
}

/// The epilogue form of a function.
fn activation(op: &Op) -> Option<Activation> {
    if let Op::Clamp(clamp) = op {
        return Some(Activation::Clamp { low: clamp.low as f32, high: clamp.high as f32 });
    }
    let Op::Unary(unary) = op else { return None };
    let forms = [
        (UnaryKind::Gelu, Activation::Gelu),
        (UnaryKind::GeluTanh, Activation::GeluTanh),
        (UnaryKind::Relu, Activation::Relu),
        (UnaryKind::Silu, Activation::Silu),
        (UnaryKind::Tanh, Activation::Tanh),
        (UnaryKind::Sigmoid, Activation::Sigmoid),
    ];
    let simple = forms.into_iter().find(|(own, _)| *own == unary.kind).map(|(_, form)| form);
    simple.or_else(|| unary.kind.parametric().map(Activation::With))
}

/// Merges linear layers of one input whose outputs only attention reads: it takes columns.
pub(super) fn merged_linears(draft: &mut Draft) -> Result<(), PlanError> {
    let readers = readers(draft);
    let mut groups: Vec<Vec<usize>> = Vec::new();
    let mut by_input: HashMap<(ValueId, bool, bool, bool), usize> = HashMap::new();
    for (index, inst) in draft.insts.iter().enumerate() {
        let Inst::Linear(linear) = inst else { continue };
        let constant_bias =
            linear.bias.is_none_or(|bias| draft.constants.contains_key(&draft.root(bias)));
        let plain = linear.finish.is_plain() && linear.residual.is_none();
        let only_attention = readers.get(&linear.out).is_some_and(|readers| {
            readers.iter().all(|&(value, attention)| attention && value == linear.out)
        });
        if !plain || !constant_bias || !only_attention || draft.results.contains(&linear.out) {
            continue;
        }
        let Part { transposed, int8, .. } = &linear.parts[0];
        let key = (linear.x, *transposed, linear.bias.is_some(), int8.is_some());
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
    let dtype = draft.spec(layers[0].out).dtype;
    let base = draft.add_value(dtype, dims);
    let (mut start, mut bias) = (0, Vec::new());
    for layer in &layers {
        draft.views.insert(layer.out, ColumnView { base, start, columns });
        start += layer.columns();
        if let Some(own) = layer.bias {
            let tensor = draft.constant(draft.root(own))?.load()?;
            bias.extend_from_slice(tensor.bytes());
        }
    }
    let bias = match bias.is_empty() {
        true => None,
        false => {
            let tensor = Shape::new(&[columns]).ok();
            let tensor = tensor.and_then(|shape| Tensor::copy_from(dtype, shape, &bias).ok());
            let tensor = tensor.ok_or(PlanError::Internal("a merged bias has another size"))?;
            let value = draft.add_value(dtype, vec![Dim::Fixed(columns as u64)]);
            draft.constants.insert(value, Constant::Tensor(tensor));
            Some(value)
        }
    };
    let parts = layers.iter().flat_map(|layer| layer.parts.clone()).collect();
    let finish = Finish::default();
    Ok(LinearInst { x: layers[0].x, parts, bias, finish, residual: None, out: base })
}
