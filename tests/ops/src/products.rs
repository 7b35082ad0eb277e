//! Products of matrices and contractions, of every number dtype.

use crate::backend::run_op;
use crate::reference::{Array, Case, check, flag, ints, numbers, refused, text};
use aimass_tensor::{DType, Tensor};

pub(crate) const CASES: &[Case] = &[
    ("matmul", || {
        matmul();
        dtypes_of_products();
    }),
    ("linear", linear),
    ("dot-general", dot_general),
    ("matmul-integer", matmul_integer),
];

/// Whole numbers from -2 to 1, whose products and sums every type holds.
fn whole(shape: &[usize], seed: u64) -> Array {
    Array::random(shape, seed).map(f64::floor)
}

const INTEGERS: [DType; 8] =
    [DType::I8, DType::I16, DType::I32, DType::I64, DType::U8, DType::U16, DType::U32, DType::U64];
const HALVES: [&str; 2] = ["f16", "bf16"];

/// As a tensor of halves; the numbers of the tests are exact there.
fn half(x: &Array, dtype: &str) -> Tensor {
    run_op("cast", &[x.f32()], &[text("dtype", dtype)]).unwrap().remove(0)
}

/// Numbers of a tensor of halves.
fn from_half(x: &Tensor) -> Vec<f64> {
    numbers(&run_op("cast", std::slice::from_ref(x), &[text("dtype", "f32")]).unwrap()[0])
}

fn signed(dtype: DType, x: &Array) -> Array {
    let unsigned = matches!(dtype, DType::U8 | DType::U16 | DType::U32 | DType::U64);
    if unsigned { x.map(f64::abs) } else { x.clone() }
}

/// Matrix product, bias and layout in all dtypes against the product in f64.
fn dtypes_of_products() {
    for (m, k, n) in [(1, 1, 1), (5, 7, 18), (66, 9, 33), (0, 3, 2), (2, 0, 3)] {
        let (x, w) = (whole(&[m, k], 1), whole(&[k, n], 2));
        let bias = whole(&[n], 3);
        let turned = |w: &Array| Array::from_fn(&[n, k], |at| w.at(&[at[1], at[0]]));
        let product = |x: &Array, w: &Array, bias: &Array| {
            Array::from_fn(&[m, n], |at| {
                let sum: f64 = (0..k).map(|p| x.at(&[at[0], p]) * w.at(&[p, at[1]])).sum();
                sum + bias.at(&[at[1]])
            })
        };
        let transposed = [flag("transposed", true)];
        for dtype in INTEGERS {
            let (x, w) = (signed(dtype, &x), signed(dtype, &w));
            let bias = signed(dtype, &bias);
            let expected = product(&x, &w, &bias.map(|_| 0.0));
            let [a, b] = [&x, &w].map(|array| array.tensor(dtype));
            check("matmul", &[a.clone(), b.clone()], &[], &expected, 0.0);
            let expected = product(&x, &w, &bias);
            let c = bias.tensor(dtype);
            check("linear", &[a.clone(), b, c.clone()], &[], &expected, 0.0);
            let b = turned(&w).tensor(dtype);
            check("linear", &[a, b, c], &transposed, &expected, 0.0);
        }
        for dtype in HALVES {
            let [a, b, c] = [&x, &w, &bias].map(|array| half(array, dtype));
            let expected = product(&x, &w, &bias.map(|_| 0.0));
            let got = run_op("matmul", &[a.clone(), b.clone()], &[]).unwrap();
            assert_eq!(from_half(&got[0]), expected.data, "matmul {dtype}");
            let expected = product(&x, &w, &bias);
            let got = run_op("linear", &[a.clone(), b, c.clone()], &[]).unwrap();
            assert_eq!(from_half(&got[0]), expected.data, "linear {dtype}");
            assert_eq!(got[0].dtype().name(), dtype);
            let b = half(&turned(&w), dtype);
            let got = run_op("linear", &[a, b, c], &transposed).unwrap();
            assert_eq!(from_half(&got[0]), expected.data, "linear transposed {dtype}");
        }
    }
    let big = Array::new(&[1, 1], [200.0]);
    let expected = Array::new(&[1, 1], [64.0]);
    check("matmul", &[big.tensor(DType::U8), big.tensor(DType::U8)], &[], &expected, 0.0);
    // A sum of 4097 ones is rounded once, not at every step.
    let ones = Array::new(&[1, 4097], [1.0; 4097]);
    let column = Array::new(&[4097, 1], [1.0; 4097]);
    let got = run_op("matmul", &[half(&ones, "f16"), half(&column, "f16")], &[]).unwrap();
    assert_eq!(from_half(&got[0]), [4096.0]);
}

