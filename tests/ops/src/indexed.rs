//! Elements and slices by index: gathered, scattered, found.

use crate::backend::run_op;
use crate::reference::{Array, Case, check, check_outputs, index_of, int, numbers, refused, text};
use aimass_tensor::{DType, Tensor};

pub(crate) const CASES: &[Case] = &[
    ("gather-elements", gather_elements),
    ("dynamic-slice", dynamic_slice),
    ("gather-nd", gather_nd),
    ("scatter-elements", scatter_elements),
    ("scatter-nd", scatter_nd),
    ("non-zero", non_zero),
];

const INDEX_DTYPES: [DType; 3] = [DType::I32, DType::I64, DType::U32];
const DTYPES: [DType; 11] = [
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
    DType::Bool,
];

/// What an element of a dtype becomes of a whole number from 0 to 3.
fn held(dtype: DType, x: f64) -> f64 {
    if dtype == DType::Bool { f64::from(x != 0.0) } else { x }
}

/// Whole numbers from 0 to 3.
fn small(shape: &[usize], seed: u64) -> Array {
    Array::random(shape, seed).map(|x| (x + 2.0).floor())
}

/// Indices below `extent`.
fn indices(shape: &[usize], extent: usize, seed: u64) -> Array {
    Array::random(shape, seed).map(|x| ((x + 2.0) * 256.0).floor() % extent.max(1) as f64)
}

fn with(index: &[usize], axis: usize, value: f64) -> Vec<usize> {
    let mut index = index.to_vec();
    index[axis] = value as usize;
    index
}

fn gather_elements() {
    for (shape, own, axis) in [
        (&[3usize, 4][..], &[3usize, 4][..], 1usize),
        (&[3, 4], &[2, 4], 0),
        (&[3, 4], &[2, 7], 1),
        (&[2, 3, 4], &[2, 5, 4], 1),
        (&[2, 3, 4], &[1, 3, 2], 2),
        (&[2, 3, 4], &[2, 3, 5], 2),
        (&[2, 3, 4], &[4, 2, 3], 0),
        (&[5], &[1], 0),
        (&[1, 1], &[1, 1], 0),
        (&[0, 4], &[0, 2], 1),
        (&[3, 4], &[3, 0], 1),
        (&[3, 0], &[3, 0], 1),
    ] {
        let at = indices(own, shape[axis], 3);
        for (n, dtype) in DTYPES.into_iter().enumerate() {
            let x = small(shape, 1).map(|x| held(dtype, x));
            let expected = Array::from_fn(own, |index| x.at(&with(index, axis, at.at(index))));
            let inputs = [x.tensor(dtype), at.tensor(INDEX_DTYPES[n % 3])];
            check("gather-elements", &inputs, &[int("axis", axis)], &expected, 0.0);
        }
    }
    let x = small(&[3, 4], 1).f32();
    let at = |shape: &[usize], value: f64| Array::from_fn(shape, |_| value).tensor(DType::I64);
    let axis = [int("axis", 1)];
    refused("gather-elements", &[x.clone(), at(&[3, 1], 4.0)], &axis, "index");
    refused("gather-elements", &[x.clone(), at(&[3, 1], -1.0)], &axis, "index");
    refused("gather-elements", &[x.clone(), at(&[4, 1], 0.0)], &axis, "shape");
    refused("gather-elements", &[x.clone(), at(&[3], 0.0)], &axis, "shape");
    refused("gather-elements", &[x.clone(), x.clone()], &axis, "dtype");
    refused("gather-elements", &[x.clone(), at(&[3, 1], 0.0)], &[int("axis", 2)], "axis");
    let scalar = Array::new(&[], [1.0]);
    let inputs = [scalar.f32(), scalar.tensor(DType::I64)];
    refused("gather-elements", &inputs, &[int("axis", 0)], "axis");
}

fn dynamic_slice() {
    let bound = |at: i64| Tensor::from_slice(&[], &[at]).unwrap();
    for (shape, axis) in [(&[6usize][..], 0usize), (&[3, 5], 1), (&[4, 3, 2], 1), (&[0, 3], 0)] {
        let extent = shape[axis];
        for (n, dtype) in DTYPES.into_iter().enumerate() {
            let x = small(shape, n as u64).map(|x| held(dtype, x));
            for (start, end) in [(0, i64::MAX), (1, 3), (0, 1), (2, 2), (3, 1), (90, 99)] {
                let from = (start as usize).min(extent);
                let mut own = shape.to_vec();
                own[axis] = (end as usize).min(extent).saturating_sub(from);
                let at = |index: &[usize]| with(index, axis, (index[axis] + from) as f64);
                let expected = Array::from_fn(&own, |index| x.at(&at(index)));
                let inputs = [x.tensor(dtype), bound(start), bound(end)];
                check("dynamic-slice", &inputs, &[int("axis", axis)], &expected, 0.0);
            }
        }
    }
    let x = small(&[3, 4], 1).f32();
    let refuse = |start: Tensor, end: Tensor, axis: usize, code: &str| {
        refused("dynamic-slice", &[x.clone(), start, end], &[int("axis", axis)], code);
    };
    refuse(bound(-1), bound(2), 0, "index");
    refuse(bound(0), bound(-2), 0, "index");
    refuse(bound(0), bound(2), 2, "axis");
    refuse(x.clone(), bound(2), 0, "dtype");
    refuse(bound(0), Tensor::from_slice(&[1], &[2i64]).unwrap(), 0, "shape");
}

