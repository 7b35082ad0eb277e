//! Extents that an op finds while a plan runs, and what depends on them.

use crate::support::{builder, f32s, plan};
use aimass_graph::{CompileOptions, Dim, GraphBuilder, Suppression, ValueId, compile};
use aimass_tensor::{DType, Tensor};

fn i64s(values: &[i64]) -> Vec<Tensor> {
    values.iter().map(|&value| Tensor::from_slice(&[], &[value]).unwrap()).collect()
}

/// `x` [n, 2] and the rows of it from `start` below `end`.
fn sliced(b: &mut GraphBuilder) -> [ValueId; 2] {
    let x = b.input("x", DType::F32, &[Dim::Dynamic("n".into()), Dim::Fixed(2)]).unwrap();
    let start = b.input("start", DType::I64, &[]).unwrap();
    let end = b.input("end", DType::I64, &[]).unwrap();
    [x, b.dynamic_slice(x, 0, start, end).unwrap()]
}

fn inputs(start: i64, end: i64) -> Vec<Tensor> {
    let x = f32s(&[4, 2], &[1., 2., 3., 4., 5., 6., 7., 8.]);
    [vec![x], i64s(&[start, end])].concat()
}

#[test]
fn what_follows_from_a_found_extent_is_found_too() {
    let mut b = builder();
    let [x, part] = sliced(&mut b);
    let pairs = b.concat(&[part, x], 0).unwrap();
    let flat = b.reshape(part, &[Dim::Dynamic("".into())]).unwrap();
    let twice = b.add(flat, flat).unwrap();
    let halves = b.reshape(twice, &[Dim::Dynamic("".into()), Dim::Fixed(4)]).unwrap();
    let shape = b.shape_of(pairs).unwrap();
    let sum = b.reduce_sum(part, &[0], false).unwrap();
    for (name, value) in [("halves", halves), ("shape", shape), ("sum", sum), ("pairs", pairs)] {
        b.output(name, value).unwrap();
    }
    let plan = plan(b);
    for (start, end, rows) in [(0, 4, 4), (1, 3, 2), (3, 2, 0), (0, 99, 4), (7, 9, 0)] {
        let outputs = plan.run(&inputs(start, end), None).unwrap();
        assert_eq!(outputs[0].shape().dims(), [rows / 2, 4], "{start}..{end}");
        assert_eq!(outputs[1].as_slice::<i64>().unwrap(), [rows as i64 + 4, 2]);
        let own: Vec<f32> = (0..rows * 2).map(|i| (start as usize * 2 + i + 1) as f32).collect();
        let doubled: Vec<f32> = own.iter().map(|x| x * 2.0).collect();
        assert_eq!(outputs[0].as_slice::<f32>().unwrap(), doubled);
        let sums = [0, 1].map(|i| own.iter().skip(i).step_by(2).sum::<f32>());
        assert_eq!(outputs[2].as_slice::<f32>().unwrap(), sums);
        assert_eq!(outputs[3].as_slice::<f32>().unwrap()[..own.len()], own);
        assert_eq!(outputs[3].byte_len(), (own.len() + 8) * 4);
    }
    // Three rows are no multiple of four elements.
    let error = plan.run(&inputs(0, 3), None).unwrap_err();
    assert_eq!(error.code(), "shape-mismatch");
    let error = plan.run(&inputs(-1, 3), None).unwrap_err();
    assert_eq!(error.code(), "index");
}

#[test]
fn extents_that_must_be_equal_are_checked_when_they_are_found() {
    let mut b = builder();
    let [_, part] = sliced(&mut b);
    let w = b.constant(f32s(&[3, 2], &[1.0; 6])).unwrap();
    let turned = b.transpose(part, &[1, 0]).unwrap();
    let y = b.matmul(turned, w).unwrap();
    let z = b.add(part, w).unwrap();
    b.output("y", y).unwrap();
    b.output("z", z).unwrap();
    let plan = plan(b);
    let outputs = plan.run(&inputs(1, 4), None).unwrap();
    assert_eq!(outputs[0].as_slice::<f32>().unwrap(), [15., 15., 18., 18.]);
    assert_eq!(outputs[1].shape().dims(), [3, 2]);
    for (start, end) in [(0, 4), (1, 3), (2, 2)] {
        let error = plan.run(&inputs(start, end), None).unwrap_err();
        assert_eq!(error.code(), "shape-mismatch", "{start}..{end}");
    }
}

