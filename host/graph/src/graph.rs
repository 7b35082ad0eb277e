//! A finished graph: values, nodes in topological order, inputs, outputs, states.

use crate::dim::DimTable;
use crate::op::Op;
use crate::weight::WeightRef;
use crate::{Signature, ValueSpec};
use aimass_tensor::{DType, Shape, Tensor};
use std::sync::Arc;

/// A value of the graph under construction; valid only in the builder that answered it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ValueId(pub u32);

impl ValueId {
    pub(crate) fn index(self) -> usize {
        self.0 as usize
    }
}

/// Initial content of a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StateInit {
    /// All zero bits.
    Zeros,
    /// A copy of this constant or weight of the same dtype and shape.
    Value(ValueId),
}

/// Where a value comes from.
#[derive(Debug, Clone)]
pub(crate) enum Origin {
    Input(usize),
    Weight(WeightRef),
    Constant(Tensor),
    State(usize),
    Node(usize),
}

#[derive(Debug, Clone)]
pub(crate) struct Value {
    pub(crate) spec: ValueSpec,
    pub(crate) origin: Origin,
}

#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) op: Op,
    pub(crate) inputs: Vec<ValueId>,
    pub(crate) outputs: Vec<ValueId>,
}

#[derive(Debug, Clone)]
pub(crate) struct StateDef {
    pub(crate) name: Arc<str>,
    pub(crate) dtype: DType,
    pub(crate) shape: Shape,
    pub(crate) init: StateInit,
    pub(crate) write: Option<ValueId>,
}

/// A finished, checked graph; [`crate::compile`] makes it a plan.
#[derive(Debug, Clone, Default)]
pub struct Graph {
    pub(crate) values: Vec<Value>,
    pub(crate) nodes: Vec<Node>,
    pub(crate) outputs: Vec<ValueId>,
    pub(crate) states: Vec<StateDef>,
    pub(crate) signature: Signature,
    pub(crate) dims: DimTable,
}

impl Graph {
    /// Its inputs and outputs, in the order of their declaration.
    pub fn signature(&self) -> &Signature {
        &self.signature
    }

    pub(crate) fn spec(&self, value: ValueId) -> &ValueSpec {
        &self.values[value.index()].spec
    }
}
