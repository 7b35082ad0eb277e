//! Conversion between element types.
//!
//! Semantics: ONNX `Cast` where it is defined. Floats go to integers by truncation, saturated, NaN
//! as 0; integers to narrower ones by wrapping; anything to bool as "is not 0". Anything goes to a
//! float to nearest, halves to even, rounded once; what is too large becomes infinity, or NaN where
//! the type has no infinity (ONNX `saturate = 0`). 4-bit integers lie two in a byte, low half first;
//! the spare half of an odd number of elements is written as 0.
//!
//! A conversion reads into one of four wide types and writes from there, block by block, so that
//! the number of loops is a sum over the types and not a product.

mod narrow;

pub use narrow::{bf16_to_f32, f16_to_f32, f32_to_bf16, f32_to_f16};

use crate::view::{numbers, numbers_mut};
use aimass_tensor::{DType, Element};
use narrow::{E4M3, E4M3_FNUZ, E5M2, E5M2_FNUZ, f64_to_odd, u64_to_odd};

/// Elements that pass through a wide type at a time; even, so that no byte is cut.
const BLOCK: usize = 256;

static E4M3_NUMBERS: [f32; 256] = E4M3.table();
static E5M2_NUMBERS: [f32; 256] = E5M2.table();
static E4M3_FNUZ_NUMBERS: [f32; 256] = E4M3_FNUZ.table();
static E5M2_FNUZ_NUMBERS: [f32; 256] = E5M2_FNUZ.table();

/// Whether [`cast`] converts between these types: bool, integers of 4 to 64 bits and floats of 8
/// to 64 bits, in any combination.
pub fn castable(from: DType, to: DType) -> bool {
    [from, to].iter().all(|dtype| *dtype == DType::Bool || dtype.is_int() || dtype.is_float())
}

/// Converts the elements of `x` to another type; false (and nothing done) if [`castable`] is false.
///
/// # Panics
/// If the element counts differ or the bytes are misaligned.
pub fn cast(from: DType, x: &[u8], to: DType, out: &mut [u8]) -> bool {
    if !castable(from, to) {
        return false;
    }
    assert!(same_elements(from, x.len(), to, out.len()), "elements of input and output");
    if from == to || x.is_empty() {
        // No bytes may lie anywhere, aligned or not.
        out.copy_from_slice(x);
        return true;
    }
    match (from, to) {
        (DType::F32, _) => write::<f32>(numbers(x), to, out),
        (DType::F64, _) => write::<f64>(numbers(x), to, out),
        (DType::I64, _) => write::<i64>(numbers(x), to, out),
        (DType::U64, _) => write::<u64>(numbers(x), to, out),
        (_, DType::F32) => read_f32(from, x, numbers_mut(out)),
        (_, DType::I64) if !from.is_float() => read_integers(from, x, numbers_mut(out)),
        (_, _) if from.is_float() => blocks(from, x, to, out, read_f32),
        (_, _) => blocks(from, x, to, out, read_integers),
    }
    true
}

/// Whether so many bytes hold equally many elements; 4-bit types may leave half a byte.
fn same_elements(from: DType, x: usize, to: DType, out: usize) -> bool {
    match (from.size(), to.size()) {
        (Some(from), Some(to)) => x.is_multiple_of(from) && x / from * to == out,
        (Some(size), None) => x.is_multiple_of(size) && (x / size).div_ceil(2) == out,
        (None, Some(size)) => out.is_multiple_of(size) && (out / size).div_ceil(2) == x,
        (None, None) => x == out,
    }
}

/// Converts by way of a wide type.
fn blocks<W: Wide>(
    from: DType,
    x: &[u8],
    to: DType,
    out: &mut [u8],
    read: fn(DType, &[u8], &mut [W]),
) {
    let bytes = |dtype: DType, elements: usize| dtype.bytes_for(elements).unwrap_or(0);
    let x = x.chunks(bytes(from, BLOCK));
    for (x, out) in x.zip(out.chunks_mut(bytes(to, BLOCK))) {
        let count = match (from.size(), to.size()) {
            (Some(size), _) => x.len() / size,
            (None, Some(size)) => out.len() / size,
            (None, None) => 2 * x.len(),
        };
        let mut wide = [W::default(); BLOCK];
        read(from, x, &mut wide[..count]);
        write(&wide[..count], to, out);
    }
}

/// Elements of bool and integers, but for u64.
fn read_integers(from: DType, x: &[u8], out: &mut [i64]) {
    match from {
        DType::Bool => each::<u8, _>(x, out, |x| i64::from(x != 0)),
        DType::I8 => each::<i8, _>(x, out, i64::from),
        DType::U8 => each::<u8, _>(x, out, i64::from),
        DType::I16 => each::<i16, _>(x, out, i64::from),
        DType::U16 => each::<u16, _>(x, out, i64::from),
        DType::I32 => each::<i32, _>(x, out, i64::from),
        DType::U32 => each::<u32, _>(x, out, i64::from),
        DType::I4 => unpack(x, out, |half| i64::from((half << 4) as i8 >> 4)),
        DType::U4 => unpack(x, out, i64::from),
        other => unreachable!("{other} is no integer below 64 bits"),
    }
}

