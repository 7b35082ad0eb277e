//! Activations that are a value times a function of it.

use super::Layer;
use super::view::{Product, View, float, near};
use crate::proto::{AttributeValue, Name, Node};
use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI};

/// The product of a node that is `factor * x * f(x)`: x and f(x) in both orders.
fn gated<'a>(view: &View<'a>, root: usize, factor: f64) -> Option<(Product, [(Name, Name); 2])> {
    if !matches!(view.node(root).op.as_str(), "Mul" | "Div") {
        return None;
    }
    let product = view.product(root)?;
    let [a, b] = *product.values.as_slice() else { return None };
    near(product.factor, factor).then_some((product, [(a, b), (b, a)]))
}

fn layer(op: &'static str, x: Name, nodes: Vec<usize>) -> Layer {
    Layer { op, nodes, inputs: vec![x], attributes: Vec::new() }
}

/// `0.5 * x * (1 + erf(x / sqrt 2))`, or its approximation by tanh.
pub(super) fn gelu(view: &View<'_>, root: usize) -> Option<Layer> {
    let (product, pairs) = gated(view, root, 0.5)?;
    pairs.into_iter().find_map(|(x, gate)| {
        let (sum, node) = view.maker(gate, "Add")?;
        let bent = view.beside_number(node, 1.0)?;
        let (form, inner) = match view.maker_op(bent)? {
            "Erf" => ("none", erf_argument(view, bent, x)?),
            "Tanh" => ("tanh", tanh_argument(view, bent, x)?),
            _ => return None,
        };
        let nodes = [product.nodes.clone(), vec![sum], inner].concat();
        let form = AttributeValue::Text(form.as_bytes().to_vec());
        Some(Layer { attributes: vec![("approximate", form)], ..layer("Gelu", x, nodes) })
    })
}

/// Nodes of `erf(x / sqrt 2)`.
fn erf_argument(view: &View<'_>, bent: Name, x: Name) -> Option<Vec<usize>> {
    let (erf, node) = view.maker(bent, "Erf")?;
    let scaled = view.product_of(*node.inputs.first()?);
    let fits = near(scaled.factor, FRAC_1_SQRT_2) && scaled.values == [x];
    fits.then(|| [scaled.nodes, vec![erf]].concat())
}

/// Nodes of `tanh(sqrt(2 / pi) * (x + 0.044715 * x³))`, the sum perhaps without its factor x.
fn tanh_argument(view: &View<'_>, bent: Name, x: Name) -> Option<Vec<usize>> {
    let (tanh, node) = view.maker(bent, "Tanh")?;
    let scaled = view.product_of(*node.inputs.first()?);
    if !near(scaled.factor, FRAC_2_SQRT_PI * FRAC_1_SQRT_2) {
        return None;
    }
    let (sum, power) = match *scaled.values.as_slice() {
        [sum] => (sum, 3),
        [a, b] if a == x => (b, 2),
        [a, b] if b == x => (a, 2),
        _ => return None,
    };
    let (add, node) = view.maker(sum, "Add")?;
    let cubic = match (power, node.inputs.as_slice()) {
        (3, &[a, b]) if a == x => b,
        (3, &[a, b]) if b == x => a,
        (2, _) => view.beside_number(node, 1.0)?,
        _ => return None,
    };
    let cubic = view.product_of(cubic);
    let mut powers = 0;
    let mut nodes = [scaled.nodes, vec![tanh, add], cubic.nodes].concat();
    for value in cubic.values {
        if value == x {
            powers += 1;
            continue;
        }
        let (index, node) = view.maker(value, "Pow")?;
        let exponent = view.scalar(*node.inputs.get(1)?)?;
        powers += if node.inputs[0] == x { exponent as i64 } else { return None };
        nodes.push(index);
    }
    (near(cubic.factor, 0.044715) && powers == power).then_some(nodes)
}

/// `x * min(max(x + 3, 0), 6) / 6`.
pub(super) fn hard_swish(view: &View<'_>, root: usize) -> Option<Layer> {
    let clipped = gated(view, root, 1.0 / 6.0).and_then(|(product, pairs)| {
        pairs.into_iter().find_map(|(x, gate)| {
            let (clip, node) = view.maker(gate, "Clip")?;
            let (add, sum) = view.maker(*node.inputs.first()?, "Add")?;
            let fits = clips_to_six(view, node) && view.beside_number(sum, 3.0)? == x;
            let nodes = [product.nodes.clone(), vec![clip, add]].concat();
            fits.then(|| layer("HardSwish", x, nodes))
        })
    });
    clipped.or_else(|| {
        let (product, pairs) = gated(view, root, 1.0)?;
        pairs.into_iter().find_map(|(x, gate)| {
            let (index, node) = view.maker(gate, "HardSigmoid")?;
            let fits = *node.inputs.first()? == x
                && near(float(node, "alpha").unwrap_or(0.2), 1.0 / 6.0)
                && near(float(node, "beta").unwrap_or(0.5), 0.5);
            let nodes = [product.nodes.clone(), vec![index]].concat();
            fits.then(|| layer("HardSwish", x, nodes))
        })
    })
}

/// Whether a clip is to 0..6; bounds are attributes before opset 11.
fn clips_to_six(view: &View<'_>, node: &Node) -> bool {
    let bound = |index: usize, name: &str| match node.inputs.get(index) {
        Some(input) => view.scalar(*input),
        None => float(node, name),
    };
    bound(1, "min") == Some(0.0) && bound(2, "max") == Some(6.0)
}

/// `x * sigmoid(alpha * x)`.
pub(super) fn swish(view: &View<'_>, root: usize) -> Option<Layer> {
    let (product, pairs) = gated(view, root, 1.0)?;
    pairs.into_iter().find_map(|(x, gate)| {
        let (sigmoid, node) = view.maker(gate, "Sigmoid")?;
        let input = *node.inputs.first()?;
        let scaled = match input == x {
            true => Product { factor: 1.0, values: vec![x], nodes: Vec::new() },
            false => view.product_of(input),
        };
        if scaled.values != [x] {
            return None;
        }
        let alpha = AttributeValue::Float(scaled.factor as f32);
        let nodes = [product.nodes.clone(), vec![sigmoid], scaled.nodes].concat();
        Some(Layer { attributes: vec![("alpha", alpha)], ..layer("Swish", x, nodes) })
    })
}
