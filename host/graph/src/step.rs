//! What a plan does, in order.

use crate::compile::ImageInst;
use crate::graph::ValueId;
use crate::op::{Arithmetic, NormalizeKind, Op};
use aimass_cpu::activation::{Finish, Unary};

/// One step of a plan.
#[derive(Debug)]
pub(crate) enum Step {
    /// One op on whole values.
    Op(OpStep),
    /// Several ops, row block by row block.
    Rows(RowSegment),
    /// An operation on images.
    Image(ImageStep),
}

/// An operation on images with its packed weights.
#[derive(Debug)]
pub(crate) struct ImageStep {
    pub(crate) inst: ImageInst,
    /// Matrix of the plan, for kinds that have one.
    pub(crate) matrix: Option<usize>,
}

/// One op on whole values.
#[derive(Debug)]
pub(crate) struct OpStep {
    pub(crate) op: Op,
    pub(crate) inputs: Vec<ValueId>,
    pub(crate) outputs: Vec<ValueId>,
}

/// Columns `start..start + own columns` of `base`, which has `columns`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ColumnView {
    pub(crate) base: ValueId,
    pub(crate) start: usize,
    pub(crate) columns: usize,
}

/// Most values that leave a segment.
pub(crate) const OUTS_MAX: usize = 4;
/// Most buffers of a segment, outputs included.
pub(crate) const BUFFERS_MAX: usize = 12;

/// A chain of ops of which each makes row `i` from row `i` of its inputs, in f32.
///
/// Buffers `0..outs.len()` are the outputs, the others are scratch of one block of rows.
#[derive(Debug)]
pub(crate) struct RowSegment {
    pub(crate) steps: Vec<RowStep>,
    /// Values that leave the segment.
    pub(crate) outs: Vec<ValueId>,
    /// Columns of every buffer.
    pub(crate) columns: Vec<usize>,
    /// Multiply-adds of one row.
    pub(crate) row_work: usize,
}

/// Where a row comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RowSource {
    /// A value made before the segment.
    Value(ValueId),
    /// A buffer of the segment.
    Buffer(usize),
}

/// The other side of an elementwise op.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Operand {
    /// A row a row.
    Rows(RowSource),
    /// One row for all rows, or one number.
    Whole(ValueId),
}

/// One op of a segment; `to` is a buffer. Where `from` is the same buffer it works in place.
#[derive(Debug)]
pub(crate) struct RowStep {
    pub(crate) kind: RowKind,
    pub(crate) from: RowSource,
    pub(crate) to: usize,
    /// Columns of `from`.
    pub(crate) columns: usize,
}

#[derive(Debug)]
pub(crate) enum RowKind {
    Linear {
        matrix: usize,
        bias: Option<ValueId>,
        finish: Finish,
        residual: Option<RowSource>,
    },
    Unary(Unary),
    Binary {
        op: Arithmetic,
        left: Operand,
        right: Operand,
    },
    LayerNorm {
        scale: ValueId,
        bias: Option<ValueId>,
        epsilon: f32,
    },
    Normalize {
        kind: NormalizeKind,
        scale: Option<ValueId>,
        epsilon: f32,
    },
    Softmax,
    /// Rows of `table` at `indices`; `from` is unused.
    Gather {
        table: ValueId,
        indices: ValueId,
    },
}

impl Step {
    /// Values that the step reads from outside of it.
    pub(crate) fn reads(&self) -> Vec<ValueId> {
        let segment = match self {
            Step::Op(step) => return step.inputs.clone(),
            Step::Image(step) => return step.inst.inputs(),
            Step::Rows(segment) => segment,
        };
        let mut reads = Vec::new();
        let row = |source: &RowSource, reads: &mut Vec<ValueId>| match source {
            RowSource::Value(value) => reads.push(*value),
            RowSource::Buffer(_) => {}
        };
        let operand = |operand: &Operand, reads: &mut Vec<ValueId>| match operand {
            Operand::Rows(source) => row(source, reads),
            Operand::Whole(value) => reads.push(*value),
        };
        for step in &segment.steps {
            row(&step.from, &mut reads);
            match &step.kind {
                RowKind::Linear { bias, residual, .. } => {
                    reads.extend(*bias);
                    residual.iter().for_each(|source| row(source, &mut reads));
                }
                RowKind::Binary { left, right, .. } => {
                    operand(left, &mut reads);
                    operand(right, &mut reads);
                }
                RowKind::LayerNorm { scale, bias, .. } => {
                    reads.push(*scale);
                    reads.extend(*bias);
                }
                RowKind::Normalize { scale, .. } => reads.extend(*scale),
                RowKind::Gather { table, indices } => reads.extend([*table, *indices]),
                RowKind::Unary(_) | RowKind::Softmax => {}
            }
        }
        reads
    }

    /// Values that the step makes.
    pub(crate) fn writes(&self) -> &[ValueId] {
        match self {
            Step::Op(step) => &step.outputs,
            Step::Rows(segment) => &segment.outs,
            Step::Image(step) => std::slice::from_ref(&step.inst.out),
        }
    }
}
