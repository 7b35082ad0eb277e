//! Convolutions and transposed ones, of both layouts.

use crate::reference::{Guarded, Random, close, decode, device, encode, epsilon};
use aimass_cuda::conv::{
    Axis, ConvOperands, ConvShape, Layout, conv, conv_depthwise, conv_scratch, conv_transpose,
};
use aimass_cuda::matmul::{Activation, Finish};
use aimass_cuda::{Form, Slice};

const FORMS: [Form; 3] = [Form::F32, Form::F16, Form::Bf16];

/// An axis with as many positions as fit.
fn axis(input: u32, kernel: u32, stride: u32, dilation: u32, pads: (u32, u32)) -> Axis {
    let padded = input + pads.0 + pads.1;
    let output = (padded - (kernel - 1) * dilation - 1) / stride + 1;
    Axis { input, output, kernel, stride, dilation, before: pads.0 }
}

fn count(axes: &[Axis; 3], of: fn(&Axis) -> u32) -> usize {
    axes.iter().map(|axis| of(axis) as usize).product()
}

/// Where element `(image, channel, position)` lies.
fn at(layout: Layout, channels: usize, positions: usize, [n, c, p]: [usize; 3]) -> usize {
    match layout {
        Layout::ChannelsFirst => (n * channels + c) * positions + p,
        Layout::ChannelsLast => (n * positions + p) * channels + c,
    }
}

/// Positions along three axes from one number, and back.
fn split(index: usize, extents: [usize; 3]) -> [usize; 3] {
    [index / extents[2] / extents[1], index / extents[2] % extents[1], index % extents[2]]
}

fn extents(axes: &[Axis; 3], of: fn(&Axis) -> u32) -> [usize; 3] {
    axes.map(|axis| of(&axis) as usize)
}

/// `(numbers of x, of w)` to sums without bias, by the definition.
fn expected(shape: &ConvShape, transposed: bool, x: &[f64], w: &[f64]) -> Vec<f64> {
    let (wide, narrow) = (extents(&shape.axes, |a| a.input), extents(&shape.axes, |a| a.output));
    let kernel = extents(&shape.axes, |a| a.kernel);
    let [wides, narrows, taps] = [wide, narrow, kernel].map(|e| e.iter().product::<usize>());
    let (xs, ys) = if transposed { (narrows, wides) } else { (wides, narrows) };
    let (channels, filters) = (shape.channels as usize, shape.filters as usize);
    let groups = shape.groups as usize;
    let (own_channels, own_filters) = (channels / groups, filters / groups);
    let mut y = vec![0.0; shape.batch as usize * filters * ys];
    for n in 0..shape.batch as usize {
        for filter in 0..filters {
            for c in 0..own_channels {
                let channel = filter / own_filters * own_channels + c;
                for tap in 0..taps {
                    let weight = match (transposed, shape.layout) {
                        (true, _) => (channel * own_filters + filter % own_filters) * taps + tap,
                        (false, Layout::ChannelsFirst) => (filter * own_channels + c) * taps + tap,
                        (false, Layout::ChannelsLast) => (filter * taps + tap) * own_channels + c,
                    };
                    for position in 0..narrows {
                        let (from, t) = (split(position, narrow), split(tap, kernel));
                        let reach: Vec<Option<usize>> = (0..3)
                            .map(|i| {
                                let a = shape.axes[i];
                                let reach =
                                    from[i] * a.stride as usize + t[i] * a.dilation as usize;
                                let inside = reach.checked_sub(a.before as usize);
                                inside.filter(|&inside| inside < wide[i])
                            })
                            .collect();
                        let [Some(a), Some(b), Some(c)] = reach[..] else { continue };
                        let far = (a * wide[1] + b) * wide[2] + c;
                        let (xp, yp) = if transposed { (position, far) } else { (far, position) };
                        let to = at(shape.layout, filters, ys, [n, filter, yp]);
                        y[to] += x[at(shape.layout, channels, xs, [n, channel, xp])] * w[weight];
                    }
                }
            }
        }
    }
    y
}

