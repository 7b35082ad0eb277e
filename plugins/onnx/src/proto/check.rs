//! What a model as a whole has to be, beyond its messages.

use super::message::{Model, ValueInfo};
use super::names::NameSet;
use aimass_sdk::{Error, Result};
use std::collections::HashMap;

/// Opsets of the default domain that the lowerings know; below 7, as far as operators are as they were
/// then.
const OPSETS: std::ops::RangeInclusive<i64> = 1..=28;
/// Inputs, and outputs, of a plan in the contract.
const PORTS_MAX: usize = 64;
/// Bytes of their names.
const NAME_BYTES_MAX: usize = 128;

/// Checks opsets, and names and number of inputs and outputs.
///
/// # Errors
/// `unsupported/onnx-opset` for an opset that is too old or too new, `limit/onnx-ports` for too many
/// inputs or outputs, `input/onnx-model` for what no model is.
pub(crate) fn check(model: &Model) -> Result<()> {
    if model.opsets.is_empty() {
        return Err(invalid("expected a model that names the opsets of its operators"));
    }
    opset(&model.opsets)?;
    for function in model.functions.values() {
        opset(&function.opsets)?;
    }
    let graph = &model.graph;
    // Files of IR version 3 list constants among the inputs.
    let constant = |info: &&ValueInfo| !graph.initializers.contains_key(&info.name);
    ports(model, "input", graph.inputs.iter().filter(constant))?;
    ports(model, "output", graph.outputs.iter())?;
    if graph.outputs.is_empty() {
        return Err(invalid("expected a model with an output"));
    }
    Ok(())
}

/// The version of the default domain's operators; the newest where only other domains are named.
///
/// # Errors
/// `unsupported/onnx-opset` beside those that the lowerings know.
pub(crate) fn opset(opsets: &HashMap<String, i64>) -> Result<i64> {
    let version = opsets.get("").copied().unwrap_or(*OPSETS.end());
    if OPSETS.contains(&version) {
        return Ok(version);
    }
    let (first, last) = (OPSETS.start(), OPSETS.end());
    let message = format!("expected operators of an opset from {first} to {last}, got {version}");
    Err(Error::unsupported("onnx-opset", message))
}

fn ports<'a>(model: &Model, what: &str, infos: impl Iterator<Item = &'a ValueInfo>) -> Result<()> {
    let mut seen = NameSet::default();
    for info in infos {
        let name = model.names.text(info.name);
        if name.is_empty() || name.len() > NAME_BYTES_MAX {
            let start: String = name.chars().take(64).collect();
            let message = format!(
                "{what} `{start}`: expected a name of 1 to {NAME_BYTES_MAX} bytes, got {}",
                name.len()
            );
            return Err(invalid(&message));
        }
        if !seen.insert(info.name) {
            return Err(invalid(&format!("two {what}s are named `{name}`")));
        }
    }
    if seen.len() > PORTS_MAX {
        let message = format!("expected at most {PORTS_MAX} {what}s, got {}", seen.len());
        return Err(Error::limit("onnx-ports", message));
    }
    Ok(())
}

fn invalid(message: &str) -> Error {
    Error::input("onnx-model", message)
}

#[cfg(test)]
mod tests {
    use crate::proto::fixture::{Message, empty, node, port};
    use crate::proto::{check, read};

    fn code_of(model: Message) -> String {
        let model = read("model.onnx", model.0).unwrap();
        check(&model).map_or_else(|error| error.code, |()| "fine".to_owned())
    }

    fn graph(inputs: &[&str], outputs: &[&str]) -> Message {
        let graph = empty().message(1, &node("Relu", &["x"], &["y"]));
        let graph = inputs.iter().fold(graph, |graph, name| graph.message(11, &port(name, &[2])));
        outputs.iter().fold(graph, |graph, name| graph.message(12, &port(name, &[2])))
    }

    fn model(graph: &Message, opset: u64) -> Message {
        let opset = empty().varint(2, opset);
        empty().varint(1, 8).message(7, graph).message(8, &opset)
    }

    #[test]
    fn opsets_up_to_28_are_known() {
        let graph = graph(&["x"], &["y"]);
        for (opset, code) in
            [(0, "onnx-opset"), (1, "fine"), (7, "fine"), (28, "fine"), (29, "onnx-opset")]
        {
            assert_eq!(code_of(model(&graph, opset)), code, "{opset}");
        }
        let unsaid = empty().varint(1, 8).message(7, &graph);
        assert_eq!(code_of(unsaid.clone()), "onnx-model");
        let other = unsaid.message(8, &empty().text(1, "ai.onnx.ml").varint(2, 3));
        assert_eq!(code_of(other.clone()), "fine", "the newest is meant");
        let function = empty().text(1, "F").message(9, &empty().varint(2, 99));
        assert_eq!(code_of(other.message(25, &function)), "onnx-opset");
    }

    #[test]
    fn inputs_and_outputs_have_names_of_their_own() {
        for (inputs, outputs, code) in [
            (&["x"][..], &["y"][..], "fine"),
            (&["x"], &["x"], "fine"),
            (&["x"], &[], "onnx-model"),
            (&["x", "x"], &["y"], "onnx-model"),
            (&["x"], &["y", "y"], "onnx-model"),
            (&["x"], &[""], "onnx-model"),
            (&[""], &["y"], "onnx-model"),
        ] {
            assert_eq!(code_of(model(&graph(inputs, outputs), 17)), code, "{inputs:?} {outputs:?}");
        }
        let long = "n".repeat(129);
        assert_eq!(code_of(model(&graph(&[&long], &["y"]), 17)), "onnx-model");
        let many: Vec<String> = (0..65).map(|index| format!("x{index}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert_eq!(code_of(model(&graph(&many, &["y"]), 17)), "onnx-ports");
        assert_eq!(code_of(model(&graph(&many[..64], &["y"]), 17)), "fine");
    }
}
