//! Plans on a GPU: where each op runs, memory on the device, launches and transfers in order.
//!
//! A [`Program`] is made of the same rewritten graph as the plan of the CPU, which stays beside it:
//! whatever goes wrong on the device, the plan computes the same on the CPU. To let an op run on a
//! device, write its lowering in the file of its family below `device/lower/` and name it in
//! `lower::lowered`, which matches every op; an op without one runs on the CPU within the program, and
//! the transfers that this takes are steps like any other.

mod call;
mod constants;
mod fusion;
mod gpu;
mod layout;
mod lower;
mod paged;
mod parts;
mod program;
mod replays;
mod run;
mod self_test;
mod times;

pub use gpu::{DeviceState, FusionState, Gpu, GpuOptions, gpu_count};
pub(crate) use lower::computes_narrow;
pub(crate) use program::Program;
pub use program::{DeviceReport, StepPlace};
pub use run::DeviceFailure;
pub(crate) use run::Placed;
pub use self_test::{SelfTest, SelfTestCase};
pub use times::DeviceTimes;
