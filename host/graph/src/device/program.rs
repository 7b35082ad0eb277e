//! A graph as steps of a device: launches, ops that stay on the CPU, and the transfers between.

use super::call::Lowered;
use super::constants::{ConstantError, on_device};
use super::fusion::fused;
use super::gpu::Gpu;
use super::lower::{Site, lowered};
use super::paged::paged;
use super::replays::Replays;
use crate::compile::{Draft, Inst, Memory, Place, Use, plan_memory};
use crate::extents::Extents;
use crate::graph::{Origin, ValueId};
use crate::plan::Plan;
use crate::step::OpStep;
use aimass_cuda::Memory as DeviceMemory;
use aimass_tensor::{DType, Tensor};
use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};

/// One step of a program.
pub(crate) enum DeviceStep {
    /// Kernels on the device.
    Launch {
        /// The op, or those that one kernel computes.
        name: Cow<'static, str>,
        lowered: Lowered,
        inputs: Vec<ValueId>,
        outputs: Vec<ValueId>,
        /// Number of its fault word.
        fault: Option<usize>,
    },
    /// An op on the CPU.
    Host(OpStep),
    /// A value that the CPU made goes to the device.
    Upload(ValueId),
    /// A value that the device made goes to the CPU.
    Download(ValueId),
}

/// Which inputs and states launches read.
#[derive(Debug, Default)]
pub(crate) struct Uploads {
    pub(crate) inputs: Vec<Option<ValueId>>,
    pub(crate) states: Vec<Option<ValueId>>,
}

/// A graph compiled for a device.
pub(crate) struct Program {
    /// Before the steps, so that recordings are dropped before the kernels that they launch.
    pub(super) replays: Mutex<Replays>,
    pub(super) gpu: Arc<Gpu>,
    /// Most bytes that one run may keep on the host for ops that stay there and for its outputs.
    pub(super) host_bytes_max: u64,
    pub(crate) steps: Vec<DeviceStep>,
    pub(crate) memory: Memory,
    /// Constants that launches read, by their number in the memory plan.
    pub(super) constants: Vec<Option<Arc<DeviceMemory>>>,
    /// Constants that ops on the CPU or outputs read.
    pub(super) host_constants: Vec<Option<Tensor>>,
    pub(super) uploads: Uploads,
    /// Fault words.
    pub(super) faults: usize,
    pub(super) dtypes: Vec<DType>,
    /// The value whose bytes each value is.
    pub(super) roots: Vec<ValueId>,
    pub(super) extents: Extents,
    pub(super) signature: crate::Signature,
    pub(super) outputs: Vec<ValueId>,
    pub(super) writes: Vec<Option<ValueId>>,
    pub(super) initial: Vec<Tensor>,
    /// Values that are made on the CPU.
    pub(super) on_host: HashSet<ValueId>,
    /// Whether the launches are the same for equal extents: nothing runs on the CPU in between.
    pub(super) replayable: bool,
}

impl Program {
    /// Compiles a rewritten graph for a device, or says why all of it stays on the CPU.
    ///
    /// # Errors
    /// A sentence for the operator.
    pub(crate) fn new(
        gpu: &Arc<Gpu>,
        draft: &Draft,
        host_bytes_max: u64,
    ) -> Result<Program, String> {
        let insts = insts(gpu, draft)?;
        let insts = paged(gpu, draft, insts).map_err(|error| error.to_string())?;
        let mut insts = fused(gpu, draft, insts);
        let faults = number_faults(&mut insts);
        if !insts.iter().any(|inst| matches!(inst, DeviceStep::Launch { .. })) {
            return Err("no op of the plan has a kernel for the device".into());
        }
        let uses: Vec<Use<'_>> = insts
            .iter()
            .filter_map(|inst| match inst {
                DeviceStep::Launch { inputs, outputs, .. } => {
                    Some(Use { reads: inputs.clone(), writes: outputs, in_place: None })
                }
                DeviceStep::Host(step) => {
                    Some(Use { reads: step.inputs.clone(), writes: &step.outputs, in_place: None })
                }
                DeviceStep::Upload(_) | DeviceStep::Download(_) => None,
            })
            .collect();
        let memory = plan_memory(draft, &uses);
        let mut placement = Placement::new(draft, &insts, &memory);
        let steps = placement.with_transfers(insts);
        let replayable =
            !steps.iter().any(|step| matches!(step, DeviceStep::Host(_) | DeviceStep::Download(_)));
        let (constants, host_constants) = placement.constants(gpu)?;
        let initial = draft.state_inits.iter().map(|init| init.load());
        let initial =
            initial.collect::<Result<Vec<Tensor>, _>>().map_err(|error| error.to_string())?;
        let Placement { uploads, on_host, .. } = placement;
        let values = 0..draft.graph.values.len();
        Ok(Program {
            gpu: gpu.clone(),
            host_bytes_max,
            steps,
            constants,
            host_constants,
            uploads,
            faults,
            dtypes: draft.graph.values.iter().map(|value| value.spec.dtype).collect(),
            roots: values.map(|index| draft.root(ValueId(index as u32))).collect(),
            extents: Extents::new(&draft.graph),
            signature: draft.graph.signature.clone(),
            outputs: draft.graph.outputs.clone(),
            writes: draft.graph.states.iter().map(|state| state.write).collect(),
            initial,
            on_host,
            replayable,
            memory,
            replays: Mutex::default(),
        })
    }

