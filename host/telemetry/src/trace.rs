//! Traces: the rooms of one sampled call as spans, with W3C trace context in and out.
//!
//! Unsampled calls carry no trace and cost one comparison. Specification: W3C Trace Context
//! (Recommendation, level 1).

mod exporter;
mod otlp;

pub use exporter::{TraceStats, Tracer};

use serde::Deserialize;
use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Spans of one trace; further ones are left out.
const SPANS_MAX: usize = 128;
/// Longest `tracestate` that is passed on, as the recommendation asks for at least.
const STATE_BYTES_MAX: usize = 512;
/// Parent of spans that have none.
const ROOT: u32 = u32::MAX;

/// Which calls are traced, and where to: `[gateway.telemetry.traces]`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TraceConfig {
    /// Address of an OTLP/HTTP collector, as `http://127.0.0.1:4318`; spans go to `/v1/traces` below
    /// it. Without one nothing is traced.
    pub endpoint: Option<String>,
    /// Part of the calls that are traced if their client does not say, 0 to 1. Default 0.01.
    pub ratio: f64,
    /// Whether a client's `traceparent` decides. Default true.
    pub follow_parent: bool,
    /// Finished traces that may wait for export; further ones are dropped and counted. Default 2048.
    pub queue_len_max: usize,
    /// `service.name` of the spans. Default `aimass`.
    pub service: String,
}

impl Default for TraceConfig {
    fn default() -> TraceConfig {
        TraceConfig {
            endpoint: None,
            ratio: 0.01,
            follow_parent: true,
            queue_len_max: 2048,
            service: "aimass".to_owned(),
        }
    }
}

/// Why calls cannot be traced.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// The address is none.
    #[error("telemetry.traces.endpoint: expected `http://…` or `https://…` without credentials")]
    Endpoint,
    /// No thread, or no random numbers.
    #[error("traces: {0}")]
    System(String),
}

/// The rooms of a request (docs/architecture.md), as spans are named: by file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SpanName {
    /// The whole request at its route.
    Route,
    /// `gateway/src/admission.rs`
    Admission,
    /// `engine/src/infer.rs`: version and steps.
    Infer,
    /// One step of the pipeline.
    Step,
    /// `sandbox/src/instance.rs`
    Instance,
    /// `sandbox/src/host_api/plans.rs`
    Plans,
    /// `dispatch/src/batcher.rs`: waiting for the device.
    Batcher,
    /// `graph/src/executor.rs`, with the kernels that it calls.
    Executor,
    /// The usage record on its way to the journal.
    Meter,
}

impl SpanName {
    /// Every name.
    pub const ALL: [SpanName; 9] = [
        SpanName::Route,
        SpanName::Admission,
        SpanName::Infer,
        SpanName::Step,
        SpanName::Instance,
        SpanName::Plans,
        SpanName::Batcher,
        SpanName::Executor,
        SpanName::Meter,
    ];

    /// The name in traces.
    pub const fn name(self) -> &'static str {
        match self {
            SpanName::Route => "route",
            SpanName::Admission => "admission",
            SpanName::Infer => "infer",
            SpanName::Step => "pipeline",
            SpanName::Instance => "instance",
            SpanName::Plans => "plans",
            SpanName::Batcher => "batcher",
            SpanName::Executor => "executor",
            SpanName::Meter => "meter",
        }
    }
}

/// What a span says beside its name.
#[derive(Clone, Debug, PartialEq)]
pub enum Attribute {
    /// Kind of route.
    Route(&'static str),
    /// HTTP status of the answer.
    Status(u16),
    /// Serving name of the model.
    Model(Arc<str>),
    /// Who pays.
    Tenant(Arc<str>),
    /// Step of the pipeline.
    Step(Arc<str>),
    /// Package of a plugin.
    Plugin(Arc<str>),
    /// Calls that shared a launch.
    BatchCalls(usize),
}

/// The identity of a span in another process, and whether its trace is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceParent {
    /// Not 0.
    pub trace: u128,
    /// Not 0.
    pub span: u64,
    /// Whether whoever called traces this call.
    pub sampled: bool,
}

impl TraceParent {
    /// Reads a `traceparent` header.
    pub fn parse(text: &str) -> Option<TraceParent> {
        let hex = |digits: &str, len: usize| {
            let good = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
            (digits.len() == len && digits.bytes().all(good)).then_some(())?;
            u128::from_str_radix(digits, 16).ok()
        };
        let mut parts = text.trim().split('-');
        let version = hex(parts.next()?, 2)?;
        let trace = hex(parts.next()?, 32)?;
        let span = u64::try_from(hex(parts.next()?, 16)?).ok()?;
        let flags = hex(parts.next()?, 2)?;
        // Later versions may add parts; this one has no more.
        let whole = if version == 0 { parts.next().is_none() } else { version != 0xff };
        let good = whole && trace != 0 && span != 0;
        good.then_some(TraceParent { trace, span, sampled: flags & 1 == 1 })
    }
}

impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace, self.span, u8::from(self.sampled))
    }
}

