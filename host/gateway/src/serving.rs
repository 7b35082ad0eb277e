//! What the gateway needs of the engine, as a trait, so that the routes can be tested over real
//! sockets with engines that fail on purpose.

use aimass_engine::{
    Engine, EngineError, InferRequest, InferResponse, ModelMetadata, Readiness, Selector,
};
use std::future::Future;
use std::pin::Pin;

/// The answer of [`Serving::infer`], later.
pub type Answer<'a> = Pin<Box<dyn Future<Output = Result<InferResponse, EngineError>> + Send + 'a>>;

/// An engine as the gateway sees it. Every protocol meets in [`Serving::infer`].
pub trait Serving: Send + Sync + 'static {
    /// Runs one inference. Dropping the future cancels it.
    fn infer(&self, request: InferRequest) -> Answer<'_>;

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
}

impl Serving for Engine {
    fn infer(&self, request: InferRequest) -> Answer<'_> {
        Box::pin(Engine::infer(self, request))
    }

    fn model(&self, name: &str, selector: &Selector) -> Result<ModelMetadata, EngineError> {
        Engine::model(self, name, selector)
    }

    fn models(&self) -> Vec<ModelMetadata> {
        Engine::models(self)
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
}
