//! Products of dynamically quantized values become layers that quantize row by row.
//!
//! ONNX's `DynamicQuantizeLinear-11` takes one scale for a whole tensor, so that every row depends on
//! all others. Where nothing but products with constant matrices sees the integers, the rows may have
//! scales of their own: the result is closer to the numbers that are approximated, calls can be
//! joined, and batched equals alone. Where integers, scale or zero point are seen otherwise, all
//! stays as ONNX says.

use super::finder::{Finder, elements};
use crate::Dim;
use crate::graph::{Graph, Origin, ValueId};
use crate::op::{
    Arithmetic, Cast, DynamicLinear, IntegerEnd, MatMulInteger, Op, Quantize, ReduceKind, UnaryKind,
};
use crate::packing::Constant;
use aimass_tensor::DType;

/// Rewrites, in place, every product of a value that is quantized by its own range.
pub(super) fn linears(graph: &mut Graph) {
    let finder = Finder::new(graph);
    let found: Vec<Layer> = (0..graph.nodes.len())
        .filter(|&index| finder.live[index] && matches!(finder.node(index).0, Op::Quantize(_)))
        .filter_map(|index| finder.layers(index))
        .flatten()
        .collect();
    for Layer { node, inputs } in found {
        graph.nodes[node].op = Op::DynamicLinear(DynamicLinear);
        graph.nodes[node].inputs = inputs;
    }
}

/// A layer that was found: the node of its scaled product, and what it reads instead.
struct Layer {
    node: usize,
    inputs: Vec<ValueId>,
}

