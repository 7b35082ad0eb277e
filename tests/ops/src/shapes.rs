//! Ops that move elements without computing.

use crate::reference::{Array, Case, check, check_outputs, flag, float, int, ints, refused, text};
use aimass_tensor::DType;

pub(crate) const CASES: &[Case] = &[
    ("reshape", reshape),
    ("transpose", transpose),
    ("broadcast", broadcast),
    ("slice", slice),
    ("concat", concat),
    ("split", split),
    ("pad", pad),
    ("tile", tile),
    ("reverse", reverse),
    ("shape-of", shape_of),
    ("iota", iota),
    ("gather", gather),
    ("one-hot", one_hot),
];

fn reshape() {
    let x = Array::random(&[2, 6], 1);
    for (dims, shape) in [
        (&[3, 4][..], &[3, 4][..]),
        (&[-1], &[12]),
        (&[2, -1, 2], &[2, 3, 2]),
        (&[1, 12, 1, -1], &[1, 12, 1, 1]),
    ] {
        let expected = Array::new(shape, x.data.clone());
        check("reshape", &[x.f32()], &[ints("dims", dims)], &expected, 0.0);
    }
    let empty = Array::random(&[0, 3], 1);
    check("reshape", &[empty.f32()], &[ints("dims", &[3, -1])], &Array::new(&[3, 0], []), 0.0);
    refused("reshape", &[x.f32()], &[ints("dims", &[5, 2])], "shape-mismatch");
    refused("reshape", &[x.f32()], &[ints("dims", &[5, -1])], "shape-mismatch");
    refused("reshape", &[x.f32()], &[ints("dims", &[-1, -1])], "argument");
    refused("reshape", &[x.f32()], &[ints("dims", &[-2])], "argument");
}

fn transpose() {
    let x = Array::random(&[2, 3, 4], 1);
    for permutation in [[0usize, 1, 2], [2, 1, 0], [1, 0, 2], [0, 2, 1], [2, 0, 1]] {
        let shape: Vec<usize> = permutation.iter().map(|&axis| x.shape[axis]).collect();
        let expected = Array::from_fn(&shape, |index| {
            let mut from = [0; 3];
            permutation.iter().zip(index).for_each(|(&axis, &i)| from[axis] = i);
            x.at(&from)
        });
        let attribute = ints("permutation", &permutation.map(|axis| axis as i64));
        for dtype in [DType::F32, DType::F64, DType::I16, DType::I8] {
            let whole = match dtype {
                DType::F32 | DType::F64 => expected.clone(),
                _ => expected.map(f64::trunc),
            };
            check("transpose", &[x.tensor(dtype)], std::slice::from_ref(&attribute), &whole, 0.0);
        }
    }
    let empty = Array::random(&[2, 0], 1);
    let swap = [ints("permutation", &[1, 0])];
    check("transpose", &[empty.f32()], &swap, &Array::new(&[0, 2], []), 0.0);
    refused("transpose", &[x.f32()], &[ints("permutation", &[0, 1, 1])], "argument");
    refused("transpose", &[x.f32()], &[ints("permutation", &[0, 1])], "argument");
}

fn broadcast() {
    let x = Array::new(&[3, 1], [1.0, 2.0, 3.0]);
    let expected = Array::from_fn(&[2, 3, 2], |index| x.at(&[index[1], 0]));
    check("broadcast", &[x.f32()], &[ints("dims", &[2, 3, 2])], &expected, 0.0);
    check("broadcast", &[x.f32()], &[ints("dims", &[3, 0])], &Array::new(&[3, 0], []), 0.0);
    refused("broadcast", &[x.f32()], &[ints("dims", &[2, 2])], "shape-mismatch");
    refused("broadcast", &[x.f32()], &[ints("dims", &[3])], "shape");
}

