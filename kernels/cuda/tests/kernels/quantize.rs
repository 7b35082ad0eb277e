//! Between floats and integers.

use crate::placed::{FLOATS, Placed};
use crate::reference::{Random, close, device, rounded};
use aimass_cuda::lanes::Lanes;
use aimass_cuda::quantize::{Quantum, Scale, Scaling, dequantize, quantize};
use aimass_cuda::{DeviceError, Form};

const QUANTA: [Quantum; 5] = [Quantum::I8, Quantum::U8, Quantum::I16, Quantum::U16, Quantum::I32];

fn range(quantum: Quantum) -> (f64, f64) {
    match quantum {
        Quantum::I8 => (-128.0, 127.0),
        Quantum::U8 => (0.0, 255.0),
        Quantum::I16 => (-32768.0, 32767.0),
        Quantum::U16 => (0.0, 65535.0),
        Quantum::I32 => (-2_147_483_648.0, 2_147_483_647.0),
    }
}

/// Integers of a type in bytes.
fn bytes(quantum: Quantum, x: &[f64]) -> Vec<u8> {
    x.iter().flat_map(|x| (*x as i64).to_le_bytes()[..quantum.bytes()].to_vec()).collect()
}

fn placed(quantum: Quantum, x: &[f64]) -> Placed {
    let form = match quantum.bytes() {
        1 => Form::U8,
        2 => Form::B16,
        _ => Form::I32,
    };
    Placed::of_bytes(form, 1, &bytes(quantum, x))
}

fn scale_of(form: Form) -> Scale {
    match FLOATS.iter().position(|&own| own == form) {
        Some(1) => Scale::F16,
        Some(2) => Scale::Bf16,
        Some(_) | None => Scale::F32,
    }
}

fn check(quantum: Quantum, form: Form, lanes: Lanes, zeros: bool) {
    let Lanes { outer, n, inner } = lanes;
    let count = (outer * n * inner) as usize;
    let mut random = Random::new(count as u64 + 1);
    let mut x: Vec<f64> = random.floats(form, count).iter().map(|x| x * 64.0).collect();
    let special = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e30, 0.5, 1.5, 2.5, -0.5];
    x.iter_mut().zip(special).for_each(|(x, special)| *x = rounded(form, special));
    let scales: Vec<f64> = (0..n).map(|i| [1.0, 0.5, 0.375][i as usize % 3]).collect();
    let (least, most) = range(quantum);
    let points: Vec<f64> = (0..n).map(|i| [3.0, least, most][i as usize % 3]).collect();
    let zero = |i: usize| if zeros { points[i] } else { 0.0 };
    let (scales_at, points_at) = (Placed::new(form, 1, &scales), placed(quantum, &points));
    let scaling = Scaling {
        lanes,
        quantum,
        scales: scales_at.slice(),
        scale: scale_of(form),
        zeros: zeros.then(|| points_at.slice()),
    };
    let from = Placed::new(form, 1, &x);
    let to = placed(quantum, &vec![77.0; count]);
    let mut queue = device().queue().expect("a turn");
    quantize(&mut queue, form, &scaling, (from.slice(), to.slice())).expect("a launch");
    let index = |i: usize| i / inner as usize % n as usize;
    let each = |(i, x): (usize, &f64)| {
        let rounded = (*x as f32 / scales[index(i)] as f32).round_ties_even();
        let sum = if rounded.is_nan() { 0.0 } else { f64::from(rounded) } + zero(index(i));
        sum.clamp(least, most)
    };
    let want: Vec<f64> = x.iter().enumerate().map(each).collect();
    let what = format!("{quantum:?} {form:?} {lanes:?} zeros {zeros}");
    assert_eq!(to.bytes(&mut queue), bytes(quantum, &want), "{what}");

    let back = Placed::poisoned(Form::F32, 1, count);
    dequantize(&mut queue, &scaling, (to.slice(), back.slice())).expect("a launch");
    let each =
        |(i, x): (usize, &f64)| f64::from((x - zero(index(i))) as f32 * scales[index(i)] as f32);
    let want: Vec<f64> = want.iter().enumerate().map(each).collect();
    close(&what, &back.numbers(&mut queue), &want, 0.0);
}

/// Both ways.
pub(crate) fn draw_quantize(random: &mut Random) {
    let lanes = Lanes {
        outer: random.below(5) as u32,
        n: 1 + random.below(9) as u32,
        inner: random.extent(300) as u32,
    };
    check(random.of(&QUANTA), random.of(&FLOATS), lanes, random.below(2) == 0);
}

#[test]
fn numbers_round_saturate_and_come_back() {
    for quantum in QUANTA {
        for form in FLOATS {
            for (outer, n, inner) in [(1, 1, 700), (3, 5, 1), (4, 3, 33), (0, 3, 2)] {
                check(quantum, form, Lanes { outer, n, inner }, true);
                check(quantum, form, Lanes { outer, n, inner }, false);
            }
        }
    }
}

#[test]
fn scales_are_checked() {
    let x = Placed::new(Form::F32, 0, &[1.0; 12]);
    let scaling = Scaling {
        lanes: Lanes { outer: 1, n: 12, inner: 1 },
        quantum: Quantum::I32,
        scales: x.slice(),
        scale: Scale::F32,
        zeros: Some(x.slice()),
    };
    let short = x.slice().part(0, 44).expect("a part");
    let mut queue = device().queue().expect("a turn");
    for (scaling, x, y) in [
        (Scaling { scales: short, ..scaling }, x.slice(), x.slice()),
        (Scaling { zeros: Some(short), ..scaling }, x.slice(), x.slice()),
        (scaling, short, x.slice()),
        (scaling, x.slice(), short),
    ] {
        let refused = quantize(&mut queue, Form::F32, &scaling, (x, y));
        assert!(matches!(refused, Err(DeviceError::Defect(_))));
        let refused = dequantize(&mut queue, &scaling, (x, y));
        assert!(matches!(refused, Err(DeviceError::Defect(_))));
    }
}
