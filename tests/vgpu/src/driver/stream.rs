//! Streams.

use std::collections::VecDeque;
use std::ffi::{c_int, c_uint};

use super::execution::Work;
use super::{Code, Driver, Handle, Out, Outcome, driver_api, new_handle};

/// A stream.
pub(super) struct Stream {
    pub(super) device: usize,
    /// Whether it orders itself with the legacy stream.
    pub(super) blocking: bool,
    /// Whether it is the legacy stream.
    pub(super) legacy: bool,
    pub(super) priority: c_int,
    pub(super) flags: c_uint,
    pub(super) queue: VecDeque<(u64, Work)>,
    /// The capture it takes part in, and the nodes that its next one comes after.
    pub(super) capture: Option<(u64, Vec<usize>)>,
    /// Destroyed by the program, with work left.
    pub(super) destroyed: bool,
}

/// `CU_STREAM_NON_BLOCKING`.
const NON_BLOCKING: c_uint = 1;

/// Keys of the default streams, below every handle.
fn legacy(device: usize) -> Handle {
    16 + 2 * device as u64
}

impl Driver {
    /// Makes the legacy and the per-thread stream of a new context.
    pub(super) fn create_default_streams(&mut self, device: usize) {
        for (key, is_legacy) in [(legacy(device), true), (legacy(device) + 1, false)] {
            let mut stream = stream(device, 0, 0);
            stream.legacy = is_legacy;
            stream.blocking = !is_legacy;
            self.streams.insert(key, stream);
        }
    }

    /// Key of the stream that `handle` names in the current context.
    pub(super) fn stream(&self, device: usize, handle: Handle) -> Result<Handle, Code> {
        let key = match handle {
            0 | 1 => legacy(device),
            2 => legacy(device) + 1,
            handle if handle < 64 => return Err(Code::INVALID_HANDLE),
            handle => handle,
        };
        match self.streams.get(&key) {
            Some(stream) if stream.device == device && !stream.destroyed => Ok(key),
            _ => Err(Code::INVALID_HANDLE),
        }
    }

    /// Key of the stream that work is queued in: the legacy stream not while it would have to wait
    /// for a capture.
    pub(super) fn work_stream(&mut self, device: usize, handle: Handle) -> Result<Handle, Code> {
        let key = self.stream(device, handle)?;
        if self.streams[&key].legacy {
            self.no_implicit_capture(device)?;
        }
        Ok(key)
    }

    /// Runs what a stream holds.
    pub(super) fn synchronize_stream(&mut self, key: Handle) -> Outcome {
        let Some(stream) = self.streams.get(&key) else { return Ok(()) };
        let device = stream.device;
        self.drain(device, |driver| {
            driver.streams.get(&key).is_none_or(|stream| stream.queue.is_empty())
        })
    }
}

fn stream(device: usize, flags: c_uint, priority: c_int) -> Stream {
    Stream {
        device,
        blocking: flags & NON_BLOCKING == 0,
        legacy: false,
        priority: priority.clamp(-5, 0),
        flags,
        queue: VecDeque::new(),
        capture: None,
        destroyed: false,
    }
}

fn create(
    d: &mut Driver,
    device: usize,
    out: Out<Handle>,
    (flags, priority): (c_uint, c_int),
) -> Outcome {
    if flags & !NON_BLOCKING != 0 || out.is_null() {
        return Err(Code::INVALID_VALUE);
    }
    let handle = new_handle();
    d.streams.insert(handle, stream(device, flags, priority));
    out.set(handle)
}

driver_api! {
    fn cuStreamCreate(out: Out<Handle>, flags: c_uint) needs Context |d, device| {
        create(d, device, out, (flags, 0))
    }

    fn cuStreamCreateWithPriority(out: Out<Handle>, flags: c_uint, priority: c_int) needs Context |d, device| {
        create(d, device, out, (flags, priority))
    }

    fn cuStreamDestroy_v2(handle: Handle) needs Context |d, device| {
        if handle < 64 {
            return Err(Code::INVALID_HANDLE);
        }
        let key = d.stream(device, handle)?;
        d.invalidate_capture_of(key);
        if d.streams.get(&key).is_some_and(|stream| stream.queue.is_empty()) {
            d.streams.remove(&key);
        } else if let Some(stream) = d.streams.get_mut(&key) {
            stream.destroyed = true;
        }
        Ok(())
    }

    fn cuStreamSynchronize(handle: Handle) needs Context |d, device| {
        let key = d.stream(device, handle)?;
        d.no_capture_of_stream(key)?;
        if d.streams[&key].legacy {
            d.no_implicit_capture(device)?;
        }
        d.synchronize_stream(key)
    }

    fn cuStreamQuery(handle: Handle) needs Context |d, device| {
        let key = d.stream(device, handle)?;
        d.no_capture_of_stream(key)?;
        if d.streams[&key].queue.is_empty() { Ok(()) } else { Err(Code::NOT_READY) }
    }

    fn cuStreamGetPriority(handle: Handle, priority: Out<c_int>) needs Context |d, device| {
        let key = d.stream(device, handle)?;
        priority.set(d.streams[&key].priority)
    }

    fn cuStreamGetFlags(handle: Handle, flags: Out<c_uint>) needs Context |d, device| {
        let key = d.stream(device, handle)?;
        flags.set(d.streams[&key].flags)
    }

    fn cuStreamGetCtx(handle: Handle, context: Out<Handle>) needs Context |d, device| {
        d.stream(device, handle)?;
        context.set(d.devices[device].context.unwrap_or(0))
    }

    fn cuStreamWaitEvent(handle: Handle, event: Handle, flags: c_uint) needs Context |d, device| {
        if flags > 1 {
            return Err(Code::INVALID_VALUE);
        }
        let key = d.work_stream(device, handle)?;
        d.wait_event(key, event)
    }
}
