//! Convolutions, pooling, normalization of channels, resampling.

use crate::reference::{Array, Case, check, flag, float, index_of, int, ints, refused, text};
use aimass_graph::Attribute;
use aimass_tensor::DType;

pub(crate) const CASES: &[Case] = &[
    ("conv", conv),
    ("conv-transpose", conv_transpose),
    ("max-pool", max_pool),
    ("average-pool", average_pool),
    ("batch-norm", batch_norm),
    ("group-norm", group_norm),
    ("resize", resize),
    ("resample", resample),
];

/// How a window moves in a case; lists as long as there are spatial axes.
struct Moves<'a> {
    strides: &'a [usize],
    before: &'a [usize],
    after: &'a [usize],
    dilations: &'a [usize],
}

impl Moves<'_> {
    fn attributes(&self) -> Vec<(String, Attribute)> {
        let list = |name: &str, values: &[usize]| {
            ints(name, &values.iter().map(|&value| value as i64).collect::<Vec<_>>())
        };
        vec![
            list("strides", self.strides),
            list("pads-before", self.before),
            list("pads-after", self.after),
            list("dilations", self.dilations),
        ]
    }

    fn positions(&self, input: &[usize], kernel: &[usize]) -> Vec<usize> {
        (0..input.len())
            .map(|i| {
                let span = (kernel[i] - 1) * self.dilations[i] + 1;
                (input[i] + self.before[i] + self.after[i] - span) / self.strides[i] + 1
            })
            .collect()
    }

    /// Where an element of the window lies at a position, if on the input.
    fn at(&self, input: &[usize], position: &[usize], tap: &[usize]) -> Option<Vec<usize>> {
        (0..input.len())
            .map(|i| {
                let at = position[i] * self.strides[i] + tap[i] * self.dilations[i];
                at.checked_sub(self.before[i]).filter(|&at| at < input[i])
            })
            .collect()
    }
}

/// Every index of a shape.
fn all(shape: &[usize]) -> Vec<Vec<usize>> {
    (0..shape.iter().product()).map(|flat| index_of(shape, flat)).collect()
}

fn joined(front: &[usize], back: &[usize]) -> Vec<usize> {
    [front, back].concat()
}

/// Shape of x, filters, window, groups and moves.
type ConvCase<'a> = (&'a [usize], usize, &'a [usize], usize, Moves<'a>);

fn conv_cases() -> Vec<ConvCase<'static>> {
    fn moves<'a>(
        strides: &'a [usize],
        before: &'a [usize],
        after: &'a [usize],
        dilations: &'a [usize],
    ) -> Moves<'a> {
        Moves { strides, before, after, dilations }
    }
    let plain = || moves(&[1, 1], &[0, 0], &[0, 0], &[1, 1]);
    let same = || moves(&[1, 1], &[1, 1], &[1, 1], &[1, 1]);
    vec![
        (&[2, 3, 5], 4, &[3], 1, moves(&[1], &[1], &[1], &[1])),
        (&[1, 2, 9], 2, &[3], 2, moves(&[2], &[3], &[0], &[2])),
        (&[1, 1, 1, 1], 1, &[1, 1], 1, plain()),
        (&[2, 3, 4, 5], 4, &[1, 1], 1, plain()),
        (&[1, 3, 7, 6], 5, &[3, 3], 1, same()),
        (&[1, 17, 6, 7], 33, &[3, 2], 1, moves(&[2, 1], &[0, 1], &[2, 0], &[1, 2])),
        (&[2, 6, 5, 5], 9, &[3, 3], 3, moves(&[2, 2], &[1, 1], &[1, 1], &[1, 1])),
        (&[1, 20, 8, 9], 20, &[3, 3], 20, same()),
        (&[1, 20, 9, 8], 20, &[5, 5], 20, moves(&[2, 2], &[2, 2], &[2, 2], &[1, 1])),
        (&[2, 4, 6, 5], 8, &[3, 3], 4, same()),
        (&[1, 2, 3, 4, 5], 3, &[2, 3, 2], 1, moves(&[1, 2, 1], &[1, 0, 1], &[0, 1, 1], &[1, 1, 2])),
        (&[0, 2, 3, 3], 2, &[3, 3], 1, same()),
        (&[1, 0, 3, 3], 2, &[3, 3], 1, same()),
        (&[1, 2, 3, 3], 0, &[3, 3], 1, same()),
        (&[1, 2, 0, 3], 2, &[1, 1], 1, same()),
        (&[1, 2, 2, 2], 2, &[1, 1], 1, moves(&[3, 9], &[4, 4], &[4, 4], &[7, 7])),
    ]
}

