//! What made a value of a graph, and who reads it, for passes that look for shapes of several ops.

use super::draft::live_nodes;
use crate::ValueSpec;
use crate::graph::{Graph, Node, Origin, ValueId};
use crate::op::{Arithmetic, Binary, BinaryKind, Op, Unary, UnaryKind};
use crate::packing::Constant;
use std::collections::HashMap;

/// Stands among readers for the outside of the graph.
const OUTSIDE: usize = usize::MAX;

/// A graph with the makers and readers of its values.
pub(super) struct Finder<'a> {
    pub(super) graph: &'a Graph,
    pub(super) live: Vec<bool>,
    /// The live nodes that read a root; those that move no bytes do not count.
    pub(super) readers: HashMap<ValueId, Vec<usize>>,
}

impl<'a> Finder<'a> {
    /// Looks at every live node.
    pub(super) fn new(graph: &'a Graph) -> Finder<'a> {
        let live = live_nodes(graph);
        let mut finder = Finder { graph, live, readers: HashMap::new() };
        let mut readers: HashMap<ValueId, Vec<usize>> = HashMap::new();
        for (index, node) in graph.nodes.iter().enumerate() {
            if finder.live[index] && finder.moved(node).is_none() {
                for &input in &node.inputs {
                    readers.entry(finder.root(input)).or_default().push(index);
                }
            }
        }
        let writes = graph.states.iter().filter_map(|state| state.write);
        for value in graph.outputs.iter().copied().chain(writes) {
            readers.entry(finder.root(value)).or_default().push(OUTSIDE);
        }
        finder.readers = readers;
        finder
    }

    /// The input whose bytes the output of a node is.
    fn moved(&self, node: &Node) -> Option<ValueId> {
        let (&x, &out) = (node.inputs.first()?, node.outputs.first()?);
        let same = node.op.rule().moves_no_bytes(self.graph.spec(x), self.graph.spec(out));
        same.then_some(x)
    }

    /// The value whose bytes this one is.
    pub(super) fn root(&self, mut value: ValueId) -> ValueId {
        while let Origin::Node(node) = self.graph.values[value.index()].origin
            && let Some(x) = self.moved(&self.graph.nodes[node])
        {
            value = x;
        }
        value
    }

    /// The op that makes a value, and the roots of its inputs.
    pub(super) fn made(&self, value: ValueId) -> Option<(&'a Op, Vec<ValueId>)> {
        let graph = self.graph;
        let Origin::Node(node) = graph.values[self.root(value).index()].origin else { return None };
        let node = graph.nodes.get(node)?;
        Some((&node.op, node.inputs.iter().map(|&input| self.root(input)).collect()))
    }

    /// The inputs of the arithmetic that makes a value.
    pub(super) fn arithmetic(&self, value: ValueId, kind: Arithmetic) -> Option<[ValueId; 2]> {
        let (op, inputs) = self.made(value)?;
        let is = *op == Op::Binary(Binary { kind: BinaryKind::Arithmetic(kind) });
        is.then(|| inputs.try_into().ok())?
    }

    pub(super) fn unary(&self, value: ValueId, kind: UnaryKind) -> Option<ValueId> {
        let (op, inputs) = self.made(value)?;
        (*op == Op::Unary(Unary { kind })).then(|| inputs[0])
    }

    pub(super) fn constant(&self, value: ValueId) -> Option<Constant> {
        match &self.graph.values[self.root(value).index()].origin {
            Origin::Weight(weight) => Some(Constant::Weight(weight.clone())),
            Origin::Constant(tensor) => Some(Constant::Tensor(tensor.clone())),
            Origin::Input(_) | Origin::State(_) | Origin::Node(_) => None,
        }
    }

    /// Whether a value is this f32 number.
    pub(super) fn is_number(&self, value: ValueId, number: f32) -> bool {
        let one = elements(self.graph.spec(value)) == Some(1);
        let held = || {
            let tensor = self.constant(value)?.load().ok()?;
            tensor.as_slice::<f32>().ok()?.first().copied()
        };
        one && held() == Some(number)
    }

    /// The only node that reads a root.
    pub(super) fn only_reader(&self, value: ValueId) -> Option<usize> {
        match self.readers.get(&value)?[..] {
            [node] if node != OUTSIDE => Some(node),
            _ => None,
        }
    }

    /// Whether all readers of a root are among these nodes.
    pub(super) fn read_only_by(&self, value: ValueId, nodes: &[usize]) -> bool {
        self.readers.get(&value).is_none_or(|all| all.iter().all(|node| nodes.contains(node)))
    }

    /// The op of a node, and its first output.
    pub(super) fn node(&self, index: usize) -> (&'a Op, ValueId) {
        let node = &self.graph.nodes[index];
        (&node.op, node.outputs[0])
    }

    /// The op whose output a value is, with no change of shape in between, and its inputs.
    pub(super) fn maker(&self, value: ValueId) -> Option<(&'a Op, &'a [ValueId])> {
        let Origin::Node(node) = self.graph.values[value.index()].origin else { return None };
        let node = self.graph.nodes.get(node)?;
        Some((&node.op, &node.inputs))
    }

    /// Dtype and dimensions of a value.
    pub(super) fn spec(&self, value: ValueId) -> &'a ValueSpec {
        self.graph.spec(value)
    }
}

/// Elements of a value whose extents are known.
pub(super) fn elements(spec: &ValueSpec) -> Option<u64> {
    spec.dims.iter().try_fold(1u64, |count, dim| count.checked_mul(dim.fixed()?))
}
