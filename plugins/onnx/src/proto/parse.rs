//! From wire fields to messages.
//!
//! Everything that a file can grow is bounded: fields, nodes, depth of sub-graphs, lists of numbers,
//! texts, and the memory that all of it takes together.

use super::message::{
    Attribute, AttributeValue, DimProto, Function, FunctionKey, Graph, Model, Node, SparseTensor,
    TensorType, ValueInfo, ValueType,
};
use super::names::{Name, Names};
use super::tensor::{ElementType, Payload, TensorProto};
use super::uses::{check_made_once, last_uses};
use super::wire::{Bytes, FieldValue, Source, Span, broken};
use crate::composite;
use aimass_sdk::files::File;
use aimass_sdk::{Error, Result};
use std::collections::HashMap;
use std::rc::Rc;

/// Nodes of a model, sub-graphs and functions included.
const NODES_MAX: usize = 200_000;
/// Fields of all messages together.
const FIELDS_MAX: u64 = 16 << 20;
/// Bytes that all messages take in memory, as estimated.
const MEMORY_BYTES_MAX: u64 = 96 << 20;
/// Depth of graphs inside of graphs, and of types inside of types.
const DEPTH_MAX: usize = 32;
/// Numbers of one list that is not a tensor's raw bytes.
const NUMBERS_MAX: u64 = 4 << 20;
/// Bytes of one name or text.
const TEXT_BYTES_MAX: u64 = 1 << 20;
/// Bytes of a constant that is read along with the model.
const SHORT_BYTES: u64 = 256;
/// Axes of a tensor, as in the contract.
const RANK_MAX: usize = 8;

/// Reads the model of a file.
///
/// # Errors
/// `input/onnx-file` where the bytes are no such message, `limit/onnx-*` beyond a limit.
pub(crate) fn read_model(name: &str) -> Result<Model> {
    read(name, File::open(name)?)
}

/// As [`read_model`], from any bytes.
pub(crate) fn read(name: &str, bytes: impl Bytes + 'static) -> Result<Model> {
    let source = Source::new(bytes);
    let whole = Span { start: 0, end: source.len() };
    let names = Names::default();
    let mut parser = Parser { source, names, nodes: 0, depth: 0, fields: 0, memory: 0 };
    let mut model = Model { file: name.to_owned(), ..Model::default() };
    let mut seen_graph = false;
    parser.fields(whole, |parser, number, value| {
        match (number, value) {
            (1, FieldValue::Varint(version)) => model.ir_version = version as i64,
            (7, FieldValue::Bytes(span)) => {
                model.graph = Rc::new(parser.graph(span)?);
                seen_graph = true;
            }
            (8, FieldValue::Bytes(span)) => parser.opset(span, &mut model.opsets)?,
            (25, FieldValue::Bytes(span)) => {
                let (key, function) = parser.function(span)?;
                let name = key.1.clone();
                if model.functions.insert(key, Rc::new(function)).is_some() {
                    return Err(broken(span.start, &format!("two functions are named `{name}`")));
                }
            }
            _ => {}
        }
        Ok(())
    })?;
    if !seen_graph {
        return Err(broken(0, "the model has no graph"));
    }
    model.names = parser.names;
    Ok(model)
}

struct Parser {
    source: Source,
    names: Names,
    nodes: usize,
    depth: usize,
    fields: u64,
    /// Bytes that the messages so far take, about.
    memory: u64,
}

impl Parser {
    fn fields(
        &mut self,
        span: Span,
        mut each: impl FnMut(&mut Parser, u64, FieldValue) -> Result<()>,
    ) -> Result<()> {
        let mut at = span.start;
        while let Some(field) = self.source.next_field(&mut at, span)? {
            self.count_field()?;
            each(self, field.number, field.value)?;
        }
        Ok(())
    }

    fn count_field(&mut self) -> Result<()> {
        self.fields += 1;
        if self.fields > FIELDS_MAX {
            let message = format!("expected a model of at most {FIELDS_MAX} fields");
            return Err(Error::limit("onnx-fields", message));
        }
        Ok(())
    }

