//! An inspection as JSON. Names and meanings of fields are documented in `docs/reference/cli.md` and
//! stay; new fields may come.

use super::{InspectedPlan, Inspection};
use aimass_graph::{
    Coalescing, DeviceReport, PartReport, PlanReport, ReadReport, StepPlace, StepReport,
    TensorSpec, ValuePlace, ValueReport,
};
use serde_json::{Value, json};
use std::borrow::Cow;

/// The whole inspection.
pub(super) fn of(inspection: &Inspection) -> Value {
    let pipeline = inspection.pipeline.iter();
    let (coalesces_over, blocked_by) = match &inspection.coalescing {
        Coalescing::Batch => (Some("batch axis 0".to_owned()), None),
        Coalescing::Ragged { offsets } => (Some(format!("ragged({offsets})")), None),
        Coalescing::Alone { blocked_by } => (None, Some(blocked_by)),
    };
    json!({
        "model": inspection.model,
        "version": inspection.version,
        "publisher": inspection.publisher,
        "platform": inspection.platform,
        "pipeline": pipeline.map(|(step, runs)| json!({ "step": step, "runs": runs })).collect::<Vec<_>>(),
        "traced": inspection.traced,
        "coalesces_over": coalesces_over,
        "blocked_by": blocked_by,
        "plans": inspection.plans.iter().map(plan).collect::<Vec<_>>(),
    })
}

fn plan(plan: &InspectedPlan) -> Value {
    let stage = plan.stage.as_ref().map(|stage| {
        json!({
            "known": stage.known,
            "observe": stage.observe,
            "batched": stage.batched,
            "reusable": stage.reusable,
            "blocked_by": stage.blocked_by,
        })
    });
    json!({
        "title": plan.title,
        "chosen": plan.chosen,
        "stage": stage,
        "plan": plan.report.as_ref().map(report),
        "device": plan.device.as_ref().map(device),
    })
}

fn device(found: &Result<DeviceReport, String>) -> Value {
    match found {
        Ok(report) => {
            let [device, cpu, transfers] = report.counts();
            let steps = report.steps.iter();
            json!({
                "name": report.device,
                "device_steps": device,
                "cpu_steps": cpu,
                "transfers": transfers,
                "steps": steps.map(device_step).collect::<Vec<_>>(),
                "reason": null,
            })
        }
        Err(reason) => json!({ "name": null, "reason": reason }),
    }
}

/// A step of a device's program; `aimass model profile` adds its time.
pub(in crate::model) fn device_step((name, place): &(Cow<'static, str>, StepPlace)) -> Value {
    json!({ "label": name, "place": place.name() })
}

fn report(report: &PlanReport) -> Value {
    let (joined, blocked_by) = match &report.coalescing {
        Coalescing::Batch => ("batch".to_owned(), None),
        Coalescing::Ragged { offsets } => (format!("ragged({offsets})"), None),
        Coalescing::Alone { blocked_by } => ("alone".to_owned(), Some(blocked_by)),
    };
    let key: String = report.key.iter().map(|byte| format!("{byte:02x}")).collect();
    let slots = report
        .slots
        .iter()
        .map(|slot| json!({ "offset": slot.offset, "bytes": slot.bytes, "values": slot.values }));
    let matrices = report.matrices.iter().map(|matrix| {
        json!({ "names": matrix.names, "k": matrix.k, "n": matrix.n, "bytes": matrix.bytes })
    });
    let constants = report.constants.iter().map(|constant| {
        json!({
            "name": constant.name,
            "dtype": constant.dtype.to_string(),
            "shape": constant.shape.dims(),
            "bytes": constant.bytes,
        })
    });
    let values = report.values.iter().map(|(id, each)| value(*id, each));
    json!({
        "key": key,
        "inputs": report.inputs.iter().map(spec).collect::<Vec<_>>(),
        "outputs": report.outputs.iter().map(spec).collect::<Vec<_>>(),
        "results": report.results.iter().map(read).collect::<Vec<_>>(),
        "joined": joined,
        "blocked_by": blocked_by,
        "threads": report.threads,
        "flops": report.cost.flops,
        "arena_bytes": report.cost.arena_bytes,
        "result_bytes": report.result_bytes,
        "rows": report.rows.rows,
        "sequences": report.rows.sequences,
        "steps": report.steps.iter().map(step).collect::<Vec<_>>(),
        "values": values.collect::<Vec<_>>(),
        "slots": slots.collect::<Vec<_>>(),
        "packed": matrices.collect::<Vec<_>>(),
        "constants": constants.collect::<Vec<_>>(),
    })
}

fn spec(spec: &TensorSpec) -> Value {
    let dims: Vec<String> = spec.dims.iter().map(ToString::to_string).collect();
    json!({ "name": spec.name, "dtype": spec.dtype.to_string(), "dims": dims })
}

fn read(read: &ReadReport) -> Value {
    json!({ "value": read.value, "from": read.from })
}

/// A step; `aimass model profile` adds its times.
pub(in crate::model) fn step(step: &StepReport) -> Value {
    json!({
        "label": step.label,
        "family": step.family.name(),
        "reads": step.reads.iter().map(read).collect::<Vec<_>>(),
        "writes": step.writes,
        "packed": step.matrices,
        "in_place": step.in_place,
        "flops": step.flops,
        "bytes_read": step.bytes_read,
        "bytes_written": step.bytes_written,
        "parts": step.parts.iter().map(part).collect::<Vec<_>>(),
    })
}

fn part(part: &PartReport) -> Value {
    json!({
        "label": part.label,
        "family": part.family.name(),
        "rows": part.rows,
        "columns": part.columns,
        "flops": part.flops,
        "bytes": part.bytes,
    })
}

fn value(id: u32, value: &ValueReport) -> Value {
    let (place, index) = match value.place {
        ValuePlace::Input(index) => ("input", Some(index)),
        ValuePlace::Constant(index) => ("constant", Some(index)),
        ValuePlace::State(index) => ("state", Some(index)),
        ValuePlace::Slot(index) => ("slot", Some(index)),
        ValuePlace::Result(index) => ("result", Some(index)),
        ValuePlace::Columns { region, .. } => ("columns", Some(region)),
        ValuePlace::None => ("inside", None),
    };
    json!({
        "id": id,
        "name": value.name,
        "dtype": value.dtype.to_string(),
        "shape": value.shape.dims(),
        "rows": value.rows.as_ref().map(ToString::to_string),
        "bytes": value.bytes,
        "place": place,
        "index": index,
        "made_by": value.made_by,
        "last_read": value.last_read,
    })
}
