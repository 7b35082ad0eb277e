//! Ops that select or update by index, and values that are made by counting.

use super::{Case, floats, integers, op, tensor};
use crate::run_op::Attribute;
use aimass_tensor::{DType, Tensor};

fn value(dtype: DType, extents: &[usize], seed: u64) -> Tensor {
    match dtype {
        DType::F32 | DType::F16 => floats(dtype, extents, seed),
        dtype => integers(dtype, extents, seed),
    }
}

/// Indices below `limits`, which take turns.
pub(super) fn indices(dtype: DType, extents: &[usize], limits: &[usize]) -> Tensor {
    let n: usize = extents.iter().product();
    let size = dtype.size().expect("whole bytes");
    let number = |i: usize| (i * i * 7 + i * 3) % limits[i % limits.len()];
    let bytes: Vec<u8> = (0..n).flat_map(|i| number(i).to_le_bytes()[..size].to_vec()).collect();
    tensor(dtype, extents, &bytes)
}

pub(super) fn all() -> Vec<Case> {
    let mut cases = Vec::new();
    let axis = |axis| ("axis", Attribute::Int(axis));
    let types = [DType::I32, DType::I64, DType::U32, DType::I64];
    for (dtype, index) in [DType::U8, DType::F16, DType::F32, DType::I64].into_iter().zip(types) {
        let x = value(dtype, &[9, 6, 5], 1);
        let rows = vec![value(dtype, &[33, 64], 1), indices(index, &[2, 7], &[33])];
        cases.push(op("gather", rows, &[axis(0)], 0.0));
        cases.push(op("gather", vec![x.clone(), indices(index, &[4], &[6])], &[axis(1)], 0.0));
        let own = vec![x.clone(), indices(index, &[9, 40, 3], &[6])];
        cases.push(op("gather-elements", own, &[axis(1)], 0.0));
        let tuples = vec![x.clone(), indices(index, &[7, 2], &[9, 6])];
        cases.push(op("gather-nd", tuples, &[], 0.0));
        let batch = [("batch-dims", Attribute::Int(1))];
        let tuples = vec![x.clone(), indices(index, &[9, 4, 1], &[6])];
        cases.push(op("gather-nd", tuples, &batch, 0.0));
        cases.push(op("scatter-elements", elements(dtype, index), &[axis(1)], 0.0));
        cases.push(op("scatter-nd", slices(dtype, index), &[], 0.0));
    }
    for dtype in [DType::I8, DType::U16, DType::I32, DType::U64, DType::F32] {
        for mode in ["add", "mul", "max", "min"] {
            let mode = ("mode", Attribute::Text(mode.into()));
            let inputs = elements(dtype, DType::I64);
            cases.push(op("scatter-elements", inputs, &[axis(1), mode.clone()], 0.0));
            cases.push(op("scatter-nd", slices(dtype, DType::I32), &[mode], 0.0));
        }
    }
    // Slices that are moved 16 bytes at a time, and none at all.
    for width in [64, 0] {
        let (x, own) = (floats(DType::F32, &[33, width], 1), indices(DType::I64, &[7, 1], &[33]));
        cases.push(op("gather-nd", vec![x.clone(), own.clone()], &[], 0.0));
        let updates = floats(DType::F32, &[7, width], 2);
        cases.push(op("scatter-nd", vec![x, own, updates], &[], 0.0));
    }
    for (name, dtype) in
        [("bool", DType::I8), ("f16", DType::U32), ("f32", DType::I64), ("i64", DType::I32)]
    {
        let attributes = [("depth", Attribute::Int(9)), ("dtype", Attribute::Text(name.into()))];
        cases.push(op("one-hot", vec![indices(dtype, &[4, 5], &[12])], &attributes, 0.0));
    }
    let offsets = [0u32, 3, 3, 200, 201].map(u32::to_le_bytes).concat();
    cases.push(op("positions", vec![tensor(DType::U32, &[5], &offsets)], &[], 0.0));
    cases
}

/// More updates along an axis than places, so that some meet.
fn elements(dtype: DType, index: DType) -> Vec<Tensor> {
    let places = indices(index, &[9, 40, 3], &[6]);
    vec![value(dtype, &[9, 6, 5], 1), places, value(dtype, &[9, 40, 3], 2)]
}

fn slices(dtype: DType, index: DType) -> Vec<Tensor> {
    let places = indices(index, &[50, 2], &[9, 6]);
    vec![value(dtype, &[9, 6, 5], 1), places, value(dtype, &[50, 5], 2)]
}
