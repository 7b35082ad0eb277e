//! Reports say what a run does, and profilers see all of it.

use crate::support::{Random, builder, f32s, plan, plan_on, weight};
use aimass_graph::{Coalescing, Dim, OpFamily, Plan, Profiler, ValuePlace};
use aimass_tensor::DType;
use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

const K: usize = 16;
const N: usize = 32;

/// `softmax(relu(x w + bias) transposed)`, and `x w` beside it.
fn layered(threads: usize) -> Plan {
    let mut b = builder();
    let mut random = Random(3);
    let x = b.input("x", DType::F32, &[Dim::Batch, Dim::Fixed(4), Dim::Fixed(K as u64)]).unwrap();
    let w = weight(&mut b, &[K as u64, N as u64], &random.numbers(K * N));
    let bias = weight(&mut b, &[N as u64], &random.numbers(N));
    let y = b.linear(x, w, Some(bias), false).unwrap();
    let y = b.relu(y).unwrap();
    let y = b.transpose(y, &[0, 2, 1]).unwrap();
    let y = b.softmax(y, 2).unwrap();
    b.output("y", y).unwrap();
    plan_on(b, threads)
}

#[test]
fn a_report_counts_operations_bytes_and_memory() {
    let plan = layered(1);
    let report = plan.report(&[f32s(&[5, 4, K], &vec![0.0; 5 * 4 * K])]).unwrap();
    let labels: Vec<&str> = report.steps.iter().map(|step| &*step.label).collect();
    assert_eq!(labels, ["rows: linear 16x32 + bias Relu", "transpose", "rows: softmax"]);
    let [rows, transpose, softmax] = &report.steps[..] else { panic!("three steps") };
    assert_eq!(rows.flops, (2 * 5 * 4 * K * N) as u64);
    assert_eq!((rows.family, transpose.family), (OpFamily::Product, OpFamily::Movement));
    assert_eq!(softmax.family, OpFamily::Normalization);
    assert_eq!(rows.bytes_written, (5 * 4 * N * 4) as u64);
    let packed = report.matrices[rows.matrices[0]].bytes;
    assert_eq!(rows.bytes_read, (5 * 4 * K * 4 + N * 4) as u64 + packed);
    assert_eq!(rows.parts[0].bytes, rows.bytes_read + rows.bytes_written);
    assert_eq!(report.matrices[0].names[0].as_ref(), "w");
    let constant = &report.constants[0];
    assert_eq!((constant.name.as_deref(), constant.bytes), (Some("w"), (N * 4) as u64));
    assert_eq!(report.coalescing, Coalescing::Batch);
    assert_eq!(report.rows.rows, 5);
    assert_eq!(report.cost, plan.cost(&[f32s(&[5, 4, K], &vec![0.0; 5 * 4 * K])]).unwrap());
}

#[test]
fn every_read_names_the_step_that_made_it() {
    let report = layered(1).report(&[f32s(&[2, 4, K], &vec![0.0; 2 * 4 * K])]).unwrap();
    let from = |step: usize| report.steps[step].reads.iter().filter_map(|read| read.from);
    assert_eq!(from(0).count(), 0);
    assert_eq!(from(1).collect::<Vec<_>>(), [0]);
    assert_eq!(from(2).collect::<Vec<_>>(), [1]);
    let value = |step: usize| &report.values[&report.steps[step].writes[0]];
    assert_eq!((value(0).made_by, value(0).last_read), (Some(0), Some(1)));
    assert!(matches!(value(0).place, ValuePlace::Slot(_)));
    assert_eq!(value(2).name.as_deref(), Some("y"));
    assert_eq!((value(2).place, value(2).last_read), (ValuePlace::Result(0), None));
    assert_eq!(value(0).rows, Some(Dim::Batch));
    assert_eq!(
        (report.results[0].value, report.results[0].from),
        (report.steps[2].writes[0], Some(2))
    );
    let mut end = 0;
    for slot in &report.slots {
        assert!(slot.offset >= end && slot.offset.is_multiple_of(64), "{slot:?}");
        end = slot.offset + slot.bytes;
    }
}

#[test]
fn what_reads_only_rows_of_a_table_counts_only_those() {
    let mut b = builder();
    let table = weight(&mut b, &[1000, 8], &vec![0.5; 8000]);
    let ids = b.input("ids", DType::I32, &[Dim::Batch]).unwrap();
    let y = b.gather(table, ids, 0).unwrap();
    b.output("y", y).unwrap();
    let plan = plan(b);
    let ids = aimass_tensor::Tensor::from_slice(&[3], &[1i32, 2, 3]).unwrap();
    let report = plan.report(&[ids]).unwrap();
    assert_eq!(report.steps[0].bytes_read, (3 * 8 * 4 + 3 * 4) as u64);
}

#[test]
fn shapes_that_do_not_fit_are_errors() {
    assert!(layered(1).report(&[f32s(&[2, 3, K], &vec![0.0; 2 * 3 * K])]).is_err());
    assert!(layered(1).report(&[]).is_err());
}

/// Counts what it sees; marks are numbers of their own.
#[derive(Default)]
struct Counting {
    marks: AtomicUsize,
    steps: Mutex<Vec<usize>>,
    parts: Mutex<HashMap<(usize, usize), usize>>,
}

impl Profiler for Counting {
    type Mark = usize;

    fn mark(&self) -> usize {
        self.marks.fetch_add(1, Ordering::Relaxed)
    }

    fn step(&self, step: usize, since: usize) {
        assert!(since < self.marks.load(Ordering::Relaxed));
        self.steps.lock().unwrap().push(step);
    }

    fn part(&self, step: usize, part: usize, _since: usize) {
        *self.parts.lock().unwrap().entry((step, part)).or_default() += 1;
    }
}

#[test]
fn a_profiler_sees_every_step_once_in_order_and_every_part_once_a_block() {
    let plan = layered(2);
    let inputs = [f32s(&[900, 4, K], &Random(8).numbers(900 * 4 * K))];
    let watched = Counting::default();
    let outputs = plan.run_profiled(&inputs, None, &watched).unwrap();
    assert_eq!(outputs[0].bytes(), plan.run(&inputs, None).unwrap()[0].bytes());
    let report = plan.report(&inputs).unwrap();
    assert_eq!(*watched.steps.lock().unwrap(), [0, 1, 2]);
    let parts = watched.parts.lock().unwrap();
    for (index, step) in report.steps.iter().enumerate() {
        for part in 0..step.parts.len() {
            assert!(parts.get(&(index, part)).is_some_and(|&blocks| blocks > 1), "{parts:?}");
        }
    }
    let all: usize = report.steps.iter().map(|step| step.parts.len()).sum();
    assert_eq!(parts.len(), all);
}
