//! Reductions, scans and selections along axes.

use crate::reference::{
    Array, Case, check, check_floats, check_narrow, check_outputs, flag, int, ints, refused,
};
use aimass_tensor::DType;

pub(crate) const CASES: &[Case] = &[
    ("reduce-sum", || reduce("reduce-sum", 0.0, |a, x| a + x)),
    ("reduce-mean", mean),
    ("reduce-prod", || reduce("reduce-prod", 1.0, |a, x| a * x)),
    ("reduce-max", || reduce("reduce-max", f64::NEG_INFINITY, f64::max)),
    ("reduce-min", || reduce("reduce-min", f64::INFINITY, f64::min)),
    ("arg-max", || arg("arg-max", |new, best| new > best)),
    ("arg-min", || arg("arg-min", |new, best| new < best)),
    ("cumulative-sum", || cumulative("cumulative-sum", 0.0, |a, x| a + x)),
    ("cumulative-prod", || cumulative("cumulative-prod", 1.0, |a, x| a * x)),
    ("top-k", top_k),
    ("sort", sort),
];

const INTEGERS: [DType; 8] =
    [DType::I8, DType::I16, DType::I32, DType::I64, DType::U8, DType::U16, DType::U32, DType::U64];

/// Folds the axes; `keep` decides the shape.
fn folded(x: &Array, axes: &[usize], keep: bool, start: f64, f: impl Fn(f64, f64) -> f64) -> Array {
    let kept: Vec<usize> = (0..x.shape.len()).filter(|axis| !axes.contains(axis)).collect();
    let ones: Vec<usize> = x
        .shape
        .iter()
        .enumerate()
        .map(|(axis, &extent)| if axes.contains(&axis) { 1 } else { extent })
        .collect();
    let mut out = Array::new(&ones, vec![start; ones.iter().product()]);
    for flat in 0..x.data.len() {
        let mut index = crate::reference::index_of(&x.shape, flat);
        axes.iter().for_each(|&axis| index[axis] = 0);
        let to = index.iter().zip(&ones).fold(0, |to, (i, extent)| to * extent + i);
        out.data[to] = f(out.data[to], x.data[flat]);
    }
    if !keep {
        out.shape = kept.iter().map(|&axis| x.shape[axis]).collect();
    }
    out
}

const AXES: [&[usize]; 7] = [&[0], &[1], &[2], &[0, 1], &[1, 2], &[0, 2], &[0, 1, 2]];

fn reduce(op: &str, start: f64, f: fn(f64, f64) -> f64) {
    let x = Array::random(&[2, 3, 4], 5);
    for axes in AXES {
        for keep in [false, true] {
            let listed: Vec<i64> = axes.iter().map(|&axis| axis as i64).collect();
            let attributes = [ints("axes", &listed), flag("keep", keep)];
            let expected = folded(&x, axes, keep, start, f);
            check_floats(op, &[&x], &[], &attributes, &expected, 1e-5);
            let whole = x.map(f64::trunc);
            for dtype in INTEGERS {
                let whole =
                    if dtype.name().starts_with('u') { whole.map(f64::abs) } else { whole.clone() };
                let expected = folded(&whole, axes, keep, start, f);
                check(op, &[whole.tensor(dtype)], &attributes, &expected, 0.0);
            }
            let bools = x.map(|x| f64::from(x > 0.0));
            match op {
                "reduce-max" | "reduce-min" => {
                    let expected = folded(&bools, axes, keep, start, f);
                    check(op, &[bools.tensor(DType::Bool)], &attributes, &expected, 0.0);
                }
                _ => refused(op, &[bools.tensor(DType::Bool)], &attributes, "dtype"),
            }
        }
    }
    let attributes = [ints("axes", &[0]), flag("keep", false)];
    let empty = Array::random(&[0, 3], 1);
    let expected = Array::new(&[3], [start; 3]);
    check_floats(op, &[&empty], &[], &attributes, &expected, 0.0);
    let (low, high) = match op {
        "reduce-max" => (-128.0, 0.0),
        "reduce-min" => (127.0, 1.0),
        _ => (start, start),
    };
    check(op, &[empty.tensor(DType::I8)], &attributes, &Array::new(&[3], [low; 3]), 0.0);
    if matches!(op, "reduce-max" | "reduce-min") {
        check(op, &[empty.tensor(DType::Bool)], &attributes, &Array::new(&[3], [high; 3]), 0.0);
    }
    check(op, &[Array::random(&[3, 0], 1).f32()], &attributes, &Array::new(&[0], []), 0.0);
    refused(op, &[x.f32()], &[ints("axes", &[3])], "axis");
}

fn mean() {
    let x = Array::random(&[2, 3, 4], 5);
    for axes in AXES {
        let count: usize = axes.iter().map(|&axis| x.shape[axis]).product();
        let listed: Vec<i64> = axes.iter().map(|&axis| axis as i64).collect();
        let expected = folded(&x, axes, false, 0.0, |a, x| a + x).map(|sum| sum / count as f64);
        let attributes = [ints("axes", &listed)];
        check_floats("reduce-mean", &[&x], &[], &attributes, &expected, 1e-6);
    }
    refused("reduce-mean", &[x.tensor(DType::I32)], &[ints("axes", &[0])], "dtype");
}