/// Shapes, batch axes and contracted axes of both sides.
type Contraction = (
    (&'static [usize], &'static [usize]),
    (&'static [i64], &'static [i64]),
    (&'static [i64], &'static [i64]),
);

const CONTRACTIONS: [Contraction; 13] = [
    ((&[3, 4], &[4, 5]), (&[], &[]), (&[1], &[0])),
    ((&[4, 3], &[5, 4]), (&[], &[]), (&[0], &[1])),
    ((&[2, 3, 4], &[2, 4, 5]), (&[0], &[0]), (&[2], &[1])),
    ((&[3, 4, 2], &[4, 5, 2]), (&[2], &[2]), (&[1], &[0])),
    ((&[2, 3, 4], &[4, 3, 5]), (&[], &[]), (&[1, 2], &[1, 0])),
    ((&[2, 3, 4, 5], &[5, 3, 6, 2]), (&[0, 1], &[3, 1]), (&[3], &[0])),
    ((&[2, 3, 4], &[3, 5]), (&[], &[]), (&[1], &[0])),
    ((&[4], &[4]), (&[], &[]), (&[0], &[0])),
    ((&[4], &[4]), (&[0], &[0]), (&[], &[])),
    ((&[2, 3], &[4]), (&[], &[]), (&[], &[])),
    ((&[2, 0], &[0, 3]), (&[], &[]), (&[1], &[0])),
    ((&[0, 3], &[3, 2]), (&[], &[]), (&[1], &[0])),
    ((&[1, 3, 1], &[1, 3]), (&[0], &[0]), (&[1], &[1])),
];

