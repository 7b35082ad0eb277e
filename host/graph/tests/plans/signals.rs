//! Rows of positions, transforms, bags and boxes: what is joined and what is refused.

use crate::support::{Random, builder, f32s, plan, weight};
use aimass_graph::{BadRow, Coalescing, Dim, Suppression};
use aimass_tensor::{DType, Tensor};

#[test]
fn sequences_are_turned_and_summed_alone_and_joined() {
    let mut b = builder();
    let offsets = b.offsets("offsets").unwrap();
    let ragged = Dim::Ragged("offsets".into());
    let ids = b.input("ids", DType::I64, std::slice::from_ref(&ragged)).unwrap();
    let x = b.input("x", DType::F32, &[ragged, Dim::Fixed(8)]).unwrap();
    let table = weight(&mut b, &[4, 8], &Random(1).numbers(32));
    let sums = b.embedding_bag(table, ids, offsets, false).unwrap();
    let positions = b.positions(offsets).unwrap();
    let turned = b.rope(x, positions, 2, 1e4, false).unwrap();
    let last = b.ragged_last(turned, offsets).unwrap();
    let sum = b.add(sums, last).unwrap();
    b.output("sum", sum).unwrap();
    let plan = plan(b);
    assert_eq!(*plan.coalescing(), Coalescing::Ragged { offsets: "offsets".into() });
    let rows = Random(2).numbers(5 * 8);
    let inputs = |offsets: &[u32], ids: &[i64], rows: &[f32]| {
        [
            Tensor::from_slice(&[offsets.len()], offsets).unwrap(),
            Tensor::from_slice(&[ids.len()], ids).unwrap(),
            f32s(&[ids.len(), 8], rows),
        ]
    };
    let both = plan.run(&inputs(&[0, 2, 5], &[1, 3, 0, 0, 2], &rows), None).unwrap();
    let alone = plan.run(&inputs(&[0, 3], &[0, 0, 2], &rows[16..]), None).unwrap();
    assert_eq!(both[0].as_slice::<f32>().unwrap()[8..], *alone[0].as_slice::<f32>().unwrap());
    let error = plan.run(&inputs(&[0, 2, 5], &[1, 3, 0, 4, 2], &rows), None).unwrap_err();
    assert_eq!(error.bad_row(), Some(BadRow::Ragged(3)));
    assert!(error.to_string().starts_with("embedding-bag: index 4"), "{error}");
}

#[test]
fn a_turn_in_place_leaves_what_is_read_later() {
    let mut b = builder();
    let x = b.input("x", DType::F32, &[Dim::Batch, Dim::Fixed(2)]).unwrap();
    let positions = b.constant(Tensor::from_slice(&[], &[1i64]).unwrap()).unwrap();
    let x = b.neg(x).unwrap();
    let once = b.rope(x, positions, 1, 1e4, true).unwrap();
    let twice = b.rope(once, positions, 1, 1e4, true).unwrap();
    let both = b.concat(&[x, twice], 1).unwrap();
    b.output("both", both).unwrap();
    let got = plan(b).run(&[f32s(&[1, 2], &[-1.0, 0.0])], None).unwrap();
    let got = got[0].as_slice::<f32>().unwrap();
    let (sine, cosine) = 2f32.sin_cos();
    let want = [1.0, 0.0, cosine, sine];
    assert!(got.iter().zip(want).all(|(got, want)| (got - want).abs() < 1e-6), "{got:?}");
}

#[test]
fn known_transforms_keep_their_tables() {
    let mut b = builder();
    let x = b.input("x", DType::F32, &[Dim::Batch, Dim::Fixed(6), Dim::Fixed(2)]).unwrap();
    let there = b.fft(x, 1, false).unwrap();
    let back = b.fft(there, 1, true).unwrap();
    b.output("back", back).unwrap();
    let plan = plan(b);
    assert_eq!(*plan.coalescing(), Coalescing::Batch);
    assert!(plan.weights_bytes() > 0);
    let numbers = Random(1).numbers(3 * 12);
    let got = plan.run(&[f32s(&[3, 6, 2], &numbers)], None).unwrap();
    let pairs = got[0].as_slice::<f32>().unwrap().iter().zip(&numbers);
    pairs.for_each(|(got, want)| assert!((got - want).abs() < 1e-6));
}

#[test]
fn rows_that_would_be_mixed_are_refused() {
    let mut b = builder();
    let x = b.input("x", DType::F32, &[Dim::Batch, Dim::Fixed(4), Dim::Fixed(2)]).unwrap();
    let boxes = b.input("boxes", DType::F32, &[Dim::Batch, Dim::Fixed(3), Dim::Fixed(4)]).unwrap();
    let scores =
        b.input("scores", DType::F32, &[Dim::Batch, Dim::Fixed(1), Dim::Fixed(3)]).unwrap();
    let key = b.constant(Tensor::from_slice(&[2], &[0u32; 2]).unwrap()).unwrap();
    let options = Suppression { max_per_class: 3, iou: 0.5, score: 0.0, centered: false };
    let errors = [
        b.fft(x, 0, false).unwrap_err(),
        b.non_max_suppression_padded(boxes, scores, options).unwrap_err(),
        b.random_bits(key, &[Dim::Batch]).unwrap_err(),
    ];
    for error in errors {
        assert_eq!(error.code(), "dim-class", "{error}");
    }
}

#[test]
fn boxes_that_nobody_can_hold_are_refused() {
    let mut b = builder();
    let boxes = [Dim::Fixed(1), Dim::Fixed(1 << 30), Dim::Fixed(4)];
    let scores = [Dim::Fixed(1), Dim::Fixed(1 << 4), Dim::Fixed(1 << 30)];
    let boxes = b.input("boxes", DType::F32, &boxes).unwrap();
    let scores = b.input("scores", DType::F32, &scores).unwrap();
    let options = Suppression { max_per_class: usize::MAX, iou: 0.5, score: 0.0, centered: false };
    let error = b.non_max_suppression_padded(boxes, scores, options).unwrap_err();
    assert_eq!(error.code(), "elements", "{error}");
}