fn conv() {
    for (shape, filters, kernel, groups, moves) in conv_cases() {
        let own = shape[1] / groups;
        let x = Array::random(shape, 1);
        let w = Array::random(&joined(&[filters, own], kernel), 2);
        let bias = Array::random(&[filters], 3);
        let output = joined(&[shape[0], filters], &moves.positions(&shape[2..], kernel));
        let value = |index: &[usize]| -> f64 {
            let first = if filters == 0 { 0 } else { index[1] / (filters / groups) * own };
            let part = |tap: &Vec<usize>| {
                let Some(at) = moves.at(&shape[2..], &index[2..], &tap[1..]) else { return 0.0 };
                let from = joined(&[index[0], first + tap[0]], &at);
                x.at(&from) * w.at(&joined(&[index[1]], tap))
            };
            all(&joined(&[own], kernel)).iter().map(part).sum()
        };
        let plain = Array::from_fn(&output, value);
        let biased = Array::from_fn(&output, |index| value(index) + bias.at(&index[1..2]));
        let mut attributes = moves.attributes();
        attributes.push(int("groups", groups));
        for (dtype, tolerance) in [(DType::F32, 1e-5), (DType::F64, 1e-12)] {
            let inputs = [x.tensor(dtype), w.tensor(dtype), bias.tensor(dtype)];
            check("conv", &inputs[..2], &attributes, &plain, tolerance);
            check("conv", &inputs, &attributes, &biased, tolerance);
        }
    }
    let (x, w) = (Array::random(&[1, 4, 3, 3], 1), Array::random(&[2, 2, 3, 3], 2));
    let inputs = [x.f32(), w.f32()];
    refused("conv", &inputs, &[], "shape");
    refused("conv", &inputs, &[int("groups", 3)], "argument");
    refused("conv", &inputs, &[int("groups", 0)], "argument");
    let two = int("groups", 2);
    refused("conv", &inputs, &[two.clone(), ints("strides", &[1])], "argument");
    refused("conv", &inputs, &[two.clone(), ints("strides", &[0, 1])], "argument");
    refused("conv", &inputs, &[two.clone(), ints("dilations", &[2, 1])], "shape");
    refused("conv", &inputs, &[two.clone(), ints("dilations", &[i64::MAX, 1])], "elements");
    refused("conv", &inputs, &[two.clone(), ints("pads-after", &[i64::MAX, 1])], "elements");
    refused("conv", &[x.f32(), w.tensor(DType::F64)], &[two], "dtype");
    let no_window = Array::random(&[2, 4, 0, 3], 1);
    refused("conv", &[x.f32(), no_window.f32()], &[], "argument");
    refused("conv", &[x.tensor(DType::I32), w.tensor(DType::I32)], &[], "dtype");
}

fn conv_transpose() {
    for (shape, filters, kernel, groups, moves) in conv_cases() {
        if shape[2..].contains(&0) || filters == 0 {
            continue;
        }
        let own = filters / groups;
        let x = Array::random(shape, 1);
        let w = Array::random(&joined(&[shape[1], own], kernel), 2);
        let bias = Array::random(&[filters], 3);
        let more = vec![1usize; kernel.len()];
        let spread = |i: usize| {
            let span = (kernel[i] - 1) * moves.dilations[i] + 1 + more[i];
            let covered = (shape[i + 2] - 1) * moves.strides[i] + span;
            covered.checked_sub(moves.before[i] + moves.after[i])
        };
        let Some(extents) = (0..kernel.len()).map(spread).collect::<Option<Vec<usize>>>() else {
            continue;
        };
        let output = joined(&[shape[0], filters], &extents);
        let mut sums = Array::from_fn(&output, |index| bias.at(&index[1..2]));
        for index in all(shape) {
            let group = index[1] / (shape[1] / groups);
            for tap in all(&joined(&[own], kernel)) {
                let Some(at) = moves.at(&extents, &index[2..], &tap[1..]) else { continue };
                let to = joined(&[index[0], group * own + tap[0]], &at);
                let flat = to.iter().zip(&output).fold(0, |flat, (i, extent)| flat * extent + i);
                sums.data[flat] += x.at(&index) * w.at(&joined(&index[1..2], &tap));
            }
        }
        let mut attributes = moves.attributes();
        attributes.push(int("groups", groups));
        attributes.push(ints("output-pads", &vec![1; kernel.len()]));
        for (dtype, tolerance) in [(DType::F32, 1e-5), (DType::F64, 1e-12)] {
            let inputs = [x.tensor(dtype), w.tensor(dtype), bias.tensor(dtype)];
            check("conv-transpose", &inputs, &attributes, &sums, tolerance);
        }
    }
    let (x, w) = (Array::random(&[1, 4, 3, 3], 1), Array::random(&[4, 2, 1, 1], 2));
    let inputs = [x.f32(), w.f32()];
    refused("conv-transpose", &inputs, &[ints("pads-after", &[4, 0])], "shape");
    refused("conv-transpose", &inputs, &[ints("output-pads", &[1])], "argument");
    refused("conv-transpose", &inputs, &[int("groups", 3)], "argument");
    let empty = Array::random(&[1, 4, 0, 3], 1);
    refused("conv-transpose", &[empty.f32(), w.f32()], &[], "shape");
}

