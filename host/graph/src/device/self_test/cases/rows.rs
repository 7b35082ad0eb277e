//! Softmax, norms, rotations, reductions, scans, pooling, selection and quantization.

use super::{Case, FLOATS, floats, op, tensor};
use crate::run_op::Attribute;
use aimass_tensor::{DType, Tensor};

/// Axes of `[3, 5, 37]` and of rows that take a block each.
pub(super) fn all() -> Vec<Case> {
    let mut cases = Vec::new();
    for dtype in FLOATS {
        cases.extend(softmax(dtype));
        cases.extend(norms(dtype));
        cases.extend(reductions(dtype));
        cases.extend(sequences(dtype));
        cases.extend(selection(dtype));
        cases.extend(quantization(dtype));
    }
    cases.extend(integers());
    cases
}

fn int(name: &str, value: i64) -> (&str, Attribute) {
    (name, Attribute::Int(value))
}

fn flag(name: &str, value: bool) -> (&str, Attribute) {
    (name, Attribute::Bool(value))
}

const EPSILON: (&str, Attribute) = ("epsilon", Attribute::Float(1e-3));

fn words(x: &[u32]) -> Tensor {
    let bytes: Vec<u8> = x.iter().flat_map(|x| x.to_le_bytes()).collect();
    tensor(DType::U32, &[x.len()], &bytes)
}

fn softmax(dtype: DType) -> Vec<Case> {
    let mut cases = Vec::new();
    for name in ["softmax", "log-softmax"] {
        for axis in 0..3 {
            cases.push(op(name, vec![floats(dtype, &[3, 5, 37], 1)], &[int("axis", axis)], 8.0));
        }
        for n in [64, 2048, 9000] {
            cases.push(op(name, vec![floats(dtype, &[3, n], 2)], &[int("axis", 1)], 16.0));
        }
        // Columns that several threads share.
        cases.push(op(name, vec![floats(dtype, &[2, 300, 7], 3)], &[int("axis", 1)], 16.0));
    }
    cases
}

fn norms(dtype: DType) -> Vec<Case> {
    let mut cases = Vec::new();
    for n in [37, 64, 2048, 9000] {
        let x = || floats(dtype, &[5, n], 3);
        let (scale, bias) = (floats(dtype, &[n], 4), floats(dtype, &[n], 5));
        let all = vec![x(), scale.clone(), bias];
        cases.push(op("layer-norm", all, &[EPSILON], 32.0));
        cases.push(op("layer-norm", vec![x(), scale.clone()], &[EPSILON], 32.0));
        cases.push(op("rms-norm", vec![x(), scale], &[EPSILON], 32.0));
        cases.push(op("l2-normalize", vec![x()], &[EPSILON], 32.0));
    }
    for inner in [49, 64] {
        let vector = |seed| floats(dtype, &[6], seed);
        // A variance is no negative number.
        let variance = squares(dtype, &[6]);
        let x = || floats(dtype, &[2, 6, inner], 6);
        let all = vec![x(), vector(7), vector(8), vector(9), variance];
        cases.push(op("batch-norm", all, &[EPSILON], 32.0));
        let all = || vec![x(), vector(7), vector(8)];
        cases.push(op("group-norm", all(), &[int("groups", 3), EPSILON], 32.0));
        cases.push(op("group-norm", all(), &[int("groups", 6), EPSILON], 32.0));
    }
    for interleaved in [false, true] {
        let positions = words(&[0, 1, 77, 4095, 100_000]);
        let attributes = [int("heads", 3), flag("interleaved", interleaved)];
        cases.push(op("rope", vec![floats(dtype, &[2, 5, 96], 10), positions], &attributes, 8.0));
    }
    cases
}

/// Numbers in 1..2.
fn squares(dtype: DType, extents: &[usize]) -> Tensor {
    let one: &[u8] = match dtype {
        DType::F16 => &[0x40, 0x3c],
        DType::Bf16 => &[0xa0, 0x3f],
        _ => &[0, 0, 0xa0, 0x3f],
    };
    let count: usize = extents.iter().product();
    tensor(dtype, extents, &one.repeat(count))
}

