//! From a graph to a plan: dead code, constants, fusion, rows, memory.

mod affine;
mod coalesce;
mod draft;
mod dynamic;
mod finder;
mod fold;
mod fuse;
mod images;
mod integers;
mod key;
mod lift;
mod lower;
mod memory;
mod patterns;
mod prepare;
mod quantized;
mod regions;
mod rows;
mod strides;
mod widen;

pub(crate) use draft::{DenseForm, Draft, ImageInst, ImageKind, Inst, LinearInst};
pub(crate) use memory::{Memory, Place, Use, plan as plan_memory};

use crate::device::{Gpu, Program};
use crate::packing::{Constant, MatrixSource, PackedStore, packed};
use crate::plan::{CostNode, Names, Plan, PlanParts};
use crate::{Graph, PlanError};
use std::sync::Arc;

/// How a graph is compiled.
#[derive(Clone, Debug)]
pub struct CompileOptions {
    /// Threads of the kernel pool that a run may use; 0 means all.
    pub threads: usize,
    /// Most bytes that one run may take for intermediate and output values; 16 GiB.
    pub arena_bytes_max: u64,
    /// Whether products of dynamically quantized values keep one scale for a whole tensor, as their
    /// model says. Otherwise, where nothing else sees the integers, rows get scales of their own:
    /// closer to the numbers that were quantized, and calls can be joined. No.
    pub exact_quantization: bool,
    /// Where packed weights are kept for the next start of the process; none packs at every start.
    pub packed_store: Option<Arc<dyn PackedStore>>,
    /// Most floating-point operations of one run of a plan with regions; 2^44, minutes of a core.
    /// Every step that a loop may start counts as 65,536 at least.
    pub flops_max: u64,
    /// Where plans run, with the CPU as what catches them when the device fails; none runs on the CPU.
    pub device: Option<Arc<Gpu>>,
}

impl Default for CompileOptions {
    fn default() -> CompileOptions {
        CompileOptions {
            threads: 0,
            arena_bytes_max: 16 << 30,
            exact_quantization: false,
            packed_store: None,
            flops_max: 1 << 44,
            device: None,
        }
    }
}

/// Compiles a graph: removes dead nodes, folds constants, packs weights (shared by content with
/// every living plan of the process), fuses, and plans memory.
///
/// # Errors
/// [`PlanError`] if a weight cannot be read or a constant cannot be computed.
pub fn compile(mut graph: Graph, options: &CompileOptions) -> Result<Plan, PlanError> {
    if !options.exact_quantization {
        dynamic::linears(&mut graph);
    }
    quantized::products(&mut graph);
    let live = draft::live_nodes(&graph);
    // What an op with regions runs, it runs on the CPU.
    regions::compiled(&mut graph, &live, &CompileOptions { device: None, ..options.clone() })?;
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
    let program = match &options.device {
        Some(gpu) => {
            let draft = rewritten(graph.clone(), &live, true)?;
            Some(Program::new(gpu, &draft, options.arena_bytes_max))
        }
        None => None,
    };
    let mut draft = rewritten(graph, &live, false)?;
    prepare::constants(&mut draft)?;
    draft.remove_dead();
    let (steps, parts) = rows::steps(&draft)?;
    let uses: Vec<Use<'_>> = steps.iter().map(Use::of).collect();
    let memory = memory::plan(&draft, &uses);
    let mut matrices = Vec::with_capacity(parts.len());
    for parts in &parts {
        matrices.push(packed(parts, options.packed_store.as_deref())?);
    }
    let (mut constants, mut constant_bytes) = (Vec::new(), 0);
    let mut names = Names::default();
    for value in &memory.constants {
        let constant = draft.constant(*value)?;
        names.constants.push(constant.name().cloned());
        let tensor = constant.load()?;
        if let Constant::Tensor(own) = constant {
            constant_bytes += own.byte_len() as u64;
        }
        constants.push(tensor);
    }
    names.matrices.extend(parts.iter().map(MatrixSource::names));
    names.states.extend(draft.graph.states.iter().map(|state| state.name.clone()));
    Plan::assemble(PlanParts {
        graph: draft.graph,
        extents: draft.extents,
        steps,
        memory,
        matrices,
        constants,
        names,
        costs,
        coalescing,
        key,
        options: options.clone(),
        state_inits: draft.state_inits,
        constant_bytes,
        program,
    })
}

/// The graph after every pass that does not depend on the layout of constants. With `narrow`, what
/// devices compute in 16-bit floats stays there.
fn rewritten(graph: Graph, live: &[bool], narrow: bool) -> Result<Draft, PlanError> {
    let mut draft = Draft::new(graph, live);
    widen::narrow_floats(&mut draft, narrow);
    lower::linears(&mut draft, narrow);
    draft.remove_dead();
    fold::constants(&mut draft)?;
    patterns::activations(&mut draft);
    draft.remove_dead();
    lift::sequences(&mut draft);
    affine::into_convolutions(&mut draft)?;
    strides::into_makers(&mut draft);
    images::channels_last(&mut draft)?;
    integers::scaled_products(&mut draft);
    fuse::epilogues(&mut draft);
    fuse::merged_linears(&mut draft)?;
    Ok(draft)
}
