//! A stream of a device with its staging memory: launches, copies, captures, in order.

#![expect(unsafe_code, reason = "launches, and pinned memory that copies in flight use")]

use crate::device::Device;
use crate::error::DeviceError;
use crate::launch::{BLOCKS_MAX, Form, Grid, Kernel};
use crate::memory::{Memory, Slice};
use crate::replay::Replay;
use cudarc::driver::result::{self, DriverError};
use cudarc::driver::sys;
use std::ffi::c_void;
use std::ptr::NonNull;
use std::sync::{Arc, MutexGuard};

/// Parts of the staging memory begin at multiples of this.
const ALIGN: usize = 256;
/// Most shared memory of a block before a kernel has to ask for more.
const SHARED_DEFAULT: u32 = 48 << 10;

/// A stream and its pinned memory.
pub(crate) struct Lane {
    stream: sys::CUstream,
    staging: NonNull<u8>,
    bytes: usize,
    /// Bytes that copies in flight read.
    taken: usize,
    /// Device memory for what one call leaves for its own next kernel; its address and bytes.
    workspace: (u64, usize),
}

impl Lane {
    /// A stream of the current context, with this much staging memory and workspace.
    pub(crate) fn new(bytes: usize, workspace: usize) -> Result<Lane, DeviceError> {
        let mut lane = Lane::without_workspace(bytes.max(ALIGN))?;
        if workspace > 0 {
            // SAFETY: a context is current; the memory is freed with the lane.
            match unsafe { result::malloc_sync(workspace) } {
                Ok(address) => lane.workspace = (address, workspace),
                Err(error) => {
                    lane.free();
                    return Err(DeviceError::of("cuMemAlloc", error));
                }
            }
        }
        Ok(lane)
    }

    fn without_workspace(bytes: usize) -> Result<Lane, DeviceError> {
        let stream = result::stream::create(result::stream::StreamKind::NonBlocking)
            .map_err(|error| DeviceError::of("cuStreamCreate", error))?;
        // SAFETY: a context is current; the memory is freed with the lane.
        let staging = unsafe { result::malloc_host(bytes, 0) }
            .map_err(|error| DeviceError::of("cuMemHostAlloc", error));
        match staging.map(|staging| NonNull::new(staging.cast::<u8>())) {
            Ok(Some(staging)) => Ok(Lane { stream, staging, bytes, taken: 0, workspace: (0, 0) }),
            other => {
                // SAFETY: nothing was queued on it.
                let _ = unsafe { result::stream::destroy(stream) };
                other.and(Err(DeviceError::Defect("pinned memory at no address")))
            }
        }
    }

    /// Frees the stream and its memory, with the context current.
    pub(crate) fn free(&mut self) {
        // SAFETY: all were made by `new` and are not used again; the driver waits for what is queued.
        unsafe {
            let _ = result::stream::synchronize(self.stream);
            let _ = result::free_host(self.staging.as_ptr().cast());
            if self.workspace.1 > 0 {
                let _ = result::free_sync(self.workspace.0);
            }
            let _ = result::stream::destroy(self.stream);
        }
    }
}

/// The turn of one thread on a stream. What is queued runs in order; errors of what ran may show at
/// any later call.
pub struct Queue<'d> {
    device: &'d Arc<Device>,
    lane: MutexGuard<'d, Lane>,
    launches: u64,
    recording: bool,
}

