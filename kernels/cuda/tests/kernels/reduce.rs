//! Reductions, extremes and running sums along the middle axis.

use crate::placed::{FLOATS, Placed};
use crate::reference::{Random, SIZES, close, device, epsilon, rounded};
use aimass_cuda::arg_extreme::arg_extreme;
use aimass_cuda::cumulative::{Scan, cumulative};
use aimass_cuda::lanes::Lanes;
use aimass_cuda::reduce::{ReduceOperands, Reduced, Reduction, reduce, scratch_bytes};
use aimass_cuda::{DeviceError, Form};

const ALL: [Reduction; 8] = [
    Reduction::Sum,
    Reduction::Mean,
    Reduction::Prod,
    Reduction::Max,
    Reduction::Min,
    Reduction::SumSquares,
    Reduction::L1,
    Reduction::L2,
];
const OF_INTEGERS: [Reduction; 4] =
    [Reduction::Sum, Reduction::Prod, Reduction::Max, Reduction::Min];

/// Places of the elements of each lane.
fn places(lanes: Lanes) -> Vec<Vec<usize>> {
    let Lanes { outer, n, inner } = lanes;
    let place = |lane: u32, i: u32| (lane / inner * n * inner + i * inner + lane % inner) as usize;
    (0..outer * inner).map(|lane| (0..n).map(|i| place(lane, i)).collect()).collect()
}

/// The larger or smaller, NaN if there is one.
fn extreme(lane: &[f64], largest: bool) -> f64 {
    let start = if largest { f64::NEG_INFINITY } else { f64::INFINITY };
    lane.iter().fold(start, |a, &x| match (a.is_nan() || x.is_nan(), largest) {
        (true, _) => f64::NAN,
        (false, true) => a.max(x),
        (false, false) => a.min(x),
    })
}

fn expected(kind: Reduction, lane: &[f64]) -> f64 {
    let sum = |f: fn(f64) -> f64| lane.iter().map(|&x| f(x)).sum::<f64>();
    match kind {
        Reduction::Sum => sum(|x| x),
        Reduction::Mean => sum(|x| x) / lane.len() as f64,
        Reduction::Prod => lane.iter().product(),
        Reduction::Max => extreme(lane, true),
        Reduction::Min => extreme(lane, false),
        Reduction::SumSquares => sum(|x| x * x),
        Reduction::L1 => sum(f64::abs),
        Reduction::L2 => sum(|x| x * x).sqrt(),
    }
}

/// What `kind` makes of `x` on the device.
fn reduced(kind: Reduction, form: Form, lanes: Lanes, shift: usize, x: &[f64]) -> Vec<f64> {
    let from = Placed::new(form, shift, x);
    let to = Placed::poisoned(form, shift, (lanes.outer * lanes.inner) as usize);
    let scratch =
        Placed::poisoned(Form::U8, 0, scratch_bytes(lanes.into(), form).expect("a shape"));
    let operands = ReduceOperands {
        shape: lanes.into(),
        x: from.slice(),
        y: to.slice(),
        scratch: scratch.slice(),
    };
    let mut queue = device().queue().expect("a turn");
    reduce(&mut queue, kind, form, &operands).expect("a launch");
    scratch.bytes(&mut queue);
    to.numbers(&mut queue)
}

/// Numbers of which long products and sums stay in range, with a lane that holds a NaN.
fn floats(form: Form, lanes: Lanes) -> Vec<f64> {
    let mut random = Random::new(u64::from(lanes.n) + 1);
    let count = (lanes.outer * lanes.n * lanes.inner) as usize;
    let spread = 4.0 * f64::from(lanes.n).sqrt().max(1.0);
    let mut x: Vec<f64> = (0..count)
        .map(|_| rounded(form, (1.0 + random.float() / spread) * sign(&mut random)))
        .collect();
    if lanes.outer * lanes.inner > 2 && lanes.n > 0 {
        x[places(lanes)[2][lanes.n as usize / 2]] = f64::NAN;
    }
    x
}

