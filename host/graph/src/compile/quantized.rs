//! Products of values that were quantized with known scales are done on the integers themselves.
//!
//! A model that is quantized beforehand says `matmul(dequantize(x), dequantize(y))` (ONNX "QDQ"), where `y` is
//! a matrix of weights, or what another layer made (the products of attention). The sums of integers are
//! exact and scaled once, where products of the dequantized numbers round at every addition; a row
//! depends on its row only, as before. The bias of a linear layer is added behind.

use super::finder::Finder;
use crate::graph::{Graph, Node, Origin, Value, ValueId};
use crate::op::{
    Arithmetic, Binary, BinaryKind, Dequantize, IntegerEnd, Linear, MatMulInteger, Op,
};
use crate::packing::Constant;
use crate::{Dim, ValueSpec};
use aimass_tensor::{DType, Shape, Tensor};

/// Longest sum of products of bytes, each less a zero point, that 32 bits hold.
const DEPTH_MAX: u64 = (i32::MAX / (255 * 255)) as u64;

/// Rewrites every product of two dequantized values.
pub(super) fn products(graph: &mut Graph) {
    let finder = Finder::new(graph);
    let nodes = graph.nodes.iter().enumerate().filter(|(index, _)| finder.live[*index]);
    let found: Vec<(usize, Product)> =
        nodes.filter_map(|(index, node)| Some((index, product(&finder, node)?))).collect();
    if found.is_empty() {
        return;
    }
    let mut found = found.into_iter().peekable();
    for (index, node) in std::mem::take(&mut graph.nodes).into_iter().enumerate() {
        match found.next_if(|(at, _)| *at == index) {
            Some((_, product)) => rewrite(graph, node, product),
            None => graph.nodes.push(node),
        }
    }
    for (index, node) in graph.nodes.iter().enumerate() {
        for output in &node.outputs {
            graph.values[output.index()].origin = Origin::Node(index);
        }
    }
}

/// Puts a product of integers, and the sum with a bias, where `node` was.
fn rewrite(graph: &mut Graph, node: Node, product: Product) {
    let Product { x, w, zeros, scale, bias } = product;
    let w = match w {
        Matrix::Known(w) => w,
        Matrix::Made(tensor) => constant(graph, tensor),
    };
    let scale = constant(graph, scale);
    let [x_zero, y_zero] = zeros;
    let op = MatMulInteger {
        x_zero: x_zero.is_some(),
        y_zero: y_zero.is_some(),
        end: IntegerEnd::Scaled,
        packed: None,
    };
    let op = Op::MatMulInteger(op);
    let inputs = [Some(x), Some(w), x_zero, y_zero, Some(scale)].into_iter().flatten().collect();
    let Some(bias) = bias else {
        graph.nodes.push(Node { op, inputs, outputs: node.outputs });
        return;
    };
    let spec = graph.spec(node.outputs[0]).clone();
    let scaled = ValueId(graph.values.len() as u32);
    // Which node makes it is noted when all nodes have their places.
    graph.values.push(Value { spec, origin: Origin::Node(graph.nodes.len()) });
    graph.nodes.push(Node { op, inputs, outputs: vec![scaled] });
    let op = Op::Binary(Binary { kind: BinaryKind::Arithmetic(Arithmetic::Add) });
    graph.nodes.push(Node { op, inputs: vec![scaled, bias], outputs: node.outputs });
}

/// A product that was found.
struct Product {
    /// `[.., m, k]`, integers.
    x: ValueId,
    w: Matrix,
    /// Of `x` and of the matrix.
    zeros: [Option<ValueId>; 2],
    /// `[1]` or `[n]`: that of `x` times that of each column.
    scale: Tensor,
    /// `[n]`, f32.
    bias: Option<ValueId>,
}

/// Matrices of integers `[.., k, n]`.
enum Matrix {
    Known(ValueId),
    Made(Tensor),
}

/// A value as integers with a scale.
struct Quantized {
    axis: Option<u32>,
    q: ValueId,
    scale: ValueId,
    zero: Option<ValueId>,
}

