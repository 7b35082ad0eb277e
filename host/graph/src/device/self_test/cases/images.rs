//! Convolutions and pooling, of constant weights (which become operations on images) and of others.

use super::{Case, FLOATS, floats, graph, integers, op};
use crate::run_op::Attribute;
use crate::{ConvValues, Window};
use aimass_tensor::DType;

/// A convolution: channels, filters, extent of the images, window, stride, groups.
type Shape = [usize; 6];

const SHAPES: &[Shape] = &[
    [3, 24, 17, 3, 2, 1],
    [16, 32, 9, 1, 1, 1],
    [32, 70, 8, 3, 1, 1],
    [24, 24, 11, 3, 1, 24],
    [8, 12, 7, 5, 1, 4],
];

pub(super) fn all() -> Vec<Case> {
    let mut cases: Vec<Case> = SHAPES.iter().map(|&shape| layers(shape)).collect();
    cases.push(pooled());
    cases.extend([1, 2, 4].map(windows));
    for dtype in [DType::I8, DType::U8, DType::I32, DType::I64] {
        let sizes = [("size", ints(3)), ("strides", ints(2)), ("pads-before", ints(1))];
        cases.push(op("max-pool", vec![integers(dtype, &[2, 5, 9, 8], 2)], &sizes, 0.0));
    }
    for dtype in FLOATS {
        cases.extend(SHAPES.iter().map(|&shape| plain(dtype, shape)));
        for name in ["max-pool", "average-pool"] {
            let sizes = [
                ("size", ints(3)),
                ("strides", ints(2)),
                ("pads-before", ints(1)),
                ("pads-after", ints(1)),
            ];
            cases.push(op(name, vec![floats(dtype, &[2, 5, 9, 8], 1)], &sizes, 8.0));
        }
    }
    cases
}

fn ints(n: i64) -> Attribute {
    Attribute::Ints(vec![n, n])
}

fn window(size: usize, stride: usize) -> Window {
    let pad = vec![(size / 2) as u64; 2];
    Window {
        strides: vec![stride as u64; 2],
        pads_before: pad.clone(),
        pads_after: pad,
        dilations: vec![1; 2],
    }
}

/// Two layers, with bias and activation, of which the second adds what the first made.
fn layers([channels, filters, extent, size, stride, groups]: Shape) -> Case {
    let inputs = vec![floats(DType::F32, &[2, channels, extent, extent], 1)];
    let name = format!("images({channels} -> {filters}, {extent}, window {size}, {groups} groups)");
    let tolerance = 64.0 + (channels * size * size + filters * 9) as f64 * 8.0;
    graph(&name, inputs, tolerance, move |builder, values| {
        let w = floats(DType::F32, &[filters, channels / groups, size, size], 2);
        let w = builder.constant(w)?;
        let bias = Some(builder.constant(floats(DType::F32, &[filters], 3))?);
        let first = ConvValues { x: values[0], w, bias };
        let y = builder.conv(first, window(size, stride), groups as u32)?;
        let y = builder.relu(y)?;
        let w = builder.constant(floats(DType::F32, &[filters, filters, 3, 3], 4))?;
        let z = builder.conv(ConvValues { x: y, w, bias }, window(3, 1), 1)?;
        let z = builder.add(z, y)?;
        builder.silu(z)
    })
}

/// A layer that is worth a product of its windows, where that is fast.
fn windows(channels: usize) -> Case {
    let inputs = vec![floats(DType::F32, &[1, channels, 33, 33], 1)];
    graph(&format!("images({channels} -> 128, windows)"), inputs, 256.0, move |builder, values| {
        let w = builder.constant(floats(DType::F32, &[128, channels, 2, 2], 2))?;
        let own = Window {
            strides: vec![1; 2],
            pads_before: vec![0; 2],
            pads_after: vec![0; 2],
            dilations: vec![1; 2],
        };
        let y = builder.conv(ConvValues { x: values[0], w, bias: None }, own, 1)?;
        builder.relu(y)
    })
}

/// A layer, what is largest in its windows, and a transposed layer.
fn pooled() -> Case {
    let inputs = vec![floats(DType::F32, &[1, 4, 12, 12], 1)];
    graph("images(pooled, transposed)", inputs, 512.0, |builder, values| {
        let w = builder.constant(floats(DType::F32, &[16, 4, 3, 3], 2))?;
        let y = builder.conv(ConvValues { x: values[0], w, bias: None }, window(3, 1), 1)?;
        let y = builder.max_pool(y, &[2, 2], window_of(2))?;
        let w = builder.constant(floats(DType::F32, &[16, 6, 2, 2], 3))?;
        let y = ConvValues { x: y, w, bias: None };
        builder.conv_transpose(y, window_of(2), 1, &[0, 0])
    })
}

/// Windows side by side.
fn window_of(size: u64) -> Window {
    Window {
        strides: vec![size; 2],
        pads_before: vec![0; 2],
        pads_after: vec![0; 2],
        dilations: vec![1; 2],
    }
}

/// Weights that are an input.
fn plain(dtype: DType, [channels, filters, extent, size, stride, groups]: Shape) -> Case {
    let inputs = vec![
        floats(dtype, &[2, channels, extent, extent], 1),
        floats(dtype, &[filters, channels / groups, size, size], 2),
        floats(dtype, &[filters], 3),
    ];
    let name = format!("conv({dtype} {channels} -> {filters}, {extent}, {size}, {groups})");
    let tolerance = if dtype == DType::F32 { 32.0 + (channels * size * size) as f64 } else { 24.0 };
    graph(&name, inputs, tolerance, move |builder, values| {
        let values = ConvValues { x: values[0], w: values[1], bias: Some(values[2]) };
        builder.conv(values, window(size, stride), groups as u32)
    })
}
