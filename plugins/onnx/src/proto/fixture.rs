//! Small models as bytes, for tests.

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

    /// A field of wire type 5.
    pub(crate) fn float(mut self, number: u64, value: f32) -> Message {
        self.number(number << 3 | 5);
        self.0.extend(value.to_le_bytes());
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

/// An input or output that is an f32 tensor; extents below 0 are open, of the name `n`.
pub(crate) fn port(name: &str, dims: &[i64]) -> Message {
    let dim = |extent: &i64| match u64::try_from(*extent) {
        Ok(extent) => empty().varint(1, extent),
        Err(_) => empty().text(2, "n"),
    };
    let shape = dims.iter().fold(empty(), |shape, extent| shape.message(1, &dim(extent)));
    let tensor = empty().varint(1, 1).message(2, &shape);
    empty().text(1, name).message(2, &empty().message(1, &tensor))
}

/// A model around a graph.
pub(crate) fn model(graph: &Message) -> Message {
    let opset = empty().text(1, "").varint(2, 17);
    empty().varint(1, 8).message(7, graph).message(8, &opset)
}

/// A model with a field of every kind that the reader knows.
pub(crate) fn model_of_everything() -> Message {
    let raw = empty().varint(1, 2).varint(2, 1).text(8, "raw").bytes(9, &[0; 8]);
    let packed = empty().bytes(1, &[2]).varint(2, 7).bytes(7, &[1, 0x80, 2]).text(8, "packed");
    let texts = empty().varint(1, 1).varint(2, 8).bytes(6, "é".as_bytes()).text(8, "texts");
    let floats = empty().varint(1, 1).varint(2, 1).float(4, 1.5).text(8, "floats");
    let entry = |key: &str, value: &str| empty().text(1, key).text(2, value);
    let external = empty().varint(1, 4).varint(2, 1).text(8, "outside").varint(14, 1);
    let external = external.message(13, &entry("location", "dir/weights.bin"));
    let external = external.message(13, &entry("offset", "16")).message(13, &entry("length", "16"));
    let indices = empty().varint(1, 1).varint(2, 7).bytes(7, &[1]).text(8, "at");
    let sparse = empty().message(1, &floats).message(2, &indices).varint(3, 4);
    let attribute = |name: &str, kind: u64| empty().text(1, name).varint(20, kind);
    let inner = empty().message(1, &node("Neg", &["x"], &["inner"])).text(2, "branch");
    let inner = inner.message(12, &port("inner", &[2]));
    let branch = node("If", &["flag"], &["y"]);
    let branch = branch.message(5, &attribute("then_branch", 5).message(6, &inner));
    let branch = branch.message(5, &attribute("else_branch", 5).message(6, &inner));
    let all = node("Constant", &[], &["c"]).text(3, "name").text(8, "overload");
    let all = all.message(5, &attribute("f", 1).float(2, 0.5));
    let all = all.message(5, &attribute("i", 2).varint(3, u64::MAX));
    let all = all.message(5, &attribute("s", 3).text(4, "text"));
    let all = all.message(5, &attribute("t", 4).message(5, &raw));
    let all = all.message(5, &attribute("fs", 6).float(7, 1.0).float(7, 2.0));
    let all = all.message(5, &attribute("is", 7).varint(8, 1).varint(8, 300).varint(8, 2));
    let all = all.message(5, &attribute("packed", 7).bytes(8, &[1, 2, 3]));
    let all = all.message(5, &attribute("ss", 8).text(9, "a").text(9, "b"));
    let all = all.message(5, &attribute("ts", 9).message(10, &packed));
    let all = all.message(5, &attribute("sparse", 11).message(22, &sparse));
    let sequence = empty().message(4, &empty().message(1, &empty().message(1, &empty())));
    let all = all.message(5, &attribute("type", 13).message(14, &sequence));
    let all = all.message(5, &empty().text(1, "reference").text(21, "alpha"));
    let graph = [&raw, &packed, &texts, &floats, &external]
        .into_iter()
        .fold(empty().message(1, &all).message(1, &branch), |graph, tensor| {
            graph.message(5, tensor)
        });
    let graph = graph.message(15, &sparse).message(11, &port("x", &[-1, 2]));
    let graph = graph.message(11, &port("flag", &[])).message(12, &port("y", &[2]));
    let body = node("Elu", &["x"], &["y"]);
    let function = empty().text(1, "F").text(4, "x").text(5, "y").text(6, "alpha").text(10, "own");
    let function = function.message(7, &body).message(9, &empty().varint(2, 17));
    let function = function.message(11, &attribute("beta", 1).float(2, 1.0)).text(13, "o");
    model(&graph).message(25, &function).text(2, "a producer")
}
