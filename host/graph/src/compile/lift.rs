//! Sequences of channels become images one row high, so that what is fast for images is for them, too:
//! from the first convolution of constant weights over one axis on.

use super::{Draft, Inst};
use crate::Dim;
use crate::graph::ValueId;
use crate::op::{
    Binary, BinaryKind, Concat, Conv, ConvTranspose, Op, Pool, Reduce, Resample, Resize, Slice,
    Softmax, Transpose, Window,
};
use aimass_tensor::DType;
use std::collections::{HashMap, HashSet};

/// Rewrites convolutions over one axis, and what lies between them, for `[rows, channels, 1, length]`.
pub(super) fn sequences(draft: &mut Draft) {
    let convolved: HashSet<ValueId> = draft
        .insts
        .iter()
        .filter(|inst| is_convolution(draft, inst))
        .filter_map(|inst| inst.inputs().first().map(|&x| draft.root(x)))
        .collect();
    if convolved.is_empty() {
        return;
    }
    let insts = std::mem::take(&mut draft.insts);
    let mut pass = Pass { draft, convolved, lifted: HashMap::new() };
    for inst in insts {
        let inst = pass.lift(&inst).unwrap_or(inst);
        pass.draft.insts.push(inst);
    }
    for index in 0..draft.results.len() {
        draft.results[index] = draft.root(draft.results[index]);
    }
}

/// Whether it is a convolution over one axis of f32, of constant weights.
fn is_convolution(draft: &Draft, inst: &Inst) -> bool {
    let Inst::Op { op: Op::Conv(_) | Op::ConvTranspose(_), inputs, .. } = inst else {
        return false;
    };
    is_sequence(draft, inputs[0])
        && inputs[1..].iter().all(|&input| draft.constants.contains_key(&draft.root(input)))
}

fn is_sequence(draft: &Draft, value: ValueId) -> bool {
    let spec = draft.spec(value);
    spec.dtype == DType::F32 && spec.rank() == 3
}

struct Pass<'a> {
    draft: &'a mut Draft,
    /// Roots of what convolutions over one axis read.
    convolved: HashSet<ValueId>,
    /// Values that are images now, with their dimensions before.
    lifted: HashMap<ValueId, Vec<Dim>>,
}