    /// Accounts for memory before it is taken.
    fn charge(&mut self, bytes: u64) -> Result<()> {
        self.memory = self.memory.saturating_add(bytes);
        if self.memory > MEMORY_BYTES_MAX {
            let message = format!(
                "expected a model whose graph, without its weights, takes at most \
                 {MEMORY_BYTES_MAX} bytes of memory"
            );
            return Err(Error::limit("onnx-memory", message));
        }
        Ok(())
    }

    fn charge_message<M>(&mut self) -> Result<()> {
        self.charge(2 * size_of::<M>() as u64 + 16)
    }

    /// Runs one level deeper.
    fn deeper<T>(&mut self, inner: impl FnOnce(&mut Parser) -> Result<T>) -> Result<T> {
        if self.depth == DEPTH_MAX {
            let message = format!("expected at most {DEPTH_MAX} graphs inside of each other");
            return Err(Error::limit("onnx-depth", message));
        }
        self.depth += 1;
        let answer = inner(self);
        self.depth -= 1;
        answer
    }

    fn text(&mut self, span: Span) -> Result<String> {
        bounded(span, TEXT_BYTES_MAX, "bytes of a name")?;
        self.charge(span.len() + 16)?;
        self.source.text(span, str::to_owned)
    }

    /// The bytes of a text that need not be UTF-8.
    fn bytes(&mut self, span: Span) -> Result<Vec<u8>> {
        bounded(span, TEXT_BYTES_MAX, "bytes of a text")?;
        self.charge(span.len() + 32)?;
        self.source.read(span)
    }

    /// The name of a value.
    fn name(&mut self, span: Span) -> Result<Name> {
        bounded(span, TEXT_BYTES_MAX, "bytes of a name")?;
        self.charge(8)?;
        let names = &mut self.names;
        let (name, new) = self.source.text(span, |text| names.intern(text))?;
        if new {
            self.charge(span.len() + 64)?;
        }
        Ok(name)
    }

    fn opset(&mut self, span: Span, opsets: &mut HashMap<String, i64>) -> Result<()> {
        self.charge(64)?;
        let (mut domain, mut version) = (String::new(), 0);
        self.fields(span, |parser, number, value| {
            match (number, value) {
                (1, FieldValue::Bytes(span)) => domain = parser.text(span)?,
                (2, FieldValue::Varint(value)) => version = value as i64,
                _ => {}
            }
            Ok(())
        })?;
        opsets.insert(default_domain(domain), version);
        Ok(())
    }

    fn graph(&mut self, span: Span) -> Result<Graph> {
        self.deeper(|parser| {
            parser.charge_message::<Graph>()?;
            let mut graph = Graph::default();
            parser.fields(span, |parser, number, value| {
                let FieldValue::Bytes(span) = value else { return Ok(()) };
                match number {
                    1 => graph.nodes.push(Rc::new(parser.node(span)?)),
                    2 => graph.name = parser.text(span)?,
                    5 => {
                        let tensor = parser.tensor(span)?;
                        let (name, _) = parser.names.intern(&tensor.name);
                        graph.initializers.insert(name, Rc::new(tensor));
                    }
                    11 => graph.inputs.push(parser.value_info(span)?),
                    12 => graph.outputs.push(parser.value_info(span)?),
                    15 => {
                        let tensor = parser.sparse_tensor(span)?;
                        let (name, _) = parser.names.intern(&tensor.values.name);
                        graph.sparse_initializers.insert(name, Rc::new(tensor));
                    }
                    _ => {}
                }
                Ok(())
            })?;
            check_made_once(&graph, &[], &parser.names)?;
            let mut graph = composite::recognize(graph);
            graph.last_uses = last_uses(&graph);
            Ok(graph)
        })
    }

    fn node(&mut self, span: Span) -> Result<Node> {
        self.nodes += 1;
        if self.nodes > NODES_MAX {
            let message = format!("expected a model of at most {NODES_MAX} nodes");
            return Err(Error::limit("onnx-nodes", message));
        }
        self.charge_message::<Node>()?;
        let mut node = Node::default();
        self.fields(span, |parser, number, value| {
            let FieldValue::Bytes(span) = value else { return Ok(()) };
            match number {
                1 => node.inputs.push(parser.name(span)?),
                2 => node.outputs.push(parser.name(span)?),
                3 => node.name = parser.text(span)?,
                4 => node.op = parser.text(span)?,
                5 => {
                    let (name, attribute) = parser.attribute(span)?;
                    node.attributes.insert(name, attribute);
                }
                7 => node.domain = default_domain(parser.text(span)?),
                8 => node.overload = parser.text(span)?,
                _ => {}
            }
            Ok(())
        })?;
        Ok(node)
    }

