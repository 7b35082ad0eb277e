//! One request on its way through the stages.

use super::TracedModel;
use super::flights::{Entered, Flight, FlightGuard, deadline_passed};
use super::job::{Job, Live, Made, Place, Start};
use super::trie::Node;
use crate::errors::of_dispatch;
use crate::{EngineError, Family};
use aimass_dispatch::{Dispatcher, PlanCall};
use aimass_sandbox::{NamedTensors, TracedStage};
use aimass_tensor::{Shape, Tensor};
use std::sync::Arc;
use std::time::Instant;

/// On whose behalf a traced model runs, and until when.
pub(crate) struct TracedCall<'a> {
    pub(crate) dispatcher: &'a Dispatcher,
    pub(crate) tenant: Arc<str>,
    pub(crate) deadline: Instant,
    /// Name of the pipeline's step, for errors.
    pub(crate) step: &'a str,
}

struct Walk<'a> {
    model: &'a Arc<TracedModel>,
    call: &'a TracedCall<'a>,
    tick: u64,
    /// Inputs, then what each stage knows and answers.
    values: Vec<Tensor>,
    bytes: u64,
    path: Vec<Arc<Node>>,
    /// Whether every stage of the path is kept.
    kept: bool,
    live: Option<Live>,
    next: Option<FlightGuard>,
}

impl TracedModel {
    /// Answers one call: inputs and outputs in the order of the signature.
    ///
    /// # Errors
    /// Invalid input, errors of plans, and of the plugin where a stage is missing.
    pub(crate) async fn run(
        self: &Arc<Self>,
        call: &TracedCall<'_>,
        inputs: Vec<Tensor>,
    ) -> Result<Vec<Tensor>, EngineError> {
        let mut walk = self.walk(call, inputs)?;
        loop {
            let node = walk.find().await?;
            walk.enter(&node)?;
            walk.run(&node).await?;
            let Some((stage, slots)) = &node.stage else { return Err(defect()) };
            if stage.observe.is_empty() {
                let outputs = slots.outputs.iter().map(|&slot| walk.values.get(slot).cloned());
                return outputs.collect::<Option<_>>().ok_or_else(defect);
            }
            walk.path.push(node);
        }
    }

    /// The stages of one call, each with the inputs of its plan. All are run but the last.
    ///
    /// # Errors
    /// As [`TracedModel::run`].
    pub(crate) async fn stages(
        self: &Arc<Self>,
        call: &TracedCall<'_>,
        inputs: Vec<Tensor>,
    ) -> Result<Vec<(TracedStage, Vec<Tensor>)>, EngineError> {
        let mut walk = self.walk(call, inputs)?;
        let mut stages = Vec::new();
        loop {
            let node = walk.find().await?;
            walk.enter(&node)?;
            let Some((stage, _)) = &node.stage else { return Err(defect()) };
            stages.push((stage.clone(), walk.plan_inputs(&node)?));
            if stage.observe.is_empty() {
                return Ok(stages);
            }
            walk.run(&node).await?;
            walk.path.push(node);
        }
    }

    fn walk<'a>(
        self: &'a Arc<Self>,
        call: &'a TracedCall<'a>,
        inputs: Vec<Tensor>,
    ) -> Result<Walk<'a>, EngineError> {
        self.rules.check(&inputs)?;
        Ok(Walk {
            model: self,
            call,
            tick: self.trie.tick(),
            values: inputs,
            bytes: 0,
            path: Vec::new(),
            kept: true,
            live: None,
            next: None,
        })
    }
}

