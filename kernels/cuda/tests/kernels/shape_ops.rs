//! Ops that move elements: any size, against index arithmetic.

use crate::moved::{Operand, bytes_left, place};
use crate::reference::{Random, SIZES};
use aimass_cuda::pad::{PadMode, PadSpec, pad};
use aimass_cuda::shape_ops::{
    SliceSpec, broadcast_to, concat, dense_strides, slice, tile, transpose,
};
use aimass_cuda::strided::{Copy, View, copy};

const BYTES: [usize; 5] = [1, 2, 4, 8, 16];

fn content(elements: usize, size: usize) -> Vec<u8> {
    let mut random = Random::new((elements * 17 + size) as u64);
    (0..elements * size).map(|_| (random.bits() >> 9) as u8).collect()
}

fn count(shape: &[usize]) -> usize {
    shape.iter().product()
}

/// The index along each axis of element `i`.
fn index(shape: &[usize], mut i: usize) -> Vec<usize> {
    let mut index = vec![0; shape.len()];
    for (own, extent) in index.iter_mut().zip(shape).rev() {
        *own = i % extent;
        i /= extent;
    }
    index
}

/// The element at an index along each axis.
fn element(shape: &[usize], index: &[usize]) -> usize {
    index.iter().zip(shape).fold(0, |at, (own, extent)| at * extent + own)
}

/// The elements of `x` at these places.
fn picked(x: &[u8], size: usize, places: impl Iterator<Item = usize>) -> Vec<u8> {
    places.flat_map(|at| x[at * size..][..size].to_vec()).collect()
}

#[test]
fn axes_are_reordered() {
    let cases: [(&[usize], &[usize]); 17] = [
        (&[], &[]),
        (&[7], &[0]),
        (&[0, 3], &[1, 0]),
        (&[1, 33], &[1, 0]),
        (&[2, 3], &[1, 0]),
        (&[33, 31], &[1, 0]),
        (&[64, 65], &[1, 0]),
        (&[16, 128], &[1, 0]),
        (&[3, 40, 17], &[0, 2, 1]),
        (&[17, 5, 33], &[2, 1, 0]),
        (&[2, 5, 3, 8], &[0, 2, 1, 3]),
        (&[2, 5, 3, 64], &[0, 2, 1, 3]),
        (&[2, 17, 3, 18], &[0, 2, 3, 1]),
        (&[4, 20, 1, 20], &[3, 2, 0, 1]),
        (&[2, 2, 2, 2, 2, 2, 2, 2], &[7, 0, 6, 1, 5, 2, 4, 3]),
        (&[2, 3, 2, 2, 3, 2, 2, 17], &[6, 7, 4, 5, 2, 3, 0, 1]),
        // More squares than blocks.
        (&[2050, 16, 17], &[0, 2, 1]),
    ];
    for (shape, permutation) in cases {
        for (size, skip) in BYTES.iter().flat_map(|&size| [(size, 0), (size, size)]) {
            check_transpose(shape, permutation, size, skip);
        }
    }
}

fn check_transpose(shape: &[usize], permutation: &[usize], size: usize, skip: usize) {
    let full: Vec<usize> = permutation.iter().map(|&axis| shape[axis]).collect();
    let n = count(shape);
    let bytes = content(n, size);
    let x = Operand::new(&bytes, skip);
    let found = bytes_left(n * size, skip, |queue, out| {
        transpose(queue, size, (x.slice(), shape), permutation, out)
    });
    let from = |i| {
        let mut own = vec![0; shape.len()];
        for (&axis, index) in permutation.iter().zip(index(&full, i)) {
            own[axis] = index;
        }
        element(shape, &own)
    };
    let expected = picked(&bytes, size, (0..n).map(from));
    assert!(found == expected, "{shape:?} by {permutation:?} of {size} behind {skip}");
}

/// A shape of at most about `room` elements.
fn drawn_shape(random: &mut Random, mut room: usize) -> Vec<usize> {
    let mut shape = Vec::new();
    for _ in 0..random.below(5) {
        let extent = random.extent(room);
        shape.push(extent);
        room /= extent.max(1);
    }
    shape
}

fn drawn_skip(random: &mut Random, size: usize) -> usize {
    random.below(3) * size
}

pub(crate) fn draw_transpose(random: &mut Random) {
    let (shape, size) = (drawn_shape(random, 6000), random.of(&BYTES));
    let mut permutation: Vec<usize> = (0..shape.len()).collect();
    (1..shape.len()).for_each(|i| permutation.swap(i, random.below(i + 1)));
    check_transpose(&shape, &permutation, size, drawn_skip(random, size));
}

