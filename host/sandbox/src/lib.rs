//! Plugins as sandboxed components.
//!
//! A plugin is a WebAssembly component that implements one world of `wit/` and reaches nothing but
//! the interfaces that its signed manifest names and the operator grants. Every request gets a fresh
//! instance of the plugin's initialized image, under a deadline, a memory limit and limits on every host
//! resource; whatever a guest does, the host answers with a [`PluginError`] that names the plugin and the
//! cause, and the next call succeeds.
//!
//! The way through the files: [`Sandbox::load`] admits (`admission`), runs `init` and keeps its memory
//! (`image`, `cache`), then [`Plugin::process`] makes an `instance` whose imports are in `host_api`.
//!
//! Deliberately absent: WASI, network, any file system; a way in beside
//! [`VerifiedPackage`](aimass_trust::VerifiedPackage); HTTP; JSON but for configurations and their schemas.

mod admission;
mod cache;
pub mod compile;
mod composition;
mod config_schema;
mod decoders;
mod engine;
mod epoch;
mod error;
mod host_api;
mod image;
mod inspection;
mod instance;
pub mod jail;
mod limits;
mod metrics;
mod package;
mod plans;
mod plugin;
mod sandbox;
mod signature;
mod state;
mod trace;
mod worker;
mod worlds;

pub use admission::{Refused, check as check_component};
pub use composition::{
    Composition, EmittedItem, ItemHeld, ItemSink, ModelAnswer, ModelCall, ModelCaller, SinkGone,
};
pub use engine::Machine;
pub use error::{Cause, CauseKind, ErrorFamily, GuestError, PluginError, SandboxError};
pub use inspection::{CoreModule, Figure, Inspection, Section};
pub use limits::{AdmissionLimits, CgroupUse, CompileLimits, Limits, SandboxConfig, WorkerConfig};
pub use metrics::Metrics;
pub use package::{ModelFiles, NoFiles, PluginSetup, World};
pub use plans::{PlanSet, TracedAnswer, TracedPlan, TracedPlanCall};
pub use plugin::{Call, CallResult, CallStats, LoadedGraph, Parameter, Plugin};
pub use sandbox::Sandbox;
pub use signature::{NamedTensors, PluginSignature, PluginTensorSpec};
pub use trace::{TraceSession, TracedInput, TracedStage};
pub use worker::child::{WORKER_COMMAND, WorkerError, run_worker};

use std::pin::Pin;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What a call of this crate gives: a future on the heap.
///
/// The code of an unboxed future, with all of the Wasm runtime that it calls, would be compiled again in
/// each crate that awaits it, and its state copied into each caller's.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What is behind a lock, whatever became of the last who held it.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
