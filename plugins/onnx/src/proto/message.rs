//! The messages, as far as inference needs them.

use super::names::{Name, NameMap, Names};
use super::tensor::{ElementType, TensorProto};
use std::collections::HashMap;
use std::rc::Rc;

/// `ModelProto`.
#[derive(Debug, Default)]
pub(crate) struct Model {
    /// Name of the file it was read from.
    pub(crate) file: String,
    pub(crate) ir_version: i64,
    /// Opset versions by domain; the default domain is the empty text.
    pub(crate) opsets: HashMap<String, i64>,
    pub(crate) graph: Rc<Graph>,
    pub(crate) functions: HashMap<FunctionKey, Rc<Function>>,
    /// The texts of all names of values.
    pub(crate) names: Names,
}

/// What a function is found by: domain, name, overload.
pub(crate) type FunctionKey = (String, String, String);

/// `GraphProto`.
#[derive(Debug, Default)]
pub(crate) struct Graph {
    pub(crate) name: String,
    pub(crate) nodes: Vec<Rc<Node>>,
    pub(crate) initializers: NameMap<Rc<TensorProto>>,
    pub(crate) sparse_initializers: NameMap<Rc<SparseTensor>>,
    pub(crate) inputs: Vec<ValueInfo>,
    pub(crate) outputs: Vec<ValueInfo>,
    /// By node, the values that no later node and no output needs.
    pub(crate) last_uses: Vec<Vec<Name>>,
}

/// `NodeProto`.
#[derive(Debug, Default)]
pub(crate) struct Node {
    pub(crate) name: String,
    pub(crate) op: String,
    pub(crate) domain: String,
    pub(crate) overload: String,
    pub(crate) inputs: Vec<Name>,
    pub(crate) outputs: Vec<Name>,
    pub(crate) attributes: HashMap<String, Attribute>,
}

/// `AttributeProto` without its name.
#[derive(Debug, Clone)]
pub(crate) struct Attribute {
    pub(crate) value: AttributeValue,
    /// The attribute of the function around it that this one takes its value from.
    pub(crate) reference: Option<String>,
}

/// What an attribute holds.
#[derive(Debug, Clone)]
pub(crate) enum AttributeValue {
    None,
    Float(f32),
    Int(i64),
    Text(Vec<u8>),
    Tensor(Rc<TensorProto>),
    Graph(Rc<Graph>),
    SparseTensor(Rc<SparseTensor>),
    Floats(Vec<f32>),
    Ints(Vec<i64>),
    Texts(Vec<Vec<u8>>),
    Graphs(Vec<Rc<Graph>>),
}

/// `SparseTensorProto`.
#[derive(Debug, Default)]
pub(crate) struct SparseTensor {
    pub(crate) values: TensorProto,
    pub(crate) indices: TensorProto,
    pub(crate) dims: Vec<u64>,
}

/// `FunctionProto`.
#[derive(Debug, Default)]
pub(crate) struct Function {
    pub(crate) inputs: Vec<Name>,
    /// Default values of attributes.
    pub(crate) defaults: HashMap<String, Attribute>,
    pub(crate) opsets: HashMap<String, i64>,
    /// The nodes, and the outputs without their types.
    pub(crate) body: Rc<Graph>,
}

/// `ValueInfoProto`.
#[derive(Debug, Clone, Default)]
pub(crate) struct ValueInfo {
    pub(crate) name: Name,
    pub(crate) ty: ValueType,
}

/// `TypeProto`.
#[derive(Debug, Clone, Default)]
pub(crate) enum ValueType {
    /// Not said.
    #[default]
    Unknown,
    Tensor(TensorType),
    Sequence,
    Optional(Box<ValueType>),
    /// Sparse tensors, maps and opaque types, which nothing here reads.
    Other,
}

/// `TypeProto.Tensor`.
#[derive(Debug, Clone, Default)]
pub(crate) struct TensorType {
    pub(crate) element: ElementType,
    /// None if even the rank is open.
    pub(crate) dims: Option<Vec<DimProto>>,
}

/// `TensorShapeProto.Dimension`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum DimProto {
    Known(u64),
    Named(String),
    Open,
}
