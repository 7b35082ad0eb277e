//! The kernels for images against the plain ones, at every level and with several threads.

use super::*;
use crate::activation::{Activation, Finish, Parametric};
use crate::level::for_each_level;
use crate::matmul::Epilogue;
use crate::pool::KernelPool;
use crate::view::Rows;
use std::sync::LazyLock;

static POOL: LazyLock<KernelPool> = LazyLock::new(|| KernelPool::new(3));

fn numbers(count: usize, seed: usize) -> Vec<f32> {
    (0..count).map(|i| (((i + seed) * 7919) % 2003) as f32 / 1001.5 - 1.0).collect()
}

/// `[batch, a, b]` to `[batch, b, a]`.
fn swapped(x: &[f32], a: usize, b: usize) -> Vec<f32> {
    let at = |i: usize| x[i / (a * b) * a * b + i % a * b + i % (a * b) / a];
    (0..x.len()).map(at).collect()
}

fn axis(input: usize, kernel: usize, stride: usize, dilation: usize, pads: usize) -> Axis {
    let output = (input + 2 * pads - (kernel - 1) * dilation - 1) / stride + 1;
    Axis { input, output, kernel, stride, dilation, before: pads }
}

fn image(batch: usize, channels: usize, filters: usize, rows: Axis, columns: Axis) -> ImageDims {
    ImageDims { batch, rows, columns, channels, filters }
}

fn plain(dims: &ImageDims, groups: usize) -> ConvDims {
    let ImageDims { batch, rows, columns, channels, filters } = *dims;
    ConvDims { batch, groups, channels, filters, axes: [Axis::ONE, rows, columns] }
}

const FINISH: Finish = Finish {
    activation: Activation::With(Parametric::HardSwish),
    scaled: Some((0.75, -0.125)),
    last: Activation::Relu,
};

/// As [`FINISH`], with an activation that registers do not take.
const LATER: Finish = Finish { activation: Activation::Silu, ..FINISH };

/// What a finish of these two says, with the residual.
fn finished(finish: &Finish, sums: &[f32], residual: &[f32]) -> Vec<f32> {
    let one = |(&x, &residual): (&f32, &f32)| {
        let gate = match *finish == LATER {
            true => 1.0 / (1.0 + (-x).exp()),
            false => x.mul_add(1.0 / 6.0, 0.5).clamp(0.0, 1.0),
        };
        ((x * gate).mul_add(0.75, -0.125) + residual).max(0.0)
    };
    sums.iter().zip(residual).map(one).collect()
}

