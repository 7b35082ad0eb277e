//! Resizes, weighted sums, recurrent layers, and products of bytes.

use super::{Case, FLOATS, floats, graph, integers, op, tensor};
use crate::GeluForm;
use crate::op::{DynamicLinear, Op};
use crate::run_op::Attribute;
use aimass_tensor::{DType, Tensor};

pub(super) fn all() -> Vec<Case> {
    let mut cases = Vec::new();
    for dtype in FLOATS {
        cases.extend(resizes(dtype));
        cases.push(resampled(dtype));
        cases.extend(recurrent(dtype));
        cases.push(crossed(dtype));
    }
    cases.extend(bytes());
    cases.extend(dynamic());
    cases.extend(transforms());
    cases.push(extents());
    cases
}

fn text(value: &str) -> Attribute {
    Attribute::Text(value.to_owned())
}

/// Up and down, with all filters. Weights are the same bits on both sides.
fn resizes(dtype: DType) -> Vec<Case> {
    let mut cases = Vec::new();
    for mode in ["nearest", "bilinear", "bicubic"] {
        for (antialias, align) in [(false, false), (false, true), (true, false), (true, true)] {
            for extents in [vec![4, 19], vec![13, 5]] {
                let attributes = [
                    ("extents", Attribute::Ints(extents)),
                    ("mode", text(mode)),
                    ("antialias", Attribute::Bool(antialias)),
                    ("align-corners", Attribute::Bool(align)),
                ];
                cases.push(op("resize", vec![floats(dtype, &[2, 3, 9, 11], 1)], &attributes, 4.0));
            }
        }
    }
    cases
}

fn i32s(extents: &[usize], x: &[i32]) -> Tensor {
    let bytes: Vec<u8> = x.iter().flat_map(|x| x.to_le_bytes()).collect();
    tensor(DType::I32, extents, &bytes)
}

fn resampled(dtype: DType) -> Case {
    let inputs = vec![floats(dtype, &[3, 7, 5], 1)];
    graph(&format!("resample({dtype})"), inputs, 4.0, |builder, values| {
        let indices = builder.constant(i32s(&[4, 3], &[0, 6, 1, 5, 5, 2, 3, 0, 4, 6, 6, 1]))?;
        let weights = builder.constant(floats(DType::F32, &[4, 3], 2))?;
        builder.resample(values[0], 1, indices, weights)
    })
}

fn recurrent(dtype: DType) -> Vec<Case> {
    let mut cases = Vec::new();
    for (kind, gates) in [("lstm", 4), ("gru", 3), ("rnn-tanh", 1), ("rnn-relu", 1)] {
        for (reverse, batch) in [(false, 1), (true, 6)] {
            // Weights of a size at which states of eleven units stay near 1.
            let small = |extents: &[usize], seed| {
                let x = floats(DType::F32, extents, seed);
                let x = x.as_slice::<f32>().unwrap_or_default();
                let bytes =
                    x.iter().flat_map(|x| ((x * 0.125).to_bits() >> 16 << 16).to_le_bytes());
                let bytes: Vec<u8> = bytes.collect();
                match dtype {
                    DType::F32 => tensor(dtype, extents, &bytes),
                    _ => floats(dtype, extents, seed),
                }
            };
            let mut inputs = vec![
                floats(dtype, &[5, batch, 7], 1),
                small(&[gates * 11, 7], 2),
                small(&[gates * 11, 11], 3),
                floats(dtype, &[2 * gates * 11], 4),
            ];
            let states = if kind == "lstm" { 2 } else { 1 };
            inputs.extend((0..states).map(|state| floats(dtype, &[batch, 11], 5 + state)));
            let attributes = [("kind", text(kind)), ("reverse", Attribute::Bool(reverse))];
            // Halves of the CPU are rounded where those of the device are, but for relu's growth.
            let tolerance = if dtype == DType::F32 { 128.0 } else { 32.0 };
            cases.push(op("recurrent", inputs, &attributes, tolerance));
        }
    }
    cases
}

