//! Messages of the control methods. Field numbers are those of Triton's `grpc_service.proto` and
//! `model_config.proto`; where KServe's proto differs, both are served (see [`RepositoryModel`]).
//!
//! Infer requests and answers are not here: they are read and written by hand.

use std::collections::BTreeMap;

/// A request without fields.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(super) struct Empty {}

/// A model and one of its versions; an empty version is the default one.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct ModelName {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(string, tag = "2")]
    pub(super) version: String,
}

/// Answer of `ServerLive`, `ServerReady` and `ModelReady`.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(super) struct Truth {
    #[prost(bool, tag = "1")]
    pub(super) value: bool,
}

/// Answer of `ServerMetadata`.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct ServerMetadata {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(string, tag = "2")]
    pub(super) version: String,
    #[prost(string, repeated, tag = "3")]
    pub(super) extensions: Vec<String>,
}

/// Answer of `ModelMetadata`.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct ModelMetadata {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(string, repeated, tag = "2")]
    pub(super) versions: Vec<String>,
    #[prost(string, tag = "3")]
    pub(super) platform: String,
    #[prost(message, repeated, tag = "4")]
    pub(super) inputs: Vec<TensorMetadata>,
    #[prost(message, repeated, tag = "5")]
    pub(super) outputs: Vec<TensorMetadata>,
}

/// An input or output of a model.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct TensorMetadata {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(string, tag = "2")]
    pub(super) datatype: String,
    #[prost(int64, repeated, tag = "3")]
    pub(super) shape: Vec<i64>,
}

/// Answer of `ModelConfig`.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct ModelConfigResponse {
    #[prost(message, optional, tag = "1")]
    pub(super) config: Option<ModelConfig>,
}

/// The part of Triton's `ModelConfig` that means something here.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct ModelConfig {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(string, tag = "2")]
    pub(super) platform: String,
    #[prost(message, optional, tag = "3")]
    pub(super) version_policy: Option<VersionPolicy>,
    #[prost(int32, tag = "4")]
    pub(super) max_batch_size: i32,
    #[prost(message, repeated, tag = "5")]
    pub(super) input: Vec<ModelInput>,
    #[prost(message, repeated, tag = "6")]
    pub(super) output: Vec<ModelOutput>,
    #[prost(btree_map = "string, message", tag = "14")]
    pub(super) parameters: BTreeMap<String, ModelParameter>,
    #[prost(string, tag = "17")]
    pub(super) backend: String,
}

/// A string among a model's parameters.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct ModelParameter {
    #[prost(string, tag = "1")]
    pub(super) string_value: String,
}

/// Which versions are served.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct VersionPolicy {
    #[prost(message, optional, tag = "3")]
    pub(super) specific: Option<SpecificVersions>,
}

/// Versions by number.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct SpecificVersions {
    #[prost(int64, repeated, tag = "1")]
    pub(super) versions: Vec<i64>,
}

/// An input in a [`ModelConfig`].
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct ModelInput {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(int32, tag = "2")]
    pub(super) data_type: i32,
    #[prost(int64, repeated, tag = "4")]
    pub(super) dims: Vec<i64>,
}

/// An output in a [`ModelConfig`].
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct ModelOutput {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(int32, tag = "2")]
    pub(super) data_type: i32,
    #[prost(int64, repeated, tag = "3")]
    pub(super) dims: Vec<i64>,
}

/// Answer of `ModelStatistics`.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct ModelStatisticsResponse {
    #[prost(message, repeated, tag = "1")]
    pub(super) model_stats: Vec<ModelStatistics>,
}

/// Statistics of one version.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct ModelStatistics {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(string, tag = "2")]
    pub(super) version: String,
    /// Milliseconds since 1970.
    #[prost(uint64, tag = "3")]
    pub(super) last_inference: u64,
    #[prost(uint64, tag = "4")]
    pub(super) inference_count: u64,
    #[prost(uint64, tag = "5")]
    pub(super) execution_count: u64,
    #[prost(message, optional, tag = "6")]
    pub(super) inference_stats: Option<InferStatistics>,
    #[prost(message, repeated, tag = "7")]
    pub(super) batch_stats: Vec<BatchStatistics>,
}

/// How often and how long.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(super) struct StatisticDuration {
    #[prost(uint64, tag = "1")]
    pub(super) count: u64,
    #[prost(uint64, tag = "2")]
    pub(super) ns: u64,
}

