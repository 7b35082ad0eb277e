//! Pooling, and resampling along one axis.

use crate::reference::{Guarded, Random, close, decode, encode, epsilon, outcome, rounded};
use aimass_cuda::Form;
use aimass_cuda::conv::Axis;
use aimass_cuda::pool::{PoolShape, average_pool, max_pool};

const FORMS: [Form; 3] = [Form::F32, Form::F16, Form::Bf16];

/// Axes with windows inside, over the edges, on padding alone and larger than the input.
fn axes() -> Vec<[Axis; 3]> {
    let own = |input, output, kernel, stride, dilation, before| Axis {
        input,
        output,
        kernel,
        stride,
        dilation,
        before,
    };
    vec![
        [Axis::ONE, own(6, 3, 3, 2, 1, 1), own(5, 5, 3, 1, 1, 1)],
        [own(3, 2, 2, 1, 2, 1), own(4, 4, 5, 1, 1, 2), own(7, 2, 2, 5, 3, 0)],
        [Axis::ONE, Axis::ONE, own(3, 8, 2, 1, 1, 4)],
        [Axis::ONE, own(4, 1, 900, 1, 1, 3), own(33, 33, 1, 1, 1, 0)],
    ]
}

/// Elements of the window at each position, as `(plane position)` pairs, in row-major order.
fn windows(axes: &[Axis; 3]) -> Vec<Vec<usize>> {
    let reach = |axis: &Axis, position: u32| -> Vec<usize> {
        (0..axis.kernel)
            .filter_map(|tap| {
                (position * axis.stride + tap * axis.dilation).checked_sub(axis.before)
            })
            .filter(|&at| at < axis.input)
            .map(|at| at as usize)
            .collect()
    };
    let mut all = Vec::new();
    for z in 0..axes[0].output {
        for h in 0..axes[1].output {
            for w in 0..axes[2].output {
                let mut window = Vec::new();
                for a in reach(&axes[0], z) {
                    for b in reach(&axes[1], h) {
                        for c in reach(&axes[2], w) {
                            window.push(
                                (a * axes[1].input as usize + b) * axes[2].input as usize + c,
                            );
                        }
                    }
                }
                all.push(window);
            }
        }
    }
    all
}

/// What `fold` makes of each window of `[planes, input, inner]`.
fn expected(shape: &PoolShape, x: &[f64], fold: impl Fn(&[f64]) -> f64) -> Vec<f64> {
    let inputs: usize = shape.axes.iter().map(|axis| axis.input as usize).product();
    let (windows, inner) = (windows(&shape.axes), shape.inner as usize);
    let mut y = Vec::new();
    for plane in 0..shape.planes as usize {
        for window in &windows {
            for i in 0..inner {
                let own: Vec<f64> =
                    window.iter().map(|at| x[(plane * inputs + at) * inner + i]).collect();
                y.push(fold(&own));
            }
        }
    }
    y
}

fn shapes() -> Vec<PoolShape> {
    let extents = [(3, 1), (2, 5), (1, 33), (0, 4)];
    let shape = |axes, (planes, inner)| PoolShape { planes, inner, axes };
    axes().into_iter().flat_map(|axes| extents.map(|extent| shape(axes, extent))).collect()
}

fn elements(shape: &PoolShape) -> usize {
    let inputs: usize = shape.axes.iter().map(|axis| axis.input as usize).product();
    (shape.planes * shape.inner) as usize * inputs
}

const INTEGERS: [(Form, f64); 4] =
    [(Form::I8, -128.0), (Form::U8, 0.0), (Form::I32, -2147483648.0), (Form::I64, i64::MIN as f64)];

fn floats() -> [(Form, f64); 3] {
    FORMS.map(|form| (form, f64::NEG_INFINITY))
}

