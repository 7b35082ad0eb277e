//! The graph while it is being rewritten.

use crate::ValueSpec;
use crate::extents::Extents;
use crate::graph::{Graph, Origin, StateInit, ValueId};
use crate::op::{Op, Window};
use crate::packing::{Constant, Part};
use crate::step::ColumnView;
use crate::{Dim, PlanError};
use aimass_cpu::activation::Finish;
use aimass_cpu::conv::ImagePool;
use aimass_tensor::{BufferMut, DType, Tensor};
use std::collections::HashMap;

/// One instruction: an op, or a linear layer or an operation on images with packed weights and an
/// epilogue.
#[derive(Debug, Clone)]
pub(crate) enum Inst {
    Op { op: Op, inputs: Vec<ValueId>, outputs: Vec<ValueId> },
    Linear(LinearInst),
    Image(ImageInst),
}

/// `out = finish(x · parts + bias, residual)`.
#[derive(Debug, Clone)]
pub(crate) struct LinearInst {
    pub(crate) x: ValueId,
    /// Matrices side by side.
    pub(crate) parts: Vec<Part>,
    pub(crate) bias: Option<ValueId>,
    pub(crate) finish: Finish,
    pub(crate) residual: Option<ValueId>,
    pub(crate) out: ValueId,
}

/// What an operation on images computes.
#[derive(Debug, Clone)]
pub(crate) enum ImageKind {
    /// A convolution in one group; weights `[filters, channels, rows, columns]`.
    Dense { weight: Constant, channels: usize, filters: usize, form: DenseForm },
    /// One filter a channel; `w` is a constant `[rows columns, channels]`.
    Depthwise { w: ValueId },
    /// A transposed convolution whose windows lie side by side; weights `[channels, filters, rows,
    /// columns]`.
    Spread { weight: Constant, channels: usize, filters: usize },
    /// The largest element or the mean of windows.
    Pool(ImagePool),
}

/// How a convolution in one group is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DenseForm {
    /// Windows are rows of a product.
    Windows,
    /// The same; `x` has its channels in front.
    Planes,
    /// By tiles of outputs ([`aimass_cpu::conv::conv_tiled`]).
    Tiles,
}

/// `out = finish(kind(x) + bias, residual)` on `[rows, height, width, channels]` in f32.
#[derive(Debug, Clone)]
pub(crate) struct ImageInst {
    pub(crate) kind: ImageKind,
    pub(crate) window: Window,
    /// Elements of the window, down and across.
    pub(crate) kernel: [usize; 2],
    pub(crate) x: ValueId,
    pub(crate) bias: Option<ValueId>,
    pub(crate) finish: Finish,
    pub(crate) residual: Option<ValueId>,
    pub(crate) out: ValueId,
}

impl ImageInst {
    /// From `x` to `out`, without bias and epilogue.
    pub(crate) fn new(
        kind: ImageKind,
        window: Window,
        kernel: [usize; 2],
        [x, out]: [ValueId; 2],
    ) -> ImageInst {
        let finish = Finish::default();
        ImageInst { kind, window, kernel, x, bias: None, finish, residual: None, out }
    }

    /// All values that are read.
    pub(crate) fn inputs(&self) -> Vec<ValueId> {
        let w = match self.kind {
            ImageKind::Depthwise { w } => Some(w),
            ImageKind::Dense { .. } | ImageKind::Spread { .. } | ImageKind::Pool(_) => None,
        };
        [Some(self.x), w, self.bias, self.residual].into_iter().flatten().collect()
    }
}

impl LinearInst {
    /// A layer of one matrix without epilogue.
    pub(crate) fn new(x: ValueId, part: Part, bias: Option<ValueId>, out: ValueId) -> LinearInst {
        let finish = Finish::default();
        LinearInst { x, parts: vec![part], bias, finish, residual: None, out }
    }

    pub(crate) fn columns(&self) -> usize {
        self.parts.iter().map(|part| part.n).sum()
    }
}

impl Inst {
    pub(crate) fn inputs(&self) -> Vec<ValueId> {
        match self {
            Inst::Op { inputs, .. } => inputs.clone(),
            Inst::Linear(linear) => {
                let LinearInst { x, bias, residual, .. } = linear;
                [Some(*x), *bias, *residual].into_iter().flatten().collect()
            }
            Inst::Image(image) => image.inputs(),
        }
    }

    pub(crate) fn outputs(&self) -> &[ValueId] {
        match self {
            Inst::Op { outputs, .. } => outputs,
            Inst::Linear(linear) => std::slice::from_ref(&linear.out),
            Inst::Image(image) => std::slice::from_ref(&image.out),
        }
    }
}

pub(crate) struct Draft {
    pub(crate) graph: Graph,
    pub(crate) extents: Extents,
    pub(crate) insts: Vec<Inst>,
    /// Content of constant values, by root.
    pub(crate) constants: HashMap<ValueId, Constant>,
    /// Roots of outputs and state writes: what must be computed.
    pub(crate) results: Vec<ValueId>,
    /// Values that are the bytes of another one.
    pub(crate) alias: HashMap<ValueId, ValueId>,
    /// Values that are columns of another one.
    pub(crate) views: HashMap<ValueId, ColumnView>,
    /// Initial content of the states.
    pub(crate) state_inits: Vec<Constant>,
}