/// Where the time of requests went.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(super) struct InferStatistics {
    #[prost(message, optional, tag = "1")]
    pub(super) success: Option<StatisticDuration>,
    #[prost(message, optional, tag = "2")]
    pub(super) fail: Option<StatisticDuration>,
    #[prost(message, optional, tag = "3")]
    pub(super) queue: Option<StatisticDuration>,
    #[prost(message, optional, tag = "4")]
    pub(super) compute_input: Option<StatisticDuration>,
    #[prost(message, optional, tag = "5")]
    pub(super) compute_infer: Option<StatisticDuration>,
    #[prost(message, optional, tag = "6")]
    pub(super) compute_output: Option<StatisticDuration>,
}

/// Launches of one size.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(super) struct BatchStatistics {
    #[prost(uint64, tag = "1")]
    pub(super) batch_size: u64,
    #[prost(message, optional, tag = "3")]
    pub(super) compute_infer: Option<StatisticDuration>,
}

/// Request of `RepositoryIndex`.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct RepositoryIndexRequest {
    #[prost(string, tag = "1")]
    pub(super) repository_name: String,
    #[prost(bool, tag = "2")]
    pub(super) ready: bool,
}

/// Answer of `RepositoryIndex`.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct RepositoryIndexResponse {
    #[prost(message, repeated, tag = "1")]
    pub(super) models: Vec<ModelIndex>,
}

/// A version in the index.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct ModelIndex {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(string, tag = "2")]
    pub(super) version: String,
    #[prost(string, tag = "3")]
    pub(super) state: String,
    #[prost(string, tag = "4")]
    pub(super) reason: String,
}

/// Request of `RepositoryModelLoad` and `RepositoryModelUnload`. Triton: 1 is the repository, 2 the
/// model. KServe: 1 is the model. With 2 empty, 1 is the model.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct RepositoryModel {
    #[prost(string, tag = "1")]
    pub(super) first: String,
    #[prost(string, tag = "2")]
    pub(super) second: String,
    #[prost(btree_map = "string, message", tag = "3")]
    pub(super) parameters: BTreeMap<String, RepositoryParameter>,
}

/// The value of a repository parameter; what it is does not matter, since none is taken but one.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct RepositoryParameter {
    #[prost(bool, optional, tag = "1")]
    pub(super) bool_param: Option<bool>,
}

/// Answer of load and unload: KServe reads it, Triton's has no fields.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct RepositoryModelDone {
    #[prost(string, tag = "1")]
    pub(super) model_name: String,
    #[prost(bool, tag = "2")]
    pub(super) done: bool,
}

/// Request of `TraceSetting`.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct TraceSettingRequest {
    #[prost(btree_map = "string, message", tag = "1")]
    pub(super) settings: BTreeMap<String, TraceValue>,
    #[prost(string, tag = "2")]
    pub(super) model_name: String,
}

/// Answer of `TraceSetting`.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct TraceSettingResponse {
    #[prost(btree_map = "string, message", tag = "1")]
    pub(super) settings: BTreeMap<String, TraceValue>,
}

/// A trace setting.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct TraceValue {
    #[prost(string, repeated, tag = "1")]
    pub(super) value: Vec<String>,
}

/// Request and answer of `LogSettings`.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct LogSettings {
    #[prost(btree_map = "string, message", tag = "1")]
    pub(super) settings: BTreeMap<String, LogValue>,
}

/// A log setting.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct LogValue {
    #[prost(oneof = "LogChoice", tags = "1, 2, 3")]
    pub(super) choice: Option<LogChoice>,
}

/// The kinds of a log setting.
#[derive(Clone, PartialEq, prost::Oneof)]
pub(super) enum LogChoice {
    #[prost(bool, tag = "1")]
    Bool(bool),
    #[prost(uint32, tag = "2")]
    Uint32(u32),
    #[prost(string, tag = "3")]
    Text(String),
}

/// Request of `grpc.health.v1.Health/Check`.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct HealthCheckRequest {
    #[prost(string, tag = "1")]
    pub(super) service: String,
}

/// Answer of `grpc.health.v1.Health/Check`.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(super) struct HealthCheckResponse {
    /// 1 serving, 2 not serving.
    #[prost(int32, tag = "1")]
    pub(super) status: i32,
}
