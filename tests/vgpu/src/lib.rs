//! A test-only `libcuda.so.1`: NVIDIA's driver API over an interpreter of the PTX that NVIDIA's
//! compiler emitted.
//!
//! The `cdylib` is the driver library; the `rlib` opens it in tests ([`load`]), so that programs
//! which load the driver by name, such as `cudarc`, find it in the process. It is not a GPU: it
//! says nothing about speed, and what it computes differs from hardware in the last bits where PTX
//! allows that (approximations, order of sums).
//!
//! | layer | folder | what it is |
//! |---|---|---|
//! | API | `driver/` | objects, order of work, captures, faults |
//! | text | `ptx/` | lexer, module scope, decoder |
//! | execution | `exec/` | warps, barriers, memory with shadow, schedules |
//!
//! Not supported, each with an error: indirect and recursive calls, 128-bit registers, textures,
//! cooperative launches, allocation inside a capture, fatbin containers, managed memory,
//! `wgmma`, `tcgen05` and TMA. Fences are no-ops: blocks run one after another, so that programs
//! whose blocks wait for each other do not end.

mod code;
mod driver;
mod elf;
mod exec;
mod float;
mod loader;
mod ptx;
mod random;
mod settings;

pub use exec::{Checks, Counters};
pub use loader::{LoadError, Vgpu, load, load_cublaslt, load_nccl, load_nvrtc, nvrtc};
pub use settings::{Settings, Streams};
