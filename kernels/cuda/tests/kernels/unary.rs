//! Functions of one number.

use crate::moved::{
    INTEGERS, Operand, bytes_left, decode_whole, encode_whole, integers, is_signed, size, wrapped,
};
use crate::reference::{Random, SIZES, close, decode, encode, epsilon, outcome, rounded};
use aimass_cuda::Form;
use aimass_cuda::unary::{FloatTest, IntUnary, Unary, unary, unary_int, unary_test};
use aimass_tensor::DType;

/// A function, and what f64 makes of it.
type Case = (Unary, fn(f64) -> f64);

/// `erf` by its series of positive terms (Abramowitz and Stegun 7.1.6).
fn erf(x: f64) -> f64 {
    if x.is_nan() || x.abs() > 6.0 {
        return if x.is_nan() { x } else { x.signum() };
    }
    let (mut term, mut sum) = (x, x);
    for n in 1..200 {
        term *= 2.0 * x * x / (2.0 * f64::from(n) + 1.0);
        sum += term;
    }
    2.0 / std::f64::consts::PI.sqrt() * (-x * x).exp() * sum
}

fn unit(x: f64) -> f64 {
    if x.is_nan() { x } else { x.clamp(0.0, 1.0) }
}

fn gelu_tanh(x: f64) -> f64 {
    let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x * x * x);
    0.5 * x * (1.0 + inner.tanh())
}

const FUNCTIONS: &[Case] = &[
    (Unary::Abs, f64::abs),
    (Unary::Negate, |x| -x),
    (Unary::Sign, |x| if x == 0.0 || x.is_nan() { x } else { x.signum() }),
    (Unary::Sqrt, f64::sqrt),
    (Unary::ReciprocalSqrt, |x| 1.0 / x.sqrt()),
    (Unary::Reciprocal, |x| 1.0 / x),
    (Unary::Floor, f64::floor),
    (Unary::Ceil, f64::ceil),
    (Unary::Round, f64::round_ties_even),
    (Unary::Exp, f64::exp),
    (Unary::Tanh, f64::tanh),
    (Unary::Sigmoid, |x| 1.0 / (1.0 + (-x).exp())),
    (Unary::Relu, |x| if x < 0.0 { 0.0 } else { x }),
    (Unary::Gelu, |x| 0.5 * x * (1.0 + erf(x / 2f64.sqrt()))),
    (Unary::GeluTanh, gelu_tanh),
    (Unary::Silu, |x| x / (1.0 + (-x).exp())),
    (Unary::HardSwish, |x| x * unit(x / 6.0 + 0.5)),
    (Unary::LeakyRelu { alpha: 0.25 }, |x| if x < 0.0 { 0.25 * x } else { x }),
    (Unary::HardSigmoid { alpha: 0.5, beta: 0.25 }, |x| unit(0.5 * x + 0.25)),
    (Unary::Clamp { low: -0.5, high: 1.5 }, |x| if x.is_nan() { x } else { x.clamp(-0.5, 1.5) }),
    (Unary::Erf, erf),
    (Unary::Log, f64::ln),
    (Unary::Softplus, |x| x.max(0.0) + (-x.abs()).exp().ln_1p()),
    (Unary::Elu { alpha: 1.5 }, |x| if x < 0.0 { 1.5 * x.exp_m1() } else { x }),
    (Unary::Sin, f64::sin),
    (Unary::Cos, f64::cos),
    (Unary::Tan, f64::tan),
    (Unary::Asin, f64::asin),
    (Unary::Acos, f64::acos),
    (Unary::Atan, f64::atan),
    (Unary::Sinh, f64::sinh),
    (Unary::Cosh, f64::cosh),
    (Unary::Asinh, f64::asinh),
    (Unary::Acosh, f64::acosh),
    (Unary::Atanh, f64::atanh),
];

const FLOATS: [Form; 3] = [Form::F32, Form::F16, Form::Bf16];

/// Numbers with special ones at the start, and a spread beyond -2..2.
fn numbers(form: Form, n: usize) -> Vec<f64> {
    let special = [
        f64::NAN,
        f64::INFINITY,
        f64::NEG_INFINITY,
        0.0,
        -0.0,
        0.5,
        1.5,
        2.5,
        -9.0,
        30.0,
        1e-30,
        3.4e38,
    ];
    let mut x = Random::new(n as u64).floats(form, n);
    let of_form = special.iter().map(|&x| rounded(form, x));
    x.iter_mut().zip(of_form).for_each(|(x, special)| *x = special);
    x.iter_mut().skip(64).step_by(3).for_each(|x| *x = rounded(form, *x * 4.0));
    x
}

#[test]
fn functions_of_one_number_are_those_of_f64() {
    for form in FLOATS {
        for &n in SIZES {
            for skip in [0, form.bytes()] {
                FUNCTIONS.iter().for_each(|case| check(case, form, n, skip));
            }
        }
    }
}

fn check((function, f): &Case, form: Form, n: usize, skip: usize) {
    let x = numbers(form, n);
    let input = Operand::new(&encode(form, &x), skip);
    let found = bytes_left(n * form.bytes(), 0, |queue, out| {
        unary(queue, *function, form, (input.slice(), out), n as u32)
    });
    let expected: Vec<f64> = x.iter().map(|x| rounded(form, f(*x))).collect();
    let what = format!("{function:?} {form:?} {n} behind {skip}");
    close(&what, &decode(form, &found), &expected, 2.0 * epsilon(form).max(1e-6));
}