    fn attribute(&mut self, span: Span) -> Result<(String, Attribute)> {
        self.charge_message::<Attribute>()?;
        let mut name = String::new();
        let mut reference = None;
        let mut parts = AttributeParts::default();
        let mut at = span.start;
        while let Some(field) = self.source.next_field(&mut at, span)? {
            self.count_field()?;
            let (number, value) = (field.number, field.value);
            match (number, value) {
                (1, FieldValue::Bytes(span)) => name = self.text(span)?,
                (21, FieldValue::Bytes(span)) => reference = Some(self.text(span)?),
                (20, FieldValue::Varint(kind)) => parts.kind = kind,
                (8, FieldValue::Varint(value)) => {
                    self.charge(8)?;
                    parts.ints.push(value as i64);
                    self.repeated(&mut at, span, 8, &mut parts.ints)?;
                }
                _ => parts.field(self, number, value)?,
            }
        }
        let reference = reference.filter(|name| !name.is_empty());
        Ok((name, Attribute { value: parts.finish(), reference }))
    }

    /// More numbers of the same field, which old writers repeat for each.
    fn repeated(
        &mut self,
        at: &mut u64,
        span: Span,
        number: u8,
        into: &mut Vec<i64>,
    ) -> Result<()> {
        let before = into.len();
        self.source.same_varints(at, span, number << 3, |value| into.push(value as i64));
        self.charge(8 * (into.len() - before) as u64)
    }

    fn varints(&mut self, span: Span, into: &mut Vec<i64>) -> Result<()> {
        bounded(span, 10 * NUMBERS_MAX, "bytes of numbers")?;
        let mut at = span.start;
        while at < span.end {
            self.charge(8)?;
            into.push(self.source.varint(&mut at, span)? as i64);
        }
        Ok(())
    }

