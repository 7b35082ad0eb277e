//! `log`: messages to the operator, so many bytes a call; the rest is dropped and counted.

use crate::metrics::Metrics;
use crate::state::CallState;
use crate::worlds::bindings::log::{Host, Level};
use crate::worlds::convert::cut;
use wasmtime::Result;

/// Bytes of one message at most.
const MESSAGE_BYTES_MAX: usize = 4096;

impl Host for CallState {
    fn write(&mut self, level: Level, message: String) -> Result<()> {
        self.count_host_call()?;
        let bytes = message.len() as u64;
        let message = cut(message, MESSAGE_BYTES_MAX);
        let left = self.limits().log_bytes_max.saturating_sub(self.log_bytes);
        if message.len() as u64 > left {
            Metrics::add(&self.metrics.log_bytes_dropped, bytes);
            return Ok(());
        }
        self.log_bytes += message.len() as u64;
        Metrics::add(&self.metrics.log_bytes_dropped, bytes - message.len() as u64);
        let (plugin, version) = (&*self.package.name, &*self.package.version);
        let tenant = &*self.context.tenant;
        match level {
            Level::Error => tracing::error!(plugin, version, tenant, "{message:?}"),
            Level::Warn => tracing::warn!(plugin, version, tenant, "{message:?}"),
            Level::Info => tracing::info!(plugin, version, tenant, "{message:?}"),
            Level::Debug => tracing::debug!(plugin, version, tenant, "{message:?}"),
            Level::Trace => tracing::trace!(plugin, version, tenant, "{message:?}"),
        }
        Ok(())
    }
}
