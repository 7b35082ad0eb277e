//! What one instance carries while it lives: the grants it acts under and what it has used.

use crate::composition::Outside;
use crate::decoders::Decoders;
use crate::limits::Limits;
use crate::metrics::Metrics;
use crate::package::PackageInfo;
use crate::plans::PlanSet;
use aimass_dispatch::Dispatcher;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use wasmtime::ResourceLimiter;
use wasmtime::component::ResourceTable;

/// The data of a store: one call of one plugin.
pub(crate) struct CallState {
    /// Tensors, files, graphs, plans that the guest holds handles of.
    pub(crate) table: ResourceTable,
    /// The plugin itself: name, configuration, files, limits.
    pub(crate) package: Arc<PackageInfo>,
    /// On whose behalf, until when, with which plans.
    pub(crate) context: CallContext,
    /// Other models and the client of a stream, as far as the call may reach them.
    pub(crate) outside: Outside,
    /// Where plan calls go; none in a worker, whose plans are its host's.
    pub(crate) dispatcher: Option<Arc<Dispatcher>>,
    /// Where long decoding runs.
    pub(crate) decoders: Arc<Decoders>,
    /// Counters of the sandbox.
    pub(crate) metrics: Arc<Metrics>,
    /// Linear memory and tables.
    pub(crate) memory: MemoryLimit,
    /// Host memory of tensors.
    pub(crate) host_bytes: Arc<Account>,
    /// Host calls made.
    pub(crate) host_calls: u64,
    /// Bytes logged.
    pub(crate) log_bytes: u64,
    /// Graphs and builders held.
    pub(crate) graphs: usize,
    /// Whether the guest listed or opened files of the package.
    pub(crate) files_seen: bool,
    /// What `init` said against the configuration.
    pub(crate) rejected: Option<crate::GuestError>,
}

/// On whose behalf a call runs, until when, and with which plans.
#[derive(Clone)]
pub(crate) struct CallContext {
    pub(crate) tenant: Arc<str>,
    pub(crate) deadline: Instant,
    pub(crate) plans: Arc<PlanSet>,
}

impl CallContext {
    /// On the server's own behalf, for so long.
    pub(crate) fn system(wall_max: Duration) -> CallContext {
        CallContext {
            tenant: "system".into(),
            deadline: Instant::now() + wall_max,
            plans: Arc::new(PlanSet::empty()),
        }
    }
}

/// A limit that a host function found exceeded; it traps the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LimitHit {
    #[error("the deadline of the call has passed")]
    Deadline,
    #[error("too many handles")]
    Handles,
    #[error("too many host calls")]
    HostCalls,
}

impl CallState {
    /// Limits of this plugin.
    pub(crate) fn limits(&self) -> &Limits {
        &self.package.limits
    }

    /// Counts a host call.
    ///
    /// # Errors
    /// [`LimitHit::HostCalls`] beyond the limit.
    pub(crate) fn count_host_call(&mut self) -> Result<(), LimitHit> {
        self.host_calls += 1;
        if self.host_calls > self.package.limits.host_calls_max {
            return Err(LimitHit::HostCalls);
        }
        Ok(())
    }
}

impl Drop for CallState {
    fn drop(&mut self) {
        Metrics::add(&self.metrics.host_calls, self.host_calls);
    }
}

/// Bound of linear memory, and whether the guest ran into it.
pub(crate) struct MemoryLimit {
    pub(crate) bytes_max: usize,
    /// Linear memory that the guest has now; it never shrinks.
    pub(crate) bytes: usize,
    pub(crate) denied: bool,
}

impl ResourceLimiter for MemoryLimit {
    fn memory_growing(
        &mut self,
        _current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let fits = desired <= self.bytes_max;
        self.denied |= !fits;
        if fits {
            self.bytes = self.bytes.max(desired);
        }
        Ok(fits)
    }

    fn table_growing(
        &mut self,
        _current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(desired <= crate::engine::TABLE_ELEMENTS_MAX)
    }
}

/// Host memory that a call's tensors take.
pub(crate) struct Account {
    used: AtomicU64,
    peak: AtomicU64,
    limit: u64,
}

/// A share of an [`Account`], given back when the last tensor over that memory is gone.
pub(crate) struct Charge {
    account: Arc<Account>,
    bytes: u64,
}

impl Account {
    pub(crate) fn new(limit: u64) -> Arc<Account> {
        Arc::new(Account { used: AtomicU64::new(0), peak: AtomicU64::new(0), limit })
    }

    /// Charges `bytes`; `None` if they do not fit.
    pub(crate) fn charge(self: &Arc<Account>, bytes: u64) -> Option<Arc<Charge>> {
        let used = self.used.fetch_add(bytes, Ordering::Relaxed);
        let charge = Charge { account: self.clone(), bytes };
        let now = used.checked_add(bytes)?;
        if now > self.limit {
            return None;
        }
        self.peak.fetch_max(now, Ordering::Relaxed);
        Some(Arc::new(charge))
    }

    /// Most bytes that were charged at once.
    pub(crate) fn peak(&self) -> u64 {
        self.peak.load(Ordering::Relaxed)
    }

    /// Bytes that may still be charged.
    pub(crate) fn left(&self) -> u64 {
        self.limit.saturating_sub(self.used.load(Ordering::Relaxed))
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.account.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_memory_is_given_back_with_its_last_tensor() {
        let account = Account::new(100);
        let first = account.charge(60).unwrap();
        let second = first.clone();
        assert!(account.charge(50).is_none());
        assert_eq!(account.left(), 40);
        drop(first);
        assert_eq!(account.left(), 40);
        drop(second);
        assert_eq!(account.left(), 100);
        assert!(account.charge(u64::MAX).is_none());
        assert_eq!(account.left(), 100);
        assert_eq!(account.peak(), 60, "what was refused does not count");
    }
}