fn dot_general() {
    for ((xs, ys), (bx, by), (cx, cy)) in CONTRACTIONS {
        let (x, y) = (whole(xs, 1), whole(ys, 2));
        let free = |shape: &[usize], batch: &[i64], contract: &[i64]| -> Vec<usize> {
            let axes = 0..shape.len();
            axes.filter(|&i| !batch.contains(&(i as i64)) && !contract.contains(&(i as i64)))
                .collect()
        };
        let (fx, fy) = (free(xs, bx, cx), free(ys, by, cy));
        let mut shape: Vec<usize> = bx.iter().map(|&axis| xs[axis as usize]).collect();
        shape.extend(fx.iter().map(|&axis| xs[axis]));
        shape.extend(fy.iter().map(|&axis| ys[axis]));
        let inner: Vec<usize> = cx.iter().map(|&axis| xs[axis as usize]).collect();
        let expected = |x: &Array, y: &Array| {
            Array::from_fn(&shape, |out| {
                let count = inner.iter().product();
                let term = |number: usize| {
                    let summed = crate::reference::index_of(&inner, number);
                    let (mut i, mut j) = (vec![0; xs.len()], vec![0; ys.len()]);
                    for (n, (&a, &b)) in bx.iter().zip(by).enumerate() {
                        (i[a as usize], j[b as usize]) = (out[n], out[n]);
                    }
                    for (n, (&a, &b)) in cx.iter().zip(cy).enumerate() {
                        (i[a as usize], j[b as usize]) = (summed[n], summed[n]);
                    }
                    fx.iter().enumerate().for_each(|(n, &a)| i[a] = out[bx.len() + n]);
                    fy.iter().enumerate().for_each(|(n, &b)| j[b] = out[bx.len() + fx.len() + n]);
                    x.at(&i) * y.at(&j)
                };
                (0..count).map(term).sum()
            })
        };
        let attributes = [
            ints("batch-x", bx),
            ints("batch-y", by),
            ints("contract-x", cx),
            ints("contract-y", cy),
        ];
        for dtype in [DType::F32, DType::F64].into_iter().chain(INTEGERS) {
            let (x, y) = (signed(dtype, &x), signed(dtype, &y));
            let inputs = [x.tensor(dtype), y.tensor(dtype)];
            check("dot-general", &inputs, &attributes, &expected(&x, &y), 0.0);
        }
        for dtype in HALVES {
            let got = run_op("dot-general", &[half(&x, dtype), half(&y, dtype)], &attributes);
            assert_eq!(from_half(&got.unwrap()[0]), expected(&x, &y).data, "{dtype}");
        }
    }
    let (x, y) = (whole(&[2, 3], 1), whole(&[3, 2], 2));
    let refuse = |x: &[i64], y: &[i64], inputs: [Tensor; 2], code: &str| {
        refused("dot-general", &inputs, &[ints("contract-x", x), ints("contract-y", y)], code);
    };
    let pair = || [x.f32(), y.f32()];
    refuse(&[1], &[0, 1], pair(), "argument");
    refuse(&[1, 1], &[0, 1], pair(), "argument");
    refuse(&[2], &[0], pair(), "axis");
    refuse(&[1], &[1], pair(), "shape-mismatch");
    refuse(&[1], &[0], [x.f32(), y.tensor(DType::F64)], "dtype");
    refuse(&[1], &[0], [x.tensor(DType::Bool), y.tensor(DType::Bool)], "dtype");
    let many = whole(&[1; 5], 1).f32();
    refuse(&[], &[], [many.clone(), many], "shape");
}

fn matmul() {
    for (a, b, shape) in [
        (&[2usize, 3][..], &[3usize, 4][..], &[2usize, 4][..]),
        (&[1, 1], &[1, 1], &[1, 1]),
        (&[5, 2, 3], &[3, 4], &[5, 2, 4]),
        (&[5, 2, 3], &[5, 3, 4], &[5, 2, 4]),
        (&[2, 1, 2, 3], &[3, 3, 1], &[2, 3, 2, 1]),
        (&[2, 3], &[5, 3, 4], &[5, 2, 4]),
        (&[3], &[3, 4], &[4]),
        (&[2, 3], &[3], &[2]),
        (&[3], &[3], &[]),
        (&[3], &[2, 3, 4], &[2, 4]),
        (&[0, 3], &[3, 4], &[0, 4]),
        (&[2, 0], &[0, 4], &[2, 4]),
        (&[70, 65], &[65, 33], &[70, 33]),
    ] {
        let (x, y) = (Array::random(a, 1), Array::random(b, 2));
        // Vectors get the axis they lack, and the output loses it.
        let rows = a.len() > 1;
        let columns = b.len() > 1;
        let expected = Array::from_fn(shape, |index| {
            let k = a[a.len() - 1];
            let matrix_axes = usize::from(rows) + usize::from(columns);
            let (lead, own) = index.split_at(index.len() - matrix_axes);
            let pick = |array: &Array, i: usize, j: usize, vector: bool| {
                let mut at = lead.to_vec();
                if vector {
                    return array.at(&[if array.shape.len() == 1 { i.max(j) } else { i }]);
                }
                at.extend([i, j]);
                array.spread(&at)
            };
            let row = if rows { own[0] } else { 0 };
            let column = if columns { own[own.len() - 1] } else { 0 };
            let product = |p: usize| {
                let left = if rows { pick(&x, row, p, false) } else { x.at(&[p]) };
                let right = if columns { pick(&y, p, column, false) } else { y.at(&[p]) };
                left * right
            };
            (0..k).map(product).sum()
        });
        check("matmul", &[x.f32(), y.f32()], &[], &expected, 1e-5);
        check("matmul", &[x.tensor(DType::F64), y.tensor(DType::F64)], &[], &expected, 1e-12);
    }
    let (x, y) = (Array::random(&[2, 3], 1), Array::random(&[2, 4], 1));
    refused("matmul", &[x.f32(), y.f32()], &[], "shape-mismatch");
    refused("matmul", &[x.f32(), y.tensor(DType::I32)], &[], "dtype");
    refused("matmul", &[x.tensor(DType::Bool), x.tensor(DType::Bool)], &[], "dtype");
    refused("matmul", &[x.f32(), Array::new(&[], [1.0]).f32()], &[], "shape");
}

