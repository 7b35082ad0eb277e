//! Builder methods: regions and the ops of control flow that run them.
//!
//! While a region is open, the builder holds its graph, and what was built outside waits. Numbers of
//! values are given once in a builder: each graph knows which runs of numbers are its own.

use super::GraphBuilder;
use crate::dim::{DimTable, check_dims};
use crate::graph::{Graph, Node, Origin, Value};
use crate::op::{IfElse, Op, Scan, SubGraph, While};
use crate::{Dim, GraphError, Signature, TensorSpec, ValueId, ValueSpec};
use aimass_tensor::DType;
use std::collections::HashMap;
use std::sync::Arc;

/// A closed sub-graph of the builder that answered it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RegionId(pub u32);

/// Values from `local` on have the numbers from `first` on.
#[derive(Debug, Clone, Copy)]
struct Run {
    first: u32,
    local: u32,
}

/// The numbers of the values of one graph under construction.
#[derive(Debug)]
pub(super) struct Numbers {
    runs: Vec<Run>,
    /// Number of the region; 0 for the graph itself.
    region: u32,
}

/// What waits while a region is open.
pub(super) struct Waiting {
    values: Vec<Value>,
    nodes: Vec<Node>,
    dims: DimTable,
    signature: Signature,
    numbers: Numbers,
    expanded: usize,
    /// What the region takes from the graph outside, in the order of its inputs.
    captures: Vec<ValueId>,
}

/// A closed region.
pub(super) struct Region {
    graph: SubGraph,
    captures: Vec<ValueId>,
    /// The region that it was opened in; 0 for none.
    around: u32,
}

impl Waiting {
    /// Nodes that were built and used so far.
    pub(super) fn nodes(&self) -> usize {
        self.nodes.len() + self.expanded
    }
}

impl Default for Numbers {
    fn default() -> Numbers {
        Numbers { runs: vec![Run { first: 0, local: 0 }], region: 0 }
    }
}

impl Numbers {
    /// The value of this number in a graph of `count` values.
    fn local(&self, value: ValueId, count: usize) -> Option<ValueId> {
        let after = self.runs.partition_point(|run| run.first <= value.0);
        let run = self.runs[after.checked_sub(1)?];
        let local = value.0 - run.first + run.local;
        let end = self.runs.get(after).map_or(count as u32, |next| next.local);
        (local < end).then_some(ValueId(local))
    }

    /// The number of a value.
    fn number(&self, local: ValueId) -> ValueId {
        let after = self.runs.partition_point(|run| run.local <= local.0);
        let run = self.runs[after.max(1) - 1];
        ValueId(local.0 - run.local + run.first)
    }

    /// The first number that nobody has.
    fn next(&self, count: usize) -> u32 {
        self.number(ValueId(count as u32)).0
    }

    fn go_on_from(&mut self, first: u32, count: usize) {
        self.runs.retain(|run| run.local < count as u32);
        self.runs.push(Run { first, local: count as u32 });
    }
}

