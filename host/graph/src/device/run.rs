//! One run of a program: transfers, launches or their recording, and ops on the CPU in between.

use super::call::{DeviceArg, DeviceCall};
use super::gpu::Turn;
use super::layout::{FAULT_BYTES, Layout, Part, value_bytes};
use super::program::{DeviceStep, HostValues, Program};
use crate::RunError;
use crate::compile::Place;
use crate::extents::Bound;
use crate::graph::ValueId;
use crate::op::{Arg, Call, Out};
use crate::step::OpStep;
use aimass_cpu::pool::KernelPool;
use aimass_cuda::{DeviceError, Memory, Queue, Slice};
use aimass_tensor::{Buffer, BufferMut, Shape, Tensor};
use std::collections::HashMap;
use std::sync::{Arc, PoisonError};

/// How a run on a device ended.
pub(crate) enum Placed {
    /// With outputs; states were replaced.
    Done(Vec<Tensor>),
    /// The caller's input is wrong.
    Refused(RunError),
    /// Not here: the CPU has to do it.
    Elsewhere,
    /// Not here with so many rows: the device has no memory for them.
    TooLarge(DeviceError),
}

/// Why a run on a device did not end well.
#[derive(Debug, thiserror::Error)]
pub enum DeviceFailure {
    /// The inputs do not fit, or an op on the CPU failed.
    #[error(transparent)]
    Run(#[from] RunError),
    /// The device refused something.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// A kernel found an index out of range.
    #[error("an index is out of range; run without a device to learn which")]
    BadIndex,
}

const DEFECT: RunError = RunError::Internal("a value of a device program has no place");
/// Most elements of a value on a device.
const ELEMENTS_MAX: usize = (1 << 31) - 1;

impl Program {
    /// Runs with these inputs, and with these states, which are replaced if it succeeds.
    pub(crate) fn run(&self, inputs: &[Tensor], states: Option<&mut Vec<Tensor>>) -> Placed {
        if !self.gpu.works() {
            return Placed::Elsewhere;
        }
        let before: &[Tensor] = states.as_ref().map_or(&self.initial, |states| states);
        match self.outcome(inputs, before) {
            Ok((outputs, written)) => {
                if let Some(states) = states {
                    *states = written;
                }
                self.gpu.ran();
                Placed::Done(outputs)
            }
            Err(DeviceFailure::Run(error)) => Placed::Refused(error),
            Err(DeviceFailure::BadIndex) => Placed::Elsewhere,
            Err(DeviceFailure::Device(error)) if error.is_memory() => Placed::TooLarge(error),
            Err(DeviceFailure::Device(error)) => {
                self.gpu.fell_back(&error);
                Placed::Elsewhere
            }
        }
    }

    fn outcome(
        &self,
        inputs: &[Tensor],
        states: &[Tensor],
    ) -> Result<(Vec<Tensor>, Vec<Tensor>), DeviceFailure> {
        self.with_turn(inputs, states, |run, queue| run.all(queue))
    }

    /// Seconds of the transfer of inputs, of each step, and of the transfer of results, on the device's
    /// clock, in a run from the initial states whose launches are not replayed.
    ///
    /// # Errors
    /// Whatever keeps it from running on the device.
    pub(super) fn timed(&self, inputs: &[Tensor]) -> Result<Vec<f64>, DeviceFailure> {
        self.with_turn(inputs, &self.initial, |run, mut queue| {
            let mut events = vec![queue.event()?];
            run.upload_inputs(&mut queue)?;
            run.clear_faults(&mut queue)?;
            events.push(queue.event()?);
            for step in &self.steps {
                run.step(step, &mut queue)?;
                events.push(queue.event()?);
            }
            run.download_results(&mut queue)?;
            events.push(queue.event()?);
            queue.synchronize()?;
            let took = events.windows(2).map(|pair| pair[1].seconds_since(&pair[0]));
            Ok(took.collect::<Result<Vec<f64>, DeviceError>>()?)
        })
    }