fn linear() {
    for (lead, k, n) in [
        (&[][..], 3usize, 4usize),
        (&[2], 3, 4),
        (&[2, 3], 5, 1),
        (&[0], 3, 4),
        (&[7], 17, 33),
        (&[2], 0, 3),
    ] {
        let mut shape = lead.to_vec();
        shape.push(k);
        let (x, bias) = (Array::random(&shape, 1), Array::random(&[n], 3));
        for transposed in [false, true] {
            let w = Array::random(if transposed { [n, k] } else { [k, n] }.as_slice(), 2);
            let mut shape = lead.to_vec();
            shape.push(n);
            let product = |index: &[usize]| -> f64 {
                let (lead, column) = (&index[..index.len() - 1], index[index.len() - 1]);
                let part = |p: usize| {
                    let mut from = lead.to_vec();
                    from.push(p);
                    let at = if transposed { [column, p] } else { [p, column] };
                    x.at(&from) * w.at(&at)
                };
                (0..k).map(part).sum()
            };
            let attributes = [flag("transposed", transposed)];
            let plain = Array::from_fn(&shape, product);
            check("linear", &[x.f32(), w.f32()], &attributes, &plain, 1e-5);
            let biased =
                Array::from_fn(&shape, |index| product(index) + bias.at(&[index[index.len() - 1]]));
            check("linear", &[x.f32(), w.f32(), bias.f32()], &attributes, &biased, 1e-5);
        }
    }
    let (x, w) = (Array::random(&[2, 3], 1), Array::random(&[4, 3], 1));
    refused("linear", &[x.f32(), w.f32()], &[], "shape-mismatch");
    refused("linear", &[x.f32(), w.tensor(DType::F64)], &[], "dtype");
    let bias = Array::random(&[4], 1);
    let attributes = [flag("transposed", true)];
    refused("linear", &[x.f32(), w.f32(), bias.tensor(DType::F64)], &attributes, "dtype");
}

/// Bytes over the whole range.
fn bytes(shape: &[usize], dtype: DType, seed: u64) -> Array {
    let low = if dtype == DType::I8 { 128.0 } else { 0.0 };
    Array::random(shape, seed).map(|x| ((x + 2.0) * 1024.0).floor() % 256.0 - low)
}

