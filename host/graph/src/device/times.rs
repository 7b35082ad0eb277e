//! How long a plan's steps take on its device.

use super::run::DeviceFailure;
use crate::plan::Plan;
use aimass_tensor::Tensor;

/// Seconds of one run on a device, by its own clock.
///
/// Each begins where the one before ended, so that together they are the whole run; what the host
/// takes to queue a step counts as the step's where the device waits for it.
#[derive(Debug, Clone, PartialEq)]
pub struct DeviceTimes {
    /// Of the inputs' way to the device.
    pub inputs: f64,
    /// By step, in the order of [`DeviceReport::steps`](crate::DeviceReport::steps).
    pub steps: Vec<f64>,
    /// Of the results' way back.
    pub results: f64,
}

impl Plan {
    /// Runs on the device from the initial states and takes the time of every step; launches are queued
    /// one by one, not replayed. Nothing is answered or kept. None for a plan without a device.
    ///
    /// # Errors
    /// [`DeviceFailure`]: whatever would send a run to the CPU.
    pub fn device_times(&self, inputs: &[Tensor]) -> Option<Result<DeviceTimes, DeviceFailure>> {
        let program = self.program.as_ref()?.as_ref().ok()?;
        let taken = program.timed(inputs).map(|mut all| {
            let results = all.pop().unwrap_or_default();
            let inputs = all.remove(0);
            DeviceTimes { inputs, steps: all, results }
        });
        Some(taken)
    }
}
