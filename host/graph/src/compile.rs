//! From a graph to a plan: dead code, constants, fusion, rows, memory.

mod affine;
mod coalesce;
mod draft;
mod fold;
mod fuse;
mod images;
mod integers;
mod key;
mod lower;
mod memory;
mod patterns;
mod prepare;
mod rows;
mod widen;

pub(crate) use draft::{ImageInst, ImageKind};
pub(crate) use memory::{Memory, Place};

use draft::{Draft, Inst, LinearInst};

use crate::packing::{Constant, packed};
use crate::plan::{CostNode, Plan, PlanParts};
use crate::{Graph, PlanError};

/// How a graph is compiled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CompileOptions {
    /// Threads of the kernel pool that a run may use; 0 means all.
    pub threads: usize,
    /// Most bytes that one run may take for intermediate and output values; 16 GiB.
    pub arena_bytes_max: u64,
}

impl Default for CompileOptions {
    fn default() -> CompileOptions {
        CompileOptions { threads: 0, arena_bytes_max: 16 << 30 }
    }
}

/// Compiles a graph: removes dead nodes, folds constants, packs weights (shared by content with
/// every living plan of the process), fuses, and plans memory.
///
/// # Errors
/// [`PlanError`] if a weight cannot be read or a constant cannot be computed.
pub fn compile(graph: Graph, options: &CompileOptions) -> Result<Plan, PlanError> {
    let live = draft::live_nodes(&graph);
    let coalescing = coalesce::coalescing(&graph, &live);
    let key = key::digest(&graph, &live);
    let costs: Vec<CostNode> = graph
        .nodes
        .iter()
        .zip(&live)
        .filter(|(_, live)| **live)
        .map(|(node, _)| CostNode {
            op: node.op.clone(),
            inputs: node.inputs.clone(),
            outputs: node.outputs.clone(),
        })
        .collect();
    let mut draft = Draft::new(graph, &live);
    widen::narrow_floats(&mut draft);
    lower::linears(&mut draft);
    draft.remove_dead();
    fold::constants(&mut draft)?;
    patterns::activations(&mut draft);
    draft.remove_dead();
    affine::into_convolutions(&mut draft)?;
    images::channels_last(&mut draft)?;
    integers::scaled_products(&mut draft);
    fuse::epilogues(&mut draft);
    fuse::merged_linears(&mut draft)?;
    prepare::constants(&mut draft)?;
    draft.remove_dead();
    let (steps, parts) = rows::steps(&draft)?;
    let memory = memory::plan(&draft, &steps);
    let mut matrices = Vec::with_capacity(parts.len());
    for parts in &parts {
        matrices.push(packed(parts)?);
    }
    let (mut constants, mut constant_bytes) = (Vec::new(), 0);
    for value in &memory.constants {
        let constant = draft.constant(*value)?;
        let tensor = constant.load()?;
        if let Constant::Tensor(own) = constant {
            constant_bytes += own.byte_len() as u64;
        }
        constants.push(tensor);
    }
    Plan::assemble(PlanParts {
        graph: draft.graph,
        extents: draft.extents,
        steps,
        memory,
        matrices,
        constants,
        costs,
        coalescing,
        key,
        options: *options,
        state_inits: draft.state_inits,
        constant_bytes,
    })
}