/// Which nodes an output or a state write needs.
pub(crate) fn live_nodes(graph: &Graph) -> Vec<bool> {
    let mut live = vec![false; graph.nodes.len()];
    let writes = graph.states.iter().filter_map(|state| state.write);
    let mut todo: Vec<ValueId> = graph.outputs.iter().copied().chain(writes).collect();
    while let Some(value) = todo.pop() {
        if let Origin::Node(node) = graph.values[value.index()].origin
            && !std::mem::replace(&mut live[node], true)
        {
            todo.extend_from_slice(&graph.nodes[node].inputs);
        }
    }
    live
}

impl Draft {
    /// The live nodes of a graph; ops that move no bytes become aliases.
    pub(crate) fn new(graph: Graph, live: &[bool]) -> Draft {
        let extents = Extents::new(&graph);
        let mut draft = Draft {
            extents,
            insts: Vec::new(),
            constants: HashMap::new(),
            results: Vec::new(),
            alias: HashMap::new(),
            views: HashMap::new(),
            state_inits: Vec::new(),
            graph,
        };
        for (index, value) in draft.graph.values.iter().enumerate() {
            let constant = match &value.origin {
                Origin::Weight(weight) => Constant::Weight(weight.clone()),
                Origin::Constant(tensor) => Constant::Tensor(tensor.clone()),
                Origin::Input(_) | Origin::State(_) | Origin::Node(_) => continue,
            };
            draft.constants.insert(ValueId(index as u32), constant);
        }
        draft.add_nodes(live);
        draft.add_results();
        draft
    }

    fn add_nodes(&mut self, live: &[bool]) {
        for (node, _) in self.graph.nodes.iter().zip(live).filter(|(_, live)| **live) {
            let (first, out) = (node.inputs.first(), node.outputs[0]);
            let moves_no_bytes = first.is_some_and(|&x| {
                node.op.rule().moves_no_bytes(self.graph.spec(x), self.graph.spec(out))
            });
            if moves_no_bytes {
                self.alias.insert(node.outputs[0], node.inputs[0]);
                continue;
            }
            self.insts.push(Inst::Op {
                op: node.op.clone(),
                inputs: node.inputs.clone(),
                outputs: node.outputs.clone(),
            });
        }
    }

    fn add_results(&mut self) {
        let writes = self.graph.states.iter().filter_map(|state| state.write);
        let wanted: Vec<ValueId> = self.graph.outputs.iter().copied().chain(writes).collect();
        for value in wanted {
            let root = self.root(value);
            if !self.results.contains(&root) {
                self.results.push(root);
            }
        }
        for state in &self.graph.states {
            let init = match state.init {
                StateInit::Value(value) => self.constants.get(&self.root(value)).cloned(),
                StateInit::Zeros => None,
            };
            let bytes = state.dtype.bytes_for(state.shape.elements()).unwrap_or(0);
            let zeros = || Tensor::new(state.dtype, state.shape, BufferMut::zeroed(bytes).freeze());
            match (init, zeros()) {
                (Some(init), _) => self.state_inits.push(init),
                (None, Ok(zeros)) => self.state_inits.push(Constant::Tensor(zeros)),
                (None, Err(_)) => {}
            }
        }
    }

    /// The value whose bytes this one is.
    pub(crate) fn root(&self, mut value: ValueId) -> ValueId {
        while let Some(&source) = self.alias.get(&value) {
            value = source;
        }
        value
    }

    /// The value whose memory this one lies in.
    pub(crate) fn base(&self, value: ValueId) -> ValueId {
        let root = self.root(value);
        self.views.get(&root).map_or(root, |view| view.base)
    }

    pub(crate) fn spec(&self, value: ValueId) -> &ValueSpec {
        self.graph.spec(value)
    }

    pub(crate) fn constant(&self, root: ValueId) -> Result<&Constant, PlanError> {
        self.constants.get(&root).ok_or(PlanError::Internal("a constant has no content"))
    }

    /// Adds a value that no node of the graph made.
    pub(crate) fn add_value(&mut self, dtype: DType, dims: Vec<Dim>) -> ValueId {
        self.extents.push(&dims);
        let spec = ValueSpec::new(dtype, dims);
        self.graph.values.push(crate::graph::Value { spec, origin: Origin::Node(usize::MAX) });
        ValueId(self.graph.values.len() as u32 - 1)
    }

    /// Which instruction makes a value.
    pub(crate) fn makers(&self) -> HashMap<ValueId, usize> {
        let each = self.insts.iter().enumerate();
        each.flat_map(|(i, inst)| inst.outputs().iter().map(move |&out| (out, i))).collect()
    }

    /// How often each root is read, results included.
    pub(crate) fn uses(&self) -> HashMap<ValueId, usize> {
        let mut uses: HashMap<ValueId, usize> = HashMap::new();
        let read = self.insts.iter().flat_map(Inst::inputs);
        for value in read.chain(self.results.iter().copied()) {
            *uses.entry(self.root(value)).or_default() += 1;
        }
        uses
    }

    /// Drops instructions that no result needs.
    pub(crate) fn remove_dead(&mut self) {
        let base = |value: ValueId| self.base(value);
        let mut needed: std::collections::HashSet<ValueId> =
            self.results.iter().map(|&value| base(value)).collect();
        let mut keep = vec![false; self.insts.len()];
        for (index, inst) in self.insts.iter().enumerate().rev() {
            if inst.outputs().iter().any(|output| needed.contains(output)) {
                keep[index] = true;
                needed.extend(inst.inputs().into_iter().map(base));
            }
        }
        let mut keep = keep.into_iter();
        self.insts.retain(|_| keep.next().unwrap_or(false));
    }
}
