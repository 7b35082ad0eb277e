use super::*;
use crate::proto::{ElementType, Names, Payload, TensorProto};
use std::cell::RefCell;

/// A graph of nodes `output = op(inputs)`, with constants by name, and its names.
fn graph(nodes: &[(&str, &str, &[&str])], constants: &[(&str, &[u64], &[f32])]) -> (Graph, Names) {
    let names = RefCell::new(Names::default());
    let name = |text: &str| names.borrow_mut().intern(text).0;
    let node = |(output, op, inputs): &(&str, &str, &[&str])| {
        Rc::new(Node {
            op: (*op).to_owned(),
            inputs: inputs.iter().map(|input| name(input)).collect(),
            outputs: vec![name(output)],
            attributes: attributes(op),
            ..Node::default()
        })
    };
    let constant = |(text, dims, numbers): &(&str, &[u64], &[f32])| {
        let tensor = TensorProto {
            name: (*text).to_owned(),
            element: ElementType(1),
            dims: dims.to_vec(),
            payload: Payload::Floats(numbers.to_vec()),
        };
        (name(text), Rc::new(tensor))
    };
    let last = name(nodes.last().unwrap().0);
    let graph = Graph {
        nodes: nodes.iter().map(node).collect(),
        initializers: constants.iter().map(constant).collect(),
        outputs: vec![ValueInfo { name: last, ty: ValueType::Unknown }],
        ..Graph::default()
    };
    (graph, names.into_inner())
}

/// The texts of a node's inputs.
fn inputs_of(node: &Node, names: &Names) -> String {
    let texts: Vec<&str> = node.inputs.iter().map(|&input| names.text(input)).collect();
    texts.join(",")
}

fn attributes(op: &str) -> HashMap<String, Attribute> {
    let (name, value) = match op {
        "ReduceMean" => ("axes", AttributeValue::Ints(vec![-1])),
        "Softmax" => ("axis", AttributeValue::Int(-1)),
        "HardSigmoid" => ("alpha", AttributeValue::Float(1.0 / 6.0)),
        _ => return HashMap::new(),
    };
    HashMap::from([(name.to_owned(), Attribute { value, reference: None })])
}

/// What the nodes become, as `op(inputs)`.
fn recognized(
    nodes: &[(&str, &str, &[&str])],
    constants: &[(&str, &[u64], &[f32])],
) -> Vec<String> {
    let (graph, names) = graph(nodes, constants);
    let shown = |node: &Rc<Node>| format!("{}({})", node.op, inputs_of(node, &names));
    recognize(graph).nodes.iter().map(shown).collect()
}

const NUMBERS: &[(&str, &[u64], &[f32])] = &[
    ("half", &[], &[0.5]),
    ("one", &[], &[1.0]),
    ("two", &[1], &[2.0]),
    ("three", &[], &[3.0]),
    ("six", &[], &[6.0]),
    ("zero", &[], &[0.0]),
    ("eps", &[], &[1e-5]),
    ("root2", &[], &[std::f32::consts::SQRT_2]),
    ("cubic", &[], &[0.044715]),
    ("root_2_pi", &[], &[0.797_884_6]),
    ("minus", &[], &[-1e9]),
    ("scale", &[3], &[1.0, 2.0, 3.0]),
    ("bias", &[3], &[1.0, 2.0, 3.0]),
];

#[test]
fn both_forms_of_gelu_are_found_in_any_order() {
    let erf: &[(&str, &str, &[&str])] = &[
        ("a", "Div", &["x", "root2"]),
        ("b", "Erf", &["a"]),
        ("c", "Add", &["b", "one"]),
        ("d", "Mul", &["x", "c"]),
        ("y", "Mul", &["d", "half"]),
    ];
    assert_eq!(recognized(erf, NUMBERS), ["Gelu(x)"]);
    let halved_first: &[(&str, &str, &[&str])] = &[
        ("h", "Mul", &["half", "x"]),
        ("a", "Div", &["x", "root2"]),
        ("b", "Erf", &["a"]),
        ("c", "Add", &["one", "b"]),
        ("y", "Mul", &["h", "c"]),
    ];
    assert_eq!(recognized(halved_first, NUMBERS), ["Gelu(x)"]);
    let tanh: &[(&str, &str, &[&str])] = &[
        ("h", "Mul", &["half", "x"]),
        ("p", "Pow", &["x", "three"]),
        ("q", "Mul", &["cubic", "p"]),
        ("s", "Add", &["x", "q"]),
        ("t", "Mul", &["root_2_pi", "s"]),
        ("u", "Tanh", &["t"]),
        ("v", "Add", &["one", "u"]),
        ("y", "Mul", &["h", "v"]),
    ];
    assert_eq!(recognized(tanh, NUMBERS), ["Gelu(x)"]);
}