struct Extras {
    bias: bool,
    residual: bool,
    finish: Finish,
    /// Elements in front of each operand, to misalign it.
    offset: usize,
}

const PLAIN: Extras = Extras {
    bias: true,
    residual: false,
    finish: Finish { activation: Activation::None, scaled: None, last: Activation::None },
    offset: 0,
};

/// Which launcher.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Plain,
    Transposed,
    Depthwise,
}

fn check(form: Form, shape: &ConvShape, kind: Kind, extras: &Extras) {
    let transposed = kind == Kind::Transposed;
    let mut random = Random::new(u64::from(shape.channels * 31 + shape.filters));
    let (wide, narrow) = (count(&shape.axes, |a| a.input), count(&shape.axes, |a| a.output));
    let (xs, ys) = if transposed { (narrow, wide) } else { (wide, narrow) };
    let batch = shape.batch as usize;
    let results = batch * shape.filters as usize * ys;
    let pairs = shape.channels as usize * (shape.filters / shape.groups) as usize;
    let lengths = [
        batch * shape.channels as usize * xs,
        pairs * count(&shape.axes, |a| a.kernel),
        shape.filters as usize,
        results,
    ];
    let numbers = lengths.map(|len| random.floats(form, len));
    let mut laid = numbers.clone();
    if kind == Kind::Depthwise {
        let taps = count(&shape.axes, |a| a.kernel);
        let channels = shape.channels as usize;
        for (i, number) in numbers[1].iter().enumerate() {
            laid[1][i % taps * channels + i / taps] = *number;
        }
    }
    let padded = |numbers: &[f64]| {
        let front = vec![f64::NAN; extras.offset];
        Guarded::new(&encode(form, &[&front, numbers].concat()))
    };
    let places = laid.each_ref().map(|numbers| padded(numbers));
    let part = |memory: &'_ Guarded| extras.offset * form.bytes()..memory.slice().bytes();
    let slices = places.each_ref().map(|memory| {
        let range = part(memory);
        memory.slice().part(range.start, range.len()).expect("a part")
    });
    let y = Guarded::poisoned(results * form.bytes());
    let scratch =
        Guarded::poisoned(if transposed { 0 } else { conv_scratch(device(), form, shape) });
    let operands = ConvOperands {
        x: slices[0],
        w: slices[1],
        bias: if extras.bias { slices[2] } else { Slice::none() },
        residual: if extras.residual { slices[3] } else { Slice::none() },
        y: y.slice(),
        scratch: scratch.slice(),
    };
    let mut queue = device().queue().expect("a turn");
    let run = match kind {
        Kind::Plain => conv,
        Kind::Transposed => conv_transpose,
        Kind::Depthwise => conv_depthwise,
    };
    run(&mut queue, form, shape, &operands, extras.finish).expect("launches");
    scratch.content(&mut queue);
    let found = decode(form, &y.content(&mut queue));
    let mut sums = expected(shape, transposed, &numbers[0], &numbers[1]);
    for (i, sum) in sums.iter_mut().enumerate() {
        let filter = match shape.layout {
            Layout::ChannelsFirst => i / ys % shape.filters as usize,
            Layout::ChannelsLast => i % shape.filters as usize,
        };
        *sum += if extras.bias { numbers[2][filter] } else { 0.0 };
        *sum += if extras.residual { numbers[3][i] } else { 0.0 };
        *sum = match extras.finish.last {
            Activation::Relu => sum.max(0.0),
            Activation::HardSwish => *sum * (*sum / 6.0 + 0.5).clamp(0.0, 1.0),
            _ => *sum,
        };
    }
    let terms = (pairs * count(&shape.axes, |a| a.kernel) / shape.filters.max(1) as usize).max(1);
    let tolerance = epsilon(form).max(4e-7 * (terms as f64).sqrt() * 8.0);
    close(&format!("{shape:?} {form:?} {transposed}"), &found, &sums, tolerance);
}

