//! `clock`: time in steps of a millisecond, so that it is no good for measuring a neighbor.

use crate::state::CallState;
use crate::worlds::bindings::clock::Host;
use std::sync::LazyLock;
use std::time::{Instant, SystemTime, UNIX_EPOCH};
use wasmtime::Result;

/// What `monotonic-ms` counts from: the first use in this process.
static START: LazyLock<Instant> = LazyLock::new(Instant::now);

impl Host for CallState {
    fn monotonic_ms(&mut self) -> Result<u64> {
        self.count_host_call()?;
        Ok(START.elapsed().as_millis() as u64)
    }

    fn wall_ms(&mut self) -> Result<u64> {
        self.count_host_call()?;
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Ok(since.as_millis() as u64)
    }

    fn remaining_ms(&mut self) -> Result<u64> {
        self.count_host_call()?;
        Ok(self.context.deadline.saturating_duration_since(Instant::now()).as_millis() as u64)
    }
}