impl GraphBuilder {
    /// Opens a sub-graph; what follows is built inside it until [`GraphBuilder::region_end`]. It may
    /// use `captures`, the only outer values, and `params`; answers both as values of the sub-graph.
    /// `Dynamic("")` of a param is a dimension of its own. Offsets are captured together with a value
    /// of their ragged dimension. Inside there are no inputs, outputs and states.
    ///
    /// # Errors
    /// [`GraphError::UnknownValue`]; [`GraphError::Limit`] on depth or number of regions; dims that
    /// nothing declares.
    pub fn region_begin(
        &mut self,
        captures: &[ValueId],
        params: &[(DType, Vec<Dim>)],
    ) -> Result<Vec<ValueId>, GraphError> {
        const OP: &str = "region-begin";
        let limits = self.limits;
        self.limit("open regions", limits.region_depth_max as u64, self.open.len() as u64 + 1)?;
        let made = self.regions.len() + self.open.len() + 1;
        self.limit("regions", limits.regions_max as u64, made as u64)?;
        let values = (self.made + self.values.len() + captures.len() + params.len()) as u64;
        self.limit("nodes", 2 * limits.nodes_max as u64, values)?;
        self.begun += 1;
        let mut inner = Inner::new(self.begun);
        let mut waiting = Vec::new();
        for (index, &capture) in captures.iter().enumerate() {
            let local = self.local(capture)?;
            let value = &self.values[local.index()];
            if inner.capture(index, value) {
                waiting.push(local);
            }
        }
        for (index, (dtype, dims)) in params.iter().enumerate() {
            check_dims(OP, dims)?;
            let dims = self.param_dims(OP, index, dims)?;
            inner.param(index, *dtype, dims);
        }
        inner.check(OP)?;
        let first = self.numbers.next(self.values.len());
        let count = inner.values.len() as u32;
        let numbers = Numbers { runs: vec![Run { first, local: 0 }], region: self.begun };
        self.open.push(Waiting {
            values: std::mem::replace(&mut self.values, inner.values),
            nodes: std::mem::take(&mut self.nodes),
            dims: std::mem::replace(&mut self.dims, inner.dims),
            signature: std::mem::replace(&mut self.signature, inner.signature),
            numbers: std::mem::replace(&mut self.numbers, numbers),
            expanded: std::mem::take(&mut self.expanded),
            captures: waiting,
        });
        Ok((first..first + count).map(ValueId).collect())
    }

    /// Closes the sub-graph opened last. Its values are unknown from then on.
    ///
    /// # Errors
    /// [`GraphError::Region`] if none is open; [`GraphError::NoOutput`]; [`GraphError::Limit`].
    pub fn region_end(&mut self, outputs: &[ValueId]) -> Result<RegionId, GraphError> {
        const OP: &str = "region-end";
        if outputs.is_empty() {
            return Err(GraphError::NoOutput);
        }
        self.limit("outputs", self.limits.outputs_max as u64, outputs.len() as u64)?;
        let outputs: Vec<ValueId> =
            outputs.iter().map(|&output| self.local(output)).collect::<Result<_, _>>()?;
        let Some(outer) = self.open.pop() else {
            return Err(GraphError::Region { op: OP, reason: "no region is open" });
        };
        let next = self.numbers.next(self.values.len());
        // Values count where they are more: captured constants are cloned with every use.
        let expanded = self.expanded + self.nodes.len().max(self.values.len());
        self.made += self.values.len();
        self.closed_nodes += self.nodes.len();
        let graph = Graph {
            values: std::mem::replace(&mut self.values, outer.values),
            nodes: std::mem::replace(&mut self.nodes, outer.nodes),
            outputs,
            states: Vec::new(),
            signature: std::mem::replace(&mut self.signature, outer.signature),
            dims: std::mem::replace(&mut self.dims, outer.dims),
        };
        self.numbers = outer.numbers;
        self.numbers.go_on_from(next, self.values.len());
        self.expanded = outer.expanded;
        self.regions.push(Region {
            graph: SubGraph { graph: Arc::new(graph), plan: None, expanded },
            captures: outer.captures,
            around: self.numbers.region,
        });
        Ok(RegionId(self.regions.len() as u32 - 1))
    }

    /// Runs one of two regions without params, by a bool scalar. Both answer the same dtypes, ranks
    /// and known extents; where other extents differ, the output's is found while a plan runs.
    ///
    /// # Errors
    /// [`GraphError`] if the condition or the outputs are of other types, or a region is not one of
    /// this scope.
    pub fn if_else(
        &mut self,
        condition: ValueId,
        then: RegionId,
        otherwise: RegionId,
    ) -> Result<Vec<ValueId>, GraphError> {
        const OP: &str = "if-else";
        let (left, right) = (self.region(OP, then)?, self.region(OP, otherwise)?);
        let captures = [&left.captures[..], &right.captures].concat();
        let op = IfElse { then: left.graph.clone(), otherwise: right.graph.clone() };
        self.push_control(Op::IfElse(op), &[condition], &captures)
    }

