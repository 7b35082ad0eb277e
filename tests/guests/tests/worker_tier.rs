//! The guests once more, each in a worker process. The library knows this program by its name.

#[path = "composition.rs"]
mod composition;
#[path = "programs.rs"]
mod programs;
#[path = "streaming.rs"]
mod streaming;
#[path = "traced_models.rs"]
mod traced_models;
#[path = "tracing.rs"]
mod tracing;
