//! ONNX files as bytes, with what no exporter would write (onnx.proto3, IR version 8, opset 17).

/// A protobuf message under construction.
#[derive(Clone, Default)]
pub(crate) struct Message(pub(crate) Vec<u8>);

impl Message {
    /// A field of wire type 0.
    pub(crate) fn varint(mut self, number: u64, value: u64) -> Message {
        self.number(number << 3);
        self.number(value);
        self
    }

    /// A field of wire type 2.
    pub(crate) fn bytes(mut self, number: u64, bytes: &[u8]) -> Message {
        self.number(number << 3 | 2);
        self.number(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
        self
    }

    /// As [`Message::bytes`].
    pub(crate) fn text(self, number: u64, text: &str) -> Message {
        self.bytes(number, text.as_bytes())
    }

    /// As [`Message::bytes`].
    pub(crate) fn message(self, number: u64, message: &Message) -> Message {
        self.bytes(number, &message.0)
    }

    fn number(&mut self, mut value: u64) {
        while value > 0x7f {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }
}

/// A message without fields.
pub(crate) fn empty() -> Message {
    Message::default()
}

/// A node.
pub(crate) fn node(op: &str, inputs: &[&str], outputs: &[&str]) -> Message {
    let node = inputs.iter().fold(empty(), |node, input| node.text(1, input));
    outputs.iter().fold(node, |node, output| node.text(2, output)).text(4, op)
}

/// A node with a whole number as attribute.
pub(crate) fn int(node: Message, name: &str, value: u64) -> Message {
    node.message(5, &empty().text(1, name).varint(20, 2).varint(3, value))
}

/// A node with a graph as attribute.
pub(crate) fn inner(node: Message, name: &str, graph: &Message) -> Message {
    node.message(5, &empty().text(1, name).varint(20, 5).message(6, graph))
}

/// An input or output of this shape and type (1: f32, 7: i64, 9: bool).
pub(crate) fn port(name: &str, kind: u64, dims: &[u64]) -> Message {
    let shape = dims.iter().fold(empty(), |s, &extent| s.message(1, &empty().varint(1, extent)));
    let tensor = empty().varint(1, kind).message(2, &shape);
    empty().text(1, name).message(2, &empty().message(1, &tensor))
}

/// A constant of type `kind` with its raw bytes.
pub(crate) fn constant(name: &str, kind: u64, dims: &[u64], raw: &[u8]) -> Message {
    dims.iter()
        .fold(empty(), |t, &extent| t.varint(1, extent))
        .varint(2, kind)
        .text(8, name)
        .bytes(9, raw)
}

/// A constant of 64-bit numbers along one axis.
pub(crate) fn numbers(name: &str, values: &[i64]) -> Message {
    let raw: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    constant(name, 7, &[values.len() as u64], &raw)
}

/// One 64-bit number.
pub(crate) fn number(name: &str, value: i64) -> Message {
    constant(name, 7, &[], &value.to_le_bytes())
}

/// An f32 constant in another file.
pub(crate) fn external(name: &str, dims: &[u64], entries: &[(&str, &str)]) -> Message {
    let tensor =
        dims.iter().fold(empty(), |t, &extent| t.varint(1, extent)).varint(2, 1).text(8, name);
    entries.iter().fold(tensor.varint(14, 1), |t, (key, value)| {
        t.message(13, &empty().text(1, key).text(2, value))
    })
}

/// A graph from `x`, four f32, to `y`.
pub(crate) fn graph(nodes: &[Message], constants: &[Message]) -> Message {
    let graph = nodes.iter().fold(empty(), |graph, node| graph.message(1, node));
    let graph = constants.iter().fold(graph, |graph, constant| graph.message(5, constant));
    graph.message(11, &port("x", 1, &[4])).message(12, &port("y", 1, &[4]))
}

/// A model around a graph.
pub(crate) fn model(graph: &Message) -> Message {
    empty().varint(1, 8).message(7, graph).message(8, &empty().text(1, "").varint(2, 17))
}

/// A function of the domain `own`, from `a` to `b`.
pub(crate) fn function(name: &str, nodes: &[Message]) -> Message {
    let function = empty().text(1, name).text(4, "a").text(5, "b").text(10, "own");
    let function = function.message(9, &empty().text(1, "").varint(2, 17));
    let function = function.message(9, &empty().text(1, "own").varint(2, 1));
    nodes.iter().fold(function, |function, node| function.message(7, node))
}
