//! Conversion between element types.
//!
//! Semantics: ONNX `Cast` where it is defined. Floats go to integers by truncation, saturated, NaN
//! as 0; integers to narrower ones by wrapping; anything to bool as "is not 0"; f64 to the 16-bit
//! floats by way of f32; to nearest, halves to even.

use aimass_tensor::{DType, Element};

use crate::view::{numbers, numbers_mut};

/// Whether [`cast`] converts between these types: bool, integers of 8 to 64 bits and floats of 16
/// to 64 bits, in any combination.
pub fn castable(from: DType, to: DType) -> bool {
    plain(from) && plain(to)
}

fn plain(dtype: DType) -> bool {
    matches!(
        dtype,
        DType::Bool
            | DType::I8
            | DType::U8
            | DType::I16
            | DType::U16
            | DType::I32
            | DType::U32
            | DType::I64
            | DType::U64
            | DType::F16
            | DType::Bf16
            | DType::F32
            | DType::F64
    )
}

/// Converts the elements of `x` to another type; false (and nothing done) if [`castable`] is false.
///
/// # Panics
/// If the element counts differ or the bytes are misaligned.
pub fn cast(from: DType, x: &[u8], to: DType, out: &mut [u8]) -> bool {
    if !castable(from, to) {
        return false;
    }
    macro_rules! from {
        ($($dtype:ident => $t:ty, $read:expr;)*) => {
            match from {
                $(DType::$dtype => from_values::<$t, _>(numbers(x), to, out, $read),)*
                _ => return false,
            }
        };
    }
    from! {
        Bool => u8, |x| u8::from(x != 0);
        I8 => i8, |x| x;
        U8 => u8, |x| x;
        I16 => i16, |x| x;
        U16 => u16, |x| x;
        I32 => i32, |x| x;
        U32 => u32, |x| x;
        I64 => i64, |x| x;
        U64 => u64, |x| x;
        F16 => u16, f16_to_f32;
        Bf16 => u16, bf16_to_f32;
        F32 => f32, |x| x;
        F64 => f64, |x| x;
    }
    true
}

#[inline(always)]
fn from_values<S: Element, V: Value>(x: &[S], to: DType, out: &mut [u8], read: fn(S) -> V) {
    macro_rules! to {
        ($($dtype:ident => $t:ty, $write:expr;)*) => {
            match to {
                $(DType::$dtype => each::<S, V, $t>(x, numbers_mut(out), read, $write),)*
                _ => {}
            }
        };
    }
    to! {
        Bool => u8, |x: V| u8::from(x.is_true());
        I8 => i8, V::to_i8;
        U8 => u8, V::to_u8;
        I16 => i16, V::to_i16;
        U16 => u16, V::to_u16;
        I32 => i32, V::to_i32;
        U32 => u32, V::to_u32;
        I64 => i64, V::to_i64;
        U64 => u64, V::to_u64;
        F16 => u16, |x: V| f32_to_f16(x.to_f32());
        Bf16 => u16, |x: V| f32_to_bf16(x.to_f32());
        F32 => f32, V::to_f32;
        F64 => f64, V::to_f64;
    }
}

#[inline(always)]
fn each<S: Element, V, T>(x: &[S], out: &mut [T], read: impl Fn(S) -> V, write: impl Fn(V) -> T) {
    assert_eq!(x.len(), out.len(), "elements of input and output");
    out.iter_mut().zip(x).for_each(|(out, &x)| *out = write(read(x)));
}

/// A number that converts as Rust's `as` does.
trait Value: Copy {
    fn is_true(self) -> bool;
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
}

macro_rules! values {
    ($($t:ty),*) => {$(
        #[allow(clippy::unnecessary_cast, reason = "one body for all types")]
        impl Value for $t {
            fn is_true(self) -> bool { self != 0 as $t }
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
        }
    )*};
}

values!(i8, u8, i16, u16, i32, u32, i64, u64, f32, f64);