const REDUCTIONS: [&str; 5] =
    ["reduce-sum", "reduce-mean", "reduce-prod", "reduce-max", "reduce-min"];

fn reductions(dtype: DType) -> Vec<Case> {
    let mut cases = Vec::new();
    for name in REDUCTIONS {
        for axes in [vec![0], vec![1], vec![2], vec![0, 2], vec![1, 2], vec![0, 1, 2]] {
            let x = floats(dtype, &[3, 5, 37], 11);
            cases.push(op(name, vec![x], &[("axes", Attribute::Ints(axes))], 64.0));
        }
    }
    for name in ["reduce-sum", "reduce-max"] {
        let x = floats(dtype, &[2, 20_000], 12);
        cases.push(op(name, vec![x], &[("axes", Attribute::Ints(vec![1]))], 2048.0));
    }
    for name in ["arg-max", "arg-min"] {
        for axis in 0..3 {
            let x = floats(dtype, &[3, 5, 37], 13);
            cases.push(op(name, vec![x], &[int("axis", axis)], 0.0));
        }
        cases.push(op(name, vec![floats(dtype, &[2, 3000], 14)], &[int("axis", 1)], 0.0));
    }
    for (exclusive, reverse) in [(false, false), (true, true)] {
        for (axis, n) in [(0, 37), (1, 37), (1, 1300)] {
            let attributes =
                [int("axis", axis), flag("exclusive", exclusive), flag("reverse", reverse)];
            let x = floats(dtype, &[5, n], 15);
            cases.push(op("cumulative-sum", vec![x.clone()], &attributes, 512.0));
            cases.push(op("cumulative-prod", vec![x], &attributes, 512.0));
        }
    }
    cases
}

fn sequences(dtype: DType) -> Vec<Case> {
    let mut cases = Vec::new();
    let offsets = words(&[0, 3, 3, 40, 41]);
    for name in ["ragged-mean", "ragged-sum", "ragged-max", "ragged-first", "ragged-last"] {
        for columns in [33, 256] {
            let x = floats(dtype, &[41, columns], 16);
            cases.push(op(name, vec![x, offsets.clone()], &[], 64.0));
        }
    }
    for mean in [false, true] {
        let names: Vec<u32> = (0..41).map(|i| i * 7 % 9).collect();
        let inputs = vec![floats(dtype, &[9, 33], 17), words(&names), offsets.clone()];
        cases.push(op("embedding-bag", inputs, &[flag("mean", mean)], 64.0));
    }
    cases
}

fn selection(dtype: DType) -> Vec<Case> {
    let mut cases = Vec::new();
    for (n, k) in [(37, 5), (1000, 1000), (5000, 50)] {
        for largest in [true, false] {
            let x = floats(dtype, &[3, n], 18);
            let attributes = [int("k", k), flag("largest", largest)];
            cases.push(op("top-k", vec![x], &attributes, 0.0));
        }
    }
    cases
}

const QUANTA: [(&str, DType); 5] = [
    ("i8", DType::I8),
    ("u8", DType::U8),
    ("i16", DType::I16),
    ("u16", DType::U16),
    ("i32", DType::I32),
];

fn quantization(dtype: DType) -> Vec<Case> {
    let mut cases = Vec::new();
    for (name, quantum) in QUANTA {
        let (x, scales) = (floats(dtype, &[4, 6, 5], 19), squares(dtype, &[6]));
        let attributes = [int("axis", 1), ("dtype", Attribute::Text(name.to_owned()))];
        cases.push(op("quantize", vec![x, scales.clone()], &attributes, 0.0));
        let bytes: Vec<u8> =
            (0..120 * quantum.size().unwrap_or(1)).map(|i| (i * 37) as u8).collect();
        let x = tensor(quantum, &[4, 6, 5], &bytes);
        let zeros = tensor(quantum, &[6], &bytes[..6 * quantum.size().unwrap_or(1)]);
        cases.push(op("dequantize", vec![x, scales, zeros], &[int("axis", 1)], 0.0));
    }
    cases
}

