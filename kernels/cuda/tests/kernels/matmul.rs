//! Matrix products of floats.

use crate::product::{Held, LIES, Lie, product};
use crate::reference::{Guarded, Random, close, decode, device, encode, epsilon, outcome};
use aimass_cuda::Form;
use aimass_cuda::matmul::{Activation, Finish, Matrix, ProductDims, ProductEnd, matmul};

const FORMS: [Form; 3] = [Form::F32, Form::F16, Form::Bf16];

/// `[batch, m, n, k]` around every tile, split and vector of the kernels.
const SHAPES: &[[u32; 4]] = &[
    [1, 1, 1, 1],
    [1, 1, 8, 16],
    [2, 0, 4, 4],
    [2, 3, 0, 4],
    [1, 4, 5, 0],
    [3, 2, 33, 40],
    [2, 8, 256, 64],
    [1, 5, 257, 264],
    [1, 7, 31, 1025],
    [1, 9, 63, 31],
    [2, 17, 129, 33],
    [1, 16, 64, 2048],
    [1, 33, 255, 257],
    [1, 64, 96, 520],
    [3, 65, 66, 67],
    [1, 127, 130, 32],
    [1, 257, 384, 136],
    [1, 300, 1023, 65],
];

const ACTIVATIONS: [Activation; 11] = [
    Activation::Gelu,
    Activation::GeluTanh,
    Activation::Relu,
    Activation::Silu,
    Activation::Tanh,
    Activation::Sigmoid,
    Activation::Clamp { low: -0.5, high: 0.75 },
    Activation::LeakyRelu { alpha: 0.125 },
    Activation::Elu { alpha: 1.5 },
    Activation::HardSigmoid { alpha: 0.25, beta: 0.5 },
    Activation::HardSwish,
];

/// One rounding to the form, and those of a sum whose parts are larger than it.
fn tolerance(form: Form, k: u32) -> f64 {
    epsilon(form) + 6e-6 * f64::from(k.max(16)).sqrt()
}

pub(crate) fn check(shape: [u32; 4], forms: [Form; 2], lies: [Lie; 2], finish: Finish) {
    let [batch, m, n, k] = shape;
    let dims = ProductDims { batch, m, n, k };
    let [b, rows, columns, inner] = shape.map(|extent| extent as usize);
    let mut random = Random::new(u64::from(m * 31 + n * 7 + k));
    let left = Held::new(&mut random, forms[0], [b, rows, inner], lies[0]);
    let right = Held::new(&mut random, forms[1], [b, inner, columns], lies[1]);
    let ended = finish != Finish::default();
    let bias = random.floats(forms[0], columns);
    let bias_memory = Guarded::new(&encode(forms[0], &bias));
    let residual = Held::new(&mut random, forms[0], [b, rows, columns], Lie::Ragged);
    let found = outcome(forms[0], b * rows * columns, |queue, out| {
        let end = ProductEnd {
            bias: ended.then(|| bias_memory.slice()),
            residual: ended.then(|| residual.matrix()),
            finish,
        };
        let c = Matrix::dense(out, forms[0], m, n);
        matmul(queue, dims, [&left.matrix(), &right.matrix()], &c, &end)
    });
    let bias = ended.then_some(&bias[..]);
    let expected = product(dims, [&left, &right], bias, ended.then_some(&residual), &finish);
    let what = format!("{shape:?} {forms:?} {lies:?} {finish:?}");
    close(&what, &found, &expected, tolerance(forms[0], k));
}

/// Extents, types and places of operands at random, and what the sums are finished with.
pub(crate) fn draw_matmul(random: &mut Random) {
    let form = random.of(&FORMS);
    let right = match form {
        Form::F32 => random.of(&[Form::F32, Form::F32, Form::F16, Form::Bf16]),
        _ => form,
    };
    let [mut m, mut n, k] = [300, 300, 1100].map(|most| random.extent(most) as u32);
    while u64::from(m) * u64::from(n) * u64::from(k) > 400_000 {
        (m, n) = (m.div_ceil(2), n.div_ceil(3));
    }
    let activation = random.of(&ACTIVATIONS);
    let finish = match random.below(2) {
        0 => Finish::default(),
        _ => Finish { activation, scaled: Some((-1.5, 0.25)), last: Activation::None },
    };
    let batch = random.of(&[1, 1, 2, 3]);
    let lies = [random.of(&LIES), random.of(&LIES)];
    check([batch, m, n, k], [form, right], lies, finish);
}

#[test]
fn products_of_every_shape_are_those_of_f64() {
    for form in FORMS {
        for &shape in SHAPES {
            for right in [Lie::Dense, Lie::Transposed] {
                check(shape, [form, form], [Lie::Dense, right], Finish::default());
            }
        }
    }
}

#[test]
fn operands_may_lie_in_any_way() {
    for form in FORMS {
        for left in LIES {
            for right in LIES {
                for shape in [[2, 3, 40, 72], [3, 37, 70, 67], [2, 130, 136, 40]] {
                    check(shape, [form, form], [left, right], Finish::default());
                }
            }
        }
    }
}

#[test]
fn narrow_weights_are_multiplied_with_f32() {
    for narrow in [Form::F16, Form::Bf16] {
        for shape in [[1, 1, 48, 64], [1, 6, 520, 96], [1, 40, 70, 130], [1, 256, 256, 64]] {
            for right in [Lie::Dense, Lie::Transposed] {
                check(shape, [Form::F32, narrow], [Lie::Dense, right], Finish::default());
            }
        }
    }
}

