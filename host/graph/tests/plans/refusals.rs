//! Hostile graphs and inputs: refused by code, never a panic.

use crate::support::{builder, f32s, plan, weight};
use aimass_graph::{
    CompileOptions, Dim, GraphBuilder, GraphLimits, Plan, StateInit, ValueId, compile,
};
use aimass_tensor::{DType, Tensor};

fn offsets(values: &[u32]) -> Tensor {
    Tensor::from_slice(&[values.len()], values).unwrap()
}

fn ragged_plan() -> Plan {
    let mut b = builder();
    let own = b.offsets("offsets").unwrap();
    let x = b.input("x", DType::F32, &[Dim::Ragged("offsets".into()), Dim::Fixed(2)]).unwrap();
    let per_sequence = b.input("scale", DType::F32, &[Dim::Batch, Dim::Fixed(2)]).unwrap();
    let mean = b.ragged_mean(x, own).unwrap();
    let y = b.mul(mean, per_sequence).unwrap();
    b.output("y", y).unwrap();
    plan(b)
}

#[test]
fn inputs_are_checked_against_the_signature() {
    let plan = ragged_plan();
    let x = |rows: usize| f32s(&[rows, 2], &vec![1.0; 2 * rows]);
    let code = |inputs: &[Tensor]| {
        let error = plan.run(inputs, None).unwrap_err();
        assert_eq!(plan.check(inputs).unwrap_err(), error);
        assert_eq!(plan.cost(inputs).unwrap_err(), error);
        error.code()
    };
    assert!(plan.run(&[offsets(&[0, 1, 3]), x(3), x(2)], None).is_ok());
    assert_eq!(code(&[offsets(&[0, 1, 3]), x(3)]), "input-count");
    assert_eq!(code(&[offsets(&[0, 1, 3]), x(4), x(2)]), "shape-mismatch");
    assert_eq!(code(&[offsets(&[0, 1, 3]), x(3), x(3)]), "shape-mismatch");
    assert_eq!(code(&[offsets(&[0, 1, 3]), f32s(&[3], &[0.0; 3]), x(2)]), "shape-mismatch");
    assert_eq!(code(&[offsets(&[0, 1, 3]), f32s(&[3, 1], &[0.0; 3]), x(2)]), "shape-mismatch");
    assert_eq!(code(&[offsets(&[1, 3]), x(3), x(1)]), "offsets");
    assert_eq!(code(&[offsets(&[0, 4, 3]), x(3), x(2)]), "offsets");
    assert_eq!(code(&[offsets(&[]), x(0), x(0)]), "offsets");
    let floats = f32s(&[2], &[0.0, 3.0]);
    assert_eq!(code(&[floats, x(3), x(1)]), "dtype");
    let error = plan.run(&[offsets(&[0, 1, 3]), x(4), x(2)], None).unwrap_err();
    let message =
        "input \"x\": expected shape [ragged(offsets), 2] with ragged(offsets) = 3, got [4, 2]";
    assert_eq!(error.to_string(), message);
}

#[test]
fn equal_dynamic_names_are_equal_extents() {
    let mut b = builder();
    let n = Dim::Dynamic("n".into());
    let x = b.input("x", DType::F32, &[n.clone(), Dim::Dynamic("m".into())]).unwrap();
    let y = b.input("y", DType::F32, &[n]).unwrap();
    b.output("x", x).unwrap();
    b.output("y", y).unwrap();
    let plan = plan(b);
    let zeros = |shape: &[usize]| f32s(shape, &vec![0.0; shape.iter().product()]);
    assert!(plan.run(&[zeros(&[2, 3]), zeros(&[2])], None).is_ok());
    assert!(plan.run(&[zeros(&[3, 3]), zeros(&[2])], None).is_err());
}

#[test]
fn a_run_is_charged_before_it_starts() {
    let mut b = builder();
    let x = b.input("x", DType::F32, &[Dim::Dynamic("n".into()), Dim::Fixed(1)]).unwrap();
    let y = b.input("y", DType::F32, &[Dim::Fixed(1), Dim::Dynamic("m".into())]).unwrap();
    let sum = b.add(x, y).unwrap();
    b.output("sum", sum).unwrap();
    let options = CompileOptions { arena_bytes_max: 1 << 20, ..Default::default() };
    let plan = compile(b.finish().unwrap(), &options).unwrap();
    let inputs = |n: usize| [f32s(&[n, 1], &vec![0.0; n]), f32s(&[1, n], &vec![0.0; n])];
    assert_eq!(plan.cost(&inputs(256)).unwrap().arena_bytes, 256 * 256 * 4);
    assert!(plan.run(&inputs(512), None).is_ok());
    let error = plan.run(&inputs(513), None).unwrap_err();
    assert_eq!((error.code(), plan.cost(&inputs(513))), ("arena-bytes", Err(error)));
}