/// Shape of `x`, shape of the indices and batch axes.
const TUPLES: [(&[usize], &[usize], usize); 10] = [
    (&[3, 4], &[5, 1], 0),
    (&[3, 4], &[5, 2], 0),
    (&[3, 4], &[2], 0),
    (&[3, 4, 2], &[2, 3, 1], 0),
    (&[2, 3, 4], &[2, 5, 1], 1),
    (&[2, 3, 4], &[2, 2], 1),
    (&[2, 2, 3, 2], &[2, 2, 4, 2], 2),
    (&[1], &[1, 1], 0),
    (&[3, 0], &[2, 1], 0),
    (&[3, 4], &[0, 2], 0),
];

/// Index tuples within the extents behind the batch axes.
fn tuples(shape: &[usize], own: &[usize], batch: usize) -> Array {
    let any = indices(own, 1000, 7);
    Array::from_fn(own, |index| any.at(index) % shape[batch + index[own.len() - 1]].max(1) as f64)
}

/// Where the slice of a tuple begins in `x`: the batch index, then the components.
fn place(at: &Array, tuple: &[usize], batch: usize) -> Vec<usize> {
    let k = at.shape[at.shape.len() - 1];
    let component = |c: usize| at.at(&[tuple, &[c]].concat()) as usize;
    tuple[..batch].iter().copied().chain((0..k).map(component)).collect()
}

fn gather_nd() {
    for (shape, own, batch) in TUPLES {
        let at = tuples(shape, own, batch);
        let lead = &own[..own.len() - 1];
        let k = own[own.len() - 1];
        let out = [lead, &shape[batch + k..]].concat();
        for (n, dtype) in DTYPES.into_iter().enumerate() {
            let x = small(shape, 1).map(|x| held(dtype, x));
            let expected = Array::from_fn(&out, |index| {
                let (tuple, rest) = index.split_at(lead.len());
                x.at(&[place(&at, tuple, batch).as_slice(), rest].concat())
            });
            let inputs = [x.tensor(dtype), at.tensor(INDEX_DTYPES[n % 3])];
            check("gather-nd", &inputs, &[int("batch-dims", batch)], &expected, 0.0);
        }
    }
    let x = small(&[3, 4], 1).f32();
    let at = |shape: &[usize], values: &[f64]| {
        Array::new(shape, values.iter().copied()).tensor(DType::I64)
    };
    refused("gather-nd", &[x.clone(), at(&[1, 2], &[2.0, 4.0])], &[], "index");
    refused("gather-nd", &[x.clone(), at(&[1, 2], &[-1.0, 0.0])], &[], "index");
    refused("gather-nd", &[x.clone(), at(&[1, 3], &[0.0; 3])], &[], "shape");
    refused("gather-nd", &[x.clone(), at(&[1, 0], &[])], &[], "shape");
    refused("gather-nd", &[x.clone(), at(&[], &[0.0])], &[], "shape");
    refused("gather-nd", &[x.clone(), at(&[1], &[0.0])], &[int("batch-dims", 1)], "argument");
    refused("gather-nd", &[x, at(&[2, 1], &[0.0; 2])], &[int("batch-dims", 1)], "shape");
}

type Combine = fn(f64, f64) -> f64;
const MODES: [(&str, Combine); 5] = [
    ("replace", |_, new| new),
    ("add", |old, new| old + new),
    ("mul", |old, new| old * new),
    ("max", f64::max),
    ("min", f64::min),
];

fn flat(shape: &[usize], index: &[usize]) -> usize {
    index.iter().zip(shape).fold(0, |flat, (i, extent)| flat * extent + i)
}

/// Results of small products stay whole and below the range of every type.
fn updates(shape: &[usize], dtype: DType) -> Array {
    small(shape, 2).map(|x| held(dtype, x.min(2.0)))
}

