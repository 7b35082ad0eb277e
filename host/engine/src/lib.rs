//! The facade of the server: plain data in, plain data out, for any protocol.
//!
//! [`Engine::open`] follows a registry and keeps its models loaded; [`Engine::infer`] is where every
//! protocol meets. A version answers only after its signatures, its plugins' admission and its
//! fixtures held; until then the version before it keeps serving.
//!
//! Deliberately absent: HTTP, JSON wire types, authentication (`aimass-gateway`).

mod catalog;
mod composition;
mod config;
mod control;
mod device;
mod difference;
mod dispatch_metrics;
mod draft;
mod engine;
mod errors;
mod files;
mod fixtures;
mod jobs;
mod loader;
mod market_watch;
mod marketplace;
mod metrics;
mod opened;
mod package;
mod packed;
mod pipeline;
mod publish;
mod reload;
mod sandbox_metrics;
mod statistics;
mod streaming;
mod traced;
mod trail;
mod types;

pub use aimass_graph::{DeviceInfo, Gpu, GpuOptions, SelfTest, SelfTestCase, gpu_count};
pub use aimass_sandbox::{BoxFuture, SinkGone};
pub use config::{CompositionConfig, EngineConfig, TracedConfig};
pub use control::{Serviceability, VersionStatus};
pub use device::{DeviceChoice, DeviceStatus, UnknownDevice};
pub use difference::compare;
pub use draft::{Draft, DraftOptions};
pub use engine::Engine;
pub use fixtures::{FIXTURE_BYTES_MAX, Fixture, parse_fixtures};
pub use jobs::{Job, JobEnd, JobRecord, JobRunner, JobState, JobStore, JobsConfig, Progress};
pub use loader::STATEMENT_FILE;
pub use marketplace::{Installed, TrustState};
pub use opened::{ModelStage, OpenModel, StepRun, StepSummary};
pub use package::{
    FormatSection, MODEL_TOML_BYTES_MAX, ModelManifest, ModelSection, OutputPort, Port, PortDim,
    Step, UsageSection,
};
pub use publish::{PackageFolder, PublishedModel};
pub use statistics::{ModelStatistics, Timed};
pub use streaming::{ItemReceiver, ItemSender, STREAM_ITEMS_MAX, StreamItem, stream_items};
pub use trail::judge_version;
pub use types::{
    EngineError, Family, InferRequest, InferResponse, ModelMetadata, Parameter, Readiness,
    ReleaseFacts, Selector, TensorMetadata, UnreadyReason, Usage,
};