/// Integers that kernels of wider ones serve: converted before, and back behind.
fn widened() -> Vec<Case> {
    let mut cases = Vec::new();
    let axes = |axes: &[i64]| ("axes", Attribute::Ints(axes.to_vec()));
    for dtype in [DType::I8, DType::I16, DType::U8, DType::U16, DType::U32, DType::U64] {
        let x = |extents: &[usize]| vec![super::integers(dtype, extents, 21)];
        for name in ["reduce-sum", "reduce-prod"] {
            cases.push(op(name, x(&[3, 5, 37]), &[axes(&[2])], 0.0));
            cases.push(op(name, x(&[3, 5, 37]), &[axes(&[0, 2])], 0.0));
        }
        for name in ["cumulative-sum", "cumulative-prod"] {
            cases.push(op(name, x(&[5, 1300]), &[int("axis", 1), flag("reverse", true)], 0.0));
        }
        // The CPU takes extremes of the widest.
        if dtype == DType::U64 {
            continue;
        }
        for name in ["reduce-max", "reduce-min"] {
            cases.push(op(name, x(&[3, 5, 37]), &[axes(&[1])], 0.0));
            cases.push(op(name, x(&[2, 5000]), &[axes(&[1])], 0.0));
            cases.push(op(name, x(&[4, 0]), &[axes(&[1])], 0.0));
        }
        for name in ["arg-max", "arg-min"] {
            cases.push(op(name, x(&[3, 5, 37]), &[int("axis", 1)], 0.0));
        }
        if dtype != DType::U32 {
            for largest in [true, false] {
                let attributes = [int("k", 7), flag("largest", largest)];
                cases.push(op("top-k", x(&[3, 900]), &attributes, 0.0));
            }
        }
    }
    let x = super::integers(DType::I32, &[3, 900], 22);
    cases.push(op("top-k", vec![x], &[int("k", 900)], 0.0));
    cases
}

fn integers() -> Vec<Case> {
    let mut cases = Vec::new();
    for dtype in [DType::I32, DType::I64] {
        let size = dtype.size().unwrap_or(4);
        let bytes: Vec<u8> = (0..3 * 5 * 37 * size).map(|i| ((i * 7919) >> 3) as u8).collect();
        let x = || tensor(dtype, &[3, 5, 37], &bytes);
        for name in ["reduce-sum", "reduce-prod", "reduce-max", "reduce-min"] {
            let axes = |axes: &[i64]| ("axes", Attribute::Ints(axes.to_vec()));
            cases.push(op(name, vec![x()], &[axes(&[2])], 0.0));
            cases.push(op(name, vec![x()], &[axes(&[0, 2])], 0.0));
        }
        cases.push(op("arg-max", vec![x()], &[int("axis", 2)], 0.0));
        cases.push(op("cumulative-sum", vec![x()], &[int("axis", 1)], 0.0));
        // Long rows are cut.
        let long = super::integers(dtype, &[2, 20_000], 23);
        let axes = ("axes", Attribute::Ints(vec![1]));
        cases.push(op("reduce-sum", vec![long], &[axes], 0.0));
    }
    for name in ["reduce-max", "reduce-min"] {
        for (rows, columns, axis) in [(4, 15, 1), (4, 15, 0), (2, 20_000, 1)] {
            let bytes: Vec<u8> = (0..rows * columns).map(|i| u8::from(i % 7 < 5)).collect();
            let x = tensor(DType::Bool, &[rows, columns], &bytes);
            cases.push(op(name, vec![x], &[("axes", Attribute::Ints(vec![axis]))], 0.0));
        }
    }
    cases.extend(widened());
    let dims = ("dims", Attribute::Ints(vec![3, 37]));
    cases.push(op("random-bits", vec![words(&[7, 0xdead_beef])], &[dims], 0.0));
    cases
}