/// A product whose sides broadcast along different axes.
fn crossed(dtype: DType) -> Case {
    let sides = vec![floats(dtype, &[3, 1, 4, 17], 1), floats(dtype, &[2, 17, 9], 2)];
    op("matmul", sides, &[], 32.0)
}

fn bytes() -> Vec<Case> {
    let mut cases = Vec::new();
    for (x, y) in [
        (DType::U8, DType::I8),
        (DType::U8, DType::U8),
        (DType::I8, DType::U8),
        (DType::I8, DType::I8),
    ] {
        for [m, n, k] in [[1, 33, 65], [20, 70, 130]] {
            let sides = vec![
                integers(x, &[3, m, k], 1),
                integers(y, &[2, 1, k, n], 2),
                integers(x, &[m], 3),
                integers(y, &[n], 4),
            ];
            cases.push(op("matmul-integer", sides, &[], 0.0));
            let inputs = vec![integers(x, &[m, k], 5)];
            let name = format!("scaled product({x} [{m}, {k}], {y} [{k}, {n}])");
            cases.push(graph(&name, inputs, 0.0, move |builder, values| {
                let w = builder.constant(integers(y, &[k, n], 6))?;
                let sums = builder.matmul_integer(values[0], w, None, None)?;
                let sums = builder.cast(sums, DType::F32)?;
                let scale = builder.constant(floats(DType::F32, &[n], 7))?;
                builder.mul(sums, scale)
            }));
        }
    }
    cases
}

/// Layers whose rows are quantized on the way: the bits of the CPU, but for the activation.
fn dynamic() -> Vec<Case> {
    let mut cases = Vec::new();
    for dtype in [DType::I8, DType::U8] {
        for [m, n, k] in [[1, 33, 64], [5, 16, 200], [40, 70, 130]] {
            for fused in [false, true] {
                let inputs = vec![floats(DType::F32, &[m, k], 1), floats(DType::F32, &[m, n], 2)];
                let name = format!("dynamic layer([{m}, {k}] -> {n}, {dtype}, fused {fused})");
                let tolerance = if fused { 64.0 } else { 0.0 };
                cases.push(graph(&name, inputs, tolerance, move |builder, values| {
                    let weights: Vec<u8> = (0..k * n).map(|i| (i * 37 % 101) as u8).collect();
                    let w = builder.constant(tensor(dtype, &[k, n], &weights))?;
                    let scale = builder.constant(floats(DType::F32, &[n], 3))?;
                    let zeros: Vec<u8> = (0..n).map(|i| (i % 50) as u8).collect();
                    let zero = builder.constant(tensor(dtype, &[n], &zeros))?;
                    let layer = Op::DynamicLinear(DynamicLinear);
                    let y = builder.push_one(layer, &[values[0], w, scale, zero])?;
                    if !fused {
                        return Ok(y);
                    }
                    let bias = builder.constant(floats(DType::F32, &[n], 4))?;
                    let y = builder.add(y, bias)?;
                    let y = builder.gelu(y, GeluForm::Erf)?;
                    builder.add(y, values[1])
                }));
            }
        }
    }
    cases
}

/// Lengths with and without factors, there and back; sums in another order than the CPU's.
fn transforms() -> Vec<Case> {
    let mut cases = Vec::new();
    for n in [1, 12, 67, 400] {
        for inverse in [false, true] {
            let attributes = [("axis", Attribute::Int(1)), ("inverse", Attribute::Bool(inverse))];
            let x = floats(DType::F32, &[3, n, 2], 1);
            cases.push(op("fft", vec![x], &attributes, 16.0 + 4.0 * n as f64));
        }
    }
    cases
}

fn extents() -> Case {
    op("shape-of", vec![floats(DType::F32, &[3, 1, 7], 1)], &[], 0.0)
}