fn matmul_integer() {
    // Shapes of both sides and of their zero points.
    type Shapes = (&'static [usize], &'static [usize], &'static [usize], &'static [usize]);
    let cases: [(Shapes, &[usize]); 11] = [
        ((&[2, 3], &[3, 4], &[], &[]), &[2, 4]),
        ((&[2, 3], &[3, 4], &[2], &[4]), &[2, 4]),
        ((&[2, 3], &[3, 4], &[1], &[1, 1]), &[2, 4]),
        ((&[5, 2, 3], &[3, 4], &[2], &[4]), &[5, 2, 4]),
        ((&[5, 2, 3], &[3, 4], &[5, 2, 1], &[1, 4]), &[5, 2, 4]),
        ((&[5, 2, 3], &[5, 3, 4], &[5, 2, 1], &[5, 1, 4]), &[5, 2, 4]),
        ((&[2, 1, 2, 3], &[3, 3, 1], &[2], &[3, 1, 1]), &[2, 3, 2, 1]),
        ((&[3], &[3], &[], &[]), &[]),
        ((&[0, 3], &[3, 4], &[0], &[4]), &[0, 4]),
        ((&[2, 0], &[0, 4], &[2], &[4]), &[2, 4]),
        ((&[70, 65], &[65, 33], &[70], &[33]), &[70, 33]),
    ];
    let pairs = [DType::U8, DType::I8].map(|x| [DType::U8, DType::I8].map(|y| (x, y)));
    for (((xs, ys, zxs, zys), shape), (dx, dy)) in
        cases.into_iter().flat_map(|case| pairs.into_iter().flatten().map(move |pair| (case, pair)))
    {
        let (x, y) = (bytes(xs, dx, 1), bytes(ys, dy, 2));
        let (zx, zy) = (bytes(zxs, dx, 3), bytes(zys, dy, 4));
        let (columns, k) = (ys.len() > 1, xs[xs.len() - 1]);
        let expected = |zx: &Array, zy: &Array| {
            Array::from_fn(shape, |index| {
                let axes = usize::from(xs.len() > 1) + usize::from(columns);
                let (lead, own) = index.split_at(index.len() - axes);
                let row = if xs.len() > 1 { own[0] } else { 0 };
                let column = if columns { own[axes - 1] } else { 0 };
                let zero = |zero: &Array, own: [usize; 2], of: usize| match zero.shape.len() {
                    0 => zero.data[0],
                    1 => zero.at(&[if zero.data.len() == 1 { 0 } else { own[of] }]),
                    _ => zero.spread(&[lead, &own].concat()),
                };
                let term = |p: usize| {
                    let left = match xs.len() {
                        1 => x.at(&[p]),
                        _ => x.spread(&[lead, &[row, p]].concat()),
                    };
                    let right = match ys.len() {
                        1 => y.at(&[p]),
                        _ => y.spread(&[lead, &[p, column]].concat()),
                    };
                    (left - zero(zx, [row, 0], 0)) * (right - zero(zy, [0, column], 1))
                };
                (0..k).map(term).sum()
            })
        };
        let none = Array::new(&[], [0.0]);
        let [tx, ty] = [x.tensor(dx), y.tensor(dy)];
        let [tzx, tzy] = [zx.tensor(dx), zy.tensor(dy)];
        let check = |zeros: &[Tensor], attributes: &[_], expected: Array| {
            let inputs = [&[tx.clone(), ty.clone()], zeros].concat();
            check("matmul-integer", &inputs, attributes, &expected, 0.0);
        };
        check(&[], &[], expected(&none, &none));
        check(std::slice::from_ref(&tzx), &[], expected(&zx, &none));
        let only_y = [flag("x-zero", false)];
        check(std::slice::from_ref(&tzy), &only_y, expected(&none, &zy));
        check(&[tzx, tzy], &[], expected(&zx, &zy));
    }
    matmul_integer_refusals();
}

fn matmul_integer_refusals() {
    wrong_zero_points();
}

fn wrong_zero_points() {
    let (x, y) = (Array::random(&[2, 3], 1), Array::random(&[3, 4], 1));
    let inputs =
        |zero: &Array, dtype: DType| [x.tensor(DType::U8), y.tensor(DType::I8), zero.tensor(dtype)];
    let refuse = |zero: &[usize], dtype: DType, code: &str| {
        refused("matmul-integer", &inputs(&Array::random(zero, 1), dtype), &[], code);
    };
    refuse(&[3], DType::U8, "shape");
    refuse(&[2, 2], DType::U8, "shape");
    refuse(&[1, 2, 1], DType::U8, "shape");
    refuse(&[2], DType::I8, "dtype");
    refused("matmul-integer", &[x.f32(), y.f32()], &[], "dtype");
    refused("matmul-integer", &[x.tensor(DType::U8), x.tensor(DType::U8)], &[], "shape");
}
