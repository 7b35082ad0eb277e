//! What each op becomes when the channels of its images are last.

use super::{FRONT, LAST, Pass, moved};
use crate::compile::draft::{DenseForm, ImageInst, ImageKind};
use crate::compile::{Inst, LinearInst};
use crate::graph::ValueId;
use crate::op::{
    Binary, BinaryKind, Concat, Conv, ConvTranspose, Op, Pool, PoolKind, Reduce, Resample, Resize,
    Slice, Softmax, Split, Window,
};
use crate::packing::{Constant, Part};
use crate::{Dim, PlanError};
use aimass_cpu::conv::{ImagePool, pack_depthwise, takes_tiles};
use aimass_tensor::Tensor;

impl Pass<'_> {
    /// Rewrites an instruction, or answers false and leaves it to be taken as it is.
    pub(super) fn convert(&mut self, inst: &Inst) -> Result<bool, PlanError> {
        let Inst::Op { op, inputs, outputs } = inst else { return Ok(false) };
        let Some(&out) = outputs.first() else { return Ok(false) };
        if let Op::Transpose(transpose) = op {
            return Ok(self.transposed(&transpose.permutation, inputs[0], out));
        }
        if let Op::Broadcast(_) = op {
            return Ok(self.repeated(inputs[0], out));
        }
        if let Op::Split(split) = op {
            return Ok(self.split(split, inputs[0], outputs));
        }
        if inputs.is_empty() || !self.is_image(out) || outputs.len() != 1 {
            return self.without_axes(op, inputs, out);
        }
        Ok(match op {
            Op::Conv(conv) => self.conv(conv, inputs, out)?,
            Op::ConvTranspose(conv) => self.conv_transpose(conv, inputs, out)?,
            Op::Pool(pool) => self.pool(pool, inputs[0], out),
            Op::Reduce(reduce) => self.reduce(reduce, inputs[0], out),
            Op::Unary(_) | Op::Clamp(_) => self.same(op.clone(), inputs, out),
            Op::Resize(resize) => {
                let axis = moved(resize.axis);
                self.same(Op::Resize(Resize { axis, ..resize.clone() }), inputs, out)
            }
            Op::Resample(resample) => {
                let axis = moved(resample.axis);
                self.same(Op::Resample(Resample { axis }), inputs, out)
            }
            Op::Slice(slice) => {
                let axis = moved(slice.axis);
                self.same(Op::Slice(Slice { axis, ..slice.clone() }), inputs, out)
            }
            Op::Softmax(softmax) => {
                let axis = moved(softmax.axis);
                self.same(Op::Softmax(Softmax { axis, ..softmax.clone() }), inputs, out)
            }
            Op::Binary(Binary { kind: BinaryKind::Arithmetic(_) }) => {
                self.joined(op.clone(), inputs, out)?
            }
            Op::Concat(concat) => {
                let axis = moved(concat.axis);
                self.joined(Op::Concat(Concat { axis }), inputs, out)?
            }
            _ => false,
        })
    }

    /// A reduction that leaves rows and channels only.
    fn without_axes(
        &mut self,
        op: &Op,
        inputs: &[ValueId],
        out: ValueId,
    ) -> Result<bool, PlanError> {
        let Op::Reduce(reduce) = op else { return Ok(false) };
        Ok(self.reduce(reduce, inputs[0], out))
    }

    /// An op of one image that does the same with channels last; further inputs are tables.
    fn same(&mut self, op: Op, inputs: &[ValueId], out: ValueId) -> bool {
        let Some(x) = self.known_twin(inputs[0]) else { return false };
        let twin = self.new_twin(out);
        let mut inputs = inputs.to_vec();
        inputs[0] = x;
        self.draft.insts.push(Inst::Op { op, inputs, outputs: vec![twin] });
        self.made(out, twin);
        true
    }

    /// Parts of an image are images.
    fn split(&mut self, split: &Split, x: ValueId, outputs: &[ValueId]) -> bool {
        let Some(x) = self.known_twin(x) else { return false };
        let twins: Vec<ValueId> = outputs.iter().map(|&out| self.new_twin(out)).collect();
        let op = Op::Split(Split { axis: moved(split.axis), ..split.clone() });
        self.draft.insts.push(Inst::Op { op, inputs: vec![x], outputs: twins.clone() });
        outputs.iter().zip(twins).for_each(|(&out, twin)| self.made(out, twin));
        true
    }

    /// An op of several images, numbers or constants that do not vary by position.
    fn joined(&mut self, op: Op, inputs: &[ValueId], out: ValueId) -> Result<bool, PlanError> {
        if !inputs.iter().any(|&input| self.known_twin(input).is_some()) {
            return Ok(false);
        }
        let fits = |&input: &ValueId| {
            self.is_image(input) || self.draft.number(input).is_some() || self.has_channels(input)
        };
        if !inputs.iter().all(fits) {
            return Ok(false);
        }
        let mut twins = Vec::with_capacity(inputs.len());
        for &input in inputs {
            twins.push(match (self.is_constant(input), self.known_twin(input)) {
                (false, _) | (true, Some(_)) if self.is_image(input) => self.twin(input),
                _ => match self.draft.number(input) {
                    Some(_) => input,
                    None => self.constant(input)?,
                },
            });
        }
        let twin = self.new_twin(out);
        self.draft.insts.push(Inst::Op { op, inputs: twins, outputs: vec![twin] });
        self.made(out, twin);
        Ok(true)
    }

    /// Whether a constant is `[channels, 1, 1]`.
    fn has_channels(&self, value: ValueId) -> bool {
        let dims = &self.draft.spec(value).dims;
        self.is_constant(value) && dims.len() == 3 && dims[1..] == [Dim::Fixed(1), Dim::Fixed(1)]
    }

    /// A constant with channels last, computed now.
    fn constant(&mut self, value: ValueId) -> Result<ValueId, PlanError> {
        let tensor = self.draft.constant(self.draft.root(value))?.load()?;
        let dims = &self.draft.spec(value).dims;
        let mut shape: Vec<usize> = vec![1; 4 - dims.len().min(4)];
        shape.extend(dims.iter().filter_map(|dim| dim.fixed()).map(|extent| extent as usize));
        let numbers = floats(&tensor)?;
        let [n, c, h, w] = shape[..] else { return Err(NO_IMAGE) };
        let mut moved = Vec::with_capacity(numbers.len());
        for pixel in 0..n * h * w {
            let (item, at) = (pixel / (h * w).max(1), pixel % (h * w).max(1));
            moved.extend((0..c).map(|channel| numbers[(item * c + channel) * h * w + at]));
        }
        self.draft.add_constant(&[n, h, w, c], &moved)
    }

    fn transposed(&mut self, permutation: &[usize], x: ValueId, out: ValueId) -> bool {
        if !self.is_image(out) || self.draft.results.contains(&out) {
            return false;
        }
        if permutation == FRONT && !self.is_constant(x) {
            self.materialize(x);
            self.made(out, x);
            return true;
        }
        match self.known_twin(x).filter(|_| permutation == LAST) {
            Some(twin) => {
                self.draft.alias.insert(out, twin);
                true
            }
            None => false,
        }
    }

    fn reduce(&mut self, reduce: &Reduce, x: ValueId, out: ValueId) -> bool {
        let mut axes = reduce.axes.clone();
        axes.sort_unstable();
        let Some(twin) = self.known_twin(x).filter(|_| axes == [2, 3]) else { return false };
        let op = Op::Reduce(Reduce { axes: vec![1, 2], ..reduce.clone() });
        // Without the reduced axes there is one order only.
        let to = if reduce.keep { self.new_twin(out) } else { out };
        self.draft.insts.push(Inst::Op { op, inputs: vec![twin], outputs: vec![to] });
        if reduce.keep {
            self.made(out, to);
        }
        true
    }

    fn pool(&mut self, pool: &Pool, x: ValueId, out: ValueId) -> bool {
        let Some(x) = self.known_twin(x) else { return false };
        let kind = ImageKind::Pool(match pool.kind {
            PoolKind::Max => ImagePool::Max,
            PoolKind::Average { count_pads } => ImagePool::Average { count_pads },
        });
        let twin = self.new_twin(out);
        let kernel = [pool.size[0] as usize, pool.size[1] as usize];
        let inst = ImageInst::new(kind, pool.window.clone(), kernel, [x, twin]);
        self.draft.insts.push(Inst::Image(inst));
        self.made(out, twin);
        true
    }

    /// Extents of constant f32 weights, where the bias is constant too and nothing is empty.
    fn weights(&self, inputs: &[ValueId]) -> Option<[usize; 4]> {
        if !inputs[1..].iter().all(|&input| self.is_constant(input)) {
            return None;
        }
        let extents: Vec<usize> = self
            .draft
            .spec(inputs[1])
            .dims
            .iter()
            .filter_map(|d| d.fixed())
            .map(|e| e as usize)
            .collect();
        <[usize; 4]>::try_from(extents).ok().filter(|extents| !extents.contains(&0))
    }

    /// Whether windows go along lines, or down the only column of `x`, and tiles are worth while.
    fn goes_by_tiles(&self, window: &Window, x: ValueId, weights: [usize; 4]) -> bool {
        let [filters, channels, height, width] = weights;
        let dense = |axis: usize| (window.strides[axis], window.dilations[axis]) == (1, 1);
        let one_column = self.draft.spec(x).dims[2].fixed() == Some(1)
            && dense(1)
            && (window.pads_before[1], window.pads_after[1]) == (0, 0);
        match (height, width) {
            (1, taps) => dense(1) && takes_tiles(taps, channels, filters),
            (taps, 1) => one_column && dense(0) && takes_tiles(taps, channels, filters),
            (_, _) => false,
        }
    }

    fn conv(&mut self, conv: &Conv, inputs: &[ValueId], out: ValueId) -> Result<bool, PlanError> {
        let Some([filters, own, height, width]) = self.weights(inputs) else { return Ok(false) };
        let groups = conv.groups as usize;
        let depthwise = groups > 1 && groups == filters && own == 1;
        if groups != 1 && !depthwise {
            return Ok(false);
        }
        let weight = self.draft.constant(self.draft.root(inputs[1]))?.clone();
        let pointwise = groups == 1 && is_pointwise(&conv.window, [height, width]);
        // Few planes are joined on the way into the kernel.
        let planes =
            groups == 1 && !pointwise && own <= PLANES_MAX && self.known_twin(inputs[0]).is_none();
        let x = if planes { inputs[0] } else { self.twin(inputs[0]) };
        let twin = self.new_twin(out);
        let bias = inputs.get(2).copied();
        let inst = if pointwise {
            let part = Part { weight, transposed: true, k: own, n: filters, int8: None };
            Inst::Linear(LinearInst::new(x, part, bias, twin))
        } else {
            let kernel = [height, width];
            let kind = match depthwise {
                true => ImageKind::Depthwise { w: self.depthwise(&weight, filters, kernel)? },
                false => {
                    let form = match planes {
                        true => DenseForm::Planes,
                        false
                            if self.goes_by_tiles(
                                &conv.window,
                                x,
                                [filters, own, height, width],
                            ) =>
                        {
                            DenseForm::Tiles
                        }
                        false => DenseForm::Windows,
                    };
                    ImageKind::Dense { weight, channels: own, filters, form }
                }
            };
            let inst = ImageInst::new(kind, conv.window.clone(), kernel, [x, twin]);
            Inst::Image(ImageInst { bias, ..inst })
        };
        self.draft.insts.push(inst);
        self.made(out, twin);
        Ok(true)
    }

    /// The filters of a depthwise convolution with channels last.
    fn depthwise(
        &mut self,
        weight: &Constant,
        channels: usize,
        kernel: [usize; 2],
    ) -> Result<ValueId, PlanError> {
        let tensor = weight.load()?;
        let taps = kernel[0] * kernel[1];
        let packed = pack_depthwise(floats(&tensor)?, channels, taps);
        self.draft.add_constant(&[taps, channels], &packed)
    }

    fn conv_transpose(
        &mut self,
        conv: &ConvTranspose,
        inputs: &[ValueId],
        out: ValueId,
    ) -> Result<bool, PlanError> {
        let Some([channels, filters, height, width]) = self.weights(inputs) else {
            return Ok(false);
        };
        let Window { strides, pads_before, pads_after, dilations } = &conv.window;
        let lists = [pads_before, pads_after, &conv.output_pads];
        let padded = lists.into_iter().flatten().any(|&pad| pad != 0);
        let beside = *strides == [height as u64, width as u64] && dilations.iter().all(|&d| d == 1);
        if conv.groups != 1 || padded || !beside {
            return Ok(false);
        }
        let weight = self.draft.constant(self.draft.root(inputs[1]))?.clone();
        let x = self.twin(inputs[0]);
        let twin = self.new_twin(out);
        let kind = ImageKind::Spread { weight, channels, filters };
        let inst = ImageInst::new(kind, conv.window.clone(), [height, width], [x, twin]);
        let bias = inputs.get(2).copied();
        self.draft.insts.push(Inst::Image(ImageInst { bias, ..inst }));
        self.made(out, twin);
        Ok(true)
    }
}

/// Channels that a convolution takes plane by plane.
const PLANES_MAX: usize = 4;

const NO_IMAGE: PlanError = PlanError::Internal("a constant of an image has another rank");

fn floats(tensor: &Tensor) -> Result<&[f32], PlanError> {
    tensor.as_slice().map_err(|_| PlanError::Internal("weights of an image are no f32"))
}

fn is_pointwise(window: &Window, kernel: [usize; 2]) -> bool {
    let Window { strides, pads_before, pads_after, .. } = window;
    let mut pads = pads_before.iter().chain(pads_after);
    kernel == [1, 1] && strides.iter().all(|&stride| stride == 1) && pads.all(|&pad| pad == 0)
}
