//! Steps in words, and the families that pictures color them by.

use super::PartReport;
use crate::Coalescing;
use crate::compile::{ImageInst, ImageKind};
use crate::op::{NormalizeKind, Op};
use crate::packing::Matrix;
use crate::plan::Plan;
use crate::step::{RowKind, Step};
use aimass_cpu::conv::ImagePool;
use aimass_cpu::matmul::{Activation, Finish};
use std::fmt::Write;

/// Kinds of work that a step does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OpFamily {
    /// Matrix products: linear layers, products of two values, contractions.
    Product,
    /// Convolutions of any kind.
    Convolution,
    /// Attention over sequences.
    Attention,
    /// Recurrent layers.
    Recurrent,
    /// Means, sums, maxima, pooling, sorting.
    Reduction,
    /// Layer and group normalization, softmax.
    Normalization,
    /// Number by number.
    Elementwise,
    /// Copies, selections, new layouts, new dtypes.
    Movement,
    /// Branches and loops, with all that runs in them.
    Control,
}

impl OpFamily {
    /// Every family.
    pub const ALL: [OpFamily; 9] = [
        OpFamily::Product,
        OpFamily::Convolution,
        OpFamily::Attention,
        OpFamily::Recurrent,
        OpFamily::Reduction,
        OpFamily::Normalization,
        OpFamily::Elementwise,
        OpFamily::Movement,
        OpFamily::Control,
    ];

    /// Lower-case name.
    pub fn name(self) -> &'static str {
        match self {
            OpFamily::Product => "product",
            OpFamily::Convolution => "convolution",
            OpFamily::Attention => "attention",
            OpFamily::Recurrent => "recurrent",
            OpFamily::Reduction => "reduction",
            OpFamily::Normalization => "normalization",
            OpFamily::Elementwise => "elementwise",
            OpFamily::Movement => "movement",
            OpFamily::Control => "control",
        }
    }

    fn of(op: &Op) -> OpFamily {
        match op {
            Op::DotGeneral(_)
            | Op::DynamicLinear(_)
            | Op::Linear(_)
            | Op::MatMul(_)
            | Op::MatMulInteger(_)
            | Op::QuantizedLinear(_) => OpFamily::Product,
            Op::Conv(_) | Op::ConvTranspose(_) => OpFamily::Convolution,
            Op::Attention(_) | Op::RaggedAttention(_) => OpFamily::Attention,
            Op::Recurrent(_) => OpFamily::Recurrent,
            Op::ArgExtreme(_)
            | Op::Cumulative(_)
            | Op::EmbeddingBag(_)
            | Op::Fft(_)
            | Op::NonMaxSuppression(_)
            | Op::NonZero(_)
            | Op::Pool(_)
            | Op::RaggedPool(_)
            | Op::Reduce(_)
            | Op::TopK(_) => OpFamily::Reduction,
            Op::BatchNorm(_)
            | Op::GroupNorm(_)
            | Op::LayerNorm(_)
            | Op::Normalize(_)
            | Op::Softmax(_) => OpFamily::Normalization,
            Op::Binary(_)
            | Op::Clamp(_)
            | Op::Dequantize(_)
            | Op::Iota(_)
            | Op::Positions(_)
            | Op::Quantize(_)
            | Op::RandomBits(_)
            | Op::Rope(_)
            | Op::Select(_)
            | Op::Unary(_) => OpFamily::Elementwise,
            Op::Bitcast(_)
            | Op::Broadcast(_)
            | Op::Cast(_)
            | Op::Concat(_)
            | Op::DynamicSlice(_)
            | Op::Gather(_)
            | Op::GatherElements(_)
            | Op::GatherNd(_)
            | Op::OneHot(_)
            | Op::Pad(_)
            | Op::Resample(_)
            | Op::Reshape(_)
            | Op::Resize(_)
            | Op::Reverse(_)
            | Op::ScatterElements(_)
            | Op::ScatterNd(_)
            | Op::ShapeOf(_)
            | Op::Slice(_)
            | Op::Split(_)
            | Op::Tile(_)
            | Op::Transpose(_) => OpFamily::Movement,
            Op::IfElse(_) | Op::Scan(_) | Op::While(_) => OpFamily::Control,
        }
    }

    /// The family of an op of a row segment.
    pub(super) fn of_row(kind: &RowKind) -> OpFamily {
        match kind {
            RowKind::Linear { .. } => OpFamily::Product,
            RowKind::Unary(_) | RowKind::Binary { .. } => OpFamily::Elementwise,
            RowKind::LayerNorm { .. } | RowKind::Normalize { .. } | RowKind::Softmax => {
                OpFamily::Normalization
            }
            RowKind::Gather { .. } => OpFamily::Movement,
        }
    }
}