/// Runs at every level with one and three threads: all bits equal, and near what is expected.
fn check(what: &ImageDims, expected: &[f32], run: impl FnMut(Team<'_>, &mut [f32])) {
    check_within(what, expected, 1.0, run);
}

/// As [`check`], for sums of the size of `typical`.
fn check_within(
    what: &ImageDims,
    expected: &[f32],
    typical: f32,
    mut run: impl FnMut(Team<'_>, &mut [f32]),
) {
    let mut first: Option<Vec<u32>> = None;
    for_each_level(|level| {
        for team in [Team::alone(), POOL.team(3)] {
            let mut y = vec![7f32; expected.len()];
            run(team, &mut y);
            for (i, (got, want)) in y.iter().zip(expected).enumerate() {
                let near = (got - want).abs() <= 2e-5 * want.abs().max(typical);
                assert!(near, "{what:?} {level:?}: element {i}: {got}, expected {want}");
            }
            let bits: Vec<u32> = y.iter().map(|y| y.to_bits()).collect();
            assert_eq!(*first.get_or_insert_with(|| bits.clone()), bits, "{what:?} {level:?}");
        }
    });
}

/// The plain convolution, channels last and finished.
fn reference(dims: &ImageDims, groups: usize, x: &[f32], w: &[f32], bias: &[f32]) -> Vec<f32> {
    let pixels = dims.pixels() / dims.batch;
    let planes = swapped(x, dims.rows.input * dims.columns.input, dims.channels);
    let mut y = vec![0f32; dims.outputs()];
    conv(Team::alone(), &plain(dims, groups), &planes, w, Some(bias), &mut y);
    swapped(&y, dims.filters, pixels)
}

#[test]
fn tiles_give_the_plain_convolution() {
    let one = axis(1, 1, 1, 1, 0);
    for dims in [
        image(1, 32, 64, one, axis(40, 5, 1, 1, 2)),
        image(2, 37, 70, one, axis(23, 3, 1, 1, 1)),
        image(3, 16, 16, one, axis(9, 4, 1, 1, 0)),
        image(1, 5, 3, one, axis(5, 5, 1, 1, 0)),
        image(2, 3, 33, axis(3, 1, 2, 1, 1), axis(2, 3, 1, 1, 4)),
        image(1, 1, 1, one, axis(3, 3, 1, 1, 0)),
        image(3, 33, 17, axis(21, 5, 1, 1, 2), one),
        image(1, 100, 130, one, axis(300, 5, 1, 1, 4)),
    ] {
        let x = numbers(dims.inputs(), 1);
        let w = numbers(dims.filters * dims.channels * dims.taps(), 2);
        let (bias, more) = (numbers(dims.filters, 3), numbers(dims.outputs(), 4));
        let packed = pack_tiles(&w, dims.filters, dims.channels, dims.taps());
        // What sums of so many products of numbers in [-1, 1] have in the mean.
        let typical = ((dims.channels * dims.taps()) as f32).sqrt() / 3.0;
        let typical = typical.max(1.0);
        let sums = reference(&dims, 1, &x, &w, &bias);
        for finish in [FINISH, LATER] {
            let expected = finished(&finish, &sums, &more);
            let residual = Some(Rows::dense(&more, dims.filters));
            let epilogue = Epilogue { bias: Some(&bias), finish, residual };
            check_within(&dims, &expected, typical, |team, y| {
                conv_tiled(team, &dims, &x, &packed, y, &epilogue);
            });
        }
        let zero = vec![0f32; dims.filters];
        let expected = reference(&dims, 1, &x, &w, &zero);
        let plain = Epilogue::default();
        check_within(&dims, &expected, typical, |team, y| {
            conv_tiled(team, &dims, &x, &packed, y, &plain);
        });
    }
}

/// Rows of a line are the same alone, beside others, and at the end of a longer batch.
#[test]
fn tiles_of_an_item_do_not_depend_on_the_batch() {
    let one = axis(1, 1, 1, 1, 0);
    let dims = image(7, 32, 64, one, axis(50, 5, 1, 1, 0));
    let x = numbers(dims.inputs(), 5);
    let packed = pack_tiles(&numbers(32 * 64 * 5, 6), 64, 32, 5);
    let run = |batch: usize, x: &[f32], team: Team<'_>| {
        let dims = ImageDims { batch, ..dims };
        let mut y = vec![0f32; dims.outputs()];
        conv_tiled(team, &dims, x, &packed, &mut y, &Epilogue::default());
        y.iter().map(|y| y.to_bits()).collect::<Vec<_>>()
    };
    let all = run(7, &x, POOL.team(3));
    let (item, out) = (x.len() / 7, all.len() / 7);
    for i in 0..7 {
        let alone = run(1, &x[i * item..][..item], Team::alone());
        assert_eq!(alone, all[i * out..][..out], "item {i}");
    }
}

#[test]
fn gathered_windows_give_the_plain_convolution() {
    for dims in [
        image(1, 3, 16, axis(9, 3, 2, 1, 1), axis(11, 3, 2, 1, 1)),
        image(2, 20, 24, axis(7, 3, 1, 1, 1), axis(6, 3, 1, 1, 1)),
        image(2, 17, 40, axis(9, 1, 2, 1, 0), axis(7, 1, 1, 1, 0)),
        image(1, 4, 70, axis(5, 3, 1, 2, 3), axis(6, 2, 1, 2, 2)),
        image(3, 40, 33, axis(5, 5, 2, 1, 2), axis(4, 3, 3, 1, 5)),
        image(1, 1, 1, axis(1, 1, 1, 1, 0), axis(1, 1, 1, 1, 0)),
        image(1, 64, 64, axis(14, 3, 1, 1, 1), axis(14, 3, 1, 1, 1)),
        image(2, 3, 17, axis(40, 3, 2, 1, 1), axis(71, 3, 2, 1, 1)),
        image(1, 40, 24, axis(50, 3, 1, 1, 1), axis(30, 3, 1, 1, 1)),
        image(2, 5, 50, axis(9, 2, 3, 1, 0), axis(40, 5, 1, 1, 7)),
        image(1, 3, 8, axis(11, 3, 1, 2, 6), axis(26, 3, 1, 1, 1)),
        image(1, 9, 8, axis(11, 1, 2, 1, 0), axis(55, 1, 2, 1, 0)),
    ] {
        let x = numbers(dims.inputs(), 1);
        let w = numbers(dims.filters * dims.channels * dims.taps(), 2);
        let (bias, more) = (numbers(dims.filters, 3), numbers(dims.outputs(), 4));
        let packed = pack_filters(&w, dims.filters, dims.channels, dims.taps());
        let sums = reference(&dims, 1, &x, &w, &bias);
        for finish in [FINISH, LATER] {
            let expected = finished(&finish, &sums, &more);
            let residual = Some(Rows::dense(&more, dims.filters));
            let epilogue = Epilogue { bias: Some(&bias), finish, residual };
            check(&dims, &expected, |team, y| conv_packed(team, &dims, &x, &packed, y, &epilogue));
            if reads_planes(&dims) {
                let planes = swapped(&x, dims.rows.input * dims.columns.input, dims.channels);
                check(&dims, &expected, |team, y| {
                    conv_planes(team, &dims, &planes, &packed, y, &epilogue);
                });
            }
        }
    }
}

#[test]
fn one_filter_a_channel_gives_the_plain_convolution() {
    for dims in [
        image(2, 16, 16, axis(9, 3, 1, 1, 1), axis(11, 3, 1, 1, 1)),
        image(1, 24, 24, axis(9, 3, 2, 1, 1), axis(12, 3, 2, 1, 1)),
        image(1, 35, 35, axis(8, 5, 1, 1, 2), axis(14, 5, 1, 1, 2)),
        image(2, 19, 19, axis(8, 5, 2, 1, 2), axis(19, 5, 2, 1, 2)),
        image(1, 8, 8, axis(3, 3, 1, 1, 4), axis(3, 3, 1, 1, 4)),
        image(1, 16, 16, axis(9, 3, 1, 2, 2), axis(9, 3, 1, 2, 2)),
        image(1, 40, 40, axis(7, 1, 2, 1, 0), axis(9, 4, 3, 1, 1)),
        image(1, 48, 48, axis(40, 3, 1, 1, 1), axis(50, 3, 1, 1, 1)),
        image(1, 211, 211, axis(6, 5, 1, 1, 2), axis(17, 5, 1, 1, 2)),
        image(1, 83, 83, axis(4, 3, 2, 1, 1), axis(11, 3, 2, 1, 1)),
        image(1, 24, 24, axis(9, 7, 1, 1, 3), axis(17, 7, 1, 1, 3)),
        image(2, 19, 19, axis(9, 7, 2, 1, 3), axis(25, 7, 2, 1, 3)),
    ] {
        let x = numbers(dims.inputs(), 1);
        let w = numbers(dims.filters * dims.taps(), 2);
        let (bias, more) = (numbers(dims.filters, 3), numbers(dims.outputs(), 4));
        let packed = pack_depthwise(&w, dims.channels, dims.taps());
        let sums = reference(&dims, dims.channels, &x, &w, &bias);
        for finish in [FINISH, LATER] {
            let expected = finished(&finish, &sums, &more);
            let residual = Some(Rows::dense(&more, dims.filters));
            let epilogue = Epilogue { bias: Some(&bias), finish, residual };
            check(&dims, &expected, |team, y| {
                conv_depthwise(team, &dims, &x, &packed, y, &epilogue);
            });
        }
    }
}

#[test]
fn windows_side_by_side_give_the_plain_transposed_convolution() {
    for (batch, channels, filters, [h, w], [kh, kw]) in [
        (1, 24, 24, [5, 7], [2, 2]),
        (2, 9, 1, [4, 3], [2, 2]),
        (1, 5, 40, [2, 3], [1, 3]),
        (3, 33, 7, [30, 40], [3, 2]),
    ] {
        let beside = |output: usize, kernel: usize| Axis {
            input: output * kernel,
            output,
            kernel,
            stride: kernel,
            dilation: 1,
            before: 0,
        };
        let dims = image(batch, channels, filters, beside(h, kh), beside(w, kw));
        let x = numbers(batch * h * w * channels, 1);
        let weights = numbers(channels * filters * kh * kw, 2);
        let bias = numbers(filters, 3);
        let planes = swapped(&x, h * w, channels);
        let outputs = h * w * kh * kw;
        let mut y = vec![0f32; batch * outputs * filters];
        let sizes = plain(&dims, 1);
        conv_transpose(Team::alone(), &sizes, &planes, &weights, Some(&bias), &mut y);
        let y = swapped(&y, filters, outputs);
        let expected: Vec<f32> = y.iter().map(|x| x.max(0.0)).collect();
        let packed = pack_spread(&weights, channels, filters, kh * kw);
        let finish = Finish { activation: Activation::Relu, ..Finish::default() };
        check(&dims, &expected, |team, y| {
            conv_spread(team, &dims, &x, &packed, y, (Some(&bias), finish));
        });
    }
}

#[test]
fn split_sums_and_resamplings_are_the_whole_ones() {
    use crate::elementwise::{Binary, Broadcast, binary, binary_split};
    let (a, b) = (numbers(30 * 50 * 96, 1), numbers(96, 2));
    for (a, b, shapes) in [
        (&a[..], &b[..], [&[1usize, 30, 50, 96][..], &[1usize, 1, 1, 96][..]]),
        (&b[..48], &a[..], [&[48], &[30, 50, 2, 48]]),
        (&a[..], &a[..], [&[1500, 96], &[1500, 96]]),
        (&a[..], &b[..1], [&[144_000], &[1]]),
    ] {
        let plan = Broadcast::new(shapes).unwrap();
        let (mut whole, mut split) = (vec![0f32; 144_000], vec![0f32; 144_000]);
        binary(Binary::Sub, &plan, a, b, &mut whole);
        binary_split(POOL.team(3), Binary::Sub, shapes, a, b, &mut split);
        assert_eq!(whole, split);
    }
    use crate::reduce::Lanes;
    use crate::resample::{Taps, resample};
    let taps = Taps { taps: 2, indices: &[0, 1, 2, 2, 1, 0], weights: &[1., 2., 3., 4., 5., 6.] };
    let lanes = Lanes { outer: 1600, n: 3, inner: 30 };
    let (mut alone, mut split) = (vec![0f32; 144_000], vec![0f32; 144_000]);
    resample(Team::alone(), lanes, &taps, &a, &mut alone);
    resample(POOL.team(3), lanes, &taps, &a, &mut split);
    assert_eq!(alone, split);
    assert_eq!(split[91], a[121].mul_add(2.0, a[91]));
}

#[test]
fn pooled_images_are_pooled_planes() {
    for dims in [
        image(2, 5, 5, axis(7, 3, 2, 1, 1), axis(8, 3, 2, 1, 1)),
        image(1, 20, 20, axis(6, 2, 2, 1, 0), axis(6, 3, 1, 2, 4)),
    ] {
        let x = numbers(dims.inputs(), 1);
        let planes = swapped(&x, dims.rows.input * dims.columns.input, dims.channels);
        let pool = PoolDims {
            planes: dims.batch * dims.channels,
            axes: [Axis::ONE, dims.rows, dims.columns],
        };
        let alone = Team::alone();
        let mut y = vec![0f32; dims.outputs()];
        let mut cases = Vec::new();
        max_pool(alone, &pool, f32::NEG_INFINITY, &planes, &mut y);
        cases.push((ImagePool::Max, y.clone()));
        for count_pads in [false, true] {
            average_pool(alone, &pool, count_pads, &planes, &mut y);
            cases.push((ImagePool::Average { count_pads }, y.clone()));
        }
        for (kind, y) in cases {
            let expected = swapped(&y, dims.channels, dims.pixels() / dims.batch);
            let finite: Vec<f32> = expected.iter().map(|y| y.max(-1e30)).collect();
            check(&dims, &finite, |team, y| {
                image_pool(team, kind, &dims, &x, y);
                y.iter_mut().for_each(|y| *y = y.max(-1e30));
            });
        }
    }
}

#[test]
fn positions_and_taps_are_those_inside_the_input() {
    for (input, kernel, stride, dilation, before) in
        [(5, 3, 1, 1, 1), (5, 3, 2, 1, 0), (4, 2, 3, 2, 5), (1, 5, 1, 1, 2), (0, 1, 1, 1, 3)]
    {
        let axis = Axis { input, output: 7, kernel, stride, dilation, before };
        let inside = |position: usize, tap: usize| {
            let at = position * stride + tap * dilation;
            (before..before + input).contains(&at)
        };
        for tap in 0..kernel {
            let all: Vec<usize> = (0..7).filter(|&position| inside(position, tap)).collect();
            assert_eq!(axis.positions(tap).collect::<Vec<_>>(), all, "{axis:?} tap {tap}");
        }
        for position in 0..7 {
            let all: Vec<usize> = (0..kernel).filter(|&tap| inside(position, tap)).collect();
            assert_eq!(axis.taps(position).collect::<Vec<_>>(), all, "{axis:?} at {position}");
        }
    }
}
