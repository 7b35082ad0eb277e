//! Weighted sums along an axis, and the weights of resizes.

use crate::placed::FLOATS;
use crate::reference::{Guarded, Random, close, decode, device, encode, epsilon, outcome, rounded};
use aimass_cuda::resample::{ResampleShape, ResizeAxis, ResizeMode, Taps, resample, resize_taps};
use aimass_cuda::{Form, Slice};

fn check_resample(form: Form, shape: ResampleShape) {
    let ResampleShape { outer, n, inner, extent, taps } = shape;
    let mut random = Random::new(u64::from(n * 10 + taps));
    let x = random.floats(form, (outer * n * inner) as usize);
    let indices: Vec<f64> =
        (0..extent * taps).map(|_| (random.bits() >> 33) as f64 % f64::from(n)).collect();
    let weights = random.floats(Form::F32, (extent * taps) as usize);
    let places = [
        Guarded::new(&encode(form, &x)),
        Guarded::new(&encode(Form::I32, &indices)),
        Guarded::new(&encode(Form::F32, &weights)),
    ];
    let table =
        Taps { indices: places[1].slice(), weights: places[2].slice(), fault: Slice::none() };
    let count = (outer * extent * inner) as usize;
    let found = outcome(form, count, |queue, out| {
        resample(queue, form, &shape, &table, (places[0].slice(), out))
    });
    let (n, inner, extent, taps) = (n as usize, inner as usize, extent as usize, taps as usize);
    let expected: Vec<f64> = (0..count)
        .map(|at| {
            let (line, i) = (at / inner, at % inner);
            let term = |t: usize| {
                let own = line % extent * taps + t;
                weights[own] * x[(line / extent * n + indices[own] as usize) * inner + i]
            };
            rounded(form, (0..taps).map(term).sum())
        })
        .collect();
    close(&format!("{form:?} {shape:?}"), &found, &expected, epsilon(form).max(2e-5));
}

pub(crate) fn draw_resample(random: &mut Random) {
    let [outer, inner, taps] = [4, 70, 9].map(|most| random.below(most) as u32);
    let (n, extent) = (1 + random.below(40) as u32, random.below(40) as u32);
    check_resample(random.of(&FLOATS), ResampleShape { outer, n, inner, extent, taps });
}

#[test]
fn weighted_sums_along_an_axis() {
    for form in FLOATS {
        for (outer, n, inner, extent, taps) in [
            (2, 5, 3, 7, 4),
            (1, 1, 1, 9, 1),
            (3, 8, 1, 2, 33),
            (1, 4, 65, 3, 2),
            (2, 3, 2, 0, 1),
            (2, 3, 2, 4, 0),
        ] {
            check_resample(form, ResampleShape { outer, n, inner, extent, taps });
        }
    }
}

/// The fault word of a resampling of these indices, `[3, 2]`, into `outer` lines of `n` elements.
fn reported(outer: u32, n: u32, indices: [i32; 6]) -> Option<u64> {
    let x = Guarded::new(&vec![0; (outer * n) as usize * 4]);
    let y = Guarded::poisoned(outer as usize * 3 * 4);
    let indices = Guarded::new(&indices.map(i32::to_le_bytes).concat());
    let ones = [1f32; 6].map(f32::to_le_bytes).concat();
    let (weights, fault) = (Guarded::new(&ones), Guarded::new(&[0xff; 8]));
    let table = Taps { indices: indices.slice(), weights: weights.slice(), fault: fault.slice() };
    let shape = ResampleShape { outer, n, inner: 1, extent: 3, taps: 2 };
    let mut queue = device().queue().expect("a turn");
    resample(&mut queue, Form::F32, &shape, &table, (x.slice(), y.slice())).expect("launches");
    let sums = decode(Form::F32, &y.content(&mut queue));
    assert!(sums.iter().all(|&sum| sum == 0.0), "nothing behind the elements is read: {sums:?}");
    let word = fault.content(&mut queue).try_into().expect("eight bytes");
    Some(u64::from_le_bytes(word)).filter(|&word| word != u64::MAX)
}

#[test]
fn the_first_index_beyond_the_axis_is_reported() {
    for outer in [0, 1, 300] {
        assert_eq!(reported(outer, 4, [0, 3, 1, 2, 3, 0]), None, "{outer}");
        assert_eq!(reported(outer, 4, [0, 3, 1, 4, 3, 7]), Some(3), "{outer}");
        assert_eq!(reported(outer, 4, [0, 3, 1, 2, 3, -1]), Some(5), "{outer}");
    }
}

