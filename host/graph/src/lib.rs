//! Graphs of tensor ops: what a guest builds, what the host checks, compiles and runs.
//!
//! A [`GraphBuilder`] takes one op at a time and infers dtype, extents and *dimension class* of
//! every value ([`Dim`]). [`compile`] removes dead code, folds constants, packs weights, fuses rows
//! and plans memory; the [`Plan`] then checks every input and computes on the kernel pool.
//!
//! Architecture invariants: a plan never pads, and on the CPU each result row depends on its own
//! inputs only, bit for bit, whatever else is in the batch and however many threads compute it.
//! Guest graphs and inputs cause errors, never panics. Deliberately absent: async, queues and
//! coalescing itself (`aimass-dispatch`), Wasm (`aimass-sandbox`), arithmetic (`aimass-cpu`).

mod builder;
mod compile;
mod device;
mod dim;
mod error;
mod executor;
mod extents;
mod graph;
mod limits;
mod nested;
mod op;
mod packing;
mod plan;
mod prepared;
mod profiler;
mod report;
mod rows;
mod run_op;
mod state;
mod step;
mod weight;

pub use aimass_cuda::{DeviceError, DeviceInfo, DeviceOptions, NoCublasLt};
pub use builder::{
    AttentionValues, BatchNormValues, Contraction, ConvValues, GraphBuilder, QuantizedLinearValues,
    RecurrentValues, RegionId,
};
pub use compile::{CompileOptions, compile};
pub use device::{
    DeviceFailure, DeviceReport, DeviceState, DeviceTimes, FusionState, Gpu, GpuOptions, SelfTest,
    SelfTestCase, StepPlace, gpu_count,
};
pub use dim::{Dim, Signature, TensorSpec, ValueSpec};
pub use error::{BadRow, ErrorFamily, GraphError, PlanError, RunError};
pub use graph::{Graph, StateInit, ValueId};
pub use limits::GraphLimits;
pub use op::{
    AttentionOptions, GeluForm, PadMode, Recurrence, ResizeMode, ScatterMode, Suppression, Window,
};
pub use packing::PackedStore;
pub use plan::{Coalescing, Cost, Plan, Rows, RunStats};
pub use profiler::Profiler;
pub use report::{
    ConstantReport, MatrixReport, OpFamily, PartReport, PlanReport, ReadReport, SlotReport,
    StepReport, ValuePlace, ValueReport,
};
pub use rows::{RowExtent, RowRule};
pub use run_op::{Attribute, run_op, run_op_on};
pub use state::PlanState;
pub use weight::{BytesSource, WeightError, WeightSource};
