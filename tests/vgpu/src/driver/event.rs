//! Events.

use std::ffi::c_uint;

use super::execution::Work;
use super::{Code, Driver, Handle, Out, Outcome, driver_api, new_handle};

/// An event.
pub(super) struct Event {
    pub(super) device: usize,
    flags: c_uint,
    /// How often it was recorded.
    recorded: u64,
    /// The last record that has run.
    pub(super) done: u64,
    /// Seconds since the driver started, of that record.
    pub(super) time: f64,
    /// Capture and nodes of its last record, if that was in a capturing stream.
    pub(super) captured: Option<(u64, Vec<usize>)>,
    /// Whether the program has destroyed it.
    destroyed: bool,
}

const BLOCKING_SYNC: c_uint = 1;
const DISABLE_TIMING: c_uint = 2;
const INTERPROCESS: c_uint = 4;

impl Driver {
    fn event(&self, handle: Handle) -> Result<&Event, Code> {
        let event = self.events.get(&handle).filter(|event| !event.destroyed);
        event.ok_or(Code::INVALID_HANDLE)
    }

    /// The event, which must not have been recorded in a capture last.
    fn event_outside(&self, handle: Handle) -> Result<&Event, Code> {
        let event = self.event(handle)?;
        if event.captured.is_some() { Err(Code::CAPTURED_EVENT) } else { Ok(event) }
    }

    /// Orders a stream behind what was recorded; joins captures.
    pub(super) fn wait_event(&mut self, stream: Handle, handle: Handle) -> Outcome {
        let event = self.event(handle)?;
        let (captured, recorded) = (event.captured.clone(), event.recorded);
        if let Some((capture, nodes)) = captured {
            return self.join_capture(stream, capture, &nodes);
        }
        if recorded == 0 {
            return Ok(());
        }
        if self.streams[&stream].capture.is_some() {
            self.invalidate_capture_of(stream);
            return Err(Code::STREAM_CAPTURE_ISOLATION);
        }
        self.enqueue(stream, Work::Wait { event: handle, number: recorded })
    }

    fn record(&mut self, device: usize, handle: Handle, stream: Handle) -> Outcome {
        if self.event(handle)?.device != device {
            return Err(Code::INVALID_HANDLE);
        }
        let key = self.work_stream(device, stream)?;
        let capture = self.streams[&key].capture.clone();
        self.usable_capture(key)?;
        let Some(event) = self.events.get_mut(&handle) else { return Err(Code::INVALID_HANDLE) };
        if capture.is_some() {
            event.captured = capture;
            return Ok(());
        }
        event.captured = None;
        event.recorded += 1;
        let number = event.recorded;
        self.enqueue(key, Work::Record { event: handle, number })
    }
}

driver_api! {
    fn cuEventCreate(out: Out<Handle>, flags: c_uint) needs Context |d, device| {
        let shared_with_timing = flags & INTERPROCESS != 0 && flags & DISABLE_TIMING == 0;
        if flags & !(BLOCKING_SYNC | DISABLE_TIMING | INTERPROCESS) != 0 || shared_with_timing {
            return Err(Code::INVALID_VALUE);
        }
        if out.is_null() {
            return Err(Code::INVALID_VALUE);
        }
        let event =
            Event { device, flags, recorded: 0, done: 0, time: 0.0, captured: None, destroyed: false };
        let handle = new_handle();
        d.events.insert(handle, event);
        out.set(handle)
    }

    fn cuEventDestroy_v2(handle: Handle) needs Context |d, _| {
        d.event(handle)?;
        if let Some(event) = d.events.get_mut(&handle) {
            event.destroyed = true;
            if event.done >= event.recorded {
                d.events.remove(&handle);
            }
        }
        Ok(())
    }

    fn cuEventRecord(handle: Handle, stream: Handle) needs Context |d, device| {
        d.record(device, handle, stream)
    }

    fn cuEventSynchronize(handle: Handle) needs Context |d, _| {
        let event = d.event_outside(handle)?;
        let (device, number) = (event.device, event.recorded);
        d.drain(device, |driver| driver.events.get(&handle).is_none_or(|event| event.done >= number))
    }

    fn cuEventQuery(handle: Handle) needs Context |d, _| {
        let event = d.event_outside(handle)?;
        if event.done >= event.recorded { Ok(()) } else { Err(Code::NOT_READY) }
    }

    fn cuEventElapsedTime(milliseconds: Out<f32>, start: Handle, end: Handle) needs Context |d, _| {
        elapsed(d, milliseconds, start, end)
    }

    fn cuEventElapsedTime_v2(milliseconds: Out<f32>, start: Handle, end: Handle) needs Context |d, _| {
        elapsed(d, milliseconds, start, end)
    }
}

fn elapsed(d: &Driver, milliseconds: Out<f32>, start: Handle, end: Handle) -> Outcome {
    let (start, end) = (d.event_outside(start)?, d.event_outside(end)?);
    for event in [start, end] {
        if event.flags & DISABLE_TIMING != 0 || event.recorded == 0 {
            return Err(Code::INVALID_HANDLE);
        }
    }
    if start.done < start.recorded || end.done < end.recorded {
        return Err(Code::NOT_READY);
    }
    milliseconds.set(((end.time - start.time) * 1e3) as f32)
}
