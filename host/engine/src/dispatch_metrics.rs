//! Counters of the dispatcher as Prometheus text: in all, and for each plan of a loaded model.
//!
//! Labels come from the registry and from packages that it admitted, never from a request. Plans of equal
//! content are one plan: its counters then appear under each model that has it.

use crate::catalog::Catalog;
use aimass_dispatch::{Counted, DispatchStats, PlanStats};
use std::collections::HashMap;
use std::fmt::Write;

/// Appends the counters of all plans.
pub(crate) fn totals(text: &mut String, stats: &DispatchStats) {
    let Counted { busy, waited, waited_max, .. } = stats.counted;
    let counted = &stats.counted;
    let rows = [
        ("batches_total", counted.launches as f64),
        ("retries_total", counted.retries as f64),
        ("calls_total", counted.calls as f64),
        ("failed_total", counted.failed as f64),
        ("rows_total", counted.rows as f64),
        ("busy_seconds_total", busy.as_secs_f64()),
        ("waited_seconds_total", waited.as_secs_f64()),
        ("waited_seconds_max", waited_max.as_secs_f64()),
        ("waiting", counted.waiting as f64),
        ("slots", stats.slots as f64),
    ];
    // Writing to a string cannot fail.
    for (name, value) in rows {
        let _ = writeln!(text, "aimass_dispatch_{name} {value}");
    }
    for (reason, count) in refusals(counted) {
        let _ = writeln!(text, "aimass_dispatch_refused_total{{reason=\"{reason}\"}} {count}");
    }
    for (size, count) in counted.batch_sizes.iter().enumerate() {
        let calls = 1u64 << size;
        let _ = writeln!(text, "aimass_dispatch_batch_calls_total{{from=\"{calls}\"}} {count}");
    }
}

/// Appends the counters of the plans of loaded models; plans that were never called have none.
pub(crate) fn plans(text: &mut String, catalog: &Catalog, stats: &[PlanStats]) {
    let known: HashMap<[u8; 32], &PlanStats> =
        stats.iter().map(|stats| (stats.key, stats)).collect();
    let cells = catalog.models().flat_map(|(_, served)| served.versions.values());
    for model in cells.filter_map(|cell| cell.loaded()) {
        let plans = model.pipeline.plans();
        for name in plans.names() {
            let stats = plans.get(name).and_then(|plan| known.get(&plan.key()));
            if let Some(stats) = stats {
                let (model, version, plan) = (&model.name, model.version, escaped(name));
                let labels = format!("model=\"{model}\",version=\"{version}\",plan=\"{plan}\"");
                one_plan(text, &labels, stats);
            }
        }
    }
}

fn one_plan(text: &mut String, labels: &str, stats: &PlanStats) {
    let counted = &stats.counted;
    let rows = [
        ("launches_total", counted.launches as f64),
        ("retries_total", counted.retries as f64),
        ("calls_total", counted.calls as f64),
        ("failed_total", counted.failed as f64),
        ("rows_total", counted.rows as f64),
        ("busy_seconds_total", counted.busy.as_secs_f64()),
        ("waited_seconds_total", counted.waited.as_secs_f64()),
        ("waited_seconds_max", counted.waited_max.as_secs_f64()),
        ("waiting", counted.waiting as f64),
    ];
    // Writing to a string cannot fail.
    for (name, value) in rows {
        let _ = writeln!(text, "aimass_plan_{name}{{{labels}}} {value}");
    }
    for (reason, count) in refusals(counted) {
        let _ = writeln!(text, "aimass_plan_refused_total{{{labels},reason=\"{reason}\"}} {count}");
    }
    for estimate in &stats.estimates {
        let (size, seconds) = (estimate.work_log2, estimate.mean.as_secs_f64());
        let _ =
            writeln!(text, "aimass_plan_launch_seconds{{{labels},work_log2=\"{size}\"}} {seconds}");
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

/// A label's value as the Prometheus text format quotes it.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
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
        let mut text = String::new();
        totals(&mut text, &DispatchStats { counted, slots: 4 });
        let estimate = Estimate {
            work_log2: 9,
            mean: Duration::from_millis(250),
            deviation: Duration::ZERO,
            samples: 3,
        };
        let stats = PlanStats { key: [0; 32], counted, estimates: vec![estimate] };
        one_plan(&mut text, &format!("plan=\"{}\"", escaped("a\"b\\c\n")), &stats);
        for line in [
            "aimass_dispatch_batches_total 3",
            "aimass_dispatch_waited_seconds_total 1.5",
            "aimass_dispatch_slots 4",
            "aimass_dispatch_refused_total{reason=\"deadline-too-near\"} 2",
            "aimass_dispatch_batch_calls_total{from=\"4\"} 2",
            "aimass_plan_launches_total{plan=\"a\\\"b\\\\c\\n\"} 3",
            "aimass_plan_launch_seconds{plan=\"a\\\"b\\\\c\\n\",work_log2=\"9\"} 0.25",
        ] {
            assert!(text.lines().any(|own| own == line), "{line} is not in\n{text}");
        }
    }
}
