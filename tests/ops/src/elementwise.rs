//! Ops on single elements, with broadcasting.

use crate::reference::{
    Array, Case, check, check_floats, check_narrow, float, index_of, numbers, refused, text,
};
use aimass_tensor::{DType, Tensor};

pub(crate) const CASES: &[Case] = &[
    ("neg", || unary("neg", |x| -x, &SIGNED, 0.0)),
    ("abs", || unary("abs", f64::abs, &SIGNED, 0.0)),
    ("sign", || unary("sign", sign, &SIGNED, 0.0)),
    ("exp", || unary("exp", f64::exp, &[], 1e-6)),
    ("log", || unary("log", f64::ln, &[], 1e-6)),
    ("sqrt", || unary("sqrt", f64::sqrt, &[], 1e-6)),
    ("rsqrt", || unary("rsqrt", |x| 1.0 / x.sqrt(), &[], 1e-6)),
    ("reciprocal", || unary("reciprocal", |x| 1.0 / x, &[], 1e-6)),
    ("sin", || unary("sin", f64::sin, &[], 1e-6)),
    ("cos", || unary("cos", f64::cos, &[], 1e-6)),
    ("tan", || unary("tan", f64::tan, &[], 1e-5)),
    ("asin", || unary("asin", f64::asin, &[], 1e-6)),
    ("acos", || unary("acos", f64::acos, &[], 1e-6)),
    ("atan", || unary("atan", f64::atan, &[], 1e-6)),
    ("sinh", || unary("sinh", f64::sinh, &[], 1e-6)),
    ("cosh", || unary("cosh", f64::cosh, &[], 1e-6)),
    ("tanh", || unary("tanh", f64::tanh, &[], 1e-6)),
    ("asinh", || unary("asinh", f64::asinh, &[], 1e-6)),
    ("acosh", || unary("acosh", f64::acosh, &[], 1e-6)),
    ("atanh", || unary("atanh", f64::atanh, &[], 1e-5)),
    ("erf", || unary("erf", erf, &[], 1e-6)),
    ("floor", || unary("floor", f64::floor, &[], 0.0)),
    ("ceil", || unary("ceil", f64::ceil, &[], 0.0)),
    ("round", || unary("round", f64::round_ties_even, &[], 0.0)),
    ("sigmoid", || unary("sigmoid", |x| 1.0 / (1.0 + (-x).exp()), &[], 1e-6)),
    ("relu", || unary("relu", |x| if x < 0.0 { 0.0 } else { x }, &SIGNED, 0.0)),
    ("silu", || unary("silu", |x| x / (1.0 + (-x).exp()), &[], 1e-6)),
    ("softplus", || unary("softplus", |x| x.max(0.0) + (-x.abs()).exp().ln_1p(), &[], 1e-6)),
    ("gelu", gelu),
    ("logical-not", logical_not),
    ("bit-not", bit_not),
    ("is-nan", || tests_of_floats("is-nan", f64::is_nan)),
    ("is-inf", || tests_of_floats("is-inf", f64::is_infinite)),
    ("hard-swish", hard_swish),
    ("leaky-relu", leaky_relu),
    ("elu", elu),
    ("hard-sigmoid", hard_sigmoid),
    ("clamp", clamp),
    ("bitcast", bitcast),
    ("add", || arithmetic("add", |x, y| x + y)),
    ("sub", || arithmetic("sub", |x, y| x - y)),
    ("mul", || arithmetic("mul", |x, y| x * y)),
    ("div", div),
    ("rem", rem),
    ("pow", pow),
    ("maximum", || arithmetic("maximum", larger)),
    ("minimum", || arithmetic("minimum", |x, y| -larger(-x, -y))),
    ("logical-and", || logic("logical-and", |x, y| x & y)),
    ("logical-or", || logic("logical-or", |x, y| x | y)),
    ("logical-xor", || logic("logical-xor", |x, y| x ^ y)),
    ("bit-and", || bits("bit-and", |x, y| x & y)),
    ("bit-or", || bits("bit-or", |x, y| x | y)),
    ("bit-xor", || bits("bit-xor", |x, y| x ^ y)),
    ("shift-left", shift_left),
    ("shift-right", shift_right),
    ("equal", || compare("equal", |x, y| x == y)),
    ("not-equal", || compare("not-equal", |x, y| x != y)),
    ("less", || compare("less", |x, y| x < y)),
    ("less-equal", || compare("less-equal", |x, y| x <= y)),
    ("greater", || compare("greater", |x, y| x > y)),
    ("greater-equal", || compare("greater-equal", |x, y| x >= y)),
    ("select", select),
];