    /// Does `work` with what a run needs, when its turn has come.
    fn with_turn<T>(
        &self,
        inputs: &[Tensor],
        states: &[Tensor],
        work: impl FnOnce(&mut Run<'_>, Queue<'_>) -> Result<T, DeviceFailure>,
    ) -> Result<T, DeviceFailure> {
        let bound = self.extents.bind(&self.signature, inputs)?;
        let shapes = self.extents.shapes(&bound)?;
        if shapes.iter().any(|shape| shape.elements() > ELEMENTS_MAX) {
            let what = "a value of more than 2^31 - 1 elements, which stays on the CPU";
            return Err(DeviceError::Defect(what).into());
        }
        let layout = Layout::new(self, &shapes)?;
        let mut turn: Turn<'_> = self.gpu.turn();
        let working = turn.memory(layout.total)?;
        let queue = self.gpu.device().queue()?;
        let total = layout.total;
        let mut run = Run {
            program: self,
            inputs,
            states,
            shapes,
            bound,
            layout,
            working: &working,
            host: HostValues::new(),
            host_bytes: 0,
        };
        let outcome = work(&mut run, queue);
        if let Err(DeviceFailure::Device(error)) = &outcome
            && error.is_memory()
        {
            drop(working);
            turn.refuse(total, error);
        }
        outcome
    }
}

/// A run in progress.
struct Run<'r> {
    program: &'r Program,
    inputs: &'r [Tensor],
    states: &'r [Tensor],
    shapes: Vec<Shape>,
    bound: Bound,
    layout: Layout,
    working: &'r Arc<Memory>,
    host: HostValues,
    /// Bytes of those.
    host_bytes: u64,
}

impl<'r> Run<'r> {
    fn all(&mut self, mut queue: Queue<'_>) -> Result<(Vec<Tensor>, Vec<Tensor>), DeviceFailure> {
        self.upload_inputs(&mut queue)?;
        match self.program.replayable {
            true => self.replayed(&mut queue)?,
            false => {
                self.clear_faults(&mut queue)?;
                for step in &self.program.steps {
                    self.step(step, &mut queue)?;
                }
            }
        }
        self.download_results(&mut queue)?;
        drop(queue);
        let made: HashMap<ValueId, Buffer> =
            self.host.drain().map(|(value, bytes)| (value, bytes.freeze())).collect();
        let outputs = self.program.outputs.iter().map(|&value| self.tensor(value, &made));
        let outputs = outputs.collect::<Result<Vec<Tensor>, RunError>>()?;
        let mut written = Vec::with_capacity(self.states.len());
        for (write, old) in self.program.writes.iter().zip(self.states) {
            written.push(match write {
                Some(write) => self.tensor(*write, &made)?,
                None => old.clone(),
            });
        }
        Ok((outputs, written))
    }

    /// The launches: as they were recorded, or recorded now if these extents came before.
    fn replayed(&self, queue: &mut Queue<'_>) -> Result<(), DeviceFailure> {
        let program = self.program;
        let extents: Vec<usize> = self.inputs.iter().flat_map(|x| x.shape().to_vec()).collect();
        let mut replays = program.replays.lock().unwrap_or_else(PoisonError::into_inner);
        let replay = match replays.find(&extents, self.working) {
            Some(replay) => replay,
            None if replays.seen(&extents) => {
                let made = queue.capture(&[self.working], |queue| self.launches(queue))?;
                let replay = Arc::new(made);
                replays.keep(extents, self.working, replay.clone());
                replay
            }
            None => return Ok(self.launches(queue)?),
        };
        queue.replay(&replay)?;
        Ok(())
    }

    fn launches(&self, queue: &mut Queue<'_>) -> Result<(), DeviceError> {
        self.clear_faults(queue)?;
        for step in &self.program.steps {
            if let DeviceStep::Launch { .. } = step {
                self.launch(step, queue)?;
            }
        }
        Ok(())
    }

    fn step(&mut self, step: &DeviceStep, queue: &mut Queue<'_>) -> Result<(), DeviceFailure> {
        match step {
            DeviceStep::Launch { .. } => Ok(self.launch(step, queue)?),
            DeviceStep::Host(op) => self.op(op),
            DeviceStep::Upload(value) => {
                let to = self.region(*value)?;
                let content = self.host.get(value).ok_or(DEFECT)?;
                let bytes = self.byte_len(*value)?;
                let content = content.as_slice().get(..bytes).ok_or(DEFECT)?;
                Ok(queue.upload(to.part(0, bytes)?, content)?)
            }
            DeviceStep::Download(value) => self.download(&[*value], queue),
        }
    }

    fn launch(&self, step: &DeviceStep, queue: &mut Queue<'_>) -> Result<(), DeviceError> {
        let DeviceStep::Launch { lowered, inputs, outputs, fault, .. } = step else {
            return Ok(());
        };
        let inputs: Vec<DeviceArg<'_>> =
            inputs.iter().map(|&value| self.arg(value)).collect::<Result<_, _>>()?;
        let outputs: Vec<DeviceArg<'_>> =
            outputs.iter().map(|&value| self.arg(value)).collect::<Result<_, _>>()?;
        let fault = match fault {
            Some(number) => {
                self.part(self.layout.faults)?.part(number * FAULT_BYTES, FAULT_BYTES)?
            }
            None => Slice::none(),
        };
        let scratch = self.part(self.layout.scratch)?;
        let mut call = DeviceCall { queue, inputs: &inputs, outputs: &outputs, scratch, fault };
        (lowered.launch)(&mut call)
    }