fn image(input: [u32; 2], kernel: u32, stride: u32, pad: u32) -> [Axis; 3] {
    let own = |input| axis(input, kernel, stride, 1, (pad, pad));
    [Axis::ONE, own(input[0]), own(input[1])]
}

/// Axes, groups and layouts at random.
fn draw(random: &mut Random, kind: Kind) {
    let mut drawn_axis = || {
        let (kernel, dilation) = (1 + random.below(4), 1 + random.below(3));
        let reach = (kernel - 1) * dilation;
        let pads = (random.below(reach + 1) as u32, random.below(3) as u32);
        let input = (reach + 1 + random.below(9)) as u32;
        axis(input, kernel as u32, 1 + random.below(3) as u32, dilation as u32, pads)
    };
    let axes = match (drawn_axis(), drawn_axis(), drawn_axis()) {
        (_, _, c) if c.input % 3 == 0 => [Axis::ONE, Axis::ONE, c],
        (a, b, c) if c.input % 4 == 1 && b.input < 8 => [a, b, c],
        (_, b, c) => [Axis::ONE, b, c],
    };
    let groups = random.of(&[1, 1, 1, 2, 3]);
    let each = |random: &mut Random| random.of(&[1, 2, 3, 4, 5, 8, 16, 24, 33]) as u32;
    let (channels, filters) = (groups * each(random), groups * each(random));
    let layout = random.of(&LAYOUTS);
    let mut shape =
        ConvShape { batch: random.below(3) as u32, groups, channels, filters, axes, layout };
    if kind == Kind::Depthwise {
        let (layout, axes) = (Layout::ChannelsLast, [Axis::ONE, axes[1], axes[2]]);
        shape = ConvShape { groups: channels, filters: channels, axes, layout, ..shape };
    }
    let last = random.of(&[Activation::None, Activation::Relu, Activation::HardSwish]);
    let finish = Finish { last, ..Finish::default() };
    let (bias, residual, offset) = (random.below(2) == 0, random.below(2) == 0, random.below(3));
    let extras = Extras { bias, residual, finish, offset };
    check(random.of(&FORMS), &shape, kind, &extras);
}

pub(crate) fn draw_conv(random: &mut Random) {
    draw(random, Kind::Plain);
}

pub(crate) fn draw_conv_depthwise(random: &mut Random) {
    draw(random, Kind::Depthwise);
}

pub(crate) fn draw_conv_transpose(random: &mut Random) {
    draw(random, Kind::Transposed);
}

const LAYOUTS: [Layout; 2] = [Layout::ChannelsFirst, Layout::ChannelsLast];

#[test]
fn images_of_both_layouts() {
    // (batch, groups, channels, filters, input, kernel, stride, pad)
    let cases = [
        (1, 1, 3, 20, [9, 11], 3, 2, 1),
        (2, 1, 8, 64, [7, 7], 1, 1, 0),
        (2, 1, 16, 65, [8, 9], 3, 1, 1),
        (1, 1, 33, 16, [5, 5], 3, 1, 1),
        (3, 2, 16, 40, [6, 5], 3, 1, 0),
        (1, 1, 160, 32, [4, 4], 3, 1, 1),
        (1, 1, 1, 16, [1, 1], 1, 1, 0),
        (2, 1, 24, 130, [3, 3], 1, 2, 0),
        (0, 1, 8, 16, [3, 3], 1, 1, 0),
    ];
    for form in FORMS {
        for layout in LAYOUTS {
            for (batch, groups, channels, filters, input, kernel, stride, pad) in cases {
                let axes = image(input, kernel, stride, pad);
                let shape = ConvShape { batch, groups, channels, filters, axes, layout };
                check(form, &shape, Kind::Plain, &PLAIN);
            }
        }
    }
}