#[test]
fn derived_extents_that_overflow_are_refused() {
    let mut b = builder();
    let mut x = b.input("x", DType::F32, &[Dim::Dynamic("n".into())]).unwrap();
    for _ in 0..8 {
        x = b.tile(x, &[1 << 10]).unwrap();
    }
    b.output("x", x).unwrap();
    let plan = plan(b);
    assert_eq!(plan.run(&[f32s(&[1], &[0.0])], None).unwrap_err().code(), "shape-mismatch");
    assert!(plan.run(&[f32s(&[0], &[])], None).is_ok());
}

#[test]
fn graphs_have_limits() {
    let limits = GraphLimits { nodes_max: 5, inputs_max: 1, outputs_max: 1, ..Default::default() };
    let mut b = GraphBuilder::new(limits);
    let mut x = b.input("x", DType::F32, &[Dim::Batch]).unwrap();
    assert_eq!(b.input("y", DType::F32, &[Dim::Batch]).unwrap_err().code(), "graph");
    for _ in 0..5 {
        x = b.exp(x).unwrap();
    }
    assert_eq!(b.exp(x).unwrap_err().code(), "nodes");
    b.output("y", x).unwrap();
    assert_eq!(b.output("z", x).unwrap_err().code(), "graph");
    let mut b = builder();
    let large = Tensor::from_slice(&[1 << 18 | 1], &vec![0f32; 1 << 18 | 1]).unwrap();
    assert_eq!(b.constant(large).unwrap_err().code(), "constant-bytes");
    let one = b.constant(f32s(&[1], &[0.0])).unwrap();
    assert_eq!(b.broadcast(one, &[Dim::Fixed(1 << 40)]).unwrap_err().code(), "elements");
    assert_eq!(b.broadcast(one, &[Dim::Fixed(u64::MAX)]).unwrap_err().code(), "elements");
    assert_eq!(b.finish().unwrap_err().code(), "no-output");
}

#[test]
fn wrong_arguments_of_the_builder_are_refused_by_code() {
    let mut b = builder();
    let x = b.input("x", DType::F32, &[Dim::Batch, Dim::Fixed(4)]).unwrap();
    let o = b.offsets("o").unwrap();
    let unknown = ValueId(99);
    let deep = vec![Dim::Fixed(1); 12];
    let ragged = Dim::Ragged("nothing".into());
    let state = b.state("s", DType::Q4K, &[256], StateInit::Zeros);
    for (error, code) in [
        (b.exp(unknown).unwrap_err(), "unknown-value"),
        (b.output("y", unknown).unwrap_err(), "unknown-value"),
        (b.state_append(&[unknown]).unwrap_err(), "unknown-value"),
        (b.state_append(&[x]).unwrap_err(), "op"),
        (b.input("x", DType::F32, &[]).unwrap_err(), "name"),
        (b.input("", DType::F32, &[]).unwrap_err(), "name"),
        (b.input("%", DType::F32, &[]).unwrap_err(), "name"),
        (b.input(&"x".repeat(129), DType::F32, &[]).unwrap_err(), "name"),
        (b.input("b", DType::Bytes, &[]).unwrap_err(), "dtype"),
        (b.input("q", DType::Q4K, &[]).unwrap_err(), "dtype"),
        (b.input("r", DType::F32, &[ragged]).unwrap_err(), "unknown-dim"),
        (b.input("d", DType::F32, &deep).unwrap_err(), "shape"),
        (b.input("c", DType::F32, &[Dim::Fixed(1), Dim::Batch]).unwrap_err(), "dim-class"),
        (b.ragged_mean(x, o).unwrap_err(), "offsets"),
        (b.ragged_mean(x, x).unwrap_err(), "offsets"),
        (b.positions(x).unwrap_err(), "offsets"),
        (b.slice(x, 2, 0, 1, 1).unwrap_err(), "axis"),
        (b.reshape(x, &[Dim::Batch, Dim::Dynamic("z".into())]).unwrap_err(), "unknown-dim"),
        (b.clamp(x, f64::NAN, 1.0).unwrap_err(), "argument"),
        (state.unwrap_err(), "dtype"),
    ] {
        assert_eq!(error.code(), code, "{error}");
    }
}

#[test]
fn a_graph_of_many_nodes_compiles_in_reasonable_time() {
    let mut b = builder();
    let x = b.input("x", DType::F32, &[Dim::Batch, Dim::Fixed(4)]).unwrap();
    let w = weight(&mut b, &[4, 4], &[0.1; 16]);
    let mut values = vec![x];
    for i in 0..3000usize {
        let y = match i % 4 {
            0 => b.linear(values[i], w, None, false),
            1 => b.add(values[i], values[i / 2]),
            2 => b.tanh(values[i]),
            _ => b.transpose(values[i], &[0, 1]),
        };
        values.push(y.unwrap());
    }
    b.output("y", values[3000]).unwrap();
    let plan = plan(b);
    let outputs = plan.run(&[f32s(&[1, 4], &[1.0; 4])], None).unwrap();
    assert!(outputs[0].as_slice::<f32>().unwrap().iter().all(|x| x.is_finite()));
}