#[test]
fn sums_are_finished_with_bias_activation_factor_and_residual_in_this_order() {
    for (index, &activation) in ACTIVATIONS.iter().enumerate() {
        let last = ACTIVATIONS[(index + 4) % ACTIVATIONS.len()];
        let finish = Finish { activation, scaled: Some((-1.5, 0.25)), last };
        for form in FORMS {
            for shape in [[1, 3, 40, 64], [2, 20, 33, 1024], [1, 70, 70, 8], [1, 130, 260, 16]] {
                check(shape, [form, form], [Lie::Dense, Lie::Dense], finish);
            }
        }
    }
}

#[test]
fn what_is_not_finite_stays_in_its_row() {
    for form in FORMS {
        for (m, n, k) in [(4u32, 40u32, 32u32), (20, 64, 1024), (140, 130, 48)] {
            let mut random = Random::new(9);
            let mut left = random.floats(form, (m * k) as usize);
            left[k as usize] = f64::NAN;
            left[2 * k as usize + 1] = f64::INFINITY;
            let left = Guarded::new(&encode(form, &left));
            let right = Guarded::new(&encode(form, &vec![1.0; (k * n) as usize]));
            let found = outcome(form, (m * n) as usize, |queue, out| {
                let a = Matrix::dense(left.slice(), form, m, k);
                let b = Matrix::dense(right.slice(), form, k, n);
                let c = Matrix::dense(out, form, m, n);
                let dims = ProductDims { batch: 1, m, n, k };
                matmul(queue, dims, [&a, &b], &c, &ProductEnd::default())
            });
            for (i, x) in found.iter().enumerate() {
                match i / n as usize {
                    1 => assert!(x.is_nan(), "{form:?} {i}"),
                    2 => assert_eq!(*x, f64::INFINITY, "{form:?} {i}"),
                    _ => assert!(x.is_finite(), "{form:?} {i}"),
                }
            }
        }
    }
}

#[test]
fn outputs_keep_what_lies_between_their_rows() {
    let (m, n, k) = (37u32, 21u32, 50u32);
    for form in FORMS {
        let mut random = Random::new(4);
        let left = Held::new(&mut random, form, [1, 37, 50], Lie::Dense);
        let right = Held::new(&mut random, form, [1, 50, 21], Lie::Dense);
        let out = Guarded::new(&encode(form, &[7.0; 37 * 30]));
        let c = Matrix { row_stride: 30, ..Matrix::dense(out.slice(), form, m, n) };
        let dims = ProductDims { batch: 1, m, n, k };
        let mut queue = device().queue().expect("a turn");
        let sides = [&left.matrix(), &right.matrix()];
        matmul(&mut queue, dims, sides, &c, &ProductEnd::default()).expect("launches");
        let found = decode(form, &out.content(&mut queue));
        let expected = product(dims, [&left, &right], None, None, &Finish::default());
        for (row, (found, expected)) in found.chunks(30).zip(expected.chunks(21)).enumerate() {
            close(&format!("{form:?} row {row}"), &found[..21], expected, tolerance(form, k));
            assert!(found[21..].iter().all(|&x| x == 7.0), "{form:?} row {row}");
        }
    }
}

#[test]
fn the_same_product_has_the_same_bits() {
    let mut random = Random::new(1);
    for form in FORMS {
        for [m, n, k] in [[1, 512, 768], [24, 64, 4096], [200, 136, 512]] {
            let left = Held::new(&mut random, form, [1, m, k], Lie::Dense);
            let right = Held::new(&mut random, form, [1, k, n], Lie::Dense);
            let run = || {
                outcome(form, m * n, |queue, out| {
                    let [m, n, k] = [m, n, k].map(|extent| extent as u32);
                    let c = Matrix::dense(out, form, m, n);
                    let dims = ProductDims { batch: 1, m, n, k };
                    let sides = [&left.matrix(), &right.matrix()];
                    matmul(queue, dims, sides, &c, &ProductEnd::default())
                })
            };
            assert_eq!(run(), run(), "{form:?} {m} {n} {k}");
        }
    }
}

#[test]
fn operands_that_are_too_short_or_overlap_are_refused() {
    let memory = Guarded::poisoned(64 * 4);
    let mut queue = device().queue().expect("a turn");
    let dims = ProductDims { batch: 1, m: 8, n: 8, k: 8 };
    let whole = Matrix::dense(memory.slice(), Form::F32, 8, 8);
    let short = Matrix { data: memory.slice().part(4, 63 * 4).expect("a part"), ..whole };
    let cases = [
        (short, whole, whole),
        (whole, short, whole),
        (whole, whole, short),
        (whole, whole, Matrix { row_stride: 7, ..whole }),
        (whole, whole, Matrix { row_stride: 1, column_stride: 8, ..whole }),
        (Matrix { row_stride: u32::MAX, ..whole }, whole, whole),
        (whole, Matrix { form: Form::I32, ..whole }, whole),
    ];
    for (a, b, c) in cases {
        matmul(&mut queue, dims, [&a, &b], &c, &ProductEnd::default()).expect_err("a refusal");
    }
    let end = ProductEnd { bias: Some(memory.slice().part(0, 28).expect("a part")), ..end() };
    matmul(&mut queue, dims, [&whole, &whole], &whole, &end).expect_err("a refusal");
    let end = ProductEnd { residual: Some(short), ..self::end() };
    matmul(&mut queue, dims, [&whole, &whole], &whole, &end).expect_err("a refusal");
}

fn end<'m>() -> ProductEnd<'m> {
    ProductEnd::default()
}