    /// Puts input `i` to place `moved(i)`, which gives this signature.
    pub(crate) fn reorder(&mut self, signature: &crate::Signature, moved: &dyn Fn(usize) -> usize) {
        for place in &mut self.memory.places {
            if let Place::Input(index) = place {
                *index = moved(*index);
            }
        }
        let mut inputs = self.uploads.inputs.clone();
        for (index, value) in self.uploads.inputs.drain(..).enumerate() {
            inputs[moved(index)] = value;
        }
        self.uploads.inputs = inputs;
        self.signature = signature.clone();
        self.extents.reorder(moved);
    }

    /// Where it runs.
    pub(crate) fn gpu(&self) -> &Gpu {
        &self.gpu
    }

    /// What a run does, for reports.
    pub(crate) fn report(&self) -> DeviceReport {
        let steps = self.steps.iter().map(|step| match step {
            DeviceStep::Launch { name, .. } => (name.clone(), StepPlace::Device),
            DeviceStep::Host(step) => (step.op.rule().name().into(), StepPlace::Host),
            DeviceStep::Upload(_) => ("upload".into(), StepPlace::Transfer),
            DeviceStep::Download(_) => ("download".into(), StepPlace::Transfer),
        });
        DeviceReport {
            device: self.gpu.info().name.clone(),
            steps: steps.collect(),
            recorded: self.replays.lock().map_or(0, |replays| replays.len()),
        }
    }
}

impl Plan {
    /// Whether all or a part of it runs on a device while that works.
    pub fn is_on_device(&self) -> bool {
        matches!(self.program, Some(Ok(_)))
    }

    /// Number of the device that all or a part of it runs on while that works.
    pub fn device_number(&self) -> Option<usize> {
        let program = self.program.as_ref()?.as_ref().ok()?;
        Some(program.gpu().info().ordinal)
    }

    /// What the plan does on its device, or why it stays on the CPU; none without a device.
    pub fn device_report(&self) -> Option<Result<DeviceReport, String>> {
        self.program.as_ref().map(|program| match program {
            Ok(program) => Ok(program.report()),
            Err(reason) => Err(reason.clone()),
        })
    }

    /// What went wrong last on the plan's device, so that runs were done on the CPU.
    pub fn device_error(&self) -> Option<String> {
        match &self.program {
            Some(Ok(program)) => program.gpu().state().last_error,
            Some(Err(_)) | None => None,
        }
    }
}

/// What a plan does on a device, step by step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceReport {
    /// Name of the device.
    pub device: String,
    /// Ops in order, with where each runs; `fused(a b c)` is one kernel of several, and
    /// `attention(paged)` reads keys and values in the pages of a cache. Inputs go to the device before
    /// the first step and outputs come back after the last.
    pub steps: Vec<(Cow<'static, str>, StepPlace)>,
    /// Sets of extents whose launches are recorded.
    pub recorded: usize,
}

impl DeviceReport {
    /// How many steps run on the device, run on the CPU, and bring values from one to the other.
    pub fn counts(&self) -> [usize; 3] {
        let count = |wanted| self.steps.iter().filter(|(_, place)| *place == wanted).count();
        [StepPlace::Device, StepPlace::Host, StepPlace::Transfer].map(count)
    }
}

impl StepPlace {
    /// The place in one word: `device`, `cpu` or `transfer`.
    pub fn name(self) -> &'static str {
        match self {
            StepPlace::Device => "device",
            StepPlace::Host => "cpu",
            StepPlace::Transfer => "transfer",
        }
    }
}

/// Where a step of a plan for a device runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StepPlace {
    /// On the device.
    Device,
    /// On the CPU: the op has no kernel for the device.
    Host,
    /// Between the two.
    Transfer,
}

/// Every instruction as a launch or an op on the CPU.
fn insts(gpu: &Arc<Gpu>, draft: &Draft) -> Result<Vec<DeviceStep>, String> {
    let mut insts = Vec::with_capacity(draft.insts.len());
    for inst in &draft.insts {
        let inputs = inst.inputs();
        let is_view = |value: &ValueId| draft.views.contains_key(&draft.root(*value));
        let site = Site { device: gpu.device(), draft };
        let found = lowered(&site, inst).map_err(|error| error.to_string())?;
        let found = found.filter(|lowered| lowered.strided || !inputs.iter().any(is_view));
        insts.push(match (found, inst) {
            (Some(lowered), _) => {
                let (name, outputs) = (name(inst).into(), inst.outputs().to_vec());
                DeviceStep::Launch { name, lowered, inputs, outputs, fault: None }
            }
            (None, Inst::Op { op, inputs, outputs }) => {
                let (op, inputs, outputs) = (op.clone(), inputs.clone(), outputs.clone());
                DeviceStep::Host(OpStep { op, inputs, outputs })
            }
            (None, Inst::Linear(_)) => {
                return Err("a linear layer has no kernel for the device".into());
            }
            (None, Inst::Image(_)) => {
                return Err("an operation on images has no kernel for the device".into());
            }
        });
    }
    Ok(insts)
}

