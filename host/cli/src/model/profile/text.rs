//! A profile as tables.

use super::device_times::{self, DeviceProfile};
use super::machine::Machine;
use super::times::PlanTimes;
use super::{Profiled, ProfiledPlan, Times};
use crate::model::figures::{bytes, si, table};
use aimass_graph::{OpFamily, PlanReport};
use std::collections::BTreeMap;
use std::fmt::{Result, Write};

/// Work of one kind, and the time that it took.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Work {
    pub(super) calls: usize,
    pub(super) us: f64,
    pub(super) flops: u64,
    pub(super) bytes: u64,
}

/// Everything; tables have at most `top` rows, 0 being all.
pub(super) fn of(profiled: &Profiled, top: usize) -> String {
    let mut text = String::new();
    write(&mut text, profiled, top).expect("writing to a string does not fail");
    text
}

fn write(text: &mut String, profiled: &Profiled, top: usize) -> Result {
    let Machine { threads, level, flops, bandwidth } = profiled.machine;
    writeln!(text, "{} version {}", profiled.model, profiled.version)?;
    writeln!(text, "inputs  {}  ({})", profiled.inputs, profiled.source)?;
    writeln!(
        text,
        "machine {}FLOP/s multiply-adds ({level:?}), {}B/s triad, on {threads} threads",
        si(flops),
        si(bandwidth)
    )?;
    writeln!(text, "whole   {:.1} µs a run, median of {}\n", profiled.whole_us, profiled.runs)?;
    let rooms = profiled.rooms.iter().map(|(name, us)| {
        vec![name.to_string(), format!("{us:.1}"), percent(*us, profiled.whole_us)]
    });
    writeln!(text, "{}", table(&["pipeline step", "µs", "share"], &rooms.collect::<Vec<_>>()))?;
    for plan in &profiled.plans {
        write_plan(text, &profiled.machine, plan, top)?;
    }
    if profiled.calls_left_out > 0 {
        writeln!(text, "{} further plan calls are not in these tables", profiled.calls_left_out)?;
    }
    Ok(())
}

fn write_plan(text: &mut String, machine: &Machine, plan: &ProfiledPlan, top: usize) -> Result {
    let ProfiledPlan { title, calls, report, times } = plan;
    let packed: u64 = report.matrices.iter().map(|matrix| matrix.bytes).sum();
    let plain: u64 = report.constants.iter().map(|constant| constant.bytes).sum();
    let prepared: u64 = report.steps.iter().map(|step| step.prepared_bytes).sum();
    let run_us = match times {
        Times::Cpu(times) => times.run_us,
        Times::Device(times) => times.run_us,
    };
    writeln!(text, "{title}: {calls} calls a run, {run_us:.1} µs each by itself")?;
    writeln!(
        text,
        "  {}FLOP, arena and results {}, weights {} packed, {} prepared, {} in place",
        si(report.cost.flops as f64),
        bytes(report.cost.arena_bytes),
        bytes(packed),
        bytes(prepared),
        bytes(plain)
    )?;
    match times {
        Times::Cpu(times) => write_times(text, machine, (report, times), top),
        Times::Device(times) => write_device(text, times, top),
    }
}

/// The program of a device: by op, then by step.
fn write_device(text: &mut String, times: &DeviceProfile, top: usize) -> Result {
    let [device, host, transfers] = times.report.counts();
    writeln!(
        text,
        "  on {}: {device} steps there, {host} on the CPU, {transfers} transfers between them;\n  \
         one by one {:.1} µs by the device's clock, of which inputs {:.1} and results {:.1}",
        times.report.device,
        times.all_us(),
        times.inputs_us,
        times.results_us
    )?;
    let ops: BTreeMap<String, Work> = device_times::by_op(times);
    let table_of = |head: &str, mut works: Vec<(String, Work)>, top: usize| {
        let left = keep_slowest(&mut works, top);
        let line = |(label, work): &(String, Work)| {
            let share = percent(work.us, times.all_us());
            vec![label.clone(), work.calls.to_string(), format!("{:.1}", work.us), share]
        };
        let mut rows: Vec<Vec<String>> = works.iter().map(line).collect();
        rows.extend(left.map(|(label, us)| {
            vec![label, String::new(), format!("{us:.1}"), percent(us, times.all_us())]
        }));
        table(&[head, "calls", "µs", "share"], &rows)
    };
    writeln!(text, "\n{}", table_of("op, where", ops.into_iter().collect(), top))?;
    writeln!(text, "{}", table_of("step of the device's program", times.by_step(), top))
}

