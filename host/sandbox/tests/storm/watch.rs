//! What is watched while the storm goes on: every byte that a hostile guest could show, and what the
//! process holds.

use aimass_sandbox::CallResult;
use std::fmt::{Debug, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

/// Bytes of a canary.
pub(crate) const CANARY_BYTES: usize = 32;

/// Sees the canary in answers, errors and the log.
pub(crate) struct Watch {
    canary: [u8; CANARY_BYTES],
    /// Messages that held the canary, but for those of the tenant `control`.
    logged: AtomicU64,
    /// Messages of the tenant `control` that held it.
    control: AtomicU64,
    /// Bytes of the log that were looked at.
    log_bytes: AtomicU64,
}

impl Watch {
    /// The watch of this process, which all logs go to. Its canary is random text.
    pub(crate) fn of_process() -> Arc<Watch> {
        static WATCH: OnceLock<Arc<Watch>> = OnceLock::new();
        let watch = WATCH.get_or_init(|| {
            let mut seed = [0; CANARY_BYTES];
            getrandom::fill(&mut seed).unwrap();
            let canary = seed.map(|byte| b'A' + byte % 26);
            let [logged, control, log_bytes] = [0; 3].map(AtomicU64::new);
            let watch = Arc::new(Watch { canary, logged, control, log_bytes });
            tracing::subscriber::set_global_default(Log(watch.clone())).unwrap();
            watch
        });
        watch.clone()
    }

    pub(crate) fn canary(&self) -> [u8; CANARY_BYTES] {
        self.canary
    }

    /// Whether a quarter of the canary or more is in these bytes.
    pub(crate) fn sees(&self, bytes: &[u8]) -> bool {
        const PART: usize = CANARY_BYTES / 4;
        let parts = self.canary.chunks(PART);
        let mut heads = [false; 256];
        parts.clone().for_each(|part| heads[usize::from(part[0])] = true);
        bytes
            .windows(PART)
            .any(|window| heads[usize::from(window[0])] && parts.clone().any(|part| part == window))
    }

    pub(crate) fn sees_in_answer(&self, answer: &CallResult) -> bool {
        answer.outputs.iter().any(|(name, tensor)| {
            let strings = tensor.strings().map_or(&[][..], |strings| strings.data());
            self.sees(name.as_bytes()) || self.sees(strings) || self.sees(tensor_bytes(tensor))
        })
    }

    pub(crate) fn sees_in_error(&self, error: &dyn Debug) -> bool {
        self.sees(format!("{error:?}").as_bytes())
    }

    /// Messages with the canary so far, those of the tenant `control`, and bytes of all messages.
    pub(crate) fn log(&self) -> [u64; 3] {
        [&self.logged, &self.control, &self.log_bytes].map(|count| count.load(Ordering::Relaxed))
    }
}

fn tensor_bytes(tensor: &aimass_tensor::Tensor) -> &[u8] {
    if tensor.strings().is_some() { &[] } else { tensor.bytes() }
}

/// Every event of the process, as one line.
struct Log(Arc<Watch>);

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let _ = write!(self.0, "{}={value:?} ", field.name());
    }
}

impl Subscriber for Log {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, event: &Event<'_>) {
        let mut line = Line(String::new());
        event.record(&mut line);
        self.0.log_bytes.fetch_add(line.0.len() as u64, Ordering::Relaxed);
        if self.0.sees(line.0.as_bytes()) {
            let is_control = line.0.contains("tenant=\"control\"");
            let counter = if is_control { &self.0.control } else { &self.0.logged };
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

/// Bytes of memory that these processes have now.
pub(crate) fn resident_bytes(pids: &[u32]) -> u64 {
    let of = |pid: &u32| {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let line = status.lines().find(|line| line.starts_with("VmRSS:"));
        let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
        kib.unwrap_or(0) << 10
    };
    pids.iter().map(of).sum()
}
