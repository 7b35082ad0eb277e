//! ONNX files that want more than they may; docs/security/hostile-models.md lists what each one meets.

use crate::proto::{
    Message, constant, empty, external, function, graph, inner, int, model, node, number, numbers,
    port,
};
use crate::refusals::REFUSALS;
use crate::{MIB, serve};

/// Bytes of a refusal: a file's own names must not make it long.
const MESSAGE_BYTES_MAX: usize = 2048;
/// Host memory that a refusal may take: a loop of 100,000 iterations is 106 MB of graph before it ends.
const HOST_BYTES_MAX: usize = 128 * MIB;

/// A hostile file by its name in [`REFUSALS`].
type Case = (&'static str, Message);

fn add(name: &str) -> Message {
    node("Add", &["x", name], &["y"])
}

fn with(constant: Message) -> Message {
    model(&graph(&[add("w")], &[constant]))
}

/// Files whose constants have lying extents.
fn extents() -> Vec<Case> {
    const MINUS_ONE: u64 = u64::MAX;
    let sparse = |dims: &[u64], index: i64| {
        let values = constant("w", 1, &[1], &1f32.to_le_bytes());
        let sparse = empty().message(1, &values).message(2, &numbers("at", &[index]));
        let sparse = dims.iter().fold(sparse, |sparse, &extent| sparse.varint(3, extent));
        model(&graph(&[add("w")], &[]).message(15, &sparse))
    };
    vec![
        ("2^40 elements", with(constant("w", 1, &[1 << 20, 1 << 20], &[]))),
        ("extents that overflow", with(constant("w", 1, &[1 << 40, 1 << 40], &[]))),
        ("bytes that overflow", with(constant("w", 11, &[1 << 62], &[]))),
        ("a negative extent", with(constant("w", 1, &[MINUS_ONE], &[]))),
        ("nine axes", with(constant("w", 1, &[1; 9], &[0; 4]))),
        ("fewer bytes than elements", with(constant("w", 1, &[4], &[0; 15]))),
        ("a sparse constant of 2^40 elements", sparse(&[1 << 40], 0)),
        ("a sparse constant that overflows", sparse(&[1 << 40, 1 << 40], 0)),
        ("a sparse index outside", sparse(&[4], 4)),
        ("a sparse index below 0", sparse(&[4], -1)),
    ]
}

/// Files of a few bytes whose nodes make much of nothing.
fn bombs() -> Vec<Case> {
    const HUGE: i64 = 1 << 40;
    let of = |nodes: &[Message], constants: &[Message]| model(&graph(nodes, constants));
    let shaped =
        |op: &str, shape: &[i64]| of(&[node(op, &["s"], &["w"]), add("w")], &[numbers("s", shape)]);
    let of_x = |op: &str, list: &[i64]| of(&[node(op, &["x", "s"], &["y"])], &[numbers("s", list)]);
    let range = |end: i64| {
        let numbers = [number("0", 0), number("end", end), number("1", 1)];
        let cast = int(node("Cast", &["r"], &["w"]), "to", 1);
        of(&[node("Range", &["0", "end", "1"], &["r"]), cast, add("w")], &numbers)
    };
    let hot = node("OneHot", &["at", "depth", "values"], &["w"]);
    let values = constant("values", 1, &[2], &[0; 8]);
    let hot = of(&[hot, add("w")], &[numbers("at", &[1]), number("depth", HUGE), values]);
    let scales = constant("s", 1, &[1], &1e30f32.to_le_bytes());
    let resize = of(&[node("Resize", &["x", "", "s"], &["y"])], &[scales]);
    // Every node doubles what the one before it made.
    let names: Vec<String> = (0..=40).map(|index| format!("v{index}")).collect();
    let doubling = (0..40).map(|i| node("Concat", &[&names[i], &names[i]], &[&names[i + 1]]));
    let doubling: Vec<Message> = std::iter::once(node("Identity", &["x"], &["v0"]))
        .chain(doubling.map(|node| int(node, "axis", 0)))
        .chain([node("Identity", &["v40"], &["y"])])
        .collect();
    vec![
        ("ConstantOfShape of 2^40", shaped("ConstantOfShape", &[HUGE])),
        ("ConstantOfShape that overflows", shaped("ConstantOfShape", &[HUGE, HUGE])),
        ("ConstantOfShape below 0", shaped("ConstantOfShape", &[-1])),
        ("Expand to 2^42", of_x("Expand", &[HUGE, 4])),
        ("Expand that overflows", of_x("Expand", &[HUGE, HUGE, 4])),
        ("Tile 2^40 times", of_x("Tile", &[HUGE])),
        ("Tile i64::MAX times", of_x("Tile", &[i64::MAX])),
        ("Pad by 2^40", of_x("Pad", &[0, HUGE])),
        ("Pad by i64::MAX twice", of_x("Pad", &[i64::MAX, i64::MAX])),
        ("Range of 2^40", range(HUGE)),
        ("Range of i64::MAX", range(i64::MAX)),
        ("OneHot of 2^40", hot),
        ("Resize by 1e30", resize),
        ("forty doublings", of(&doubling, &[])),
    ]
}

/// Files whose nodes do not fit together.
fn wiring() -> Vec<Case> {
    let of = |nodes: &[Message]| model(&graph(nodes, &[]));
    let cycle = [node("Add", &["x", "b"], &["a"]), node("Neg", &["a"], &["b"])];
    let itself = [node("Add", &["x", "y"], &["y"])];
    let twice = [node("Neg", &["x"], &["y"]), node("Abs", &["x"], &["y"])];
    let caught = graph(&[node("Neg", &["late"], &["t"])], &[]).message(12, &port("t", 1, &[4]));
    let yes = constant("yes", 9, &[], &[1]);
    let branch = node("If", &["yes"], &["y", "z"]);
    let branch = inner(inner(branch, "then_branch", &caught), "else_branch", &caught);
    let late = node("Neg", &["x"], &["late"]);
    vec![
        ("a cycle", of(&cycle)),
        ("a node that reads itself", of(&itself)),
        ("a value that nobody makes", of(&[add("nobody")])),
        ("an output that nobody makes", of(&[node("Neg", &["x"], &["z"])])),
        ("a value made twice", of(&twice)),
        ("a branch that reads ahead", model(&graph(&[branch, late], &[yes]))),
        ("no graph", empty().varint(1, 8)),
        ("an unknown operator", of(&[node("Evil", &["x"], &["y"])])),
    ]
}

/// Constants that lie in other files, or say so; the package has `weights.bin` of 256 bytes.
fn outside() -> Vec<Case> {
    let of = |entries: &[(&str, &str)]| with(external("w", &[4], entries));
    let at = |offset: &str| of(&[("location", "weights.bin"), ("offset", offset)]);
    let named = |location: &str| of(&[("location", location)]);
    let huge = external("w", &[1 << 40], &[("location", "weights.bin")]);
    vec![
        ("an offset past the end", at("256")),
        ("an end past the end", at("241")),
        ("an offset that overflows", at("18446744073709551615")),
        ("an offset beyond 64 bits", at("18446744073709551616")),
        ("an offset below 0", at("-16")),
        ("2^40 elements outside", with(huge)),
        ("another length", of(&[("location", "weights.bin"), ("length", "17")])),
        ("no location", of(&[])),
        ("a folder above", named("../weights.bin")),
        ("a folder above, further in", named("a/../../weights.bin")),
        ("an absolute path", named("/weights.bin")),
        ("a drive", named("C:\\weights.bin")),
        ("a backslash", named("..\\weights.bin")),
        ("a zero byte", named("weights.bin\0.txt")),
        ("a file of the host", named("/etc/passwd")),
        ("a file that is not there", named("other.bin")),
    ]
}

/// Files that are deep, long or without end.
fn depth() -> Vec<Case> {
    let of = |nodes: &[Message]| model(&graph(nodes, &[]));
    let nested = |depth: usize| {
        let yes = constant("yes", 9, &[], &[1]);
        let leaf = node("Neg", &["x"], &["t"]);
        let body = (0..depth).fold(leaf, |deepest, _| {
            let body = empty().message(1, &deepest).message(12, &port("t", 1, &[4]));
            inner(
                inner(node("If", &["yes"], &["t"]), "then_branch", &body),
                "else_branch",
                &empty(),
            )
        });
        model(&graph(&[body, node("Identity", &["t"], &["y"])], &[yes]))
    };
    let call = |name: &str, a: &str, b: &str| node(name, &[a], &[b]).text(7, "own");
    let itself = of(&[call("F", "x", "y")]).message(25, &function("F", &[call("F", "a", "b")]));
    let pair = of(&[call("F", "x", "y")])
        .message(25, &function("F", &[call("G", "a", "b")]))
        .message(25, &function("G", &[call("F", "a", "b")]));
    // Each function calls the one before it twice.
    let names: Vec<String> = (0..=24).map(|index| format!("F{index}")).collect();
    let first = of(&[call("F24", "x", "y")])
        .message(25, &function("F0", &[node("Identity", &["a"], &["b"])]));
    let doubling = (0..24).fold(first, |file, i| {
        let twice = [call(&names[i], "a", "c"), call(&names[i], "c", "b")];
        file.message(25, &function(&names[i + 1], &twice))
    });
    let iterations = |count: i64| {
        let body = empty()
            .message(1, &node("Identity", &["go"], &["more"]))
            .message(1, &node("Neg", &["v"], &["w"]))
            .message(11, &port("i", 7, &[]))
            .message(11, &port("go", 9, &[]))
            .message(11, &port("v", 1, &[4]))
            .message(12, &port("more", 9, &[]))
            .message(12, &port("w", 1, &[4]));
        let all = inner(node("Loop", &["count", "", "x"], &["y"]), "body", &body);
        model(&graph(&[all], &[number("count", count)]))
    };
    let many = |count: usize| {
        let nodes = vec![node("Identity", &["x"], &[""]); count];
        of(&[&[node("Neg", &["x"], &["y"])], &nodes[..]].concat())
    };
    vec![
        ("graphs 40 deep", nested(40)),
        ("a function that calls itself", itself),
        ("functions that call each other", pair),
        ("functions that double 24 times", doubling),
        ("a loop of 100,001", iterations(100_001)),
        ("a million nodes", many(1_000_000)),
    ]
}

/// Names and lists that are too long, and bytes that are no message.
fn lengths() -> Vec<Case> {
    let long = "n".repeat(2 << 20);
    let kilobyte = "é".repeat(500_000);
    let named =
        |op: &str, name: &str| model(&graph(&[node(op, &["x"], &["y"]).text(3, name)], &[]));
    let input = |name: &str| {
        let graph = empty().message(1, &node("Neg", &[name], &["y"]));
        model(&graph.message(11, &port(name, 1, &[4])).message(12, &port("y", 1, &[4])))
    };
    let domain = node("Neg", &["x"], &["y"]).text(7, &kilobyte);
    let ports = (0..65).fold(graph(&[node("Neg", &["x"], &["y"])], &[]), |graph, index| {
        graph.message(11, &port(&format!("x{index}"), 1, &[4]))
    });
    // A field of 2^60 bytes in a file of a few.
    let lies = Message(vec![7 << 3 | 2, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x10]);
    let opset = empty().varint(1, 8).message(7, &graph(&[node("Neg", &["x"], &["y"])], &[]));
    vec![
        ("a node's name of 2 MiB", named("Neg", &long)),
        ("a failing node's name of 1 MB", named("Evil", &kilobyte)),
        ("an operator's name of 1 MB", named(&kilobyte, "n")),
        ("a domain of 1 MB", model(&graph(&[domain], &[]))),
        ("a missing value's name of 1 MB", model(&graph(&[add(&kilobyte)], &[]))),
        ("a constant's name of 1 MB", with(constant(&kilobyte, 1, &[4], &[]))),
        ("an input's name of 129 bytes", input(&"n".repeat(129))),
        ("66 inputs", model(&ports)),
        ("a field of 2^60 bytes", lies),
        ("an opset of 2^40", opset.message(8, &empty().varint(2, 1 << 40))),
        ("nothing", empty()),
    ]
}

fn check(cases: Vec<Case>) {
    let package = |(_, file): &Case| {
        vec![("model.onnx".to_owned(), file.0.clone()), ("weights.bin".to_owned(), vec![0; 256])]
    };
    let packages = cases.iter().map(package).collect();
    let Some(served) = serve("onnx", packages) else { return };
    for ((name, _), (outcome, bytes)) in cases.into_iter().zip(served) {
        let Err(error) = outcome else { panic!("{name}: served") };
        let row = REFUSALS.iter().find(|row| row.0 == name);
        let (_, code, says) = row.unwrap_or_else(|| panic!("{name}: no row in REFUSALS"));
        let start: String = error.message.chars().take(300).collect();
        assert_eq!(error.code, *code, "{name}: {start}");
        assert!(error.message.contains(says), "{name}: expected `{says}` in: {start}");
        assert!(error.message.len() <= MESSAGE_BYTES_MAX, "{name}: {} bytes", error.message.len());
        assert!(bytes < HOST_BYTES_MAX, "{name}: the host held {bytes} bytes");
    }
}

#[test]
fn extents_that_lie_are_refused() {
    check(extents());
}

#[test]
fn few_bytes_do_not_become_many() {
    check(bombs());
}

#[test]
fn nodes_that_do_not_fit_together_are_refused() {
    check(wiring());
}

#[test]
fn constants_stay_inside_their_package() {
    check(outside());
}

#[test]
fn depth_and_repetition_have_an_end() {
    check(depth());
}

#[test]
fn names_and_lists_have_an_end() {
    check(lengths());
}