fn write_times(
    text: &mut String,
    machine: &Machine,
    (report, times): (&PlanReport, &PlanTimes),
    top: usize,
) -> Result {
    let plan = (report, times);
    let all: f64 = times.steps.iter().map(|step| step.us).sum();
    let head = ["", "calls", "µs", "share", "FLOP", "bytes", "FLOP/s", "B/s", "of peak"];
    let named = |name: &'static str| {
        let mut head = head;
        head[0] = name;
        head
    };
    let families = by_family(plan);
    writeln!(text, "\n{}", rows(machine, &named("kind of work"), all, (families, 0)))?;
    let ops = by_op(plan);
    writeln!(text, "{}", rows(machine, &named("op, parts of fusions apart"), all, (ops, top)))?;
    let steps = by_step(plan);
    writeln!(text, "{}", rows(machine, &named("step, fusions whole"), all, (steps, top)))
}

/// A table of the rows that took longest.
fn rows(
    machine: &Machine,
    head: &[&str],
    all: f64,
    (mut works, top): (Vec<(String, Work)>, usize),
) -> String {
    let left = keep_slowest(&mut works, top);
    let mut rows: Vec<Vec<String>> =
        works.iter().map(|(label, work)| row(machine, label, work, all)).collect();
    rows.extend(
        left.map(|(label, us)| vec![label, String::new(), format!("{us:.1}"), percent(us, all)]),
    );
    table(head, &rows)
}

/// Leaves the `top` works that took longest, 0 being all of them; answers how many others there were,
/// with their time.
fn keep_slowest(works: &mut Vec<(String, Work)>, top: usize) -> Option<(String, f64)> {
    works.sort_by(|a, b| b.1.us.total_cmp(&a.1.us));
    let left = if top == 0 { 0 } else { works.len().saturating_sub(top) };
    let rest = works.split_off(works.len() - left);
    let us: f64 = rest.iter().map(|(_, work)| work.us).sum();
    (left > 0).then(|| (format!("{left} more"), us))
}

fn row(machine: &Machine, label: &str, work: &Work, all: f64) -> Vec<String> {
    let rate = |amount: u64| match work.us > 0.0 {
        true => si(amount as f64 / work.us * 1e6),
        false => String::new(),
    };
    let share = machine.share(work.flops, work.bytes, work.us);
    let share = share.map_or_else(String::new, |share| {
        let of = if share.of_compute { "compute" } else { "memory" };
        format!("{:.0} % {of}", 100.0 * share.of_peak)
    });
    vec![
        label.to_owned(),
        work.calls.to_string(),
        format!("{:.1}", work.us),
        percent(work.us, all),
        si(work.flops as f64),
        bytes(work.bytes),
        rate(work.flops),
        rate(work.bytes),
        share,
    ]
}

fn percent(part: f64, all: f64) -> String {
    if all > 0.0 { format!("{:.1} %", 100.0 * part / all) } else { String::new() }
}

fn each_op<'a>(
    (report, times): (&'a PlanReport, &'a PlanTimes),
) -> impl Iterator<Item = (&'a str, OpFamily, Work)> {
    report.steps.iter().zip(&times.steps).flat_map(|(step, times)| {
        let bytes = step.bytes_read.saturating_add(step.bytes_written);
        let whole = Work { calls: 1, us: times.us, flops: step.flops, bytes };
        let alone = (&*step.label, step.family, whole);
        let parts = step.parts.iter().zip(&times.parts_us).map(|(part, &us)| {
            let work = Work { calls: 1, us, flops: part.flops, bytes: part.bytes };
            (&*part.label, part.family, work)
        });
        parts.chain(step.parts.is_empty().then_some(alone))
    })
}

