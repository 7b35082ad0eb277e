//! A profile as JSON. Names and meanings of fields are documented in `docs/reference/cli.md` and stay;
//! new fields may come.

use super::device_times::DeviceProfile;
use super::text::{Work, by_family, by_op};
use super::times::PlanTimes;
use super::{Profiled, ProfiledPlan, Times};
use crate::model::inspect::{device_step_json, step_json};
use aimass_graph::PlanReport;
use serde_json::{Value, json};

/// The whole profile.
pub(super) fn of(profiled: &Profiled) -> Value {
    let machine = &profiled.machine;
    let rooms = profiled.rooms.iter().map(|(name, us)| json!({ "step": name, "us": us }));
    json!({
        "model": profiled.model,
        "version": profiled.version,
        "inputs": profiled.inputs,
        "source": profiled.source,
        "runs": profiled.runs,
        "machine": {
            "threads": machine.threads,
            "level": format!("{:?}", machine.level),
            "flops_per_second": machine.flops,
            "bytes_per_second": machine.bandwidth,
        },
        "us": profiled.whole_us,
        "pipeline": rooms.collect::<Vec<_>>(),
        "plans": profiled.plans.iter().map(|each| plan(profiled, each)).collect::<Vec<_>>(),
        "calls_left_out": profiled.calls_left_out,
    })
}

fn plan(profiled: &Profiled, plan: &ProfiledPlan) -> Value {
    let ProfiledPlan { title, calls, report, times } = plan;
    let packed: u64 = report.matrices.iter().map(|matrix| matrix.bytes).sum();
    let plain: u64 = report.constants.iter().map(|constant| constant.bytes).sum();
    let prepared: u64 = report.steps.iter().map(|step| step.prepared_bytes).sum();
    let mut value = json!({
        "title": title,
        "calls": calls,
        "threads": report.threads,
        "flops": report.cost.flops,
        "arena_bytes": report.cost.arena_bytes,
        "weights_packed_bytes": packed,
        "weights_prepared_bytes": prepared,
        "weights_plain_bytes": plain,
        "device": null,
    });
    match times {
        Times::Cpu(times) => add_times(&mut value, profiled, (report, times)),
        Times::Device(times) => {
            value["us"] = json!(times.run_us);
            value["device"] = device(times);
        }
    }
    value
}

fn device(times: &DeviceProfile) -> Value {
    let steps = times.report.steps.iter().zip(&times.steps_us).map(|(step, us)| {
        let mut value = device_step_json(step);
        value["us"] = json!(us);
        value
    });
    json!({
        "name": times.report.device,
        "us": times.all_us(),
        "inputs_us": times.inputs_us,
        "results_us": times.results_us,
        "steps": steps.collect::<Vec<_>>(),
    })
}

fn add_times(value: &mut Value, profiled: &Profiled, (report, times): (&PlanReport, &PlanTimes)) {
    let plan = (report, times);
    let steps = report.steps.iter().zip(&times.steps).map(|(step, times)| {
        let mut value = step_json(step);
        let bytes = step.bytes_read.saturating_add(step.bytes_written);
        value["us"] = json!(times.us);
        value["parts_us"] = json!(times.parts_us);
        let share = profiled.machine.share(step.flops, bytes, times.us);
        value["of_peak"] = json!(share.map(|share| share.of_peak));
        value["of_compute"] = json!(share.map(|share| share.of_compute));
        value
    });
    let works = |works: Vec<(String, Work)>| -> Vec<Value> {
        let value = |(label, work): (String, Work)| {
            let share = profiled.machine.share(work.flops, work.bytes, work.us);
            json!({
                "label": label,
                "calls": work.calls,
                "us": work.us,
                "flops": work.flops,
                "bytes": work.bytes,
                "of_peak": share.map(|share| share.of_peak),
                "of_compute": share.map(|share| share.of_compute),
            })
        };
        works.into_iter().map(value).collect()
    };
    value["us"] = json!(times.run_us);
    value["steps"] = json!(steps.collect::<Vec<_>>());
    value["families"] = json!(works(by_family(plan)));
    value["ops"] = json!(works(by_op(plan)));
}