#[test]
fn a_value_that_others_read_keeps_its_nodes() {
    let read: &[(&str, &str, &[&str])] = &[
        ("a", "Div", &["x", "root2"]),
        ("b", "Erf", &["a"]),
        ("c", "Add", &["b", "one"]),
        ("d", "Mul", &["x", "c"]),
        ("e", "Mul", &["d", "half"]),
        ("y", "Add", &["e", "b"]),
    ];
    assert_eq!(recognized(read, NUMBERS).len(), 6);
}

#[test]
fn gates_are_found() {
    let clipped: &[(&str, &str, &[&str])] = &[
        ("a", "Add", &["x", "three"]),
        ("b", "Clip", &["a", "zero", "six"]),
        ("c", "Mul", &["x", "b"]),
        ("y", "Div", &["c", "six"]),
    ];
    assert_eq!(recognized(clipped, NUMBERS), ["HardSwish(x)"]);
    let sigmoid: &[(&str, &str, &[&str])] =
        &[("a", "HardSigmoid", &["x"]), ("y", "Mul", &["a", "x"])];
    assert_eq!(recognized(sigmoid, NUMBERS), ["HardSwish(x)"]);
    let swish: &[(&str, &str, &[&str])] =
        &[("a", "Mul", &["x", "one"]), ("b", "Sigmoid", &["a"]), ("y", "Mul", &["x", "b"])];
    assert_eq!(recognized(swish, NUMBERS), ["Swish(x)"]);
}

#[test]
fn norms_are_found_with_their_vectors() {
    let layer: &[(&str, &str, &[&str])] = &[
        ("m", "ReduceMean", &["x"]),
        ("c", "Sub", &["x", "m"]),
        ("p", "Pow", &["c", "two"]),
        ("v", "ReduceMean", &["p"]),
        ("w", "Add", &["v", "eps"]),
        ("s", "Sqrt", &["w"]),
        ("n", "Div", &["c", "s"]),
        ("k", "Mul", &["n", "scale"]),
        ("y", "Add", &["k", "bias"]),
    ];
    assert_eq!(recognized(layer, NUMBERS), ["LayerNorm(x,scale,bias)"]);
    assert_eq!(recognized(&layer[..7], NUMBERS), ["LayerNorm(x)"]);
    let rms: &[(&str, &str, &[&str])] = &[
        ("p", "Mul", &["x", "x"]),
        ("v", "ReduceMean", &["p"]),
        ("w", "Add", &["v", "eps"]),
        ("s", "Sqrt", &["w"]),
        ("i", "Div", &["one", "s"]),
        ("n", "Mul", &["x", "i"]),
        ("y", "Mul", &["scale", "n"]),
    ];
    assert_eq!(recognized(rms, NUMBERS), ["RmsNorm(x,scale)"]);
}

#[test]
fn attention_takes_scales_and_masks_with_it() {
    let plain: &[(&str, &str, &[&str])] = &[
        ("a", "MatMul", &["q", "k"]),
        ("b", "Div", &["a", "two"]),
        ("c", "Add", &["b", "mask"]),
        ("p", "Softmax", &["c"]),
        ("y", "MatMul", &["p", "v"]),
    ];
    let (graph, names) = graph(plain, NUMBERS);
    let graph = recognize(graph);
    let node = &graph.nodes[0];
    assert_eq!((graph.nodes.len(), node.op.as_str()), (1, "ScaledDotProduct"));
    assert_eq!(inputs_of(node, &names), "q,k,v,mask");
    let scale = &node.attributes["scale"].value;
    assert!(matches!(scale, AttributeValue::Float(scale) if *scale == 0.5));
    let guarded: &[(&str, &str, &[&str])] = &[
        ("a", "Mul", &["q", "half"]),
        ("b", "Mul", &["k", "half"]),
        ("c", "MatMul", &["a", "b"]),
        ("d", "Where", &["seen", "c", "minus"]),
        ("p", "Softmax", &["d"]),
        ("n", "IsNaN", &["p"]),
        ("w", "Where", &["n", "zero", "p"]),
        ("y", "MatMul", &["w", "v"]),
    ];
    assert_eq!(recognized(guarded, NUMBERS), ["ScaledDotProduct(q,k,v,seen)"]);
}

#[test]
fn long_chains_of_additions_are_given_up_quickly() {
    let names: Vec<String> = (0..64).map(|index| format!("v{index}")).collect();
    let pairs: Vec<[&str; 2]> = names.iter().map(|name| [name.as_str(); 2]).collect();
    let mut nodes: Vec<(&str, &str, &[&str])> = Vec::new();
    for (pair, name) in pairs.iter().zip(&names[1..]) {
        nodes.push((name, "Add", pair));
    }
    nodes.push(("p", "Softmax", &pairs[63][..1]));
    nodes.push(("y", "MatMul", &["p", "v"]));
    assert_eq!(recognized(&nodes, NUMBERS).len(), nodes.len());
}
