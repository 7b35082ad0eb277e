//! What the gateway needs of the engine, as a trait, so that the routes can be tested over real
//! sockets with engines that fail on purpose.

use aimass_engine::{
    BoxFuture, DeviceStatus, Engine, EngineError, InferRequest, InferResponse, ItemSender,
    ModelMetadata, ModelStatistics, Readiness, Selector, TrustState, VersionStatus,
};
use std::time::Instant;

/// The answer of [`Serving::infer`], later.
pub type Answer<'a> = BoxFuture<'a, Result<InferResponse, EngineError>>;

/// The end of [`Serving::load`], later.
pub type Done<'a> = BoxFuture<'a, Result<(), EngineError>>;

/// An engine as the gateway sees it. Every protocol meets in [`Serving::infer`].
pub trait Serving: Send + Sync + 'static {
    /// Runs one inference. Dropping the future cancels it.
    fn infer(&self, request: InferRequest) -> Answer<'_>;

    /// Runs one inference whose plugins may answer in parts: those before the last go to `items`. Dropping
    /// the future cancels it.
    fn infer_stream(&self, request: InferRequest, items: ItemSender) -> Answer<'_> {
        drop(items);
        self.infer(request)
    }

    /// The version of model `name` that `selector` means.
    ///
    /// # Errors
    /// [`aimass_engine::Family::NotFound`] if there is none, and
    /// [`aimass_engine::Family::Unavailable`] if there is one that cannot answer now.
    fn model(&self, name: &str, selector: &Selector) -> Result<ModelMetadata, EngineError>;

    /// Every served model once, at its default version, by name.
    fn models(&self) -> Vec<ModelMetadata>;

    /// Whether the process works at all.
    fn live(&self) -> bool;

    /// Whether every served model can answer.
    fn ready(&self) -> Readiness;

    /// The engine's metrics in the Prometheus text format.
    fn metrics_text(&self) -> String;

    /// Every version in the repository, and how it stands.
    fn versions(&self) -> Vec<VersionStatus>;

    /// Puts a model in service and waits until it can answer.
    fn load<'a>(&'a self, name: &'a str, deadline: Instant) -> Done<'a>;

    /// Takes a model out of service.
    ///
    /// # Errors
    /// [`aimass_engine::Family::NotFound`] if there is none.
    fn unload(&self, name: &str) -> Result<(), EngineError>;

    /// What versions did so far: those that `selector` means, all for the default one, all of every
    /// model for an empty name.
    ///
    /// # Errors
    /// [`aimass_engine::Family::NotFound`] if there is none.
    fn statistics(
        &self,
        name: &str,
        selector: &Selector,
    ) -> Result<Vec<ModelStatistics>, EngineError>;

    /// The devices that models run on; none where that is not known.
    fn devices(&self) -> Vec<DeviceStatus> {
        Vec::new()
    }

    /// How fresh what is known of marketplaces is; `Local` where there are none.
    fn trust_state(&self) -> TrustState {
        TrustState::Local
    }
}

/// How much is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// Nothing.
    Off,
    /// What went wrong.
    Error,
    /// What may go wrong.
    Warn,
    /// What happens to models, keys and plugins.
    Info,
    /// Every request.
    Debug,
    /// Everything.
    Trace,
}

/// What operators may see and change of logging and tracing while the server runs. Errors are
/// sentences for the operator.
pub trait Observation: Send + Sync + 'static {
    /// How much is logged.
    fn log_level(&self) -> LogLevel;

    /// Changes how much is logged.
    ///
    /// # Errors
    /// Why it cannot be changed.
    fn set_log_level(&self, level: LogLevel) -> Result<(), String>;

    /// Share of requests that are traced, 0 to 1.
    fn trace_ratio(&self) -> f64;

    /// Changes the share of requests that are traced.
    ///
    /// # Errors
    /// Why it cannot be changed.
    fn set_trace_ratio(&self, ratio: f64) -> Result<(), String>;
}

impl Serving for Engine {
    fn infer(&self, request: InferRequest) -> Answer<'_> {
        Engine::infer(self, request)
    }

    fn infer_stream(&self, request: InferRequest, items: ItemSender) -> Answer<'_> {
        Engine::infer_stream(self, request, items)
    }

    fn model(&self, name: &str, selector: &Selector) -> Result<ModelMetadata, EngineError> {
        Engine::model(self, name, selector)
    }

    fn models(&self) -> Vec<ModelMetadata> {
        Engine::models(self)
    }

    fn devices(&self) -> Vec<DeviceStatus> {
        Engine::devices(self)
    }

    fn live(&self) -> bool {
        Engine::live(self)
    }

    fn ready(&self) -> Readiness {
        Engine::ready(self)
    }

    fn metrics_text(&self) -> String {
        Engine::metrics_text(self)
    }

    fn versions(&self) -> Vec<VersionStatus> {
        Engine::versions(self)
    }

    fn load<'a>(&'a self, name: &'a str, deadline: Instant) -> Done<'a> {
        Engine::load(self, name, deadline)
    }

    fn unload(&self, name: &str) -> Result<(), EngineError> {
        Engine::unload(self, name)
    }

    fn statistics(
        &self,
        name: &str,
        selector: &Selector,
    ) -> Result<Vec<ModelStatistics>, EngineError> {
        Engine::statistics(self, name, selector)
    }

    fn trust_state(&self) -> TrustState {
        Engine::trust_state(self)
    }
}
