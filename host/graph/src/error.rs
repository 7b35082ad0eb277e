//! What can go wrong: while a graph is built, compiled, or run.

use crate::{Dim, WeightError};
use aimass_tensor::{DType, Shape};
use std::sync::Arc;

/// Who has to act on an error; the families of the plugin contract that this crate uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorFamily {
    /// The caller's input.
    Input,
    /// Something named does not exist.
    NotFound,
    /// A limit of the host.
    Limit,
    /// The host knows the item but has no code for it.
    Unsupported,
    /// A defect of the host, or a source of weights that fails.
    Internal,
}

/// Why the builder refuses an op, an input or an output.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[expect(missing_docs, reason = "fields are named in the messages")]
pub enum GraphError {
    /// A value of another builder, or none at all.
    #[error("value {value} is not a value of this graph; expected one that a call answered")]
    UnknownValue { value: u32 },
    /// An op does not take this dtype.
    #[error("{op}: expected {expected}, got {got}")]
    DType { op: &'static str, expected: &'static str, got: DType },
    /// Two arguments must have one dtype.
    #[error("{op}: both arguments need the same dtype, got {left} and {right}; use cast")]
    DTypes { op: &'static str, left: DType, right: DType },
    /// The number of dimensions is wrong.
    #[error("{op}: expected {expected} dimensions, got {got}")]
    Rank { op: &'static str, expected: &'static str, got: usize },
    /// Two extents must be equal.
    #[error("{op}: extents {left} and {right} do not match")]
    Extent { op: &'static str, left: Dim, right: Dim },
    /// A shape does not fit.
    #[error("{op}: expected {expected}, got {got}")]
    Shape { op: &'static str, expected: String, got: String },
    /// An axis outside the shape.
    #[error("{op}: axis {axis} is out of range for {rank} dimensions")]
    Axis { op: &'static str, axis: u32, rank: usize },
    /// The op would mix rows of a batch or of a ragged dimension.
    #[error("{op}: dimension {dim}{} must stay axis 0 and keep its rows apart; \
             declare it dynamic if calls need not be joined",
            .other.as_ref().map(|o| format!(" (with {o})")).unwrap_or_default())]
    DimClass { op: &'static str, dim: Dim, other: Option<Dim> },
    /// An argument must be the offsets input of a ragged dimension.
    #[error("{op}: expected the offsets value of dimension {expected}, got another value")]
    NotOffsets { op: &'static str, expected: String },
    /// An argument of an op is wrong.
    #[error("{op}: {argument}: expected {expected}, got {got}")]
    Argument { op: &'static str, argument: &'static str, expected: String, got: String },
    /// A dimension names something that no input declares.
    #[error("{op}: dimension {dim} is declared by no input; declare it first")]
    UnknownDim { op: &'static str, dim: Dim },
    /// A name is empty, too long, reserved or taken.
    #[error("name {name:?} {reason}")]
    Name { name: String, reason: &'static str },
    /// A state of that name was not declared.
    #[error("state {name:?} is not declared")]
    UnknownState { name: String },
    /// A weight lies outside its file.
    #[error("weight {name:?}: bytes {start}..{end} are outside its source of {len} bytes")]
    OutOfRange { name: String, start: u64, end: u64, len: u64 },
    /// The number of elements overflows.
    #[error("{op}: expected a number of elements that fits 63 bits, got a larger one")]
    Elements { op: &'static str },
    /// More elements than a value may have, extents of 0 counted as 1.
    #[error("{op}: a value has at most {max} elements, got {got}")]
    ElementsLimit { op: &'static str, max: u64, got: u64 },
    /// A limit of the graph.
    #[error("a graph has at most {max} {what}, got {got}")]
    Limit { what: &'static str, max: u64, got: u64 },
    /// The graph answers nothing.
    #[error("a graph needs at least one output")]
    NoOutput,
    /// A region is left open.
    #[error("finish: a region is still open; end it first")]
    OpenRegion,
    /// A region, or something inside one, where it does not belong.
    #[error("{op}: {reason}")]
    Region { op: &'static str, reason: &'static str },
    /// Known to the contract, without code in this host.
    #[error("op {op} is not supported by this host: {detail}")]
    Unsupported { op: String, detail: &'static str },
}

impl GraphError {
    /// Who has to act.
    pub fn family(&self) -> ErrorFamily {
        match self {
            GraphError::Limit { .. }
            | GraphError::Elements { .. }
            | GraphError::ElementsLimit { .. } => ErrorFamily::Limit,
            GraphError::Unsupported { .. } => ErrorFamily::Unsupported,
            GraphError::UnknownState { .. } => ErrorFamily::NotFound,
            GraphError::UnknownValue { .. }
            | GraphError::DType { .. }
            | GraphError::DTypes { .. }
            | GraphError::Rank { .. }
            | GraphError::Extent { .. }
            | GraphError::Shape { .. }
            | GraphError::Axis { .. }
            | GraphError::DimClass { .. }
            | GraphError::NotOffsets { .. }
            | GraphError::Argument { .. }
            | GraphError::UnknownDim { .. }
            | GraphError::Name { .. }
            | GraphError::OutOfRange { .. }
            | GraphError::OpenRegion
            | GraphError::Region { .. }
            | GraphError::NoOutput => ErrorFamily::Input,
        }
    }

    /// Stable code in kebab-case, as `wit/graph.wit` names it.
    pub fn code(&self) -> &'static str {
        match self {
            GraphError::UnknownValue { .. } => "unknown-value",
            GraphError::DType { .. } | GraphError::DTypes { .. } => "dtype",
            GraphError::Rank { .. } | GraphError::Extent { .. } | GraphError::Shape { .. } => {
                "shape"
            }
            GraphError::Axis { .. } => "axis",
            GraphError::DimClass { .. } => "dim-class",
            GraphError::NotOffsets { .. } => "offsets",
            GraphError::Argument { .. } => "argument",
            GraphError::UnknownDim { .. } => "unknown-dim",
            GraphError::Name { .. } => "name",
            GraphError::UnknownState { .. } => "unknown-state",
            GraphError::OutOfRange { .. } => "out-of-range",
            GraphError::Elements { .. } | GraphError::ElementsLimit { .. } => "elements",
            GraphError::Limit { what: "nodes", .. } => "nodes",
            GraphError::Limit { what: "constant bytes", .. } => "constant-bytes",
            GraphError::Limit { .. } => "graph",
            GraphError::NoOutput => "no-output",
            GraphError::OpenRegion => "open-region",
            GraphError::Region { .. } => "region",
            GraphError::Unsupported { .. } => "op",
        }
    }

    pub(crate) fn unsupported(op: &str, detail: &'static str) -> GraphError {
        GraphError::Unsupported { op: op.chars().take(64).collect(), detail }
    }
}

/// Why a finished graph does not become a plan.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum PlanError {
    /// A weight could not be read.
    #[error("weight {name:?}: {source}")]
    Weight {
        /// Name of the weight.
        name: Arc<str>,
        /// What the source said.
        source: WeightError,
    },
    /// A node of constants cannot be computed.
    #[error("a node of constants cannot be computed: {0}")]
    Constant(Box<RunError>),
    /// An input of the compiler's own making was wrong.
    #[error("internal: {0}")]
    Internal(&'static str),
}

impl PlanError {
    /// Who has to act.
    pub fn family(&self) -> ErrorFamily {
        match self {
            PlanError::Weight { .. } | PlanError::Internal(_) => ErrorFamily::Internal,
            PlanError::Constant(error) => error.family(),
        }
    }

    /// Stable code in kebab-case.
    pub fn code(&self) -> &'static str {
        match self {
            PlanError::Weight { .. } => "weight",
            PlanError::Constant(error) => error.code(),
            PlanError::Internal(_) => "internal",
        }
    }
}

/// Which row of a run is at fault, so that a dispatcher can fail one call of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadRow {
    /// Row of the batch dimension.
    Batch(u64),
    /// Row of the ragged dimension, counted over all sequences.
    Ragged(u64),
}

/// Why inputs are refused, or a run ends without outputs.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[expect(missing_docs, reason = "fields are named in the messages")]
pub enum RunError {
    /// Too few or too many inputs.
    #[error("expected {expected} inputs, got {got}")]
    InputCount { expected: usize, got: usize },
    /// An input has another dtype.
    #[error("input {input:?}: expected dtype {expected}, got {got}")]
    InputDType { input: Arc<str>, expected: DType, got: DType },
    /// An input has another shape.
    #[error("input {input:?}: expected shape {expected}, got {got}")]
    InputShape { input: Arc<str>, expected: String, got: Shape },
    /// Offsets are malformed.
    #[error("offsets {input:?}: {reason}")]
    Offsets { input: Arc<str>, reason: String },
    /// Extents that an op needs equal are not.
    #[error("{op}: extents {left} and {right} do not match")]
    Extent { op: &'static str, left: u64, right: u64 },
    /// An extent cannot be computed, or the elements do not fit memory.
    #[error("{what}: {reason}")]
    Dims { what: String, reason: &'static str },
    /// An index points outside of what it selects from.
    #[error(
        "{op}: index {index} at position {position} of {indices} is out of range for \
             extent {extent}"
    )]
    Index {
        op: &'static str,
        indices: String,
        position: u64,
        index: i64,
        extent: u64,
        row: Option<BadRow>,
    },
    /// The run would take more memory than allowed.
    #[error("the run takes {got} bytes, at most {max} are allowed")]
    ArenaLimit { got: u64, max: u64 },
    /// The run would compute more than allowed, if every loop ran as often as it may.
    #[error("the run takes {got} floating-point operations, at most {max} are allowed")]
    FlopsLimit { got: u64, max: u64 },
    /// A state belongs to another plan.
    #[error("the state belongs to another plan")]
    WrongState,
    /// A single op could not be built.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// A single op could not be compiled.
    #[error(transparent)]
    Plan(Box<PlanError>),
    /// A defect of this crate.
    #[error("internal: {0}")]
    Internal(&'static str),
}

impl RunError {
    /// Who has to act.
    pub fn family(&self) -> ErrorFamily {
        match self {
            RunError::InputCount { .. }
            | RunError::InputDType { .. }
            | RunError::InputShape { .. }
            | RunError::Offsets { .. }
            | RunError::Extent { .. }
            | RunError::Dims { .. }
            | RunError::Index { .. } => ErrorFamily::Input,
            RunError::ArenaLimit { .. } | RunError::FlopsLimit { .. } => ErrorFamily::Limit,
            RunError::Graph(error) => error.family(),
            RunError::Plan(error) => error.family(),
            RunError::WrongState | RunError::Internal(_) => ErrorFamily::Internal,
        }
    }

    /// Stable code in kebab-case.
    pub fn code(&self) -> &'static str {
        match self {
            RunError::InputCount { .. } => "input-count",
            RunError::InputDType { .. } => "dtype",
            RunError::InputShape { .. } | RunError::Extent { .. } | RunError::Dims { .. } => {
                "shape-mismatch"
            }
            RunError::Offsets { .. } => "offsets",
            RunError::Index { .. } => "index",
            RunError::ArenaLimit { .. } => "arena-bytes",
            RunError::FlopsLimit { .. } => "flops",
            RunError::Graph(error) => error.code(),
            RunError::Plan(error) => error.code(),
            RunError::WrongState => "state",
            RunError::Internal(_) => "internal",
        }
    }

    /// The row at fault, where one can be named.
    pub fn bad_row(&self) -> Option<BadRow> {
        match self {
            RunError::Index { row, .. } => *row,
            RunError::InputCount { .. }
            | RunError::InputDType { .. }
            | RunError::InputShape { .. }
            | RunError::Offsets { .. }
            | RunError::Extent { .. }
            | RunError::Dims { .. }
            | RunError::ArenaLimit { .. }
            | RunError::FlopsLimit { .. }
            | RunError::WrongState
            | RunError::Graph(_)
            | RunError::Plan(_)
            | RunError::Internal(_) => None,
        }
    }
}
