//! The builder: takes a graph one op at a time and checks everything as it comes.

mod convolution;
mod elementwise;
mod indexed;
mod integers;
mod layers;
mod recurrent;
mod regions;
mod shapes;
mod signals;
mod unsupported;

use crate::dim::{DimTable, check_boundary, check_dims};
use crate::graph::{Node, Origin, StateDef, Value};
use crate::op::{Infer, Op};
use crate::weight::WeightRef;
use crate::{
    Dim, Graph, GraphError, GraphLimits, Signature, StateInit, TensorSpec, ValueId, ValueSpec,
    WeightSource,
};
use aimass_tensor::{DType, Shape, Tensor};
use std::sync::Arc;

pub use convolution::{BatchNormValues, ConvValues};
pub use integers::QuantizedLinearValues;
pub use layers::{AttentionValues, Contraction};
pub use recurrent::RecurrentValues;
pub use regions::RegionId;
use regions::{Numbers, Region, Waiting};
pub(crate) use unsupported::UNSUPPORTED;

/// A graph under construction. Every op is one method; its arguments are checked at once.
///
/// Errors of every op: [`GraphError::UnknownValue`], a dtype, shape, axis or class that does not
/// fit, and [`GraphError::Limit`]. After an error the graph is as it was before the call.
pub struct GraphBuilder {
    limits: GraphLimits,
    values: Vec<Value>,
    nodes: Vec<Node>,
    outputs: Vec<ValueId>,
    states: Vec<StateDef>,
    signature: Signature,
    dims: DimTable,
    operands: u64,
    weights_bytes: u64,
    constants_bytes: u64,
    states_bytes: u64,
    /// Numbers of the values above; those of closed regions lie in between.
    numbers: Numbers,
    /// Nodes of regions, as often as these are used.
    expanded: usize,
    /// What waits outside of open regions, outermost first.
    open: Vec<Waiting>,
    regions: Vec<Region>,
    /// Regions that were opened.
    begun: u32,
    /// Values and nodes of closed regions.
    made: usize,
    closed_nodes: usize,
}

impl GraphBuilder {
    /// An empty graph under these limits.
    pub fn new(limits: GraphLimits) -> GraphBuilder {
        GraphBuilder {
            limits,
            values: Vec::new(),
            nodes: Vec::new(),
            outputs: Vec::new(),
            states: Vec::new(),
            signature: Signature::default(),
            dims: DimTable::default(),
            operands: 0,
            weights_bytes: 0,
            constants_bytes: 0,
            states_bytes: 0,
            numbers: Numbers::default(),
            expanded: 0,
            open: Vec::new(),
            regions: Vec::new(),
            begun: 0,
            made: 0,
            closed_nodes: 0,
        }
    }

    /// Declares a u32 input of shape `[sequences + 1]` and with it the ragged dimension `name`.
    ///
    /// # Errors
    /// [`GraphError`] if the name is taken or a limit is reached.
    pub fn offsets(&mut self, name: &str) -> Result<ValueId, GraphError> {
        self.outside_regions("offsets")?;
        let name = self.input_name(name)?;
        let dims = vec![Dim::Dynamic(format!("{name}+1").into())];
        self.dims.bound.insert(format!("{name}+1").into());
        self.dims.has_batch = true;
        let mut spec = ValueSpec::new(DType::U32, dims.clone());
        spec.offsets = Some(name.clone());
        self.add_input(TensorSpec { name, dtype: DType::U32, dims }, spec)
    }

    /// Declares an input. A ragged dimension must be declared by [`GraphBuilder::offsets`] before;
    /// `batch` and `ragged` are allowed on axis 0 only. `Dynamic("")` is a dimension of its own.
    ///
    /// # Errors
    /// [`GraphError`] if the name is taken, the dims are wrong, or a limit is reached.
    pub fn input(&mut self, name: &str, dtype: DType, dims: &[Dim]) -> Result<ValueId, GraphError> {
        const OP: &str = "input";
        self.outside_regions(OP)?;
        let name = self.input_name(name)?;
        self.check_elements(OP, dims)?;
        check_boundary(OP, dtype, dims)?;
        let mut named = Vec::with_capacity(dims.len());
        for (axis, dim) in dims.iter().enumerate() {
            named.push(match dim {
                Dim::Dynamic(own) if own.is_empty() => {
                    Dim::Dynamic(format!("{name}.{axis}").into())
                }
                Dim::Dynamic(own) => {
                    self.check_name(own)?;
                    dim.clone()
                }
                Dim::Ragged(offsets) if self.offsets_value(offsets).is_none() => {
                    return Err(GraphError::UnknownDim { op: OP, dim: dim.clone() });
                }
                Dim::Fixed(_) | Dim::Batch | Dim::Ragged(_) => dim.clone(),
            });
        }
        for dim in &named {
            match dim {
                Dim::Dynamic(own) => drop(self.dims.bound.insert(own.clone())),
                Dim::Batch => self.dims.has_batch = true,
                Dim::Fixed(_) | Dim::Ragged(_) => {}
            }
        }
        let spec = ValueSpec::new(dtype, named.clone());
        self.add_input(TensorSpec { name, dtype, dims: named }, spec)
    }

