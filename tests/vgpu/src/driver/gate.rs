//! Work that holds its stream up until it may run: what waits for other streams, or for calls that
//! other threads have still to make.

use std::ffi::{c_int, c_void};
use std::time::{Duration, Instant};

use super::execution::{Callback, OwnedCallback, Work};
use super::{Driver, current_device, lock};

/// A callback of another library behind a gate. The layout is part of the interface.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct Gate {
    /// [`OPEN`], or what opens it: work that is queued (1) or [`CALLS`].
    pub(crate) state: extern "C" fn(*mut c_void) -> c_int,
    /// Copies a text that says what it waits for, or why the callback failed; gives its bytes.
    pub(crate) describe: extern "C" fn(*mut c_void, *mut u8, usize) -> usize,
    /// What runs then. Its data is that of the other functions, too.
    pub(crate) callback: Callback,
}

/// The callback can run.
const OPEN: c_int = 0;
/// The callback waits for calls that nobody has made yet.
const CALLS: c_int = 2;

/// Driver calls that wait for work.
pub(super) const WAITING: &[&str] = &[
    "cuCtxSynchronize",
    "cuEventSynchronize",
    "cuMemFreeHost",
    "cuMemFree_v2",
    "cuMemcpyDtoHAsync_v2",
    "cuMemcpyDtoH_v2",
    "cuMemcpyHtoD_v2",
    "cuStreamSynchronize",
];

/// A gate whose data is freed with its last owner.
#[derive(Debug)]
pub(super) struct OwnedGate {
    state: extern "C" fn(*mut c_void) -> c_int,
    describe: extern "C" fn(*mut c_void, *mut u8, usize) -> usize,
    callback: OwnedCallback,
}

impl OwnedGate {
    /// Takes the gate's data over.
    pub(super) fn new(gate: Gate) -> Self {
        let Gate { state, describe, callback } = gate;
        Self { state, describe, callback: OwnedCallback(callback) }
    }

    /// Whether the callback can run.
    pub(super) fn is_open(&self) -> bool {
        self.state() == OPEN
    }

    /// The callback.
    pub(super) fn callback(&self) -> Callback {
        self.callback.0
    }

    /// What it waits for, or why it failed.
    pub(super) fn describe(&self) -> String {
        let mut text = vec![0; 1024];
        let bytes = (self.describe)(self.callback.0.data, text.as_mut_ptr(), text.len());
        text.truncate(bytes);
        String::from_utf8_lossy(&text).into_owned()
    }

    fn state(&self) -> c_int {
        (self.state)(self.callback.0.data)
    }
}

impl Driver {
    /// Gates that are the oldest work of their streams, with the streams' devices.
    fn gates(&self) -> impl Iterator<Item = (usize, &OwnedGate)> {
        self.streams.values().filter_map(|stream| match stream.queue.front() {
            Some((_, Work::Gated(gate))) => Some((stream.device, &**gate)),
            _ => None,
        })
    }

    /// What the gates of all streams wait for, behind a colon; nothing if there are none.
    pub(super) fn closed_gates(&self) -> String {
        let texts: Vec<String> = self.gates().map(|(_, gate)| gate.describe()).collect();
        if texts.is_empty() { String::new() } else { format!(": {}", texts.join("; ")) }
    }

    /// Runs what can run while work of `device` stands behind a gate; whether only calls of other
    /// threads can help.
    fn needs_calls(&mut self, device: usize) -> bool {
        let gated = |driver: &Self| {
            let mut streams = driver.streams.values().filter(|stream| stream.device == device);
            streams
                .any(|stream| stream.queue.iter().any(|(_, work)| matches!(work, Work::Gated(_))))
        };
        while gated(self) {
            if self.devices[device].sticky.is_some() {
                return false;
            }
            if !self.run_one() {
                return self.gates().any(|(_, gate)| gate.state() == CALLS);
            }
        }
        false
    }
}

/// Lets other threads make calls, at most as long as the settings say, while work of the current
/// device cannot go on without them.
pub(super) fn wait_for_calls() {
    let start = Instant::now();
    loop {
        let mut guard = lock();
        let Some(driver) = guard.as_mut() else { return };
        let Some(device) = current_device(driver) else { return };
        let limit = Duration::from_millis(driver.settings.wait_ms);
        if !driver.needs_calls(device) || start.elapsed() >= limit {
            return;
        }
        drop(guard);
        std::thread::sleep(Duration::from_millis(1));
    }
}