const NUMBERS: [DType; 10] = [
    DType::F32,
    DType::F64,
    DType::I8,
    DType::I16,
    DType::I32,
    DType::I64,
    DType::U8,
    DType::U16,
    DType::U32,
    DType::U64,
];

const SIGNED: [DType; 4] = [DType::I8, DType::I16, DType::I32, DType::I64];
const UNSIGNED: [DType; 4] = [DType::U8, DType::U16, DType::U32, DType::U64];

fn sign(x: f64) -> f64 {
    if x.is_nan() || x == 0.0 { x } else { x.signum() }
}

fn larger(x: f64, y: f64) -> f64 {
    if x.is_nan() || y.is_nan() { f64::NAN } else { x.max(y) }
}

/// Maclaurin series; enough terms for `|x| <= 6`.
fn erf(x: f64) -> f64 {
    if x.is_nan() {
        return x;
    }
    if x.abs() > 6.0 {
        return x.signum();
    }
    let (mut term, mut sum) = (x, x);
    for n in 1..200 {
        term *= -x * x / f64::from(n);
        sum += term / f64::from(2 * n + 1);
    }
    sum * std::f64::consts::FRAC_2_SQRT_PI
}

fn unary(op: &str, f: fn(f64) -> f64, integers: &[DType], tolerance: f64) {
    for shape in [&[][..], &[1], &[0], &[3, 0, 2], &[17], &[2, 3, 5]] {
        let x = Array::random(shape, 7);
        check_floats(op, &[&x], &[], &[], &x.map(f), tolerance);
    }
    let edges = Array::new(&[7], [0.0, 0.5, 1.0, 2.5, -2.5, 30.0, f64::NAN]);
    check_floats(op, &[&edges], &[], &[], &edges.map(f), tolerance);
    for &dtype in integers {
        let x = Array::new(&[5], [-3.0, -1.0, 0.0, 1.0, 100.0]);
        check(op, &[x.tensor(dtype)], &[], &x.map(f), 0.0);
    }
    for dtype in UNSIGNED {
        let x = Array::new(&[3], [0.0, 1.0, 200.0]);
        match integers.is_empty() || op == "neg" {
            true => refused(op, &[x.tensor(dtype)], &[], "dtype"),
            false => check(op, &[x.tensor(dtype)], &[], &x.map(f), 0.0),
        }
    }
    let bytes = Array::new(&[1], [1.0]).tensor(DType::Bool);
    refused(op, &[bytes], &[], "dtype");
}

fn gelu() {
    let exact = |x: f64| 0.5 * x * (1.0 + erf(x / 2f64.sqrt()));
    let approximate = |x: f64| {
        let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x * x * x);
        0.5 * x * (1.0 + inner.tanh())
    };
    let x = Array::random(&[5, 33], 3);
    check("gelu", &[x.f32()], &[], &x.map(exact), 2e-6);
    check_floats("gelu", &[&x], &[], &[text("form", "erf")], &x.map(exact), 2e-6);
    check_floats("gelu", &[&x], &[], &[text("form", "tanh")], &x.map(approximate), 2e-6);
    refused("gelu", &[x.f32()], &[text("form", "other")], "argument");
}

fn hard_swish() {
    let x = Array::new(&[6], [-5.0, -3.0, -1.0, 0.0, 2.0, 5.0]);
    let f = |x: f64| x * (x / 6.0 + 0.5).clamp(0.0, 1.0);
    check_floats("hard-swish", &[&x], &[], &[], &x.map(f), 1e-6);
}

fn leaky_relu() {
    let x = Array::random(&[4, 5], 9);
    let f = |x: f64| if x > 0.0 { x } else { 0.25 * x };
    check_floats("leaky-relu", &[&x], &[], &[float("alpha", 0.25)], &x.map(f), 1e-6);
}

fn elu() {
    let x = Array::random(&[4, 5], 9);
    let f = |x: f64| if x > 0.0 { x } else { 1.5 * x.exp_m1() };
    check_floats("elu", &[&x], &[], &[float("alpha", 1.5)], &x.map(f), 1e-6);
}