    /// A weight: the bytes of `source` from `offset` (in bytes), as many as dtype and dims take.
    ///
    /// # Errors
    /// [`GraphError::OutOfRange`] if the source is shorter; [`GraphError::Limit`].
    pub fn weight(
        &mut self,
        name: &str,
        dtype: DType,
        dims: &[u64],
        source: Arc<dyn WeightSource>,
        offset: u64,
    ) -> Result<ValueId, GraphError> {
        const OP: &str = "weight";
        let shape = self.shape(OP, dims)?;
        let bytes = dtype.bytes_for(shape.elements()).ok_or(GraphError::DType {
            op: OP,
            expected: "a dtype whose blocks the shape fills",
            got: dtype,
        })? as u64;
        let len = source.len();
        let end = offset.saturating_add(bytes);
        if end > len {
            let name = name.chars().take(64).collect();
            return Err(GraphError::OutOfRange { name, start: offset, end, len });
        }
        let total = self.weights_bytes.saturating_add(bytes);
        self.limit("weight bytes", self.limits.weights_bytes_max, total)?;
        let name: Arc<str> = name.chars().take(self.limits.name_len_max).collect::<String>().into();
        let weight = WeightRef { name, dtype, shape, source, range: offset..end };
        let value = self.add_constant(dtype, shape, Origin::Weight(weight))?;
        self.weights_bytes = total;
        Ok(value)
    }

    /// A small constant with the content of a tensor; shares its memory.
    ///
    /// # Errors
    /// [`GraphError::Limit`] above [`GraphLimits::constant_bytes_max`].
    pub fn constant(&mut self, tensor: Tensor) -> Result<ValueId, GraphError> {
        let bytes = tensor.byte_len() as u64;
        if tensor.dtype() == DType::Bytes {
            let expected = "numbers or bool";
            return Err(GraphError::DType { op: "constant", expected, got: DType::Bytes });
        }
        self.limit("constant bytes", self.limits.constant_bytes_max, bytes)?;
        let total = self.constants_bytes.saturating_add(bytes);
        self.limit("bytes of constants", self.limits.constants_bytes_max, total)?;
        let value = self.add_constant(tensor.dtype(), *tensor.shape(), Origin::Constant(tensor))?;
        self.constants_bytes = total;
        Ok(value)
    }

    /// Declares a state: a tensor that lives in the host. Answers its content when a run starts.
    ///
    /// # Errors
    /// [`GraphError`] if the name is taken or `init` is no constant of this dtype and shape.
    pub fn state(
        &mut self,
        name: &str,
        dtype: DType,
        dims: &[u64],
        init: StateInit,
    ) -> Result<ValueId, GraphError> {
        const OP: &str = "state";
        self.outside_regions(OP)?;
        self.check_name(name)?;
        if self.states.iter().any(|state| *state.name == *name) {
            return Err(GraphError::Name { name: name.into(), reason: "is taken by a state" });
        }
        let shape = self.shape(OP, dims)?;
        let Some(size) = dtype.size() else {
            return Err(GraphError::DType {
                op: OP,
                expected: "elements of whole bytes",
                got: dtype,
            });
        };
        let mut init = init;
        if let StateInit::Value(value) = init {
            init = StateInit::Value(self.local(value)?);
            let spec = self.spec(value)?;
            let dims: Vec<Dim> = dims.iter().map(|&extent| Dim::Fixed(extent)).collect();
            if !spec.constant || spec.dtype != dtype || spec.dims != dims {
                let expected = format!("a constant {dtype} {shape}");
                return Err(GraphError::Shape { op: OP, expected, got: spec.to_string() });
            }
        }
        let bytes = (shape.elements() as u64).saturating_mul(size as u64);
        let total = self.states_bytes.saturating_add(bytes);
        self.limit("state bytes", self.limits.states_bytes_max, total)?;
        self.limit("states", self.limits.states_max as u64, self.states.len() as u64 + 1)?;
        let spec = ValueSpec::new(dtype, dims.iter().map(|&extent| Dim::Fixed(extent)).collect());
        let local = self.add_value(spec, Origin::State(self.states.len()));
        let value = self.number(local);
        self.states.push(StateDef { name: name.into(), dtype, shape, init, write: None });
        self.states_bytes = total;
        Ok(value)
    }

