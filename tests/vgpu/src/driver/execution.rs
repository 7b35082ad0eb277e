//! Work in streams: queued by calls, run when something waits for it, in an order that the seed
//! chooses among those that streams and events allow.

use std::ffi::c_void;
use std::sync::Arc;

use super::access::{Access, Guest};
use super::gate::OwnedGate;
use super::graph::Node;
use super::launch::KernelCall;
use super::{Code, Driver, Handle, Outcome, host};
use crate::exec::device_memory::OutOfBounds;
use crate::exec::{self, Launch, Touched, Trouble};
use crate::settings::Streams;

/// Operations that a stream holds before a call runs the oldest, as the hardware's queue is finite.
const QUEUE: usize = 1024;

/// Where a copy to the device reads.
#[derive(Clone, Debug)]
pub(super) enum HostSource {
    /// What pageable memory held when the copy was called.
    Snapshot(Arc<[u8]>),
    /// Pinned memory, read when the copy runs.
    Live(u64),
}

/// A function of another library that works on this device's memory in stream order.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct Callback {
    /// Gives a `CUresult`.
    pub(crate) run: extern "C" fn(*mut c_void, *const Access) -> i32,
    /// Frees `data`.
    pub(crate) drop: extern "C" fn(*mut c_void),
    /// Passed to both.
    pub(crate) data: *mut c_void,
}

/// A callback that is freed with its last owner.
#[derive(Debug)]
pub(super) struct OwnedCallback(pub(super) Callback);

// SAFETY: the library that gave the callback promises that it may run in any thread, one at a time.
unsafe impl Send for OwnedCallback {}
// SAFETY: as above; the driver's lock is held while it runs.
unsafe impl Sync for OwnedCallback {}

impl Drop for OwnedCallback {
    fn drop(&mut self) {
        (self.0.drop)(self.0.data);
    }
}

/// One operation.
#[derive(Clone, Debug)]
pub(super) enum Work {
    Kernel(Arc<KernelCall>),
    CopyIn { to: u64, from: HostSource, bytes: u64 },
    CopyOut { to: u64, from: u64, bytes: u64 },
    CopyDevice { to: u64, from: u64, bytes: u64 },
    Fill { to: u64, pattern: [u8; 4], width: u64, count: u64 },
    Free { address: u64 },
    Record { event: Handle, number: u64 },
    Wait { event: Handle, number: u64 },
    Graph(Arc<[Node]>),
    Callback(Arc<OwnedCallback>),
    Gated(Arc<OwnedGate>),
}

impl Driver {
    /// Queues `work`, or adds it to the graph that the stream captures.
    pub(super) fn enqueue(&mut self, stream: Handle, work: Work) -> Outcome {
        if self.captured(stream, &work)? {
            return Ok(());
        }
        let sequence = self.next_sequence();
        let Some(target) = self.streams.get_mut(&stream) else {
            return Err(Code::INVALID_HANDLE);
        };
        target.queue.push_back((sequence, work));
        let full = target.queue.len() > QUEUE;
        match self.settings.streams {
            Streams::Eager => {
                self.run_all();
            }
            Streams::Deferred => {
                let some = self.settings.seed != 0 && self.random.below(4) == 0;
                let steps = if some { self.random.below(4) } else { u64::from(full) };
                for _ in 0..steps {
                    self.run_one();
                }
            }
        }
        Ok(())
    }

    /// Runs work until `done`.
    pub(super) fn drain(&mut self, device: usize, done: impl Fn(&Self) -> bool) -> Outcome {
        loop {
            if let Some(sticky) = self.devices[device].sticky {
                return Err(sticky);
            }
            if done(self) {
                return Ok(());
            }
            if !self.run_one() {
                let waits = self.closed_gates();
                self.findings.push(format!("streams wait for each other{waits}"));
                self.devices[device].sticky = Some(Code::LAUNCH_FAILED);
            }
        }
    }

    /// Runs everything of a device.
    pub(super) fn synchronize_device(&mut self, device: usize) -> Outcome {
        self.drain(device, |driver| {
            let mut streams = driver.streams.values().filter(|stream| stream.device == device);
            streams.all(|stream| stream.queue.is_empty())
        })
    }

    /// Runs everything of a device whose context ends; failures no longer matter.
    pub(super) fn finish_device(&mut self, device: usize) {
        let _ = self.synchronize_device(device);
    }

    fn run_all(&mut self) {
        while self.run_one() {}
    }

    /// Runs one operation; whether there was one that could run.
    pub(super) fn run_one(&mut self) -> bool {
        let mut ready: Vec<(u64, Handle)> = self
            .streams
            .keys()
            .filter_map(|handle| self.ready(*handle).map(|sequence| (sequence, *handle)))
            .collect();
        ready.sort_unstable();
        if ready.is_empty() {
            return false;
        }
        let pick = match self.settings.seed {
            0 => 0,
            _ => self.random.below(ready.len() as u64) as usize,
        };
        let stream = ready[pick].1;
        let Some((device, (_, work))) = self
            .streams
            .get_mut(&stream)
            .and_then(|stream| Some((stream.device, stream.queue.pop_front()?)))
        else {
            return false;
        };
        if self.streams.get(&stream).is_some_and(|one| one.destroyed && one.queue.is_empty()) {
            self.streams.remove(&stream);
        }
        if let Err(code) = self.perform(device, &work) {
            self.devices[device].sticky.get_or_insert(code);
        }
        true
    }

