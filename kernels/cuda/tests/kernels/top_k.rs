//! The best elements of rows, in order.

use crate::placed::{FLOATS, Placed};
use crate::reference::{Random, SIZES, close, device};
use aimass_cuda::top_k::{TopK, takes, top_k};
use aimass_cuda::{DeviceError, Form};
use std::cmp::Ordering;

/// Places of the best `k` of a row: a stable sort, NaN above any number.
fn best(row: &[f64], k: usize, largest: bool) -> Vec<usize> {
    let order = |&a: &usize, &b: &usize| {
        let (a, b) = (row[a], row[b]);
        let ascending = a.partial_cmp(&b).unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()));
        if largest { ascending.reverse() } else { ascending }
    };
    let mut places: Vec<usize> = (0..row.len()).collect();
    places.sort_by(|a, b| match order(a, b) {
        Ordering::Equal => a.cmp(b),
        unequal => unequal,
    });
    places.truncate(k);
    places
}

fn check(form: Form, (rows, n, k): (usize, usize, usize), largest: bool, x: &[f64]) {
    let from = Placed::new(form, 1, x);
    let values = Placed::poisoned(form, 1, rows * k);
    let indices = Placed::poisoned(Form::I64, 0, rows * k);
    let operands = TopK {
        x: from.slice(),
        values: values.slice(),
        indices: indices.slice(),
        rows: rows as u32,
        n: n as u32,
        k: k as u32,
        largest,
    };
    let mut queue = device().queue().expect("a turn");
    top_k(&mut queue, form, &operands).expect("a launch");
    let mut want: Vec<usize> = Vec::new();
    for row in x.chunks_exact(n.max(1)).take(rows) {
        want.extend(best(row, k, largest));
    }
    let what = format!("{form:?} {k} of [{rows}, {n}] largest {largest}");
    let places: Vec<f64> = want.iter().map(|&place| place as f64).collect();
    close(&what, &indices.numbers(&mut queue), &places, 0.0);
    let chosen: Vec<f64> =
        want.iter().enumerate().map(|(i, &place)| x[i / k * n + place]).collect();
    let found = values.numbers(&mut queue);
    close(&what, &found, &chosen, 0.0);
    let signs = |x: &[f64]| -> Vec<bool> { x.iter().map(|x| x.is_sign_negative()).collect() };
    assert_eq!(signs(&found), signs(&chosen), "zeros keep their signs: {what}");
}

/// Numbers of which many are equal if there are few `kinds`, with special ones.
fn numbers(form: Form, count: usize, kinds: u64) -> Vec<f64> {
    let mut random = Random::new(count as u64 + kinds);
    let special = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.0, 0.0, f64::NAN, -1e-7, 65504.0];
    (0..count)
        .map(|i| match (random.bits() >> 20) % 40 {
            0 if form != Form::I32 => crate::reference::rounded(form, special[i % 8]),
            _ => ((random.bits() >> 30) % kinds) as f64 - (kinds / 2) as f64,
        })
        .collect()
}

pub(crate) fn draw_top_k(random: &mut Random) {
    let form = random.of(&[Form::F32, Form::F16, Form::Bf16, Form::I32]);
    let (rows, n) = (random.below(4), random.extent(3000));
    let k = random.below(n.min(2048) + 1);
    let x = numbers(form, rows * n, random.of(&[1, 9, 200]));
    check(form, (rows, n, k), random.below(2) == 0, &x);
}

#[test]
fn rows_that_are_sorted_give_their_best() {
    for form in FLOATS.into_iter().chain([Form::I32]) {
        for &n in SIZES.iter().chain(&[128, 2048]) {
            let x = numbers(form, 3 * n, 9);
            for k in [0, 1, 8, 40, n].into_iter().filter(|&k| k <= n) {
                check(form, (3, n, k), k % 2 == 0, &x);
            }
            check(form, (3, n, n), false, &x);
        }
    }
}

#[test]
fn long_rows_are_searched() {
    for form in FLOATS.into_iter().chain([Form::I32]) {
        for (n, kinds) in [(2049, 5), (5000, 2000), (70_001, 3), (70_001, 1 << 30)] {
            let kinds =
                if form == Form::F32 || form == Form::I32 { kinds } else { kinds.min(2000) };
            let x = match form {
                Form::Bf16 => numbers(form, 2 * n, kinds.min(200)),
                _ => numbers(form, 2 * n, kinds.min(1 << 24)),
            };
            for k in [1, 50, 1024, 2047] {
                check(form, (2, n, k), k != 50, &x);
            }
        }
    }
    check(Form::F32, (1, 3000, 2048), true, &[1.5; 3000]);
    check(Form::F32, (1, 3000, 7), false, &[f64::NAN; 3000]);
}

#[test]
fn what_no_block_sorts_is_refused() {
    assert!(takes(1 << 20, 2048) && takes(2048, 2048) && !takes(2049, 2049));
    let x = Placed::new(Form::F32, 0, &[0.0; 5000]);
    let operands = TopK {
        x: x.slice(),
        values: x.slice(),
        indices: x.slice(),
        rows: 1,
        n: 100,
        k: 8,
        largest: true,
    };
    let short = x.slice().part(0, 56).expect("a part");
    let mut queue = device().queue().expect("a turn");
    for operands in [
        TopK { k: 101, ..operands },
        TopK { n: 3000, k: 2500, ..operands },
        TopK { n: 5001, ..operands },
        TopK { values: short.part(0, 28).expect("a part"), ..operands },
        TopK { indices: short, ..operands },
    ] {
        let refused = top_k(&mut queue, Form::F32, &operands);
        assert!(matches!(refused, Err(DeviceError::Defect(_))), "{operands:?}");
    }
}