    /// Replaces a state's content when a run ends. The last write counts.
    ///
    /// # Errors
    /// [`GraphError::UnknownState`]; [`GraphError::Shape`] if `x` is not of its dtype and shape.
    pub fn state_write(&mut self, name: &str, x: ValueId) -> Result<(), GraphError> {
        self.outside_regions("state-write")?;
        let (got, local) = (self.spec(x)?.clone(), self.local(x)?);
        let Some(state) = self.states.iter_mut().find(|state| *state.name == *name) else {
            let name = name.chars().take(64).collect();
            return Err(GraphError::UnknownState { name });
        };
        let dims: Vec<Dim> = state.shape.iter().map(|&extent| Dim::Fixed(extent as u64)).collect();
        if got.dtype != state.dtype || got.dims != dims {
            let expected = format!("{} {}", state.dtype, state.shape);
            return Err(GraphError::Shape { op: "state-write", expected, got: got.to_string() });
        }
        state.write = Some(local);
        Ok(())
    }

    /// Declares an output.
    ///
    /// # Errors
    /// [`GraphError`] if the name is taken or a limit is reached.
    pub fn output(&mut self, name: &str, x: ValueId) -> Result<(), GraphError> {
        self.outside_regions("output")?;
        let (spec, local) = (self.spec(x)?.clone(), self.local(x)?);
        self.check_name(name)?;
        if self.signature.outputs.iter().any(|output| *output.name == *name) {
            return Err(GraphError::Name { name: name.into(), reason: "is taken by an output" });
        }
        check_boundary("output", spec.dtype, &spec.dims)?;
        self.limit("outputs", self.limits.outputs_max as u64, self.outputs.len() as u64 + 1)?;
        self.outputs.push(local);
        let output = TensorSpec { name: name.into(), dtype: spec.dtype, dims: spec.dims };
        self.signature.outputs.push(output);
        Ok(())
    }

    /// Dtype and dimensions of a value, as inferred.
    ///
    /// # Errors
    /// [`GraphError::UnknownValue`].
    pub fn spec(&self, value: ValueId) -> Result<&ValueSpec, GraphError> {
        Ok(&self.value(value)?.spec)
    }

    fn value(&self, value: ValueId) -> Result<&Value, GraphError> {
        Ok(&self.values[self.local(value)?.index()])
    }

    /// Ends construction.
    ///
    /// # Errors
    /// [`GraphError::NoOutput`], [`GraphError::OpenRegion`].
    pub fn finish(self) -> Result<Graph, GraphError> {
        if !self.open.is_empty() {
            return Err(GraphError::OpenRegion);
        }
        if self.outputs.is_empty() {
            return Err(GraphError::NoOutput);
        }
        Ok(Graph {
            values: self.values,
            nodes: self.nodes,
            outputs: self.outputs,
            states: self.states,
            signature: self.signature,
            dims: self.dims,
        })
    }

    /// Adds a node; answers its outputs.
    pub(crate) fn push(&mut self, op: Op, inputs: &[ValueId]) -> Result<Vec<ValueId>, GraphError> {
        let used: usize = op.rule().regions().iter().map(|region| region.expanded).sum();
        let expanded = self.expanded.saturating_add(used);
        let open: usize = self.open.iter().map(|outer| outer.nodes()).sum();
        let nodes = open + self.closed_nodes + expanded + self.nodes.len() + 1;
        self.limit("nodes", self.limits.nodes_max as u64, nodes as u64)?;
        let inputs: Vec<ValueId> =
            inputs.iter().map(|&input| self.local(input)).collect::<Result<_, _>>()?;
        let specs: Vec<&ValueSpec> =
            inputs.iter().map(|input| &self.values[input.index()].spec).collect();
        let name = op.rule().name();
        if specs.iter().any(|spec| spec.dtype == DType::Bytes) {
            return Err(GraphError::DType { op: name, expected: "numbers", got: DType::Bytes });
        }
        let operands = self.operands.saturating_add(inputs.len() as u64);
        self.limit("inputs and outputs of nodes", self.limits.operands_max as u64, operands)?;
        let before = self.dims.len();
        let infer = &mut Infer { op: name, dims: &mut self.dims };
        let outputs = op.rule().infer(infer, &specs);
        let checked = outputs.and_then(|outputs| self.check_outputs(name, operands, outputs));
        let (outputs, operands) = checked.inspect_err(|_| self.dims.truncate(before))?;
        self.operands = operands;
        let node = self.nodes.len();
        let outputs: Vec<ValueId> =
            outputs.into_iter().map(|spec| self.add_value(spec, Origin::Node(node))).collect();
        let numbers = outputs.iter().map(|&output| self.number(output)).collect();
        self.nodes.push(Node { op, inputs, outputs });
        self.expanded = expanded;
        Ok(numbers)
    }

