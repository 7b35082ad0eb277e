//! Ops that move elements: one dtype of each size.

use super::{Case, floats, integers, op};
use crate::run_op::Attribute;
use aimass_tensor::{DType, Tensor};

fn value(dtype: DType, extents: &[usize], seed: u64) -> Tensor {
    match dtype {
        DType::F32 | DType::F16 => floats(dtype, extents, seed),
        dtype => integers(dtype, extents, seed),
    }
}

pub(super) fn all() -> Vec<Case> {
    let mut cases = Vec::new();
    for dtype in [DType::U8, DType::F16, DType::F32, DType::I64] {
        let x = |extents: &[usize]| vec![value(dtype, extents, 1)];
        let ints = |name, values: &[i64]| (name, Attribute::Ints(values.to_vec()));
        let int = |name, value| (name, Attribute::Int(value));
        for (extents, permutation) in [
            (&[33usize, 40][..], &[1i64, 0][..]),
            (&[2, 5, 3, 64], &[0, 2, 1, 3]),
            (&[2, 17, 3, 18], &[0, 2, 3, 1]),
            (&[3, 2, 5], &[2, 0, 1]),
            (&[33, 40, 4], &[1, 0, 2]),
        ] {
            cases.push(op("transpose", x(extents), &[ints("permutation", permutation)], 0.0));
        }
        cases.push(op("broadcast", x(&[3, 1, 8]), &[ints("dims", &[3, 5, 8])], 0.0));
        cases.push(op("tile", x(&[2, 3, 4]), &[ints("repeats", &[2, 1, 3])], 0.0));
        cases.push(op("reverse", x(&[5, 33]), &[int("axis", 1)], 0.0));
        let every_third = [int("axis", 0), int("start", 1), int("step", 3)];
        cases.push(op("slice", x(&[16, 6]), &every_third, 0.0));
        cases.push(op("slice", x(&[4, 48]), &[int("axis", 1), int("start", 16)], 0.0));
        let sizes = ints("sizes", &[8, 16, 1]);
        cases.push(op("split", x(&[3, 25, 2]), &[int("axis", 1), sizes], 0.0));
        let parts =
            vec![value(dtype, &[3, 8], 1), value(dtype, &[3, 1], 2), value(dtype, &[3, 7], 3)];
        cases.push(op("concat", parts, &[int("axis", 1)], 0.0));
        for mode in ["constant", "edge", "reflect"] {
            let attributes = [
                ints("before", &[0, 1, 2]),
                ints("after", &[0, 2, 1]),
                ("mode", Attribute::Text(mode.into())),
            ];
            cases.push(op("pad", x(&[2, 3, 5]), &attributes, 0.0));
        }
        let margin = [ints("before", &[1, 0]), ints("after", &[2, 0])];
        let fill = ("fill", Attribute::Float(7.0));
        cases.push(op("pad", x(&[3, 16]), &[margin.to_vec(), vec![fill]].concat(), 0.0));
    }
    cases
}
