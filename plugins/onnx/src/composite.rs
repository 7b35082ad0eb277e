//! Layers that exporters write out in primitive operators, recognized by their structure.
//!
//! Each of them becomes one node of the domain [`DOMAIN`], which carries the nodes it stands for: where
//! shapes or dtypes turn out not to fit the layer, the tracer walks those instead. A node is taken
//! into a layer only if nothing outside reads what it computes.

mod attention;
mod gate;
mod norm;
mod view;

use crate::proto::{Attribute, AttributeValue, Graph, Name, Node, ValueInfo, ValueType, last_uses};
use std::collections::HashMap;
use std::rc::Rc;
use view::View;

/// The domain of recognized layers.
pub(crate) const DOMAIN: &str = "aimass";
/// The attribute that holds the nodes of a layer.
pub(crate) const BODY: &str = "body";

/// A layer that was found.
#[derive(Debug, Default)]
struct Layer {
    /// Name of the operator that `ops` lowers.
    op: &'static str,
    /// Nodes that it stands for, the last one among them.
    nodes: Vec<usize>,
    inputs: Vec<Name>,
    attributes: Vec<(&'static str, AttributeValue)>,
}

/// What may find a layer that ends with a node.
type Finder = fn(&View<'_>, usize) -> Option<Layer>;

/// Larger layers come before those that they may contain.
const FINDERS: &[Finder] = &[
    attention::scaled_dot_product,
    norm::layer_norm,
    norm::rms_norm,
    gate::gelu,
    gate::hard_swish,
    gate::swish,
];

/// The graph with its layers as nodes.
pub(crate) fn recognize(graph: Graph) -> Graph {
    let layers = find(&graph);
    if layers.is_empty() {
        return graph;
    }
    let mut by_root: HashMap<usize, Node> = HashMap::new();
    let mut gone = vec![false; graph.nodes.len()];
    for (root, layer) in layers {
        layer.nodes.iter().for_each(|&index| gone[index] = true);
        by_root.insert(root, node_of(&graph, root, layer));
    }
    let mut nodes = Vec::with_capacity(graph.nodes.len());
    for (index, node) in graph.nodes.iter().enumerate() {
        match by_root.remove(&index) {
            Some(layer) => nodes.push(Rc::new(layer)),
            None if gone[index] => {}
            None => nodes.push(node.clone()),
        }
    }
    Graph { nodes, ..graph }
}

/// Layers by the index of their last node; no node is in two of them.
fn find(graph: &Graph) -> Vec<(usize, Layer)> {
    let view = View::new(graph);
    let mut taken = vec![false; graph.nodes.len()];
    let mut layers = Vec::new();
    for root in (0..graph.nodes.len()).rev() {
        if taken[root] || !graph.nodes[root].domain.is_empty() {
            continue;
        }
        let found = FINDERS.iter().filter_map(|find| find(&view, root)).find(|layer| {
            layer.nodes.iter().all(|&index| !taken[index]) && view.is_closed(root, &layer.nodes)
        });
        if let Some(layer) = found {
            layer.nodes.iter().for_each(|&index| taken[index] = true);
            layers.push((root, layer));
        }
    }
    layers
}

/// A layer as a node in place of its last one.
fn node_of(graph: &Graph, root: usize, layer: Layer) -> Node {
    let last = &graph.nodes[root];
    let mut indices = layer.nodes;
    indices.sort_unstable();
    indices.dedup();
    let outputs: Vec<Name> = last.outputs.iter().take(1).copied().collect();
    let info = |&name: &Name| ValueInfo { name, ty: ValueType::Unknown };
    let mut body = Graph {
        name: last.name.clone(),
        nodes: indices.iter().map(|&index| graph.nodes[index].clone()).collect(),
        outputs: outputs.iter().map(info).collect(),
        ..Graph::default()
    };
    body.last_uses = last_uses(&body);
    let mut attributes: HashMap<String, Attribute> = HashMap::new();
    let body = (BODY, AttributeValue::Graph(Rc::new(body)));
    for (name, value) in layer.attributes.into_iter().chain([body]) {
        attributes.insert(name.to_owned(), Attribute { value, reference: None });
    }
    Node {
        name: last.name.clone(),
        op: layer.op.to_owned(),
        domain: DOMAIN.to_owned(),
        inputs: layer.inputs,
        outputs,
        attributes,
        ..Node::default()
    }
}

#[cfg(test)]
mod tests;
