//! Ops that move elements do so for elements of every dtype: as they move numbers of 64 bits.

use crate::backend::run_op;
use crate::reference::{Array, Case, float, int, ints, text};
use aimass_graph::Attribute;
use aimass_tensor::{DType, Shape, Tensor};

pub(crate) const CASES: &[Case] = &[
    ("reshape", reshape),
    ("transpose", transpose),
    ("broadcast", broadcast),
    ("slice", slice),
    ("concat", concat),
    ("split", split),
    ("tile", tile),
    ("reverse", reverse),
    ("pad", pad),
    ("gather", gather),
    ("select", select),
    ("one-hot", one_hot),
];

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

const ALONE: [&[Tensor]; 2] = [&[], &[]];
const X: &[usize] = &[2, 3, 4];

fn reshape() {
    check("reshape", &[X], ALONE, &[ints("dims", &[4, -1])]);
}

fn transpose() {
    check("transpose", &[X], ALONE, &[ints("permutation", &[2, 0, 1])]);
    check("transpose", &[&[40, 33]], ALONE, &[ints("permutation", &[1, 0])]);
}

fn broadcast() {
    check("broadcast", &[&[3, 1]], ALONE, &[ints("dims", &[2, 3, 4])]);
}

fn slice() {
    let part = [int("axis", 2), int("start", 1), int("end", 4), int("step", 2)];
    check("slice", &[X], ALONE, &part);
}

fn concat() {
    check("concat", &[X, &[2, 1, 4]], ALONE, &[int("axis", 1)]);
}

fn split() {
    check("split", &[X], ALONE, &[int("axis", 2), ints("sizes", &[1, 3])]);
}

fn tile() {
    check("tile", &[X], ALONE, &[ints("repeats", &[1, 2, 3])]);
}

fn reverse() {
    check("reverse", &[X], ALONE, &[int("axis", 1)]);
}

/// Margins of elements, and of a number in every dtype.
fn pad() {
    for mode in ["edge", "reflect"] {
        let (before, after) = (ints("before", &[1, 2, 0]), ints("after", &[0, 1, 3]));
        check("pad", &[X], ALONE, &[before, after, text("mode", mode)]);
    }
    for dtype in WHOLE {
        let x = numbered(dtype, &[2], 0);
        let pads = [ints("before", &[1]), ints("after", &[2]), float("fill", 1.0)];
        let got = run_op("pad", std::slice::from_ref(&x), &pads).unwrap().remove(0);
        let want = [one(dtype), x.bytes().to_vec(), one(dtype), one(dtype)].concat();
        assert_eq!(got.bytes(), want, "{dtype}");
    }
}

fn gather() {
    let indices = Array::new(&[2], [2.0, 0.0]).tensor(DType::I32);
    check("gather", &[X], [&[], &[indices]], &[int("axis", 1)]);
}

fn select() {
    let condition = Array::new(&[3, 1], [1.0, 0.0, 1.0]).tensor(DType::Bool);
    check("select", &[X, &[1, 1, 4]], [&[condition], &[]], &[]);
}

/// A one of every dtype marks an index of any dtype.
fn one_hot() {
    for dtype in WHOLE {
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

fn one(dtype: DType) -> Vec<u8> {
    Array::new(&[1], [1.0]).tensor(dtype).bytes().to_vec()
}