    fn floats(&mut self, span: Span, into: &mut Vec<f32>) -> Result<()> {
        bounded(span, 4 * NUMBERS_MAX, "bytes of numbers")?;
        self.charge(2 * span.len())?;
        let bytes = self.source.read(span)?;
        into.extend(bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)));
        Ok(())
    }

    fn tensor(&mut self, span: Span) -> Result<TensorProto> {
        self.charge_message::<TensorProto>()?;
        let mut tensor = TensorProto::default();
        let mut dims = Vec::new();
        let mut data = TensorData::default();
        self.fields(span, |parser, number, value| {
            match (number, value) {
                (1, FieldValue::Varint(extent)) => push_extent(&mut dims, extent)?,
                (1, FieldValue::Bytes(span)) => parser.varints(span, &mut dims)?,
                (2, FieldValue::Varint(kind)) => tensor.element = ElementType(kind as i64),
                (8, FieldValue::Bytes(span)) => tensor.name = parser.text(span)?,
                _ => data.field(parser, number, value)?,
            }
            Ok(())
        })?;
        tensor.dims = extents(&dims, span)?;
        tensor.payload = match data.finish(span)? {
            Payload::File(span) if span.len() <= SHORT_BYTES => Payload::Bytes(self.bytes(span)?),
            payload => payload,
        };
        Ok(tensor)
    }

    fn sparse_tensor(&mut self, span: Span) -> Result<SparseTensor> {
        self.charge_message::<SparseTensor>()?;
        let mut sparse = SparseTensor::default();
        let mut dims = Vec::new();
        self.fields(span, |parser, number, value| {
            match (number, value) {
                (1, FieldValue::Bytes(span)) => sparse.values = parser.tensor(span)?,
                (2, FieldValue::Bytes(span)) => sparse.indices = parser.tensor(span)?,
                (3, FieldValue::Varint(extent)) => push_extent(&mut dims, extent)?,
                (3, FieldValue::Bytes(span)) => parser.varints(span, &mut dims)?,
                _ => {}
            }
            Ok(())
        })?;
        sparse.dims = extents(&dims, span)?;
        Ok(sparse)
    }

    fn value_info(&mut self, span: Span) -> Result<ValueInfo> {
        self.charge_message::<ValueInfo>()?;
        let mut info = ValueInfo::default();
        self.fields(span, |parser, number, value| {
            match (number, value) {
                (1, FieldValue::Bytes(span)) => info.name = parser.name(span)?,
                (2, FieldValue::Bytes(span)) => info.ty = parser.value_type(span)?,
                _ => {}
            }
            Ok(())
        })?;
        Ok(info)
    }

    fn value_type(&mut self, span: Span) -> Result<ValueType> {
        self.deeper(|parser| {
            parser.charge_message::<ValueType>()?;
            let mut ty = ValueType::Unknown;
            parser.fields(span, |parser, number, value| {
                let FieldValue::Bytes(span) = value else { return Ok(()) };
                ty = match number {
                    1 => ValueType::Tensor(parser.tensor_type(span)?),
                    4 => ValueType::Sequence,
                    9 => ValueType::Optional(Box::new(parser.element_type(span)?)),
                    5 | 7 | 8 => ValueType::Other,
                    _ => return Ok(()),
                };
                Ok(())
            })?;
            Ok(ty)
        })
    }

    fn element_type(&mut self, span: Span) -> Result<ValueType> {
        let mut ty = ValueType::Unknown;
        self.fields(span, |parser, number, value| {
            if let (1, FieldValue::Bytes(span)) = (number, value) {
                ty = parser.value_type(span)?;
            }
            Ok(())
        })?;
        Ok(ty)
    }

    fn tensor_type(&mut self, span: Span) -> Result<TensorType> {
        let mut ty = TensorType::default();
        self.fields(span, |parser, number, value| {
            match (number, value) {
                (1, FieldValue::Varint(kind)) => ty.element = ElementType(kind as i64),
                (2, FieldValue::Bytes(span)) => {
                    let mut dims = Vec::new();
                    parser.fields(span, |parser, number, value| {
                        if let (1, FieldValue::Bytes(span)) = (number, value) {
                            dims.push(parser.dimension(span)?);
                        }
                        Ok(())
                    })?;
                    ty.dims = Some(dims);
                }
                _ => {}
            }
            Ok(())
        })?;
        Ok(ty)
    }

    fn dimension(&mut self, span: Span) -> Result<DimProto> {
        self.charge_message::<DimProto>()?;
        let mut dim = DimProto::Open;
        self.fields(span, |parser, number, value| {
            match (number, value) {
                // A negative extent is how some exporters spell an open one.
                (1, FieldValue::Varint(extent)) if (extent as i64) < 0 => {}
                (1, FieldValue::Varint(extent)) => dim = DimProto::Known(extent),
                (2, FieldValue::Bytes(span)) => {
                    let name = parser.text(span)?;
                    dim = if name.is_empty() { DimProto::Open } else { DimProto::Named(name) };
                }
                _ => {}
            }
            Ok(())
        })?;
        Ok(dim)
    }

    fn function(&mut self, span: Span) -> Result<(FunctionKey, Function)> {
        self.deeper(|parser| {
            parser.charge_message::<Function>()?;
            let mut function = Function::default();
            let mut body = Graph::default();
            let (mut domain, mut name, mut overload) = FunctionKey::default();
            parser.fields(span, |parser, number, value| {
                let FieldValue::Bytes(span) = value else { return Ok(()) };
                match number {
                    1 => name = parser.text(span)?,
                    4 => function.inputs.push(parser.name(span)?),
                    5 => {
                        let name = parser.name(span)?;
                        parser.charge_message::<ValueInfo>()?;
                        body.outputs.push(ValueInfo { name, ty: ValueType::Unknown });
                    }
                    7 => body.nodes.push(Rc::new(parser.node(span)?)),
                    9 => parser.opset(span, &mut function.opsets)?,
                    10 => domain = default_domain(parser.text(span)?),
                    11 => {
                        let (name, attribute) = parser.attribute(span)?;
                        function.defaults.insert(name, attribute);
                    }
                    13 => overload = parser.text(span)?,
                    _ => {}
                }
                Ok(())
            })?;
            check_made_once(&body, &function.inputs, &parser.names)?;
            let mut body = composite::recognize(body);
            body.last_uses = last_uses(&body);
            function.body = Rc::new(body);
            Ok(((domain, name, overload), function))
        })
    }
}

