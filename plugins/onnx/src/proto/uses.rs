//! Which values a graph needs no more after each of its nodes.

use super::message::{AttributeValue, Graph, Node};
use std::collections::{HashMap, HashSet};

/// By node, the names whose last use in `graph` it is; outputs of the graph are never among them.
pub(crate) fn last_uses(graph: &Graph) -> Vec<Vec<String>> {
    let mut last: HashMap<String, usize> = HashMap::new();
    for (index, node) in graph.nodes.iter().enumerate() {
        for name in node.inputs.iter().chain(&node.outputs) {
            last.insert(name.clone(), index);
        }
        for name in captured(node) {
            last.insert(name, index);
        }
    }
    for output in &graph.outputs {
        last.remove(&output.name);
    }
    let mut uses = vec![Vec::new(); graph.nodes.len()];
    for (name, index) in last {
        uses[index].push(name);
    }
    uses
}

/// Outer names that the sub-graphs of a node read.
pub(crate) fn captured(node: &Node) -> HashSet<String> {
    let mut names = HashSet::new();
    for attribute in node.attributes.values() {
        match &attribute.value {
            AttributeValue::Graph(graph) => names.extend(free_names(graph)),
            AttributeValue::Graphs(graphs) => {
                names.extend(graphs.iter().flat_map(|graph| free_names(graph)));
            }
            _ => {}
        }
    }
    names
}

fn free_names(graph: &Graph) -> HashSet<String> {
    let mut own: HashSet<&str> = graph.inputs.iter().map(|input| &*input.name).collect();
    own.extend(graph.initializers.keys().map(String::as_str));
    own.extend(graph.sparse_initializers.keys().map(String::as_str));
    own.extend(graph.nodes.iter().flat_map(|node| node.outputs.iter().map(String::as_str)));
    let mut free = HashSet::new();
    let mut read = |name: &str| {
        if !own.contains(name) {
            free.insert(name.to_owned());
        }
    };
    for node in &graph.nodes {
        node.inputs.iter().for_each(|name| read(name));
        captured(node).iter().for_each(|name| read(name));
    }
    graph.outputs.iter().for_each(|output| read(&output.name));
    free
}