fn product(finder: &Finder<'_>, node: &Node) -> Option<Product> {
    let (transposed, bias) = match (&node.op, &node.inputs[..]) {
        (Op::MatMul(_), [_, _]) => (false, None),
        (Op::Linear(Linear { transposed }), [_, _]) => (*transposed, None),
        (Op::Linear(Linear { transposed }), [_, _, bias]) => (*transposed, Some(*bias)),
        _ => return None,
    };
    let x = quantized(finder, node.inputs[0])?;
    let w = quantized(finder, node.inputs[1])?;
    let weights = finder.constant(w.q);
    let [.., Dim::Fixed(a), b] = &finder.spec(w.q).dims[..] else { return None };
    let (k, n, columns) = match (transposed, b) {
        (true, Dim::Fixed(b)) => (*b, Some(*a), 0),
        (true, _) => return None,
        (false, b) => (*a, b.fixed(), 1),
    };
    // Several matrices of weights are packed as numbers once, as integers in every run.
    if k > DEPTH_MAX || weights.is_some() && finder.spec(w.q).rank() != 2 {
        return None;
    }
    let scales = floats(finder, w.scale)?;
    let whole = w.axis.is_none() && scales.len() == 1;
    let each = weights.is_some() && w.axis == Some(columns) && Some(scales.len() as u64) == n;
    if x.axis.is_some() || !(whole || each) {
        return None;
    }
    let [own] = floats(finder, x.scale)?[..] else { return None };
    if [x.zero, w.zero].into_iter().flatten().any(|zero| finder.constant(zero).is_none()) {
        return None;
    }
    let factors: Vec<f32> = scales.iter().map(|scale| own * scale).collect();
    // Two scales whose product no f32 holds well are applied one after the other.
    if !factors.iter().all(|factor| factor.is_normal()) {
        return None;
    }
    // A zero point is one, or one a column, as scales are.
    let y_zero = match w.zero {
        Some(zero) if is_zero(finder, zero)? => None,
        other => other,
    };
    let w = match transposed {
        false => Matrix::Known(w.q),
        true => Matrix::Made(flipped(&weights?, finder.spec(w.q).dtype, [*a, k])?),
    };
    let scale = Tensor::from_slice(&[factors.len()], &factors).ok()?;
    Some(Product { x: x.q, w, zeros: [x.zero, y_zero], scale, bias })
}

/// The bytes behind a value, if that is what is dequantized as it is.
fn quantized(finder: &Finder<'_>, value: ValueId) -> Option<Quantized> {
    let (op, inputs) = finder.maker(value)?;
    let Op::Dequantize(Dequantize { axis }) = op else { return None };
    let (&q, &scale, zero) = (inputs.first()?, inputs.get(1)?, inputs.get(2).copied());
    matches!(finder.spec(q).dtype, DType::U8 | DType::I8).then_some(Quantized {
        axis: *axis,
        q,
        scale,
        zero,
    })
}

/// The numbers of a constant of f32.
fn floats(finder: &Finder<'_>, value: ValueId) -> Option<Vec<f32>> {
    let tensor = finder.constant(value)?.load().ok()?;
    Some(tensor.as_slice::<f32>().ok()?.to_vec())
}

/// Whether a constant of bytes is all zeros; none if it is not known.
fn is_zero(finder: &Finder<'_>, value: ValueId) -> Option<bool> {
    let tensor = finder.constant(value)?.load().ok()?;
    Some(tensor.bytes().iter().all(|&byte| byte == 0))
}

/// `[n, k]` bytes as `[k, n]`.
fn flipped(weights: &Constant, dtype: DType, dims: [u64; 2]) -> Option<Tensor> {
    let tensor = weights.load().ok()?;
    let [n, k] = dims.map(usize::try_from);
    let (n, k) = (n.ok()?, k.ok()?);
    let from = tensor.bytes();
    let bytes: Vec<u8> = (0..k).flat_map(|p| (0..n).map(move |j| from[j * k + p])).collect();
    Tensor::copy_from(dtype, Shape::new(&[k, n]).ok()?, &bytes).ok()
}

/// A new constant of the graph.
fn constant(graph: &mut Graph, tensor: Tensor) -> ValueId {
    let dims = tensor.shape().iter().map(|&extent| Dim::Fixed(extent as u64)).collect();
    let spec = ValueSpec::new(tensor.dtype(), dims);
    let id = ValueId(graph.values.len() as u32);
    graph.values.push(Value { spec, origin: Origin::Constant(tensor) });
    id
}
