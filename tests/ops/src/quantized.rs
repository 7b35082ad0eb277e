//! Quantized numbers: conversions and layers.

use crate::reference::{Array, Case, check, flag, int, refused, text};
use aimass_tensor::{DType, Tensor};

pub(crate) const CASES: &[Case] =
    &[("quantize", quantize), ("dequantize", dequantize), ("quantized-linear", quantized_linear)];

const QUANTA: [DType; 5] = [DType::I8, DType::U8, DType::I16, DType::U16, DType::I32];

fn range(dtype: DType) -> (f64, f64) {
    match dtype {
        DType::I8 => (-128.0, 127.0),
        DType::U8 => (0.0, 255.0),
        DType::I16 => (-32768.0, 32767.0),
        DType::U16 => (0.0, 65535.0),
        _ => (f64::from(i32::MIN), f64::from(i32::MAX)),
    }
}

/// Shapes of `x` with the axis that scales belong to, if any.
const SHAPES: [(&[usize], Option<usize>); 10] = [
    (&[], None),
    (&[7], None),
    (&[7], Some(0)),
    (&[2, 3, 4], None),
    (&[2, 3, 4], Some(0)),
    (&[2, 3, 4], Some(1)),
    (&[2, 3, 4], Some(2)),
    (&[1, 1], Some(1)),
    (&[0, 3], Some(1)),
    (&[3, 0], Some(0)),
];

/// Scales of powers of two (so that references are exact) and zero points, and which of them an
/// element has.
fn scaling(shape: &[usize], axis: Option<usize>, dtype: DType) -> (Array, Array) {
    let own: &[usize] = match axis {
        Some(axis) => &shape[axis..=axis],
        None => &[],
    };
    let signed = dtype != DType::U8 && dtype != DType::U16;
    let scales = Array::random(own, 3).map(|x| (x.floor()).exp2());
    let zeros = Array::random(own, 4).map(|x| (x * 10.0).floor() + if signed { 0.0 } else { 30.0 });
    (scales, zeros)
}

fn of(scaling: &Array, axis: Option<usize>, index: &[usize]) -> f64 {
    axis.map_or_else(|| scaling.data[0], |axis| scaling.at(&[index[axis]]))
}

fn axis_attribute(axis: Option<usize>) -> Vec<(String, aimass_graph::Attribute)> {
    axis.map(|axis| int("axis", axis)).into_iter().collect()
}

fn quantize() {
    for ((shape, axis), dtype) in SHAPES.into_iter().flat_map(|s| QUANTA.map(|dtype| (s, dtype))) {
        // Quarters, so that halves of a scale come up; some beyond every range.
        let x = Array::random(shape, 1)
            .map(|x| if x > 1.9 { x * 1e12 } else { (x * 16.0).round() / 4.0 });
        let (scales, zeros) = scaling(shape, axis, dtype);
        let (low, high) = range(dtype);
        let expected = |zeros: &Array| {
            Array::from_fn(shape, |index| {
                let scaled = x.at(index) / of(&scales, axis, index);
                (scaled.round_ties_even() + of(zeros, axis, index)).clamp(low, high)
            })
        };
        let mut attributes = axis_attribute(axis);
        attributes.push(text("dtype", dtype.name()));
        let inputs = [x.f32(), scales.f32(), zeros.tensor(dtype)];
        check("quantize", &inputs, &attributes, &expected(&zeros), 0.0);
        check("quantize", &inputs[..2], &attributes, &expected(&zeros.map(|_| 0.0)), 0.0);
    }
    let x = Array::random(&[2, 3], 1).f32();
    let scale = |shape: &[usize]| Array::random(shape, 2).f32();
    let to = |dtype: &str| vec![text("dtype", dtype)];
    refused("quantize", &[x.clone(), scale(&[3])], &to("i8"), "shape");
    refused("quantize", &[x.clone(), scale(&[])], &to("i64"), "dtype");
    let zero = Array::new(&[], [0.0]);
    let inputs = [x.clone(), scale(&[]), zero.tensor(DType::U8)];
    refused("quantize", &inputs, &to("i8"), "dtype");
    let along = |axis: usize| vec![text("dtype", "i8"), int("axis", axis)];
    refused("quantize", &[x.clone(), scale(&[3])], &along(0), "shape");
    refused("quantize", &[x.clone(), scale(&[3])], &along(2), "axis");
    refused("quantize", &[zero.tensor(DType::I8), scale(&[])], &to("i8"), "dtype");
}