    /// Runs `body` while `condition` (a region that answers a bool scalar) holds, at most `max`
    /// times. Both take the carried values as params; `body` answers them anew, of the same types.
    /// A run is charged for all `max` iterations before it starts.
    ///
    /// # Errors
    /// [`GraphError`] if types do not fit, or a region is not one of this scope.
    pub fn while_loop(
        &mut self,
        condition: RegionId,
        body: RegionId,
        carried: &[ValueId],
        max: u64,
    ) -> Result<Vec<ValueId>, GraphError> {
        const OP: &str = "while-loop";
        let (test, work) = (self.region(OP, condition)?, self.region(OP, body)?);
        let captures = [&test.captures[..], &work.captures].concat();
        let (condition, body) = (test.graph.clone(), work.graph.clone());
        let op = While { condition, body, carried: carried.len(), max };
        self.push_control(Op::While(op), carried, &captures)
    }

    /// Runs `body` for every index of axis 0 of `scanned`. Its params are the carried values and then
    /// one element of each scanned value; it answers the carried values anew, of the same types, and
    /// then what is stacked along a new axis 0. Over rows nothing is carried.
    ///
    /// # Errors
    /// [`GraphError`] if types do not fit, rows would be mixed, or the region is not one of this scope.
    pub fn scan(
        &mut self,
        body: RegionId,
        carried: &[ValueId],
        scanned: &[ValueId],
    ) -> Result<Vec<ValueId>, GraphError> {
        let work = self.region("scan", body)?;
        let (body, captures) = (work.graph.clone(), work.captures.clone());
        let op = Scan { body, carried: carried.len(), scanned: scanned.len() };
        self.push_control(Op::Scan(op), &[carried, scanned].concat(), &captures)
    }

    /// Runs a region once: its nodes are repeated here, with the arguments as params.
    ///
    /// # Errors
    /// [`GraphError`] if an argument is of another type, an op refuses its arguments' extents, or the
    /// region is not one of this scope.
    pub fn call(
        &mut self,
        body: RegionId,
        arguments: &[ValueId],
    ) -> Result<Vec<ValueId>, GraphError> {
        const OP: &str = "call";
        let region = self.region(OP, body)?;
        let (graph, captures) = (region.graph.graph.clone(), region.captures.clone());
        let arguments: Vec<ValueId> =
            arguments.iter().map(|&x| self.local(x)).collect::<Result<_, _>>()?;
        let inputs = [captures, arguments].concat();
        let before = (self.values.len(), self.nodes.len(), self.expanded);
        let rules = (self.dims.derived.len(), self.dims.checks.len());
        let outcome = self.repeat(OP, &graph, &inputs);
        if outcome.is_err() {
            self.values.truncate(before.0);
            self.nodes.truncate(before.1);
            self.expanded = before.2;
            self.dims.derived.truncate(rules.0);
            self.dims.late.truncate(rules.0);
            self.dims.checks.truncate(rules.1);
        }
        outcome
    }

    /// The number of a value of the graph under construction, in it.
    pub(super) fn local(&self, value: ValueId) -> Result<ValueId, GraphError> {
        let local = self.numbers.local(value, self.values.len());
        local.ok_or(GraphError::UnknownValue { value: value.0 })
    }

    /// The number that a value has outside.
    pub(super) fn number(&self, local: ValueId) -> ValueId {
        self.numbers.number(local)
    }

    /// Refuses what a region must not have.
    pub(super) fn outside_regions(&self, op: &'static str) -> Result<(), GraphError> {
        if self.open.is_empty() {
            return Ok(());
        }
        Err(GraphError::Region { op, reason: "is not allowed inside a region; close it first" })
    }