fn sign(random: &mut Random) -> f64 {
    if random.bits() & 8 == 0 { 1.0 } else { -1.0 }
}

fn check(kind: Reduction, form: Form, lanes: Lanes, shift: usize) {
    let x = floats(form, lanes);
    let found = reduced(kind, form, lanes, shift, &x);
    let lane = |places: &Vec<usize>| -> Vec<f64> { places.iter().map(|&i| x[i]).collect() };
    let places = places(lanes);
    let want: Vec<f64> =
        places.iter().map(|own| rounded(form, expected(kind, &lane(own)))).collect();
    let what = format!("{kind:?} {form:?} {lanes:?} shift {shift}");
    // Sums of numbers of both signs are near 0: their error is that of the numbers.
    let tolerance = 2.0 * epsilon(form).max(f64::from(lanes.n).sqrt().max(4.0) * 5e-7);
    close(&what, &found, &want, tolerance);
}

#[test]
fn lanes_of_any_length_reduce_to_what_f64_gives() {
    for form in FLOATS {
        for &n in SIZES {
            for (outer, inner) in [(9, 1), (3, 2), (1, 33), (1, 1)] {
                ALL.iter().for_each(|&kind| {
                    check(kind, form, Lanes { outer, n: n as u32, inner }, n % 2);
                });
            }
        }
    }
}

#[test]
fn lanes_that_are_long_and_few_are_cut() {
    for form in FLOATS {
        for (outer, n, inner) in [
            (1, 40_000, 1),
            (1, 300_001, 1),
            (3, 20_000, 1),
            (1, 9000, 7),
            (2, 8200, 40),
            (600, 20, 1),
        ] {
            for kind in [Reduction::Sum, Reduction::Mean, Reduction::Max, Reduction::L2] {
                check(kind, form, Lanes { outer, n, inner }, 0);
            }
        }
    }
    let cut = Lanes { outer: 1, n: 40_000, inner: 1 };
    assert!(scratch_bytes(cut.into(), Form::F32).expect("a shape") > 0);
    assert_eq!(scratch_bytes(Lanes { outer: 1000, ..cut }.into(), Form::F32), Ok(0));
}

pub(crate) fn draw_reduce(random: &mut Random) {
    match random.below(3) {
        0 => {
            let [first, between, last] = [0; 3].map(|_| random.extent(40) as u32);
            let (outer, inner) = (random.below(4) as u32, random.below(5) as u32);
            let shape = Reduced { outer, first, between, last, inner };
            check_axes(random.of(&FLOATS), shape, random.below(3));
        }
        1 => {
            let (form, kind) = (random.of(&[Form::I32, Form::I64]), random.of(&OF_INTEGERS));
            check_integers(kind, form, drawn_lanes(random, 9001));
        }
        _ => {
            let lanes = drawn_lanes(random, 9001);
            check(random.of(&ALL), random.of(&FLOATS), lanes, random.below(5));
        }
    }
}

/// Lanes that are rows as often as not.
fn drawn_lanes(random: &mut Random, n_max: usize) -> Lanes {
    let (outer, n) = (random.below(10) as u32, random.extent(n_max) as u32);
    let inner = if random.below(2) == 0 { 1 } else { random.below(35) as u32 };
    Lanes { outer: if inner > 1 { outer.min(2) } else { outer }, n, inner }
}

pub(crate) fn draw_arg_extreme(random: &mut Random) {
    let mut lanes = drawn_lanes(random, 5000);
    lanes.n = lanes.n.max(1);
    check_extreme(random.of(&ORDERED), lanes, random.below(2) == 0);
}

pub(crate) fn draw_cumulative(random: &mut Random) {
    let [product, exclusive, reverse] = [0; 3].map(|_| random.below(2) == 0);
    let lanes = drawn_lanes(random, 2500);
    check_scan(random.of(&ORDERED), lanes, Scan { product, exclusive, reverse });
}

