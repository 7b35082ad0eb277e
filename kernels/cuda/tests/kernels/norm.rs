//! Normalization of rows.

use crate::placed::{FLOATS, Placed};
use crate::reference::{Random, SIZES, close, device, epsilon, rounded};
use aimass_cuda::norm::{Norm, NormOperands, norm};
use aimass_cuda::{DeviceError, Form};

const EPSILON: f32 = 1e-3;

/// What a row is normalized with besides itself.
#[derive(Clone, Copy, Debug)]
struct Extras {
    added: bool,
    sum: bool,
    weight: bool,
    bias: bool,
}

fn expected(kind: Norm, row: &[f64], weight: Option<&[f64]>, bias: Option<&[f64]>) -> Vec<f64> {
    let count = row.len() as f64;
    let mean = if kind == Norm::Layer { row.iter().sum::<f64>() / count } else { 0.0 };
    let squares: f64 = row.iter().map(|x| (x - mean).powi(2)).sum();
    let divisor = match kind {
        Norm::Layer | Norm::Rms => (squares / count + f64::from(EPSILON)).sqrt(),
        Norm::Unit if squares.sqrt() < EPSILON.into() => EPSILON.into(),
        Norm::Unit => squares.sqrt(),
    };
    let each = |(i, x): (usize, &f64)| {
        let y = (x - mean) / divisor * weight.map_or(1.0, |weight| weight[i]);
        y + bias.map_or(0.0, |bias| bias[i])
    };
    row.iter().enumerate().map(each).collect()
}

fn check(kind: Norm, form: Form, extras: Extras, (rows, n): (usize, usize), shift: usize) {
    let mut random = Random::new(n as u64);
    let mut x = random.floats(form, rows * n);
    if rows > 1 && n > 0 {
        x[..n].fill(0.0);
        x[n / 2] = f64::NAN;
        x[(rows - 1) * n..].fill(0.0);
    }
    let added = random.floats(form, rows * n);
    let (weight, bias) = (random.floats(form, n), random.floats(form, n));
    let place = |x: &[f64]| Placed::new(form, shift, x);
    let (x_at, added_at, weight_at, bias_at) =
        (place(&x), place(&added), place(&weight), place(&bias));
    let (sum_at, y_at) =
        (Placed::poisoned(form, shift, x.len()), Placed::poisoned(form, shift, x.len()));
    let mut operands = NormOperands {
        x: x_at.slice(),
        added: extras.added.then(|| added_at.slice()),
        sum: extras.sum.then(|| sum_at.slice()),
        weight: extras.weight.then(|| weight_at.slice()),
        bias: extras.bias.then(|| bias_at.slice()),
        y: y_at.slice(),
        rows: rows as u32,
        n: n as u32,
    };
    let mut queue = device().queue().expect("a turn");
    norm(&mut queue, kind, EPSILON, form, &operands).expect("a launch");
    let summed: Vec<f64> = match extras.added {
        true => x.iter().zip(&added).map(|(x, y)| rounded(form, x + y)).collect(),
        false => x,
    };
    let what = format!("{kind:?} {form:?} {extras:?} [{rows}, {n}] shift {shift}");
    let want: Vec<f64> = summed
        .chunks_exact(n.max(1))
        .flat_map(|row| {
            let weight = extras.weight.then_some(&weight[..]);
            expected(kind, row, weight, extras.bias.then_some(&bias[..]))
        })
        .map(|y| rounded(form, y))
        .collect();
    close(&what, &y_at.numbers(&mut queue), &want, 2.0 * epsilon(form).max(2e-6));
    if extras.sum {
        close(&what, &sum_at.numbers(&mut queue), &summed, 0.0);
        // The result is that of the sum as it was written.
        let again = Placed::poisoned(form, shift, summed.len());
        let (x, y) = (sum_at.slice(), again.slice());
        let alone = NormOperands { x, y, added: None, sum: None, ..operands };
        norm(&mut queue, kind, EPSILON, form, &alone).expect("a launch");
        assert_eq!(again.bytes(&mut queue), y_at.bytes(&mut queue), "{what}");
        operands.sum = operands.added;
    }
    operands.y = operands.x;
    norm(&mut queue, kind, EPSILON, form, &operands).expect("a launch");
    assert_eq!(x_at.bytes(&mut queue), y_at.bytes(&mut queue), "in place: {what}");
}

const PLAIN: Extras = Extras { added: false, sum: false, weight: true, bias: false };

pub(crate) fn draw_norm(random: &mut Random) {
    let [added, sum, weight, bias] = [0; 4].map(|_| random.below(2) == 0);
    let extras = Extras { added, sum: sum && added, weight, bias: bias && weight };
    let kind = random.of(&[Norm::Layer, Norm::Rms, Norm::Unit]);
    let shape = (random.below(12), random.extent(3000));
    check(kind, random.of(&FLOATS), extras, shape, random.below(5));
}

#[test]
fn rows_of_any_length_follow_the_definitions() {
    for form in FLOATS {
        for &n in SIZES {
            check(Norm::Layer, form, Extras { bias: true, ..PLAIN }, (11, n), 0);
            check(Norm::Rms, form, PLAIN, (11, n), 0);
            check(Norm::Unit, form, Extras { weight: false, ..PLAIN }, (11, n), 0);
        }
    }
}

#[test]
fn rows_are_long_added_or_misaligned() {
    for form in FLOATS {
        for shape in [(2, 2048), (2, 8200), (1, 20_001), (20, 64), (3, 1000)] {
            for shift in [0, 1] {
                for (added, sum) in [(false, false), (true, false), (true, true)] {
                    let extras = Extras { added, sum, ..PLAIN };
                    check(Norm::Rms, form, extras, shape, shift);
                    check(Norm::Layer, form, Extras { bias: true, ..extras }, shape, shift);
                }
                check(Norm::Layer, form, Extras { weight: false, ..PLAIN }, shape, shift);
            }
        }
    }
}

#[test]
fn operands_that_do_not_go_together_are_refused() {
    let x = Placed::new(Form::F32, 0, &[1.0; 8]);
    let mut queue = device().queue().expect("a turn");
    let all = NormOperands {
        x: x.slice(),
        added: None,
        sum: None,
        weight: None,
        bias: None,
        y: x.slice(),
        rows: 2,
        n: 4,
    };
    let wrong = [
        NormOperands { bias: Some(x.slice()), ..all },
        NormOperands { sum: Some(x.slice()), ..all },
        NormOperands { added: Some(x.slice()), sum: Some(x.slice()), ..all },
        NormOperands { rows: 3, ..all },
        NormOperands { n: 5, ..all },
        NormOperands { weight: Some(x.slice().part(0, 12).expect("a part")), ..all },
        NormOperands { rows: 1 << 16, n: 1 << 16, ..all },
    ];
    for operands in wrong {
        let refused = norm(&mut queue, Norm::Rms, EPSILON, Form::F32, &operands);
        assert!(matches!(refused, Err(DeviceError::Defect(_))), "{operands:?}");
    }
    assert_eq!(queue.launches(), 0);
}
