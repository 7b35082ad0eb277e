//! Walks a model node by node for inputs of known extents, and emits what it finds.
//!
//! The walk is a machine with explicit frames (the graph, bodies of loops, branches, functions), so
//! that it can stop anywhere for the content of a value and go on later.

mod control;
mod flex;
mod looping;
mod map;
mod scan;
mod stack;

use crate::composite;
use crate::constant::{constant, dense};
use crate::emit::{Emitter, known};
use crate::node::{Cx, Inputs};
use crate::ops;
use crate::proto::{Attribute, Function, Graph, Model, Name, NameMap, Node, ValueInfo, opset};
use crate::signature::Traced;
use crate::value::{Extent, Form, R, Stop, T, Value, held_bytes, invalid, shown};
use aimass_sdk::graph::Graph as HostGraph;
use aimass_sdk::{DType, Error, NamedTensors, Result, Stage, Tensor};
use control::{Bound, Kind};
use std::collections::HashMap;
use std::rc::Rc;

/// Frames inside of each other.
const FRAMES_MAX: usize = 64;
/// Nodes that one trace walks, each iteration of a loop counted.
const STEPS_MAX: u64 = 2_000_000;
/// Bytes of known tensors; the memory of an instance is 256 MiB.
const HELD_BYTES_MAX: u64 = 96 << 20;
/// Observed bytes beyond which a stage is not worth keeping.
const REUSABLE_BYTES_MAX: usize = 64 << 10;

/// Bytes of what kept rows from being left open, as the contract bounds them.
const BLOCKED_BY_BYTES_MAX: usize = 1_024;

/// Tensors that one stage observes at most; a lowering asks again for the others.
const OBSERVED_MAX: usize = 64;

/// A trace under way.
pub(crate) struct Tracer {
    model: Rc<Model>,
    emitter: Emitter,
    frames: Vec<Frame>,
    outputs: Vec<(String, Value)>,
    observed: Vec<T>,
    steps: u64,
    /// What kept rows from being left open.
    blocked_by: Option<String>,
}

/// One graph that is being walked.
struct Frame {
    graph: Rc<Graph>,
    /// Index of the next node.
    next: usize,
    scope: NameMap<Value>,
    /// The frame whose names this one sees.
    outer: Option<usize>,
    attributes: Option<Rc<HashMap<String, Attribute>>>,
    opset: i64,
    kind: Kind,
    /// Inputs of a function that the call leaves out.
    absent: Vec<Name>,
}

impl Tracer {
    /// Starts at the first node, with these inputs; it serves any number of rows if one of them has.
    pub(crate) fn new(model: Rc<Model>, inputs: Vec<(String, T)>) -> Tracer {
        let opset = opset(&model.opsets).unwrap_or_default();
        let has_rows = |input: &&T| input.dims.first() == Some(&Extent::Batch);
        let rows = inputs.iter().map(|(_, input)| input).find(has_rows).cloned();
        let value = |(name, input): (String, T)| Some((model.names.get(&name)?, input.into()));
        let scope = inputs.into_iter().filter_map(value).collect();
        let root = Frame {
            graph: model.graph.clone(),
            next: 0,
            scope,
            outer: None,
            attributes: None,
            opset,
            kind: Kind::Root,
            absent: Vec::new(),
        };
        let emitter = Emitter::new(rows, &model.file, &unused_prefix(&model));
        Tracer {
            model,
            emitter,
            frames: vec![root],
            outputs: Vec::new(),
            observed: Vec::new(),
            steps: 0,
            blocked_by: None,
        }
    }

    /// Walks until the end or to where content is needed.
    ///
    /// # Errors
    /// [`Stop::Error`] and [`Stop::NotBatchable`]; never [`Stop::Observe`].
    pub(crate) fn run(&mut self) -> R<Stage> {
        loop {
            match self.step() {
                Ok(true) => {}
                Ok(false) => match self.finish() {
                    Err(Stop::Observe(tensors)) => return self.observe(tensors),
                    other => return other,
                },
                Err(Stop::Observe(tensors)) => return self.observe(tensors),
                Err(stop) => return Err(stop),
            }
        }
    }

    /// Takes in what the last stage asked for, and walks on.
    ///
    /// # Errors
    /// As [`Tracer::run`].
    pub(crate) fn resume(&mut self, mut observed: NamedTensors) -> R<Stage> {
        for tensor in std::mem::take(&mut self.observed) {
            let name = match &*tensor.form.borrow() {
                Form::Named(name) => name.clone(),
                _ => continue,
            };
            let content = observed.take(&name)?;
            let content = known(&content)?;
            if content.dtype == DType::Bytes
                || content.elements()?.saturating_mul(8) > REUSABLE_BYTES_MAX as u64
            {
                self.emitter.reusable = false;
            }
            tensor.become_form(content.form.borrow().clone());
        }
        self.run()
    }