impl Pass<'_> {
    /// The instruction on images, if it is one of those that have to do with them.
    fn lift(&mut self, inst: &Inst) -> Option<Inst> {
        let Inst::Op { op, inputs, outputs } = inst else { return None };
        let (&[out], Some(&x)) = (&outputs[..], inputs.first()) else { return None };
        if self.draft.spec(out).dtype != DType::F32 {
            return None;
        }
        if let Op::Transpose(transpose) = op {
            return self.transpose(&transpose.permutation, x, out);
        }
        if is_convolution(self.draft, inst) {
            return self.convolution(op, inputs, out);
        }
        if let Op::Reduce(reduce) = op {
            return self.reduce(reduce, x, out);
        }
        if !inputs.iter().any(|&input| self.is_lifted(input)) || !is_sequence(self.draft, out) {
            return None;
        }
        let op = match op {
            Op::Unary(_) | Op::Clamp(_) | Op::BatchNorm(_) => op.clone(),
            Op::Softmax(it) => Op::Softmax(Softmax { axis: moved(it.axis), ..it.clone() }),
            Op::Slice(it) => Op::Slice(Slice { axis: moved(it.axis), ..it.clone() }),
            Op::Resize(it) => Op::Resize(Resize { axis: moved(it.axis), ..it.clone() }),
            Op::Resample(it) => Op::Resample(Resample { axis: moved(it.axis) }),
            Op::Pool(it) => Op::Pool(Pool {
                size: beside(1, &it.size),
                window: widened(&it.window),
                ..it.clone()
            }),
            Op::Concat(it) => {
                return self.joined(Op::Concat(Concat { axis: moved(it.axis) }), inputs, out);
            }
            Op::Binary(Binary { kind: BinaryKind::Arithmetic(_) }) => {
                return self.joined(op.clone(), inputs, out);
            }
            _ => return None,
        };
        // Tables beside the image stay as they are.
        if !self.is_lifted(x) {
            return None;
        }
        let mut inputs = inputs.clone();
        inputs[0] = self.image(x);
        let outputs = vec![self.output(out)];
        Some(Inst::Op { op, inputs, outputs })
    }

    fn convolution(&mut self, op: &Op, inputs: &[ValueId], out: ValueId) -> Option<Inst> {
        let op = match op {
            Op::Conv(it) => Op::Conv(Conv { window: widened(&it.window), ..it.clone() }),
            Op::ConvTranspose(it) => Op::ConvTranspose(ConvTranspose {
                window: widened(&it.window),
                output_pads: beside(0, &it.output_pads),
                ..it.clone()
            }),
            _ => return None,
        };
        let mut inputs = inputs.to_vec();
        inputs[0] = self.image(inputs[0]);
        inputs[1] = self.image(inputs[1]);
        let outputs = vec![self.output(out)];
        Some(Inst::Op { op, inputs, outputs })
    }

    /// An op of several sequences, numbers or constants that do not vary by position.
    fn joined(&mut self, op: Op, inputs: &[ValueId], out: ValueId) -> Option<Inst> {
        let mut images = Vec::with_capacity(inputs.len());
        for &input in inputs {
            let dims = &self.draft.spec(input).dims;
            images.push(match dims[..] {
                _ if is_sequence(self.draft, input) => self.image(input),
                _ if self.draft.number(input).is_some() => input,
                [_, Dim::Fixed(1)] => {
                    let dims = [&dims[..], &[Dim::Fixed(1)]].concat();
                    self.view(input, dims)
                }
                _ => return None,
            });
        }
        let outputs = vec![self.output(out)];
        Some(Inst::Op { op, inputs: images, outputs })
    }

    /// A reduction over the positions.
    fn reduce(&mut self, reduce: &Reduce, x: ValueId, out: ValueId) -> Option<Inst> {
        if reduce.axes != [2] || !self.is_lifted(x) {
            return None;
        }
        let op = Op::Reduce(Reduce { axes: vec![2, 3], ..reduce.clone() });
        let inputs = vec![self.image(x)];
        let outputs = vec![if reduce.keep { self.output(out) } else { out }];
        Some(Inst::Op { op, inputs, outputs })
    }

    /// Channels last before the first convolution, or behind the last one.
    fn transpose(&mut self, permutation: &[usize], x: ValueId, out: ValueId) -> Option<Inst> {
        if permutation != [0, 2, 1] {
            return None;
        }
        let last =
            |dims: &[Dim]| vec![dims[0].clone(), Dim::Fixed(1), dims[1].clone(), dims[2].clone()];
        let (permutation, inputs, outputs) = if self.is_lifted(x) {
            let dims = last(&self.draft.spec(out).dims);
            let image = self.draft.add_value(DType::F32, dims);
            self.draft.alias.insert(out, image);
            (vec![0, 2, 3, 1], vec![self.image(x)], vec![image])
        } else if self.convolved.contains(&out) {
            let dims = last(&self.draft.spec(x).dims);
            (vec![0, 3, 1, 2], vec![self.view(x, dims)], vec![self.output(out)])
        } else {
            return None;
        };
        Some(Inst::Op { op: Op::Transpose(Transpose { permutation }), inputs, outputs })
    }

    /// Whether the value is an image by now, and not looked at in another shape.
    fn is_lifted(&self, value: ValueId) -> bool {
        let dims = self.lifted.get(&self.draft.root(value));
        dims.is_some_and(|dims| *dims == self.draft.spec(value).dims)
    }

    /// A sequence as an image.
    fn image(&mut self, value: ValueId) -> ValueId {
        if self.is_lifted(value) {
            return self.draft.root(value);
        }
        let dims = image_dims(&self.draft.spec(value).dims);
        self.view(value, dims)
    }

    /// The bytes of a value in another shape.
    fn view(&mut self, value: ValueId, dims: Vec<Dim>) -> ValueId {
        let view = self.draft.add_value(DType::F32, dims);
        self.draft.alias.insert(view, value);
        view
    }

    /// The image that an instruction makes in place of a sequence.
    fn output(&mut self, out: ValueId) -> ValueId {
        let dims = self.draft.spec(out).dims.clone();
        let image = self.draft.add_value(DType::F32, image_dims(&dims));
        self.draft.alias.insert(out, image);
        self.lifted.insert(image, dims);
        image
    }
}

/// `[rows, channels, 1, length]`.
fn image_dims(dims: &[Dim]) -> Vec<Dim> {
    let mut image = dims.to_vec();
    image.insert(2, Dim::Fixed(1));
    image
}

/// Where an axis is in an image.
fn moved(axis: u32) -> u32 {
    if axis == 2 { 3 } else { axis }
}

/// A number of the image's rows before that of its columns.
fn beside(rows: u64, columns: &[u64]) -> Vec<u64> {
    [&[rows], columns].concat()
}

fn widened(window: &Window) -> Window {
    Window {
        strides: beside(1, &window.strides),
        pads_before: beside(0, &window.pads_before),
        pads_after: beside(0, &window.pads_after),
        dilations: beside(1, &window.dilations),
    }
}
