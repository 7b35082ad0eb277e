//! Positions, transforms, bags of rows, boxes and random bits.

use crate::backend::run_op;
use crate::reference::{
    Array, Case, check, check_outputs, flag, float, int, ints, numbers, refused,
};
use aimass_tensor::{DType, Tensor};

pub(crate) const CASES: &[Case] = &[
    ("rope", rope),
    ("fft", fft),
    ("embedding-bag", embedding_bag),
    ("non-max-suppression", non_max_suppression),
    ("non-max-suppression-padded", non_max_suppression),
    ("random-bits", random_bits),
];

fn rope() {
    for (lead, own, heads, size) in [
        (&[][..], &[][..], 1usize, 2usize),
        (&[5], &[5], 3, 6),
        (&[2, 3], &[2, 3], 2, 4),
        (&[2, 3], &[3], 2, 4),
        (&[2, 3], &[], 1, 8),
        (&[0], &[0], 2, 4),
        (&[2], &[2], 2, 0),
    ] {
        let shape = [lead, &[heads * size]].concat();
        let x = Array::random(&shape, 1);
        for (interleaved, dtype) in [false, true]
            .into_iter()
            .flat_map(|i| [DType::I32, DType::I64, DType::U32].map(|dtype| (i, dtype)))
        {
            let low = if dtype == DType::U32 { 0.0 } else { 500.0 };
            let positions = Array::random(own, 2).map(|x| ((x + 2.0) * 500.0).floor() - low);
            let expected = Array::from_fn(&shape, |index| {
                let (lead, column) = (&index[..index.len() - 1], index[index.len() - 1]);
                let position = positions.at(&lead[lead.len() - own.len()..]);
                let (head, at) = (column / size * size, column % size);
                let half = size / 2;
                let (pair, first, other) = match interleaved {
                    true => (at / 2, at % 2 == 0, head + (at ^ 1)),
                    false => (at % half, at < half, head + (at + half) % size),
                };
                let angle = position * 500f64.powf(-2.0 * pair as f64 / size as f64);
                let other = x.at(&[lead, &[other]].concat());
                let turned = if first { -other } else { other };
                x.at(index) * angle.cos() + turned * angle.sin()
            });
            let inputs = [x.f32(), positions.tensor(dtype)];
            let attributes =
                [int("heads", heads), float("base", 500.0), flag("interleaved", interleaved)];
            check("rope", &inputs, &attributes, &expected, 2e-6);
        }
    }
    let x = Array::random(&[2, 8], 1).f32();
    let positions = Array::new(&[2], [1.0, 2.0]);
    let refuse = |inputs: &[Tensor], heads: usize, base: f64, code: &str| {
        refused("rope", inputs, &[int("heads", heads), float("base", base)], code);
    };
    let inputs = [x.clone(), positions.tensor(DType::I64)];
    refuse(&inputs, 3, 1e4, "shape");
    refuse(&inputs, 8, 1e4, "shape");
    refuse(&inputs, 0, 1e4, "argument");
    refuse(&inputs, 2, 0.0, "argument");
    refuse(&[x.clone(), positions.f32()], 2, 1e4, "dtype");
    refuse(&[x.clone(), Array::new(&[3], [0.0; 3]).tensor(DType::I64)], 2, 1e4, "shape");
    refuse(&[x, Array::new(&[1, 2], [0.0; 2]).tensor(DType::I64)], 2, 1e4, "shape");
}

fn fft() {
    for (lead, axis) in [
        (&[8usize][..], 0usize),
        (&[2, 60], 1),
        (&[14, 3], 0),
        (&[2, 7, 5], 1),
        (&[3, 17], 1),
        (&[1], 0),
        (&[0], 0),
        (&[0, 4], 1),
        (&[37], 0),
    ] {
        let shape = [lead, &[2]].concat();
        let x = Array::random(&shape, 1);
        for inverse in [false, true] {
            let n = lead[axis];
            let expected = Array::from_fn(&shape, |index| {
                let part = |j: usize| {
                    let mut from = index.to_vec();
                    from[axis] = j;
                    let at = |part: usize| {
                        let mut from = from.clone();
                        from[lead.len()] = part;
                        x.at(&from)
                    };
                    let turns = (j * index[axis] % n) as f64 / n as f64;
                    let turns = if inverse { turns } else { -turns };
                    let (sine, cosine) = (std::f64::consts::TAU * turns).sin_cos();
                    match index[lead.len()] {
                        0 => at(0) * cosine - at(1) * sine,
                        _ => at(0) * sine + at(1) * cosine,
                    }
                };
                (0..n).map(part).sum::<f64>() / if inverse { n as f64 } else { 1.0 }
            });
            let attributes = [int("axis", axis), flag("inverse", inverse)];
            check("fft", &[x.f32()], &attributes, &expected, 1e-5);
            check("fft", &[x.tensor(DType::F64)], &attributes, &expected, 1e-12);
        }
    }
    let x = Array::random(&[4, 2], 1);
    refused("fft", &[x.f32()], &[int("axis", 1)], "argument");
    refused("fft", &[x.f32()], &[int("axis", 2)], "axis");
    refused("fft", &[x.tensor(DType::I32)], &[int("axis", 0)], "dtype");
    refused("fft", &[Array::random(&[4, 3], 1).f32()], &[int("axis", 0)], "shape");
    refused("fft", &[Array::random(&[2], 1).f32()], &[int("axis", 0)], "shape");
}