    /// Ends the stage so that these tensors can be looked at.
    fn observe(&mut self, tensors: Vec<T>) -> R<Stage> {
        if self.emitter.is_batched() {
            let message = "the model takes more than one stage of a trace".to_owned();
            return Err(Stop::NotBatchable(message));
        }
        let tensors = &tensors[..tensors.len().min(OBSERVED_MAX)];
        for tensor in tensors {
            self.emitter.unpack(tensor)?;
        }
        let graph = match tensors.iter().any(|tensor| self.emitter.is_computed_here(tensor)) {
            true => self.emitter.cut(tensors)?,
            false => None,
        };
        let mut names: Vec<String> = Vec::new();
        self.observed.clear();
        for tensor in tensors {
            if let Form::Named(name) = &*tensor.form.borrow()
                && !names.contains(name)
            {
                names.push(name.clone());
                self.observed.push(tensor.clone());
            }
        }
        Ok(self.stage(graph, Vec::new(), names))
    }

    fn stage(
        &self,
        graph: Option<HostGraph>,
        known: Vec<(String, Tensor)>,
        observe: Vec<String>,
    ) -> Stage {
        let (batched, reusable) = (self.emitter.is_batched(), self.emitter.reusable);
        let blocked_by = self.blocked_by.clone();
        Stage { graph, known, observe, batched, reusable, blocked_by }
    }

    /// The last stage: every output of the model that the values do not hold yet.
    fn finish(&mut self) -> R<Stage> {
        let (mut known, mut computed) = (Vec::new(), Vec::new());
        for (name, value) in self.outputs.clone() {
            let Value::Tensor(tensor) =
                crate::node::as_tensor(&value).cloned().map(Value::Tensor)?
            else {
                return Err(invalid(format!("output {name} is no tensor")));
            };
            let form = tensor.form.borrow().clone();
            match form {
                Form::Named(own) if own == name => {}
                Form::Bytes { .. } | Form::Strings(_) => {
                    known.push((name, self.emitter.tensor(&tensor)?));
                }
                Form::File { .. } | Form::Node => computed.push((name, tensor)),
                Form::Named(_) if tensor.dtype == DType::Bytes => {
                    return Err(Stop::Observe(vec![tensor]));
                }
                Form::Named(_) => computed.push((name, tensor)),
            }
        }
        let graph = self.emitter.finish(&computed)?;
        Ok(self.stage(graph, known, Vec::new()))
    }

    /// One node, or the end of a frame. False at the end of the model.
    fn step(&mut self) -> R<bool> {
        self.steps += 1;
        if self.steps > STEPS_MAX {
            let message = format!("expected a model that runs at most {STEPS_MAX} nodes");
            return Err(Error::limit("onnx-steps", message).into());
        }
        if held_bytes() > HELD_BYTES_MAX {
            let message = format!(
                "expected a model whose known tensors take at most {HELD_BYTES_MAX} bytes at once"
            );
            return Err(Error::limit("onnx-memory", message).into());
        }
        if self.emitter.is_full() {
            let mark = self.emitter.mark()?;
            return Err(Stop::Observe(vec![mark]));
        }
        let top = self.frames.len() - 1;
        let frame = &self.frames[top];
        match frame.graph.nodes.get(frame.next).cloned() {
            Some(node) => self.node(top, &node).map_err(|stop| self.locate(stop, &node))?,
            None => return self.end(top),
        }
        Ok(true)
    }

    fn node(&mut self, top: usize, node: &Rc<Node>) -> R<()> {
        let mut inputs = Vec::with_capacity(node.inputs.len());
        for name in &node.inputs {
            inputs.push(match name.is_empty() || self.is_absent(top, *name) {
                true => None,
                false => Some(self.lookup(top, *name)?),
            });
        }
        if let Some(function) = self.function(node) {
            return self.call(top, node, &function, inputs);
        }
        if node.domain.is_empty() && self.control(top, node, &inputs)? {
            return Ok(());
        }
        if node.domain == "ai.onnx.preview" && node.op == "FlexAttention" {
            return self.start_flex(top, node, &inputs);
        }
        let frame = &self.frames[top];
        let attributes = frame.attributes.clone();
        let mut cx = Cx {
            emitter: &mut self.emitter,
            node,
            names: &self.model.names,
            opset: frame.opset,
            function: attributes.as_deref(),
        };
        cx.start_lowering();
        let outputs = match node.domain.as_str() {
            composite::DOMAIN => ops::lower_composite(&mut cx, Inputs(&inputs))?,
            _ => Some(ops::lower(&mut cx, Inputs(&inputs))?),
        };
        cx.end_lowering();
        match outputs {
            Some(outputs) => self.complete(top, node, outputs),
            None => {
                let body = self.graph_of(top, node, composite::BODY)?;
                self.push(&body, Some(top), Kind::Branch).map(drop)
            }
        }
    }