    fn region(&self, op: &'static str, region: RegionId) -> Result<&Region, GraphError> {
        let own = |region: &&Region| region.around == self.numbers.region;
        self.regions.get(region.0 as usize).filter(own).ok_or(GraphError::Region {
            op,
            reason: "expected a region that was opened and closed in this scope",
        })
    }

    fn push_control(
        &mut self,
        op: Op,
        inputs: &[ValueId],
        captures: &[ValueId],
    ) -> Result<Vec<ValueId>, GraphError> {
        let captures = captures.iter().map(|&capture| self.number(capture));
        let all: Vec<ValueId> = inputs.iter().copied().chain(captures).collect();
        self.push(op, &all)
    }

    /// Dimensions of a param with names.
    fn param_dims(
        &self,
        op: &'static str,
        index: usize,
        dims: &[Dim],
    ) -> Result<Vec<Dim>, GraphError> {
        let mut named = Vec::with_capacity(dims.len());
        for (axis, dim) in dims.iter().enumerate() {
            let unknown = GraphError::UnknownDim { op, dim: dim.clone() };
            named.push(match dim {
                Dim::Dynamic(own) if own.is_empty() => {
                    Dim::Dynamic(format!("region {}.{index}.{axis}", self.begun).into())
                }
                Dim::Dynamic(own) => {
                    if self.dims.index(dim).is_none() && !self.dims.bound.contains(own) {
                        self.check_name(own)?;
                    }
                    dim.clone()
                }
                Dim::Batch if !self.dims.has_batch => return Err(unknown),
                Dim::Ragged(name) if !self.dims.bound.contains(format!("{name}+1").as_str()) => {
                    return Err(unknown);
                }
                Dim::Fixed(_) | Dim::Batch | Dim::Ragged(_) => dim.clone(),
            });
        }
        Ok(named)
    }

    /// Adds the nodes of a region with these values as its inputs.
    fn repeat(
        &mut self,
        op: &'static str,
        graph: &Graph,
        inputs: &[ValueId],
    ) -> Result<Vec<ValueId>, GraphError> {
        let expected = graph.signature.inputs.len();
        if inputs.len() != expected {
            return Err(GraphError::Argument {
                op,
                argument: "arguments",
                expected: format!("{expected} values, captures included"),
                got: inputs.len().to_string(),
            });
        }
        let mut names: HashMap<Dim, Dim> = HashMap::new();
        let mut values: Vec<Option<ValueId>> = vec![None; graph.values.len()];
        for (index, value) in graph.values.iter().enumerate() {
            values[index] = match &value.origin {
                Origin::Input(input) => {
                    let local = inputs[*input];
                    let given = self.values[local.index()].spec.clone();
                    self.same_type(op, &value.spec, &given, &mut names)?;
                    Some(self.number(local))
                }
                Origin::Weight(_) | Origin::Constant(_) => {
                    let got = self.made + self.values.len() + 1;
                    self.limit("nodes", 2 * self.limits.nodes_max as u64, got as u64)?;
                    let local = self.add_value(value.spec.clone(), value.origin.clone());
                    Some(self.number(local))
                }
                Origin::State(_) | Origin::Node(_) => None,
            };
        }
        for node in &graph.nodes {
            let find = |value: &ValueId| values[value.index()];
            let found: Option<Vec<ValueId>> = node.inputs.iter().map(find).collect();
            let found = found.ok_or(GraphError::UnknownValue { value: u32::MAX })?;
            let outside = |dim: &Dim| names.get(dim).unwrap_or(dim).clone();
            let own = node.op.rule().renamed(&outside).unwrap_or_else(|| node.op.clone());
            let outputs = self.push(own, &found)?;
            for (own, &output) in node.outputs.iter().zip(&outputs) {
                let dims = self.spec(output)?.dims.clone();
                for (own, given) in graph.spec(*own).dims.iter().zip(dims) {
                    names.entry(own.clone()).or_insert(given);
                }
                values[own.index()] = Some(output);
            }
        }
        let find = |value: &ValueId| values[value.index()];
        let outputs: Option<Vec<ValueId>> = graph.outputs.iter().map(find).collect();
        outputs.ok_or(GraphError::UnknownValue { value: u32::MAX })
    }

