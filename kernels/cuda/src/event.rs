//! Moments on a stream, to tell how long the work between two of them took.

#![expect(unsafe_code, reason = "handles of the driver")]

use crate::device::Device;
use crate::error::DeviceError;
use crate::queue::Queue;
use cudarc::driver::result;
use cudarc::driver::sys;
use std::fmt;
use std::sync::Arc;

/// A moment behind everything that was queued before it.
pub struct Event {
    device: Arc<Device>,
    event: sys::CUevent,
}

// SAFETY: the handle may be used from every thread on which its context is current, which the device sees
// to; nothing changes it after it was recorded.
unsafe impl Send for Event {}
// SAFETY: as above.
unsafe impl Sync for Event {}

impl Queue<'_> {
    /// Queues a moment. Nothing may be recording.
    ///
    /// # Errors
    /// The driver's refusal.
    pub fn event(&mut self) -> Result<Event, DeviceError> {
        let device = self.device();
        let made = result::event::create(sys::CUevent_flags::CU_EVENT_DEFAULT);
        let event = device.checked("cuEventCreate", made)?;
        let event = Event { device: device.clone(), event };
        // SAFETY: the event was just made, and the stream is live.
        let recorded = unsafe { result::event::record(event.event, self.stream()) };
        device.checked("cuEventRecord", recorded)?;
        Ok(event)
    }
}

impl Event {
    /// Seconds from `earlier` to this one, as the device's clock gives them (about half a microsecond
    /// fine). Both must have passed: synchronize the queue first.
    ///
    /// # Errors
    /// The driver's refusal, such as that one of them has not passed.
    pub fn seconds_since(&self, earlier: &Event) -> Result<f64, DeviceError> {
        // SAFETY: both were recorded on the compute stream of a device and are live.
        let elapsed = self
            .device
            .with_context(|| unsafe { result::event::elapsed(earlier.event, self.event) });
        let milliseconds = self.device.checked("cuEventElapsedTime", elapsed)?;
        Ok(f64::from(milliseconds) / 1e3)
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        // SAFETY: it was made once; the driver keeps it until it has passed.
        let freed = self.device.with_context(|| unsafe { result::event::destroy(self.event) });
        let _ = self.device.checked("cuEventDestroy", freed);
    }
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a moment on a stream")
    }
}