/// The family of a step; of a fusion that of its most costly part.
pub(super) fn family(step: &Step, parts: &[PartReport]) -> OpFamily {
    match step {
        Step::Op(step) => OpFamily::of(&step.op),
        Step::Image(step) => match step.inst.kind {
            ImageKind::Dense { .. } | ImageKind::Depthwise { .. } | ImageKind::Spread { .. } => {
                OpFamily::Convolution
            }
            ImageKind::Pool(_) => OpFamily::Reduction,
        },
        Step::Rows(_) => {
            let most = parts.iter().max_by_key(|part| part.flops);
            most.map_or(OpFamily::Movement, |part| part.family)
        }
    }
}

/// A step in words.
pub(super) fn step(plan: &Plan, step: &Step) -> String {
    match step {
        Step::Op(op) => op.op.rule().name().to_owned(),
        Step::Image(step) => image(&step.inst),
        Step::Rows(segment) => {
            let names: Vec<String> =
                segment.steps.iter().map(|step| row(plan, &step.kind)).collect();
            format!("rows: {}", names.join(", "))
        }
    }
}

/// An op of a row segment in words.
pub(super) fn row(plan: &Plan, kind: &RowKind) -> String {
    match kind {
        RowKind::Linear { matrix, bias, finish, residual } => {
            let matrix = &plan.matrices[*matrix];
            let kind = match &**matrix {
                Matrix::F32(_) => "linear",
                Matrix::Int8(_) => "int8 linear",
            };
            let mut name = format!("{kind} {}x{}", matrix.k(), matrix.n());
            if bias.is_some() {
                name.push_str(" + bias");
            }
            push_finish(&mut name, finish, residual.is_some());
            name
        }
        RowKind::Unary(unary) => format!("{unary:?}").to_lowercase(),
        RowKind::Binary { op, .. } => format!("{op:?}").to_lowercase(),
        RowKind::LayerNorm { .. } => "layer-norm".to_owned(),
        RowKind::Normalize { kind: NormalizeKind::Rms, .. } => "rms-norm".to_owned(),
        RowKind::Normalize { kind: NormalizeKind::L2, .. } => "l2-norm".to_owned(),
        RowKind::Softmax => "softmax".to_owned(),
        RowKind::Gather { .. } => "gather".to_owned(),
    }
}

fn image(inst: &ImageInst) -> String {
    let [rows, columns] = inst.kernel;
    let kind = match inst.kind {
        ImageKind::Dense { .. } => "conv",
        ImageKind::Depthwise { .. } => "depthwise conv",
        ImageKind::Spread { .. } => "conv-transpose",
        ImageKind::Pool(ImagePool::Max) => "max-pool",
        ImageKind::Pool(ImagePool::Average { .. }) => "average-pool",
    };
    let mut name = format!("image: {kind} {rows}x{columns}");
    push_finish(&mut name, &inst.finish, inst.residual.is_some());
    name
}

fn push_finish(name: &mut String, finish: &Finish, residual: bool) {
    let Finish { activation, scaled, last } = finish;
    let named = |activation: &Activation| match activation {
        Activation::None => String::new(),
        other => format!(" {other:?}"),
    };
    name.push_str(&named(activation));
    if scaled.is_some() {
        name.push_str(" scaled");
    }
    if residual {
        name.push_str(" + residual");
    }
    name.push_str(&named(last));
}

impl Plan {
    /// A listing of the plan for people: signature, batching, weights, steps.
    pub fn describe(&self) -> String {
        let mut text = String::new();
        self.write_description(&mut text).expect("writing to a string does not fail");
        text
    }

    fn write_description(&self, text: &mut String) -> std::fmt::Result {
        for input in &self.signature.inputs {
            writeln!(text, "input   {input}")?;
        }
        for output in &self.signature.outputs {
            writeln!(text, "output  {output}")?;
        }
        match self.coalescing() {
            Coalescing::Batch => writeln!(text, "batch   along axis 0")?,
            Coalescing::Ragged { offsets } => writeln!(text, "batch   along ragged({offsets})")?,
            Coalescing::Alone { blocked_by } => writeln!(text, "batch   none: {blocked_by}")?,
        }
        let (bytes, matrices) = (self.weights_bytes(), self.matrices.len());
        writeln!(text, "weights {bytes} bytes, {matrices} matrices")?;
        writeln!(text, "memory  {} slots", self.memory.slots.len())?;
        for (index, each) in self.steps.iter().enumerate() {
            writeln!(text, "{index:5}  {}", step(self, each))?;
        }
        Ok(())
    }
}
