//! *Batched equals alone*, bit for bit; and which plans may be batched at all.

use crate::encoder::{Encoder, inputs, random_sequences};
use crate::support::{Random, builder, f32s, plan, plan_on, weight};
use aimass_cpu::pool::KernelPool;
use aimass_graph::{
    AttentionOptions, AttentionValues, BadRow, Coalescing, Dim, GraphBuilder, Plan, Rows, ValueId,
};
use aimass_tensor::{DType, Tensor};

/// More threads than most test machines have cores: what counts is how rows are cut.
const THREADS: usize = 4;

fn bits(tensor: &Tensor) -> Vec<u32> {
    tensor.as_slice::<f32>().unwrap().iter().map(|x| x.to_bits()).collect()
}

#[test]
fn a_sequence_has_the_same_bits_alone_and_in_any_batch_with_any_threads() {
    KernelPool::init_global(THREADS);
    let mut random = Random(11);
    for (hidden, heads) in [(48, 4), (96, 3)] {
        let encoder = Encoder::random(hidden, heads, 3);
        let alone = encoder.plan(1);
        let plans: Vec<Plan> = (1..=THREADS).map(|threads| encoder.plan(threads)).collect();
        for round in 0..12 {
            let (count, len_max) = [(1, 64), (3, 5), (9, 64), (70, 20)][round % 4];
            let sequences = random_sequences(&mut random, count, len_max);
            let mut expected = [Vec::new(), Vec::new()];
            for sequence in &sequences {
                let outputs = alone.run(&inputs(std::slice::from_ref(sequence)), None).unwrap();
                expected.iter_mut().zip(&outputs).for_each(|(all, own)| all.extend(bits(own)));
            }
            for plan in &plans {
                let outputs = plan.run(&inputs(&sequences), None).unwrap();
                for (output, expected) in outputs.iter().zip(&expected) {
                    assert!(bits(output) == *expected, "{count} sequences, {plan:?}");
                }
            }
        }
    }
}

/// A batch plan with everything that works row by row and more.
fn batch_graph(b: &mut GraphBuilder) {
    let mut random = Random(21);
    let x = b.input("x", DType::F32, &[Dim::Batch, Dim::Fixed(6), Dim::Fixed(40)]).unwrap();
    let mask =
        b.input("mask", DType::F32, &[Dim::Batch, Dim::Fixed(1), Dim::Fixed(1), Dim::Fixed(6)]);
    let mask = mask.unwrap();
    let mut linear = |b: &mut GraphBuilder, x: ValueId, k: usize, n: usize| {
        let w = weight(b, &[k as u64, n as u64], &random.numbers(k * n));
        b.linear(x, w, None, false).unwrap()
    };
    let (q, k, v) = (linear(b, x, 40, 40), linear(b, x, 40, 40), linear(b, x, 40, 40));
    let options =
        AttentionOptions { heads: 4, kv_heads: 4, scale: None, causal: true, window: None };
    let mixed = b.attention(AttentionValues { q, k, v }, Some(mask), options).unwrap();
    let narrow = linear(b, mixed, 40, 24);
    let scores = b.transpose(narrow, &[0, 2, 1]).unwrap();
    let scores = b.matmul(scores, narrow).unwrap();
    let scores = b.softmax(scores, 2).unwrap();
    let scores = b.cumulative_sum(scores, 1, false, false).unwrap();
    let total = b.reduce_sum(scores, &[1, 2], false).unwrap();
    let flat = b.reshape(scores, &[Dim::Batch, Dim::Dynamic("".into())]).unwrap();
    let (best, _) = b.top_k(flat, 5, true).unwrap();
    let wide = linear(b, best, 5, 7);
    let wide = b.tanh(wide).unwrap();
    b.output("wide", wide).unwrap();
    b.output("total", total).unwrap();
}

#[test]
fn a_batch_row_has_the_same_bits_alone_and_in_any_batch() {
    KernelPool::init_global(THREADS);
    let mut random = Random(31);
    for threads in [1, 3] {
        let mut b = builder();
        batch_graph(&mut b);
        let plan = plan_on(b, threads);
        assert_eq!(*plan.coalescing(), Coalescing::Batch);
        for rows in [1usize, 2, 17, 64] {
            let x = f32s(&[rows, 6, 40], &random.numbers(rows * 240));
            let mask = f32s(&[rows, 1, 1, 6], &random.numbers(rows * 6));
            let together = plan.run(&[x.clone(), mask.clone()], None).unwrap();
            for row in 0..rows {
                let own = [x.rows(row..row + 1), mask.rows(row..row + 1)];
                let alone = plan.run(&own, None).unwrap();
                for (all, one) in together.iter().zip(&alone) {
                    assert_eq!(bits(&all.rows(row..row + 1)), bits(one), "row {row} of {rows}");
                }
            }
        }
    }
}

fn blocked(build: impl Fn(&mut GraphBuilder)) -> String {
    let mut b = builder();
    build(&mut b);
    match plan(b).coalescing() {
        Coalescing::Alone { blocked_by } => blocked_by.clone(),
        other => panic!("expected a plan that runs alone, got {other:?}"),
    }
}

