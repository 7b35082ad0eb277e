//! Recorded work, which starts as one launch.

#![expect(unsafe_code, reason = "handles of the driver")]

use crate::device::Device;
use crate::error::DeviceError;
use crate::memory::Memory;
use cudarc::driver::result;
use cudarc::driver::sys;
use std::fmt;
use std::sync::{Arc, Weak};

/// Work that [`crate::Queue::capture`] recorded.
pub struct Replay {
    device: Arc<Device>,
    executable: sys::CUgraphExec,
    operands: Vec<Weak<Memory>>,
}

// SAFETY: the handle is used under the lock of a queue of its device alone.
unsafe impl Send for Replay {}
// SAFETY: as above.
unsafe impl Sync for Replay {}

impl Replay {
    pub(crate) fn new(
        device: &Arc<Device>,
        graph: sys::CUgraph,
        operands: &[&Arc<Memory>],
    ) -> Result<Replay, DeviceError> {
        if graph.is_null() {
            return Err(DeviceError::Defect("a capture that something else had broken off"));
        }
        // SAFETY: the graph came from a capture that has ended.
        let made = unsafe { result::graph::instantiate(graph, sys::CUgraphInstantiate_flags(0)) };
        Replay::discard(graph);
        let executable = device.checked("cuGraphInstantiate", made)?;
        let operands = operands.iter().map(|memory| Arc::downgrade(memory)).collect();
        Ok(Replay { device: device.clone(), executable, operands })
    }

    /// Frees a recording that is not wanted, or no longer.
    pub(crate) fn discard(graph: sys::CUgraph) {
        if !graph.is_null() {
            // SAFETY: it came from a capture and is used by nothing.
            let _ = unsafe { result::graph::destroy(graph) };
        }
    }

    /// Its operands, unless one is gone.
    pub(crate) fn operands(&self) -> Option<Vec<Arc<Memory>>> {
        self.operands.iter().map(Weak::upgrade).collect()
    }

    pub(crate) fn handle(&self) -> sys::CUgraphExec {
        self.executable
    }
}

impl Drop for Replay {
    fn drop(&mut self) {
        // SAFETY: it was instantiated once; the driver waits for a launch in flight.
        let freed =
            self.device.with_context(|| unsafe { result::graph::exec_destroy(self.executable) });
        let _ = self.device.checked("cuGraphExecDestroy", freed);
    }
}

impl fmt::Debug for Replay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("recorded work")
    }
}