/// The fields of an attribute's value; which of them counts is known at the end.
#[derive(Default)]
struct AttributeParts {
    kind: u64,
    float: Option<f32>,
    int: Option<i64>,
    text: Option<Vec<u8>>,
    tensor: Option<Rc<TensorProto>>,
    graph: Option<Rc<Graph>>,
    sparse: Option<Rc<SparseTensor>>,
    floats: Vec<f32>,
    ints: Vec<i64>,
    texts: Vec<Vec<u8>>,
    graphs: Vec<Rc<Graph>>,
}

impl AttributeParts {
    fn field(&mut self, parser: &mut Parser, number: u64, value: FieldValue) -> Result<()> {
        match (number, value) {
            (2, FieldValue::Fixed32(bits)) => self.float = Some(f32::from_bits(bits)),
            (3, FieldValue::Varint(value)) => self.int = Some(value as i64),
            (7, FieldValue::Fixed32(bits)) => {
                parser.charge(8)?;
                self.floats.push(f32::from_bits(bits));
            }
            (_, FieldValue::Bytes(span)) => self.nested(parser, number, span)?,
            _ => {}
        }
        Ok(())
    }

    fn nested(&mut self, parser: &mut Parser, number: u64, span: Span) -> Result<()> {
        match number {
            4 => self.text = Some(parser.bytes(span)?),
            5 => self.tensor = Some(Rc::new(parser.tensor(span)?)),
            6 => self.graph = Some(Rc::new(parser.graph(span)?)),
            7 => parser.floats(span, &mut self.floats)?,
            8 => parser.varints(span, &mut self.ints)?,
            9 => self.texts.push(parser.bytes(span)?),
            11 => self.graphs.push(Rc::new(parser.graph(span)?)),
            22 => self.sparse = Some(Rc::new(parser.sparse_tensor(span)?)),
            _ => {}
        }
        Ok(())
    }

    /// The value, by the type that the attribute names, or by what is there in old files.
    fn finish(mut self) -> AttributeValue {
        let some = |value: Option<AttributeValue>| value.unwrap_or(AttributeValue::None);
        match self.kind {
            // Default values (0, an empty text) may be left out of the file.
            1 => AttributeValue::Float(self.float.unwrap_or(0.0)),
            2 => AttributeValue::Int(self.int.unwrap_or(0)),
            3 => AttributeValue::Text(self.text.unwrap_or_default()),
            4 => some(self.tensor.map(AttributeValue::Tensor)),
            5 => some(self.graph.map(AttributeValue::Graph)),
            6 => AttributeValue::Floats(self.floats),
            7 => {
                self.ints.shrink_to_fit();
                AttributeValue::Ints(self.ints)
            }
            8 => {
                self.texts.shrink_to_fit();
                AttributeValue::Texts(self.texts)
            }
            10 => AttributeValue::Graphs(self.graphs),
            11 => some(self.sparse.map(AttributeValue::SparseTensor)),
            _ => {
                let one = self.float.map(AttributeValue::Float);
                let one = one.or(self.int.map(AttributeValue::Int));
                let one = one.or(self.text.map(AttributeValue::Text));
                let one = one.or(self.tensor.map(AttributeValue::Tensor));
                let one = one.or(self.graph.map(AttributeValue::Graph));
                let floats =
                    (!self.floats.is_empty()).then_some(AttributeValue::Floats(self.floats));
                let ints = (!self.ints.is_empty()).then_some(AttributeValue::Ints(self.ints));
                let texts = (!self.texts.is_empty()).then_some(AttributeValue::Texts(self.texts));
                some(one.or(floats).or(ints).or(texts))
            }
        }
    }
}

/// The fields that hold a tensor's elements.
#[derive(Default)]
struct TensorData {
    raw: Option<Span>,
    integers: Vec<i64>,
    /// Packed `float_data` or `double_data`, which have the layout of raw bytes.
    packed: Option<Span>,
    floats: Vec<f32>,
    doubles: Vec<f64>,
    strings: Vec<Vec<u8>>,
    external: HashMap<String, String>,
    is_external: bool,
}

