//! Operations and bytes of steps and their parts.

use super::{OpFamily, PartReport, ReadReport, labels};
use crate::compile::{ImageInst, ImageKind};
use crate::graph::ValueId;
use crate::op::Op;
use crate::plan::{CostNode, Plan, Sizes};
use crate::step::{OpStep, Operand, RowKind, RowSegment, RowSource, RowStep, Step};
use aimass_tensor::Shape;

/// Bytes of a value.
pub(super) fn bytes(plan: &Plan, sizes: &Sizes, value: ValueId) -> u64 {
    let elements = sizes.shapes[value.index()].elements();
    plan.dtypes[value.index()].bytes_for(elements).unwrap_or(0) as u64
}

/// Bytes of the values that a step reads; of a table only the rows that are selected.
pub(super) fn bytes_read(plan: &Plan, sizes: &Sizes, step: &Step, reads: &[ReadReport]) -> u64 {
    let whole = |value: ValueId| bytes(plan, sizes, value);
    let tables = selected(plan, sizes, step);
    let read = reads.iter().map(|read| {
        let value = ValueId(read.value);
        let selected = tables.iter().find(|(table, _)| *table == value).map(|(_, bytes)| *bytes);
        selected.map_or_else(|| whole(value), |selected| selected.min(whole(value)))
    });
    read.fold(0, u64::saturating_add)
}

/// Tables that a step selects from, and the bytes that it takes of each.
fn selected(plan: &Plan, sizes: &Sizes, step: &Step) -> Vec<(ValueId, u64)> {
    let of_op = |step: &OpStep| -> Option<(ValueId, u64)> {
        let (&table, &out) = (step.inputs.first()?, step.outputs.first()?);
        let gathers = matches!(
            step.op,
            Op::Gather(_) | Op::GatherElements(_) | Op::GatherNd(_) | Op::Slice(_)
        );
        if gathers {
            return Some((table, bytes(plan, sizes, out)));
        }
        let Op::EmbeddingBag(_) = step.op else { return None };
        let shape = &sizes.shapes[table.index()];
        let row = bytes(plan, sizes, table) / (shape.first().copied().unwrap_or(1).max(1) as u64);
        let indices = sizes.shapes[step.inputs.get(1)?.index()].elements() as u64;
        Some((table, row.saturating_mul(indices)))
    };
    match step {
        Step::Op(step) => of_op(step).into_iter().collect(),
        Step::Image(_) => Vec::new(),
        Step::Rows(segment) => {
            let rows = rows(sizes, segment);
            let tables = segment.steps.iter().filter_map(|step| match step.kind {
                RowKind::Gather { table, .. } => Some((table, floats(rows, step.columns))),
                RowKind::Linear { .. }
                | RowKind::Unary(_)
                | RowKind::Binary { .. }
                | RowKind::LayerNorm { .. }
                | RowKind::Normalize { .. }
                | RowKind::Softmax => None,
            });
            tables.collect()
        }
    }
}

/// Operations of a step.
pub(super) fn flops(plan: &Plan, sizes: &Sizes, step: &Step, parts: &[PartReport]) -> u64 {
    match step {
        Step::Op(step) => of_op(plan, sizes, step),
        Step::Image(step) => of_image(sizes, &step.inst),
        Step::Rows(_) => parts.iter().map(|part| part.flops).fold(0, u64::saturating_add),
    }
}

/// Operations of an op: those of the node as the guest wrote it, if there is one, since inputs that
/// were prepared are gone from the step.
fn of_op(plan: &Plan, sizes: &Sizes, step: &OpStep) -> u64 {
    let name = step.op.rule().name();
    let same = |node: &&CostNode| node.outputs == step.outputs && node.op.rule().name() == name;
    let shapes = |values: &[ValueId]| -> Vec<Shape> {
        values.iter().map(|value| sizes.shapes[value.index()]).collect()
    };
    match plan.costs.iter().find(same) {
        Some(node) => node.op.rule().flops(&shapes(&node.inputs), &shapes(&node.outputs)),
        None => step.op.rule().flops(&shapes(&step.inputs), &shapes(&step.outputs)),
    }
}