    /// Sequence of the stream's oldest operation if it can run now.
    fn ready(&self, handle: Handle) -> Option<u64> {
        let stream = &self.streams[&handle];
        let (sequence, work) = stream.queue.front()?;
        if self.devices[stream.device].sticky.is_some() {
            return None;
        }
        // The legacy stream waits for every blocking stream, and they for it.
        let mut rivals = self.streams.iter().filter(|(other, one)| {
            **other != handle
                && one.device == stream.device
                && (stream.legacy && one.blocking || stream.blocking && one.legacy)
        });
        if rivals.any(|(_, one)| one.queue.front().is_some_and(|(other, _)| other < sequence)) {
            return None;
        }
        match work {
            Work::Wait { event, number } => {
                let event = self.events.get(event);
                event.is_none_or(|event| event.done >= *number).then_some(*sequence)
            }
            Work::Gated(gate) => gate.is_open().then_some(*sequence),
            _ => Some(*sequence),
        }
    }

    fn perform(&mut self, device: usize, work: &Work) -> Outcome {
        match work {
            Work::Kernel(call) => self.perform_kernel(device, call),
            Work::Graph(nodes) => self.perform_graph(device, nodes),
            Work::Callback(callback) => self.perform_callback(device, callback.0, String::new),
            Work::Gated(gate) => self.perform_callback(device, gate.callback(), || gate.describe()),
            Work::Record { event, number } => {
                let now = self.started.elapsed().as_secs_f64();
                if let Some(event) = self.events.get_mut(event) {
                    event.done = *number;
                    event.time = now;
                }
                Ok(())
            }
            Work::Wait { .. } => Ok(()),
            Work::Free { address } => {
                if self.devices[device].memory.free(*address) {
                    Ok(())
                } else {
                    self.findings.push(format!("{address:#x} was freed twice"));
                    Err(Code::ILLEGAL_ADDRESS)
                }
            }
            copy => {
                let result = self.perform_copy(device, copy);
                result.map_err(|bounds| {
                    self.findings.push(format!("copy of {}", bounds.0));
                    Code::ILLEGAL_ADDRESS
                })
            }
        }
    }

    /// Runs a library's function; `otherwise` says why it failed if its memory accesses do not.
    fn perform_callback(
        &mut self,
        device: usize,
        callback: Callback,
        otherwise: impl FnOnce() -> String,
    ) -> Outcome {
        let mut guest = Guest::new(&mut self.devices[device].memory);
        let code = (callback.run)(callback.data, &raw const *guest.access());
        let problem = guest.problem();
        if code == 0 {
            return Ok(());
        }
        let text = problem.unwrap_or_else(otherwise);
        self.findings.extend(Some(text).filter(|text| !text.is_empty()));
        Err(Code(code))
    }

    fn perform_copy(&mut self, device: usize, work: &Work) -> Result<(), OutOfBounds> {
        let memory = &mut self.devices[device].memory;
        match work {
            Work::CopyIn { to, from: HostSource::Snapshot(content), .. } => {
                memory.write(*to, content)
            }
            Work::CopyIn { to, from: HostSource::Live(from), bytes } => {
                memory.write(*to, &host::read(*from as *const u8, *bytes as usize))
            }
            Work::CopyOut { to, from, bytes } => {
                let mut content = vec![0; *bytes as usize];
                memory.read(*from, &mut content)?;
                host::write(*to as *mut u8, &content);
                Ok(())
            }
            Work::CopyDevice { to, from, bytes } => memory.copy(*to, *from, *bytes),
            Work::Fill { to, pattern, width, count } => {
                memory.write(*to, &pattern[..*width as usize].repeat(*count as usize))
            }
            _ => Ok(()),
        }
    }

    fn perform_kernel(&mut self, device: usize, call: &KernelCall) -> Outcome {
        self.launches += 1;
        let launch = Launch {
            kernel: &call.kernel,
            grid: call.grid,
            block: call.block,
            dynamic: call.dynamic,
            params: &call.params,
            symbols: &call.symbols,
            number: self.launches,
            checks: self.settings.checks,
            count: self.settings.count,
            seed: self.settings.seed,
            steps: self.settings.steps,
        };
        let memory = &mut self.devices[device].memory;
        let mut touched = self.recording.wants(call, memory).then(Touched::default);
        let counters = exec::run(&launch, memory, touched.as_mut());
        if let (Some(touched), Ok(_)) = (touched, &counters)
            && let Err(problem) = self.recording.keep(call, touched, memory)
        {
            self.findings.push(format!("a launch cannot be recorded: {problem}"));
        }
        match counters {
            Ok(counters) => {
                let total = self.counters.entry(call.kernel.name.clone()).or_default();
                total.add(&counters);
                Ok(())
            }
            Err(Trouble { code, text, .. }) => {
                self.findings.push(text);
                Err(code)
            }
        }
    }

    /// Runs nodes in an order that their dependencies allow and the seed chooses.
    fn perform_graph(&mut self, device: usize, nodes: &Arc<[Node]>) -> Outcome {
        let mut done = vec![false; nodes.len()];
        for _ in 0..nodes.len() {
            let ready: Vec<usize> = (0..nodes.len())
                .filter(|at| !done[*at] && nodes[*at].after.iter().all(|before| done[*before]))
                .collect();
            let pick = match self.settings.seed {
                0 => 0,
                _ => self.random.below(ready.len() as u64) as usize,
            };
            let Some(at) = ready.get(pick) else { return Err(Code::UNKNOWN) };
            self.perform(device, &nodes[*at].work)?;
            done[*at] = true;
        }
        Ok(())
    }
}
