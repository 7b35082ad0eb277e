//! Stream capture and graphs.
//!
//! Rules are those of the CUDA Programming Guide, "Stream Capture": what is forbidden while a
//! capture is under way invalidates it.

use std::collections::BTreeSet;
use std::ffi::{c_int, c_ulonglong, c_void};
use std::sync::Arc;
use std::thread::ThreadId;

use super::execution::Work;
use super::{Code, Driver, Handle, Out, Outcome, driver_api, new_handle};

/// One operation of a graph and the nodes that it comes after.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) work: Work,
    pub(super) after: Vec<usize>,
}

/// What a capture forbids to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// Unsafe calls of every thread.
    Global,
    /// Unsafe calls of the thread that began it.
    ThreadLocal,
    /// Nothing.
    Relaxed,
}

/// A capture under way.
pub(super) struct Capture {
    pub(super) device: usize,
    origin: Handle,
    mode: Mode,
    thread: ThreadId,
    nodes: Vec<Node>,
    invalid: bool,
}

/// A graph.
pub(super) struct Graph {
    nodes: Vec<Node>,
    device: usize,
}

/// An executable graph.
pub(super) struct Executable {
    pub(super) device: usize,
    nodes: Arc<[Node]>,
}

impl Driver {
    fn capture_of(&mut self, stream: Handle) -> Option<&mut Capture> {
        let (id, _) = self.streams.get(&stream)?.capture.as_ref()?;
        self.captures.get_mut(id)
    }

    /// Marks the stream's capture, if any, as failed.
    pub(super) fn invalidate_capture_of(&mut self, stream: Handle) {
        if let Some(capture) = self.capture_of(stream) {
            capture.invalid = true;
        }
    }

    /// A capture that failed gives an error to every call until it is ended.
    pub(super) fn usable_capture(&mut self, stream: Handle) -> Outcome {
        match self.capture_of(stream) {
            Some(capture) if capture.invalid => Err(Code::STREAM_CAPTURE_INVALIDATED),
            _ => Ok(()),
        }
    }

    /// Adds `work` to the stream's capture; whether there is one.
    pub(super) fn captured(&mut self, stream: Handle, work: &Work) -> Result<bool, Code> {
        self.usable_capture(stream)?;
        let Some((_, after)) = self.streams.get(&stream).and_then(|one| one.capture.clone()) else {
            return Ok(false);
        };
        if matches!(work, Work::Graph(_)) {
            self.invalidate_capture_of(stream);
            return Err(Code::NOT_SUPPORTED);
        }
        let Some(capture) = self.capture_of(stream) else { return Ok(false) };
        let place = capture.nodes.len();
        capture.nodes.push(Node { work: work.clone(), after });
        if let Some((_, after)) = self.streams.get_mut(&stream).and_then(|one| one.capture.as_mut())
        {
            *after = vec![place];
        }
        Ok(true)
    }

    /// A stream waits for an event of a capture and so takes part in it.
    pub(super) fn join_capture(
        &mut self,
        stream: Handle,
        capture: u64,
        nodes: &[usize],
    ) -> Outcome {
        if !self.captures.contains_key(&capture) {
            return Err(Code::CAPTURED_EVENT);
        }
        self.usable_capture(stream)?;
        let Some(target) = self.streams.get_mut(&stream) else { return Err(Code::INVALID_HANDLE) };
        match &mut target.capture {
            Some((own, after)) if *own == capture => {
                let all: BTreeSet<usize> = after.iter().chain(nodes).copied().collect();
                *after = all.into_iter().collect();
                Ok(())
            }
            Some((own, _)) => {
                for id in [*own, capture] {
                    if let Some(capture) = self.captures.get_mut(&id) {
                        capture.invalid = true;
                    }
                }
                Err(Code::STREAM_CAPTURE_MERGE)
            }
            None if target.legacy => Err(Code::STREAM_CAPTURE_IMPLICIT),
            None => {
                target.capture = Some((capture, nodes.to_vec()));
                Ok(())
            }
        }
    }

    /// Refuses what a stream that captures cannot do.
    pub(super) fn no_capture_of_stream(&mut self, stream: Handle) -> Outcome {
        match self.capture_of(stream) {
            Some(capture) => {
                capture.invalid = true;
                Err(Code::STREAM_CAPTURE_UNSUPPORTED)
            }
            None => Ok(()),
        }
    }

    /// Refuses what waits for every stream of a device while one captures.
    pub(super) fn no_capture_of_device(&mut self, device: usize) -> Outcome {
        let mut result = Ok(());
        for capture in self.captures.values_mut().filter(|one| one.device == device) {
            capture.invalid = true;
            result = Err(Code::STREAM_CAPTURE_UNSUPPORTED);
        }
        result
    }

    /// Refuses potentially unsafe calls (allocation, modules) while a capture forbids them.
    pub(super) fn no_unsafe_capture(&mut self, device: usize) -> Outcome {
        let thread = std::thread::current().id();
        let mut result = Ok(());
        for capture in self.captures.values_mut().filter(|one| one.device == device) {
            let forbids = match capture.mode {
                Mode::Global => true,
                Mode::ThreadLocal => capture.thread == thread,
                Mode::Relaxed => false,
            };
            if forbids {
                capture.invalid = true;
                result = Err(Code::STREAM_CAPTURE_UNSUPPORTED);
            }
        }
        result
    }

    /// Refuses work in the legacy stream while a stream captures that it would wait for.
    pub(super) fn no_implicit_capture(&mut self, device: usize) -> Outcome {
        let capturing = self.streams.iter().filter(|(_, stream)| {
            stream.device == device && stream.blocking && stream.capture.is_some()
        });
        let capturing: Vec<Handle> = capturing.map(|(handle, _)| *handle).collect();
        for stream in &capturing {
            self.invalidate_capture_of(*stream);
        }
        if capturing.is_empty() { Ok(()) } else { Err(Code::STREAM_CAPTURE_IMPLICIT) }
    }

