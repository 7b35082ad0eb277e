//! Selection and updates by index, against loops in row-major order.

use crate::moved::{Operand, bytes_left, decode_whole, encode_whole, integers, size, wrapped};
use crate::reference::{Guarded, Random, close, decode, device};
use aimass_cuda::gather::{
    ElementsAt, Indices, Lanes, TuplesAt, gather, gather_elements, gather_tuples,
};
use aimass_cuda::scatter::{ScatterMode, Updates, has_mode, scatter_elements, scatter_tuples};
use aimass_cuda::{DeviceError, Form, Queue, Slice};
use aimass_tensor::DType;

const INDEX_TYPES: [DType; 3] = [DType::I32, DType::I64, DType::U32];

fn content(n: usize, size: usize) -> Vec<u8> {
    let mut random = Random::new(n as u64 + 7);
    (0..n * size).map(|_| (random.bits() >> 11) as u8).collect()
}

/// Indices below `extent`, some of them more than once.
fn indices(n: usize, extent: usize, seed: u64) -> Vec<i128> {
    let mut random = Random::new(seed);
    (0..n).map(|_| i128::from(random.bits() % extent as u64)).collect()
}

/// Runs `work` with a fault word and returns the output and the fault.
fn with_fault(
    bytes: &[u8],
    work: impl FnOnce(&mut Queue<'_>, Slice<'_>, Slice<'_>) -> Result<(), DeviceError>,
) -> (Vec<u8>, Option<u64>) {
    let fault = Guarded::new(&[0xff; 8]);
    let found = bytes_left(bytes.len(), 0, |queue, out| {
        queue.upload(out, bytes)?;
        work(queue, out, fault.slice())
    });
    let mut queue = device().queue().expect("a turn");
    let word = fault.content(&mut queue).try_into().expect("eight bytes");
    (found, Some(u64::from_le_bytes(word)).filter(|&word| word != u64::MAX))
}

fn check_gather([outer, extent, inner, count]: [usize; 4], size: usize, dtype: DType, skip: usize) {
    let bytes = content(outer * extent * inner, size);
    let index = indices(count, extent, count as u64);
    let x = Operand::new(&bytes, skip * size);
    let i = Operand::new(&encode_whole(dtype, &index), 0);
    let out = vec![0xff; outer * count * inner * size];
    let (found, fault) = with_fault(&out, |queue, out, fault| {
        let indices = Indices { dtype, slice: i.slice(), fault };
        let lanes = Lanes { outer, extent, inner };
        gather(queue, size, (x.slice(), lanes), (indices, count), out)
    });
    let row = inner * size;
    let mut expected = Vec::new();
    for outer in 0..outer {
        for &index in &index {
            let at = (outer * extent + index as usize) * row;
            expected.extend_from_slice(&bytes[at..at + row]);
        }
    }
    assert!(found == expected, "{outer} {extent} {inner} {count} of {size} behind {skip}");
    assert_eq!(fault, None);
}

#[test]
fn slices_are_gathered_along_any_axis() {
    for extents in [
        [1, 10, 1, 33],
        [1, 7, 64, 5],
        [1, 5, 100, 257],
        [3, 4, 6, 7],
        [5, 33, 1, 2],
        [2, 1, 16, 31],
        [0, 4, 2, 3],
        [4, 3, 5, 0],
    ] {
        for (size, dtype) in [1, 2, 4, 8, 16].into_iter().zip(INDEX_TYPES.into_iter().cycle()) {
            check_gather(extents, size, dtype, 0);
        }
    }
}

pub(crate) fn draw_gather(random: &mut Random) {
    let extents = [random.below(4), 1 + random.below(40), random.extent(70), random.extent(260)];
    check_gather(extents, random.of(&[1, 2, 4, 8, 16]), random.of(&INDEX_TYPES), random.below(4));
}

#[test]
fn the_first_bad_index_is_reported_and_selects_zeros() {
    for dtype in INDEX_TYPES {
        let far = if dtype == DType::I64 { 1i128 << 40 } else { 9 };
        let negative = if dtype == DType::U32 { (1i128 << 32) - 1 } else { -1 };
        for (index, first) in [
            (vec![0, 8, 3], None),
            (vec![9, 0, 1], Some(0)),
            (vec![1, negative, far], Some(1)),
            (vec![8, 2, far], Some(2)),
        ] {
            let (x, i) = (Operand::new(&content(9, 4), 0), encode_whole(dtype, &index));
            let i = Operand::new(&i, 0);
            let (found, fault) = with_fault(&[0xff; 12], |queue, out, fault| {
                let indices = Indices { dtype, slice: i.slice(), fault };
                let lanes = Lanes { outer: 1, extent: 9, inner: 1 };
                gather(queue, 4, (x.slice(), lanes), (indices, 3), out)
            });
            assert_eq!(fault, first, "{index:?} of {dtype}");
            for (index, found) in index.iter().zip(found.chunks(4)) {
                assert!((0..9).contains(index) || found == [0; 4], "{index} of {dtype}");
            }
            // Of nothing, too.
            let (_, fault) = with_fault(&[], |queue, out, fault| {
                let indices = Indices { dtype, slice: i.slice(), fault };
                let lanes = Lanes { outer: 0, extent: 9, inner: 1 };
                gather(queue, 4, (x.slice(), lanes), (indices, 3), out)
            });
            assert_eq!(fault, first, "{index:?} of {dtype} for nothing");
        }
    }
}

#[test]
fn the_first_bad_index_of_single_elements_is_reported() {
    let (index, at) = ([1i128, 0, 2, 2, 3, 0, -1, 1], [2, 4]);
    let (x, u) = (Operand::new(&[1; 8], 0), Operand::new(&[7; 8], 0));
    let i = Operand::new(&encode_whole(DType::I64, &index), 0);
    let at = ElementsAt { shape: &[2, 3], axis: 1, extents: &at };
    let (found, fault) = with_fault(&[0xff; 8], |queue, out, fault| {
        let indices = Indices { dtype: DType::I64, slice: i.slice(), fault };
        gather_elements(queue, 1, (x.slice(), at), indices, out)
    });
    assert_eq!((found, fault), (vec![1, 1, 1, 1, 0, 1, 0, 1], Some(4)));
    let (found, fault) = with_fault(&[1; 6], |queue, y, fault| {
        let indices = Indices { dtype: DType::I64, slice: i.slice(), fault };
        let updates = Updates { dtype: DType::U8, mode: ScatterMode::Replace, slice: u.slice() };
        scatter_elements(queue, updates, at, indices, y)
    });
    assert_eq!((found, fault), (vec![7, 7, 7, 7, 7, 1], Some(4)));
}

/// Shapes of values and of indices, and the axis.
const ELEMENTS: [(&[usize], &[usize], usize); 9] = [
    (&[7], &[33], 0),
    (&[7], &[257], 0),
    (&[5, 6], &[5, 4], 1),
    (&[5, 6], &[9, 3], 0),
    (&[2, 3, 4], &[2, 70, 4], 1),
    (&[3, 4, 5], &[2, 4, 50], 2),
    (&[4, 1100, 2], &[3, 1025, 2], 1),
    (&[3, 4100], &[5, 4100], 0),
    (&[3, 2], &[0, 2], 0),
];

/// Where index `number` points.
fn pointed(shape: &[usize], extents: &[usize], axis: usize, number: usize, index: i128) -> usize {
    let (mut rest, mut at, mut stride) = (number, 0, 1);
    for own in (0..shape.len()).rev() {
        let along = if own == axis { index as usize } else { rest % extents[own] };
        at += along * stride;
        stride *= shape[own];
        rest /= extents[own];
    }
    at
}

/// Shapes, the shape of the indices, and the axis.
type Elements<'c> = (&'c [usize], &'c [usize], usize);

fn check_gather_elements((shape, extents, axis): Elements<'_>, size: usize, dtype: DType) {
    let (n, all) = (extents.iter().product::<usize>(), shape.iter().product());
    let bytes = content(all, size);
    let index = indices(n, shape[axis], n as u64);
    let (x, i) = (Operand::new(&bytes, size), Operand::new(&encode_whole(dtype, &index), 0));
    let (found, fault) = with_fault(&vec![0xff; n * size], |queue, out, fault| {
        let indices = Indices { dtype, slice: i.slice(), fault };
        let at = ElementsAt { shape, axis, extents };
        gather_elements(queue, size, (x.slice(), at), indices, out)
    });
    let at = |(number, &index)| pointed(shape, extents, axis, number, index);
    let places: Vec<usize> = index.iter().enumerate().map(at).collect();
    let expected: Vec<u8> =
        places.iter().flat_map(|at| bytes[at * size..][..size].to_vec()).collect();
    assert!(found == expected, "{shape:?} {extents:?} along {axis} of {size}");
    assert_eq!(fault, None);
}

#[test]
fn elements_are_gathered_along_any_axis() {
    for elements in ELEMENTS {
        for (size, dtype) in [1, 2, 4, 8].into_iter().zip(INDEX_TYPES.into_iter().cycle()) {
            check_gather_elements(elements, size, dtype);
        }
    }
}

/// A shape, as many indices along one axis as there may be, and fewer along the others.
fn drawn_elements(random: &mut Random) -> (Vec<usize>, Vec<usize>, usize) {
    let rank = 1 + random.below(3);
    let axis = random.below(rank);
    let shape: Vec<usize> = (0..rank).map(|_| 1 + random.below(20)).collect();
    let mut extents: Vec<usize> = shape.iter().map(|&own| 1 + random.below(own)).collect();
    extents[axis] = random.extent(300);
    (shape, extents, axis)
}

pub(crate) fn draw_gather_elements(random: &mut Random) {
    let (shape, extents, axis) = drawn_elements(random);
    let size = random.of(&[1, 2, 4, 8]);
    check_gather_elements((&shape, &extents, axis), size, random.of(&INDEX_TYPES));
}

pub(crate) fn draw_scatter_elements(random: &mut Random) {
    let (shape, extents, axis) = drawn_elements(random);
    let (elements, mode) = ((&shape[..], &extents[..], axis), random.of(&MODES));
    match random.below(3) {
        0 => check_sums(elements, mode),
        _ => check_scatter_elements(elements, mode, random.of(&UPDATED)),
    }
}

const MODES: [ScatterMode; 5] =
    [ScatterMode::Replace, ScatterMode::Add, ScatterMode::Mul, ScatterMode::Max, ScatterMode::Min];

fn combined(mode: ScatterMode, dtype: DType, old: i128, own: i128) -> i128 {
    let result = match mode {
        ScatterMode::Replace => own,
        ScatterMode::Add => old + own,
        ScatterMode::Mul => old.wrapping_mul(own),
        ScatterMode::Max => old.max(own),
        ScatterMode::Min => old.min(own),
    };
    wrapped(dtype, result)
}

fn combined_floats(mode: ScatterMode, old: f32, own: f32) -> f32 {
    match mode {
        ScatterMode::Replace => own,
        ScatterMode::Add => old + own,
        ScatterMode::Mul => old * own,
        ScatterMode::Max | ScatterMode::Min if old.is_nan() || own.is_nan() => f32::NAN,
        ScatterMode::Max => old.max(own),
        ScatterMode::Min => old.min(own),
    }
}

const UPDATED: [DType; 5] = [DType::I8, DType::U16, DType::I32, DType::U32, DType::I64];

fn check_scatter_elements(elements: Elements<'_>, mode: ScatterMode, dtype: DType) {
    let (shape, extents, axis) = elements;
    let (n, all) = (extents.iter().product::<usize>(), shape.iter().product());
    let (old, own) = (integers(dtype, all, 3), integers(dtype, n, 4));
    let index = indices(n, shape[axis], n as u64 + 9);
    let u = Operand::new(&encode_whole(dtype, &own), 0);
    let i = Operand::new(&encode_whole(DType::I64, &index), 0);
    let (found, fault) = with_fault(&encode_whole(dtype, &old), |queue, y, fault| {
        let indices = Indices { dtype: DType::I64, slice: i.slice(), fault };
        let at = ElementsAt { shape, axis, extents };
        let updates = Updates { dtype, mode, slice: u.slice() };
        scatter_elements(queue, updates, at, indices, y)
    });
    let mut expected = old;
    for (number, &index) in index.iter().enumerate() {
        let at = pointed(shape, extents, axis, number, index);
        expected[at] = combined(mode, dtype, expected[at], own[number]);
    }
    let found = decode_whole(dtype, &found);
    assert!(found == expected, "{mode:?} {dtype} {shape:?} {extents:?} along {axis}");
    assert_eq!(fault, None);
}

#[test]
fn elements_are_updated_in_order() {
    for elements in ELEMENTS {
        for (mode, dtype) in MODES.iter().flat_map(|mode| UPDATED.map(|dtype| (*mode, dtype))) {
            check_scatter_elements(elements, mode, dtype);
        }
    }
}

fn check_sums((shape, extents, axis): Elements<'_>, mode: ScatterMode) {
    let (n, all) = (extents.iter().product::<usize>(), shape.iter().product());
    let mut random = Random::new(n as u64);
    let mut floats = |n| -> Vec<f32> { (0..n).map(|_| random.float() as f32).collect() };
    let (old, mut own) = (floats(all), floats(n));
    own.iter_mut().skip(5).step_by(41).for_each(|x| *x = f32::NAN);
    let bytes = |x: &[f32]| x.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>();
    let index = indices(n, shape[axis], n as u64 + 9);
    let u = Operand::new(&bytes(&own), 0);
    let i = Operand::new(&encode_whole(DType::I32, &index), 0);
    let (found, _) = with_fault(&bytes(&old), |queue, y, fault| {
        let indices = Indices { dtype: DType::I32, slice: i.slice(), fault };
        let at = ElementsAt { shape, axis, extents };
        let updates = Updates { dtype: DType::F32, mode, slice: u.slice() };
        scatter_elements(queue, updates, at, indices, y)
    });
    let mut expected = old;
    for (number, &index) in index.iter().enumerate() {
        let at = pointed(shape, extents, axis, number, index);
        expected[at] = combined_floats(mode, expected[at], own[number]);
    }
    let expected: Vec<f64> = expected.into_iter().map(f64::from).collect();
    let what = format!("{mode:?} {shape:?} {extents:?} along {axis}");
    close(&what, &decode(Form::F32, &found), &expected, 0.0);
}

#[test]
fn sums_of_floats_have_the_order_of_their_rows() {
    for elements in ELEMENTS {
        MODES.into_iter().for_each(|mode| check_sums(elements, mode));
    }
}

/// Batch items, extents that tuples index, elements of a slice, tuples of an item.
const TUPLES: [(usize, &[usize], usize, usize); 9] = [
    (1, &[7], 1, 5),
    (1, &[7], 1, 257),
    (1, &[4, 5], 1, 100),
    (1, &[4, 5], 33, 31),
    (1, &[2, 3, 4], 64, 40),
    (1, &[5], 4100, 6),
    (3, &[4], 6, 9),
    (2, &[3, 2], 16, 1),
    (1, &[3], 0, 4),
];

/// The first element of the slice of each tuple.
fn slices(at: TuplesAt<'_>, components: &[i128]) -> Vec<usize> {
    let item = at.extents.iter().product::<usize>();
    let place = |tuple: &[i128]| {
        tuple.iter().zip(at.extents).fold(0, |place, (&i, &extent)| place * extent + i as usize)
    };
    let tuples = components.chunks(at.extents.len()).enumerate();
    tuples.map(|(t, tuple)| (t / at.tuples * item + place(tuple)) * at.slice).collect()
}

fn components(at: TuplesAt<'_>, seed: u64) -> Vec<i128> {
    let tuples = at.batch * at.tuples;
    let along: Vec<Vec<i128>> =
        at.extents.iter().map(|&extent| indices(tuples, extent, seed + extent as u64)).collect();
    (0..tuples).flat_map(|t| along.iter().map(move |own| own[t])).collect()
}

fn check_gather_tuples(at: TuplesAt<'_>, size: usize, dtype: DType) {
    let n = at.batch * at.tuples * at.slice;
    let all = at.batch * at.extents.iter().product::<usize>() * at.slice;
    let (bytes, tuple) = (content(all, size), components(at, n as u64));
    let (x, i) = (Operand::new(&bytes, 0), Operand::new(&encode_whole(dtype, &tuple), 0));
    let (found, fault) = with_fault(&vec![0xff; n * size], |queue, out, fault| {
        let indices = Indices { dtype, slice: i.slice(), fault };
        gather_tuples(queue, size, (x.slice(), at), indices, out)
    });
    let places = slices(at, &tuple);
    let rows = places.iter().map(|place| &bytes[place * size..][..at.slice * size]);
    assert!(found == rows.collect::<Vec<_>>().concat(), "{at:?} of {size}");
    assert_eq!(fault, None);
}

#[test]
fn slices_are_gathered_by_tuples() {
    for (batch, extents, slice, tuples) in TUPLES {
        let at = TuplesAt { batch, extents, slice, tuples };
        for (size, dtype) in [1, 2, 4, 8, 16].into_iter().zip(INDEX_TYPES.into_iter().cycle()) {
            check_gather_tuples(at, size, dtype);
        }
    }
}

fn check_scatter_tuples(at: TuplesAt<'_>, mode: ScatterMode, dtype: DType) {
    let (n, all) = (at.tuples * at.slice, at.extents.iter().product::<usize>() * at.slice);
    let (old, own) = (integers(dtype, all, 5), integers(dtype, n, 6));
    let tuple = components(at, n as u64 + 1);
    let u = Operand::new(&encode_whole(dtype, &own), size(dtype));
    let i = Operand::new(&encode_whole(DType::U32, &tuple), 0);
    let (found, fault) = with_fault(&encode_whole(dtype, &old), |queue, y, fault| {
        let indices = Indices { dtype: DType::U32, slice: i.slice(), fault };
        let updates = Updates { dtype, mode, slice: u.slice() };
        scatter_tuples(queue, updates, at, indices, y)
    });
    let mut expected = old;
    for (t, place) in slices(at, &tuple).into_iter().enumerate() {
        for k in 0..at.slice {
            let old = expected[place + k];
            expected[place + k] = combined(mode, dtype, old, own[t * at.slice + k]);
        }
    }
    assert!(decode_whole(dtype, &found) == expected, "{mode:?} {dtype} {at:?}");
    assert_eq!(fault, None);
}

#[test]
fn slices_are_updated_in_order() {
    for (_, extents, slice, tuples) in TUPLES.into_iter().filter(|(batch, ..)| *batch == 1) {
        let at = TuplesAt { batch: 1, extents, slice, tuples };
        let dtypes = [DType::U8, DType::I16, DType::I32, DType::U64];
        for (mode, dtype) in MODES.iter().flat_map(|mode| dtypes.map(|dtype| (*mode, dtype))) {
            check_scatter_tuples(at, mode, dtype);
        }
    }
}

/// Extents that tuples index, elements of a slice and tuples of an item.
fn drawn_tuples(random: &mut Random) -> (Vec<usize>, usize, usize) {
    let extents = (0..1 + random.below(3)).map(|_| 1 + random.below(6)).collect();
    (extents, random.extent(70), random.extent(260))
}

pub(crate) fn draw_gather_tuples(random: &mut Random) {
    let (extents, slice, tuples) = drawn_tuples(random);
    let at = TuplesAt { batch: random.below(4), extents: &extents, slice, tuples };
    check_gather_tuples(at, random.of(&[1, 2, 4, 8, 16]), random.of(&INDEX_TYPES));
}

pub(crate) fn draw_scatter_tuples(random: &mut Random) {
    let (extents, slice, tuples) = drawn_tuples(random);
    let at = TuplesAt { batch: 1, extents: &extents, slice, tuples };
    let dtype = random.of(&[DType::U8, DType::I16, DType::I32, DType::U64]);
    check_scatter_tuples(at, random.of(&MODES), dtype);
}

#[test]
fn a_bad_component_updates_nothing_and_is_reported() {
    let tuple = [0, 1, 3, 2, 1, 5, 2, 2];
    for (mode, slice) in MODES.iter().flat_map(|mode| [0usize, 1, 40].map(|slice| (*mode, slice))) {
        let at = TuplesAt { batch: 1, extents: &[3, 4], slice, tuples: 4 };
        let (old, own) = (vec![1i128; 12 * slice], vec![7; 4 * slice]);
        let u = Operand::new(&encode_whole(DType::I32, &own), 0);
        let i = Operand::new(&encode_whole(DType::I64, &tuple), 0);
        let (found, fault) = with_fault(&encode_whole(DType::I32, &old), |queue, y, fault| {
            let indices = Indices { dtype: DType::I64, slice: i.slice(), fault };
            let updates = Updates { dtype: DType::I32, mode, slice: u.slice() };
            scatter_tuples(queue, updates, at, indices, y)
        });
        assert_eq!(fault, Some(2), "{mode:?} of slices of {slice}");
        let found = decode_whole(DType::I32, &found);
        for (place, &found) in found.iter().enumerate() {
            let named = [1, 10].contains(&(place / slice));
            let expected = if named { combined(mode, DType::I32, 1, 7) } else { 1 };
            assert_eq!(found, expected, "{mode:?} at {place} of slices of {slice}");
        }
    }
}

#[test]
fn what_cannot_be_combined_has_no_kernel() {
    assert!(has_mode(ScatterMode::Replace, DType::F16) && has_mode(ScatterMode::Add, DType::F64));
    assert!(!has_mode(ScatterMode::Add, DType::F16) && !has_mode(ScatterMode::Max, DType::Bool));
}