#[test]
fn depthwise_and_small_groups() {
    for form in FORMS {
        for layout in LAYOUTS {
            for (groups, channels, filters) in
                [(7, 7, 7), (4, 4, 12), (3, 9, 6), (1, 5, 3), (2, 0, 4)]
            {
                let axes = image([6, 5], 3, 2, 1);
                let shape = ConvShape { batch: 2, groups, channels, filters, axes, layout };
                check(form, &shape, Kind::Plain, &PLAIN);
            }
        }
    }
}

#[test]
fn one_and_three_axes_with_dilation_and_uneven_pads() {
    let line = [Axis::ONE, Axis::ONE, axis(37, 5, 3, 2, (4, 1))];
    let volume = [axis(4, 2, 1, 2, (1, 0)), axis(5, 3, 2, 1, (0, 2)), axis(6, 2, 1, 1, (0, 0))];
    for form in FORMS {
        for layout in LAYOUTS {
            for axes in [line, volume] {
                for (channels, filters) in [(8, 24), (5, 3)] {
                    let shape = ConvShape { batch: 2, groups: 1, channels, filters, axes, layout };
                    check(form, &shape, Kind::Plain, &PLAIN);
                }
            }
        }
    }
}

#[test]
fn transposed_convolutions() {
    // The axis moves over the result: 2 (n - 1) + span - pads elements.
    let up = |n: u32| Axis {
        input: 2 * (n - 1) + 3 - 1,
        output: n,
        kernel: 3,
        stride: 2,
        dilation: 1,
        before: 1,
    };
    let wide = Axis { input: 12, output: 4, kernel: 3, stride: 3, dilation: 2, before: 2 };
    for form in FORMS {
        for layout in LAYOUTS {
            for axes in
                [[Axis::ONE, up(4), up(5)], [Axis::ONE, Axis::ONE, wide], [up(2), up(3), up(2)]]
            {
                for (groups, channels, filters) in [(1, 6, 4), (2, 6, 4), (3, 3, 3)] {
                    let shape = ConvShape { batch: 2, groups, channels, filters, axes, layout };
                    check(form, &shape, Kind::Transposed, &PLAIN);
                }
            }
        }
    }
}

#[test]
fn sums_are_finished_with_residual_and_activation_at_any_alignment() {
    let finish = Finish { last: Activation::Relu, ..Finish::default() };
    for form in FORMS {
        for layout in LAYOUTS {
            for (bias, offset) in [(true, 0), (false, 1)] {
                let extras = Extras { bias, residual: true, finish, offset };
                // Split sums, whole sums, one thread a sum.
                for (channels, filters, input) in
                    [(64, 16, [4, 4]), (8, 72, [9, 9]), (4, 4, [5, 5])]
                {
                    let axes = image(input, 3, 1, 1);
                    let shape = ConvShape { batch: 1, groups: 1, channels, filters, axes, layout };
                    check(form, &shape, Kind::Plain, &extras);
                }
            }
        }
    }
}

#[test]
fn channels_with_a_filter_of_their_own() {
    let last = Finish { last: Activation::HardSwish, ..Finish::default() };
    let layout = Layout::ChannelsLast;
    for form in FORMS {
        for (kernel, stride, dilation) in
            [(3, 1, 1), (3, 2, 1), (5, 1, 1), (5, 2, 1), (7, 1, 1), (3, 1, 2), (3, 3, 1), (1, 1, 1)]
        {
            // Runs that end early; channels as vectors and one by one; memory that no vector fits.
            for (channels, width, offset) in [(16, 13, 0), (5, 8, 0), (8, 6, 1)] {
                let pads = (kernel / 2, 1);
                let axes = [
                    Axis::ONE,
                    axis(7, 3, 2, 1, (1, 0)),
                    axis(width + 7, kernel, stride, dilation, pads),
                ];
                let groups = channels;
                let shape =
                    ConvShape { batch: 2, groups, channels, filters: channels, axes, layout };
                let (bias, residual) = (channels != 5, offset == 0);
                for finish in [last, Finish { scaled: Some((1.0, 0.0)), ..last }] {
                    let extras = Extras { bias, residual, finish, offset };
                    check(form, &shape, Kind::Depthwise, &extras);
                }
            }
        }
    }
}

