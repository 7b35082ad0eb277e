//! Models that call models: who may call what, how deep and how often, and who is charged.
//!
//! A call comes from a plugin's `models.infer`. It runs as the request's tenant, until the caller's
//! deadline, in a task of its own that ends with the caller; it takes no other place at the gateway's door
//! (a tenant that waits for itself would wait for ever), and it is charged to the request's usage record.
//! A model is at most once in a chain: by the graph of names when a version is published
//! ([`check_calls`]), and by the chain itself when it is called.

mod graph;

pub(crate) use graph::check_calls;

use crate::engine::Inner;
use crate::streaming::ItemSender;
use crate::{CompositionConfig, EngineError, Family, InferRequest, Parameter, Selector};
use aimass_sandbox::{ErrorFamily, GuestError, ModelAnswer, ModelCall, ModelCaller, NamedTensors};
use aimass_telemetry::call::present;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use tokio::task::JoinHandle;

/// Where a request stands: the models above it, and the client that reads its items.
#[derive(Clone, Default)]
pub(crate) struct Scope {
    pub(crate) ancestry: Ancestry,
    pub(crate) items: Option<ItemSender>,
}

/// The models that wait for an answer, outermost first, and what their request has used.
#[derive(Clone, Default)]
pub(crate) struct Ancestry {
    names: Arc<[Arc<str>]>,
    request: Arc<RequestUse>,
}

/// What all models of one request use together.
#[derive(Default)]
struct RequestUse {
    calls: AtomicU32,
    tokens: AtomicU64,
    has_tokens: AtomicBool,
}

impl Ancestry {
    /// The same request, one model further down.
    pub(crate) fn with(&self, model: &Arc<str>) -> Ancestry {
        let names = self.names.iter().chain([model]).cloned().collect();
        Ancestry { names, request: self.request.clone() }
    }

    /// Whether a client asked for this model itself.
    pub(crate) fn is_root(&self) -> bool {
        self.names.is_empty()
    }

    /// Counts tokens of an inner model, or of an item.
    pub(crate) fn add_tokens(&self, tokens: Option<u64>) {
        if let Some(tokens) = tokens {
            self.request.tokens.fetch_add(tokens, Ordering::Relaxed);
            self.request.has_tokens.store(true, Ordering::Relaxed);
        }
    }

    /// `own` tokens and all that were counted below.
    pub(crate) fn tokens(&self, own: Option<u64>) -> Option<u64> {
        let below = self.request.has_tokens.load(Ordering::Relaxed);
        let below = below.then(|| self.request.tokens.load(Ordering::Relaxed));
        match (own, below) {
            (Some(own), Some(below)) => Some(own.saturating_add(below)),
            (one, None) | (None, one) => one,
        }
    }

    /// Counts a call of `name`.
    ///
    /// # Errors
    /// `limit/depth` for a chain that is too long or comes back to where it was, and
    /// `limit/model-calls`.
    fn enter(&self, name: &str, limits: &CompositionConfig) -> Result<(), GuestError> {
        let limit = |code, message| Err(guest_error(ErrorFamily::Limit, code, message));
        let chain = || {
            let names: Vec<&str> = self.names.iter().map(|name| &**name).chain([name]).collect();
            names.join(" -> ")
        };
        if self.names.iter().any(|above| **above == *name) {
            let message = format!("models may not call themselves through others: {}", chain());
            return limit("depth", message);
        }
        let depth_max = limits.depth_max.min(DEPTH_MAX);
        if self.names.len() > depth_max as usize {
            let message = format!("models call each other at most {depth_max} deep: {}", chain());
            return limit("depth", message);
        }
        let before = self.request.calls.fetch_add(1, Ordering::Relaxed);
        if before >= limits.calls_max {
            self.request.calls.fetch_sub(1, Ordering::Relaxed);
            let max = limits.calls_max;
            let message = format!("a request may call other models {max} times");
            return limit("model-calls", message);
        }
        Ok(())
    }
}

/// Depth that the contract allows.
const DEPTH_MAX: u32 = 8;

/// The models that a plugin of one step may call, for one request.
pub(crate) struct StepModels {
    pub(crate) inner: Arc<Inner>,
    /// As the package grants them: `name`, `name@label` or `name@version`.
    pub(crate) granted: Arc<[String]>,
    /// Down to the model that the step belongs to.
    pub(crate) ancestry: Ancestry,
    pub(crate) tenant: Arc<str>,
}

impl ModelCaller for StepModels {
    fn call(&self, call: ModelCall) -> ModelAnswer<'_> {
        Box::pin(self.infer(call))
    }
}

impl StepModels {
    async fn infer(&self, call: ModelCall) -> Result<NamedTensors, GuestError> {
        let (name, selector) = reference(&call.model)?;
        if !self.granted.iter().any(|own| *own == call.model || *own == name) {
            let message = format!(
                "this step may not call model {:?}; its `models` in model.toml are: {}",
                call.model,
                if self.granted.is_empty() { "none".into() } else { self.granted.join(", ") }
            );
            return Err(guest_error(ErrorFamily::Forbidden, "model", message));
        }
        self.ancestry.enter(&name, &self.inner.config.composition)?;
        let named = self
            .inner
            .catalog()
            .model(&name)
            .and_then(|served| served.select(&name, &selector).map(|_| ()));
        named.map_err(|error| told(&name, &error))?;
        let request = InferRequest {
            model: name.clone(),
            selector,
            inputs: call.inputs.into_iter().map(|(name, x)| (name.to_string(), x)).collect(),
            outputs: Vec::new(),
            parameters: parameters(call.parameters)?,
            tenant: self.tenant.clone(),
            deadline: call.deadline,
        };
        let (inner, ancestry) = (self.inner.clone(), self.ancestry.clone());
        let scope = Scope { ancestry: ancestry.clone(), items: None };
        // A task of its own: a chain of guests does not grow on one guest's stack.
        let running = async move { inner.infer(request, scope).await };
        let task = match present() {
            Some(call) => tokio::spawn(call.scope(running)),
            None => tokio::spawn(running),
        };
        let mut task = EndedWithCaller(task);
        let answer = (&mut task.0).await.unwrap_or_else(|panic| {
            Err(EngineError::new(Family::Unavailable, "model-panic", panic.to_string()))
        });
        self.inner.metrics.called(&name, &answer);
        let answer = answer.map_err(|error| told(&name, &error))?;
        ancestry.add_tokens(answer.usage.tokens);
        Ok(answer.outputs)
    }
}

