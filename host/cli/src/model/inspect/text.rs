//! An inspection as text.

use super::{InspectedPlan, Inspection, StageFacts};
use crate::model::figures::{bytes, si, table};
use aimass_graph::{Coalescing, DeviceReport, PlanReport, StepReport, ValuePlace};
use std::fmt::{Result, Write};

/// Everything, in the order in which it runs.
pub(super) fn of(inspection: &Inspection) -> String {
    let mut text = String::new();
    write(&mut text, inspection).expect("writing to a string does not fail");
    text
}

fn write(text: &mut String, inspection: &Inspection) -> Result {
    let Inspection { model, version, publisher, platform, .. } = inspection;
    let version = match version {
        0 => "not published".to_owned(),
        number => format!("version {number}"),
    };
    writeln!(text, "{model}  {version}  by {publisher}  {platform}")?;
    for (step, runs) in &inspection.pipeline {
        writeln!(text, "step    {step}: {runs}")?;
    }
    if inspection.traced {
        writeln!(text, "stages  {} for these shapes", inspection.plans.len())?;
    }
    match &inspection.coalescing {
        Coalescing::Batch => writeln!(text, "coalesces over: batch axis 0")?,
        Coalescing::Ragged { offsets } => writeln!(text, "coalesces over: ragged({offsets})")?,
        Coalescing::Alone { blocked_by } => writeln!(text, "does not coalesce: {blocked_by}")?,
    }
    for plan in &inspection.plans {
        write_plan(text, plan)?;
    }
    Ok(())
}

fn write_plan(text: &mut String, plan: &InspectedPlan) -> Result {
    writeln!(text, "\n{}", plan.title)?;
    if !plan.chosen.is_empty() {
        writeln!(text, "chosen  {}  (give others with --shape)", plan.chosen.join(", "))?;
    }
    if let Some(stage) = &plan.stage {
        write_stage(text, stage)?;
    }
    match &plan.report {
        Some(report) => write_report(text, report)?,
        None => writeln!(text, "no plan: the plugin knew every value")?,
    }
    match &plan.device {
        Some(Ok(device)) => write_device(text, device),
        Some(Err(reason)) => writeln!(text, "device  none, the CPU runs all of it: {reason}"),
        None => Ok(()),
    }
}

fn write_device(text: &mut String, report: &DeviceReport) -> Result {
    let [device, host, transfers] = report.counts();
    writeln!(text, "device  {}", report.device)?;
    writeln!(
        text,
        "runs    {device} steps on the device, {host} on the CPU, {transfers} transfers between them\n"
    )?;
    let steps = report.steps.iter().enumerate();
    let rows: Vec<Vec<String>> = steps
        .map(|(index, (name, place))| vec![format!("{index:4}  {name}"), place.name().to_owned()])
        .collect();
    write!(text, "{}", table(&["step of the device's program", "where"], &rows))
}

fn write_stage(text: &mut String, stage: &StageFacts) -> Result {
    for known in &stage.known {
        writeln!(text, "known   {known}")?;
    }
    for name in &stage.observe {
        writeln!(text, "observe {name}: its content decides what follows")?;
    }
    let batch = if stage.batched { "any batch" } else { "this batch only" };
    let kept = if stage.reusable { "kept" } else { "asked for in every call" };
    writeln!(text, "serves  {batch}, {kept}")
}

fn write_report(text: &mut String, report: &PlanReport) -> Result {
    write_signature(text, report)?;
    match &report.coalescing {
        Coalescing::Batch => writeln!(text, "joined  along axis 0, the batch")?,
        Coalescing::Ragged { offsets } => writeln!(text, "joined  along ragged({offsets})")?,
        Coalescing::Alone { blocked_by } => {
            writeln!(text, "joined  no: {blocked_by} stands in the way")?;
        }
    }
    let flops = si(report.cost.flops as f64);
    writeln!(text, "work    {flops}FLOP a run on at most {} threads", report.threads)?;
    let packed = report.matrices.iter().map(|matrix| matrix.bytes).sum();
    let prepared = report.steps.iter().map(|step| step.prepared_bytes).sum();
    let (plain, folded) = constant_bytes(report);
    writeln!(
        text,
        "weights {} packed, {} prepared for their ops, {} read in place, {} computed at compilation",
        bytes(packed),
        bytes(prepared),
        bytes(plain),
        bytes(folded)
    )?;
    let arena = report.slots.last().map_or(0, |slot| slot.offset + slot.bytes);
    let (slots, results) = (report.slots.len(), bytes(report.result_bytes));
    writeln!(text, "memory  {} arena in {slots} slots, {results} results", bytes(arena))?;
    writeln!(text, "\n{}", steps(report))?;
    write_memory(text, report)
}