/// Folds the elements of every window that lie on the input.
fn pooled(x: &Array, size: &[usize], moves: &Moves<'_>, fold: impl Fn(&[f64]) -> f64) -> Array {
    let output = joined(&x.shape[..2], &moves.positions(&x.shape[2..], size));
    Array::from_fn(&output, |index| {
        let inside = all(size).into_iter().filter_map(|tap| {
            let at = moves.at(&x.shape[2..], &index[2..], &tap)?;
            Some(x.at(&joined(&index[..2], &at)))
        });
        fold(&inside.collect::<Vec<f64>>())
    })
}

fn sizes(size: &[usize]) -> (String, Attribute) {
    ints("size", &size.iter().map(|&size| size as i64).collect::<Vec<_>>())
}

fn max_pool() {
    for (shape, _, size, _, moves) in conv_cases() {
        let mut attributes = moves.attributes();
        attributes.push(sizes(size));
        let largest = |lowest: f64| move |all: &[f64]| all.iter().copied().fold(lowest, f64::max);
        let x = Array::random(shape, 1);
        for dtype in [DType::F32, DType::F64] {
            let expected = pooled(&x, size, &moves, largest(f64::NEG_INFINITY));
            check("max-pool", &[x.tensor(dtype)], &attributes, &expected, 0.0);
        }
        let x = x.map(|x| (x * 50.0).trunc());
        let expected = pooled(&x, size, &moves, largest(f64::from(i8::MIN)));
        check("max-pool", &[x.tensor(DType::I8)], &attributes, &expected, 0.0);
        let x = x.map(f64::abs);
        let expected = pooled(&x, size, &moves, largest(0.0));
        check("max-pool", &[x.tensor(DType::U8)], &attributes, &expected, 0.0);
    }
    let x = Array::new(&[1, 1, 3], [1.0, f64::NAN, 2.0]);
    let expected = Array::new(&[1, 1, 2], [f64::NAN, f64::NAN]);
    check("max-pool", &[x.f32()], &[sizes(&[2])], &expected, 0.0);
    refused("max-pool", &[x.f32()], &[sizes(&[4])], "shape-mismatch");
    refused("max-pool", &[x.f32()], &[sizes(&[0])], "argument");
    refused("max-pool", &[x.f32()], &[sizes(&[1, 1])], "argument");
    refused("max-pool", &[x.tensor(DType::Bool)], &[sizes(&[1])], "dtype");
    refused("max-pool", &[Array::random(&[1, 1], 1).f32()], &[sizes(&[])], "shape");
    // A window of far more elements than there are costs no more than those.
    let huge = [ints("size", &[1 << 40]), ints("pads-before", &[1 << 40])];
    check("max-pool", &[Array::new(&[1, 1, 1], [3.0]).f32()], &huge, &huge_pool(3.0), 0.0);
}

/// What the last two positions of a window of 2^40 elements give: nothing, and the only element.
fn huge_pool(value: f64) -> Array {
    Array::new(&[1, 1, 2], [f64::NEG_INFINITY, value])
}