fn slice() {
    let x = Array::random(&[4, 5], 1);
    for (axis, start, end, step) in [
        (0usize, 0usize, 4usize, 1usize),
        (0, 1, 3, 1),
        (1, 0, 5, 2),
        (1, 1, 99, 3),
        (0, 4, 4, 1),
        (0, 9, 12, 1),
        (1, 2, 3, 7),
    ] {
        let picked: Vec<usize> = (start..end.min(x.shape[axis])).step_by(step).collect();
        let mut shape = x.shape.clone();
        shape[axis] = picked.len();
        let expected = Array::from_fn(&shape, |index| {
            let mut from = index.to_vec();
            from[axis] = picked[index[axis]];
            x.at(&from)
        });
        let attributes =
            [int("axis", axis), int("start", start), int("end", end), int("step", step)];
        check("slice", &[x.f32()], &attributes, &expected, 0.0);
    }
    refused("slice", &[x.f32()], &[int("axis", 2)], "axis");
    refused("slice", &[x.f32()], &[int("axis", 0), int("step", 0)], "argument");
}

fn concat() {
    for axis in 0..2usize {
        let mut shapes = [vec![2, 3], vec![2, 3], vec![2, 3]];
        shapes[1][axis] = 1;
        shapes[2][axis] = 0;
        let parts: Vec<Array> = shapes.iter().map(|shape| Array::random(shape, 4)).collect();
        let mut shape = vec![2, 3];
        shape[axis] += 1;
        let expected = Array::from_fn(&shape, |index| {
            let (mut own, mut part) = (index.to_vec(), 0);
            while own[axis] >= parts[part].shape[axis] {
                own[axis] -= parts[part].shape[axis];
                part += 1;
            }
            parts[part].at(&own)
        });
        let inputs: Vec<_> = parts.iter().map(Array::f32).collect();
        check("concat", &inputs, &[int("axis", axis)], &expected, 0.0);
    }
    let (x, y) = (Array::random(&[2, 3], 1), Array::random(&[2, 2], 1));
    refused("concat", &[x.f32(), y.f32()], &[int("axis", 0)], "shape-mismatch");
    refused("concat", &[x.f32(), x.tensor(DType::I32)], &[int("axis", 0)], "dtype");
    refused("concat", &[], &[int("axis", 0)], "argument");
}

fn split() {
    let x = Array::random(&[2, 5], 1);
    let part = |start: usize, size: usize| {
        Array::from_fn(&[2, size], |index| x.at(&[index[0], start + index[1]]))
    };
    let expected = [part(0, 2), part(2, 0), part(2, 3)];
    let attributes = [int("axis", 1), ints("sizes", &[2, 0, 3])];
    check_outputs("split", &[x.f32()], &attributes, &expected, 0.0);
    refused("split", &[x.f32()], &[int("axis", 1), ints("sizes", &[2, 2])], "shape-mismatch");
}

fn pad() {
    let x = Array::random(&[2, 3], 1);
    let attributes = |mode: &str| {
        [ints("before", &[1, 2]), ints("after", &[0, 1]), text("mode", mode), float("fill", 7.0)]
    };
    let from = |i: usize, before: usize| i as i64 - before as i64;
    let constant = Array::from_fn(&[3, 6], |index| match (from(index[0], 1), from(index[1], 2)) {
        (i @ 0..2, j @ 0..3) => x.at(&[i as usize, j as usize]),
        _ => 7.0,
    });
    check("pad", &[x.f32()], &attributes("constant"), &constant, 0.0);
    let edge = Array::from_fn(&[3, 6], |index| {
        let at = |i: i64, n: i64| i.clamp(0, n - 1) as usize;
        x.at(&[at(from(index[0], 1), 2), at(from(index[1], 2), 3)])
    });
    check("pad", &[x.f32()], &attributes("edge"), &edge, 0.0);
    let reflect = Array::from_fn(&[3, 6], |index| {
        let at = |i: i64, n: i64| (if i.abs() < n { i.abs() } else { 2 * (n - 1) - i }) as usize;
        x.at(&[at(from(index[0], 1), 2), at(from(index[1], 2), 3)])
    });
    check("pad", &[x.f32()], &attributes("reflect"), &reflect, 0.0);
    refused("pad", &[x.f32()], &attributes("wrap"), "op");
    let too_much = [ints("before", &[2, 0]), ints("after", &[0, 0]), text("mode", "reflect")];
    refused("pad", &[x.f32()], &too_much, "argument");
}