    fn function(&self, node: &Node) -> Option<Rc<Function>> {
        if self.model.functions.is_empty() {
            return None;
        }
        let key = (node.domain.clone(), node.op.clone(), node.overload.clone());
        self.model.functions.get(&key).cloned()
    }

    /// Binds a node's outputs, forgets what nobody needs any more and moves on.
    fn complete(&mut self, frame: usize, node: &Node, outputs: Vec<Value>) -> R<()> {
        let frame = &mut self.frames[frame];
        let expected =
            node.outputs.iter().rposition(|name| !name.is_empty()).map_or(0, |at| at + 1);
        if outputs.len() < expected {
            return Err(invalid(format!("expected {expected} outputs, got {}", outputs.len())));
        }
        for (name, value) in node.outputs.iter().zip(outputs) {
            if !name.is_empty() {
                frame.scope.insert(*name, value);
            }
        }
        if let Some(names) = frame.graph.last_uses.get(frame.next) {
            for name in names {
                frame.scope.remove(name);
            }
        }
        frame.next += 1;
        Ok(())
    }

    /// Whether a name is that of a function's input that the call leaves out.
    fn is_absent(&self, frame: usize, name: Name) -> bool {
        let mut at = Some(frame);
        while let Some(index) = at {
            let frame = &self.frames[index];
            if frame.absent.contains(&name) {
                return !frame.scope.contains_key(&name);
            }
            at = frame.outer;
        }
        false
    }

    /// The value of a name as a frame sees it.
    fn lookup(&mut self, frame: usize, name: Name) -> R<Value> {
        let mut at = Some(frame);
        while let Some(index) = at {
            if let Some(value) = self.frames[index].scope.get(&name) {
                return Ok(value.clone());
            }
            let graph = self.frames[index].graph.clone();
            if let Some(tensor) = graph.initializers.get(&name) {
                return Ok(constant(&mut self.emitter, tensor)?.into());
            }
            if let Some(sparse) = graph.sparse_initializers.get(&name) {
                let value = Value::Tensor(dense(&mut self.emitter, sparse)?);
                self.frames[index].scope.insert(name, value.clone());
                return Ok(value);
            }
            at = self.frames[index].outer;
        }
        let name = shown(self.model.names.text(name));
        Err(invalid(format!("no value is named `{name}` here; nodes must come in order")))
    }

    fn push(&mut self, graph: &Rc<Graph>, outer: Option<usize>, kind: Kind) -> R<&mut Frame> {
        if self.frames.len() == FRAMES_MAX {
            let message = format!("expected at most {FRAMES_MAX} graphs inside of each other");
            return Err(Error::limit("onnx-frames", message).into());
        }
        let parent = &self.frames[self.frames.len() - 1];
        let (attributes, opset) = (parent.attributes.clone(), parent.opset);
        let graph = graph.clone();
        let scope = NameMap::default();
        let absent = Vec::new();
        self.frames.push(Frame { graph, next: 0, scope, outer, attributes, opset, kind, absent });
        let top = self.frames.len() - 1;
        Ok(&mut self.frames[top])
    }

    /// Enters a function's body; it sees its inputs only.
    fn call(
        &mut self,
        top: usize,
        node: &Node,
        function: &Function,
        inputs: Vec<Option<Value>>,
    ) -> R<()> {
        let mut attributes = HashMap::new();
        for (name, attribute) in function.defaults.iter() {
            attributes.insert(name.clone(), attribute.clone());
        }
        let outer = self.frames[top].attributes.clone();
        for (name, attribute) in &node.attributes {
            if let Some(value) = crate::node::attribute(node, outer.as_deref(), name) {
                let attribute = Attribute { value: value.clone(), ..attribute.clone() };
                attributes.insert(name.clone(), Attribute { reference: None, ..attribute });
            }
        }
        let opset =
            function.opsets.contains_key("").then(|| opset(&function.opsets)).transpose()?;
        let names = function.inputs.clone();
        let frame = self.push(&function.body, None, Kind::Function)?;
        frame.attributes = Some(Rc::new(attributes));
        frame.opset = opset.unwrap_or(frame.opset);
        let mut inputs = inputs.into_iter();
        for name in names {
            match inputs.next().flatten() {
                Some(value) => {
                    frame.scope.insert(name, value);
                }
                None => frame.absent.push(name),
            }
        }
        match inputs.next() {
            None => Ok(()),
            Some(_) => Err(invalid("more inputs than the function has")),
        }
    }