fn arg(op: &str, better: fn(f64, f64) -> bool) {
    // Multiples of 1/2 make ties, of which the first counts.
    let x = Array::random(&[3, 4, 2], 6).map(|x| (x * 2.0).round() / 2.0);
    for axis in 0..3usize {
        for keep in [false, true] {
            let mut shape = x.shape.clone();
            shape[axis] = 1;
            let mut expected = Array::from_fn(&shape, |index| {
                let value = |i: usize| {
                    let mut from = index.to_vec();
                    from[axis] = i;
                    x.at(&from)
                };
                let best = (1..x.shape[axis])
                    .fold(0, |best, i| if better(value(i), value(best)) { i } else { best });
                best as f64
            });
            if !keep {
                expected.shape.remove(axis);
            }
            let attributes = [int("axis", axis), flag("keep", keep)];
            check_floats(op, &[&x], &[], &attributes, &expected, 0.0);
            let whole = x.map(|x| 2.0 * x + 8.0);
            for dtype in INTEGERS {
                check(op, &[whole.tensor(dtype)], &attributes, &expected, 0.0);
            }
        }
    }
    let empty = Array::random(&[0, 2], 1).f32();
    refused(op, &[empty], &[int("axis", 0)], "shape-mismatch");
    refused(op, &[x.f32()], &[int("axis", 3)], "axis");
}

fn cumulative(op: &str, start: f64, f: fn(f64, f64) -> f64) {
    // Whole numbers from -2 to 1, whose products and sums every type holds.
    let x = Array::random(&[2, 3, 4], 5).map(f64::floor);
    for axis in 0..3usize {
        for (exclusive, reverse) in [(false, false), (true, false), (false, true), (true, true)] {
            let attributes =
                [int("axis", axis), flag("exclusive", exclusive), flag("reverse", reverse)];
            let expected = |x: &Array| {
                Array::from_fn(&x.shape, |index| {
                    let own = index[axis];
                    let part = |i: &usize| match (exclusive, reverse) {
                        (false, false) => *i <= own,
                        (true, false) => *i < own,
                        (false, true) => *i >= own,
                        (true, true) => *i > own,
                    };
                    let value = |i: usize| {
                        let mut from = index.to_vec();
                        from[axis] = i;
                        x.at(&from)
                    };
                    (0..x.shape[axis]).filter(part).map(value).fold(start, f)
                })
            };
            for dtype in [DType::F32, DType::F64, DType::I8, DType::I16, DType::I32, DType::I64] {
                check(op, &[x.tensor(dtype)], &attributes, &expected(&x), 0.0);
            }
            let x = x.map(f64::abs);
            for dtype in [DType::U8, DType::U16, DType::U32, DType::U64] {
                check(op, &[x.tensor(dtype)], &attributes, &expected(&x), 0.0);
            }
        }
    }
    for dtype in INTEGERS {
        let (x, sums) = (Array::new(&[3], [1.0, 2.0, 3.0]), Array::new(&[3], [1.0, 3.0, 6.0]));
        check("cumulative-sum", &[x.tensor(dtype)], &[int("axis", 0)], &sums, 0.0);
    }
    let empty = Array::random(&[2, 0], 1);
    check(op, &[empty.f32()], &[int("axis", 1)], &empty, 0.0);
    refused(op, &[x.f32()], &[int("axis", 3)], "axis");
    refused(op, &[x.tensor(DType::Bool)], &[int("axis", 0)], "dtype");
}

/// Values and indices of the first `k` of every row in order.
fn ordered(x: &Array, k: usize, largest: bool) -> [Array; 2] {
    let (&n, lead) = x.shape.split_last().unwrap();
    let (mut values, mut indices) = (Vec::new(), Vec::new());
    for row in x.data.chunks_exact(n.max(1)) {
        let mut order: Vec<usize> = (0..n).collect();
        order.sort_by(|&a, &b| match largest {
            true => row[b].total_cmp(&row[a]),
            false => row[a].total_cmp(&row[b]),
        });
        values.extend(order[..k].iter().map(|&i| row[i]));
        indices.extend(order[..k].iter().map(|&i| i as f64));
    }
    let mut shape = lead.to_vec();
    shape.push(k);
    [Array::new(&shape, values), Array::new(&shape, indices)]
}

fn top_k() {
    let x = Array::random(&[3, 7], 8).map(|x| (x * 2.0).round() / 2.0);
    for k in [0, 1, 3, 7] {
        for largest in [true, false] {
            let attributes = [int("k", k), flag("largest", largest)];
            let expected = ordered(&x, k, largest);
            check_outputs("top-k", &[x.f32()], &attributes, &expected, 0.0);
            check_outputs("top-k", &[x.tensor(DType::F64)], &attributes, &expected, 0.0);
            check_narrow("top-k", &[&x], &[], &attributes);
            let whole = x.map(|x| 2.0 * x + 8.0);
            for dtype in INTEGERS {
                let expected = ordered(&whole, k, largest);
                check_outputs("top-k", &[whole.tensor(dtype)], &attributes, &expected, 0.0);
            }
        }
    }
    let one = Array::new(&[4], [1.0, 4.0, 2.0, 4.0]);
    check_outputs("top-k", &[one.f32()], &[int("k", 2)], &ordered(&one, 2, true), 0.0);
    refused("top-k", &[x.f32()], &[int("k", 8)], "shape-mismatch");
}

fn sort() {
    let x = Array::random(&[2, 9], 8).map(|x| (x * 2.0).round() / 2.0);
    for descending in [true, false] {
        let attributes = [flag("descending", descending)];
        for dtype in [DType::F32, DType::F64, DType::F16, DType::I64, DType::I8] {
            let x = if dtype.is_int() { x.map(|x| 2.0 * x) } else { x.clone() };
            let expected = ordered(&x, 9, descending);
            check_outputs("sort", &[x.tensor(dtype)], &attributes, &expected, 0.0);
        }
    }
    let empty = Array::random(&[2, 0], 1);
    check_outputs("sort", &[empty.f32()], &[], &[empty.clone(), empty.clone()], 0.0);
}