fn tile() {
    let x = Array::random(&[2, 3], 1);
    let expected = Array::from_fn(&[4, 9], |index| x.at(&[index[0] % 2, index[1] % 3]));
    check("tile", &[x.f32()], &[ints("repeats", &[2, 3])], &expected, 0.0);
    check("tile", &[x.f32()], &[ints("repeats", &[0, 1])], &Array::new(&[0, 3], []), 0.0);
    refused("tile", &[x.f32()], &[ints("repeats", &[2])], "argument");
}

fn reverse() {
    let x = Array::random(&[2, 3], 1);
    let expected = Array::from_fn(&[2, 3], |index| x.at(&[index[0], 2 - index[1]]));
    check("reverse", &[x.f32()], &[int("axis", 1)], &expected, 0.0);
    let empty = Array::random(&[0, 3], 1);
    check("reverse", &[empty.f32()], &[int("axis", 0)], &empty, 0.0);
    refused("reverse", &[x.f32()], &[int("axis", 2)], "axis");
}

fn shape_of() {
    for shape in [&[][..], &[3], &[2, 0, 5]] {
        let extents = Array::new(&[shape.len()], shape.iter().map(|&extent| extent as f64));
        check("shape-of", &[Array::random(shape, 1).f32()], &[], &extents, 0.0);
    }
}

fn iota() {
    let attributes = [ints("dims", &[2, 3]), int("axis", 1), int("start", 5), int("step", 2)];
    check("iota", &[], &attributes, &Array::new(&[2, 3], [5.0, 7.0, 9.0, 5.0, 7.0, 9.0]), 0.0);
    let attributes = [ints("dims", &[2, 0]), int("axis", 0)];
    check("iota", &[], &attributes, &Array::new(&[2, 0], []), 0.0);
    refused("iota", &[], &[ints("dims", &[2]), int("axis", 1)], "axis");
}

fn gather() {
    let x = Array::random(&[4, 3, 2], 1);
    let indices = Array::new(&[2, 2], [2.0, 0.0, 1.0, 2.0]);
    for axis in 0..3usize {
        let indices = if axis == 2 { indices.map(|i| i.min(1.0)) } else { indices.clone() };
        let mut shape = x.shape[..axis].to_vec();
        shape.extend([2, 2]);
        shape.extend_from_slice(&x.shape[axis + 1..]);
        let expected = Array::from_fn(&shape, |index| {
            let mut from = index[..axis].to_vec();
            from.push(indices.at(&index[axis..axis + 2]) as usize);
            from.extend_from_slice(&index[axis + 2..]);
            x.at(&from)
        });
        for dtype in [DType::I32, DType::I64, DType::U32] {
            let inputs = [x.f32(), indices.tensor(dtype)];
            check("gather", &inputs, &[int("axis", axis)], &expected, 0.0);
        }
    }
    let none = Array::new(&[0], []).tensor(DType::I64);
    check("gather", &[x.f32(), none], &[int("axis", 0)], &Array::new(&[0, 3, 2], []), 0.0);
    for bad in [4.0, -1.0] {
        let bad = Array::new(&[2], [0.0, bad]).tensor(DType::I64);
        refused("gather", &[x.f32(), bad], &[int("axis", 0)], "index");
    }
    refused("gather", &[x.f32(), x.f32()], &[int("axis", 0)], "dtype");
}

fn one_hot() {
    let indices = Array::new(&[3], [2.0, 0.0, 5.0]);
    let expected = Array::new(&[3, 3], [0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
    for dtype in ["f32", "i64", "u8", "bool"] {
        let attributes = [int("depth", 3), text("dtype", dtype)];
        check("one-hot", &[indices.tensor(DType::I32)], &attributes, &expected, 0.0);
    }
    refused("one-hot", &[indices.f32()], &[int("depth", 3), text("dtype", "f32")], "dtype");
    let unknown = [int("depth", 3), text("dtype", "f32"), flag("other", true)];
    refused("one-hot", &[indices.tensor(DType::I32)], &unknown, "argument");
}
