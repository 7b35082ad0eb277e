//! Counters of the dispatcher for Prometheus: in all, and for each plan of a loaded model.
//!
//! Labels come from the registry and from packages that it admitted, never from a request. Plans of equal
//! content are one plan: its counters then appear under each model that has it.

use crate::catalog::Catalog;
use aimass_dispatch::{Counted, DispatchStats, PlanStats};
use aimass_telemetry::metrics::{Metric, Page, catalog};
use std::collections::HashMap;

/// Adds the counters of all plans.
pub(crate) fn totals(page: &mut Page, stats: &DispatchStats) {
    let counted = &stats.counted;
    let rows: [(&'static Metric, f64); 10] = [
        (&catalog::DISPATCH_BATCHES, counted.launches as f64),
        (&catalog::DISPATCH_RETRIES, counted.retries as f64),
        (&catalog::DISPATCH_CALLS, counted.calls as f64),
        (&catalog::DISPATCH_FAILED, counted.failed as f64),
        (&catalog::DISPATCH_ROWS, counted.rows as f64),
        (&catalog::DISPATCH_BUSY, counted.busy.as_secs_f64()),
        (&catalog::DISPATCH_WAITED, counted.waited.as_secs_f64()),
        (&catalog::DISPATCH_WAITED_MAX, counted.waited_max.as_secs_f64()),
        (&catalog::DISPATCH_WAITING, counted.waiting as f64),
        (&catalog::DISPATCH_SLOTS, stats.slots as f64),
    ];
    for (metric, value) in rows {
        page.single(metric, value);
    }
    let mut samples = page.start(&catalog::DISPATCH_REFUSED);
    for (reason, count) in refusals(counted) {
        samples.add(&[reason], count as f64);
    }
    // A bucket holds sizes below the next power of two; the last one has no bound.
    let (_, bounded) = counted.batch_sizes.split_last().expect("there are ten sizes");
    let buckets = bounded.iter().enumerate();
    let buckets = buckets.map(|(log2, count)| (((2u64 << log2) - 1) as f64, *count));
    let launches = counted.batch_sizes.iter().sum();
    let samples = &mut page.start(&catalog::DISPATCH_BATCH_CALLS);
    samples.add_histogram(&[], buckets, launches, counted.calls as f64);
}

/// A value of one plan.
type PlanValue = fn(&Counted) -> f64;

/// Adds the counters of the plans of loaded models; plans that were never called have none.
pub(crate) fn plans(page: &mut Page, catalog: &Catalog, stats: &[PlanStats]) {
    let known: HashMap<[u8; 32], &PlanStats> =
        stats.iter().map(|stats| (stats.key, stats)).collect();
    let mut rows: Vec<([String; 3], &PlanStats)> = Vec::new();
    let cells = catalog.models().flat_map(|(_, served)| served.versions.values());
    for model in cells.filter_map(|cell| cell.loaded()) {
        let plans = model.pipeline.plans();
        for name in plans.names() {
            let stats = plans.get(name).and_then(|plan| known.get(&plan.key()));
            if let Some(stats) = stats {
                let labels = [model.name.to_string(), model.version.to_string(), name.to_owned()];
                rows.push((labels, stats));
            }
        }
    }
    write_plans(page, &rows);
}

fn write_plans(page: &mut Page, rows: &[([String; 3], &PlanStats)]) {
    let metrics: [(&'static Metric, PlanValue); 9] = [
        (&catalog::PLAN_LAUNCHES, |counted| counted.launches as f64),
        (&catalog::PLAN_RETRIES, |counted| counted.retries as f64),
        (&catalog::PLAN_CALLS, |counted| counted.calls as f64),
        (&catalog::PLAN_FAILED, |counted| counted.failed as f64),
        (&catalog::PLAN_ROWS, |counted| counted.rows as f64),
        (&catalog::PLAN_BUSY, |counted| counted.busy.as_secs_f64()),
        (&catalog::PLAN_WAITED, |counted| counted.waited.as_secs_f64()),
        (&catalog::PLAN_WAITED_MAX, |counted| counted.waited_max.as_secs_f64()),
        (&catalog::PLAN_WAITING, |counted| counted.waiting as f64),
    ];
    for (metric, value) in metrics {
        let mut samples = page.start(metric);
        for ([model, version, plan], stats) in rows {
            samples.add(&[model, version, plan], value(&stats.counted));
        }
    }
    let mut samples = page.start(&catalog::PLAN_REFUSED);
    for ([model, version, plan], stats) in rows {
        for (reason, count) in refusals(&stats.counted) {
            samples.add(&[model, version, plan, reason], count as f64);
        }
    }
    let mut samples = page.start(&catalog::PLAN_LAUNCH_SECONDS);
    for ([model, version, plan], stats) in rows {
        for estimate in &stats.estimates {
            let size = estimate.work_log2.to_string();
            samples.add(&[model, version, plan, &size], estimate.mean.as_secs_f64());
        }
    }
}

fn refusals(counted: &Counted) -> [(&'static str, u64); 5] {
    [
        ("overloaded", counted.overloaded),
        ("tenant-queue", counted.quota),
        ("deadline-too-near", counted.too_near),
        ("deadline", counted.late),
        ("cancelled", counted.cancelled),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use aimass_dispatch::Estimate;
    use std::time::Duration;

    #[test]
    fn totals_and_a_plan_are_lines_of_the_text_format() {
        let counted = Counted {
            launches: 3,
            waited: Duration::from_millis(1500),
            too_near: 2,
            batch_sizes: [0, 1, 2, 0, 0, 0, 0, 0, 0, 0],
            ..Counted::default()
        };
        let mut page = Page::default();
        totals(&mut page, &DispatchStats { counted, slots: 4 });
        let estimate = Estimate {
            work_log2: 9,
            mean: Duration::from_millis(250),
            deviation: Duration::ZERO,
            samples: 3,
        };
        let stats = PlanStats { key: [0; 32], counted, estimates: vec![estimate] };
        let labels = ["m", "1", "a\"b"].map(str::to_owned);
        write_plans(&mut page, &[(labels, &stats)]);
        let text = page.into_text();
        for line in [
            "aimass_dispatch_batches_total 3",
            "aimass_dispatch_waited_seconds_total 1.5",
            "aimass_dispatch_slots 4",
            "aimass_dispatch_refused_total{reason=\"deadline-too-near\"} 2",
            "aimass_dispatch_batch_calls_bucket{le=\"3\"} 1",
            "aimass_dispatch_batch_calls_bucket{le=\"7\"} 3",
            "aimass_dispatch_batch_calls_count 3",
            "aimass_plan_launches_total{model=\"m\",version=\"1\",plan=\"a\\\"b\"} 3",
            "aimass_plan_launch_seconds{model=\"m\",version=\"1\",plan=\"a\\\"b\",work_log2=\"9\"} 0.25",
        ] {
            assert!(text.lines().any(|own| own == line), "{line} is not in\n{text}");
        }
    }
}