/// Elements of any type below 64 bits as f32.
fn read_f32(from: DType, x: &[u8], out: &mut [f32]) {
    match from {
        DType::F16 => each(x, out, f16_to_f32),
        DType::Bf16 => each(x, out, bf16_to_f32),
        DType::F8E4m3 => each(x, out, |x: u8| E4M3_NUMBERS[usize::from(x)]),
        DType::F8E5m2 => each(x, out, |x: u8| E5M2_NUMBERS[usize::from(x)]),
        DType::F8E4m3Fnuz => each(x, out, |x: u8| E4M3_FNUZ_NUMBERS[usize::from(x)]),
        DType::F8E5m2Fnuz => each(x, out, |x: u8| E5M2_FNUZ_NUMBERS[usize::from(x)]),
        DType::Bool => each(x, out, |x: u8| f32::from(u8::from(x != 0))),
        DType::I8 => each::<i8, _>(x, out, f32::from),
        DType::U8 => each::<u8, _>(x, out, f32::from),
        DType::I16 => each::<i16, _>(x, out, f32::from),
        DType::U16 => each::<u16, _>(x, out, f32::from),
        DType::I32 => each(x, out, |x: i32| x as f32),
        DType::U32 => each(x, out, |x: u32| x as f32),
        DType::I4 => unpack(x, out, |half| f32::from((half << 4) as i8 >> 4)),
        DType::U4 => unpack(x, out, f32::from),
        other => unreachable!("{other} is not below 64 bits"),
    }
}

fn write<W: Wide>(x: &[W], to: DType, out: &mut [u8]) {
    match to {
        DType::Bool => each_to(x, out, |x| u8::from(x != W::default())),
        DType::I8 => each_to(x, out, W::to_i8),
        DType::U8 => each_to(x, out, W::to_u8),
        DType::I16 => each_to(x, out, W::to_i16),
        DType::U16 => each_to(x, out, W::to_u16),
        DType::I32 => each_to(x, out, W::to_i32),
        DType::U32 => each_to(x, out, W::to_u32),
        DType::I64 => each_to(x, out, W::to_i64),
        DType::U64 => each_to(x, out, W::to_u64),
        DType::F16 => each_to(x, out, |x| f32_to_f16(x.to_odd())),
        DType::Bf16 => each_to(x, out, |x| f32_to_bf16(x.to_odd())),
        DType::F8E4m3 => each_to(x, out, |x| E4M3.encode(x.to_odd())),
        DType::F8E5m2 => each_to(x, out, |x| E5M2.encode(x.to_odd())),
        DType::F8E4m3Fnuz => each_to(x, out, |x| E4M3_FNUZ.encode(x.to_odd())),
        DType::F8E5m2Fnuz => each_to(x, out, |x| E5M2_FNUZ.encode(x.to_odd())),
        DType::F32 => each_to(x, out, W::to_f32),
        DType::F64 => each_to(x, out, W::to_f64),
        DType::I4 => pack(x, out, |x| x.to_nibble(-8, 7)),
        DType::U4 => pack(x, out, |x| x.to_nibble(0, 15)),
        other => unreachable!("{other} is no type of single numbers"),
    }
}

fn each<S: Element, T>(x: &[u8], out: &mut [T], f: impl Fn(S) -> T) {
    out.iter_mut().zip(numbers(x)).for_each(|(out, &x)| *out = f(x));
}

fn each_to<S: Copy, T: Element>(x: &[S], out: &mut [u8], f: impl Fn(S) -> T) {
    numbers_mut(out).iter_mut().zip(x).for_each(|(out, &x)| *out = f(x));
}

fn unpack<T>(x: &[u8], out: &mut [T], f: impl Fn(u8) -> T) {
    for (pair, &x) in out.chunks_mut(2).zip(x) {
        pair.iter_mut().zip([x & 15, x >> 4]).for_each(|(out, half)| *out = f(half));
    }
}

fn pack<S: Copy>(x: &[S], out: &mut [u8], f: impl Fn(S) -> u8) {
    for (out, pair) in out.iter_mut().zip(x.chunks(2)) {
        *out = pair.iter().rev().fold(0, |byte, &x| byte << 4 | f(x));
    }
}

/// A number that converts as Rust's `as` does, and to what narrow types need.
trait Wide: Copy + Default + PartialEq {
    fn to_i8(self) -> i8;
    fn to_u8(self) -> u8;
    fn to_i16(self) -> i16;
    fn to_u16(self) -> u16;
    fn to_i32(self) -> i32;
    fn to_u32(self) -> u32;
    fn to_i64(self) -> i64;
    fn to_u64(self) -> u64;
    fn to_f32(self) -> f32;
    fn to_f64(self) -> f64;
    /// An f32 that rounds to narrower floats as the number itself does.
    fn to_odd(self) -> f32;
    /// Four bits: integers wrap, floats are cut to `low..=high`.
    fn to_nibble(self, low: i8, high: i8) -> u8;
}