fn embedding_bag() {
    for own in [&[0u32, 3, 4, 9][..], &[0, 0, 5, 5], &[0, 1], &[0, 0], &[0]] {
        let count = own[own.len() - 1] as usize;
        let offsets = Tensor::from_slice(&[own.len()], own).unwrap();
        for (columns, mean) in [1usize, 5].into_iter().flat_map(|c| [false, true].map(|m| (c, m))) {
            let table = Array::random(&[6, columns], 1);
            let indices = Array::random(&[count], 2).map(|x| ((x + 2.0) * 256.0).floor() % 6.0);
            let expected = Array::from_fn(&[own.len() - 1, columns], |at| {
                let bag = own[at[0]] as usize..own[at[0] + 1] as usize;
                let number = if mean { bag.len().max(1) } else { 1 };
                let row = |i: usize| table.at(&[indices.data[i] as usize, at[1]]);
                bag.map(row).sum::<f64>() / number as f64
            });
            for dtype in [DType::I32, DType::I64, DType::U32] {
                let inputs = [table.f32(), indices.tensor(dtype), offsets.clone()];
                check("embedding-bag", &inputs, &[flag("mean", mean)], &expected, 1e-6);
            }
        }
    }
    let table = Array::random(&[6, 2], 1).f32();
    let offsets = Tensor::from_slice(&[2], &[0u32, 1]).unwrap();
    let indices = |value: f64| Array::new(&[1], [value]).tensor(DType::I64);
    let refuse = |inputs: &[Tensor], code: &str| refused("embedding-bag", inputs, &[], code);
    refuse(&[table.clone(), indices(6.0), offsets.clone()], "index");
    refuse(&[table.clone(), indices(-1.0), offsets.clone()], "index");
    refuse(&[table.clone(), table.clone(), offsets.clone()], "dtype");
    refuse(&[table, indices(0.0)], "input-count");
}

/// By the definition: repeatedly the best candidate that is left, and what overlaps it goes.
fn survivors(
    corners: &[[f64; 4]],
    scores: &[f64],
    most: usize,
    iou: f64,
    score: f64,
) -> Vec<usize> {
    let area = |b: &[f64; 4]| (b[2] - b[0]) * (b[3] - b[1]);
    let overlap = |a: &[f64; 4], b: &[f64; 4]| {
        let side = |i: usize| (a[i + 2].min(b[i + 2]) - a[i].max(b[i])).max(0.0);
        let shared = side(0) * side(1);
        if shared > 0.0 { shared / (area(a) + area(b) - shared) } else { 0.0 }
    };
    let mut left: Vec<usize> = (0..scores.len()).filter(|&i| scores[i] > score).collect();
    let mut chosen = Vec::new();
    while chosen.len() < most && !left.is_empty() {
        let best =
            left.iter().fold(left[0], |best, &i| if scores[i] > scores[best] { i } else { best });
        chosen.push(best);
        left.retain(|&i| i != best && overlap(&corners[best], &corners[i]) <= iou);
    }
    chosen
}