    fn begin_capture(&mut self, device: usize, stream: Handle, mode: c_int) -> Outcome {
        let mode = match mode {
            0 => Mode::Global,
            1 => Mode::ThreadLocal,
            2 => Mode::Relaxed,
            _ => return Err(Code::INVALID_VALUE),
        };
        let origin = self.stream(device, stream)?;
        if self.streams[&origin].legacy {
            return Err(Code::STREAM_CAPTURE_UNSUPPORTED);
        }
        if self.streams[&origin].capture.is_some() {
            return Err(Code::ILLEGAL_STATE);
        }
        let id = self.next_sequence();
        let thread = std::thread::current().id();
        let nodes = Vec::new();
        self.captures.insert(id, Capture { device, origin, mode, thread, nodes, invalid: false });
        if let Some(stream) = self.streams.get_mut(&origin) {
            stream.capture = Some((id, Vec::new()));
        }
        Ok(())
    }

    fn end_capture(&mut self, device: usize, stream: Handle) -> Result<Handle, Code> {
        let key = self.stream(device, stream)?;
        let Some((id, last)) = self.streams[&key].capture.clone() else {
            return Err(Code::ILLEGAL_STATE);
        };
        let Some(capture) = self.captures.get(&id) else { return Err(Code::ILLEGAL_STATE) };
        if capture.origin != key {
            self.invalidate_capture_of(key);
            return Err(Code::STREAM_CAPTURE_UNMATCHED);
        }
        if capture.mode != Mode::Relaxed && capture.thread != std::thread::current().id() {
            return Err(Code::STREAM_CAPTURE_WRONG_THREAD);
        }
        let joined = reaches_all(&capture.nodes, &last);
        for stream in self.streams.values_mut() {
            if stream.capture.as_ref().is_some_and(|(own, _)| *own == id) {
                stream.capture = None;
            }
        }
        let Some(capture) = self.captures.remove(&id) else { return Err(Code::ILLEGAL_STATE) };
        if capture.invalid {
            return Err(Code::STREAM_CAPTURE_INVALIDATED);
        }
        if !joined {
            return Err(Code::STREAM_CAPTURE_UNJOINED);
        }
        let handle = new_handle();
        self.graphs.insert(handle, Graph { nodes: capture.nodes, device });
        Ok(handle)
    }
}

/// Whether every node comes before or is one of `last`.
fn reaches_all(nodes: &[Node], last: &[usize]) -> bool {
    let mut reached: BTreeSet<usize> = last.iter().copied().collect();
    for at in (0..nodes.len()).rev() {
        if reached.contains(&at) {
            reached.extend(&nodes[at].after);
        }
    }
    reached.len() == nodes.len()
}

/// Flags of `cuGraphInstantiateWithFlags`: free on launch, upload, device launch, node priority.
const FLAGS: c_ulonglong = 0xf;

driver_api! {
    fn cuStreamBeginCapture_v2(stream: Handle, mode: c_int) needs Context |d, device| {
        d.begin_capture(device, stream, mode)
    }

    fn cuStreamEndCapture(stream: Handle, graph: Out<Handle>) needs Context |d, device| {
        let ended = d.end_capture(device, stream);
        graph.set(ended.unwrap_or(0))?;
        ended.map(|_| ())
    }

    fn cuStreamIsCapturing(stream: Handle, status: Out<c_int>) needs Context |d, device| {
        let key = d.stream(device, stream)?;
        if d.streams[&key].legacy {
            d.no_implicit_capture(device)?;
        }
        status.set(match d.capture_of(key) {
            None => 0,
            Some(capture) => if capture.invalid { 2 } else { 1 },
        })
    }

    fn cuGraphInstantiateWithFlags(out: Out<Handle>, graph: Handle, flags: c_ulonglong) needs Context |d, _| {
        if out.is_null() || flags & !FLAGS != 0 {
            return Err(Code::INVALID_VALUE);
        }
        let graph = d.graphs.get(&graph).ok_or(Code::INVALID_VALUE)?;
        let executable = Executable { device: graph.device, nodes: graph.nodes.clone().into() };
        let handle = new_handle();
        d.executables.insert(handle, executable);
        out.set(handle)
    }

    fn cuGraphGetNodes(graph: Handle, nodes: *const c_void, count: Out<usize>) needs Context |d, _| {
        let graph = d.graphs.get(&graph).ok_or(Code::INVALID_VALUE)?;
        // Nodes have no handles here; how many there are is what programs ask for.
        if nodes.is_null() { count.set(graph.nodes.len()) } else { Err(Code::NOT_SUPPORTED) }
    }

    fn cuGraphLaunch(executable: Handle, stream: Handle) needs Context |d, device| {
        let nodes = d.executables.get(&executable).filter(|one| one.device == device);
        let nodes = nodes.ok_or(Code::INVALID_VALUE)?.nodes.clone();
        let key = d.work_stream(device, stream)?;
        d.enqueue(key, Work::Graph(nodes))
    }

    fn cuGraphUpload(executable: Handle, stream: Handle) needs Context |d, device| {
        d.executables.get(&executable).ok_or(Code::INVALID_VALUE)?;
        d.work_stream(device, stream).map(|_| ())
    }

    fn cuGraphDestroy(graph: Handle) needs Context |d, _| {
        d.graphs.remove(&graph).map(|_| ()).ok_or(Code::INVALID_VALUE)
    }

    fn cuGraphExecDestroy(executable: Handle) needs Context |d, _| {
        d.executables.remove(&executable).map(|_| ()).ok_or(Code::INVALID_VALUE)
    }
}