#[test]
fn axes_that_do_not_touch_reduce_together() {
    for (outer, first, between, last, inner) in [
        (1, 4, 6, 49, 1),
        (2, 3, 5, 7, 3),
        (1, 300, 2, 100, 1),
        (2, 1, 5, 40, 1),
        (1, 30, 5, 1, 2),
        (3, 0, 2, 4, 1),
        (2, 8, 3, 20, 40),
    ] {
        let shape = Reduced { outer, first, between, last, inner };
        FLOATS.into_iter().for_each(|form| check_axes(form, shape, 1));
    }
}

/// The mean over both axes.
fn check_axes(form: Form, shape: Reduced, shift: usize) {
    let Reduced { outer, first, between, last, inner } = shape;
    let count = (outer * first * between * last * inner) as usize;
    let x = Random::new(u64::from(last)).floats(form, count);
    let scratch_bytes = scratch_bytes(shape, form).expect("a shape");
    let (from, scratch) =
        (Placed::new(form, shift, &x), Placed::poisoned(Form::U8, 0, scratch_bytes));
    let to = Placed::poisoned(form, 0, (outer * between * inner) as usize);
    let operands =
        ReduceOperands { shape, x: from.slice(), y: to.slice(), scratch: scratch.slice() };
    let mut queue = device().queue().expect("a turn");
    reduce(&mut queue, Reduction::Mean, form, &operands).expect("a launch");
    let mut want = vec![0.0; (outer * between * inner) as usize];
    for (i, x) in x.iter().enumerate() {
        let (inside, i) = (i as u32 % inner, i as u32 / inner / last);
        let (middle, i) = (i % between, i / between / first);
        want[((i * between + middle) * inner + inside) as usize] += x;
    }
    let n = f64::from(first * last);
    let want: Vec<f64> = want.iter().map(|sum| rounded(form, sum / n)).collect();
    let what = format!("{form:?} {shape:?}");
    close(&what, &to.numbers(&mut queue), &want, 2.0 * epsilon(form).max(2e-6));
}

#[test]
fn the_same_lanes_give_the_same_bits_wherever_they_lie() {
    let lanes = Lanes { outer: 2, n: 40_000, inner: 1 };
    for form in FLOATS {
        let x = Random::new(3).floats(form, 80_000);
        let [a, b] = [0, 1].map(|shift| reduced(Reduction::Sum, form, lanes, shift, &x));
        assert_eq!(a, b);
    }
}

#[test]
fn integers_wrap_and_bools_are_any_and_all() {
    for form in [Form::I32, Form::I64] {
        for &n in SIZES.iter().chain(&[9001]) {
            for (outer, inner) in [(9, 1), (2, 33), (1, 1)] {
                let lanes = Lanes { outer, n: n as u32, inner };
                OF_INTEGERS.into_iter().for_each(|kind| check_integers(kind, form, lanes));
            }
        }
    }
    for (n, kind, want) in [
        (3, Reduction::Max, [0.0, 1.0, 1.0]),
        (3, Reduction::Min, [0.0, 0.0, 1.0]),
        (0, Reduction::Max, [0.0; 3]),
        (0, Reduction::Min, [1.0; 3]),
    ] {
        let x = &[0.0, 0.0, 0.0, 0.0, 7.0, 0.0, 1.0, 1.0, 1.0][..3 * n as usize];
        let lanes = Lanes { outer: 3, n, inner: 1 };
        assert_eq!(reduced(kind, Form::U8, lanes, 1, x), want);
    }
    let mut long = vec![0.0; 70_000];
    long[69_999] = 1.0;
    let lanes = Lanes { outer: 1, n: 70_000, inner: 1 };
    assert_eq!(reduced(Reduction::Max, Form::U8, lanes, 0, &long), [1.0]);
    assert_eq!(reduced(Reduction::Min, Form::U8, lanes, 0, &long), [0.0]);
}