/// Operations of an operation on images, without its epilogue.
fn of_image(sizes: &Sizes, inst: &ImageInst) -> u64 {
    let elements = |value: ValueId| sizes.shapes[value.index()].elements() as u64;
    let taps = (inst.kernel[0] * inst.kernel[1]) as u64;
    let (made, each) = match inst.kind {
        ImageKind::Dense { channels, .. } => (elements(inst.out), 2 * channels as u64),
        ImageKind::Depthwise { .. } => (elements(inst.out), 2),
        ImageKind::Spread { filters, .. } => (elements(inst.x), 2 * filters as u64),
        ImageKind::Pool(_) => (elements(inst.out), 1),
    };
    made.saturating_mul(taps).saturating_mul(each)
}

/// The ops of a row segment; none of other steps.
pub(super) fn parts(plan: &Plan, sizes: &Sizes, step: &Step) -> Vec<PartReport> {
    let Step::Rows(segment) = step else { return Vec::new() };
    let rows = rows(sizes, segment);
    segment.steps.iter().map(|step| part(plan, sizes, (segment, rows), step)).collect()
}

fn part(
    plan: &Plan,
    sizes: &Sizes,
    (segment, rows): (&RowSegment, u64),
    step: &RowStep,
) -> PartReport {
    let columns = match &step.kind {
        RowKind::Linear { matrix, .. } => plan.matrices[*matrix].n(),
        RowKind::Unary(_)
        | RowKind::Binary { .. }
        | RowKind::LayerNorm { .. }
        | RowKind::Normalize { .. }
        | RowKind::Softmax
        | RowKind::Gather { .. } => step.columns,
    };
    let made = rows.saturating_mul(columns as u64);
    let each = match &step.kind {
        RowKind::Linear { .. } => 2 * step.columns as u64,
        RowKind::Unary(_) | RowKind::Binary { .. } => 1,
        RowKind::LayerNorm { .. } => 8,
        RowKind::Normalize { .. } => 4,
        RowKind::Softmax => 10,
        RowKind::Gather { .. } => 0,
    };
    let left = if step.to < segment.outs.len() { floats(rows, columns) } else { 0 };
    PartReport {
        label: labels::row(plan, &step.kind),
        family: OpFamily::of_row(&step.kind),
        rows,
        columns: columns as u64,
        flops: made.saturating_mul(each),
        bytes: left.saturating_add(part_bytes_read(plan, sizes, rows, step)),
    }
}

/// Bytes that one op of a segment reads from outside of it.
fn part_bytes_read(plan: &Plan, sizes: &Sizes, rows: u64, step: &RowStep) -> u64 {
    let whole = |value: &ValueId| bytes(plan, sizes, *value);
    let row = |source: &RowSource, columns: usize| match source {
        RowSource::Value(_) => floats(rows, columns),
        RowSource::Buffer(_) => 0,
    };
    let operand = |operand: &Operand| match operand {
        Operand::Rows(source) => row(source, step.columns),
        Operand::Whole(value) => whole(value),
    };
    let option = |value: &Option<ValueId>| value.as_ref().map_or(0, whole);
    match &step.kind {
        RowKind::Linear { matrix, bias, residual, .. } => {
            let matrix = &plan.matrices[*matrix];
            let residual = residual.as_ref().map_or(0, |source| row(source, matrix.n()));
            row(&step.from, step.columns) + option(bias) + residual + matrix.bytes() as u64
        }
        RowKind::Binary { left, right, .. } => operand(left) + operand(right),
        RowKind::LayerNorm { scale, bias, .. } => {
            row(&step.from, step.columns) + whole(scale) + option(bias)
        }
        RowKind::Normalize { scale, .. } => row(&step.from, step.columns) + option(scale),
        RowKind::Unary(_) | RowKind::Softmax => row(&step.from, step.columns),
        RowKind::Gather { indices, .. } => floats(rows, step.columns) + whole(indices),
    }
}

/// Rows of a segment.
fn rows(sizes: &Sizes, segment: &RowSegment) -> u64 {
    let (first, columns) = (segment.outs.first(), segment.columns.first());
    let elements = first.map_or(0, |out| sizes.shapes[out.index()].elements());
    (elements / columns.copied().unwrap_or(1).max(1)) as u64
}

/// Bytes of rows of f32.
fn floats(rows: u64, columns: usize) -> u64 {
    rows.saturating_mul((columns * size_of::<f32>()) as u64)
}