    /// Requires an argument to be of the type of a param.
    fn same_type(
        &mut self,
        op: &'static str,
        own: &ValueSpec,
        given: &ValueSpec,
        names: &mut HashMap<Dim, Dim>,
    ) -> Result<(), GraphError> {
        if own.dtype != given.dtype {
            return Err(GraphError::DTypes { op, left: own.dtype, right: given.dtype });
        }
        if own.rank() != given.rank() {
            let (expected, got) = (own.to_string(), given.to_string());
            return Err(GraphError::Shape { op, expected, got });
        }
        for (own, given) in own.dims.iter().zip(&given.dims) {
            let known = match own {
                Dim::Dynamic(_) if !given.is_rows() => {
                    &*names.entry(own.clone()).or_insert_with(|| given.clone())
                }
                Dim::Dynamic(_) | Dim::Fixed(_) | Dim::Batch | Dim::Ragged(_) => own,
            };
            self.dims.same(op, known, given)?;
        }
        Ok(())
    }
}

/// The graph of a region that is about to be opened.
struct Inner {
    values: Vec<Value>,
    dims: DimTable,
    signature: Signature,
    /// Ragged dimensions of captured offsets, and of values.
    offsets: Vec<Arc<str>>,
    ragged: Vec<Arc<str>>,
}

impl Inner {
    fn new(region: u32) -> Inner {
        Inner {
            values: Vec::new(),
            dims: DimTable { prefix: format!("{region}."), ..DimTable::default() },
            signature: Signature::default(),
            offsets: Vec::new(),
            ragged: Vec::new(),
        }
    }

    /// Adds a captured value; answers whether it is an input and no constant.
    fn capture(&mut self, index: usize, value: &Value) -> bool {
        self.offsets.extend(value.spec.offsets.clone());
        match &value.origin {
            Origin::Weight(_) | Origin::Constant(_) => {
                self.values.push(value.clone());
                false
            }
            Origin::Input(_) | Origin::State(_) | Origin::Node(_) => {
                let spec = ValueSpec { constant: false, ..value.spec.clone() };
                self.input(format!("capture {index}"), spec);
                true
            }
        }
    }

    fn param(&mut self, index: usize, dtype: DType, dims: Vec<Dim>) {
        self.input(format!("param {index}"), ValueSpec::new(dtype, dims));
    }

    fn input(&mut self, name: String, spec: ValueSpec) {
        for dim in &spec.dims {
            match dim {
                Dim::Dynamic(own) => drop(self.dims.bound.insert(own.clone())),
                Dim::Batch => self.dims.has_batch = true,
                Dim::Ragged(own) => {
                    self.dims.bound.insert(format!("{own}+1").into());
                    self.ragged.push(own.clone());
                }
                Dim::Fixed(_) => {}
            }
        }
        let input = TensorSpec { name: name.into(), dtype: spec.dtype, dims: spec.dims.clone() };
        let origin = Origin::Input(self.signature.inputs.len());
        self.signature.inputs.push(input);
        self.values.push(Value { spec, origin });
    }

    /// Requires that every ragged extent follows from a shape.
    fn check(&mut self, op: &'static str) -> Result<(), GraphError> {
        self.dims.has_batch |= !self.offsets.is_empty();
        match self.offsets.iter().find(|offsets| !self.ragged.contains(offsets)) {
            Some(offsets) => Err(GraphError::Argument {
                op,
                argument: "captures",
                expected: format!("a value of dimension ragged({offsets}) beside its offsets"),
                got: "the offsets alone".to_owned(),
            }),
            None => Ok(()),
        }
    }
}
