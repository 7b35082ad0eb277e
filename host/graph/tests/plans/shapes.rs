//! Property tests of shape rules: what is inferred from classes and names is what comes out, and
//! known extents (which run in row segments) give the same bits as unknown ones (which do not).

use crate::support::{Random, builder, f32s, plan};
use aimass_graph::{Dim, GraphBuilder, GraphError, Plan, ValueId};
use aimass_tensor::{DType, Tensor};
use proptest::prelude::*;

/// An op with arguments that may or may not fit.
#[derive(Debug, Clone)]
enum Step {
    Unary(u8),
    Binary(u8, usize),
    Transpose(u64),
    Slice(u32, u64, u64, u64),
    Concat(u32, usize),
    Reduce(u8, u32, bool),
    Softmax(u32),
    Reshape(u8),
    Norm,
    MatMul(usize),
    Tile(u64),
    Pad(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        any::<u8>().prop_map(Step::Unary),
        (any::<u8>(), any::<usize>()).prop_map(|(kind, other)| Step::Binary(kind, other)),
        any::<u64>().prop_map(Step::Transpose),
        (0..4u32, 0..5u64, 0..6u64, 1..4u64).prop_map(|(a, s, e, t)| Step::Slice(a, s, e, t)),
        (0..4u32, any::<usize>()).prop_map(|(axis, other)| Step::Concat(axis, other)),
        (any::<u8>(), 0..4u32, any::<bool>()).prop_map(|(k, a, keep)| Step::Reduce(k, a, keep)),
        (0..4u32).prop_map(Step::Softmax),
        any::<u8>().prop_map(Step::Reshape),
        Just(Step::Norm),
        any::<usize>().prop_map(Step::MatMul),
        (0..3u64).prop_map(Step::Tile),
        (0..3u64).prop_map(Step::Pad),
    ]
}

fn apply(b: &mut GraphBuilder, values: &[ValueId], step: &Step) -> Result<ValueId, GraphError> {
    let x = values[values.len() - 1];
    let other = |index: usize| values[index % values.len()];
    let rank = b.spec(x)?.rank();
    match *step {
        Step::Unary(kind) => match kind % 4 {
            0 => b.tanh(x),
            1 => b.neg(x),
            2 => b.sigmoid(x),
            _ => b.relu(x),
        },
        Step::Binary(kind, index) => match kind % 4 {
            0 => b.add(x, other(index)),
            1 => b.mul(other(index), x),
            2 => b.maximum(x, other(index)),
            _ => b.sub(x, other(index)),
        },
        Step::Transpose(seed) => {
            let mut permutation: Vec<u32> = (0..rank as u32).collect();
            let mut random = Random(seed);
            for i in (1..rank).rev() {
                permutation.swap(i, random.below(i + 1));
            }
            b.transpose(x, &permutation)
        }
        Step::Slice(axis, start, end, step) => b.slice(x, axis, start, end, step),
        Step::Concat(axis, index) => b.concat(&[x, other(index)], axis),
        Step::Reduce(kind, axis, keep) => match kind % 3 {
            0 => b.reduce_sum(x, &[axis], keep),
            1 => b.reduce_max(x, &[axis], keep),
            _ => b.reduce_sum(x, &[], keep),
        },
        Step::Softmax(axis) => b.softmax(x, axis),
        Step::Reshape(kind) => match kind % 3 {
            0 => b.reshape(x, &[Dim::Dynamic("".into())]),
            1 => b.reshape(x, &[Dim::Fixed(2), Dim::Dynamic("".into())]),
            _ => b.reshape(x, &[Dim::Dynamic("".into()), Dim::Fixed(1), Dim::Fixed(3)]),
        },
        Step::Norm => b.l2_normalize(x, 1e-6),
        Step::MatMul(index) => b.matmul(x, other(index)),
        Step::Tile(repeat) => b.tile(x, &vec![repeat; rank]),
        Step::Pad(pad) => {
            let pads = vec![pad; rank];
            b.pad(x, &pads, &vec![0; rank], aimass_graph::PadMode::Constant, 0.5)
        }
    }
}

/// The steps that fit, on inputs with fixed or with anonymous dimensions.
fn build(shapes: &[Vec<usize>], steps: &[Step], fixed: bool) -> (Plan, Vec<bool>) {
    let mut b = builder();
    let mut values = Vec::new();
    for (index, shape) in shapes.iter().enumerate() {
        let dim = |&extent: &usize| match fixed {
            true => Dim::Fixed(extent as u64),
            false => Dim::Dynamic("".into()),
        };
        let dims: Vec<Dim> = shape.iter().map(dim).collect();
        values.push(b.input(&format!("x{index}"), DType::F32, &dims).unwrap());
    }
    let mut accepted = Vec::new();
    for step in steps {
        let value = apply(&mut b, &values, step);
        accepted.push(value.is_ok());
        values.extend(value);
    }
    for (index, value) in values.iter().enumerate().skip(shapes.len()) {
        b.output(&format!("y{index}"), *value).unwrap();
    }
    b.output("x", values[0]).unwrap();
    (plan(b), accepted)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn known_and_unknown_extents_give_the_same(
        shapes in prop::collection::vec(prop::collection::vec(0..5usize, 0..4), 1..3),
        steps in prop::collection::vec(step(), 1..8),
        seed in any::<u64>(),
    ) {
        let mut random = Random(seed);
        let inputs: Vec<Tensor> = shapes
            .iter()
            .map(|shape| f32s(shape, &random.numbers(shape.iter().product())))
            .collect();
        let (known, accepted) = build(&shapes, &steps, true);
        // What known extents refuse, unknown ones refuse at the latest when they run.
        let fitting: Vec<Step> = steps
            .iter()
            .zip(&accepted)
            .filter(|(_, accepted)| **accepted)
            .map(|(step, _)| step.clone())
            .collect();
        let expected = known.run(&inputs, None).unwrap();
        for (output, spec) in expected.iter().zip(&known.signature().outputs) {
            let inferred: Vec<u64> = spec.dims.iter().filter_map(Dim::fixed).collect();
            let got: Vec<u64> = output.shape().iter().map(|&extent| extent as u64).collect();
            prop_assert_eq!(inferred, got);
        }
        let (unknown, accepted) = build(&shapes, &fitting, false);
        if accepted.iter().all(|&accepted| accepted) {
            let outputs = unknown.run(&inputs, None).unwrap();
            for (a, b) in outputs.iter().zip(&expected) {
                prop_assert_eq!(a.shape(), b.shape());
                let same = a.bytes() == b.bytes();
                prop_assert!(same, "{:?} {:?}", a.as_slice::<f32>(), b.as_slice::<f32>());
            }
        }
        let (unknown, _) = build(&shapes, &steps, false);
        // Must not panic, whatever the outcome.
        let _ = unknown.run(&inputs, None);
    }
}