fn hard_sigmoid() {
    let x = Array::random(&[4, 5], 9);
    let f = |x: f64| (0.5 * x + 0.25).clamp(0.0, 1.0);
    let attributes = [float("alpha", 0.5), float("beta", 0.25)];
    check_floats("hard-sigmoid", &[&x], &[], &attributes, &x.map(f), 1e-6);
}

fn logical_not() {
    let x = Array::new(&[2, 2], [0.0, 1.0, 1.0, 0.0]);
    check("logical-not", &[x.tensor(DType::Bool)], &[], &x.map(|x| 1.0 - x), 0.0);
    refused("logical-not", &[x.f32()], &[], "dtype");
}

fn bit_not() {
    let x = Array::new(&[4], [0.0, 1.0, -2.0, 100.0]);
    for dtype in SIGNED {
        check("bit-not", &[x.tensor(dtype)], &[], &x.map(|x| -x - 1.0), 0.0);
    }
    let x = Array::new(&[2], [0.0, 100.0]);
    check("bit-not", &[x.tensor(DType::U8)], &[], &x.map(|x| 255.0 - x), 0.0);
    refused("bit-not", &[x.f32()], &[], "dtype");
}

fn tests_of_floats(op: &str, f: fn(f64) -> bool) {
    let x = Array::new(&[5], [0.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1.0]);
    check_floats(op, &[&x], &[], &[], &x.map(|x| f64::from(f(x))), 0.0);
    for dtype in [DType::F8E4m3, DType::F8E5m2, DType::F8E4m3Fnuz, DType::F8E5m2Fnuz] {
        let x = x.tensor(dtype);
        let known = Array::new(&[5], numbers(&x));
        check(op, &[x], &[], &known.map(|x| f64::from(f(x))), 0.0);
    }
    refused(op, &[x.tensor(DType::I32)], &[], "dtype");
}

fn clamp() {
    let x = Array::new(&[6], [-9.0, -1.0, 0.0, 1.0, 9.0, 2.0]);
    let attributes = [float("low", -1.5), float("high", 2.5)];
    check_narrow("clamp", &[&x], &[], &attributes);
    for dtype in [DType::F32, DType::F64, DType::I8, DType::I16, DType::I32, DType::I64] {
        let whole = dtype.is_int();
        let f = move |x: f64| match whole {
            true => x.clamp(-1.0, 2.0),
            false => x.clamp(-1.5, 2.5),
        };
        check("clamp", &[x.tensor(dtype)], &attributes, &x.map(f), 0.0);
    }
    for dtype in [DType::U8, DType::U16, DType::U32, DType::U64] {
        let x = x.map(f64::abs);
        check("clamp", &[x.tensor(dtype)], &attributes, &x.map(|x| x.min(2.0)), 0.0);
    }
    let attributes = [float("low", f64::NEG_INFINITY), float("high", 0.0)];
    check("clamp", &[x.f32()], &attributes, &x.map(|x| x.min(0.0)), 0.0);
    refused("clamp", &[x.f32()], &[float("low", 2.0), float("high", 1.0)], "argument");
}

fn bitcast() {
    let x = Tensor::from_slice(&[2], &[1f32, -0.0]).unwrap();
    let expected = Array::new(&[2], [f64::from(0x3f80_0000), f64::from(0x8000_0000u32)]);
    check("bitcast", std::slice::from_ref(&x), &[text("dtype", "u32")], &expected, 0.0);
    refused("bitcast", &[x], &[text("dtype", "u64")], "dtype");
}

/// Pairs of shapes that broadcast, and their common shape.
fn shapes() -> Vec<[&'static [usize]; 3]> {
    vec![
        [&[], &[], &[]],
        [&[3], &[], &[3]],
        [&[], &[2, 2], &[2, 2]],
        [&[4], &[4], &[4]],
        [&[2, 3], &[3], &[2, 3]],
        [&[2, 1], &[1, 3], &[2, 3]],
        [&[2, 1, 4], &[3, 1], &[2, 3, 4]],
        [&[1], &[0], &[0]],
        [&[0, 3], &[1, 3], &[0, 3]],
        [&[5, 1, 2, 1], &[1, 3, 1, 2], &[5, 3, 2, 2]],
    ]
}