pub(crate) fn draw_unary(random: &mut Random) {
    let (case, form) = (random.of(FUNCTIONS), random.of(&FLOATS));
    check(&case, form, random.extent(4000), random.below(5) * form.bytes());
}

pub(crate) fn draw_unary_int(random: &mut Random) {
    let dtype = random.of(&INTEGERS);
    let function = random.of(&whole_functions(dtype));
    check_whole(function, dtype, random.extent(4000), random.below(5) * size(dtype));
}

pub(crate) fn draw_unary_test(random: &mut Random) {
    let (test, form) = (random.of(&[FloatTest::IsNan, FloatTest::IsInf]), random.of(&FLOATS));
    check_test(test, form, random.extent(4000), random.below(5));
}

#[test]
fn large_angles_are_reduced_exactly() {
    let x = [1e4f64, -3e5, 1e8, 7.8e10, -1e30].map(|x| f64::from(x as f32));
    let input = Operand::new(&encode(Form::F32, &x), 0);
    for (function, f) in [(Unary::Sin, f64::sin as fn(f64) -> f64), (Unary::Cos, f64::cos)] {
        let found = outcome(Form::F32, 5, |queue, out| {
            unary(queue, function, Form::F32, (input.slice(), out), 5)
        });
        close(&format!("{function:?}"), &found, &x.map(f), 1e-6);
    }
}

/// A bound of `clamp` is f32, and may lie halfway between two numbers of the form.
#[test]
fn results_halfway_between_numbers_round_to_the_even_one() {
    let input = Operand::new(&[0; 8], 0);
    for form in [Form::F16, Form::Bf16] {
        for odd in [1.0, 3.0, 5.0, 7.0, -1.0, -3.0] {
            let halfway = f64::copysign(1.0, odd) + odd * epsilon(form) / 2.0;
            let clamp = Unary::Clamp { low: halfway as f32, high: halfway as f32 };
            let found =
                outcome(form, 4, |queue, out| unary(queue, clamp, form, (input.slice(), out), 4));
            assert_eq!(found, [rounded(form, halfway); 4], "{form:?} {halfway}");
        }
    }
}

#[test]
fn a_function_may_write_where_it_reads() {
    let x = numbers(Form::F16, 1025);
    let bytes = encode(Form::F16, &x);
    let found = bytes_left(2050, 0, |queue, out| {
        queue.upload(out, &bytes)?;
        unary(queue, Unary::Negate, Form::F16, (out, out), 1025)
    });
    let expected: Vec<f64> = x.iter().map(|x| -x).collect();
    close("in place", &decode(Form::F16, &found), &expected, 0.0);
}

fn whole(function: IntUnary, dtype: DType, x: i128) -> i128 {
    let result = match function {
        IntUnary::Negate => -x,
        IntUnary::Invert => !x,
        IntUnary::Abs => x.abs(),
        IntUnary::Sign => x.signum(),
        IntUnary::Relu => x.max(0),
        IntUnary::Not => i128::from(x == 0),
        IntUnary::Clamp { low, high } => {
            x.clamp(wrapped(dtype, low.into()), wrapped(dtype, high.into()))
        }
    };
    wrapped(dtype, result)
}

#[test]
fn functions_of_every_integer() {
    for dtype in INTEGERS {
        for (&n, function) in SIZES.iter().flat_map(|n| whole_functions(dtype).map(|f| (n, f))) {
            [0, size(dtype)].into_iter().for_each(|skip| check_whole(function, dtype, n, skip));
        }
    }
}

fn whole_functions(dtype: DType) -> [IntUnary; 7] {
    let low = if is_signed(dtype) { -9 } else { 3 };
    [
        IntUnary::Negate,
        IntUnary::Invert,
        IntUnary::Abs,
        IntUnary::Sign,
        IntUnary::Relu,
        IntUnary::Not,
        IntUnary::Clamp { low, high: 100 },
    ]
}

fn check_whole(function: IntUnary, dtype: DType, n: usize, skip: usize) {
    let x = integers(dtype, n, n as u64);
    let input = Operand::new(&encode_whole(dtype, &x), skip);
    let found = bytes_left(n * size(dtype), skip, |queue, out| {
        unary_int(queue, function, dtype, (input.slice(), out), n as u32)
    });
    let expected: Vec<i128> = x.iter().map(|&x| whole(function, dtype, x)).collect();
    assert_eq!(decode_whole(dtype, &found), expected, "{function:?} {dtype} {n} behind {skip}");
}

#[test]
fn floats_are_tested() {
    for form in FLOATS {
        for (&n, test) in SIZES.iter().flat_map(|n| [(n, FloatTest::IsNan), (n, FloatTest::IsInf)])
        {
            [0, 1].into_iter().for_each(|skip| check_test(test, form, n, skip));
        }
    }
}

fn check_test(test: FloatTest, form: Form, n: usize, skip: usize) {
    let x = numbers(form, n);
    let input = Operand::new(&encode(form, &x), 0);
    let f = |x: f64| match test {
        FloatTest::IsNan => x.is_nan(),
        FloatTest::IsInf => x.is_infinite(),
    };
    let found = bytes_left(n, skip, |queue, out| {
        unary_test(queue, test, form, (input.slice(), out), n as u32)
    });
    let expected: Vec<u8> = x.iter().map(|&x| f(x).into()).collect();
    assert_eq!(found, expected, "{test:?} {form:?} {n} behind {skip}");
}