    /// Ends a frame whose nodes are done. False for the model's own.
    fn end(&mut self, top: usize) -> R<bool> {
        let graph = self.frames[top].graph.clone();
        let mut values: Bound = Vec::with_capacity(graph.outputs.len());
        for output in &graph.outputs {
            values.push(match self.lookup(top, output.name) {
                Ok(value) => Some(value),
                // A function may leave outputs open that its caller does not ask for.
                Err(_) if matches!(self.frames[top].kind, Kind::Function) => None,
                Err(stop) => return Err(stop),
            });
        }
        if matches!(self.frames[top].kind, Kind::Root) {
            let name = |output: &ValueInfo| self.model.names.text(output.name).to_owned();
            let names = graph.outputs.iter().map(name);
            self.outputs = names.zip(values.into_iter().flatten()).collect();
            return Ok(false);
        }
        if let Some(outputs) = self.leave(top, values)? {
            self.frames.pop();
            let outer = self.frames.len() - 1;
            let frame = &self.frames[outer];
            let node = frame.graph.nodes.get(frame.next).cloned();
            let node = node.ok_or_else(|| Error::internal("frames", "a frame without its node"))?;
            self.complete(outer, &node, outputs)?;
        }
        Ok(true)
    }

    /// Adds the node to an error that does not name one yet, and to what stands in the way of open rows.
    fn locate(&self, stop: Stop, node: &Node) -> Stop {
        let located = |message: &str| {
            let output = || node.outputs.first().map_or("", |&name| self.model.names.text(name));
            let name = if node.name.is_empty() { output() } else { &node.name };
            let domain = if node.domain.is_empty() { "ai.onnx" } else { &node.domain };
            let (name, domain, op) = (shown(name), shown(domain), shown(&node.op));
            format!("node `{name}` ({domain}.{op}): {message}")
        };
        match stop {
            Stop::Error(error) if !error.message.starts_with("node ") => {
                let message = located(&error.message);
                Stop::Error(Error { message, ..error })
            }
            Stop::NotBatchable(what) => Stop::NotBatchable(located(&what)),
            Stop::Observe(tensors) if self.emitter.is_batched() => {
                let named = tensors.iter().find_map(|tensor| match &*tensor.form.borrow() {
                    Form::Named(name) => Some(format!("`{}`", shown(name))),
                    Form::Bytes { .. } | Form::File { .. } | Form::Node | Form::Strings(_) => None,
                });
                let named = named.unwrap_or_else(|| "a computed value".to_owned());
                Stop::NotBatchable(located(&format!("the content of {named} decides what follows")))
            }
            Stop::Error(_) | Stop::Observe(_) => stop,
        }
    }
}

/// What no input or output of the model starts with.
fn unused_prefix(model: &Model) -> String {
    let ports = || model.graph.inputs.iter().chain(&model.graph.outputs);
    let mut prefix = "#".to_owned();
    while ports().any(|port| model.names.text(port.name).starts_with(&prefix)) {
        prefix.push('#');
    }
    prefix
}

/// A tensor that is an input of the model.
pub(crate) fn input(name: &str, dtype: DType, dims: Vec<crate::value::Extent>) -> T {
    crate::value::TensorValue::new(dtype, dims, Form::Named(name.to_owned()))
}

/// Starts a trace, with rows left open if the signature has any and the model allows it. One that knows
/// its rows says what they were known for.
///
/// # Errors
/// What keeps the model from being served for these shapes.
pub(crate) fn start(model: &Rc<Model>, traced: Traced) -> Result<(Tracer, Stage)> {
    let blocked_by = match traced.open {
        Ok(open) => {
            let mut tracer = Tracer::new(model.clone(), open);
            match tracer.run() {
                Ok(stage) => return Ok((tracer, stage)),
                // Known rows are tried next and tell their own error.
                Err(stop) => error_of(stop).message,
            }
        }
        Err(blocked_by) => blocked_by,
    };
    let mut tracer = Tracer::new(model.clone(), traced.exact);
    let end = blocked_by.floor_char_boundary(BLOCKED_BY_BYTES_MAX);
    tracer.blocked_by = Some(blocked_by[..end].to_owned());
    match tracer.run() {
        Ok(stage) => Ok((tracer, stage)),
        Err(stop) => Err(error_of(stop)),
    }
}

/// The error to answer for a stop that is not a request to observe.
pub(crate) fn error_of(stop: Stop) -> Error {
    match stop {
        Stop::Error(error) => error,
        Stop::NotBatchable(what) => Error::internal("rows", what),
        Stop::Observe(_) => Error::internal("observe", "a request to observe was lost"),
    }
}