#[test]
fn other_shapes_are_no_depthwise_convolution() {
    let own = axis(4, 3, 1, 1, (1, 1));
    let axes = [Axis::ONE, own, own];
    let layout = Layout::ChannelsLast;
    let good = ConvShape { batch: 1, groups: 4, channels: 4, filters: 4, axes, layout };
    for shape in [
        ConvShape { groups: 2, ..good },
        ConvShape { filters: 8, ..good },
        ConvShape { axes: [own, own, own], ..good },
        ConvShape { layout: Layout::ChannelsFirst, ..good },
    ] {
        let memory = Guarded::poisoned(4096);
        let slice = memory.slice();
        let none = Slice::none();
        let operands = ConvOperands {
            x: slice,
            w: slice,
            bias: none,
            residual: none,
            y: slice,
            scratch: none,
        };
        let mut queue = device().queue().expect("a turn");
        conv_depthwise(&mut queue, Form::F32, &shape, &operands, Finish::default())
            .expect_err("another shape");
    }
}

#[test]
fn convolutions_that_a_library_may_multiply() {
    let relu = Finish { last: Activation::Relu, ..Finish::default() };
    let both = Finish { activation: Activation::Relu, last: Activation::Relu, scaled: None };
    let pair = |input, kernel, stride, pad| {
        let own = axis(input, kernel, stride, 1, (pad, pad));
        [Axis::ONE, own, own]
    };
    // One tap as images lie, and with steps; windows, of a whole image and of several.
    for (axes, batch, channels, filters) in [
        (pair(9, 1, 1, 0), 3, 64, 40),
        (pair(33, 1, 2, 0), 2, 32, 40),
        (pair(33, 1, 2, 0), 2, 32, 33),
        (pair(17, 3, 1, 1), 2, 12, 32),
        (pair(32, 1, 1, 1), 1, 8, 136),
        (pair(46, 3, 2, 1), 1, 8, 36),
    ] {
        for form in FORMS {
            for (bias, residual, finish) in
                [(false, false, Finish::default()), (true, true, relu), (true, false, both)]
            {
                let layout = Layout::ChannelsLast;
                let shape = ConvShape { batch, groups: 1, channels, filters, axes, layout };
                check(form, &shape, Kind::Plain, &Extras { bias, residual, finish, offset: 0 });
            }
        }
    }
}

#[test]
fn windows_of_more_outputs_than_are_written_out_at_once() {
    // With the 48 MiB of the device that has cuBLASLt 2,688 of 2,700.
    let axes = image([30, 30], 3, 1, 1);
    let layout = Layout::ChannelsLast;
    let shape = ConvShape { batch: 3, groups: 1, channels: 16, filters: 32, axes, layout };
    let finish = Finish { last: Activation::Relu, ..Finish::default() };
    let extras = Extras { bias: true, residual: true, finish, offset: 0 };
    check(Form::F16, &shape, Kind::Plain, &extras);
}

#[test]
fn operands_of_a_convolution_that_are_too_short_are_refused() {
    let axes = image([4, 4], 3, 1, 1);
    let layout = Layout::ChannelsFirst;
    let shape = ConvShape { batch: 1, groups: 1, channels: 2, filters: 16, axes, layout };
    let lengths = [2 * 16, 16 * 2 * 9, 16, 16 * 16, 16 * 16];
    for short in 0..=5 {
        let places: Vec<Guarded> =
            (0..5).map(|i| Guarded::poisoned((lengths[i] - usize::from(i == short)) * 4)).collect();
        let operands = ConvOperands {
            x: places[0].slice(),
            w: places[1].slice(),
            bias: places[2].slice(),
            residual: places[3].slice(),
            y: places[4].slice(),
            scratch: Slice::none(),
        };
        let mut queue = device().queue().expect("a turn");
        let outcome = conv(&mut queue, Form::F32, &shape, &operands, Finish::default());
        assert_eq!(outcome.is_err(), short < 5, "operand {short}");
    }
}
