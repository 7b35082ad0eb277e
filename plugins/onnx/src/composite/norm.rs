//! Normalizations over the last axes.

use super::Layer;
use super::view::{View, int, refers};
use crate::proto::{AttributeValue, Name, Node};

/// A normalization before its scale.
struct Normal {
    x: Name,
    axes: Vec<i64>,
    epsilon: f64,
    nodes: Vec<usize>,
}

/// Axes of a mean that keeps them.
fn axes(view: &View<'_>, node: &Node) -> Option<Vec<i64>> {
    if int(node, "keepdims").unwrap_or(1) == 0 || refers(node) {
        return None;
    }
    match node.attributes.get("axes").map(|own| &own.value) {
        Some(AttributeValue::Ints(axes)) => Some(axes.clone()),
        Some(_) => None,
        None => view.ints(*node.inputs.get(1)?),
    }
}

/// The value whose square this is, and the node.
fn squared<'a>(view: &View<'a>, value: Name) -> Option<(usize, Name)> {
    if let Some((index, node)) = view.maker(value, "Pow") {
        return view.is_number(*node.inputs.get(1)?, 2.0).then(|| (index, node.inputs[0]));
    }
    let (index, node) = view.maker(value, "Mul")?;
    match *node.inputs.as_slice() {
        [a, b] if a == b => Some((index, a)),
        _ => None,
    }
}

/// What a value is that is divided by `sqrt(mean(y²) + epsilon)`.
struct Scaled {
    above: Name,
    squared: Name,
    axes: Vec<i64>,
    epsilon: f64,
    nodes: Vec<usize>,
}

/// `above / sqrt(mean(y²) + epsilon)` in its spellings.
fn scaled<'a>(view: &View<'a>, root: usize) -> Option<Scaled> {
    let node = view.node(root);
    let [a, b] = *node.inputs.as_slice() else { return None };
    match node.op.as_str() {
        "Div" => below(view, a, b, vec![root]),
        "Mul" => [(a, b), (b, a)].into_iter().find_map(|(above, inverse)| {
            inverted(view, inverse)
                .and_then(|(root_value, index)| below(view, above, root_value, vec![root, index]))
        }),
        _ => None,
    }
}

/// The value of which this is the inverse, and the node.
fn inverted<'a>(view: &View<'a>, value: Name) -> Option<(Name, usize)> {
    if let Some((index, node)) = view.maker(value, "Reciprocal") {
        return Some((*node.inputs.first()?, index));
    }
    let (index, node) = view.maker(value, "Div")?;
    view.is_number(*node.inputs.first()?, 1.0).then(|| node.inputs.get(1))?.map(|own| (*own, index))
}

fn below<'a>(
    view: &View<'a>,
    above: Name,
    deviation: Name,
    mut nodes: Vec<usize>,
) -> Option<Scaled> {
    let (sqrt, node) = view.maker(deviation, "Sqrt")?;
    let (add, node) = view.maker(*node.inputs.first()?, "Add")?;
    let [a, b] = *node.inputs.as_slice() else { return None };
    let (variance, epsilon) = match (view.scalar(a), view.scalar(b)) {
        (_, Some(epsilon)) => (a, epsilon),
        (Some(epsilon), None) => (b, epsilon),
        (None, None) => return None,
    };
    let (mean, node) = view.maker(variance, "ReduceMean")?;
    let axes = axes(view, node)?;
    let (square, squared) = squared(view, *node.inputs.first()?)?;
    nodes.extend([sqrt, add, mean, square]);
    (epsilon >= 0.0).then_some(Scaled { above, squared, axes, epsilon, nodes })
}

/// The value that is `x - mean(x)`: x, the axes of the mean, the nodes.
fn centered<'a>(view: &View<'a>, value: Name) -> Option<(Name, Vec<i64>, [usize; 2])> {
    let (sub, node) = view.maker(value, "Sub")?;
    let [x, mean] = *node.inputs.as_slice() else { return None };
    let (index, node) = view.maker(mean, "ReduceMean")?;
    (*node.inputs.first()? == x).then_some(())?;
    Some((x, axes(view, node)?, [sub, index]))
}

/// `(x - mean) / sqrt(variance + epsilon)`.
fn standardized<'a>(view: &View<'a>, root: usize) -> Option<Normal> {
    let scaled = scaled(view, root)?;
    let (x, axes, above) = centered(view, scaled.above)?;
    // Some exporters subtract the mean twice.
    let (other, other_axes, below) = centered(view, scaled.squared)?;
    if other != x || axes != scaled.axes || other_axes != axes {
        return None;
    }
    let nodes = [scaled.nodes, above.to_vec(), below.to_vec()].concat();
    Some(Normal { x, axes, epsilon: scaled.epsilon, nodes })
}

/// `x / sqrt(mean(x²) + epsilon)`.
fn mean_squared<'a>(view: &View<'a>, root: usize) -> Option<Normal> {
    let Scaled { above, squared, axes, epsilon, nodes } = scaled(view, root)?;
    (above == squared).then_some(Normal { x: above, axes, epsilon, nodes })
}

/// A normalization that makes a value and may be scaled, and what else the node takes.
fn affine<'a>(
    view: &View<'a>,
    root: usize,
    op: &str,
    find: fn(&View<'a>, usize) -> Option<Normal>,
) -> Option<(Normal, Name)> {
    let node = view.node(root);
    if node.op != op {
        return None;
    }
    let [a, b] = *node.inputs.as_slice() else { return None };
    [(a, b), (b, a)].into_iter().find_map(|(normal, vector)| {
        let maker = ["Div", "Mul"].iter().find_map(|op| view.maker(normal, op));
        let mut normal = find(view, maker?.0)?;
        normal.nodes.push(root);
        view.constant_shape(vector).map(|_| (normal, vector))
    })
}

fn layer(op: &'static str, normal: Normal, vectors: &[Name]) -> Layer {
    let inputs = [&[normal.x], vectors].concat();
    let attributes = vec![
        ("axes", AttributeValue::Ints(normal.axes)),
        ("epsilon", AttributeValue::Float(normal.epsilon as f32)),
    ];
    Layer { op, nodes: normal.nodes, inputs, attributes }
}

/// `(x - mean) / sqrt(variance + epsilon) * scale + bias`; scale and bias may be missing.
pub(super) fn layer_norm(view: &View<'_>, root: usize) -> Option<Layer> {
    let node = view.node(root);
    if node.op == "Add" {
        let [a, b] = *node.inputs.as_slice() else { return None };
        return [(a, b), (b, a)].into_iter().find_map(|(scaled, bias)| {
            view.constant_shape(bias)?;
            let (index, _) = view.maker(scaled, "Mul")?;
            let (mut normal, scale) = affine(view, index, "Mul", standardized)?;
            normal.nodes.push(root);
            Some(layer("LayerNorm", normal, &[scale, bias]))
        });
    }
    if let Some((normal, scale)) = affine(view, root, "Mul", standardized) {
        return Some(layer("LayerNorm", normal, &[scale]));
    }
    Some(layer("LayerNorm", standardized(view, root)?, &[]))
}

/// `x / sqrt(mean(x²) + epsilon) * scale`; the scale may be missing.
pub(super) fn rms_norm(view: &View<'_>, root: usize) -> Option<Layer> {
    if let Some((normal, scale)) = affine(view, root, "Mul", mean_squared) {
        return Some(layer("RmsNorm", normal, &[scale]));
    }
    Some(layer("RmsNorm", mean_squared(view, root)?, &[]))
}