fn non_max_suppression() {
    for (batches, classes, boxes) in [(1, 1, 40), (2, 3, 25), (0, 2, 3), (2, 0, 3), (1, 2, 0)] {
        // Sixteenths, so that sums and halves are exact.
        let place = Array::random(&[batches, boxes, 2], 1).map(|x| (x * 16.0).floor() / 4.0);
        let size = Array::random(&[batches, boxes, 2], 2).map(|x| ((x + 2.0) * 16.0).floor() / 8.0);
        let scores = Array::random(&[batches, classes, boxes], 3);
        for (most, iou, score) in
            [(5usize, 0.25, -1.0), (100, 0.5, 0.0), (3, 0.0, -9.0), (0, 0.5, 0.0)]
        {
            for centered in [false, true] {
                let corner = |b: usize, i: usize| {
                    let pair = |a: &Array| [a.at(&[b, i, 0]), a.at(&[b, i, 1])];
                    let ([y, x], [h, w]) = (pair(&place), pair(&size));
                    [y, x, y + h, x + w]
                };
                let input = Array::from_fn(&[batches, boxes, 4], |at| {
                    let [y, x, y_end, x_end] = corner(at[0], at[1]);
                    match (centered, at[2]) {
                        // Opposite corners in either order.
                        (false, i) if at[1] % 2 == 0 => [y, x, y_end, x_end][i],
                        (false, i) => [y_end, x, y, x_end][i],
                        (true, i) => {
                            [(x + x_end) / 2.0, (y + y_end) / 2.0, x_end - x, y_end - y][i]
                        }
                    }
                });
                let mut found = Vec::new();
                for (b, c) in (0..batches).flat_map(|b| (0..classes).map(move |c| (b, c))) {
                    let corners: Vec<[f64; 4]> = (0..boxes).map(|i| corner(b, i)).collect();
                    let own: Vec<f64> = (0..boxes).map(|i| scores.at(&[b, c, i])).collect();
                    let chosen = survivors(&corners, &own, most, iou, score);
                    found.extend(chosen.into_iter().map(|i| [b as f64, c as f64, i as f64]));
                }
                let count = Array::new(&[], [found.len() as f64]);
                let rows = batches * classes * most.min(boxes);
                let attributes = [
                    int("max-per-class", most),
                    float("iou", iou),
                    float("score", score),
                    flag("centered", centered),
                ];
                let inputs = [input.f32(), scores.f32()];
                let op = "non-max-suppression-padded";
                let mut own = found.clone();
                found.resize(rows, [0.0; 3]);
                let expected = Array::new(&[rows, 3], found.into_iter().flatten());
                check_outputs(op, &inputs, &attributes, &[expected, count], 0.0);
                if !centered {
                    let own = Array::new(&[own.len(), 3], own.drain(..).flatten());
                    let op = "non-max-suppression";
                    check_outputs(op, &inputs, &attributes[..3], &[own], 0.0);
                }
            }
        }
    }
    let attributes = [int("max-per-class", 3), float("iou", 0.5), float("score", 0.0)];
    let random = |shape: &[usize]| Array::random(shape, 1).f32();
    let refuse = |boxes: Tensor, scores: Tensor, code: &str| {
        refused("non-max-suppression-padded", &[boxes, scores], &attributes, code);
    };
    refuse(random(&[1, 5, 4]), random(&[1, 2, 6]), "shape-mismatch");
    refuse(random(&[1, 5, 3]), random(&[1, 2, 5]), "shape-mismatch");
    refuse(random(&[2, 5, 4]), random(&[1, 2, 5]), "shape-mismatch");
    refuse(random(&[5, 4]), random(&[1, 2, 5]), "shape");
    refuse(Array::random(&[1, 5, 4], 1).tensor(DType::I32), random(&[1, 2, 5]), "dtype");
}

fn random_bits() {
    let key = |a: u32, b: u32| Tensor::from_slice(&[2], &[a, b]).unwrap();
    let bits = |key: Tensor, dims: &[i64]| {
        let bits = run_op("random-bits", &[key], &[ints("dims", dims)]).unwrap().remove(0);
        assert_eq!(bits.shape().iter().map(|&n| n as i64).collect::<Vec<_>>(), dims);
        bits
    };
    // Counter 0 of key 0, from the reference implementation.
    let first = bits(key(0, 0), &[2]);
    assert_eq!(first.as_slice::<u32>().unwrap(), [0x6b20_0159, 0x99ba_4efe]);
    let all = bits(key(1, 2), &[3, 5, 7]);
    let part = bits(key(1, 2), &[11]);
    assert_eq!(all.as_slice::<u32>().unwrap()[..11], *part.as_slice::<u32>().unwrap());
    assert_ne!(numbers(&bits(key(2, 1), &[11])), numbers(&part));
    assert!(bits(key(1, 2), &[4, 0]).byte_len() == 0 && bits(key(1, 2), &[]).shape().rank() == 0);
    // A million bits are half ones, within six deviations.
    let many = bits(key(7, 7), &[31_250]);
    let ones: u32 = many.as_slice::<u32>().unwrap().iter().map(|word| word.count_ones()).sum();
    assert!(ones.abs_diff(500_000) < 3_000, "{ones}");
    let wrong = Tensor::from_slice(&[3], &[0u32; 3]).unwrap();
    refused("random-bits", &[wrong], &[ints("dims", &[2])], "shape-mismatch");
    let wrong = Tensor::from_slice(&[2], &[0i32; 2]).unwrap();
    refused("random-bits", &[wrong], &[ints("dims", &[2])], "dtype");
    refused("random-bits", &[key(0, 0)], &[ints("dims", &[-1])], "unknown-dim");
}
