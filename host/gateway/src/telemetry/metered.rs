//! One inference from its slot in the journal to its record.

use crate::failure::Failure;
use aimass_engine::{EngineError, Family, InferRequest, InferResponse};
use aimass_telemetry::call::{Call, room};
use aimass_telemetry::trace::SpanName;
use aimass_telemetry::usage::{Slot, UsageKind, UsageRecord};
use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Name of models that a request made up.
const UNKNOWN_MODEL: &str = "_unknown";

/// An inference that runs. If it is dropped before its end, it is recorded as cancelled.
pub(crate) struct Metered {
    slot: Option<Slot>,
    call: Arc<Call>,
    kind: UsageKind,
    tenant: Arc<str>,
    model: Arc<str>,
    bytes_in: u64,
    /// Bytes of the parts that left before the end of a stream.
    bytes_out: Option<Arc<AtomicU64>>,
    started: Instant,
}

impl Metered {
    pub(super) fn new(slot: Option<Slot>, request: &InferRequest, kind: UsageKind) -> Metered {
        let bytes_in = request.inputs.iter().map(|(_, tensor)| tensor.byte_len() as u64).sum();
        Metered {
            slot,
            call: Call::within(),
            kind,
            tenant: request.tenant.clone(),
            model: Arc::from(request.model.as_str()),
            bytes_in,
            bytes_out: None,
            started: Instant::now(),
        }
    }

    /// The same for an answer in parts; `bytes_out` counts those of all parts but the last.
    pub(crate) fn in_parts(mut self, bytes_out: Arc<AtomicU64>) -> Metered {
        self.bytes_out = Some(bytes_out);
        self
    }

    /// It was refused before it ran, and leaves no record.
    pub(crate) fn never_ran(mut self) {
        self.slot = None;
    }

    /// What the inference is charged to while it runs.
    pub(crate) fn call(&self) -> &Arc<Call> {
        &self.call
    }

    /// Writes the record of an answered or failed inference; resolves when it is in the journal.
    ///
    /// A model that does not exist leaves no record: nothing ran.
    ///
    /// # Errors
    /// 503 if the record could not be written: the answer must not leave then.
    pub(crate) async fn end(
        mut self,
        result: &Result<InferResponse, EngineError>,
    ) -> Result<(), Failure> {
        let Some(slot) = self.slot.take() else { return Ok(()) };
        let record = match result {
            Ok(response) => {
                let out = response.outputs.iter().map(|(_, tensor)| tensor.byte_len() as u64);
                let record = self.record("ok", response.version);
                let bytes_out = record.bytes_out.saturating_add(out.sum());
                UsageRecord { tokens: response.usage.tokens, bytes_out, ..record }
            }
            Err(error) if error.family() == Family::NotFound => return Ok(()),
            Err(error) => self.record(error.family().name(), 0),
        };
        let written = room(SpanName::Meter, Vec::new, slot.commit(record)).await;
        written.map_err(|error| Failure::overloaded(error.to_string()))
    }

    fn record(&self, outcome: &'static str, version: u64) -> UsageRecord {
        let used = self.call.used();
        let version = used.served.version.max(version);
        let known = version > 0;
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        UsageRecord {
            time_us: u64::try_from(since.as_micros()).unwrap_or(u64::MAX),
            kind: self.kind,
            tenant: self.tenant.clone(),
            // What a request made up must not grow the sums.
            model: if known { self.model.clone() } else { UNKNOWN_MODEL.into() },
            version,
            plugins: used.served.plugins,
            inner_models: used.inner_models,
            outcome: Cow::Borrowed(outcome),
            request: self.call.request().clone(),
            tokens: None,
            bytes_in: self.bytes_in,
            bytes_out: self.bytes_out.as_ref().map_or(0, |bytes| bytes.load(Ordering::Relaxed)),
            plugin_ns: ns(used.plugin),
            kernel_ns: ns(used.kernel),
            queue_ns: ns(used.queued),
            wall_ns: ns(self.started.elapsed()),
        }
    }
}

impl Drop for Metered {
    fn drop(&mut self) {
        if let Some(slot) = self.slot.take() {
            // The record is on its way; nobody is left to wait for it.
            drop(slot.commit(self.record("cancelled", 0)));
        }
    }
}

fn ns(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
