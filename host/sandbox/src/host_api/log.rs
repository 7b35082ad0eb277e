//! `log`: messages to the operator, so many bytes a call; the rest is dropped and counted.

use crate::metrics::Metrics;
use crate::package::PackageInfo;
use crate::state::CallState;
use crate::worker::link::CallLink;
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
        let level = match level {
            Level::Error => 0,
            Level::Warn => 1,
            Level::Info => 2,
            Level::Debug => 3,
            Level::Trace => 4,
        };
        match CallLink::current() {
            Some(link) => {
                let bytes = message.len() as u64;
                if !link.log(level, message) {
                    Metrics::add(&self.metrics.log_bytes_dropped, bytes);
                }
            }
            None => tell(&self.package, &self.context.tenant, level, &message),
        }
        Ok(())
    }
}

/// Writes a guest's message to the operator's log; `level` is 0 for an error to 4 for a trace.
pub(crate) fn tell(package: &PackageInfo, tenant: &str, level: u8, message: &str) {
    let (plugin, version) = (&*package.name, &*package.version);
    match level {
        0 => tracing::error!(plugin, version, tenant, "{message:?}"),
        1 => tracing::warn!(plugin, version, tenant, "{message:?}"),
        2 => tracing::info!(plugin, version, tenant, "{message:?}"),
        3 => tracing::debug!(plugin, version, tenant, "{message:?}"),
        _ => tracing::trace!(plugin, version, tenant, "{message:?}"),
    }
}
