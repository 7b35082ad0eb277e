//! A graph as the finders of layers read it: who makes and who reads a value, and small constants.

use crate::content::{floats_of, ints_of};
use crate::proto::{
    AttributeValue, Graph, Name, NameMap, NameSet, Node, Payload, TensorProto, captured,
};

/// Factors of one product that are looked at.
const FACTORS_MAX: usize = 8;

/// A graph with its makers and readers.
pub(super) struct View<'a> {
    graph: &'a Graph,
    makers: NameMap<usize>,
    readers: NameMap<Vec<usize>>,
    outputs: NameSet,
}

/// A product of values: constants in one number, and the other factors.
#[derive(Debug, PartialEq)]
pub(super) struct Product {
    pub(super) factor: f64,
    pub(super) values: Vec<Name>,
    /// The nodes that multiply and divide.
    pub(super) nodes: Vec<usize>,
}

impl<'a> View<'a> {
    pub(super) fn new(graph: &'a Graph) -> View<'a> {
        let (mut makers, mut readers) = (NameMap::default(), NameMap::<Vec<usize>>::default());
        for (index, node) in graph.nodes.iter().enumerate() {
            for &output in node.outputs.iter().filter(|output| !output.is_empty()) {
                makers.insert(output, index);
            }
            for input in node.inputs.iter().copied().chain(captured(node)) {
                readers.entry(input).or_default().push(index);
            }
        }
        let outputs = graph.outputs.iter().map(|output| output.name).collect();
        View { graph, makers, readers, outputs }
    }

    pub(super) fn node(&self, index: usize) -> &'a Node {
        &self.graph.nodes[index]
    }

    /// The node that makes a value as its first output, if it is this operator of the default domain.
    pub(super) fn maker(&self, value: Name, op: &str) -> Option<(usize, &'a Node)> {
        let index = *self.makers.get(&value)?;
        let node = self.node(index);
        let is = node.op == op && node.domain.is_empty();
        (is && node.outputs.first().is_some_and(|first| *first == value)).then_some((index, node))
    }