impl Finder<'_> {
    /// The layers that read what this node quantizes, if that is all that happens to it.
    fn layers(&self, index: usize) -> Option<Vec<Layer>> {
        let node = &self.graph.nodes[index];
        let Op::Quantize(Quantize { axis: None, dtype: DType::U8 }) = node.op else { return None };
        let [x, scale, zero] = node.inputs[..] else { return None };
        let (q, scale, zero) = (node.outputs[0], self.root(scale), self.root(zero));
        let spec = self.graph.spec(x);
        if spec.dtype != DType::F32 || spec.rank() < 1 {
            return None;
        }
        let dividing = self.range_of(self.root(x), scale, zero)?;
        let mut layers = Vec::new();
        let (mut of_scale, mut of_zero) = (vec![index, dividing], vec![index]);
        for &product in self.readers.get(&q)? {
            let (layer, factor) = self.layer(product, x, [q, scale, zero])?;
            of_zero.push(product);
            of_scale.push(factor);
            layers.push(layer);
        }
        let hidden = self.read_only_by(scale, &of_scale) && self.read_only_by(zero, &of_zero);
        hidden.then_some(layers)
    }

    /// Whether scale and zero point are those of the range of `x` and 0; if so, the node that divides
    /// by the scale to find the zero point.
    fn range_of(&self, x: ValueId, scale: ValueId, zero: ValueId) -> Option<usize> {
        let (op, inputs) = self.made(zero)?;
        let whole = (*op == Op::Cast(Cast { dtype: DType::U8 })).then(|| inputs[0])?;
        let mut steps = self.unary(whole, UnaryKind::Round)?;
        if let Some((Op::Clamp(clamp), inputs)) = self.made(steps) {
            (clamp.low == 0.0 && clamp.high == 255.0).then_some(())?;
            steps = inputs[0];
        }
        let steps = self.unary(steps, UnaryKind::Neg).unwrap_or(steps);
        let [below, by] = self.arithmetic(steps, Arithmetic::Div)?;
        let low = self.unary(below, UnaryKind::Neg).unwrap_or(below);
        // A range of nothing may get another scale, which no number then meets.
        let quotient = match self.made(scale)? {
            (Op::Select(_), inputs) => inputs[2],
            _ => scale,
        };
        let [range, levels] = self.arithmetic(quotient, Arithmetic::Div)?;
        let [high, other] = self.arithmetic(range, Arithmetic::Sub)?;
        let fits = by == scale
            && other == low
            && self.is_number(levels, 255.0)
            && self.is_extreme(low, x, (Arithmetic::Minimum, ReduceKind::Min))
            && self.is_extreme(high, x, (Arithmetic::Maximum, ReduceKind::Max));
        let Origin::Node(node) = self.graph.values[steps.index()].origin else { return None };
        fits.then_some(node)
    }

    /// Whether a value is the least (or the greatest) of 0 and all elements of `x`.
    fn is_extreme(&self, value: ValueId, x: ValueId, kinds: (Arithmetic, ReduceKind)) -> bool {
        let Some([a, b]) = self.arithmetic(value, kinds.0) else { return false };
        let of_all = |value: ValueId| match self.made(value) {
            Some((Op::Reduce(reduce), inputs)) => {
                let rank = self.graph.spec(x).rank();
                let all = reduce.axes.is_empty()
                    || (0..rank).all(|axis| reduce.axes.contains(&(axis as u32)));
                reduce.kind == kinds.1 && inputs[0] == x && all
            }
            _ => false,
        };
        [(a, b), (b, a)].into_iter().any(|(zero, x)| self.is_number(zero, 0.0) && of_all(x))
    }

    /// The layer of a product, and the node that multiplies its scales.
    fn layer(
        &self,
        product: usize,
        x: ValueId,
        [q, scale, zero]: [ValueId; 3],
    ) -> Option<(Layer, usize)> {
        let node = self.graph.nodes.get(product)?;
        let Op::MatMulInteger(MatMulInteger {
            x_zero: true,
            y_zero,
            end: IntegerEnd::I32,
            packed: None,
        }) = node.op
        else {
            return None;
        };
        let w = node.inputs[1];
        if self.root(node.inputs[0]) != q
            || self.root(node.inputs[2]) != zero
            // The rows of the product are those of `x`.
            || self.graph.spec(node.inputs[0]).dims != self.graph.spec(x).dims
        {
            return None;
        }
        let cast = self.only_reader(node.outputs[0])?;
        let (Op::Cast(Cast { dtype: DType::F32 }), out) = self.node(cast) else { return None };
        let scaled = self.only_reader(out)?;
        let last = *self.graph.nodes.get(scaled)?.outputs.first()?;
        let other = |[a, b]: [ValueId; 2], own| match (a == own, b == own) {
            (true, false) => Some(b),
            (false, true) => Some(a),
            (true, true) | (false, false) => None,
        };
        let factor = other(self.arithmetic(last, Arithmetic::Mul)?, out)?;
        let weight_scale = other(self.arithmetic(factor, Arithmetic::Mul)?, scale)?;
        let w_zero = if y_zero { Some(*node.inputs.get(3)?) } else { None };
        if self.only_reader(factor) != Some(scaled)
            || self.graph.spec(last).dims != self.graph.spec(node.outputs[0]).dims
            || !self.fits(w, weight_scale, w_zero)
        {
            return None;
        }
        let Origin::Node(factor) = self.graph.values[factor.index()].origin else { return None };
        let inputs = [Some(x), Some(w), Some(weight_scale), w_zero].into_iter().flatten().collect();
        Some((Layer { node: scaled, inputs }, factor))
    }

    /// Whether constants are weights `[k, n]`, scales and zero points of them, and weights less their
    /// zero points are i8.
    fn fits(&self, w: ValueId, scale: ValueId, zero: Option<ValueId>) -> bool {
        let spec = self.graph.spec(w);
        let [Dim::Fixed(_), Dim::Fixed(n)] = spec.dims[..] else { return false };
        let per_column = |value: ValueId| {
            let count = elements(self.graph.spec(value));
            count == Some(1) || count == Some(n)
        };
        let known = |value: ValueId, dtype: DType| {
            let root = self.graph.spec(self.root(value));
            self.constant(value).is_some() && root.dtype == dtype && per_column(value)
        };
        let Some(weights) = self.constant(w) else { return false };
        if self.graph.spec(self.root(w)).dims != spec.dims
            || !known(scale, DType::F32)
            || !zero.is_none_or(|zero| known(zero, spec.dtype))
        {
            return false;
        }
        let zero = zero.and_then(|zero| self.constant(zero));
        match &zero {
            None => spec.dtype == DType::I8,
            Some(zero) => difference_fits(&weights, zero, spec.dtype == DType::I8),
        }
    }
}

/// Whether every weight less the zero point of its column is an i8; not if they cannot be read, which
/// is then found again by who needs them.
fn difference_fits(weights: &Constant, zeros: &Constant, signed: bool) -> bool {
    let Ok(zeros) = zeros.load() else { return false };
    let number = |bits: u8| if signed { i16::from(bits as i8) } else { i16::from(bits) };
    let zeros: Vec<i16> = zeros.bytes().iter().map(|&bits| number(bits)).collect();
    if signed && zeros.iter().all(|&zero| zero == 0) {
        return true;
    }
    let Ok(weights) = weights.load() else { return false };
    let fits = |(&bits, zero): (&u8, &i16)| i8::try_from(number(bits) - zero).is_ok();
    weights.bytes().iter().zip(zeros.iter().cycle()).all(fits)
}