fn zipped(shape: &[usize], x: &Array, y: &Array, f: impl Fn(f64, f64) -> f64) -> Array {
    let count: usize = shape.iter().product();
    let at = |flat: usize| index_of(shape, flat);
    let values = (0..count).map(|flat| f(x.spread(&at(flat)), y.spread(&at(flat))));
    Array::new(shape, values.collect::<Vec<f64>>())
}

fn arithmetic(op: &str, f: fn(f64, f64) -> f64) {
    for [a, b, shape] in shapes() {
        let (x, y) = (Array::random(a, 1), Array::random(b, 2));
        check_floats(op, &[&x, &y], &[], &[], &zipped(shape, &x, &y, f), 1e-6);
    }
    let (x, y) = (Array::new(&[3], [9.0, 7.0, 8.0]), Array::new(&[2, 1], [3.0, 5.0]));
    for dtype in NUMBERS {
        let expected = zipped(&[2, 3], &x, &y, f);
        check(op, &[x.tensor(dtype), y.tensor(dtype)], &[], &expected, 0.0);
    }
    refused(op, &[x.f32(), y.tensor(DType::I32)], &[], "dtype");
    refused(op, &[x.f32(), Array::random(&[2], 1).f32()], &[], "shape-mismatch");
}

fn div() {
    for [a, b, shape] in shapes() {
        let (x, y) = (Array::random(a, 1), Array::random(b, 2).map(|y| y + 3.0));
        check_floats("div", &[&x, &y], &[], &[], &zipped(shape, &x, &y, |x, y| x / y), 1e-6);
    }
    let x = Array::new(&[4], [7.0, -7.0, 5.0, 1.0]);
    let y = Array::new(&[4], [2.0, 2.0, -3.0, 0.0]);
    integers("div", &x, &y, |x, y| if y == 0.0 { 0.0 } else { (x / y).trunc() });
}

fn rem() {
    let x = Array::new(&[4], [7.0, -7.0, 5.5, -1.0]);
    let y = Array::new(&[4], [3.0, 3.0, -3.0, 4.0]);
    let expected = Array::new(&[4], [1.0, -1.0, 2.5, -1.0]);
    check_floats("rem", &[&x, &y], &[], &[], &expected, 0.0);
    let (x, y) = (Array::new(&[4], [7.0, -7.0, 5.0, 5.0]), Array::new(&[4], [3.0, 3.0, 0.0, -3.0]));
    integers("rem", &x, &y, |x, y| if y == 0.0 { 0.0 } else { x % y });
}

/// An op on every dtype of integers; unsigned ones get the magnitudes.
fn integers(op: &str, x: &Array, y: &Array, f: fn(f64, f64) -> f64) {
    for dtype in SIGNED {
        let expected = zipped(&x.shape, x, y, f);
        check(op, &[x.tensor(dtype), y.tensor(dtype)], &[], &expected, 0.0);
    }
    for dtype in UNSIGNED {
        let (x, y) = (x.map(f64::abs), y.map(f64::abs));
        let expected = zipped(&x.shape, &x, &y, f);
        check(op, &[x.tensor(dtype), y.tensor(dtype)], &[], &expected, 0.0);
    }
}

fn pow() {
    let (x, y) = (Array::new(&[3], [2.0, 9.0, 0.5]), Array::new(&[2, 1], [3.0, 0.5]));
    check_floats("pow", &[&x, &y], &[], &[], &zipped(&[2, 3], &x, &y, f64::powf), 1e-6);
    let x = Array::new(&[5], [2.0, -3.0, 0.0, 1.0, 5.0]);
    integers("pow", &x, &Array::new(&[], [3.0]), f64::powf);
    integers("pow", &x, &Array::new(&[], [0.0]), f64::powf);
    let (x, y) =
        (Array::new(&[4], [2.0, -1.0, -1.0, 1.0]), Array::new(&[4], [-1.0, -3.0, -2.0, -9.0]));
    let expected = Array::new(&[4], [0.0, -1.0, 1.0, 1.0]);
    check("pow", &[x.tensor(DType::I16), y.tensor(DType::I16)], &[], &expected, 0.0);
}