fn average_pool() {
    for (shape, _, size, _, moves) in conv_cases() {
        let x = Array::random(shape, 1);
        for pads in [false, true] {
            let mut attributes = moves.attributes();
            attributes.extend([sizes(size), flag("count-pads", pads)]);
            let expected = pooled(&x, size, &moves, |all| {
                let count = if pads { size.iter().product() } else { all.len() };
                all.iter().sum::<f64>() / count.max(1) as f64
            });
            for (dtype, tolerance) in [(DType::F32, 1e-6), (DType::F64, 1e-14)] {
                check("average-pool", &[x.tensor(dtype)], &attributes, &expected, tolerance);
            }
        }
    }
    let x = Array::random(&[1, 2, 3], 1);
    refused("average-pool", &[x.tensor(DType::I32)], &[sizes(&[1])], "dtype");
}

fn batch_norm() {
    for shape in [&[2usize, 3][..], &[2, 3, 5], &[1, 1, 4, 4], &[0, 3, 2], &[2, 3, 0]] {
        let x = Array::random(shape, 1);
        let [scale, bias, mean] = [2, 3, 4].map(|seed| Array::random(&shape[1..2], seed));
        let variance = Array::random(&shape[1..2], 5).map(f64::abs);
        let expected = Array::from_fn(shape, |index| {
            let at = |array: &Array| array.at(&index[1..2]);
            let normal = (x.at(index) - at(&mean)) / (at(&variance) + 1e-3).sqrt();
            normal * at(&scale) + at(&bias)
        });
        for (dtype, tolerance) in [(DType::F32, 1e-5), (DType::F64, 1e-8)] {
            let inputs: Vec<_> =
                [&x, &scale, &bias, &mean, &variance].iter().map(|a| a.tensor(dtype)).collect();
            check("batch-norm", &inputs, &[float("epsilon", 1e-3)], &expected, tolerance);
        }
    }
    let (x, v) = (Array::random(&[2, 3, 4], 1).f32(), Array::random(&[2], 1).f32());
    let inputs = [x.clone(), v.clone(), v.clone(), v.clone(), v];
    refused("batch-norm", &inputs, &[float("epsilon", 1e-5)], "shape-mismatch");
    refused("batch-norm", &[x], &[float("epsilon", 1e-5)], "input-count");
}

fn group_norm() {
    for (shape, groups) in [
        (&[2usize, 4, 3][..], 2usize),
        (&[1, 6, 2, 5], 3),
        (&[3, 4], 1),
        (&[1, 5, 40, 3], 5),
        (&[0, 4, 2], 2),
    ] {
        let (x, own) = (Array::random(shape, 1), shape[1] / groups);
        let [scale, bias] = [2, 3].map(|seed| Array::random(&shape[1..2], seed));
        let expected = Array::from_fn(shape, |index| {
            let mut part = joined(&[own], &shape[2..]);
            let group: Vec<f64> = all(&part)
                .iter()
                .map(|at| {
                    let channel = index[1] / own * own + at[0];
                    x.at(&joined(&[index[0], channel], &at[1..]))
                })
                .collect();
            part.clear();
            let mean = group.iter().sum::<f64>() / group.len() as f64;
            let variance = group.iter().map(|x| (x - mean).powi(2)).sum::<f64>();
            let normal = (x.at(index) - mean) / (variance / group.len() as f64 + 1e-3).sqrt();
            normal * scale.at(&index[1..2]) + bias.at(&index[1..2])
        });
        let attributes = [float("epsilon", 1e-3), int("groups", groups)];
        for (dtype, tolerance) in [(DType::F32, 1e-5), (DType::F64, 1e-8)] {
            let inputs = [x.tensor(dtype), scale.tensor(dtype), bias.tensor(dtype)];
            check("group-norm", &inputs, &attributes, &expected, tolerance);
        }
    }
    let inputs = [&[2usize, 4, 3][..], &[4], &[4]].map(|shape| Array::random(shape, 1).f32());
    refused("group-norm", &inputs, &[float("epsilon", 1e-5), int("groups", 3)], "argument");
    refused("group-norm", &inputs, &[float("epsilon", -1.0), int("groups", 2)], "argument");
}

/// Where output position `i` lies on an axis.
fn center(i: usize, input: usize, output: usize, align: bool) -> f64 {
    match align {
        true if output == 1 => 0.0,
        true => i as f64 * (input as f64 - 1.0) / (output as f64 - 1.0),
        false => (i as f64 + 0.5) * input as f64 / output as f64 - 0.5,
    }
}

