//! The gateway: Open Inference Protocol v2 over HTTP and gRPC, and the OpenAI API.
//!
//! The only floor that knows HTTP and JSON. A request passes `routes/` (room 1) and
//! `admission.rs` (room 2), becomes plain named tensors, and meets every other protocol in
//! [`Serving::infer`]. Every route but health wants an identity with the verb that the
//! route names; a test walks them all.
//!
//! Deliberately absent: sessions and cookies, compression of answers (requests may be compressed),
//! any knowledge of plugins.

mod admission;
mod batch;
mod body;
mod config;
mod counters;
mod failure;
mod flow;
mod framing;
mod grpc;
mod identity;
mod lingering;
mod listener;
mod object;
mod oip;
mod openapi;
mod router;
mod routes;
mod server;
mod serving;
#[cfg(test)]
mod socket_tests;
mod sse;
mod streaming;
mod telemetry;
mod timing;
mod tls;
mod untrusted;

pub use batch::BatchConfig;
pub use config::{ConfigError, GatewayConfig, REQUEST_ID_BYTES_MAX, SettingError, TENSORS_MAX};
pub use flow::{Circuit, CircuitConfig, CircuitRules, FlowConfig, Pass, TenantLimits};
pub use identity::fuzzing;
pub use identity::{
    Algorithm, ApiKeyError, ApiKeyFile, ApiKeyRecord, ApiKeyState, CertificateConfig,
    IdentityConfig, IdentityError, IssuerConfig, IssuerError, LifetimeError, NewApiKey, Role,
    UnknownRole, Verb, append_api_key, generate_api_key, parse_lifetime,
};
pub use server::{Listeners, ServeError, Setup, serve, serve_until};
pub use serving::{Answer, Done, LogLevel, Observation, Serving};
pub use telemetry::{TelemetryConfig, TelemetryError};
pub use tls::{TlsConfig, TlsError};
pub use untrusted::read_request;
