//! Spans as OTLP/JSON: `ExportTraceServiceRequest` of opentelemetry-proto 1, in its JSON mapping
//! (identities in hexadecimal, 64-bit numbers as texts).

use super::{Attribute, ROOT, Span, Trace};
use serde_json::{Value, json};
use std::sync::PoisonError;

/// `SPAN_KIND_INTERNAL` and `SPAN_KIND_SERVER`.
const INTERNAL: u8 = 1;
const SERVER: u8 = 2;
/// `STATUS_CODE_ERROR`.
const ERROR: u8 = 2;

/// The request that exports these traces.
pub(super) fn request(traces: &[super::Arc<Trace>], service: &str) -> Value {
    let spans: Vec<Value> = traces.iter().flat_map(|trace| spans(trace)).collect();
    json!({
        "resourceSpans": [{
            "resource": { "attributes": [
                text("service.name", service),
                text("service.version", env!("CARGO_PKG_VERSION")),
            ] },
            "scopeSpans": [{ "scope": { "name": "aimass" }, "spans": spans }],
        }],
    })
}

fn spans(trace: &Trace) -> Vec<Value> {
    let spans = trace.spans.lock().unwrap_or_else(PoisonError::into_inner);
    let one = |(index, span): (usize, &Span)| {
        let id = |index: u64| format!("{:016x}", trace.first.wrapping_add(index));
        let parent = match span.parent {
            ROOT => trace.parent.map(|parent| format!("{parent:016x}")),
            parent => Some(id(u64::from(parent))),
        };
        let failed = span.attributes.iter().any(|one| matches!(one, Attribute::Status(500..)));
        json!({
            "traceId": format!("{:032x}", trace.id),
            "spanId": id(index as u64),
            "parentSpanId": parent.unwrap_or_default(),
            "traceState": trace.state.as_deref().unwrap_or_default(),
            "name": span.name.name(),
            "kind": if span.parent == ROOT { SERVER } else { INTERNAL },
            "startTimeUnixNano": trace.unix_ns(span.start).to_string(),
            "endTimeUnixNano": trace.unix_ns(span.end).to_string(),
            "attributes": span.attributes.iter().map(attribute).collect::<Vec<_>>(),
            "status": if failed { json!({ "code": ERROR }) } else { json!({}) },
        })
    };
    spans.iter().enumerate().map(one).collect()
}

fn attribute(attribute: &Attribute) -> Value {
    match attribute {
        Attribute::Route(route) => text("aimass.route", route),
        Attribute::Status(status) => integer("http.response.status_code", u64::from(*status)),
        Attribute::Model(model) => text("aimass.model", model),
        Attribute::Tenant(tenant) => text("aimass.tenant", tenant),
        Attribute::Step(step) => text("aimass.step", step),
        Attribute::Plugin(plugin) => text("aimass.plugin", plugin),
        Attribute::BatchCalls(calls) => integer("aimass.batch_calls", *calls as u64),
    }
}

fn text(key: &str, value: &str) -> Value {
    json!({ "key": key, "value": { "stringValue": value } })
}

fn integer(key: &str, value: u64) -> Value {
    json!({ "key": key, "value": { "intValue": value.to_string() } })
}

#[cfg(test)]
mod tests {
    use super::super::{SpanName, TraceParent};
    use super::*;

    #[test]
    fn a_trace_is_what_a_collector_reads() {
        let parent = TraceParent { trace: 0xabc, span: 0xdef, sampled: true };
        let trace = Trace::new((1, 5), Some(parent), Some("vendor=1"));
        let route = trace.enter(SpanName::Route, vec![Attribute::Route("infer")]);
        drop(trace.enter(SpanName::Infer, vec![Attribute::BatchCalls(3)]));
        route.add(Attribute::Status(503));
        drop(route);
        let request = request(&[trace], "here");
        let spans = &request["resourceSpans"][0]["scopeSpans"][0]["spans"];
        let (first, second) = (&spans[0], &spans[1]);
        assert_eq!(first["traceId"], "00000000000000000000000000000abc");
        assert_eq!(first["parentSpanId"], "0000000000000def");
        assert_eq!(first["spanId"], "8000000000000005");
        assert_eq!(first["traceState"], "vendor=1");
        assert_eq!((&first["kind"], &first["status"]["code"]), (&json!(2), &json!(2)));
        assert_eq!(second["parentSpanId"], first["spanId"]);
        assert_eq!(second["attributes"][0]["value"]["intValue"], "3");
        let time =
            |span: &Value, field: &str| span[field].as_str().unwrap().parse::<u64>().unwrap();
        assert!(time(first, "startTimeUnixNano") <= time(second, "startTimeUnixNano"));
        assert!(time(second, "endTimeUnixNano") <= time(first, "endTimeUnixNano"));
        assert!(time(first, "startTimeUnixNano") > 1_600_000_000_000_000_000);
    }
}
