//! Metrics of the meter and the tracer.

use aimass_telemetry::metrics::{Metric, Page, catalog};
use aimass_telemetry::trace::TraceStats;
use aimass_telemetry::usage::MeterStats;

pub(super) fn write(meter: Option<&MeterStats>, traces: &TraceStats, page: &mut Page) {
    if let Some(meter) = meter {
        let rows: [(&'static Metric, u64); 9] = [
            (&catalog::USAGE_RECORDS, meter.records),
            (&catalog::USAGE_WRITES, meter.writes),
            (&catalog::USAGE_HANDED_OVER, meter.handed_over),
            (&catalog::USAGE_REFUSED, meter.refused),
            (&catalog::USAGE_LOST, meter.lost),
            (&catalog::USAGE_SLOTS, meter.slots),
            (&catalog::USAGE_JOURNAL, meter.journal_bytes),
            (&catalog::USAGE_LAG, meter.export_lag),
            (&catalog::USAGE_EXPORT_FAILURES, meter.export_failures),
        ];
        for (metric, value) in rows {
            page.single(metric, value as f64);
        }
    }
    page.single(&catalog::SPANS_EXPORTED, traces.exported as f64);
    page.single(&catalog::SPANS_DROPPED, traces.dropped as f64);
}
