//! Which values a graph makes, and which it needs no more after each of its nodes.

use super::message::{AttributeValue, Graph, Node};
use super::names::{Name, NameMap, NameSet, Names};
use crate::proto::wire::broken;
use aimass_sdk::Result;

/// Refuses a graph in which a value has two makers. `inputs` are those of a function.
///
/// # Errors
/// `input/onnx-file` if two nodes make the same value, or a node one that is an input or a constant.
pub(super) fn check_made_once(graph: &Graph, inputs: &[Name], names: &Names) -> Result<()> {
    let mut made = NameSet::default();
    made.extend(inputs);
    made.extend(graph.inputs.iter().map(|input| input.name));
    made.extend(graph.initializers.keys().chain(graph.sparse_initializers.keys()));
    let outputs = graph.nodes.iter().flat_map(|node| &node.outputs);
    for &name in outputs.filter(|name| !name.is_empty()) {
        if !made.insert(name) {
            let message = format!("the value `{}` is made twice", names.text(name));
            return Err(broken(0, &message));
        }
    }
    Ok(())
}

/// By node, the names whose last use in `graph` it is; outputs of the graph are never among them.
pub(crate) fn last_uses(graph: &Graph) -> Vec<Vec<Name>> {
    let mut last: NameMap<usize> = NameMap::default();
    for (index, node) in graph.nodes.iter().enumerate() {
        for &name in node.inputs.iter().chain(&node.outputs) {
            last.insert(name, index);
        }
        each_captured(node, &mut |name| {
            last.insert(name, index);
        });
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
pub(crate) fn captured(node: &Node) -> NameSet {
    let mut names = NameSet::default();
    each_captured(node, &mut |name| {
        names.insert(name);
    });
    names
}

/// Hands over the outer names that the sub-graphs of a node read.
fn each_captured(node: &Node, take: &mut dyn FnMut(Name)) {
    for attribute in node.attributes.values() {
        match &attribute.value {
            AttributeValue::Graph(graph) => each_free(graph, take),
            AttributeValue::Graphs(graphs) => {
                graphs.iter().for_each(|graph| each_free(graph, take))
            }
            _ => {}
        }
    }
}

fn each_free(graph: &Graph, take: &mut dyn FnMut(Name)) {
    let mut own = NameSet::default();
    own.extend(graph.inputs.iter().map(|input| input.name));
    own.extend(graph.initializers.keys().chain(graph.sparse_initializers.keys()));
    own.extend(graph.nodes.iter().flat_map(|node| node.outputs.iter()));
    let mut read = |name: Name| {
        if !own.contains(&name) {
            take(name);
        }
    };
    for node in &graph.nodes {
        node.inputs.iter().for_each(|&name| read(name));
        each_captured(node, &mut read);
    }
    graph.outputs.iter().for_each(|output| read(output.name));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::message::{Attribute, ValueInfo};
    use std::rc::Rc;

    fn node(names: &mut Names, inputs: &str, outputs: &str) -> Node {
        let mut list = |text: &str| {
            text.split_whitespace().map(|name| names.intern(name).0).collect::<Vec<Name>>()
        };
        Node { inputs: list(inputs), outputs: list(outputs), ..Node::default() }
    }

    #[test]
    fn values_are_dropped_after_their_last_reader_inner_graphs_included() {
        let mut names = Names::default();
        let inner =
            Graph { nodes: vec![Rc::new(node(&mut names, "b own", "own"))], ..Graph::default() };
        let mut holder = node(&mut names, "a", "c");
        let value = AttributeValue::Graph(Rc::new(inner));
        holder.attributes.insert("body".to_owned(), Attribute { value, reference: None });
        let graph = Graph {
            nodes: vec![
                Rc::new(node(&mut names, "x", "a b")),
                Rc::new(holder),
                Rc::new(node(&mut names, "c", "d")),
            ],
            outputs: vec![ValueInfo { name: names.intern("d").0, ..ValueInfo::default() }],
            ..Graph::default()
        };
        let uses = last_uses(&graph);
        let texts = |list: &Vec<Name>| {
            let mut texts: Vec<&str> = list.iter().map(|&name| names.text(name)).collect();
            texts.sort_unstable();
            texts.join(" ")
        };
        assert_eq!(uses.iter().map(texts).collect::<Vec<_>>(), ["x", "a b", "c"]);
    }

    #[test]
    fn a_value_is_made_once() {
        let mut names = Names::default();
        let nodes =
            vec![Rc::new(node(&mut names, "x", "a")), Rc::new(node(&mut names, "a", "b a"))];
        let graph = Graph { nodes, ..Graph::default() };
        let error = check_made_once(&graph, &[], &names).unwrap_err();
        assert!(error.message.contains("`a` is made twice"), "{}", error.message);
        let input = names.intern("b").0;
        let nodes = vec![Rc::new(node(&mut names, "x", "b"))];
        let graph = Graph { nodes, ..Graph::default() };
        assert!(check_made_once(&graph, &[input], &names).is_err(), "it is an input");
    }
}