pub(crate) fn draw_slice(random: &mut Random) {
    let shape: Vec<usize> = drawn_shape(random, 3000).iter().map(|&own| own.max(1)).collect();
    let (mut starts, mut steps, mut extents) = (Vec::new(), Vec::new(), Vec::new());
    for &own in &shape {
        let (start, step) = (random.below(own), 1 + random.below(3));
        let back = random.below(2) == 0;
        let room = if back { start } else { own - 1 - start } / step + 1;
        starts.push(start);
        steps.push(if back { -(step as isize) } else { step as isize });
        extents.push(random.below(room + 1));
    }
    check_slice((&shape, &starts, &steps, &extents), random.of(&BYTES));
}

pub(crate) fn draw_broadcast_to(random: &mut Random) {
    let shape = drawn_shape(random, 3000);
    let skipped = random.below(shape.len() + 1);
    let one = |&own: &usize| if random.below(2) == 0 { 1 } else { own };
    let own: Vec<usize> = shape[skipped..].iter().map(one).collect();
    check_broadcast(&own, &shape, random.of(&BYTES));
}

pub(crate) fn draw_tile(random: &mut Random) {
    let own = drawn_shape(random, 300);
    let repeats: Vec<usize> = own.iter().map(|_| random.below(4)).collect();
    check_tile(&own, &repeats, random.of(&BYTES));
}

pub(crate) fn draw_concat(random: &mut Random) {
    let chunks: Vec<usize> = (0..1 + random.below(4)).map(|_| random.extent(40)).collect();
    check_concat(random.below(40), &chunks, random.of(&BYTES));
}

pub(crate) fn draw_copy(random: &mut Random) {
    let shape: Vec<usize> = drawn_shape(random, 3000).iter().map(|&own| own.max(1)).collect();
    let extents: Vec<usize> = shape.iter().map(|&own| 1 + random.below(own)).collect();
    let starts: Vec<usize> =
        shape.iter().zip(&extents).map(|(&own, &part)| random.below(own - part + 1)).collect();
    check_copy(&shape, &starts, &extents, random.of(&BYTES));
}

pub(crate) fn draw_pad(random: &mut Random) {
    let shape: Vec<usize> = drawn_shape(random, 2000).iter().map(|&own| own.max(1)).collect();
    // What is reflected is less than the extent.
    let margins = |random: &mut Random| -> Vec<usize> {
        shape.iter().map(|&own| random.below(own.min(9))).collect()
    };
    let (before, after, size) = (margins(random), margins(random), random.of(&[1, 2, 4, 8]));
    check_pad([&shape, &before, &after], size, drawn_skip(random, size));
}

#[test]
fn parts_are_cut_forwards_and_backwards() {
    let cases: [Cut<'_>; 9] = [
        (&[10], &[3], &[2], &[4]),
        (&[1025], &[1024], &[-1], &[1025]),
        (&[5, 8], &[1, 0], &[1, 1], &[3, 8]),
        (&[5, 8], &[0, 4], &[1, 1], &[5, 4]),
        (&[5, 8], &[4, 7], &[-1, -1], &[5, 8]),
        (&[4, 6, 5], &[3, 1, 0], &[-3, 2, 1], &[2, 3, 5]),
        (&[3, 40, 20], &[0, 39, 0], &[1, -1, 1], &[3, 40, 20]),
        (&[2, 3], &[0, 2], &[1, 1], &[2, 0]),
        (&[1 << 12, 3], &[0, 2], &[isize::MAX, 5], &[1, 1]),
    ];
    for (shape, starts, steps, extents) in cases {
        BYTES.into_iter().for_each(|size| check_slice((shape, starts, steps, extents), size));
    }
}

/// A shape, starts, steps and extents.
type Cut<'c> = (&'c [usize], &'c [usize], &'c [isize], &'c [usize]);

fn check_slice((shape, starts, steps, extents): Cut<'_>, size: usize) {
    let n = count(extents);
    let bytes = content(count(shape), size);
    let x = Operand::new(&bytes, 0);
    let found = bytes_left(n * size, 0, |queue, out| {
        let spec = SliceSpec { starts, steps, extents };
        slice(queue, size, (x.slice(), shape), spec, out)
    });
    let from = |i| {
        let own = index(extents, i);
        let along = |(axis, &own): (usize, &usize)| {
            (starts[axis] as isize).wrapping_add(steps[axis].wrapping_mul(own as isize))
        };
        let own: Vec<usize> = own.iter().enumerate().map(|x| along(x) as usize).collect();
        element(shape, &own)
    };
    let expected = picked(&bytes, size, (0..n).map(from));
    assert!(found == expected, "{shape:?} from {starts:?} by {steps:?} of {size}");
}

