//! The proof that a plan may join calls: every row depends on itself only.

use crate::dim::DimRule;
use crate::graph::{Graph, Node, Origin, Value, ValueId};
use crate::op::{Op, SubGraph};
use crate::{Coalescing, Dim};
use std::sync::Arc;

/// What the rows of a graph allow, or what stands in the way. `live` marks the nodes that count.
///
/// Shape rules refuse to mix rows while a graph is built. What is left to prove is that nothing
/// without rows depends on an input: such a value would carry content from one call to another.
pub(crate) fn coalescing(graph: &Graph, live: &[bool]) -> Coalescing {
    let proof = || {
        let rows = rows(graph)?;
        follow(graph, live)?;
        counts_no_sequences(graph)?;
        Ok(rows)
    };
    match proof() {
        Ok(None) => Coalescing::Batch,
        Ok(Some(offsets)) => Coalescing::Ragged { offsets },
        Err(blocked_by) => Coalescing::Alone { blocked_by },
    }
}

/// The ragged dimension of the inputs, if there is one.
fn rows(graph: &Graph) -> Result<Option<Arc<str>>, String> {
    if let Some(state) = graph.states.first() {
        return Err(format!("state {:?}", state.name));
    }
    let mut ragged: Option<Arc<str>> = None;
    let mut any = false;
    for value in graph.values.iter().filter(|value| matches!(value.origin, Origin::Input(_))) {
        let Origin::Input(index) = value.origin else { continue };
        let name = &graph.signature.inputs[index].name;
        any = true;
        let own = match (&value.spec.offsets, value.spec.dims.first()) {
            (Some(own), _) | (None, Some(Dim::Ragged(own))) => own,
            (None, Some(Dim::Batch)) => continue,
            (None, _) => return Err(format!("input {name:?} without a batch dimension")),
        };
        match &ragged {
            Some(other) if other != own => return Err(format!("second ragged dimension {own:?}")),
            Some(_) | None => ragged = Some(own.clone()),
        }
    }
    if any { Ok(ragged) } else { Err("no input".to_owned()) }
}

/// Requires that nothing but the offsets themselves has the extent of offsets, `sequences + 1`, and that
/// no other extent follows from it: it would tell a call how many others are in the batch.
fn counts_no_sequences(graph: &Graph) -> Result<(), String> {
    let counts: Vec<Dim> = graph
        .values
        .iter()
        .filter_map(|value| value.spec.offsets.as_ref())
        .map(|name| Dim::Dynamic(format!("{name}+1").into()))
        .collect();
    let blocked = |dim: &Dim| format!("extent {dim}, the number of sequences and one");
    let counted = |dims: &[Dim]| dims.iter().find(|dim| counts.contains(dim)).map(blocked);
    let of_values = graph.values.iter().filter(|value| value.spec.offsets.is_none());
    let mut of_values = of_values.filter_map(|value| counted(&value.spec.dims));
    let rules = graph.dims.derived.iter().map(DimRule::operands);
    let checks = graph.dims.checks.iter().map(|check| vec![&check.left, &check.right]);
    let mut others = rules.chain(checks).flatten().filter(|dim| counts.contains(dim)).map(blocked);
    of_values.next().or_else(|| others.next()).map_or(Ok(()), Err)
}

/// Follows what depends on inputs through the live nodes.
fn follow(graph: &Graph, live: &[bool]) -> Result<(), String> {
    let inputs = vec![true; graph.signature.inputs.len()];
    depending(graph, live, &inputs)?;
    for (value, spec) in graph.outputs.iter().zip(&graph.signature.outputs) {
        if !has_rows(graph, *value) {
            return Err(format!("output {:?} without a batch dimension", spec.name));
        }
    }
    Ok(())
}

/// Which values depend on those inputs that are marked; each of them has rows.
fn depending(graph: &Graph, live: &[bool], inputs: &[bool]) -> Result<Vec<bool>, String> {
    let marked = |value: &Value| match value.origin {
        Origin::Input(index) => inputs[index],
        Origin::Weight(_) | Origin::Constant(_) | Origin::State(_) | Origin::Node(_) => false,
    };
    let mut depends: Vec<bool> = graph.values.iter().map(marked).collect();
    for (index, node) in graph.nodes.iter().enumerate().filter(|(index, _)| live[*index]) {
        let name = node.op.rule().name();
        let blocked = || format!("op {name:?} (node {index})");
        if reads_offsets(graph, node) {
            return Err(blocked());
        }
        // Extents other than rows are equal in all calls that are joined.
        let extents_only = matches!(node.op, Op::ShapeOf(_));
        if extents_only || !node.inputs.iter().any(|input| depends[input.index()]) {
            continue;
        }
        for output in &node.outputs {
            depends[output.index()] = true;
            if !has_rows(graph, *output) {
                return Err(blocked());
            }
        }
        let given: Vec<bool> = node.inputs.iter().map(|input| depends[input.index()]).collect();
        if !regions_keep_rows(graph, node, &given) {
            return Err(blocked());
        }
    }
    Ok(depends)
}