#[test]
fn a_plan_that_runs_alone_names_what_blocks_it() {
    let by_input = blocked(|b| {
        let x = b.input("x", DType::F32, &[Dim::Dynamic("n".into()), Dim::Fixed(2)]).unwrap();
        b.output("y", x).unwrap();
    });
    assert_eq!(by_input, "input \"x\" without a batch dimension");
    let by_op = blocked(|b| {
        let offsets = b.offsets("o").unwrap();
        let x = b.input("x", DType::U32, &[Dim::Ragged("o".into())]).unwrap();
        let total = b.cast(offsets, DType::I64).unwrap();
        let total = b.reduce_sum(total, &[0], false).unwrap();
        let x = b.cast(x, DType::I64).unwrap();
        let y = b.add(x, total).unwrap();
        b.output("y", y).unwrap();
    });
    assert_eq!(by_op, "op \"cast\" (node 0)");
    // Rows that hold offsets would tell a call where it lies in the batch.
    let by_offsets = blocked(|b| {
        let offsets = b.offsets("o").unwrap();
        let x = b.input("x", DType::U32, &[Dim::Ragged("o".into())]).unwrap();
        let y = b.gather(offsets, x, 0).unwrap();
        b.output("y", y).unwrap();
    });
    assert_eq!(by_offsets, "op \"gather\" (node 0)");
    let by_output = blocked(|b| {
        let x = b.input("x", DType::F32, &[Dim::Batch]).unwrap();
        let one = b.constant(f32s(&[1], &[1.0])).unwrap();
        b.output("x", x).unwrap();
        b.output("one", one).unwrap();
    });
    assert_eq!(by_output, "output \"one\" without a batch dimension");
    let by_second = blocked(|b| {
        for name in ["o", "p"] {
            b.offsets(name).unwrap();
            let x = b.input(&format!("x{name}"), DType::F32, &[Dim::Ragged(name.into())]).unwrap();
            b.output(name, x).unwrap();
        }
    });
    assert!(by_second.starts_with("second ragged dimension"), "{by_second}");
}

#[test]
fn ops_that_would_mix_rows_are_refused() {
    let mut b = builder();
    let x = b.input("x", DType::F32, &[Dim::Batch, Dim::Fixed(2), Dim::Fixed(2)]).unwrap();
    let three = b.constant(f32s(&[3, 1, 1], &[0.0; 3])).unwrap();
    let errors = [
        b.reduce_sum(x, &[0], false).unwrap_err(),
        b.softmax(x, 0).unwrap_err(),
        b.cumulative_sum(x, 0, false, false).unwrap_err(),
        b.reverse(x, 0).unwrap_err(),
        b.transpose(x, &[1, 0, 2]).unwrap_err(),
        b.slice(x, 0, 0, 1, 1).unwrap_err(),
        b.concat(&[x, x], 0).unwrap_err(),
        b.reshape(x, &[Dim::Fixed(2), Dim::Batch, Dim::Fixed(2)]).unwrap_err(),
        b.reshape(x, &[Dim::Dynamic("".into()), Dim::Fixed(2)]).unwrap_err(),
        b.tile(x, &[2, 1, 1]).unwrap_err(),
        b.arg_max(x, 0, false).unwrap_err(),
        b.shape_of(x).unwrap_err(),
        b.add(x, three).unwrap_err(),
        b.iota(&[Dim::Batch], 0, 0, 1).unwrap_err(),
    ];
    for error in errors {
        assert_eq!(error.code(), "dim-class", "{error}");
    }
    // Row by row the same ops are fine.
    let one = b.constant(f32s(&[1, 2, 1], &[0.0; 2])).unwrap();
    assert_eq!(b.add(x, one).map(|y| b.spec(y).unwrap().dims[0].clone()), Ok(Dim::Batch));
    assert!(b.softmax(x, 2).is_ok() && b.transpose(x, &[0, 2, 1]).is_ok());
}

#[test]
fn a_bad_index_names_its_row() {
    let plan = Encoder::random(16, 2, 1).plan(1);
    let rows = |sequences: &[Vec<i64>]| plan.run(&inputs(sequences), None).unwrap_err().bad_row();
    assert_eq!(rows(&[vec![1, 2], vec![3, 50, -1]]), Some(BadRow::Ragged(3)));
    assert_eq!(rows(&[vec![-1]]), Some(BadRow::Ragged(0)));
    // Position 64 of a table with 64 rows.
    assert_eq!(rows(&[vec![1; 3], vec![1; 65]]), Some(BadRow::Ragged(67)));
    let mut b = builder();
    let ids = b.input("ids", DType::I32, &[Dim::Batch, Dim::Fixed(2)]).unwrap();
    let table = weight(&mut b, &[3, 1], &[0.0, 1.0, 2.0]);
    let y = b.gather(table, ids, 0).unwrap();
    b.output("y", y).unwrap();
    let plan = crate::support::plan(b);
    let ids = Tensor::from_slice(&[3, 2], &[0i32, 1, 2, 0, 0, 3]).unwrap();
    let error = plan.run(&[ids], None).unwrap_err();
    assert_eq!((error.bad_row(), error.code()), (Some(BadRow::Batch(2)), "index"));
}

#[test]
fn rows_count_what_is_joined() {
    let encoder = Encoder::random(16, 2, 1).plan(1);
    let rows = encoder.check(&inputs(&[vec![1, 2], vec![], vec![3]])).unwrap();
    assert_eq!(rows, Rows { rows: 3, sequences: 3 });
    let rows = encoder.check(&inputs(&[vec![1, 2]])).unwrap();
    assert_eq!(rows, Rows { rows: 2, sequences: 1 });
}
