//! Scaled dot-product attention.

use super::Layer;
use super::view::{View, int, refers};
use crate::proto::{AttributeValue, Name};

/// How a mask acts on the scores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i64)]
enum MaskKind {
    /// It is added.
    Added = 0,
    /// Scores stay where it holds.
    Keeps = 1,
    /// Scores vanish where it holds.
    Hides = 2,
}

/// Scores on the way from the product of queries and keys.
struct Scores {
    q: Name,
    k: Name,
    scale: f64,
    masks: Vec<(MaskKind, Name)>,
    nodes: Vec<usize>,
}

/// Masks on the way to a product.
const MASKS_MAX: usize = 4;
/// Scores below this are as good as none.
const HIDDEN: f64 = -1e4;

/// `softmax(scale * q · k + mask) · v`; `k` is transposed already.
pub(super) fn scaled_dot_product(view: &View<'_>, root: usize) -> Option<Layer> {
    let node = view.node(root);
    if node.op != "MatMul" {
        return None;
    }
    let [weights, v] = *node.inputs.as_slice() else { return None };
    let mut nodes = vec![root];
    let probabilities = unguarded(view, weights, &mut nodes);
    let (index, softmax) = view.maker(probabilities, "Softmax")?;
    if refers(softmax) {
        return None;
    }
    nodes.push(index);
    let mut scores = scores(view, *softmax.inputs.first()?, MASKS_MAX)?;
    scores.nodes.extend(nodes);
    let mut inputs = vec![scores.q, scores.k, v];
    inputs.extend(scores.masks.iter().map(|(_, mask)| *mask));
    let kinds = scores.masks.iter().map(|(kind, _)| *kind as i64).collect();
    let mut attributes = vec![
        ("scale", AttributeValue::Float(scores.scale as f32)),
        ("masks", AttributeValue::Ints(kinds)),
    ];
    attributes.extend(int(softmax, "axis").map(|axis| ("axis", AttributeValue::Int(axis))));
    Some(Layer { op: "ScaledDotProduct", nodes: scores.nodes, inputs, attributes })
}

/// What is behind `where(is_nan(p), 0, p)` and a dropout that does nothing.
fn unguarded(view: &View<'_>, value: Name, nodes: &mut Vec<usize>) -> Name {
    let guarded = view.maker(value, "Where").and_then(|(select, node)| {
        let [condition, zero, p] = *node.inputs.as_slice() else { return None };
        let (test, tested) = view.maker(condition, "IsNaN")?;
        let fits = view.scalar(zero) == Some(0.0) && tested.inputs.first() == Some(&p);
        fits.then_some(([select, test], p))
    });
    if let Some((pair, p)) = guarded {
        nodes.extend(pair);
        return p;
    }
    match view.maker(value, "Identity") {
        Some((index, node)) if node.inputs.len() == 1 => {
            nodes.push(index);
            node.inputs[0]
        }
        _ => value,
    }
}

/// Reads the scores from the softmax back to the product.
fn scores(view: &View<'_>, value: Name, masks: usize) -> Option<Scores> {
    let inside = masks.checked_sub(1);
    if let Some((index, node)) = view.maker(value, "Add") {
        let [a, b] = *node.inputs.as_slice() else { return None };
        return [(a, b), (b, a)].into_iter().find_map(|(inner, mask)| {
            let mut scores = scores(view, inner, inside?)?;
            scores.masks.push((MaskKind::Added, mask));
            scores.nodes.push(index);
            Some(scores)
        });
    }
    if let Some((index, node)) = view.maker(value, "Where") {
        let [condition, a, b] = *node.inputs.as_slice() else { return None };
        let (kind, inner, hidden) = match view.scalar(b) {
            Some(hidden) => (MaskKind::Keeps, a, hidden),
            None => (MaskKind::Hides, b, view.scalar(a)?),
        };
        let mut scores = scores(view, inner, inside?).filter(|_| hidden <= HIDDEN)?;
        scores.masks.push((kind, condition));
        scores.nodes.push(index);
        return Some(scores);
    }
    let (factor, product, nodes) = view.scaled(value);
    let (index, node) = view.maker(product, "MatMul")?;
    let [q, k] = *node.inputs.as_slice() else { return None };
    let (q_factor, q, q_nodes) = view.scaled(q);
    let (k_factor, k, k_nodes) = view.scaled(k);
    let scale = factor * q_factor * k_factor;
    let nodes = [nodes, vec![index], q_nodes, k_nodes].concat();
    Some(Scores { q, k, scale, masks: Vec::new(), nodes })
}
