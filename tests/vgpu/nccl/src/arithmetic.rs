//! Reductions over ranks.

use half::{bf16, f16};

use crate::operation::{Element, Reduction};

/// A number that reductions combine.
trait Number: Copy {
    /// Bytes of one.
    const BYTES: usize;

    fn read(bytes: &[u8]) -> Self;
    fn write(self, to: &mut Vec<u8>);
    fn add(self, other: Self) -> Self;
    fn multiply(self, other: Self) -> Self;
    fn larger(self, other: Self) -> Self;
    fn smaller(self, other: Self) -> Self;
    /// What is added of each rank for an average over `ranks`.
    fn share(self, ranks: usize) -> Self;
    /// What becomes of the sum of the shares.
    fn finish(self, ranks: usize) -> Self;
}

macro_rules! little_endian {
    ($ty:ty) => {
        const BYTES: usize = size_of::<$ty>();

        fn read(bytes: &[u8]) -> Self {
            Self::from_le_bytes(bytes.try_into().unwrap_or_default())
        }
        fn write(self, to: &mut Vec<u8>) {
            to.extend(self.to_le_bytes());
        }
    };
}

macro_rules! integers {
    ($($ty:ty),*) => {$(
        impl Number for $ty {
            little_endian!($ty);

            fn add(self, other: Self) -> Self {
                self.wrapping_add(other)
            }
            fn multiply(self, other: Self) -> Self {
                self.wrapping_mul(other)
            }
            fn larger(self, other: Self) -> Self {
                self.max(other)
            }
            fn smaller(self, other: Self) -> Self {
                self.min(other)
            }
            fn share(self, _: usize) -> Self {
                self
            }
            fn finish(self, ranks: usize) -> Self {
                // Ranks that an 8-bit number cannot count are more than a process has.
                <$ty>::try_from(ranks).map_or(0, |ranks| self.wrapping_div(ranks))
            }
        }
    )*};
}

integers!(i8, u8, i32, u32, i64, u64);

macro_rules! floats {
    ($($ty:ty, $wide:ty, $from:expr, $to:expr;)*) => {$(
        impl Number for $ty {
            little_endian!($ty);

            fn add(self, other: Self) -> Self {
                $from($to(self) + $to(other))
            }
            fn multiply(self, other: Self) -> Self {
                $from($to(self) * $to(other))
            }
            fn larger(self, other: Self) -> Self {
                $from($to(self).max($to(other)))
            }
            fn smaller(self, other: Self) -> Self {
                $from($to(self).min($to(other)))
            }
            fn share(self, ranks: usize) -> Self {
                self.multiply($from(1.0 / ranks as $wide))
            }
            fn finish(self, _: usize) -> Self {
                self
            }
        }
    )*};
}

floats! {
    f32, f32, f32::from, f32::from;
    f64, f64, f64::from, f64::from;
    f16, f32, f16::from_f32, f16::to_f32;
    bf16, f32, bf16::from_f32, bf16::to_f32;
}

fn combined<T: Number>(reduction: Reduction, contributions: &[&[u8]]) -> Vec<u8> {
    let ranks = contributions.len();
    let bytes = contributions.first().map_or(0, |first| first.len());
    let mut result = Vec::with_capacity(bytes);
    for place in (0..bytes).step_by(T::BYTES) {
        let mut each = contributions.iter().map(|one| {
            let own = T::read(&one[place..place + T::BYTES]);
            if reduction == Reduction::Average { own.share(ranks) } else { own }
        });
        let Some(first) = each.next() else { break };
        let sum = each.fold(first, |sum, own| match reduction {
            Reduction::Sum | Reduction::Average => sum.add(own),
            Reduction::Product => sum.multiply(own),
            Reduction::Maximum => sum.larger(own),
            Reduction::Minimum => sum.smaller(own),
        });
        let sum = if reduction == Reduction::Average { sum.finish(ranks) } else { sum };
        sum.write(&mut result);
    }
    result
}

/// Combines what ranks gave, which is of one length, element by element in the order of ranks; each
/// step is rounded to the type. Integers wrap; their average is the sum divided, towards zero.
pub(crate) fn reduce(element: Element, reduction: Reduction, contributions: &[&[u8]]) -> Vec<u8> {
    let combined = match element {
        Element::I8 => combined::<i8>,
        Element::U8 => combined::<u8>,
        Element::I32 => combined::<i32>,
        Element::U32 => combined::<u32>,
        Element::I64 => combined::<i64>,
        Element::U64 => combined::<u64>,
        Element::F16 => combined::<f16>,
        Element::F32 => combined::<f32>,
        Element::F64 => combined::<f64>,
        Element::Bf16 => combined::<bf16>,
    };
    combined(reduction, contributions)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check<T: Number>(element: Element, reduction: Reduction, ranks: &[T], expected: T) {
        let bytes = |one: T| {
            let mut bytes = Vec::new();
            one.write(&mut bytes);
            bytes
        };
        let own: Vec<Vec<u8>> = ranks.iter().map(|rank| bytes(*rank)).collect();
        let own: Vec<&[u8]> = own.iter().map(Vec::as_slice).collect();
        assert_eq!(reduce(element, reduction, &own), bytes(expected), "{element:?} {reduction:?}");
    }

    #[test]
    fn integers_wrap_and_averages_are_cut_towards_zero() {
        check(Element::I8, Reduction::Sum, &[100i8, 100], -56);
        check(Element::U8, Reduction::Product, &[20u8, 20], 144);
        check(Element::I32, Reduction::Average, &[-4, -3], -3);
        check(Element::I64, Reduction::Maximum, &[i64::MIN, -7, -8], -7);
        check(Element::U64, Reduction::Minimum, &[u64::MAX, 9, 10], 9);
        check(Element::U32, Reduction::Average, &[7u32, 1, 2], 3);
    }

    #[test]
    fn every_step_of_floats_is_rounded() {
        let half = f16::from_f32;
        // 2048 + 1 is 2048 in f16, twice; the sum of the two ones would be 2050.
        check(Element::F16, Reduction::Sum, &[half(2048.0), half(1.0), half(1.0)], half(2048.0));
        check(Element::F32, Reduction::Average, &[1.0f32, 2.0, 4.0, 9.0], 4.0);
        check(Element::F64, Reduction::Product, &[0.5f64, -3.0], -1.5);
        let brain = bf16::from_f32;
        check(Element::Bf16, Reduction::Minimum, &[brain(3.0), brain(-2.0)], brain(-2.0));
    }
}