    /// Outputs within the limits, and how many operands there are with them.
    fn check_outputs(
        &self,
        op: &'static str,
        operands: u64,
        outputs: Vec<ValueSpec>,
    ) -> Result<(Vec<ValueSpec>, u64), GraphError> {
        let operands = operands.saturating_add(outputs.len() as u64);
        self.limit("inputs and outputs of nodes", self.limits.operands_max as u64, operands)?;
        for spec in &outputs {
            self.check_elements(op, &spec.dims)?;
        }
        Ok((outputs, operands))
    }

    /// Adds a node with one output.
    pub(crate) fn push_one(&mut self, op: Op, inputs: &[ValueId]) -> Result<ValueId, GraphError> {
        Ok(self.push(op, inputs)?[0])
    }

    pub(crate) fn offsets_value(&self, name: &str) -> Option<ValueId> {
        let is = |value: &Value| value.spec.offsets.as_deref() == Some(name);
        self.values.iter().position(is).map(|index| self.number(ValueId(index as u32)))
    }

    fn add_input(&mut self, input: TensorSpec, spec: ValueSpec) -> Result<ValueId, GraphError> {
        let index = self.signature.inputs.len();
        self.limit("inputs", self.limits.inputs_max as u64, index as u64 + 1)?;
        self.signature.inputs.push(input);
        let local = self.add_value(spec, Origin::Input(index));
        Ok(self.number(local))
    }

    fn add_constant(
        &mut self,
        dtype: DType,
        shape: Shape,
        origin: Origin,
    ) -> Result<ValueId, GraphError> {
        // Weights and constants count as nodes, so that their number has a limit.
        let got = (self.made + self.values.len()) as u64 + 1;
        self.limit("nodes", 2 * self.limits.nodes_max as u64, got)?;
        let dims = shape.iter().map(|&extent| Dim::Fixed(extent as u64)).collect();
        let mut spec = ValueSpec::new(dtype, dims);
        spec.constant = true;
        let local = self.add_value(spec, origin);
        Ok(self.number(local))
    }

    fn add_value(&mut self, spec: ValueSpec, origin: Origin) -> ValueId {
        self.values.push(Value { spec, origin });
        ValueId(self.values.len() as u32 - 1)
    }

    fn shape(&self, op: &'static str, dims: &[u64]) -> Result<Shape, GraphError> {
        let listed: Vec<Dim> = dims.iter().map(|&extent| Dim::Fixed(extent)).collect();
        self.check_elements(op, &listed)?;
        let dims: Vec<usize> = dims.iter().map(|&extent| extent as usize).collect();
        Shape::new(&dims).map_err(|_| GraphError::Elements { op })
    }

    /// Checks dimensions by themselves, and those that are fixed against the limit of elements. An
    /// extent of 0 counts as 1, since loops over the others run all the same.
    fn check_elements(&self, op: &'static str, dims: &[Dim]) -> Result<(), GraphError> {
        check_dims(op, dims)?;
        let fixed = dims.iter().filter_map(Dim::fixed).map(|extent| extent.max(1));
        let (max, got) = (self.limits.elements_max, fixed.fold(1u64, u64::saturating_mul));
        match got > max {
            true => Err(GraphError::ElementsLimit { op, max, got }),
            false => Ok(()),
        }
    }

    fn input_name(&self, name: &str) -> Result<Arc<str>, GraphError> {
        self.check_name(name)?;
        if self.signature.inputs.iter().any(|input| *input.name == *name) {
            return Err(GraphError::Name { name: name.into(), reason: "is taken by an input" });
        }
        Ok(name.into())
    }

    fn check_name(&self, name: &str) -> Result<(), GraphError> {
        let reason = match name {
            "" => "is empty",
            _ if name.len() > self.limits.name_len_max => "is too long",
            _ if name.starts_with('%') => "starts with %, which is reserved",
            _ => return Ok(()),
        };
        Err(GraphError::Name { name: name.chars().take(64).collect(), reason })
    }

    fn limit(&self, what: &'static str, max: u64, got: u64) -> Result<(), GraphError> {
        if got > max { Err(GraphError::Limit { what, max, got }) } else { Ok(()) }
    }
}