/// Whether regions of a node keep rows apart, of whose inputs some depend on those of the plan.
fn regions_keep_rows(graph: &Graph, node: &Node, given: &[bool]) -> bool {
    let keeps = |region: &SubGraph, given: &[bool]| {
        let live = vec![true; region.graph.nodes.len()];
        depending(&region.graph, &live, given).ok()
    };
    let outputs = |region: &SubGraph, given: &[bool]| -> Option<Vec<bool>> {
        let depends = keeps(region, given)?;
        Some(region.graph.outputs.iter().map(|output| depends[output.index()]).collect())
    };
    if let Op::IfElse(op) = &node.op {
        let (left, right) = op.split(given);
        return !given[0]
            && keeps(&op.then, left).is_some()
            && keeps(&op.otherwise, right).is_some();
    }
    if let Op::While(op) = &node.op {
        // The number of iterations follows from no input, and what follows from none stays so.
        let [condition, body] = op.arguments(given);
        return outputs(&op.condition, &condition).is_some_and(|holds| holds == [false])
            && outputs(&op.body, &body).is_some_and(|next| follows(&next, given));
    }
    if let Op::Scan(op) = &node.op {
        let over_rows = node.inputs.get(op.carried).is_some_and(|&x| has_rows(graph, x));
        let body = op.arguments(given, |given| *given);
        let carried = |next: Vec<bool>| follows(&next[..op.carried.min(next.len())], given);
        return over_rows || outputs(&op.body, &body).is_some_and(carried);
    }
    true
}

/// Whether what is carried on depends on no more than what came.
fn follows(next: &[bool], given: &[bool]) -> bool {
    next.iter().zip(given).all(|(next, given)| !next || *given)
}

fn has_rows(graph: &Graph, value: ValueId) -> bool {
    graph.spec(value).dims.first().is_some_and(Dim::is_rows)
}

/// Whether a node uses offsets otherwise than as the offsets of its rows.
fn reads_offsets(graph: &Graph, node: &Node) -> bool {
    let allowed = match node.op {
        Op::Positions(_) => 0,
        Op::RaggedPool(_) => 1,
        Op::EmbeddingBag(_) => 2,
        Op::RaggedAttention(_) => 3,
        Op::ArgExtreme(_)
        | Op::Attention(_)
        | Op::BatchNorm(_)
        | Op::Binary(_)
        | Op::Bitcast(_)
        | Op::Broadcast(_)
        | Op::Cast(_)
        | Op::Clamp(_)
        | Op::Concat(_)
        | Op::Conv(_)
        | Op::ConvTranspose(_)
        | Op::Cumulative(_)
        | Op::Dequantize(_)
        | Op::DotGeneral(_)
        | Op::DynamicLinear(_)
        | Op::DynamicSlice(_)
        | Op::Fft(_)
        | Op::Gather(_)
        | Op::GroupNorm(_)
        | Op::GatherElements(_)
        | Op::GatherNd(_)
        | Op::IfElse(_)
        | Op::Iota(_)
        | Op::LayerNorm(_)
        | Op::Linear(_)
        | Op::MatMul(_)
        | Op::MatMulInteger(_)
        | Op::NonMaxSuppression(_)
        | Op::NonZero(_)
        | Op::Normalize(_)
        | Op::OneHot(_)
        | Op::Pad(_)
        | Op::Pool(_)
        | Op::Quantize(_)
        | Op::QuantizedLinear(_)
        | Op::RandomBits(_)
        | Op::Recurrent(_)
        | Op::Reduce(_)
        | Op::Resample(_)
        | Op::Reshape(_)
        | Op::Resize(_)
        | Op::Reverse(_)
        | Op::Rope(_)
        | Op::Scan(_)
        | Op::ScatterElements(_)
        | Op::ScatterNd(_)
        | Op::Select(_)
        | Op::ShapeOf(_)
        | Op::Slice(_)
        | Op::Softmax(_)
        | Op::Split(_)
        | Op::Tile(_)
        | Op::TopK(_)
        | Op::Transpose(_)
        | Op::Unary(_)
        | Op::While(_) => usize::MAX,
    };
    let is_offsets = |value: &ValueId| graph.spec(*value).offsets.is_some();
    node.inputs.iter().enumerate().any(|(index, value)| index != allowed && is_offsets(value))
}