fn check_integers(kind: Reduction, form: Form, lanes: Lanes) {
    let mut random = Random::new(lanes.n.into());
    let count = (lanes.outer * lanes.inner * lanes.n) as usize;
    let x: Vec<i64> = (0..count).map(|_| (random.bits() >> 30) as i32 as i64).collect();
    let as_floats: Vec<f64> = x.iter().map(|&x| x as f64).collect();
    let found = reduced(kind, form, lanes, 1, &as_floats);
    let of = |own: &Vec<usize>| integer(kind, form, own.iter().map(|&i| x[i])) as f64;
    let want: Vec<f64> = places(lanes).iter().map(of).collect();
    close(&format!("{kind:?} {form:?} {lanes:?}"), &found, &want, 0.0);
}

fn integer(kind: Reduction, form: Form, lane: impl Iterator<Item = i64>) -> i64 {
    let narrow = form == Form::I32;
    let (lowest, highest) =
        if narrow { (i32::MIN.into(), i32::MAX.into()) } else { (i64::MIN, i64::MAX) };
    let whole = match kind {
        Reduction::Sum => lane.fold(0, i64::wrapping_add),
        Reduction::Prod => lane.fold(1, i64::wrapping_mul),
        Reduction::Max => lane.fold(lowest, i64::max),
        Reduction::Min => lane.fold(highest, i64::min),
        Reduction::Mean | Reduction::SumSquares | Reduction::L1 | Reduction::L2 => unreachable!(),
    };
    if narrow { (whole as i32).into() } else { whole }
}

#[test]
fn reductions_without_a_form_or_scratch_are_refused() {
    let x = Placed::new(Form::I64, 0, &[1.0; 9000]);
    let lanes = Lanes { outer: 1, n: 9000, inner: 1 };
    let none = x.slice().part(0, 0).expect("a part");
    let operands =
        ReduceOperands { shape: lanes.into(), x: x.slice(), y: x.slice(), scratch: x.slice() };
    let mut queue = device().queue().expect("a turn");
    for (kind, form, operands) in [
        (Reduction::Mean, Form::I64, operands),
        (Reduction::Sum, Form::U8, operands),
        (Reduction::Max, Form::B32, operands),
        (Reduction::Sum, Form::I64, ReduceOperands { scratch: none, ..operands }),
        (Reduction::Sum, Form::I64, ReduceOperands { y: none, ..operands }),
        (Reduction::Sum, Form::I64, ReduceOperands { x: none, ..operands }),
    ] {
        let refused = reduce(&mut queue, kind, form, &operands);
        assert!(matches!(refused, Err(DeviceError::Defect(_))), "{kind:?} {form:?}");
    }
}

fn check_extreme(form: Form, lanes: Lanes, largest: bool) {
    let mut random = Random::new(lanes.n.into());
    let (n, count) = (lanes.n as usize, (lanes.outer * lanes.inner * lanes.n) as usize);
    let mut x: Vec<f64> = (0..count).map(|_| (random.bits() >> 30) as f64 % 7.0 - 3.0).collect();
    let own = places(lanes);
    if own.len() > 2 && !matches!(form, Form::I32 | Form::I64) {
        x[own[1][n / 2]] = f64::NAN;
        x[own[1][n - 1]] = f64::NAN;
        own[2].iter().for_each(|&i| x[i] = f64::NEG_INFINITY);
    }
    let from = Placed::new(form, 1, &x);
    let to = Placed::poisoned(Form::I64, 0, own.len());
    let mut queue = device().queue().expect("a turn");
    arg_extreme(&mut queue, lanes, largest, form, (from.slice(), to.slice())).expect("a launch");
    let first = |own: &Vec<usize>| {
        let lane: Vec<f64> = own.iter().map(|&i| x[i]).collect();
        let best = extreme(&lane, largest);
        let is_best = |x: &f64| *x == best || x.is_nan() && best.is_nan();
        lane.iter().position(is_best).expect("an extreme") as f64
    };
    let want: Vec<f64> = own.iter().map(first).collect();
    let what = format!("{form:?} {lanes:?} largest {largest}");
    close(&what, &to.numbers(&mut queue), &want, 0.0);
}