fn check_max((form, lowest): (Form, f64), shape: &PoolShape, seed: u64) {
    let mut random = Random::new(seed);
    let mut x: Vec<f64> = match FORMS.contains(&form) {
        true => random.floats(form, elements(shape)),
        false if form == Form::U8 => {
            (0..elements(shape)).map(|_| (random.bits() >> 60) as f64).collect()
        }
        false => (0..elements(shape)).map(|_| (random.bits() >> 58) as f64 - 40.0).collect(),
    };
    if FORMS.contains(&form) {
        x.iter_mut().skip(7).step_by(11).for_each(|x| *x = f64::NAN);
    }
    let input = Guarded::new(&encode(form, &x));
    let expected = expected(shape, &x, |window| {
        let nan = window.iter().any(|x| x.is_nan());
        if nan { f64::NAN } else { window.iter().copied().fold(lowest, f64::max) }
    });
    let found = outcome(form, expected.len(), |queue, out| {
        max_pool(queue, form, shape, (input.slice(), out))
    });
    close(&format!("{form:?} {shape:?}"), &found, &expected, 0.0);
}

#[test]
fn the_largest_of_each_window_where_nan_wins() {
    for form in floats().into_iter().chain(INTEGERS) {
        for (seed, shape) in shapes().iter().enumerate() {
            check_max(form, shape, seed as u64);
        }
    }
}

fn check_average(form: Form, shape: &PoolShape, pads: bool, seed: u64) {
    let x = Random::new(seed).floats(form, elements(shape));
    let input = Guarded::new(&encode(form, &x));
    let all: f64 = shape.axes.iter().map(|axis| f64::from(axis.kernel)).product();
    let expected = expected(shape, &x, |window| {
        let count = if pads { all } else { window.len() as f64 };
        match count > 0.0 {
            true => rounded(form, window.iter().sum::<f64>() / count),
            false => 0.0,
        }
    });
    let found = outcome(form, expected.len(), |queue, out| {
        average_pool(queue, form, shape, pads, (input.slice(), out))
    });
    close(&format!("{form:?} {shape:?}"), &found, &expected, epsilon(form).max(1e-6));
}

#[test]
fn means_with_and_without_pads() {
    for form in FORMS {
        for (seed, shape) in shapes().iter().enumerate() {
            [false, true]
                .into_iter()
                .for_each(|pads| check_average(form, shape, pads, seed as u64));
        }
    }
}

/// Windows of any kind: also those that lie on padding alone.
fn drawn_shape(random: &mut Random) -> PoolShape {
    let mut axis = || {
        let [input, output, kernel, stride, dilation] =
            [9, 6, 4, 3, 3].map(|most| 1 + random.below(most) as u32);
        Axis { input, output, kernel, stride, dilation, before: random.below(5) as u32 }
    };
    let axes = [axis(), axis(), axis()];
    PoolShape { planes: random.below(4) as u32, inner: 1 + random.below(5) as u32, axes }
}

pub(crate) fn draw_max_pool(random: &mut Random) {
    let forms: Vec<(Form, f64)> = floats().into_iter().chain(INTEGERS).collect();
    check_max(random.of(&forms), &drawn_shape(random), random.bits());
}

pub(crate) fn draw_average_pool(random: &mut Random) {
    let pads = random.below(2) == 0;
    check_average(random.of(&FORMS), &drawn_shape(random), pads, random.bits());
}

#[test]
fn a_pooling_of_too_short_operands_is_refused() {
    let shape = PoolShape { planes: 2, inner: 1, axes: axes()[0] };
    let (x, y) = (Guarded::poisoned(2 * 30 * 4), Guarded::poisoned(2 * 15 * 4));
    let mut queue = crate::reference::device().queue().expect("a turn");
    for (less_x, less_y) in [(0, 0), (1, 0), (0, 1)] {
        let part = |memory: &'_ Guarded, less: usize| {
            let slice = memory.slice();
            (slice.bytes() - less * 4, less > 0)
        };
        let (x_len, _) = part(&x, less_x);
        let (y_len, _) = part(&y, less_y);
        let slices =
            (x.slice().part(0, x_len).expect("a part"), y.slice().part(0, y_len).expect("a part"));
        let outcome = max_pool(&mut queue, Form::F32, &shape, slices);
        assert_eq!(outcome.is_err(), less_x + less_y > 0);
    }
    decode(Form::F32, &y.content(&mut queue));
}