macro_rules! wide {
    ($($t:ty, $odd:expr, $nibble:expr;)*) => {$(
        #[allow(clippy::unnecessary_cast, reason = "one body for all types")]
        impl Wide for $t {
            fn to_i8(self) -> i8 { self as i8 }
            fn to_u8(self) -> u8 { self as u8 }
            fn to_i16(self) -> i16 { self as i16 }
            fn to_u16(self) -> u16 { self as u16 }
            fn to_i32(self) -> i32 { self as i32 }
            fn to_u32(self) -> u32 { self as u32 }
            fn to_i64(self) -> i64 { self as i64 }
            fn to_u64(self) -> u64 { self as u64 }
            fn to_f32(self) -> f32 { self as f32 }
            fn to_f64(self) -> f64 { self as f64 }
            #[inline(always)]
            fn to_odd(self) -> f32 { $odd(self) }
            #[inline(always)]
            fn to_nibble(self, low: i8, high: i8) -> u8 { $nibble(self, low, high) }
        }
    )*};
}

wide! {
    f32, |x| x, |x: f32, low, high| (x as i8).clamp(low, high) as u8 & 15;
    f64, f64_to_odd, |x: f64, low, high| (x as i8).clamp(low, high) as u8 & 15;
    i64, |x: i64| u64_to_odd(x.unsigned_abs()).copysign(x as f32), |x: i64, _, _| x as u8 & 15;
    u64, u64_to_odd, |x: u64, _, _| x as u8 & 15;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::{bytes_of, bytes_of_mut};

    fn check<S: Element, T: Element + PartialEq + std::fmt::Debug>(x: &[S], want: &[T]) {
        let mut out = vec![T::default(); want.len()];
        assert!(cast(S::DTYPE, bytes_of(x), T::DTYPE, bytes_of_mut(&mut out)));
        assert_eq!(out, want);
    }

    #[test]
    fn numbers_convert_as_documented() {
        check(&[1.9f32, -1.9, f32::NAN, 3e10], &[1i32, -1, 0, i32::MAX]);
        check(&[300i32, -1], &[44u8, 255]);
        check(&[i64::MAX, -5], &[9.223_372e18f32, -5.0]);
        check(&[16_777_217i32], &[16_777_216f32]);
        check(&[0.1f64], &[0.1f32]);
        check(&[-1.5f32], &[0u8]);
        check(&[-1i32, 7], &[-1.0f64, 7.0]);
        check(&[u64::MAX, 3], &[-1i64, 3]);
        let mut out = [9u8; 3];
        let x = [0.0f32, -0.5, f32::NAN];
        assert!(cast(DType::F32, bytes_of(&x), DType::Bool, &mut out));
        assert_eq!(out, [0, 1, 1]);
        let mut floats = [0f32; 3];
        assert!(cast(DType::Bool, &[0, 1, 7], DType::F32, bytes_of_mut(&mut floats)));
        assert_eq!(floats, [0.0, 1.0, 1.0]);
        assert!(!cast(DType::Q4K, &[], DType::F32, &mut []));
        assert!(!castable(DType::F32, DType::Bytes));
    }

    #[test]
    fn numbers_of_many_blocks_keep_their_places() {
        let x: Vec<i16> = (0..1000).collect();
        let want: Vec<f64> = (0..1000).map(f64::from).collect();
        check(&x, &want);
    }

    #[test]
    fn four_bit_integers_lie_two_in_a_byte() {
        let pack = |dtype, x: &[u8], to| {
            let mut out = vec![0xffu8; DType::bytes_for(to, x.len()).unwrap()];
            assert!(cast(dtype, x, to, &mut out));
            out
        };
        assert_eq!(pack(DType::U8, &[1, 15, 18], DType::U4), [0xf1, 0x02]);
        assert_eq!(pack(DType::I8, &[1, 0xff, 0xf8], DType::I4), [0xf1, 0x08]);
        let mut out = [0i8; 3];
        assert!(cast(DType::I4, &[0xf1, 0x78], DType::I8, bytes_of_mut(&mut out)));
        assert_eq!(out, [1, -1, -8]);
        let mut out = [0f32; 3];
        assert!(cast(DType::U4, &[0xf1, 0x78], DType::F32, bytes_of_mut(&mut out)));
        assert_eq!(out, [1.0, 15.0, 8.0]);
        let x = [9.9f32, -9.0, f32::NAN, -3.7, 7.0];
        let mut out = [0u8; 3];
        assert!(cast(DType::F32, bytes_of(&x), DType::I4, &mut out));
        assert_eq!(out, [0x87, 0xd0, 0x07]);
        let mut out = [0u8; 2];
        assert!(cast(DType::I4, &[0x8f, 0x07], DType::U4, &mut out));
        assert_eq!(out, [0x8f, 0x07]);
        let run = || cast(DType::U4, &[0; 2], DType::U8, &mut [0; 5]);
        assert!(std::panic::catch_unwind(run).is_err());
    }
}
