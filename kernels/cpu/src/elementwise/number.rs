//! The arithmetic that elementwise kernels need of an element type; it never fails.

use aimass_tensor::Element;

/// Number with arithmetic that always has a result.
#[expect(missing_docs, reason = "documented by the variants of `Binary`")]
pub trait Number: Element + PartialEq + PartialOrd {
    fn add(self, other: Self) -> Self;
    fn sub(self, other: Self) -> Self;
    fn mul(self, other: Self) -> Self;
    fn div(self, other: Self) -> Self;
    fn rem(self, other: Self) -> Self;
    fn pow(self, other: Self) -> Self;
    fn max(self, other: Self) -> Self;
    fn min(self, other: Self) -> Self;
}

/// Integer with operations on its bits.
#[expect(missing_docs, reason = "documented by the variants of `BitOp` and `IntUnary`")]
pub trait Integer: Number + Ord {
    /// Smallest value of the type.
    const LOWEST: Self;
    /// Largest value of the type.
    const HIGHEST: Self;
    /// `value`, reduced to the width of the type.
    fn wrapped(value: i64) -> Self;
    fn and(self, other: Self) -> Self;
    fn or(self, other: Self) -> Self;
    fn xor(self, other: Self) -> Self;
    fn shift_left(self, count: Self) -> Self;
    fn shift_right(self, count: Self) -> Self;
    fn negated(self) -> Self;
    fn absolute(self) -> Self;
    fn sign(self) -> Self;
    fn inverted(self) -> Self;
}

macro_rules! floats {
    ($($t:ty),*) => {$(
        impl Number for $t {
            #[inline(always)]
            fn add(self, other: Self) -> Self { self + other }
            #[inline(always)]
            fn sub(self, other: Self) -> Self { self - other }
            #[inline(always)]
            fn mul(self, other: Self) -> Self { self * other }
            #[inline(always)]
            fn div(self, other: Self) -> Self { self / other }
            #[inline(always)]
            fn rem(self, other: Self) -> Self { self % other }
            #[inline(always)]
            fn pow(self, other: Self) -> Self { self.powf(other) }
            #[inline(always)]
            fn max(self, other: Self) -> Self {
                if self > other || self.is_nan() { self } else { other }
            }
            #[inline(always)]
            fn min(self, other: Self) -> Self {
                if self < other || self.is_nan() { self } else { other }
            }
        }
    )*};
}

macro_rules! integers {
    ($($t:ty),*) => {$(
        impl Number for $t {
            #[inline(always)]
            fn add(self, other: Self) -> Self { self.wrapping_add(other) }
            #[inline(always)]
            fn sub(self, other: Self) -> Self { self.wrapping_sub(other) }
            #[inline(always)]
            fn mul(self, other: Self) -> Self { self.wrapping_mul(other) }
            #[inline(always)]
            fn div(self, other: Self) -> Self {
                if other == 0 { 0 } else { self.wrapping_div(other) }
            }
            #[inline(always)]
            fn rem(self, other: Self) -> Self {
                if other == 0 { 0 } else { self.wrapping_rem(other) }
            }
            #[inline(always)]
            #[allow(unused_comparisons, reason = "one body for signed and unsigned")]
            fn pow(self, other: Self) -> Self {
                if other < 0 {
                    return match (self == 1, self.wrapping_add(1) == 0) {
                        (true, _) => 1,
                        (_, true) if other & 1 == 0 => 1,
                        (_, true) => self,
                        (false, false) => 0,
                    };
                }
                let (mut base, mut left, mut power) = (self, other, 1 as $t);
                while left > 0 {
                    if left & 1 == 1 {
                        power = power.wrapping_mul(base);
                    }
                    base = base.wrapping_mul(base);
                    left >>= 1;
                }
                power
            }
            #[inline(always)]
            fn max(self, other: Self) -> Self { Ord::max(self, other) }
            #[inline(always)]
            fn min(self, other: Self) -> Self { Ord::min(self, other) }
        }

        impl Integer for $t {
            const LOWEST: Self = <$t>::MIN;
            const HIGHEST: Self = <$t>::MAX;
            #[inline(always)]
            fn wrapped(value: i64) -> Self { value as $t }
            #[inline(always)]
            fn and(self, other: Self) -> Self { self & other }
            #[inline(always)]
            fn or(self, other: Self) -> Self { self | other }
            #[inline(always)]
            fn xor(self, other: Self) -> Self { self ^ other }
            #[inline(always)]
            fn shift_left(self, count: Self) -> Self {
                u32::try_from(count).ok().and_then(|n| self.checked_shl(n)).unwrap_or(0)
            }
            #[inline(always)]
            #[allow(unused_comparisons, reason = "one body for signed and unsigned")]
            fn shift_right(self, count: Self) -> Self {
                let fill = if self < 0 { self >> (<$t>::BITS - 1) } else { 0 };
                u32::try_from(count).ok().and_then(|n| self.checked_shr(n)).unwrap_or(fill)
            }
            #[inline(always)]
            fn negated(self) -> Self { self.wrapping_neg() }
            #[inline(always)]
            #[allow(unused_comparisons, reason = "one body for signed and unsigned")]
            fn absolute(self) -> Self { if self < 0 { self.wrapping_neg() } else { self } }
            #[inline(always)]
            #[allow(unused_comparisons, reason = "one body for signed and unsigned")]
            fn sign(self) -> Self {
                let positive: $t = if self > 0 { 1 } else { 0 };
                if self < 0 { self | 1 | (0 as $t).wrapping_sub(1) } else { positive }
            }
            #[inline(always)]
            fn inverted(self) -> Self { !self }
        }
    )*};
}

floats!(f32, f64);
integers!(i8, i16, i32, i64, u8, u16, u32, u64);