impl<'d> Queue<'d> {
    pub(crate) fn new(
        device: &'d Arc<Device>,
        lane: MutexGuard<'d, Lane>,
    ) -> Result<Queue<'d>, DeviceError> {
        device.checked("cuCtxSetCurrent", device.with_context(|| Ok(())))?;
        Ok(Queue { device, lane, launches: 0, recording: false })
    }

    /// The device.
    pub fn device(&self) -> &'d Arc<Device> {
        self.device
    }

    /// Kernels that were launched since the turn began.
    pub fn launches(&self) -> u64 {
        self.launches
    }

    /// Memory of any content for the kernels of one call; what the next call queues on this stream
    /// runs after them.
    pub(crate) fn workspace(&self) -> Slice<'d> {
        let (address, bytes) = self.lane.workspace;
        Slice::of(address, bytes / 2)
    }

    /// As [`Queue::workspace`], for calls that make others.
    pub(crate) fn scratch(&self) -> Slice<'d> {
        let (address, bytes) = self.lane.workspace;
        let half = (bytes / 2).next_multiple_of(ALIGN).min(bytes);
        Slice::of(address + half as u64, bytes - half)
    }

    /// Whether what is queued is recorded.
    pub(crate) fn is_recording(&self) -> bool {
        self.recording
    }

    /// The stream, for libraries that launch on it.
    pub(crate) fn stream(&self) -> sys::CUstream {
        self.lane.stream
    }

    /// The grid of a kernel whose threads step over `n` elements by the size of the grid.
    pub(crate) fn over(&self, n: u64, threads: u32) -> Grid {
        let Grid { blocks: [blocks, ..], .. } = Grid::over(n, threads);
        Grid::linear(self.in_turn(blocks), threads)
    }

    /// Blocks that take `tasks` in turn, one at a time; at least one.
    pub(crate) fn in_turn(&self, tasks: u32) -> u32 {
        tasks.min(self.device.options().blocks_max).clamp(1, BLOCKS_MAX)
    }

    /// Queues a kernel.
    pub(crate) fn launch<K: Kernel>(
        &mut self,
        kernel: &K,
        form: Form,
        grid: Grid,
    ) -> Result<(), DeviceError> {
        const ABSENT: DeviceError = DeviceError::Defect("a kernel is not there in this form");
        let entry = K::ENTRIES.iter().find(|(own, _)| *own == form).map(|(_, entry)| *entry);
        let function = entry.and_then(|entry| self.device.function(entry)).ok_or(ABSENT)?;
        let threads = grid.threads.iter().try_fold(1u32, |all, &own| all.checked_mul(own));
        if threads.is_none_or(|threads| threads == 0 || threads > K::THREADS_MAX) {
            return Err(DeviceError::Defect("more threads than the kernel was compiled for"));
        }
        if grid.shared > SHARED_DEFAULT {
            let attribute =
                sys::CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
            // SAFETY: the function belongs to the loaded module.
            let set = unsafe {
                result::function::set_function_attribute(function, attribute, grid.shared as i32)
            };
            self.device.checked("cuFuncSetAttribute", set)?;
        }
        let mut parameters: Vec<*mut c_void> = Vec::with_capacity(16);
        kernel.parameters(&mut parameters);
        self.launch_function(K::NAME, function, grid, &mut parameters)
    }

    /// Queues a function with the addresses of its parameters, which are those that it was compiled
    /// with.
    pub(crate) fn launch_function(
        &mut self,
        name: &'static str,
        function: sys::CUfunction,
        grid: Grid,
        parameters: &mut [*mut c_void],
    ) -> Result<(), DeviceError> {
        let [x, y, z] = grid.blocks;
        let [tx, ty, tz] = grid.threads;
        // SAFETY: the parameters are those that the kernel was compiled with (their number, types and
        // sizes are generated from the same source), and the driver copies them before it returns.
        // Operands were checked by whoever made the kernel's addresses.
        let launched = unsafe {
            result::launch_kernel(
                function,
                (x, y, z),
                (tx, ty, tz),
                grid.shared,
                self.lane.stream,
                parameters,
            )
        };
        self.launches += 1;
        self.device.checked(name, launched)
    }

    /// Queues a copy to the device; the content is taken before this returns.
    ///
    /// # Errors
    /// [`DeviceError::Defect`] if it does not fit, or the driver's refusal.
    pub fn upload(&mut self, to: Slice<'_>, content: &[u8]) -> Result<(), DeviceError> {
        if content.len() != to.bytes() {
            return Err(DeviceError::Defect("an upload of another length than its place"));
        }
        let mut done = 0;
        while done < content.len() {
            if self.lane.bytes - self.lane.taken < ALIGN {
                self.synchronize()?;
            }
            let (at, room) = (self.lane.taken, self.lane.bytes - self.lane.taken);
            let part = &content[done..content.len().min(done + room)];
            // SAFETY: `at..at + part.len()` is in the staging memory, and no copy in flight reads it:
            // `taken` goes back to 0 only when the stream is idle.
            let staged = unsafe {
                let staged = self.lane.staging.as_ptr().add(at);
                staged.copy_from_nonoverlapping(part.as_ptr(), part.len());
                std::slice::from_raw_parts(staged, part.len())
            };
            let place = to.part(done, part.len())?.address();
            // SAFETY: both ends hold this many bytes until the copy has run.
            let copied = unsafe { result::memcpy_htod_async(place, staged, self.lane.stream) };
            self.device.checked("cuMemcpyHtoDAsync", copied)?;
            self.lane.taken = (at + part.len()).next_multiple_of(ALIGN).min(self.lane.bytes);
            done += part.len();
        }
        Ok(())
    }

    /// Copies from the device, and waits for everything that was queued.
    ///
    /// # Errors
    /// [`DeviceError::Defect`] if lengths differ, or the driver's refusal.
    pub fn download(&mut self, parts: &mut [(Slice<'_>, &mut [u8])]) -> Result<(), DeviceError> {
        let total: usize = parts.iter().map(|(from, _)| from.bytes().next_multiple_of(ALIGN)).sum();
        if total > self.lane.bytes - self.lane.taken {
            self.synchronize()?;
        }
        if total <= self.lane.bytes - self.lane.taken {
            return self.download_staged(parts);
        }
        for (from, to) in parts {
            for (index, chunk) in to.chunks_mut(self.lane.bytes).enumerate() {
                let part = from.part(index * self.lane.bytes, chunk.len())?;
                self.download_staged(&mut [(part, chunk)])?;
            }
        }
        Ok(())
    }

    /// As [`Queue::download`], of what fits the staging memory.
    fn download_staged(&mut self, parts: &mut [(Slice<'_>, &mut [u8])]) -> Result<(), DeviceError> {
        let start = self.lane.taken;
        let mut at = start;
        for (from, to) in parts.iter() {
            if from.bytes() != to.len() {
                return Err(DeviceError::Defect("a download of another length than its place"));
            }
            if to.is_empty() {
                continue;
            }
            // SAFETY: the part is in the staging memory and in no other copy.
            let staged = unsafe {
                std::slice::from_raw_parts_mut(self.lane.staging.as_ptr().add(at), to.len())
            };
            // SAFETY: both ends hold this many bytes until the copy has run.
            let copied =
                unsafe { result::memcpy_dtoh_async(staged, from.address(), self.lane.stream) };
            self.device.checked("cuMemcpyDtoHAsync", copied)?;
            at = (at + to.len()).next_multiple_of(ALIGN);
            // Until the stream was waited for, which may fail, nothing else may lie there.
            self.lane.taken = at.min(self.lane.bytes);
        }
        self.synchronize()?;
        let mut at = start;
        for (_, to) in parts.iter_mut() {
            // SAFETY: the copies have run, and nothing else writes there while the lane is ours.
            let staged =
                unsafe { std::slice::from_raw_parts(self.lane.staging.as_ptr().add(at), to.len()) };
            to.copy_from_slice(staged);
            at = (at + to.len()).next_multiple_of(ALIGN);
        }
        Ok(())
    }

    /// Queues a copy on the device; the two must not overlap.
    ///
    /// # Errors
    /// [`DeviceError::Defect`] if lengths differ, or the driver's refusal.
    pub fn copy(&mut self, from: Slice<'_>, to: Slice<'_>) -> Result<(), DeviceError> {
        if from.bytes() != to.bytes() {
            return Err(DeviceError::Defect("a copy of another length than its place"));
        }
        if from.bytes() == 0 {
            return Ok(());
        }
        // SAFETY: both ends hold this many bytes.
        let copied = unsafe {
            result::memcpy_dtod_async(to.address(), from.address(), from.bytes(), self.lane.stream)
        };
        self.device.checked("cuMemcpyDtoDAsync", copied)
    }

    /// Queues a fill with one byte.
    ///
    /// # Errors
    /// The driver's refusal.
    pub fn fill(&mut self, to: Slice<'_>, byte: u8) -> Result<(), DeviceError> {
        if to.bytes() == 0 {
            return Ok(());
        }
        // SAFETY: the memory holds this many bytes.
        let filled =
            unsafe { result::memset_d8_async(to.address(), byte, to.bytes(), self.lane.stream) };
        self.device.checked("cuMemsetD8Async", filled)
    }

    /// Waits until everything that was queued has run.
    ///
    /// # Errors
    /// What went wrong in it.
    pub fn synchronize(&mut self) -> Result<(), DeviceError> {
        // SAFETY: the stream is live.
        let outcome = unsafe { result::stream::synchronize(self.lane.stream) };
        self.device.checked("cuStreamSynchronize", outcome)?;
        self.lane.taken = 0;
        Ok(())
    }

    /// Records what `work` queues, instead of running it: launches, copies on the device and fills
    /// alone. Of the memory that it uses the recording remembers `operands`, without keeping them; the
    /// rest must be there for as long as the recording.
    ///
    /// # Errors
    /// Those of `work`, or the driver's refusal.
    pub fn capture(
        &mut self,
        operands: &[&Arc<Memory>],
        work: impl FnOnce(&mut Queue<'d>) -> Result<(), DeviceError>,
    ) -> Result<Replay, DeviceError> {
        // Other threads may go on calling the driver meanwhile.
        let mode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
        // SAFETY: the stream is live, and it is our turn on it.
        let begun = unsafe { result::stream::begin_capture(self.lane.stream, mode) };
        self.device.checked("cuStreamBeginCapture", begun)?;
        self.recording = true;
        let outcome = work(self);
        self.recording = false;
        // SAFETY: a capture was begun.
        let graph = unsafe { result::stream::end_capture(self.lane.stream) };
        let graph = self.device.checked("cuStreamEndCapture", graph);
        match (outcome, graph) {
            (Ok(()), Ok(graph)) => Replay::new(self.device, graph, operands),
            (Err(error), Ok(graph)) => {
                Replay::discard(graph);
                Err(error)
            }
            (Ok(()), Err(error)) | (Err(error), Err(_)) => Err(error),
        }
    }

    /// Queues what was recorded.
    ///
    /// # Errors
    /// [`DeviceError::Defect`] if an operand is gone, or the driver's refusal.
    pub fn replay(&mut self, replay: &Replay) -> Result<(), DeviceError> {
        // Held until the launch is queued: whoever frees memory waits for what is queued.
        let Some(_operands) = replay.operands() else {
            return Err(DeviceError::Defect("an operand of recorded work is gone"));
        };
        // SAFETY: the recording is of this device.
        let launched: Result<(), DriverError> =
            unsafe { result::graph::launch(replay.handle(), self.lane.stream) };
        self.launches += 1;
        self.device.checked("cuGraphLaunch", launched)
    }
}