fn scatter_elements() {
    for (shape, own, axis) in [
        (&[3usize, 4][..], &[3usize, 4][..], 1usize),
        (&[3, 4], &[2, 4], 0),
        (&[3, 2], &[2, 5], 1),
        (&[2, 3, 4], &[1, 3, 2], 2),
        (&[2, 3, 4], &[2, 3, 5], 2),
        (&[2, 3, 4], &[4, 2, 3], 0),
        (&[5], &[1], 0),
        (&[1], &[3], 0),
        (&[0, 4], &[0, 2], 1),
        (&[3, 4], &[3, 0], 1),
    ] {
        let at = indices(own, shape[axis], 3);
        for (n, dtype) in DTYPES.into_iter().enumerate() {
            for (mode, combine) in MODES {
                let mut x = small(shape, 1).map(|x| held(dtype, x));
                let updates = updates(own, dtype);
                let index = at.tensor(INDEX_DTYPES[n % 3]);
                let inputs = [x.tensor(dtype), index, updates.tensor(dtype)];
                let attributes = [int("axis", axis), text("mode", mode)];
                if dtype == DType::Bool && mode != "replace" {
                    refused("scatter-elements", &inputs, &attributes, "dtype");
                    continue;
                }
                for number in 0..updates.data.len() {
                    let index = index_of(own, number);
                    let to = flat(shape, &with(&index, axis, at.at(&index)));
                    x.data[to] = combine(x.data[to], updates.data[number]);
                }
                check("scatter-elements", &inputs, &attributes, &x, 0.0);
            }
        }
    }
    let x = small(&[3, 4], 1).f32();
    let at = Array::new(&[1, 1], [4.0]).tensor(DType::I64);
    let axis = [int("axis", 1)];
    let scatter = |inputs: [Tensor; 3], code: &str| {
        refused("scatter-elements", &inputs, &axis, code);
    };
    let one = small(&[1, 1], 1);
    scatter([x.clone(), at.clone(), one.f32()], "index");
    scatter([x.clone(), at.clone(), one.tensor(DType::F64)], "dtype");
    scatter([x.clone(), at.clone(), small(&[1, 2], 1).f32()], "shape");
    scatter([x.clone(), at, small(&[1], 1).f32()], "shape");
    let nan = Array::new(&[2], [f64::NAN, 1.0]);
    for mode in ["max", "min"] {
        let at = Array::new(&[2], [1.0, 0.0]).tensor(DType::U32);
        let inputs = [Array::new(&[2], [1.0, 2.0]).f32(), at, nan.f32()];
        let expected = Array::new(&[2], [1.0, f64::NAN]);
        check("scatter-elements", &inputs, &[int("axis", 0), text("mode", mode)], &expected, 0.0);
    }
}

fn scatter_nd() {
    for (shape, own, _) in TUPLES.into_iter().filter(|(_, _, batch)| *batch == 0) {
        let at = tuples(shape, own, 0);
        let (lead, k) = (&own[..own.len() - 1], own[own.len() - 1]);
        let full = [lead, &shape[k..]].concat();
        for (n, dtype) in DTYPES.into_iter().enumerate() {
            for (mode, combine) in MODES {
                let mut x = small(shape, 1).map(|x| held(dtype, x));
                let updates = updates(&full, dtype);
                let index = at.tensor(INDEX_DTYPES[n % 3]);
                let inputs = [x.tensor(dtype), index, updates.tensor(dtype)];
                if dtype == DType::Bool && mode != "replace" {
                    refused("scatter-nd", &inputs, &[text("mode", mode)], "dtype");
                    continue;
                }
                for number in 0..updates.data.len() {
                    let index = index_of(&full, number);
                    let (tuple, rest) = index.split_at(lead.len());
                    let to = flat(shape, &[place(&at, tuple, 0).as_slice(), rest].concat());
                    x.data[to] = combine(x.data[to], updates.data[number]);
                }
                check("scatter-nd", &inputs, &[text("mode", mode)], &x, 0.0);
            }
        }
    }
    let x = small(&[3, 4], 1).f32();
    let at = Array::new(&[1, 1], [3.0]).tensor(DType::I32);
    refused("scatter-nd", &[x.clone(), at.clone(), small(&[1, 4], 1).f32()], &[], "index");
    refused("scatter-nd", &[x.clone(), at.clone(), small(&[1, 3], 1).f32()], &[], "shape");
    refused("scatter-nd", &[x, at, small(&[1], 1).f32()], &[], "shape");
}

fn non_zero() {
    for shape in [&[3usize, 4][..], &[2, 1, 5], &[7], &[], &[0, 3], &[1]] {
        for dtype in DTYPES {
            let x = small(shape, 5).map(|x| held(dtype, x));
            let set: Vec<Vec<usize>> = (0..x.data.len())
                .filter(|&number| x.data[number] != 0.0)
                .map(|number| index_of(shape, number))
                .collect();
            let expected = Array::from_fn(&[shape.len(), x.data.len()], |index| {
                set.get(index[1]).map_or(0.0, |found| found[index[0]] as f64)
            });
            let count = Array::new(&[], [set.len() as f64]);
            check_outputs("non-zero", &[x.tensor(dtype)], &[], &[expected, count], 0.0);
        }
    }
    let x = Array::new(&[4], [0.0, -0.0, f64::NAN, f64::MIN_POSITIVE]);
    for dtype in [DType::F64, DType::F32] {
        let found = run_op("non-zero", &[x.tensor(dtype)], &[]).unwrap();
        // The smallest f64 is zero as f32.
        let count = if dtype == DType::F64 { 2.0 } else { 1.0 };
        assert_eq!(numbers(&found[1]), [count]);
        assert_eq!(numbers(&found[0])[0], 2.0);
    }
}