/// The number that these bits are as IEEE binary16.
#[inline(always)]
pub fn f16_to_f32(bits: u16) -> f32 {
    let sign = u32::from(bits & 0x8000) << 16;
    let rest = u32::from(bits & 0x7fff) << 13;
    // 2^112 moves the exponent from binary16's bias to binary32's and normalizes subnormals.
    let scaled = f32::from_bits(rest) * f32::from_bits(0x7780_0000);
    let special = rest >= 0x7c00 << 13;
    let magnitude = if special { rest | 0x7f80_0000 } else { scaled.to_bits() };
    f32::from_bits(sign | magnitude)
}

/// The bits of the nearest IEEE binary16 number, halves to even.
#[inline(always)]
pub fn f32_to_f16(x: f32) -> u16 {
    let sign = ((x.to_bits() >> 16) & 0x8000) as u16;
    let bits = x.to_bits() & 0x7fff_ffff;
    let rounded = if bits > 0x7f80_0000 {
        0x7e00 | (bits >> 13) & 0x3ff
    } else if bits >= 0x4780_0000 {
        0x7c00
    } else if bits < 0x3880_0000 {
        // Adding 0.5 leaves the subnormal's bits, rounded, at the end of the sum.
        (f32::from_bits(bits) + 0.5).to_bits() - 0x3f00_0000
    } else {
        (bits - 0x3800_0000 + 0xfff + ((bits >> 13) & 1)) >> 13
    };
    sign | rounded as u16
}

/// The number that these bits are as bfloat16.
#[inline(always)]
pub fn bf16_to_f32(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

/// The bits of the nearest bfloat16 number, halves to even.
#[inline(always)]
pub fn f32_to_bf16(x: f32) -> u16 {
    let bits = x.to_bits();
    if x.is_nan() {
        return (bits >> 16) as u16 | 0x40;
    }
    ((bits + 0x7fff + ((bits >> 16) & 1)) >> 16) as u16
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
        check(&[0.1f64], &[0.1f32]);
        check(&[-1.5f32], &[0u8]);
        let mut out = [9u8; 3];
        let x = [0.0f32, -0.5, f32::NAN];
        assert!(cast(DType::F32, bytes_of(&x), DType::Bool, &mut out));
        assert_eq!(out, [0, 1, 1]);
        let mut floats = [0f32; 3];
        assert!(cast(DType::Bool, &[0, 1, 7], DType::F32, bytes_of_mut(&mut floats)));
        assert_eq!(floats, [0.0, 1.0, 1.0]);
        assert!(!cast(DType::Q4K, &[], DType::F32, &mut []));
        assert!(!castable(DType::F32, DType::F8E4m3));
    }

    #[test]
    fn every_16_bit_float_survives_the_way_there_and_back() {
        for bits in 0..=u16::MAX {
            let (half, brain) = (f16_to_f32(bits), bf16_to_f32(bits));
            assert!(half.is_nan() || f32_to_f16(half) == bits, "{bits:x}");
            assert!(brain.is_nan() || f32_to_bf16(brain) == bits, "{bits:x}");
            assert_eq!(half.is_nan(), f16_to_f32(f32_to_f16(half)).is_nan());
            assert_eq!(brain.is_nan(), bf16_to_f32(f32_to_bf16(brain)).is_nan());
        }
    }

    #[test]
    fn halves_between_two_16_bit_floats_go_to_even() {
        for bits in 0..0x7bffu16 {
            let (low, high) = (f16_to_f32(bits), f16_to_f32(bits + 1));
            let middle = ((low as f64 + high as f64) / 2.0) as f32;
            assert_eq!(f32_to_f16(middle), bits + (bits & 1));
            assert_eq!(f32_to_f16(middle.next_up()), bits + 1);
            assert_eq!(f32_to_f16(-middle.next_down()), bits | 0x8000);
        }
        assert_eq!([f32_to_f16(65_519.9), f32_to_f16(65_520.0)], [0x7bff, 0x7c00]);
        assert_eq!(f32_to_bf16(f32::from_bits(0x3f80_8000)), 0x3f80);
        assert_eq!(f32_to_bf16(f32::from_bits(0x3f81_8000)), 0x3f82);
        assert_eq!(f16_to_f32(0x3c00), 1.0);
        assert_eq!(f16_to_f32(1), 2f32.powi(-24));
    }
}