/// Gives every launch that reports bad indices a fault word, and returns how many there are.
fn number_faults(insts: &mut [DeviceStep]) -> usize {
    let mut faults = 0;
    for inst in insts {
        if let DeviceStep::Launch { lowered, fault, .. } = inst
            && lowered.faults
        {
            *fault = Some(faults);
            faults += 1;
        }
    }
    faults
}

fn name(inst: &Inst) -> &'static str {
    match inst {
        Inst::Op { op, .. } => op.rule().name(),
        Inst::Linear(_) => "linear",
        Inst::Image(_) => "image",
    }
}

/// Which side makes and reads each value.
struct Placement<'a> {
    draft: &'a Draft,
    memory: &'a Memory,
    on_host: HashSet<ValueId>,
    read_by_launches: HashSet<ValueId>,
    read_on_host: HashSet<ValueId>,
    uploads: Uploads,
}

impl<'a> Placement<'a> {
    fn new(draft: &'a Draft, insts: &[DeviceStep], memory: &'a Memory) -> Placement<'a> {
        let mut own = Placement {
            draft,
            memory,
            on_host: HashSet::new(),
            read_by_launches: HashSet::new(),
            read_on_host: HashSet::new(),
            uploads: Uploads::default(),
        };
        for inst in insts {
            match inst {
                DeviceStep::Launch { inputs, .. } => {
                    own.read_by_launches.extend(inputs.iter().map(|&value| draft.base(value)));
                }
                DeviceStep::Host(step) => {
                    own.on_host.extend(&step.outputs);
                    own.read_on_host.extend(step.inputs.iter().map(|&value| draft.base(value)));
                }
                DeviceStep::Upload(_) | DeviceStep::Download(_) => {}
            }
        }
        own.read_on_host.extend(&draft.results);
        own
    }

    /// The steps with the transfers that they need: right behind what makes a value on the CPU, and
    /// right before the first that reads a value of the device there.
    fn with_transfers(&mut self, insts: Vec<DeviceStep>) -> Vec<DeviceStep> {
        let mut steps = Vec::with_capacity(insts.len());
        let mut downloaded = HashSet::new();
        for inst in insts {
            let mut after = Vec::new();
            if let DeviceStep::Host(step) = &inst {
                for &input in &step.inputs {
                    let base = self.draft.base(input);
                    let on_device = matches!(self.memory.places[base.index()], Place::Region(_))
                        && !self.on_host.contains(&base);
                    if on_device && downloaded.insert(base) {
                        steps.push(DeviceStep::Download(base));
                    }
                }
                let wanted = |output: &&ValueId| self.read_by_launches.contains(*output);
                after
                    .extend(step.outputs.iter().filter(wanted).map(|&out| DeviceStep::Upload(out)));
            }
            steps.push(inst);
            steps.extend(after);
        }
        self.find_uploads();
        steps
    }

    fn find_uploads(&mut self) {
        let graph = &self.draft.graph;
        self.uploads.inputs = vec![None; graph.signature.inputs.len()];
        self.uploads.states = vec![None; graph.states.len()];
        for &value in &self.read_by_launches {
            let place = match graph.values[value.index()].origin {
                Origin::Input(index) => self.uploads.inputs.get_mut(index),
                Origin::State(index) => self.uploads.states.get_mut(index),
                Origin::Weight(_) | Origin::Constant(_) | Origin::Node(_) => None,
            };
            if let Some(place) = place {
                *place = Some(value);
            }
        }
    }

    /// Constants where they are read.
    #[expect(clippy::type_complexity, reason = "the same list for both sides")]
    fn constants(
        &self,
        gpu: &Gpu,
    ) -> Result<(Vec<Option<Arc<DeviceMemory>>>, Vec<Option<Tensor>>), String> {
        let (mut device, mut host) = (Vec::new(), Vec::new());
        for &value in &self.memory.constants {
            let constant = self.draft.constant(value).map_err(|error| error.to_string())?;
            let content = || Ok(constant.load()?.bytes().to_vec());
            device.push(match self.read_by_launches.contains(&value) {
                true => Some(
                    on_device(gpu.device(), "plain", &[constant], content)
                        .map_err(|error: ConstantError| error.to_string())?,
                ),
                false => None,
            });
            host.push(match self.read_on_host.contains(&value) {
                true => Some(constant.load().map_err(|error| error.to_string())?),
                false => None,
            });
        }
        Ok((device, host))
    }
}

/// The host's copies of values, by root.
pub(super) type HostValues = HashMap<ValueId, aimass_tensor::BufferMut>;