impl TensorData {
    fn field(&mut self, parser: &mut Parser, number: u64, value: FieldValue) -> Result<()> {
        match (number, value) {
            (4, FieldValue::Fixed32(bits)) => {
                parser.charge(8)?;
                self.floats.push(f32::from_bits(bits));
            }
            (10, FieldValue::Fixed64(bits)) => {
                parser.charge(16)?;
                self.doubles.push(f64::from_bits(bits));
            }
            (4, FieldValue::Bytes(span)) if self.packed.is_none() && self.floats.is_empty() => {
                self.packed = Some(span);
            }
            (10, FieldValue::Bytes(span)) if self.packed.is_none() => self.packed = Some(span),
            (4 | 10, _) => return Err(broken(0, "float data comes in several parts")),
            (5 | 7 | 11, FieldValue::Varint(value)) => {
                parser.charge(16)?;
                self.integers.push(value as i64);
            }
            (5 | 7 | 11, FieldValue::Bytes(span)) => parser.varints(span, &mut self.integers)?,
            (6, FieldValue::Bytes(span)) => self.strings.push(parser.bytes(span)?),
            (9, FieldValue::Bytes(span)) => self.raw = Some(span),
            (13, FieldValue::Bytes(span)) => self.external_entry(parser, span)?,
            (14, FieldValue::Varint(location)) => self.is_external = location == 1,
            _ => {}
        }
        Ok(())
    }

    /// `StringStringEntryProto`: location, offset or length.
    fn external_entry(&mut self, parser: &mut Parser, span: Span) -> Result<()> {
        let (mut key, mut text) = (String::new(), String::new());
        parser.fields(span, |parser, number, value| {
            match (number, value) {
                (1, FieldValue::Bytes(span)) => key = parser.text(span)?,
                (2, FieldValue::Bytes(span)) => text = parser.text(span)?,
                _ => {}
            }
            Ok(())
        })?;
        self.external.insert(key, text);
        Ok(())
    }

    fn finish(mut self, span: Span) -> Result<Payload> {
        if self.is_external {
            let number = |key: &str| match self.external.get(key) {
                None => Ok(None),
                Some(text) => match text.parse::<u64>() {
                    Ok(value) => Ok(Some(value)),
                    Err(_) => Err(broken(span.start, "an external offset is no number")),
                },
            };
            let (offset, len) = (number("offset")?.unwrap_or(0), number("length")?);
            let file = self.external.remove("location");
            let file = file.ok_or_else(|| broken(span.start, "external data names no file"))?;
            return Ok(Payload::External { file, offset, len });
        }
        Ok(if let Some(span) = self.raw.or(self.packed) {
            Payload::File(span)
        } else if !self.integers.is_empty() {
            Payload::Integers(self.integers)
        } else if !self.floats.is_empty() {
            Payload::Floats(self.floats)
        } else if !self.doubles.is_empty() {
            Payload::Doubles(self.doubles)
        } else if !self.strings.is_empty() {
            Payload::Strings(self.strings)
        } else {
            Payload::Empty
        })
    }
}

/// `ai.onnx` is another name of the default domain.
fn default_domain(domain: String) -> String {
    if domain == "ai.onnx" { String::new() } else { domain }
}

fn push_extent(dims: &mut Vec<i64>, extent: u64) -> Result<()> {
    dims.push(extent as i64);
    ranked(dims.len())
}

fn ranked(rank: usize) -> Result<()> {
    if rank > RANK_MAX {
        let message = format!("expected a tensor of at most {RANK_MAX} axes, got {rank}");
        return Err(Error::limit("onnx-rank", message));
    }
    Ok(())
}

fn extents(dims: &[i64], span: Span) -> Result<Vec<u64>> {
    ranked(dims.len())?;
    let extents: Option<Vec<u64>> = dims.iter().map(|&extent| u64::try_from(extent).ok()).collect();
    extents.ok_or_else(|| broken(span.start, "an extent is negative"))
}

fn bounded(span: Span, bytes_max: u64, what: &str) -> Result<()> {
    if span.len() > bytes_max {
        let message = format!("expected at most {bytes_max} {what}, got {}", span.len());
        return Err(Error::limit("onnx-list", message));
    }
    Ok(())
}