/// The spans of one sampled call.
#[derive(Debug)]
pub struct Trace {
    id: u128,
    /// Identity of the first span; the others count on from it.
    first: u64,
    parent: Option<u64>,
    state: Option<String>,
    /// Wall clock and steady clock at the same moment.
    epoch: (SystemTime, Instant),
    spans: Mutex<Vec<Span>>,
    /// The span that is open; spans nest, for a call's rooms are in one task.
    open: AtomicU32,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Span {
    pub(crate) name: SpanName,
    pub(crate) parent: u32,
    pub(crate) start: Instant,
    pub(crate) end: Instant,
    pub(crate) attributes: Vec<Attribute>,
}

/// An open span; it ends when it is dropped.
pub struct OpenSpan {
    trace: Arc<Trace>,
    index: Option<u32>,
    parent: u32,
}

impl Trace {
    /// A trace of its own, or one that goes on under `parent`. `random` gives its identities.
    pub(crate) fn new(
        random: (u128, u64),
        parent: Option<TraceParent>,
        state: Option<&str>,
    ) -> Arc<Trace> {
        let state = state.filter(|text| text.len() <= STATE_BYTES_MAX).map(str::to_owned);
        Arc::new(Trace {
            id: parent.map_or(random.0 | 1, |parent| parent.trace),
            first: random.1 | 1 << 63,
            parent: parent.map(|parent| parent.span),
            state: parent.and(state),
            epoch: (SystemTime::now(), Instant::now()),
            spans: Mutex::default(),
            open: AtomicU32::new(ROOT),
        })
    }

    /// What the first span is called by from outside.
    pub fn context(&self) -> TraceParent {
        TraceParent { trace: self.id, span: self.first, sampled: true }
    }

    /// The `tracestate` that came, to be passed on.
    pub fn state(&self) -> Option<&str> {
        self.state.as_deref()
    }

    /// Opens a span within the one that is open.
    pub fn enter(self: &Arc<Trace>, name: SpanName, attributes: Vec<Attribute>) -> OpenSpan {
        let (now, parent) = (Instant::now(), self.open.load(Ordering::Relaxed));
        let index = self.push(Span { name, parent, start: now, end: now, attributes });
        if let Some(index) = index {
            self.open.store(index, Ordering::Relaxed);
        }
        OpenSpan { trace: self.clone(), index, parent }
    }

    /// Adds a span that is over, within the one that is open.
    pub fn done(&self, name: SpanName, (start, end): (Instant, Instant), attributes: &[Attribute]) {
        let parent = self.open.load(Ordering::Relaxed);
        self.push(Span { name, parent, start, end, attributes: attributes.to_vec() });
    }

    fn push(&self, span: Span) -> Option<u32> {
        let mut spans = self.spans.lock().unwrap_or_else(PoisonError::into_inner);
        if spans.len() >= SPANS_MAX {
            return None;
        }
        spans.push(span);
        u32::try_from(spans.len() - 1).ok()
    }

    /// Nanoseconds since 1970 of a moment of this trace.
    fn unix_ns(&self, at: Instant) -> u64 {
        let (wall, steady) = self.epoch;
        let at = if at >= steady { wall + (at - steady) } else { wall - (steady - at) };
        let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
    }
}

impl OpenSpan {
    /// Says more about the span.
    pub fn add(&self, attribute: Attribute) {
        let mut spans = self.trace.spans.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(span) = self.index.and_then(|index| spans.get_mut(index as usize)) {
            span.attributes.push(attribute);
        }
    }
}

impl Drop for OpenSpan {
    fn drop(&mut self) {
        let Some(index) = self.index else { return };
        let mut spans = self.trace.spans.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(span) = spans.get_mut(index as usize) {
            span.end = Instant::now();
        }
        self.trace.open.store(self.parent, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn trace_context_is_read_as_the_recommendation_says() {
        let parent = TraceParent::parse(GOOD).unwrap();
        assert_eq!(parent.to_string(), GOOD);
        assert!(parent.sampled);
        assert!(!TraceParent::parse(&GOOD.replace("-01", "-00")).unwrap().sampled);
        assert!(
            TraceParent::parse(&GOOD.replacen("00", "cc", 1).replace("-01", "-01-more")).is_some()
        );
        for wrong in [
            String::new(),
            GOOD.replacen("00", "ff", 1),
            GOOD.to_uppercase(),
            format!("{GOOD}-more"),
            GOOD.replace("0af7651916cd43dd8448eb211c80319c", &"0".repeat(32)),
            GOOD.replace("b7ad6b7169203331", &"0".repeat(16)),
            GOOD.replace("0af", "+af"),
            GOOD[..54].to_owned(),
        ] {
            assert_eq!(TraceParent::parse(&wrong), None, "{wrong}");
        }
    }

    #[test]
    fn spans_nest_and_have_a_limit() {
        let trace = Trace::new((7, 9), None, Some("a=b"));
        assert_eq!(trace.state(), None, "a state without a parent is nobody's");
        let outer = trace.enter(SpanName::Route, Vec::new());
        let inner = trace.enter(SpanName::Infer, Vec::new());
        inner.add(Attribute::Model("m".into()));
        let now = Instant::now();
        trace.done(SpanName::Batcher, (now, now), &[]);
        drop(inner);
        let second = trace.enter(SpanName::Meter, Vec::new());
        drop((second, outer));
        for _ in 0..2 * SPANS_MAX {
            drop(trace.enter(SpanName::Step, Vec::new()));
        }
        let spans = trace.spans.lock().unwrap();
        let parents: Vec<u32> = spans.iter().take(5).map(|span| span.parent).collect();
        assert_eq!(parents, [ROOT, 0, 1, 0, ROOT]);
        assert_eq!(spans[1].attributes, [Attribute::Model("m".into())]);
        assert_eq!(spans.len(), SPANS_MAX);
    }
}