#[test]
fn values_are_repeated() {
    let cases: [(&[usize], &[usize]); 7] = [
        (&[], &[33]),
        (&[8], &[5, 8]),
        (&[5, 1], &[5, 64]),
        (&[2, 1, 16], &[3, 2, 4, 16]),
        (&[1, 1, 3], &[2, 2, 3]),
        (&[3, 1, 2, 1], &[3, 5, 2, 7]),
        (&[1], &[0]),
    ];
    for (own, shape) in cases {
        BYTES.into_iter().for_each(|size| check_broadcast(own, shape, size));
    }
    let cases: [(&[usize], &[usize]); 6] = [
        (&[33], &[3]),
        (&[2, 3], &[2, 2]),
        (&[2, 3, 8], &[1, 4, 1]),
        (&[3, 16], &[5, 1]),
        (&[2, 2, 2, 2, 2], &[1, 2, 1, 2, 1]),
        (&[2, 3], &[0, 1]),
    ];
    for (own, repeats) in cases {
        BYTES.into_iter().for_each(|size| check_tile(own, repeats, size));
    }
}

fn check_broadcast(own: &[usize], shape: &[usize], size: usize) {
    let (bytes, n) = (content(count(own), size), count(shape));
    let x = Operand::new(&bytes, 0);
    let found = bytes_left(n * size, 0, |queue, out| {
        broadcast_to(queue, size, (x.slice(), own), shape, out)
    });
    let expected = picked(&bytes, size, (0..n).map(|i| place(own, shape, i)));
    assert!(found == expected, "{own:?} to {shape:?} of {size}");
}

fn check_tile(own: &[usize], repeats: &[usize], size: usize) {
    let full: Vec<usize> = own.iter().zip(repeats).map(|(a, b)| a * b).collect();
    let (bytes, n) = (content(count(own), size), count(&full));
    let x = Operand::new(&bytes, 0);
    let found =
        bytes_left(n * size, 0, |queue, out| tile(queue, size, (x.slice(), own), repeats, out));
    let from = |i| {
        let at = index(&full, i);
        let at: Vec<usize> = at.iter().zip(own).map(|(i, extent)| i % extent).collect();
        element(own, &at)
    };
    let expected = picked(&bytes, size, (0..n).map(from));
    assert!(found == expected, "{own:?} {repeats:?} times of {size}");
}

#[test]
fn parts_are_joined_and_go_where_they_belong() {
    for (outer, chunks) in [(1, vec![5usize, 0, 33]), (7, vec![8, 16, 4]), (33, vec![1, 3])] {
        BYTES.into_iter().for_each(|size| check_concat(outer, &chunks, size));
    }
}

fn check_concat(outer: usize, chunks: &[usize], size: usize) {
    let row: usize = chunks.iter().sum();
    let parts: Vec<Vec<u8>> = chunks.iter().map(|&c| content(outer * c, size)).collect();
    let operands: Vec<Operand> = parts.iter().map(|part| Operand::new(part, 0)).collect();
    let found = bytes_left(outer * row * size, 0, |queue, out| {
        let own = operands.iter().zip(chunks);
        let own: Vec<_> = own.map(|(x, &chunk)| (x.slice(), chunk)).collect();
        concat(queue, size, &own, outer, out)
    });
    let mut expected = Vec::new();
    for i in 0..outer {
        for (part, chunk) in parts.iter().zip(chunks) {
            expected.extend_from_slice(&part[i * chunk * size..][..chunk * size]);
        }
    }
    assert!(found == expected, "{outer} x {chunks:?} of {size}");
}

/// A part of a value is replaced, and nothing around it.
#[test]
fn a_copy_writes_nothing_but_its_places() {
    for size in BYTES {
        check_copy(&[6, 40], &[2, 4], &[3, 20], size);
        let x = Operand::new(&content(60, size), 0);
        let beyond = bytes_left(0, 0, |queue, _| {
            let strides = [1];
            let from = View { memory: x.slice(), start: 1, strides: &strides };
            let to = View { memory: x.slice(), start: 0, strides: &strides };
            assert!(copy(queue, &Copy { size, extents: &[60], from, to }).is_err());
            Ok(())
        });
        assert!(beyond.is_empty());
    }
}

