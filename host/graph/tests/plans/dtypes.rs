//! Plans of other dtypes than f32: in-place steps, and 16-bit floats computed in f32.

use crate::support::{builder, f32s, plan, source};
use aimass_graph::{Attribute, Dim, GeluForm, GraphBuilder, GraphError, ValueId, run_op};
use aimass_tensor::{DType, Shape, Tensor};

/// `neg(neg(x + x) + x)` in the middle of a plan, where the first `neg` works in place.
fn chain(b: &mut GraphBuilder, x: ValueId) -> Result<ValueId, GraphError> {
    let sum = b.add(x, x)?;
    let inner = b.neg(sum)?;
    let outer = b.add(inner, x)?;
    b.neg(outer)
}

#[test]
fn steps_of_any_dtype_work_in_place() {
    let mut b = builder();
    let dims = [Dim::Dynamic("n".into())];
    let whole = b.input("whole", DType::I64, &dims).unwrap();
    let double = b.input("double", DType::F64, &dims).unwrap();
    let half = b.input("half", DType::F16, &dims).unwrap();
    for (name, x) in [("whole", whole), ("double", double), ("half", half)] {
        let y = chain(&mut b, x).unwrap();
        b.output(name, y).unwrap();
    }
    let inputs = [
        Tensor::from_slice(&[3], &[1i64, -2, 3]).unwrap(),
        Tensor::from_slice(&[3], &[1f64, -2.0, 3.0]).unwrap(),
        halves(&[0x3c00, 0xc000, 0x4200]),
    ];
    let outputs = plan(b).run(&inputs, None).unwrap();
    for (input, output) in inputs.iter().zip(&outputs) {
        assert_eq!(input.bytes(), output.bytes(), "{}", input.dtype());
    }
}

#[test]
fn plans_of_halves_round_after_every_op() {
    let mut b = builder();
    let x = b.input("x", DType::F16, &[Dim::Batch, Dim::Fixed(8)]).unwrap();
    let gelu = b.gelu(x, GeluForm::Erf).unwrap();
    let product = b.mul(gelu, x).unwrap();
    let y = b.softmax(product, 1).unwrap();
    b.output("y", y).unwrap();
    let plan = plan(b);
    assert!(plan.stats().segments > 0, "{plan:?}");
    let codes: Vec<u16> = (0..24).map(|i| 0x3800 + 37 * i * i).collect();
    let x = halves(&codes).reshaped(Shape::new(&[3, 8]).unwrap()).unwrap();
    let op = |name: &str, inputs: &[Tensor], axis: Option<i64>| {
        let attributes = axis.map(|axis| ("axis".to_owned(), Attribute::Int(axis)));
        run_op(name, inputs, attributes.as_slice()).unwrap().remove(0)
    };
    let product = op("mul", &[op("gelu", std::slice::from_ref(&x), None), x.clone()], None);
    let expected = op("softmax", &[product], Some(1));
    let got = plan.run(std::slice::from_ref(&x), None).unwrap();
    assert_eq!(got[0].bytes(), expected.bytes());
    for row in 0..3 {
        let alone = plan.run(&[x.rows(row..row + 1)], None).unwrap();
        assert_eq!(alone[0].bytes(), got[0].rows(row..row + 1).bytes());
    }
}

fn halves(bits: &[u16]) -> Tensor {
    let bytes: Vec<u8> = bits.iter().flat_map(|bits| bits.to_le_bytes()).collect();
    Tensor::copy_from(DType::F16, Shape::new(&[bits.len()]).unwrap(), &bytes).unwrap()
}

#[test]
fn four_bit_integers_enter_and_leave_packed() {
    let mut b = builder();
    let dims = [Dim::Dynamic("n".into())];
    let x = b.input("x", DType::I4, &dims).unwrap();
    let weight = b.weight("w", DType::U4, &[3], source(vec![0x21, 0x0f]), 0).unwrap();
    let [wide, weight] = [x, weight].map(|value| b.cast(value, DType::F32).unwrap());
    let sum = b.add(wide, weight).unwrap();
    let packed = b.cast(sum, DType::I4).unwrap();
    for (name, value) in [("x", x), ("sum", sum), ("packed", packed)] {
        b.output(name, value).unwrap();
    }
    let shape = Shape::new(&[3]).unwrap();
    let x = Tensor::copy_from(DType::I4, shape, &[0x8f, 0x03]).unwrap();
    let outputs = plan(b).run(std::slice::from_ref(&x), None).unwrap();
    assert_eq!(outputs[0].bytes(), [0x8f, 0x03]);
    assert_eq!(outputs[1].as_slice::<f32>().unwrap(), [0.0, -6.0, 18.0]);
    assert_eq!(outputs[2].bytes(), [0xa0, 0x07]);
}

#[test]
fn rows_of_packed_integers_stay_inside_a_plan() {
    let mut b = builder();
    let rows = [Dim::Batch, Dim::Fixed(3)];
    let error = b.input("x", DType::U4, &rows).unwrap_err();
    assert_eq!(error.code(), "dtype", "{error}");
    let x = b.input("x", DType::F32, &rows).unwrap();
    let packed = b.cast(x, DType::U4).unwrap();
    let error = b.output("packed", packed).unwrap_err();
    assert_eq!(error.code(), "dtype", "{error}");
    let y = b.cast(packed, DType::F32).unwrap();
    b.output("y", y).unwrap();
    let x = f32s(&[2, 3], &[1.5, 20.0, 3.0, 4.0, -5.0, 6.0]);
    let got = plan(b).run(&[x], None).unwrap();
    assert_eq!(got[0].as_slice::<f32>().unwrap(), [1.0, 15.0, 3.0, 4.0, 0.0, 6.0]);
}