/// Forms of what has an order.
const ORDERED: [Form; 5] = [Form::F32, Form::F16, Form::Bf16, Form::I32, Form::I64];

#[test]
fn the_first_of_equals_and_any_nan_is_the_extreme() {
    for form in ORDERED {
        for &n in SIZES[1..].iter().chain(&[5000]) {
            for (outer, inner) in [(9, 1), (3, 2), (1, 33)] {
                let lanes = Lanes { outer, n: n as u32, inner };
                [true, false].into_iter().for_each(|largest| check_extreme(form, lanes, largest));
            }
        }
    }
    let x = Placed::new(Form::F32, 0, &[1.0]);
    let mut queue = device().queue().expect("a turn");
    let lanes = Lanes { outer: 1, n: 0, inner: 1 };
    let refused = arg_extreme(&mut queue, lanes, true, Form::F32, (x.slice(), x.slice()));
    assert!(matches!(refused, Err(DeviceError::Defect(_))));
}

#[test]
fn running_sums_and_products_go_both_ways() {
    for form in [Form::F32, Form::F16, Form::Bf16, Form::I32, Form::I64] {
        for &n in SIZES.iter().chain(&[2500]) {
            for (outer, inner) in [(5, 1), (2, 3)] {
                let lanes = Lanes { outer, n: n as u32, inner };
                for scan in (0..8).map(|i| Scan {
                    product: i & 1 > 0,
                    exclusive: i & 2 > 0,
                    reverse: i & 4 > 0,
                }) {
                    check_scan(form, lanes, scan);
                }
            }
        }
    }
}

fn check_scan(form: Form, lanes: Lanes, scan: Scan) {
    let float = !matches!(form, Form::I32 | Form::I64);
    let mut x = floats(form, lanes);
    if !float {
        x.iter_mut().enumerate().for_each(|(i, x)| *x = if i % 5 == 0 { -2.0 } else { 3.0 });
    }
    let from = Placed::new(form, 1, &x);
    let to = Placed::poisoned(form, 0, x.len());
    let mut queue = device().queue().expect("a turn");
    cumulative(&mut queue, lanes, scan, form, (from.slice(), to.slice())).expect("a launch");
    let mut want = vec![0.0; x.len()];
    for mut own in places(lanes) {
        if scan.reverse {
            own.reverse();
        }
        let (mut float_so_far, mut so_far) = (f64::from(scan.product), i64::from(scan.product));
        for place in own {
            let before = (float_so_far, so_far);
            match scan.product {
                true => float_so_far *= x[place],
                false => float_so_far += x[place],
            }
            so_far = match scan.product {
                true => so_far.wrapping_mul(x[place] as i64),
                false => so_far.wrapping_add(x[place] as i64),
            };
            let (float_now, now) = if scan.exclusive { before } else { (float_so_far, so_far) };
            want[place] = match form {
                Form::I64 => now as f64,
                Form::I32 => (now as i32).into(),
                _ => rounded(form, float_now),
            };
        }
    }
    let what = format!("{form:?} {lanes:?} {scan:?}");
    let tolerance = if float { 2.0 * epsilon(form).max(2e-5) } else { 0.0 };
    close(&what, &to.numbers(&mut queue), &want, tolerance);
    cumulative(&mut queue, lanes, scan, form, (from.slice(), from.slice())).expect("a launch");
    assert_eq!(from.bytes(&mut queue), to.bytes(&mut queue), "in place: {what}");
}