/// One axis as a resize makes it of its options.
fn axis(mode: ResizeMode, (n, extent): (u32, u32), antialias: bool, align: bool) -> ResizeAxis {
    let (from, to) = (f64::from(n), f64::from(extent));
    let step = match (align, extent) {
        (true, 0 | 1) => 0.0,
        (true, _) => (from - 1.0) / (to - 1.0),
        (false, _) => from / to,
    };
    let widening = if antialias { step.max(1.0) } else { 1.0 };
    let reach = match mode {
        ResizeMode::Nearest => 0.5,
        ResizeMode::Linear => widening,
        ResizeMode::Cubic => 2.0 * widening,
    };
    let taps = match (mode, antialias) {
        (ResizeMode::Nearest, _) => 1,
        (_, false) => 2 * reach as u32,
        (_, true) => (2.0 * reach.ceil() + 1.0).min(from + 2.0) as u32,
    };
    ResizeAxis { mode, antialias, align_corners: align, n, extent, taps, step, widening, reach }
}

/// How much of every element output `at` takes, by the definition of the filters.
fn weights(axis: &ResizeAxis, at: u32) -> Vec<f64> {
    let at = f64::from(at);
    let center = if axis.align_corners { at * axis.step } else { (at + 0.5) * axis.step - 0.5 };
    let last = i64::from(axis.n) - 1;
    let mut all = vec![0.0; axis.n as usize];
    let a = if axis.antialias { -0.5 } else { -0.75 };
    let filter = |x: f64| match (axis.mode, x.abs()) {
        (ResizeMode::Linear, x) => (1.0 - x).max(0.0),
        (_, x) if x <= 1.0 => (a + 2.0) * x.powi(3) - (a + 3.0) * x * x + 1.0,
        (_, x) if x < 2.0 => a * (x.powi(3) - 5.0 * x * x + 8.0 * x - 4.0),
        (_, _) => 0.0,
    };
    if axis.mode == ResizeMode::Nearest {
        all[((center - 0.5).ceil() as i64).clamp(0, last) as usize] = 1.0;
        return all;
    }
    for index in -4..=last + 4 {
        let weight = filter((index as f64 - center) / axis.widening);
        match axis.antialias && !(0..=last).contains(&index) {
            true => {}
            false => all[index.clamp(0, last) as usize] += weight,
        }
    }
    let sum: f64 = all.iter().sum();
    if axis.antialias {
        all.iter_mut().for_each(|weight| *weight /= sum);
    }
    all
}

fn check_weights(axis: ResizeAxis) {
    let entries = (axis.extent * axis.taps) as usize;
    let places = [Guarded::poisoned(entries * 4), Guarded::poisoned(entries * 4)];
    let table =
        Taps { indices: places[0].slice(), weights: places[1].slice(), fault: Slice::none() };
    let mut queue = device().queue().expect("a turn");
    resize_taps(&mut queue, &axis, &table).expect("launches");
    let indices = decode(Form::I32, &places[0].content(&mut queue));
    let found = decode(Form::F32, &places[1].content(&mut queue));
    for at in 0..axis.extent {
        let own = (at * axis.taps) as usize..((at + 1) * axis.taps) as usize;
        let mut all = vec![0.0; axis.n as usize];
        for (index, weight) in indices[own.clone()].iter().zip(&found[own]) {
            all[*index as usize] += weight;
        }
        close(&format!("{axis:?} {at}"), &all, &weights(&axis, at), 1e-6);
    }
}

const MODES: [ResizeMode; 3] = [ResizeMode::Nearest, ResizeMode::Linear, ResizeMode::Cubic];

pub(crate) fn draw_resize_taps(random: &mut Random) {
    let extents = (1 + random.below(300) as u32, random.below(300) as u32);
    let (antialias, align) = (random.below(2) == 0, random.below(2) == 0);
    check_weights(axis(random.of(&MODES), extents, antialias, align));
}

#[test]
fn weights_of_resizes_are_those_of_their_filters() {
    for mode in MODES {
        for extents in [(1, 1), (7, 3), (3, 7), (5, 1), (1, 5), (200, 129), (9, 300), (4, 0)] {
            for (antialias, align) in [(false, false), (false, true), (true, false), (true, true)] {
                check_weights(axis(mode, extents, antialias, align));
            }
        }
    }
}

#[test]
fn a_resampling_of_nothing_or_of_too_short_tables_is_refused() {
    let places = [Guarded::poisoned(24), Guarded::poisoned(20)];
    let table =
        Taps { indices: places[0].slice(), weights: places[1].slice(), fault: Slice::none() };
    let mut queue = device().queue().expect("a turn");
    let own = axis(ResizeMode::Linear, (4, 3), false, false);
    assert!(resize_taps(&mut queue, &own, &table).is_err(), "weights of five numbers");
    let none = ResizeAxis { n: 0, ..own };
    assert!(resize_taps(&mut queue, &none, &table).is_err(), "no elements");
    let shape = ResampleShape { outer: 1, n: 0, inner: 1, extent: 2, taps: 2 };
    let (x, y) = (places[0].slice(), places[0].slice());
    assert!(resample(&mut queue, Form::F32, &shape, &table, (x, y)).is_err(), "no elements");
}