struct EndedWithCaller<T>(JoinHandle<T>);

impl<T> Drop for EndedWithCaller<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn reference(text: &str) -> Result<(String, Selector), GuestError> {
    use aimass_registry::Selector as Registry;
    match aimass_registry::parse_reference(text) {
        Ok((name, selector)) => {
            let selector = match selector {
                Registry::Default => Selector::Default,
                Registry::Newest => Selector::Newest,
                Registry::Label(label) => Selector::Label(label),
                Registry::Version(version) => Selector::Version(version),
            };
            Ok((name.to_owned(), selector))
        }
        Err(error) => Err(guest_error(ErrorFamily::Input, "model-name", error.to_string())),
    }
}

fn parameters(
    given: Vec<(String, aimass_sandbox::Parameter)>,
) -> Result<BTreeMap<String, Parameter>, GuestError> {
    use aimass_sandbox::Parameter as Guest;
    let own = given.into_iter().map(|(name, value)| {
        let value = match value {
            Guest::Boolean(value) => Parameter::Bool(value),
            Guest::Integer(value) => Parameter::Int(value),
            Guest::Float(value) => Parameter::Float(value),
            Guest::Text(value) => Parameter::Text(value),
            Guest::Integers(_) => {
                let message = format!("parameter {name:?}: a model takes no list of integers");
                return Err(guest_error(ErrorFamily::Input, "parameter", message));
            }
        };
        Ok((name, value))
    });
    own.collect()
}

/// What a guest is told of another model's failure.
fn told(model: &str, error: &EngineError) -> GuestError {
    let told = told_guest(error);
    let code = if error.family() == Family::NotFound { "model".to_owned() } else { told.code };
    GuestError { code, message: format!("model {model}: {}", told.message), ..told }
}

/// The engine's error in the words of the contract.
pub(crate) fn told_guest(error: &EngineError) -> GuestError {
    let family = match error.family() {
        Family::InvalidInput => ErrorFamily::Input,
        Family::Forbidden => ErrorFamily::Forbidden,
        Family::NotFound => ErrorFamily::NotFound,
        Family::TooLarge => ErrorFamily::Limit,
        Family::Plugin => ErrorFamily::Internal,
        Family::PackageRefused | Family::Quota | Family::Unavailable => ErrorFamily::Unavailable,
        Family::Deadline => ErrorFamily::Deadline,
    };
    guest_error(family, error.code(), error.message().to_owned())
}

fn guest_error(family: ErrorFamily, code: &str, message: String) -> GuestError {
    GuestError { family, code: code.to_owned(), message }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entered(ancestry: &Ancestry, name: &str, limits: &CompositionConfig) -> String {
        match ancestry.enter(name, limits) {
            Ok(()) => "ok".to_owned(),
            Err(error) => format!("{}/{} {}", error.family.as_str(), error.code, error.message),
        }
    }

    #[test]
    fn a_chain_has_eight_models_below_the_first_and_none_twice() {
        let limits = CompositionConfig::default();
        let mut chain = Ancestry::default().with(&"m0".into());
        for depth in 1..=8 {
            let name = format!("m{depth}");
            assert_eq!(entered(&chain, &name, &limits), "ok");
            let again = entered(&chain, "m0", &limits);
            assert!(again.starts_with("limit/depth") && again.contains("m0 -> "), "{again}");
            chain = chain.with(&name.as_str().into());
        }
        let ninth = entered(&chain, "m9", &limits);
        assert!(ninth.starts_with("limit/depth") && ninth.contains("at most 8 deep"), "{ninth}");
        let short = CompositionConfig { depth_max: 1, ..limits };
        let one = Ancestry::default().with(&"a".into());
        assert_eq!(entered(&one, "b", &short), "ok");
        assert!(entered(&one.with(&"b".into()), "c", &short).contains("at most 1 deep"));
    }

    #[test]
    fn calls_are_counted_over_the_whole_request() {
        let limits = CompositionConfig { calls_max: 2, ..CompositionConfig::default() };
        let root = Ancestry::default().with(&"a".into());
        assert_eq!(entered(&root, "b", &limits), "ok");
        assert_eq!(entered(&root.with(&"b".into()), "c", &limits), "ok");
        assert!(entered(&root, "d", &limits).starts_with("limit/model-calls"));
    }

    #[test]
    fn tokens_of_inner_models_are_added_where_any_are_counted() {
        let root = Ancestry::default();
        assert_eq!((root.tokens(None), root.tokens(Some(3))), (None, Some(3)));
        root.with(&"a".into()).add_tokens(Some(5));
        root.add_tokens(None);
        assert_eq!((root.tokens(None), root.tokens(Some(3))), (Some(5), Some(8)));
    }
}