    /// Name of the operator that makes a value.
    pub(super) fn maker_op(&self, value: Name) -> Option<&'a str> {
        let node = self.node(*self.makers.get(&value)?);
        node.domain.is_empty().then_some(node.op.as_str())
    }

    /// Whether nothing but one node reads a value.
    fn is_single(&self, value: Name) -> bool {
        !self.outputs.contains(&value) && self.readers.get(&value).is_some_and(|all| all.len() == 1)
    }

    /// Whether nothing outside of `nodes` reads what they compute, but for the root's output.
    pub(super) fn is_closed(&self, root: usize, nodes: &[usize]) -> bool {
        let inside = |output: &Name| {
            let readers = self.readers.get(output);
            !self.outputs.contains(output)
                && readers.is_none_or(|all| all.iter().all(|reader| nodes.contains(reader)))
        };
        nodes.iter().all(|&index| {
            let outputs = &self.node(index).outputs;
            let inner = if index == root { outputs.get(1..).unwrap_or_default() } else { outputs };
            inner.iter().filter(|output| !output.is_empty()).all(inside)
        })
    }

    /// The constant of a name, if it is short.
    fn constant(&self, value: Name) -> Option<&'a TensorProto> {
        if let Some(tensor) = self.graph.initializers.get(&value) {
            return Some(tensor);
        }
        let (_, node) = self.maker(value, "Constant")?;
        match &node.attributes.get("value")?.value {
            AttributeValue::Tensor(tensor) => Some(tensor),
            _ => None,
        }
    }

    /// Extents of a constant of any size.
    pub(super) fn constant_shape(&self, value: Name) -> Option<&'a [u64]> {
        Some(&self.constant(value)?.dims)
    }

    /// A constant of one element, a scalar or a vector.
    pub(super) fn scalar(&self, value: Name) -> Option<f64> {
        if let Some((_, node)) = self.maker(value, "Constant") {
            match node.attributes.get("value_float").map(|own| &own.value) {
                Some(AttributeValue::Float(number)) => return Some((*number).into()),
                Some(_) => return None,
                None => {}
            }
        }
        let tensor = self.constant(value)?;
        if tensor.dims.len() > 1 {
            return None;
        }
        match self.numbers(tensor)?.as_slice() {
            [number] => Some(*number),
            _ => None,
        }
    }

    /// A short constant as whole numbers.
    pub(super) fn ints(&self, value: Name) -> Option<Vec<i64>> {
        if let Some((_, node)) = self.maker(value, "Constant") {
            match node.attributes.get("value_ints").map(|own| &own.value) {
                Some(AttributeValue::Ints(numbers)) => return Some(numbers.clone()),
                Some(_) => return None,
                None => {}
            }
        }
        let tensor = self.constant(value)?;
        match &tensor.payload {
            Payload::Integers(numbers) => Some(numbers.clone()),
            Payload::Bytes(bytes) => ints_of(tensor.element.dtype()?, bytes).ok(),
            _ => None,
        }
    }

    fn numbers(&self, tensor: &TensorProto) -> Option<Vec<f64>> {
        match &tensor.payload {
            Payload::Bytes(bytes) => floats_of(tensor.element.dtype()?, bytes).ok(),
            Payload::Floats(numbers) => Some(numbers.iter().map(|&own| own.into()).collect()),
            Payload::Doubles(numbers) => Some(numbers.clone()),
            _ => None,
        }
    }

    /// Whether a value is this number, up to what f16 rounds away.
    pub(super) fn is_number(&self, value: Name, expected: f64) -> bool {
        self.scalar(value).is_some_and(|own| near(own, expected))
    }

    /// The other input, if one of two is this number.
    pub(super) fn beside_number(&self, node: &'a Node, expected: f64) -> Option<Name> {
        match *node.inputs.as_slice() {
            [a, b] if self.is_number(b, expected) => Some(a),
            [a, b] if self.is_number(a, expected) => Some(b),
            _ => None,
        }
    }

    /// The product that a node ends; products that only it reads are part of it.
    pub(super) fn product(&self, root: usize) -> Option<Product> {
        let mut product = Product { factor: 1.0, values: Vec::new(), nodes: Vec::new() };
        self.multiply(root, &mut product).then_some(product)
    }

    fn multiply(&self, index: usize, product: &mut Product) -> bool {
        let node = self.node(index);
        let [a, b] = *node.inputs.as_slice() else { return false };
        if !node.domain.is_empty() || product.nodes.len() == FACTORS_MAX {
            return false;
        }
        match (node.op.as_str(), self.scalar(b)) {
            ("Div", Some(divisor)) => product.factor /= divisor,
            ("Mul", _) => self.factor(b, product),
            _ => return false,
        }
        product.nodes.push(index);
        self.factor(a, product);
        true
    }

    fn factor(&self, value: Name, product: &mut Product) {
        if let Some(number) = self.scalar(value) {
            product.factor *= number;
            return;
        }
        let maker = self.makers.get(&value).copied().filter(|_| self.is_single(value));
        let (nodes, values, factor) = (product.nodes.len(), product.values.len(), product.factor);
        if !maker.is_some_and(|index| self.multiply(index, product)) {
            product.nodes.truncate(nodes);
            product.values.truncate(values);
            product.factor = factor;
            product.values.push(value);
        }
    }

    /// The product that makes a value for one reader, or the value itself.
    pub(super) fn product_of(&self, value: Name) -> Product {
        let maker = self.makers.get(&value).copied().filter(|_| self.is_single(value));
        maker.and_then(|index| self.product(index)).unwrap_or(Product {
            factor: 1.0,
            values: vec![value],
            nodes: Vec::new(),
        })
    }

    /// A value times a number: as [`View::product_of`] if there is one other factor only.
    pub(super) fn scaled(&self, value: Name) -> (f64, Name, Vec<usize>) {
        let Product { factor, values, nodes } = self.product_of(value);
        match *values.as_slice() {
            [single] => (factor, single, nodes),
            _ => (1.0, value, Vec::new()),
        }
    }
}

/// Whether two numbers are the same but for rounding to f16.
pub(super) fn near(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-3 * b.abs()
}

/// The attribute as a whole number.
pub(super) fn int(node: &Node, name: &str) -> Option<i64> {
    match node.attributes.get(name).map(|own| &own.value) {
        Some(AttributeValue::Int(value)) => Some(*value),
        _ => None,
    }
}

/// The attribute as a number.
pub(super) fn float(node: &Node, name: &str) -> Option<f64> {
    match node.attributes.get(name).map(|own| &own.value) {
        Some(AttributeValue::Float(value)) => Some((*value).into()),
        _ => None,
    }
}

/// Whether an attribute takes its value from a function around the node.
pub(super) fn refers(node: &Node) -> bool {
    node.attributes.values().any(|own| own.reference.is_some())
}
