//! Batch norms, factors and summands a channel that follow a convolution go into its weights.

use super::patterns::arithmetic;
use super::{Draft, Inst};
use crate::graph::ValueId;
use crate::op::{Arithmetic, Op};
use crate::packing::Constant;
use crate::{Dim, PlanError};
use aimass_cpu::channel_norm::BatchNorm;
use aimass_tensor::{DType, Tensor};
use std::collections::HashMap;

/// Factor and summand of every channel.
struct Affine {
    factors: Vec<f32>,
    summands: Vec<f32>,
}

/// Folds what follows f32 convolutions of constant weights into weights and bias.
///
/// # Errors
/// [`PlanError`] if a weight cannot be read.
pub(super) fn into_convolutions(draft: &mut Draft) -> Result<(), PlanError> {
    let mut makers = draft.makers();
    let uses = draft.uses();
    let mut folded: HashMap<usize, Affine> = HashMap::new();
    let mut gone = vec![false; draft.insts.len()];
    for (index, gone) in gone.iter_mut().enumerate() {
        let Inst::Op { op, inputs, outputs } = &draft.insts[index] else { continue };
        let out = outputs[0];
        let found = candidates(op, inputs).into_iter().find_map(|x| {
            let maker = *makers.get(&x)?;
            let filters = filters(draft, &draft.insts[maker])?;
            let single = uses.get(&draft.root(x)) == Some(&1);
            let same = draft.spec(x).dims == draft.spec(out).dims;
            (single && same).then_some((maker, x, filters))
        });
        let Some((maker, x, filters)) = found else { continue };
        let Some(affine) = affine(draft, op, inputs, x, filters) else { continue };
        let all = folded.entry(maker).or_insert_with(|| Affine {
            factors: vec![1.0; filters],
            summands: vec![0.0; filters],
        });
        for (i, (factor, summand)) in affine.factors.iter().zip(&affine.summands).enumerate() {
            all.factors[i] *= factor;
            all.summands[i] = all.summands[i] * factor + summand;
        }
        if let Inst::Op { outputs, .. } = &mut draft.insts[maker] {
            outputs[0] = out;
        }
        makers.insert(out, maker);
        *gone = true;
    }
    for (index, affine) in folded {
        apply(draft, index, &affine)?;
    }
    let mut gone = gone.into_iter();
    draft.insts.retain(|_| !gone.next().unwrap_or(false));
    Ok(())
}

/// The inputs of an op that could be the convolution.
fn candidates(op: &Op, inputs: &[ValueId]) -> Vec<ValueId> {
    match (arithmetic(op), op) {
        (Some(Arithmetic::Add | Arithmetic::Mul), _) => inputs.to_vec(),
        (Some(Arithmetic::Sub | Arithmetic::Div), _) | (None, Op::BatchNorm(_)) => {
            vec![inputs[0]]
        }
        _ => Vec::new(),
    }
}

/// Number of filters of an f32 convolution of constant weights and bias.
fn filters(draft: &Draft, inst: &Inst) -> Option<usize> {
    let Inst::Op { op, inputs, outputs } = inst else { return None };
    let one_group = match op {
        Op::Conv(_) => true,
        Op::ConvTranspose(conv) => conv.groups == 1,
        _ => return None,
    };
    let known = |value: &ValueId| draft.constants.contains_key(&draft.root(*value));
    let float = draft.spec(outputs[0]).dtype == DType::F32;
    if !one_group || !float || !inputs[1..].iter().all(known) {
        return None;
    }
    draft.spec(outputs[0]).dims[1].fixed().map(|filters| filters as usize)
}

/// The numbers of a constant, one a channel of a value of `rank` dimensions.
fn channels(draft: &Draft, value: ValueId, rank: usize, channels: usize) -> Option<Vec<f32>> {
    let dims = &draft.spec(value).dims;
    let whole = dims.iter().all(|dim| *dim == Dim::Fixed(1));
    let axis = (dims.len() + 1).checked_sub(rank);
    let beside = dims.iter().enumerate().all(|(i, dim)| Some(i) == axis || *dim == Dim::Fixed(1));
    let one_each = axis.is_some_and(|axis| dims[axis] == Dim::Fixed(channels as u64)) && beside;
    if draft.spec(value).dtype != DType::F32 || !(whole || one_each) {
        return None;
    }
    let tensor = draft.constants.get(&draft.root(value))?.load().ok()?;
    let numbers = tensor.as_slice::<f32>().ok()?;
    match numbers.len() == channels {
        true => Some(numbers.to_vec()),
        false => Some(vec![*numbers.first()?; channels]),
    }
}