fn logic(op: &str, f: fn(bool, bool) -> bool) {
    let x = Array::new(&[2, 1], [0.0, 1.0]);
    let y = Array::new(&[2], [0.0, 1.0]);
    let g = |x: f64, y: f64| f64::from(f(x != 0.0, y != 0.0));
    let expected = zipped(&[2, 2], &x, &y, g);
    check(op, &[x.tensor(DType::Bool), y.tensor(DType::Bool)], &[], &expected, 0.0);
    refused(op, &[x.f32(), y.f32()], &[], "dtype");
}

fn bits(op: &str, f: fn(i64, i64) -> i64) {
    let (x, y) = (Array::new(&[3], [12.0, 10.0, 255.0]), Array::new(&[1], [6.0]));
    for dtype in SIGNED.into_iter().chain(UNSIGNED) {
        let x = if dtype == DType::I8 { x.map(|x| x / 2.0) } else { x.clone() };
        let expected = zipped(&[3], &x, &y, |x, y| f(x as i64, y as i64) as f64);
        check(op, &[x.tensor(dtype), y.tensor(dtype)], &[], &expected, 0.0);
    }
    refused(op, &[x.f32(), y.f32()], &[], "dtype");
}

fn shift_left() {
    let (x, y) = (Array::new(&[4], [1.0, 3.0, 200.0, 1.0]), Array::new(&[4], [0.0, 2.0, 1.0, 8.0]));
    let expected = Array::new(&[4], [1.0, 12.0, 144.0, 0.0]);
    check("shift-left", &[x.tensor(DType::U8), y.tensor(DType::U8)], &[], &expected, 0.0);
    let (x, y) = (Array::new(&[3], [1.0, 3.0, 5.0]), Array::new(&[3], [0.0, 2.0, 4.0]));
    integers("shift-left", &x, &y, |x, y| x * y.exp2());
}

fn shift_right() {
    let (x, y) = (Array::new(&[3], [-8.0, 8.0, -1.0]), Array::new(&[3], [1.0, 2.0, 40.0]));
    let expected = Array::new(&[3], [-4.0, 2.0, -1.0]);
    check("shift-right", &[x.tensor(DType::I32), y.tensor(DType::I32)], &[], &expected, 0.0);
    let y = Array::new(&[3], [1.0, 2.0, 0.0]);
    integers("shift-right", &x, &y, |x, y| (x / y.exp2()).floor());
}

fn compare(op: &str, f: fn(&f64, &f64) -> bool) {
    let g = |x: f64, y: f64| f64::from(f(&x, &y));
    for [a, b, shape] in shapes() {
        let (x, y) = (Array::random(a, 1).map(f64::floor), Array::random(b, 2).map(f64::floor));
        check_floats(op, &[&x, &y], &[], &[], &zipped(shape, &x, &y, g), 0.0);
        let expected = zipped(shape, &x, &y, g);
        for dtype in SIGNED {
            check(op, &[x.tensor(dtype), y.tensor(dtype)], &[], &expected, 0.0);
        }
        let (x, y) = (x.map(|x| x + 2.0), y.map(|y| y + 2.0));
        for dtype in UNSIGNED {
            check(op, &[x.tensor(dtype), y.tensor(dtype)], &[], &expected, 0.0);
        }
    }
    let nan = Array::new(&[1], [f64::NAN]);
    check_floats(op, &[&nan, &nan], &[], &[], &zipped(&[1], &nan, &nan, g), 0.0);
    let (x, y) = (Array::new(&[2, 1], [0.0, 1.0]), Array::new(&[2], [0.0, 1.0]));
    let expected = zipped(&[2, 2], &x, &y, g);
    check(op, &[x.tensor(DType::Bool), y.tensor(DType::Bool)], &[], &expected, 0.0);
}

fn select() {
    let condition = Array::new(&[2, 1], [1.0, 0.0]);
    let (x, y) = (Array::new(&[3], [1.0, 2.0, 3.0]), Array::new(&[], [9.0]));
    let expected = Array::new(&[2, 3], [1.0, 2.0, 3.0, 9.0, 9.0, 9.0]);
    for dtype in NUMBERS.into_iter().chain([DType::Bool]) {
        let as_is = match dtype {
            DType::Bool => expected.map(|x| f64::from(x != 0.0)),
            _ => expected.clone(),
        };
        let inputs = [condition.tensor(DType::Bool), x.tensor(dtype), y.tensor(dtype)];
        check("select", &inputs, &[], &as_is, 0.0);
    }
    refused("select", &[condition.f32(), x.f32(), y.f32()], &[], "dtype");
}
