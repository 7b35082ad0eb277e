//! One call of a model, from its circuit's point of view.

use super::circuits::{Circuits, Key, Outcome, blames_model};
use crate::failure::Failure;
use crate::serving::Serving;
use aimass_engine::{EngineError, InferRequest, InferResponse, Selector};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A call that may be tried. Dropping it before it ended says nothing about the model.
pub(crate) struct Call<'a> {
    circuits: &'a Circuits,
    engine: &'a dyn Serving,
    tenant: Arc<str>,
    model: String,
    selector: Selector,
    /// Whether a deadline that passes is the model's fault.
    plenty: bool,
    ended: bool,
}

impl<'a> Call<'a> {
    /// Asks the circuit of the request's tenant and model version. A deadline counts as a failure of
    /// the model if the call has at least `plenty` of time.
    ///
    /// # Errors
    /// 503 while that circuit is open.
    pub(crate) fn begin(
        circuits: &'a Circuits,
        engine: &'a dyn Serving,
        request: &InferRequest,
        plenty: Duration,
    ) -> Result<Call<'a>, Failure> {
        let now = Instant::now();
        let call = Call {
            circuits,
            engine,
            tenant: request.tenant.clone(),
            model: request.model.clone(),
            selector: request.selector.clone(),
            plenty: request.deadline.saturating_duration_since(now) >= plenty,
            ended: false,
        };
        if circuits.any()
            && let Some(key) = call.key()
            && let Err(failure) = circuits.admit(&key, now)
        {
            call.never_begun();
            return Err(failure);
        }
        Ok(call)
    }

    /// It ended.
    pub(crate) fn ended(mut self, answer: &Result<InferResponse, EngineError>) {
        self.ended = true;
        let now = Instant::now();
        let failed = |reason: &str| {
            if let Some(key) = self.key() {
                self.circuits.ended(&key, Outcome::Bad(reason), now);
            }
        };
        match answer {
            Err(error) if blames_model(error, self.plenty) => failed(error.message()),
            Ok(answer) if self.circuits.any() => {
                let key: Key = (self.tenant.clone(), answer.model.clone(), answer.version);
                self.circuits.ended(&key, Outcome::Good, now);
            }
            // The caller's fault says nothing against the model, and nothing for it.
            Ok(_) | Err(_) => self.say_nothing(now),
        }
    }

    fn never_begun(mut self) {
        self.ended = true;
    }

    fn say_nothing(&self, now: Instant) {
        if self.circuits.any()
            && let Some(key) = self.key()
        {
            self.circuits.ended(&key, Outcome::Unsaid, now);
        }
    }

    /// The version that the selector means now.
    fn key(&self) -> Option<Key> {
        let model = self.engine.model(&self.model, &self.selector).ok()?;
        Some((self.tenant.clone(), model.name, model.version))
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        if !self.ended {
            self.say_nothing(Instant::now());
        }
    }
}
