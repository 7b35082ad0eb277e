//! Softmax and its logarithm along rows and columns.

use crate::placed::{FLOATS, Placed};
use crate::reference::{Random, SIZES, close, device, epsilon, rounded};
use aimass_cuda::Form;
use aimass_cuda::lanes::Lanes;
use aimass_cuda::softmax::softmax;

/// Softmax of one lane in f64: what is not a number or infinite spreads over it.
fn expected(lane: &[f64], logarithm: bool) -> Vec<f64> {
    let largest = lane.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if largest == f64::NEG_INFINITY && lane.iter().all(|x| !x.is_nan()) {
        return if logarithm { lane.to_vec() } else { vec![0.0; lane.len()] };
    }
    let sum: f64 = lane.iter().map(|x| (x - largest).exp()).sum();
    let each = |x: &f64| match logarithm {
        true => x - largest - sum.ln(),
        false => (x - largest).exp() / sum,
    };
    lane.iter().map(each).collect()
}

/// Numbers with lanes of only `-inf`, with some `-inf`, a NaN and an `inf`, and with lanes whose powers
/// are infinite or zero, as far as there are lanes.
fn numbers(lanes: Lanes, form: Form) -> Vec<f64> {
    let Lanes { outer, n, inner } = lanes;
    let mut x = Random::new(u64::from(n)).floats(form, (outer * n * inner) as usize);
    let at =
        |lane: u32, place: u32| (lane / inner * n * inner + place * inner + lane % inner) as usize;
    for lane in 0..outer * inner {
        for place in 0..n {
            let x = &mut x[at(lane, place)];
            *x = match lane {
                1 => f64::NEG_INFINITY,
                2 if place % 3 != 1 => f64::NEG_INFINITY,
                3 if place == n / 2 => f64::NAN,
                4 if place == n - 1 => f64::INFINITY,
                5 => rounded(form, *x * 4.0 + 1000.0),
                6 => rounded(form, *x * 4.0 - 1000.0),
                _ => *x * 4.0,
            };
        }
    }
    x
}

fn check(lanes: Lanes, form: Form, logarithm: bool, shift: usize) {
    let Lanes { outer, n, inner } = lanes;
    let x = numbers(lanes, form);
    let (from, to) = (Placed::new(form, shift, &x), Placed::poisoned(form, shift, x.len()));
    let mut queue = device().queue().expect("a turn");
    softmax(&mut queue, lanes, logarithm, form, (from.slice(), to.slice())).expect("a launch");
    let found = to.numbers(&mut queue);
    let mut want = vec![0.0; x.len()];
    for lane in 0..outer * inner {
        let start = (lane / inner * n * inner + lane % inner) as usize;
        let own = |place: u32| start + (place * inner) as usize;
        let values: Vec<f64> = (0..n).map(|place| x[own(place)]).collect();
        for (place, value) in (0..n).zip(expected(&values, logarithm)) {
            want[own(place)] = rounded(form, value);
        }
    }
    let what = format!("{form:?} {lanes:?} logarithm {logarithm} shift {shift}");
    close(&what, &found, &want, 2.0 * epsilon(form).max(1e-6));
    softmax(&mut queue, lanes, logarithm, form, (from.slice(), from.slice())).expect("a launch");
    assert_eq!(from.bytes(&mut queue), to.bytes(&mut queue), "in place: {what}");
}

pub(crate) fn draw_softmax(random: &mut Random) {
    let (outer, n) = (random.below(12) as u32, random.extent(2100) as u32);
    let inner = if random.below(2) == 0 { 1 } else { random.below(40) as u32 };
    let lanes = Lanes { outer: if inner > 1 { outer.min(3) } else { outer }, n, inner };
    check(lanes, random.of(&FLOATS), random.below(2) == 0, random.below(5));
}

#[test]
fn lanes_of_any_length_become_distributions() {
    for form in FLOATS {
        for &n in SIZES {
            for (outer, inner) in [(9, 1), (3, 2), (1, 33)] {
                for logarithm in [false, true] {
                    check(Lanes { outer, n: n as u32, inner }, form, logarithm, 0);
                }
            }
        }
    }
}

#[test]
fn lanes_are_long_many_or_misaligned() {
    for form in FLOATS {
        for (outer, n, inner) in [(2, 2048, 1), (1, 8200, 1), (2, 70_001, 1), (70, 64, 1)] {
            check(Lanes { outer, n, inner }, form, outer == 2, 0);
            check(Lanes { outer, n, inner }, form, outer == 2, 1);
        }
        for (outer, n, inner) in [(2, 600, 3), (130, 40, 33), (300, 3, 1), (1, 5, 700)] {
            check(Lanes { outer, n, inner }, form, outer == 2, 1);
        }
    }
}

#[test]
fn the_same_row_gives_the_same_bits_wherever_it_lies() {
    for form in FLOATS {
        for n in [40u32, 1000, 3000, 9000] {
            let x = Random::new(u64::from(n)).floats(form, n as usize);
            let outcome = |shift| {
                let from = Placed::new(form, shift, &x);
                let mut queue = device().queue().expect("a turn");
                let lanes = Lanes { outer: 1, n, inner: 1 };
                let operands = (from.slice(), from.slice());
                softmax(&mut queue, lanes, false, form, operands).expect("a launch");
                from.bytes(&mut queue)
            };
            assert_eq!(outcome(0), outcome(1), "{form:?} {n}");
        }
    }
}