/// A dense value goes to a part of a larger one.
fn check_copy(shape: &[usize], starts: &[usize], extents: &[usize], size: usize) {
    let (bytes, part) = (content(count(shape), size), content(count(extents), size));
    let x = Operand::new(&part, 0);
    let found = bytes_left(bytes.len(), 0, |queue, out| {
        queue.upload(out, &bytes)?;
        let own = dense_strides(extents);
        let from = View { memory: x.slice(), start: 0, strides: &own };
        let strides = dense_strides(shape);
        let to = View { memory: out, start: element(shape, starts), strides: &strides };
        copy(queue, &Copy { size, extents, from, to })
    });
    let mut expected = bytes;
    for i in 0..count(extents) {
        let own = index(extents, i);
        let own: Vec<usize> = own.iter().zip(starts).map(|(own, start)| own + start).collect();
        let at = element(shape, &own);
        expected[at * size..][..size].copy_from_slice(&part[i * size..][..size]);
    }
    assert!(found == expected, "{extents:?} at {starts:?} of {shape:?} of {size}");
}

/// Which of `n` elements the one at `i`, perhaps outside of them, repeats.
fn repeated(mode: PadMode<'_>, i: isize, n: isize) -> Option<usize> {
    let at = match mode {
        _ if (0..n).contains(&i) => i,
        PadMode::Constant(_) => return None,
        PadMode::Edge => i.clamp(0, n - 1),
        PadMode::Reflect => (n - 1) - ((n - 1) - i.abs()).abs(),
        PadMode::Wrap => i.rem_euclid(n),
    };
    Some(at as usize)
}

#[test]
fn margins_of_every_kind() {
    let mut cases: Vec<[Vec<usize>; 3]> = vec![
        [vec![3, 3], vec![1, 2], vec![1, 2]],
        [vec![2, 3, 5, 7], vec![0, 0, 1, 2], vec![0, 0, 3, 1]],
        [vec![2, 5, 4, 8], vec![0, 1, 0, 0], vec![0, 2, 0, 0]],
        [vec![4, 6], vec![2, 0], vec![1, 0]],
        [vec![3, 4, 2], vec![0, 0, 1], vec![0, 0, 0]],
        [vec![1], vec![0], vec![0]],
        [vec![5, 1], vec![2, 0], vec![4, 0]],
    ];
    cases.extend(SIZES.iter().skip(3).map(|&n| [vec![n], vec![5], vec![30]]));
    for [shape, before, after] in &cases {
        for (size, skip) in [1, 2, 4, 8].into_iter().flat_map(|size| [(size, 0), (size, size)]) {
            check_pad([shape, before, after], size, skip);
        }
    }
}

/// A shape with margins before and after it, of every kind.
fn check_pad([shape, before, after]: [&[usize]; 3], size: usize, skip: usize) {
    let axes = 0..shape.len();
    let full: Vec<usize> = axes.clone().map(|i| shape[i] + before[i] + after[i]).collect();
    let (bytes, n) = (content(count(shape), size), count(&full));
    let fill = content(1, size);
    let x = Operand::new(&bytes, skip);
    for mode in [PadMode::Constant(&fill), PadMode::Edge, PadMode::Reflect, PadMode::Wrap] {
        let spec = PadSpec { size, shape, before, after, mode };
        let found = bytes_left(n * size, skip, |queue, out| pad(queue, x.slice(), &spec, out));
        let element_of = |i| {
            let at = index(&full, i);
            let own = |axis: usize| {
                let i = at[axis] as isize - before[axis] as isize;
                repeated(mode, i, shape[axis] as isize)
            };
            let at: Option<Vec<usize>> = axes.clone().map(own).collect();
            match at {
                Some(at) => bytes[element(shape, &at) * size..][..size].to_vec(),
                None => fill.clone(),
            }
        };
        let expected: Vec<u8> = (0..n).flat_map(element_of).collect();
        assert!(found == expected, "{spec:?} behind {skip}");
    }
}

#[test]
fn a_constant_margin_of_nothing_is_the_constant() {
    let spec = PadSpec {
        size: 2,
        shape: &[0, 3],
        before: &[1, 0],
        after: &[1, 1],
        mode: PadMode::Constant(&[7, 8]),
    };
    let x = Operand::new(&[], 0);
    let found = bytes_left(16, 0, |queue, out| pad(queue, x.slice(), &spec, out));
    assert_eq!(found, [7, 8].repeat(8));
    let x = Operand::new(&[1, 2, 3, 4], 0);
    let refused =
        PadSpec { shape: &[2], before: &[2], after: &[0], mode: PadMode::Reflect, ..spec };
    let nothing = bytes_left(0, 0, |queue, _| {
        let out = Operand::new(&[0; 8], 0);
        assert!(pad(queue, x.slice(), &refused, out.slice()).is_err());
        Ok(())
    });
    assert!(nothing.is_empty());
}