fn dequantize() {
    for ((shape, axis), dtype) in SHAPES.into_iter().flat_map(|s| QUANTA.map(|dtype| (s, dtype))) {
        let (low, high) = range(dtype);
        let x = Array::random(shape, 1).map(|x| (x * 100.0).round().clamp(low, high));
        let (scales, zeros) = scaling(shape, axis, dtype);
        let expected = |zeros: &Array| {
            Array::from_fn(shape, |index| {
                (x.at(index) - of(zeros, axis, index)) * of(&scales, axis, index)
            })
        };
        let attributes = axis_attribute(axis);
        let inputs = [x.tensor(dtype), scales.f32(), zeros.tensor(dtype)];
        check("dequantize", &inputs, &attributes, &expected(&zeros), 0.0);
        check("dequantize", &inputs[..2], &attributes, &expected(&zeros.map(|_| 0.0)), 0.0);
    }
    let x = Array::new(&[2], [1.0, 2.0]);
    let one = Array::new(&[], [1.0]);
    refused("dequantize", &[x.f32(), one.f32()], &[], "dtype");
    refused("dequantize", &[x.tensor(DType::I8), x.f32()], &[], "shape");
    let inputs = [x.tensor(DType::I8), one.f32(), one.tensor(DType::U8)];
    refused("dequantize", &inputs, &[], "dtype");
}

fn quantized_linear() {
    for (lead, k, n) in
        [(&[][..], 3, 4), (&[2][..], 10, 17), (&[2, 3], 5, 1), (&[0], 3, 4), (&[2], 0, 3)]
    {
        for (dtype, group) in
            [DType::I8, DType::U8].into_iter().flat_map(|d| [1usize, 4, 100].map(|g| (d, g)))
        {
            let x = Array::random(&[lead, &[k]].concat(), 1);
            let groups = k.div_ceil(group);
            let low = if dtype == DType::I8 { 128.0 } else { 0.0 };
            let byte = |x: f64| ((x + 2.0) * 1024.0).floor() % 256.0 - low;
            let w = Array::random(&[n, k], 2).map(byte);
            let (scales, zeros) =
                (Array::random(&[n, groups], 3), Array::random(&[n, groups], 4).map(byte));
            let bias = Array::random(&[n], 5);
            let out = [lead, &[n]].concat();
            let expected = |zeros: &Array, bias: &Array| {
                Array::from_fn(&out, |index| {
                    let (lead, column) = (&index[..index.len() - 1], index[index.len() - 1]);
                    let term = |p: usize| {
                        let own = [column, p / group];
                        let w = (w.at(&[column, p]) - zeros.at(&own)) * scales.at(&own);
                        x.at(&[lead, &[p]].concat()) * w
                    };
                    bias.at(&[column]) + (0..k).map(term).sum::<f64>()
                })
            };
            let [tx, tw, ts] = [x.f32(), w.tensor(dtype), scales.f32()];
            let [tz, tb] = [zeros.tensor(dtype), bias.f32()];
            let run = |more: &[Tensor], attributes: &[_], zeros: &Array, bias: &Array| {
                let inputs = [&[tx.clone(), tw.clone(), ts.clone()], more].concat();
                let attributes = [&[int("group", group)], attributes].concat();
                check("quantized-linear", &inputs, &attributes, &expected(zeros, bias), 1e-4);
            };
            let middle = zeros.map(|_| if dtype == DType::I8 { 0.0 } else { 128.0 });
            let none = bias.map(|_| 0.0);
            run(&[], &[], &middle, &none);
            run(std::slice::from_ref(&tz), &[], &zeros, &none);
            run(&[tz, tb.clone()], &[], &zeros, &bias);
            run(&[tb], &[flag("zero-points", false)], &middle, &bias);
        }
    }
    let x = Array::random(&[2, 5], 1).f32();
    let w = Array::random(&[3, 5], 1);
    let scales = |shape: &[usize]| Array::random(shape, 2).f32();
    let refuse = |inputs: &[Tensor], group: usize, code: &str| {
        refused("quantized-linear", inputs, &[int("group", group)], code);
    };
    let i8s = w.tensor(DType::I8);
    refuse(&[x.clone(), i8s.clone(), scales(&[3, 2])], 0, "argument");
    refuse(&[x.clone(), i8s.clone(), scales(&[3, 3])], 4, "shape");
    refuse(&[x.clone(), w.f32(), scales(&[3, 2])], 4, "dtype");
    refuse(&[x.clone(), i8s.clone(), scales(&[3, 2]), w.tensor(DType::U8)], 4, "shape");
    let zeros = Array::random(&[3, 2], 1).map(f64::abs).tensor(DType::U8);
    refuse(&[x.clone(), i8s.clone(), scales(&[3, 2]), zeros], 4, "dtype");
    refuse(&[scales(&[2, 4]), i8s, scales(&[3, 2])], 4, "shape");
}