/// Work and time by op, the parts of fusions by themselves.
pub(super) fn by_op(plan: (&PlanReport, &PlanTimes)) -> Vec<(String, Work)> {
    summed(each_op(plan).map(|(label, _, work)| (label.to_owned(), work)))
}

/// Work and time by kind of work.
pub(super) fn by_family(plan: (&PlanReport, &PlanTimes)) -> Vec<(String, Work)> {
    summed(each_op(plan).map(|(_, family, work)| (family.name().to_owned(), work)))
}

fn summed(works: impl Iterator<Item = (String, Work)>) -> Vec<(String, Work)> {
    let mut sums: BTreeMap<String, Work> = BTreeMap::new();
    for (label, work) in works {
        let sum = sums.entry(label).or_default();
        sum.calls += work.calls;
        sum.us += work.us;
        sum.flops = sum.flops.saturating_add(work.flops);
        sum.bytes = sum.bytes.saturating_add(work.bytes);
    }
    sums.into_iter().collect()
}

fn by_step((report, times): (&PlanReport, &PlanTimes)) -> Vec<(String, Work)> {
    let steps = report.steps.iter().zip(&times.steps).enumerate();
    let each = steps.map(|(index, (step, times))| {
        let bytes = step.bytes_read.saturating_add(step.bytes_written);
        let work = Work { calls: 1, us: times.us, flops: step.flops, bytes };
        (format!("{index:4}  {}", cut(&step.label)), work)
    });
    each.collect()
}

/// A label that leaves room for the figures.
fn cut(label: &str) -> String {
    const LEN_MAX: usize = 60;
    match label.chars().count() > LEN_MAX {
        true => label.chars().take(LEN_MAX - 1).chain(['…']).collect(),
        false => label.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn work(calls: usize, us: f64) -> Work {
        Work { calls, us, flops: 10, bytes: 20 }
    }

    #[test]
    fn equal_labels_are_summed() {
        let works = [("a", 1.0), ("b", 2.0), ("a", 4.0)];
        let summed = summed(works.iter().map(|(label, us)| ((*label).to_owned(), work(1, *us))));
        let a = Work { calls: 2, us: 5.0, flops: 20, bytes: 40 };
        assert_eq!(summed, [("a".to_owned(), a), ("b".to_owned(), work(1, 2.0))]);
    }

    #[test]
    fn a_plan_on_a_device_is_told_by_op_and_by_step() {
        use aimass_graph::{DeviceReport, StepPlace};
        let steps = vec![("linear".into(), StepPlace::Device), ("sort".into(), StepPlace::Host)];
        let times = DeviceProfile {
            report: DeviceReport { device: "GPU 7".into(), steps, recorded: 0 },
            run_us: 11.0,
            inputs_us: 1.0,
            steps_us: vec![6.0, 2.0],
            results_us: 1.0,
        };
        let mut text = String::new();
        write_device(&mut text, &times, 1).unwrap();
        for part in [
            "on GPU 7: 1 steps there, 1 on the CPU, 0 transfers",
            "one by one 10.0 µs",
            "linear, device",
            "60.0 %",
            "   0  linear, device",
            "1 more",
        ] {
            assert!(text.contains(part), "{part:?} is not in {text}");
        }
        assert!(!text.contains("sort"), "{text}");
    }

    #[test]
    fn tables_hold_the_slowest_rows_and_sum_the_rest() {
        let level = aimass_cpu::Level::Scalar;
        let machine = Machine { threads: 1, level, flops: 1e9, bandwidth: 1e9 };
        let works: Vec<(String, Work)> =
            (0..5).map(|i| (format!("op{i}"), work(1, f64::from(i)))).collect();
        let head = ["op", "calls", "µs", "share", "FLOP", "bytes", "FLOP/s", "B/s", "of peak"];
        let text = rows(&machine, &head, 10.0, (works.clone(), 2));
        assert!(text.contains("op4") && text.contains("op3") && !text.contains("op2"), "{text}");
        assert!(text.contains("3 more") && text.contains("30.0 %"), "{text}");
        assert!(text.contains("1 % memory") || text.contains("0 % memory"), "{text}");
        assert!(rows(&machine, &head, 10.0, (works, 0)).contains("op0"));
    }
}