fn affine(
    draft: &Draft,
    op: &Op,
    inputs: &[ValueId],
    x: ValueId,
    filters: usize,
) -> Option<Affine> {
    let rank = draft.spec(x).rank();
    if let Op::BatchNorm(norm) = op {
        let vector = |value: ValueId| {
            let tensor = draft.constants.get(&draft.root(value))?.load().ok()?;
            tensor.as_slice::<f32>().ok().map(<[f32]>::to_vec)
        };
        let (scale, bias) = (vector(inputs[1])?, vector(inputs[2])?);
        let (mean, variance) = (vector(inputs[3])?, vector(inputs[4])?);
        let norm = BatchNorm {
            scale: &scale,
            bias: &bias,
            mean: &mean,
            variance: &variance,
            epsilon: norm.epsilon,
        };
        let (factors, summands) = (0..filters).map(|i| norm.factor_and_summand(i)).unzip();
        return Some(Affine { factors, summands });
    }
    let other = if inputs[0] == x { inputs[1] } else { inputs[0] };
    let numbers = channels(draft, other, rank, filters)?;
    let (ones, zeros) = (vec![1.0; filters], vec![0.0; filters]);
    Some(match arithmetic(op)? {
        Arithmetic::Add => Affine { factors: ones, summands: numbers },
        Arithmetic::Sub => {
            Affine { factors: ones, summands: numbers.iter().map(|number| -number).collect() }
        }
        Arithmetic::Mul => Affine { factors: numbers, summands: zeros },
        Arithmetic::Div => {
            Affine { factors: numbers.iter().map(|number| 1.0 / number).collect(), summands: zeros }
        }
        _ => return None,
    })
}

/// Gives a convolution new weights and a new bias.
fn apply(draft: &mut Draft, index: usize, affine: &Affine) -> Result<(), PlanError> {
    const NO_FLOATS: PlanError = PlanError::Internal("the weights of a convolution are no f32");
    let Inst::Op { op, inputs, .. } = &draft.insts[index] else { return Ok(()) };
    let transposed = matches!(op, Op::ConvTranspose(_));
    let inputs = inputs.clone();
    let load = |value: ValueId| draft.constant(draft.root(value))?.load();
    let tensor = load(inputs[1])?;
    let filters = affine.factors.len();
    let shape: Vec<usize> =
        draft.spec(inputs[1]).dims.iter().filter_map(|d| d.fixed()).map(|e| e as usize).collect();
    let (first, axis) = if transposed { (2, 1) } else { (1, 0) };
    let inner: usize = shape[first..].iter().product();
    let mut weights = tensor.as_slice::<f32>().map_err(|_| NO_FLOATS)?.to_vec();
    debug_assert_eq!(shape[axis], filters);
    for (i, part) in weights.chunks_exact_mut(inner.max(1)).enumerate() {
        part.iter_mut().for_each(|weight| *weight *= affine.factors[i % filters]);
    }
    let mut bias = affine.summands.clone();
    if let Some(&own) = inputs.get(2) {
        let tensor = load(own)?;
        let own = tensor.as_slice::<f32>().map_err(|_| NO_FLOATS)?;
        for (i, bias) in bias.iter_mut().enumerate() {
            *bias += own[i] * affine.factors[i];
        }
    }
    let weights = draft.add_constant(&shape, &weights)?;
    let bias = draft.add_constant(&[filters], &bias)?;
    if let Inst::Op { inputs, .. } = &mut draft.insts[index] {
        *inputs = vec![inputs[0], weights, bias];
    }
    Ok(())
}

impl Draft {
    /// Adds a constant that the compiler made.
    pub(super) fn add_constant(
        &mut self,
        shape: &[usize],
        numbers: &[f32],
    ) -> Result<ValueId, PlanError> {
        let tensor = Tensor::from_slice(shape, numbers)
            .map_err(|_| PlanError::Internal("a made constant has another size"))?;
        let dims = shape.iter().map(|&extent| Dim::Fixed(extent as u64)).collect();
        let value = self.add_value(DType::F32, dims);
        self.constants.insert(value, Constant::Tensor(tensor));
        Ok(value)
    }
}
