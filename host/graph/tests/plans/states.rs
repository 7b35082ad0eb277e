//! State of a plan: an accumulator, and what happens around it.

use crate::support::{builder, f32s, plan};
use aimass_graph::{Coalescing, Dim, Plan, StateInit};
use aimass_tensor::{DType, Tensor};

/// `sum += row[i]`, answers the sum before the run.
fn accumulator(init: Option<f32>) -> Plan {
    let mut b = builder();
    let table = b.input("table", DType::F32, &[Dim::Dynamic("n".into()), Dim::Fixed(2)]).unwrap();
    let index = b.input("index", DType::I64, &[]).unwrap();
    let init = match init {
        Some(value) => StateInit::Value(b.constant(f32s(&[2], &[value; 2])).unwrap()),
        None => StateInit::Zeros,
    };
    let sum = b.state("sum", DType::F32, &[2], init).unwrap();
    let row = b.gather(table, index, 0).unwrap();
    let next = b.add(sum, row).unwrap();
    b.state_write("sum", next).unwrap();
    b.output("before", sum).unwrap();
    plan(b)
}

fn inputs(index: i64) -> [Tensor; 2] {
    let table = f32s(&[3, 2], &[1.0, 10.0, 2.0, 20.0, 3.0, 30.0]);
    [table, Tensor::from_slice(&[], &[index]).unwrap()]
}

#[test]
fn a_state_accumulates_run_after_run() {
    let plan = accumulator(Some(0.5));
    let mut state = plan.new_state();
    assert_eq!(state.bytes(), 8);
    for (index, before) in [(0, [0.5, 0.5]), (2, [1.5, 10.5]), (1, [4.5, 40.5]), (0, [6.5, 60.5])] {
        let outputs = plan.run(&inputs(index), Some(&mut state)).unwrap();
        assert_eq!(outputs[0].as_slice::<f32>().unwrap(), before);
    }
    let fresh = plan.run(&inputs(0), Some(&mut plan.new_state())).unwrap();
    assert_eq!(fresh[0].as_slice::<f32>().unwrap(), [0.5, 0.5]);
}

#[test]
fn a_failed_run_leaves_the_state_as_it_was() {
    let plan = accumulator(None);
    let mut state = plan.new_state();
    plan.run(&inputs(0), Some(&mut state)).unwrap();
    assert_eq!(plan.run(&inputs(3), Some(&mut state)).unwrap_err().code(), "index");
    let outputs = plan.run(&inputs(0), Some(&mut state)).unwrap();
    assert_eq!(outputs[0].as_slice::<f32>().unwrap(), [1.0, 10.0]);
}

#[test]
fn without_a_slot_a_plan_starts_from_its_initial_state() {
    let plan = accumulator(None);
    for _ in 0..2 {
        let outputs = plan.run(&inputs(1), None).unwrap();
        assert_eq!(outputs[0].as_slice::<f32>().unwrap(), [0.0, 0.0]);
    }
}

#[test]
fn a_state_of_another_plan_is_refused_and_states_run_alone() {
    let (zero, half) = (accumulator(None), accumulator(Some(0.5)));
    let error = zero.run(&inputs(0), Some(&mut half.new_state())).unwrap_err();
    assert_eq!(error.code(), "state");
    let blocked = Coalescing::Alone { blocked_by: "state \"sum\"".to_owned() };
    assert_eq!(*zero.coalescing(), blocked);
}

#[test]
fn wrong_states_are_refused_by_the_builder() {
    let mut b = builder();
    let x = b.input("x", DType::F32, &[Dim::Fixed(3)]).unwrap();
    b.state("s", DType::F32, &[2], StateInit::Zeros).unwrap();
    assert_eq!(b.state("s", DType::F32, &[2], StateInit::Zeros).unwrap_err().code(), "name");
    let init = StateInit::Value(x);
    assert_eq!(b.state("t", DType::F32, &[3], init).unwrap_err().code(), "shape");
    assert_eq!(b.state_write("s", x).unwrap_err().code(), "shape");
    assert_eq!(b.state_write("other", x).unwrap_err().code(), "unknown-state");
    let huge = b.state("huge", DType::F64, &[1 << 30], StateInit::Zeros).unwrap_err();
    assert_eq!(huge.code(), "graph");
}
