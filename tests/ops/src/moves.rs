//! Ops that move elements do so for elements of every dtype: as they move numbers of 64 bits.

use crate::backend::run_op;
use crate::reference::{Array, float, int, ints, text};
use aimass_graph::Attribute;
use aimass_tensor::{DType, Shape, Tensor};

/// Dtypes whose elements are whole bytes.
pub(crate) const WHOLE: [DType; 17] = [
    DType::Bool,
    DType::I8,
    DType::U8,
    DType::I16,
    DType::U16,
    DType::I32,
    DType::U32,
    DType::I64,
    DType::U64,
    DType::F8E4m3,
    DType::F8E5m2,
    DType::F8E4m3Fnuz,
    DType::F8E5m2Fnuz,
    DType::Bf16,
    DType::F16,
    DType::F32,
    DType::F64,
];

/// Any bytes, 0 or 1 for bool.
fn element(dtype: DType, index: usize) -> Vec<u8> {
    let size = dtype.size().unwrap();
    let byte = |i: usize| (index * 31 + i * 7 + 1) as u8;
    (0..size).map(|i| if dtype == DType::Bool { (index % 2) as u8 } else { byte(i) }).collect()
}

fn numbered(dtype: DType, shape: &[usize], first: usize) -> Tensor {
    let shape = Shape::new(shape).unwrap();
    let numbers = first..first + shape.elements();
    let bytes: Vec<u8> = match dtype {
        DType::I64 => numbers.flat_map(|i| (i as i64).to_le_bytes()).collect(),
        _ => numbers.flat_map(|i| element(dtype, i)).collect(),
    };
    Tensor::copy_from(dtype, shape, &bytes).unwrap()
}

/// Compares what an op does to `shapes` of a dtype with what it does to numbers.
fn check(
    op: &str,
    shapes: &[&[usize]],
    around: [&[Tensor]; 2],
    attributes: &[(String, Attribute)],
) {
    let run = |dtype: DType| {
        let moved = shapes.iter().scan(0, |first, shape| {
            let x = numbered(dtype, shape, *first);
            *first += x.shape().elements();
            Some(x)
        });
        let inputs: Vec<Tensor> =
            around[0].iter().cloned().chain(moved).chain(around[1].iter().cloned()).collect();
        run_op(op, &inputs, attributes).unwrap_or_else(|error| panic!("{op} {dtype}: {error}"))
    };
    let places = run(DType::I64);
    for dtype in WHOLE.into_iter().filter(|dtype| *dtype != DType::I64) {
        for (got, places) in run(dtype).iter().zip(&places) {
            let places = places.as_slice::<i64>().unwrap();
            let want: Vec<u8> = places.iter().flat_map(|&i| element(dtype, i as usize)).collect();
            assert_eq!(got.bytes(), want, "{op} {dtype}");
        }
    }
}

#[test]
fn elements_of_every_dtype_move_alike() {
    let none: [&[Tensor]; 2] = [&[], &[]];
    let x: &[usize] = &[2, 3, 4];
    check("reshape", &[x], none, &[ints("dims", &[4, -1])]);
    check("transpose", &[x], none, &[ints("permutation", &[2, 0, 1])]);
    check("transpose", &[&[40, 33]], none, &[ints("permutation", &[1, 0])]);
    check("broadcast", &[&[3, 1]], none, &[ints("dims", &[2, 3, 4])]);
    check("slice", &[x], none, &[int("axis", 2), int("start", 1), int("end", 4), int("step", 2)]);
    check("concat", &[x, &[2, 1, 4]], none, &[int("axis", 1)]);
    check("split", &[x], none, &[int("axis", 2), ints("sizes", &[1, 3])]);
    check("tile", &[x], none, &[ints("repeats", &[1, 2, 3])]);
    check("reverse", &[x], none, &[int("axis", 1)]);
    for mode in ["edge", "reflect"] {
        let (before, after) = (ints("before", &[1, 2, 0]), ints("after", &[0, 1, 3]));
        check("pad", &[x], none, &[before, after, text("mode", mode)]);
    }
    let indices = Array::new(&[2], [2.0, 0.0]).tensor(DType::I32);
    check("gather", &[x], [&[], &[indices]], &[int("axis", 1)]);
    let condition = Array::new(&[3, 1], [1.0, 0.0, 1.0]).tensor(DType::Bool);
    check("select", &[x, &[1, 1, 4]], [&[condition], &[]], &[]);
}

#[test]
fn numbers_of_every_dtype_fill_a_margin_and_mark_an_index() {
    let one = |dtype: DType| Array::new(&[1], [1.0]).tensor(dtype).bytes().to_vec();
    for dtype in WHOLE {
        let x = numbered(dtype, &[2], 0);
        let pads = [ints("before", &[1]), ints("after", &[2]), float("fill", 1.0)];
        let got = run_op("pad", std::slice::from_ref(&x), &pads).unwrap().remove(0);
        let want = [one(dtype), x.bytes().to_vec(), one(dtype), one(dtype)].concat();
        assert_eq!(got.bytes(), want, "{dtype}");
        let attributes = [int("depth", 3), text("dtype", dtype.name())];
        let zero = vec![0; dtype.size().unwrap()];
        let want = [&zero, &one(dtype), &zero, &zero, &zero, &zero].map(Clone::clone).concat();
        for index in [DType::I8, DType::U8, DType::I16, DType::U32, DType::I64, DType::U64] {
            let indices = Array::new(&[2], [1.0, 3.0]).tensor(index);
            let got = run_op("one-hot", &[indices], &attributes).unwrap().remove(0);
            assert_eq!(got.bytes(), want, "{dtype} at {index}");
        }
    }
}