    /// A value on the device.
    fn arg(&self, value: ValueId) -> Result<DeviceArg<'r>, DeviceError> {
        const ABSENT: DeviceError = DeviceError::Defect("a value is not on the device");
        let program = self.program;
        let (dtype, shape) = (program.dtypes[value.index()], self.shapes[value.index()]);
        let bytes = dtype.bytes_for(shape.elements()).ok_or(ABSENT)?;
        let (slice, stride) = match program.memory.places[value.index()] {
            Place::Input(index) => (self.part(self.layout.inputs[index])?, None),
            Place::State(index) => (self.part(self.layout.states[index])?, None),
            Place::Constant(index) => {
                let memory = program.constants.get(index).and_then(Option::as_ref).ok_or(ABSENT)?;
                (memory.slice(), None)
            }
            Place::Region(region) => (self.part(self.layout.regions[region])?, None),
            Place::Columns { region, start, columns } => {
                let all = self.part(self.layout.regions[region])?;
                let start = start * dtype.size().ok_or(ABSENT)?;
                let slice = all.part(start, all.bytes().saturating_sub(start))?;
                return Ok(DeviceArg { dtype, shape, slice, stride: Some(columns) });
            }
            Place::None => return Err(ABSENT),
        };
        Ok(DeviceArg { dtype, shape, slice: slice.part(0, bytes)?, stride })
    }

    fn part(&self, part: Part) -> Result<Slice<'r>, DeviceError> {
        self.working.slice().part(part.start, part.bytes)
    }

    fn region(&self, value: ValueId) -> Result<Slice<'r>, DeviceFailure> {
        match self.program.memory.places[value.index()] {
            Place::Region(region) => Ok(self.part(self.layout.regions[region])?),
            Place::None
            | Place::Input(_)
            | Place::Constant(_)
            | Place::State(_)
            | Place::Columns { .. } => Err(DEFECT.into()),
        }
    }

    fn byte_len(&self, value: ValueId) -> Result<usize, RunError> {
        value_bytes(self.program.dtypes[value.index()], &self.shapes[value.index()])
    }

    /// Memory on the host for a value; all of it stays until the run ends.
    fn host_buffer(&mut self, value: ValueId) -> Result<BufferMut, DeviceFailure> {
        const TOO_MUCH: DeviceError =
            DeviceError::Defect("values on the host pass the limit of a run");
        let bytes = self.byte_len(value)?;
        self.host_bytes = self.host_bytes.saturating_add(bytes as u64);
        match self.host_bytes <= self.program.host_bytes_max {
            true => Ok(BufferMut::uninit(bytes)),
            false => Err(TOO_MUCH.into()),
        }
    }

    fn clear_faults(&self, queue: &mut Queue<'_>) -> Result<(), DeviceError> {
        queue.fill(self.part(self.layout.faults)?, 0xff)
    }

    fn upload_inputs(&self, queue: &mut Queue<'_>) -> Result<(), DeviceFailure> {
        let uploads = &self.program.uploads;
        let sides = [
            (&uploads.inputs, &self.layout.inputs, self.inputs),
            (&uploads.states, &self.layout.states, self.states),
        ];
        for (values, parts, tensors) in sides {
            for ((_, part), tensor) in
                values.iter().zip(parts).zip(tensors).filter(|((value, _), _)| value.is_some())
            {
                queue.upload(self.part(*part)?, tensor.bytes())?;
            }
        }
        Ok(())
    }

    /// Brings values of the device to the host.
    fn download(&mut self, values: &[ValueId], queue: &mut Queue<'_>) -> Result<(), DeviceFailure> {
        let mut faults = vec![0xffu8; self.program.faults * FAULT_BYTES];
        let mut buffers = Vec::with_capacity(values.len());
        for &value in values {
            buffers.push((value, self.host_buffer(value)?));
        }
        let mut parts: Vec<(Slice<'_>, &mut [u8])> = Vec::with_capacity(values.len() + 1);
        for (value, buffer) in &mut buffers {
            let to = buffer.as_mut_slice();
            let from = match self.program.memory.places[value.index()] {
                Place::Region(region) => self.part(self.layout.regions[region])?,
                _ => return Err(DEFECT.into()),
            };
            parts.push((from.part(0, to.len())?, to));
        }
        parts.push((self.part(self.layout.faults)?, &mut faults));
        queue.download(&mut parts)?;
        self.host.extend(buffers);
        match faults.iter().all(|&byte| byte == 0xff) {
            true => Ok(()),
            false => Err(DeviceFailure::BadIndex),
        }
    }

    /// Brings what leaves the plan to the host, and waits for everything.
    fn download_results(&mut self, queue: &mut Queue<'_>) -> Result<(), DeviceFailure> {
        let made = |value: &&ValueId| {
            !self.program.on_host.contains(value) && !self.host.contains_key(value)
        };
        let values: Vec<ValueId> =
            self.program.memory.results.iter().filter(made).copied().collect();
        self.download(&values, queue)
    }

    /// An op on the CPU.
    fn op(&mut self, step: &OpStep) -> Result<(), DeviceFailure> {
        let mut made = Vec::with_capacity(step.outputs.len());
        for &output in &step.outputs {
            made.push(self.host_buffer(output)?);
        }
        let args: Vec<Arg<'_>> =
            step.inputs.iter().map(|&value| self.host_arg(value)).collect::<Result<_, _>>()?;
        let mut outs: Vec<Out<'_>> = step
            .outputs
            .iter()
            .zip(&mut made)
            .map(|(&output, bytes)| Out {
                dtype: self.program.dtypes[output.index()],
                shape: self.shapes[output.index()],
                bytes: bytes.as_mut_slice(),
            })
            .collect();
        let pool = KernelPool::global();
        let team = pool.team(pool.threads());
        let mut call = Call { inputs: &args, outputs: &mut outs, team, in_place: false };
        step.op.rule().run(&mut call)?;
        let found: Vec<Shape> = outs.iter().map(|out| out.shape).collect();
        drop((args, outs));
        if step.op.rule().measures() {
            let Run { program, bound, shapes, .. } = self;
            for (&output, found) in step.outputs.iter().zip(&found) {
                program.extents.measure(bound, shapes, output, found)?;
            }
        }
        self.host.extend(step.outputs.iter().copied().zip(made));
        Ok(())
    }

    /// A value on the host.
    fn host_arg(&self, value: ValueId) -> Result<Arg<'_>, RunError> {
        let program = self.program;
        let (dtype, shape) = (program.dtypes[value.index()], self.shapes[value.index()]);
        let whole = |bytes: &'_ [u8]| -> Result<usize, RunError> {
            let wanted = value_bytes(dtype, &shape)?;
            if wanted <= bytes.len() { Ok(wanted) } else { Err(DEFECT) }
        };
        let (bytes, stride): (&[u8], _) = match program.memory.places[value.index()] {
            Place::Input(index) => (self.inputs.get(index).ok_or(DEFECT)?.bytes(), None),
            Place::State(index) => (self.states.get(index).ok_or(DEFECT)?.bytes(), None),
            Place::Constant(index) => {
                let constant = program.host_constants.get(index).and_then(Option::as_ref);
                (constant.ok_or(DEFECT)?.bytes(), None)
            }
            Place::Region(_) => {
                let own = self.host.get(&program.roots[value.index()]).ok_or(DEFECT)?.as_slice();
                (own.get(..whole(own)?).ok_or(DEFECT)?, None)
            }
            Place::Columns { .. } | Place::None => return Err(DEFECT),
        };
        Ok(Arg { dtype, shape, bytes, stride })
    }

    /// A value that leaves the plan, in the memory that it was made or brought in.
    fn tensor(&self, value: ValueId, made: &HashMap<ValueId, Buffer>) -> Result<Tensor, RunError> {
        let program = self.program;
        let (dtype, shape) = (program.dtypes[value.index()], self.shapes[value.index()]);
        let known = match program.memory.places[value.index()] {
            Place::Input(index) => self.inputs.get(index),
            Place::State(index) => self.states.get(index),
            Place::Constant(index) => program.host_constants.get(index).and_then(Option::as_ref),
            Place::Region(_) => {
                let own = made.get(&program.roots[value.index()]).ok_or(DEFECT)?;
                let bytes = value_bytes(dtype, &shape)?;
                let all = own.as_slice().len();
                return match bytes == all {
                    true => Tensor::new(dtype, shape, own.clone()).map_err(|_| DEFECT),
                    // Of what was reserved for the most, only what is there leaves the plan.
                    false => {
                        let found = own.as_slice().get(..bytes).ok_or(DEFECT)?;
                        Tensor::copy_from(dtype, shape, found).map_err(|_| DEFECT)
                    }
                };
            }
            Place::Columns { .. } | Place::None => None,
        };
        let known = known.ok_or(DEFECT)?;
        match known.dtype() == dtype {
            true => known.reshaped(shape).map_err(|_| DEFECT),
            false => Tensor::copy_from(dtype, shape, known.bytes()).map_err(|_| DEFECT),
        }
    }
}