/// Bytes of weights that are read in place, and of constants that were computed.
fn constant_bytes(report: &PlanReport) -> (u64, u64) {
    let sum = |named: bool| {
        let of = report.constants.iter().filter(|constant| constant.name.is_some() == named);
        of.map(|constant| constant.bytes).sum()
    };
    (sum(true), sum(false))
}

fn write_signature(text: &mut String, report: &PlanReport) -> Result {
    let shape_of = |place: ValuePlace| {
        let found = report.values.values().find(|value| value.place == place);
        found.map_or_else(String::new, |value| format!("  here {}", value.shape))
    };
    for (index, input) in report.inputs.iter().enumerate() {
        writeln!(text, "input   {input}{}", shape_of(ValuePlace::Input(index)))?;
    }
    for (output, result) in report.outputs.iter().zip(&report.results) {
        let shape = report.values.get(&result.value).map(|value| value.shape);
        let shape = shape.map_or_else(String::new, |shape| format!("  here {shape}"));
        writeln!(text, "output  {output}{shape}")?;
    }
    Ok(())
}

fn steps(report: &PlanReport) -> String {
    let mut rows = Vec::new();
    for (index, step) in report.steps.iter().enumerate() {
        let fused = !step.parts.is_empty();
        let label = if fused { "rows" } else { &*step.label };
        let mut makes = step.writes.iter().map(|id| (value(report, *id), place(report, step, *id)));
        let (made, place) = makes.next().unwrap_or_default();
        rows.push(vec![
            format!("{index:4}  {label}"),
            made,
            place,
            si(step.flops as f64),
            bytes(step.bytes_read),
            bytes(step.bytes_written),
        ]);
        rows.extend(makes.map(|(made, place)| vec![String::new(), made, place]));
        for part in &step.parts {
            rows.push(vec![
                format!("        {}", part.label),
                format!("[{}, {}]", part.rows, part.columns),
                String::new(),
                si(part.flops as f64),
            ]);
        }
    }
    table(&["step", "makes", "where and until", "FLOP", "reads", "writes"], &rows)
}

/// What a step makes: numbers, dtypes, shapes, classes.
pub(super) fn made(report: &PlanReport, step: &StepReport) -> String {
    let each: Vec<String> = step.writes.iter().map(|id| value(report, *id)).collect();
    each.join(", ")
}

fn value(report: &PlanReport, id: u32) -> String {
    let Some(value) = report.values.get(&id) else { return String::new() };
    let class = value.rows.as_ref().map_or_else(String::new, |rows| format!(" {rows}"));
    format!("%{id} {} {}{class}", value.dtype, value.shape)
}

/// Where a value that a step makes lies, and how long.
fn place(report: &PlanReport, step: &StepReport, id: u32) -> String {
    let Some(value) = report.values.get(&id) else { return String::new() };
    let in_place = if step.in_place { " in place" } else { "" };
    let until = value.last_read.map_or_else(|| "here".to_owned(), |step| step.to_string());
    match value.place {
        ValuePlace::Slot(slot) => {
            let offset = report.slots.get(slot).map_or(0, |slot| slot.offset);
            format!("@{offset}{in_place} ..{until}")
        }
        ValuePlace::Result(_) => match &value.name {
            Some(name) => format!("result {name}"),
            None => "result".to_owned(),
        },
        ValuePlace::Input(_)
        | ValuePlace::Constant(_)
        | ValuePlace::State(_)
        | ValuePlace::Columns { .. }
        | ValuePlace::None => "inside".to_owned(),
    }
}

fn write_memory(text: &mut String, report: &PlanReport) -> Result {
    let mut rows: Vec<Vec<String>> = Vec::new();
    for slot in &report.slots {
        let values: Vec<String> = slot.values.iter().map(|value| format!("%{value}")).collect();
        let place = format!("@{}", slot.offset);
        rows.push(vec![format!("slot {place}: {}", values.join(" ")), bytes(slot.bytes)]);
    }
    for matrix in &report.matrices {
        let names =
            if matrix.names.is_empty() { "computed".into() } else { matrix.names.join(" | ") };
        let label = format!("packed f32 {}x{}: {names}", matrix.k, matrix.n);
        rows.push(vec![label, bytes(matrix.bytes)]);
    }
    for constant in &report.constants {
        let name = constant.name.as_deref().unwrap_or("computed");
        let label = format!("constant {} {}: {name}", constant.dtype, constant.shape);
        rows.push(vec![label, bytes(constant.bytes)]);
    }
    if rows.is_empty() {
        return Ok(());
    }
    write!(text, "{}", table(&["memory", "bytes"], &rows))
}