#[test]
fn constant_bounds_give_known_extents() {
    let mut b = builder();
    let x = b.input("x", DType::F32, &[Dim::Fixed(4)]).unwrap();
    let bound = |b: &mut GraphBuilder, at: i64| b.constant(i64s(&[at]).remove(0)).unwrap();
    let (start, end) = (bound(&mut b, 1), bound(&mut b, 3));
    let part = b.dynamic_slice(x, 0, start, end).unwrap();
    assert_eq!(b.spec(part).unwrap().dims, [Dim::Fixed(2)]);
    let before = bound(&mut b, -1);
    let late = b.dynamic_slice(x, 0, before, end).unwrap();
    b.output("late", late).unwrap();
    let error = plan(b).run(&[f32s(&[4], &[0.0; 4])], None).unwrap_err();
    assert_eq!(error.code(), "index");
}

#[test]
fn memory_is_reserved_for_the_most_before_the_run() {
    let mut b = builder();
    let [_, part] = sliced(&mut b);
    let more = b.exp(part).unwrap();
    b.output("more", more).unwrap();
    let graph = b.finish().unwrap();
    let options = CompileOptions { arena_bytes_max: 64, ..Default::default() };
    let tight = compile(graph.clone(), &options).unwrap();
    assert_eq!(tight.cost(&inputs(0, 1)).unwrap().arena_bytes, 64);
    tight.run(&inputs(0, 1), None).unwrap();
    let options = CompileOptions { arena_bytes_max: 63, ..Default::default() };
    let error = compile(graph, &options).unwrap().run(&inputs(0, 1), None).unwrap_err();
    assert_eq!(error.code(), "arena-bytes");
}

#[test]
fn a_found_extent_is_not_to_be_named_where_it_may_be_unknown() {
    let mut b = builder();
    let [x, part] = sliced(&mut b);
    let found = b.spec(part).unwrap().dims.clone();
    let error = b.iota(&found, 0, 0, 1).unwrap_err();
    assert_eq!(error.code(), "unknown-dim");
    assert_eq!(b.reshape(x, &found).unwrap_err().code(), "unknown-dim");
    assert_eq!(b.reshape(x, &[Dim::Dynamic("%77".into())]).unwrap_err().code(), "unknown-dim");
    b.reshape(part, &[found[0].clone(), Dim::Fixed(1), Dim::Fixed(2)]).unwrap();
}

#[test]
fn suppression_answers_as_many_rows_as_survive() {
    let mut b = builder();
    let boxes = b.input("boxes", DType::F32, &[Dim::Fixed(1), Dim::Fixed(3), Dim::Fixed(4)]);
    let scores = b.input("scores", DType::F32, &[Dim::Fixed(1), Dim::Fixed(1), Dim::Fixed(3)]);
    let (boxes, scores) = (boxes.unwrap(), scores.unwrap());
    let options = Suppression { max_per_class: 9, iou: 0.5, score: 0.1, centered: false };
    let kept = b.non_max_suppression(boxes, scores, options).unwrap();
    let column = b.slice(kept, 1, 2, 3, 1).unwrap();
    let all = b.reshape(column, &[Dim::Dynamic("".into())]).unwrap();
    let picked = b.gather(boxes, all, 1).unwrap();
    b.output("picked", picked).unwrap();
    let plan = plan(b);
    let boxes = f32s(&[1, 3, 4], &[0., 0., 1., 1., 0., 0., 1., 0.9, 5., 5., 6., 6.]);
    let run = |scores: [f32; 3]| {
        let inputs = [boxes.clone(), f32s(&[1, 1, 3], &scores)];
        plan.run(&inputs, None).unwrap().remove(0)
    };
    assert_eq!(run([0.5, 0.9, 0.2]).shape().dims(), [1, 2, 4]);
    let one = run([0.0, 0.0, 0.2]);
    assert_eq!(one.as_slice::<f32>().unwrap(), [5., 5., 6., 6.]);
    assert_eq!(run([0.0; 3]).shape().dims(), [1, 0, 4]);
}
