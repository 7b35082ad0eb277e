//! Making a stage that is missing, in a task of its own: it is finished and kept even if the request
//! that asked for it has gone, so that the next one finds it.

use super::flights::{Entered, Flight, FlightGuard};
use super::names::{Names, Slots};
use super::trie::{Node, NodeKey, compact};
use super::{STEP, TracedModel};
use crate::errors::of_plugin;
use crate::{EngineError, Family};
use aimass_sandbox::{NamedTensors, PluginError, TraceSession, TracedInput, TracedStage};
use aimass_tensor::{Shape, Tensor};
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::OwnedSemaphorePermit;

/// A session in the middle of a trace, and the names that it has given.
pub(crate) struct Live {
    session: TraceSession,
    names: Names,
}

/// Where a job begins.
pub(crate) enum Start {
    /// In a new session, with the stages so far repeated: each with what led there.
    Fresh { inputs: Vec<TracedInput>, replay: Vec<(Arc<Node>, NamedTensors)> },
    /// In a session that waits behind the last stage.
    Live(Box<Live>),
}

/// A stage to make.
pub(crate) struct Job {
    pub(crate) model: Arc<TracedModel>,
    pub(crate) start: Start,
    /// What the last stage wanted to observe; `None` makes the first stage.
    pub(crate) observed: Option<NamedTensors>,
    /// Shapes of the inputs, if this is the first stage.
    pub(crate) shapes: Vec<Shape>,
    pub(crate) place: Place,
    /// Wakes those who wait for the same stage.
    pub(crate) guard: Option<FlightGuard>,
    pub(crate) permit: Option<OwnedSemaphorePermit>,
}

/// Where a stage is kept.
pub(crate) struct Place {
    /// Whether it may be kept at all: every stage before it is.
    pub(crate) keep: bool,
    /// The stage before it.
    pub(crate) parent: Option<Arc<Node>>,
    pub(crate) depth: usize,
    /// Digest of shapes or of observed content.
    pub(crate) digest: u64,
    /// As `digest`, batch extents included.
    pub(crate) asked: u64,
}

/// A stage that was made.
pub(crate) struct Made {
    pub(crate) node: Arc<Node>,
    /// Whether it is kept.
    pub(crate) kept: bool,
    /// The session, unless the stage is the last.
    pub(crate) live: Option<Live>,
    /// Keeps others from making what follows before this request does.
    pub(crate) next: Option<FlightGuard>,
}

impl Job {
    /// The first stage for inputs of these shapes, on nobody's behalf.
    pub(crate) fn first(
        model: Arc<TracedModel>,
        digest: u64,
        shapes: Vec<Shape>,
        start: Start,
    ) -> Job {
        let asked = model.trie.exact_digest(shapes.iter());
        let place = Place { keep: true, parent: None, depth: 0, digest, asked };
        Job { model, start, observed: None, shapes, place, guard: None, permit: None }
    }

    /// Makes and keeps the stage.
    ///
    /// # Errors
    /// The plugin's. Those who wait for exactly the same get it, too.
    pub(crate) async fn run(mut self) -> Result<Made, EngineError> {
        let (guard, permit) = (self.guard.take(), self.permit.take());
        let (model, asked, keep) = (self.model.clone(), self.place.asked, self.place.keep);
        let parent = self.place.parent.as_ref().map(|parent| parent.id);
        let opened = matches!(self.start, Start::Fresh { .. });
        let started = Instant::now();
        let made = self.make().await;
        let took = started.elapsed();
        model.metrics.traced(&model.name, opened, took);
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        match &made {
            Ok(made) => {
                tracing::debug!(model = %model.name, stage = made.node.id, kept = made.kept, opened, micros, "traced");
            }
            Err(error) => {
                tracing::debug!(model = %model.name, %error, opened, micros, "not traced");
                if keep {
                    model.failures.keep((parent, asked), error, Instant::now());
                }
                if let Some(guard) = &guard {
                    guard.fail(asked, error);
                }
            }
        }
        drop(permit);
        made
    }

    async fn make(self) -> Result<Made, EngineError> {
        let Job { model, start, observed, shapes, place, .. } = self;
        let keyed = observed.as_ref().map(|tensors| {
            let tensors = tensors.iter().map(|(_, tensor)| tensor.clone());
            tensors.collect::<Vec<Tensor>>()
        });
        let (mut live, told) = match start {
            Start::Live(live) => (*live, Vec::new()),
            Start::Fresh { inputs, replay } => (model.open(&inputs, replay).await?, inputs),
        };
        let stage = match observed {
            Some(observed) => live.session.resume(observed).await,
            None => live.session.trace(&told).await,
        };
        let stage = stage.map_err(|error| model.failed(&error))?;
        let slots = live.names.add(&stage, &model.signature).ok_or_else(lost_name)?;
        let last = stage.observe.is_empty();
        let key = || match &keyed {
            Some(tensors) => NodeKey::Observed(tensors.iter().map(compact).collect()),
            None => NodeKey::Shapes { shapes: shapes.clone(), batched: stage.batched },
        };
        let (node, kept, next) = model.place(&place, key, (stage.clone(), slots));
        let live = (!last).then_some(live);
        Ok(Made { node, kept, live, next: next.filter(|_| !last) })
    }
}

impl TracedModel {
    /// A new session that stands behind the stages of `replay`.
    async fn open(
        &self,
        inputs: &[TracedInput],
        replay: Vec<(Arc<Node>, NamedTensors)>,
    ) -> Result<Live, EngineError> {
        let session = self.plugin.trace_session(&self.signature, &self.options).await;
        let mut session = session.map_err(|error| self.failed(&error))?;
        let mut names = Names::of_inputs(&self.signature);
        for (index, (node, observed)) in replay.into_iter().enumerate() {
            let Some((stage, _)) = &node.stage else { return Err(lost_name()) };
            let replayed = match index {
                0 => session.replay_trace(inputs, stage).await,
                _ => session.replay_resume(observed, stage).await,
            };
            replayed.map_err(|error| self.failed(&error))?;
            names.add(stage, &self.signature).ok_or_else(lost_name)?;
        }
        Ok(Live { session, names })
    }

    /// Keeps a stage if it may be kept; of one that is not reusable only that it must be asked for.
    fn place(
        self: &Arc<Self>,
        place: &Place,
        key: impl Fn() -> NodeKey,
        (mut stage, slots): (TracedStage, Slots),
    ) -> (Arc<Node>, bool, Option<FlightGuard>) {
        let parent = place.parent.as_ref();
        if !place.keep || !stage.reusable {
            if place.keep {
                let asked = self.trie.node(place.depth, key(), None);
                self.trie.keep(parent, place.digest, &asked);
            }
            let nothing = NodeKey::Observed(Vec::new());
            let node = self.trie.node(place.depth, nothing, Some((stage, slots)));
            return (node, false, None);
        }
        stage.known.iter_mut().for_each(|(_, tensor)| *tensor = compact(tensor));
        let node = self.trie.node(place.depth, key(), Some((stage, slots)));
        let next = match self.flights.enter(Flight::Next(node.id), None) {
            Entered::Leader(guard) => Some(guard),
            Entered::Busy(_) => None,
        };
        let kept = self.trie.keep(parent, place.digest, &node);
        (node, kept, next.filter(|_| kept))
    }

    fn failed(&self, error: &PluginError) -> EngineError {
        self.metrics.plugin_failed(self.plugin.name(), error.cause.kind().as_str());
        of_plugin(STEP, error)
    }
}

fn lost_name() -> EngineError {
    EngineError::new(Family::Plugin, "trace", "step format: a value of the trace has no name")
}