fn cubic(x: f64, a: f64) -> f64 {
    let x = x.abs();
    if x <= 1.0 {
        (a + 2.0) * x.powi(3) - (a + 3.0) * x * x + 1.0
    } else if x < 2.0 {
        a * x.powi(3) - 5.0 * a * x * x + 8.0 * a * x - 4.0 * a
    } else {
        0.0
    }
}

/// Weight of every element of an axis in output position `i`.
fn weights(
    mode: &str,
    i: usize,
    input: usize,
    output: usize,
    (anti, align): (bool, bool),
) -> Vec<f64> {
    let at = center(i, input, output, align);
    let filter = |x: f64| match mode {
        "bicubic" => cubic(x, if anti { -0.5 } else { -0.75 }),
        _ => (1.0 - x.abs()).max(0.0),
    };
    let mut weights = vec![0.0; input];
    if mode == "nearest" {
        let best = (at - 0.5).ceil().clamp(0.0, input as f64 - 1.0);
        weights[best as usize] = 1.0;
    } else if anti {
        let steps = (center(1, input, output, align) - center(0, input, output, align)).abs();
        let scale = if output > 1 {
            steps.max(1.0)
        } else if align {
            1.0
        } else {
            input as f64
        };
        weights.iter_mut().zip(0..).for_each(|(w, j)| *w = filter((f64::from(j) - at) / scale));
        let sum: f64 = weights.iter().sum();
        weights.iter_mut().for_each(|w| *w /= sum);
    } else {
        for j in -4..input as i64 + 4 {
            let to = j.clamp(0, input as i64 - 1) as usize;
            weights[to] += filter(j as f64 - at);
        }
    }
    weights
}

fn resize() {
    for (shape, extents) in [
        (&[1usize, 2, 3, 4][..], &[6usize, 8][..]),
        (&[2, 1, 5, 3], &[3, 7]),
        (&[1, 1, 4, 4], &[4, 9]),
        (&[1, 1, 3, 3], &[3, 3]),
        (&[1, 1, 1, 7], &[5, 1]),
        (&[1, 3, 16], &[5]),
        (&[0, 3, 4, 4], &[2, 2]),
        (&[1, 3, 4, 4], &[0, 2]),
        (&[1, 1, 2, 3, 4], &[4, 2, 5]),
    ] {
        let x = Array::random(shape, 1);
        let options = [(false, false), (false, true), (true, false), (true, true)];
        for mode in ["nearest", "bilinear", "bicubic"] {
            for (anti, align) in options {
                let output = joined(&shape[..2], extents);
                let expected = Array::from_fn(&output, |index| {
                    let part = |at: &Vec<usize>| {
                        let weight = (0..extents.len()).map(|i| {
                            let both = (shape[i + 2], extents[i]);
                            weights(mode, index[i + 2], both.0, both.1, (anti, align))[at[i]]
                        });
                        x.at(&joined(&index[..2], at)) * weight.product::<f64>()
                    };
                    all(&shape[2..]).iter().map(part).sum()
                });
                let list: Vec<i64> = extents.iter().map(|&extent| extent as i64).collect();
                let attributes = [
                    ints("extents", &list),
                    text("mode", mode),
                    flag("antialias", anti),
                    flag("align-corners", align),
                ];
                for dtype in [DType::F32, DType::F64] {
                    check("resize", &[x.tensor(dtype)], &attributes, &expected, 1e-5);
                }
            }
        }
    }
    let x = Array::random(&[1, 2, 3, 4], 1);
    refused("resize", &[x.f32()], &[ints("extents", &[3])], "shape");
    refused("resize", &[x.f32()], &[ints("extents", &[3, 1 << 33])], "elements");
    refused("resize", &[x.tensor(DType::I32)], &[ints("extents", &[3, 3])], "dtype");
    let empty = Array::random(&[1, 2, 0, 4], 1);
    refused("resize", &[empty.f32()], &[ints("extents", &[3, 3])], "shape-mismatch");
}

/// `run_op` makes inputs of all tensors, and the tables must be constants: graphs of their own are in
/// `host/graph/tests`.
fn resample() {
    let x = Array::random(&[2, 3], 1);
    let indices = Array::new(&[2, 1], [0.0, 2.0]).tensor(DType::I32);
    let weights = Array::new(&[2, 1], [1.0, 0.5]).f32();
    let axis = [int("axis", 1)];
    refused("resample", &[x.f32(), indices.clone(), weights.clone()], &axis, "argument");
    refused("resample", &[x.f32(), weights, indices], &axis, "dtype");
}