impl Walk<'_> {
    /// The stage that follows: kept, made by another request, or made now.
    async fn find(&mut self) -> Result<Arc<Node>, EngineError> {
        let (digest, asked) = self.digests();
        let parent = self.path.last();
        let flight = match parent {
            Some(parent) => Flight::Child(parent.id, digest),
            None => Flight::Root(digest),
        };
        if self.live.is_some() {
            let guard = match self.kept.then(|| self.model.flights.enter(flight, None)) {
                Some(Entered::Leader(guard)) => Some(guard),
                // Somebody else keeps it first; this request goes on alone.
                Some(Entered::Busy(_)) => {
                    self.kept = false;
                    None
                }
                None => None,
            };
            self.next = None;
            return self.make(digest, asked, guard).await;
        }
        let before = parent.map(|parent| Flight::Next(parent.id));
        loop {
            if let Some(node) = self.look_up(digest) {
                if node.stage.is_some() {
                    return Ok(node);
                }
                node.touch(self.tick);
                self.kept = false;
                return self.make(digest, asked, None).await;
            }
            let failed = (parent.map(|parent| parent.id), asked);
            if let Some(error) = self.model.failures.find(failed, Instant::now()) {
                return Err(error);
            }
            match self.model.flights.enter(flight, before) {
                Entered::Busy(waiter) => waiter.wait(asked, self.call.deadline).await?,
                // It may have been made between looking and entering.
                Entered::Leader(guard) if self.look_up(digest).is_none() => {
                    return self.make(digest, asked, Some(guard)).await;
                }
                Entered::Leader(_) => {}
            }
        }
    }

    fn look_up(&self, digest: u64) -> Option<Arc<Node>> {
        let trie = &self.model.trie;
        let Some(parent) = self.path.last() else {
            return trie.root(&self.model.rules, digest, &self.values);
        };
        let slots = parent.stage.as_ref().map(|(_, slots)| slots)?;
        trie.child(parent, digest, |index| self.values.get(*slots.observe.get(index)?))
    }

    /// Digests of what leads to the next stage: as it is looked up, and exactly.
    fn digests(&self) -> (u64, u64) {
        let trie = &self.model.trie;
        let Some((_, slots)) = self.path.last().and_then(|parent| parent.stage.as_ref()) else {
            let shapes = || self.values.iter().map(Tensor::shape);
            return (trie.shapes_digest(&self.model.rules, shapes()), trie.exact_digest(shapes()));
        };
        let observed = slots.observe.iter().filter_map(|&slot| self.values.get(slot));
        let digest = trie.content_digest(observed);
        (digest, digest)
    }

    async fn make(
        &mut self,
        digest: u64,
        asked: u64,
        guard: Option<FlightGuard>,
    ) -> Result<Arc<Node>, EngineError> {
        let permit = self.model.tracers.clone().acquire_owned();
        let permit = tokio::time::timeout_at(self.call.deadline.into(), permit).await;
        let permit = permit.map_err(|_| deadline_passed())?.map_err(|_| defect())?;
        let shapes = if self.path.is_empty() { self.shapes() } else { Vec::new() };
        let place = Place {
            keep: self.kept,
            parent: self.path.last().cloned(),
            depth: self.path.len(),
            digest,
            asked,
        };
        let job = Job {
            model: self.model.clone(),
            observed: self.path.last().map(|node| self.observed(node)),
            start: self.start(),
            shapes,
            place,
            guard,
            permit: Some(permit),
        };
        // A task of its own goes on when this request is dropped or its deadline passes.
        let made = tokio::time::timeout_at(self.call.deadline.into(), tokio::spawn(job.run()));
        let made = made.await.map_err(|_| deadline_passed())?;
        let Made { node, kept, live, next } = made.map_err(|panic| {
            EngineError::new(Family::Unavailable, "trace-panic", panic.to_string())
        })??;
        (self.kept, self.live, self.next) = (self.kept && kept, live, next);
        Ok(node)
    }

    fn start(&mut self) -> Start {
        if let Some(live) = self.live.take() {
            return Start::Live(Box::new(live));
        }
        let mut replay = Vec::with_capacity(self.path.len());
        for (index, node) in self.path.iter().enumerate() {
            let before = index.checked_sub(1).and_then(|before| self.path.get(before));
            let observed = before.map(|before| self.observed(before)).unwrap_or_default();
            replay.push((node.clone(), observed));
        }
        Start::Fresh { inputs: self.model.told(&self.shapes()), replay }
    }

    /// Shapes of the inputs.
    fn shapes(&self) -> Vec<Shape> {
        let inputs = self.model.signature.inputs.len();
        self.values.iter().take(inputs).map(|tensor| *tensor.shape()).collect()
    }

    /// What this stage wants to observe.
    fn observed(&self, node: &Node) -> NamedTensors {
        let Some((stage, slots)) = &node.stage else { return Vec::new() };
        let named = stage.observe.iter().zip(&slots.observe);
        named
            .filter_map(|(name, &slot)| Some((name.clone(), self.values.get(slot)?.clone())))
            .collect()
    }

    /// Adds what a stage knows.
    fn enter(&mut self, node: &Node) -> Result<(), EngineError> {
        node.touch(self.tick);
        let Some((stage, _)) = &node.stage else { return Err(defect()) };
        stage.known.iter().try_for_each(|(_, tensor)| self.add(tensor.clone()))
    }

    /// Inputs of a stage's plan; none if it has no plan.
    fn plan_inputs(&self, node: &Node) -> Result<Vec<Tensor>, EngineError> {
        let Some((_, slots)) = &node.stage else { return Err(defect()) };
        let inputs = slots.inputs.iter().map(|&slot| self.values.get(slot).cloned());
        inputs.collect::<Option<_>>().ok_or_else(defect)
    }

    /// Runs a stage's plan, if it has one, and adds what it answers.
    async fn run(&mut self, node: &Node) -> Result<(), EngineError> {
        let plan = node.stage.as_ref().and_then(|(stage, _)| stage.plan.as_ref());
        let Some(plan) = plan else { return Ok(()) };
        let call = PlanCall {
            plan: plan.clone(),
            inputs: self.plan_inputs(node)?,
            tenant: self.call.tenant.clone(),
            deadline: self.call.deadline,
            slot: None,
        };
        let answer = self.call.dispatcher.call(call).await;
        let answer = answer.map_err(|error| of_dispatch(self.call.step, &error))?;
        answer.outputs.into_iter().try_for_each(|tensor| self.add(tensor))
    }

    fn add(&mut self, tensor: Tensor) -> Result<(), EngineError> {
        let max = self.model.config.call_bytes_max;
        self.bytes = self.bytes.saturating_add(tensor.byte_len() as u64);
        if self.bytes > max {
            let message = format!(
                "step {}: the values of one call may take {max} bytes, and its stages have made more",
                self.call.step
            );
            return Err(EngineError::new(Family::TooLarge, "call-bytes", message));
        }
        self.values.push(tensor);
        Ok(())
    }
}

fn defect() -> EngineError {
    let message = "step format: a kept stage lacks a value; this is a defect of the server";
    EngineError::new(Family::Unavailable, "trace", message)
}
