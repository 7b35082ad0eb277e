//! Recurrent layers with constant weights, and what of them may be joined.

use crate::support::{Random, builder, f32s, plan, weight};
use aimass_graph::{Coalescing, Dim, Plan, Recurrence, RecurrentValues};
use aimass_tensor::DType;

const IN: usize = 20;
const HIDDEN: usize = 36;

fn lstm(constant: bool, random: &mut Random) -> (Plan, Vec<Vec<f32>>) {
    let shapes = [vec![4 * HIDDEN, IN], vec![4 * HIDDEN, HIDDEN], vec![8 * HIDDEN]];
    let numbers: Vec<Vec<f32>> =
        shapes.iter().map(|shape| random.numbers(shape.iter().product())).collect();
    let mut b = builder();
    let tokens = Dim::Dynamic("tokens".into());
    let dims = [tokens, Dim::Fixed(1), Dim::Fixed(IN as u64)];
    let x = b.input("x", DType::F32, &dims).unwrap();
    let mut values = Vec::new();
    for (i, (shape, numbers)) in shapes.iter().zip(&numbers).enumerate() {
        let dims: Vec<u64> = shape.iter().map(|&extent| extent as u64).collect();
        values.push(match constant {
            true => {
                // As ONNX keeps them: one leading axis for the direction.
                let stored = weight(&mut b, &[&[1], &dims[..]].concat(), numbers);
                let dims: Vec<Dim> = dims.into_iter().map(Dim::Fixed).collect();
                b.reshape(stored, &dims).unwrap()
            }
            false => {
                let dims: Vec<Dim> = dims.into_iter().map(Dim::Fixed).collect();
                b.input(&format!("w{i}"), DType::F32, &dims).unwrap()
            }
        });
    }
    let (w, r, bias) = (values[0], values[1], Some(values[2]));
    let values = RecurrentValues { x, w, r, bias, initial: &[] };
    let outputs = b.recurrent(Recurrence::Lstm, values, false).unwrap();
    for (name, value) in ["all", "h", "c"].into_iter().zip(outputs) {
        b.output(name, value).unwrap();
    }
    (plan(b), numbers)
}

#[test]
fn constant_weights_are_packed_once_and_give_the_bits_of_computed_ones() {
    let (packed, _) = lstm(true, &mut Random(1));
    let (again, _) = lstm(true, &mut Random(1));
    let (plain, numbers) = lstm(false, &mut Random(1));
    let columns = 4 * HIDDEN;
    assert_eq!(packed.weights_bytes(), (4 * columns * (IN + HIDDEN + 1)) as u64);
    assert!(matches!(packed.coalescing(), Coalescing::Alone { .. }));
    let x = f32s(&[7, 1, IN], &Random(2).numbers(7 * IN));
    let mut inputs = vec![x];
    let outputs = packed.run(&inputs, None).unwrap();
    let shapes = [vec![columns, IN], vec![columns, HIDDEN], vec![2 * columns]];
    inputs.extend(shapes.iter().zip(&numbers).map(|(shape, numbers)| f32s(shape, numbers)));
    let expected = plain.run(&inputs, None).unwrap();
    let others = again.run(&inputs[..1], None).unwrap();
    for ((a, b), c) in outputs.iter().zip(&expected).zip(&others) {
        assert_eq!(a.bytes(), b.bytes());
        assert_eq!(a.bytes(), c.bytes());
    }
    let all = outputs[0].as_slice::<f32>().unwrap();
    assert_eq!(all[6 * HIDDEN..], *outputs[1].as_slice::<f32>().unwrap());
}

#[test]
fn weights_that_lie_in_another_shape_are_packed_as_the_op_sees_them() {
    let layer = |numbers: &[Vec<f32>; 3], folded: bool| {
        let mut b = builder();
        let x = b.input("x", DType::F32, &[3, 1, 2].map(Dim::Fixed)).unwrap();
        let shapes: [&[u64]; 3] = [&[12, 2], &[12, 3], &[24]];
        let mut values = Vec::new();
        for (numbers, shape) in numbers.iter().zip(shapes) {
            let stored = [&[1], shape].concat();
            values.push(match folded {
                true => {
                    let dims: Vec<Dim> = shape.iter().map(|&extent| Dim::Fixed(extent)).collect();
                    let stored = weight(&mut b, &stored, numbers);
                    b.reshape(stored, &dims).unwrap()
                }
                false => weight(&mut b, shape, numbers),
            });
        }
        let (w, r, bias) = (values[0], values[1], Some(values[2]));
        let outputs = b
            .recurrent(Recurrence::Lstm, RecurrentValues { x, w, r, bias, initial: &[] }, false)
            .unwrap();
        b.output("all", outputs[0]).unwrap();
        plan(b).run(&[f32s(&[3, 1, 2], &Random(4).numbers(6))], None).unwrap()
    };
    let mut random = Random(3);
    let numbers = [24, 36, 24].map(|count| random.numbers(count));
    assert_eq!(layer(&numbers, true)[0].bytes(), layer(&numbers, false)[0].bytes());
}

#[test]
fn tokens_that_are_rows_are_refused() {
    let mut b = builder();
    let x = b.input("x", DType::F32, &[Dim::Batch, Dim::Fixed(1), Dim::Fixed(2)]).unwrap();
    let (w, r) = (weight(&mut b, &[3, 2], &[0.0; 6]), weight(&mut b, &[3, 1], &[0.0; 3]));
    let values = RecurrentValues { x, w, r, bias: None, initial: &[] };
    let error = b.recurrent(Recurrence::Gru, values, false).unwrap_err();
    assert_eq!(error.code(), "dim-class");
}
