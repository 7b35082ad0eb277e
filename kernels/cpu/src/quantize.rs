//! Between floats and integers with a scale and a zero point (ONNX `QuantizeLinear-13` and
//! `DequantizeLinear-13`).

use crate::level::leveled;
use crate::reduce::Lanes;
use aimass_tensor::Element;

/// Integer that a quantized tensor is made of.
pub trait Quantum: Element {
    /// `saturate(rounded + zero)`; NaN counts as 0.
    fn quantized(rounded: f32, zero: Self) -> Self;
    /// `self - zero` as a float, rounded once.
    fn difference(self, zero: Self) -> f32;
}

macro_rules! short {
    ($($t:ty),*) => {$(
        impl Quantum for $t {
            #[inline(always)]
            fn quantized(rounded: f32, zero: Self) -> Self {
                // Wide enough that adding a zero point cannot overflow.
                let limited = (rounded as i32).clamp(-(1 << 20), 1 << 20);
                (limited + zero as i32).clamp(<$t>::MIN as i32, <$t>::MAX as i32) as $t
            }

            #[inline(always)]
            fn difference(self, zero: Self) -> f32 {
                (self as i32 - zero as i32) as f32
            }
        }
    )*};
}

short!(i8, u8, i16, u16);

impl Quantum for i32 {
    #[inline(always)]
    fn quantized(rounded: f32, zero: Self) -> Self {
        let sum = (rounded as i64).saturating_add(i64::from(zero));
        sum.clamp(i64::from(i32::MIN), i64::from(i32::MAX)) as i32
    }

    #[inline(always)]
    fn difference(self, zero: Self) -> f32 {
        (i64::from(self) - i64::from(zero)) as f32
    }
}

/// Scales and zero points: one of each for every index of the middle axis of `[outer, n, inner]`.
#[derive(Clone, Copy, Debug)]
pub struct Scaling<'a, T> {
    /// Which axis they belong to; an axis of 1 for a whole tensor.
    pub lanes: Lanes,
    /// `[n]`.
    pub scales: &'a [f32],
    /// `[n]`, or none for zeros.
    pub zeros: Option<&'a [T]>,
}

impl<'a, T: Quantum> Scaling<'a, T> {
    fn check(&self, x: usize, out: usize) {
        let Lanes { n, .. } = self.lanes;
        assert_eq!((x, out), (self.lanes.elements(), self.lanes.elements()), "elements");
        assert_eq!(self.scales.len(), n, "scales");
        assert!(self.zeros.is_none_or(|zeros| zeros.len() == n), "zero points of {n}");
    }

    #[inline(always)]
    fn zero(&self, index: usize) -> T {
        self.zeros.map_or(T::default(), |zeros| zeros[index])
    }

    /// Converts every element with the scale and the zero point of its index.
    #[inline(always)]
    fn visit<A: Copy, B>(&self, x: &[A], out: &mut [B], convert: impl Fn(A, f32, T) -> B + Copy) {
        let Lanes { n, inner, .. } = self.lanes;
        if x.is_empty() {
            return;
        }
        if inner == 1 {
            for (x, out) in x.chunks_exact(n).zip(out.chunks_exact_mut(n)) {
                match self.zeros {
                    Some(zeros) => {
                        for (i, (out, &x)) in out.iter_mut().zip(x).enumerate() {
                            *out = convert(x, self.scales[i], zeros[i]);
                        }
                    }
                    None => {
                        for ((out, &x), &scale) in out.iter_mut().zip(x).zip(self.scales) {
                            *out = convert(x, scale, T::default());
                        }
                    }
                }
            }
            return;
        }
        for (index, (x, out)) in x.chunks_exact(inner).zip(out.chunks_exact_mut(inner)).enumerate()
        {
            let (scale, zero) = (self.scales[index % n], self.zero(index % n));
            out.iter_mut().zip(x).for_each(|(out, &x)| *out = convert(x, scale, zero));
        }
    }
}

leveled! {
    /// `saturate(round(x / scale) + zero)`, halves to even.
    ///
    /// # Panics
    /// If a slice has another size than `scaling` says.
    pub fn quantize<T: Quantum>(scaling: Scaling<'_, T>, x: &[f32], out: &mut [T])
        = quantize_body(scaling, x, out);
}

#[inline(always)]
fn quantize_body<T: Quantum>(scaling: Scaling<'_, T>, x: &[f32], out: &mut [T]) {
    scaling.check(x.len(), out.len());
    scaling.visit(x, out, |x: f32, scale, zero| T::quantized((x / scale).round_ties_even(), zero));
}

leveled! {
    /// `(x - zero) * scale`.
    ///
    /// # Panics
    /// If a slice has another size than `scaling` says.
    pub fn dequantize<T: Quantum>(scaling: Scaling<'_, T>, x: &[T], out: &mut [f32])
        = dequantize_body(scaling, x, out);
}

#[inline(always)]
fn dequantize_body<T: Quantum>(scaling: Scaling<'_, T>, x: &[T], out: &mut [f32]) {
    scaling.check(x.len(), out.len());
    scaling.visit(x, out, |x: T, scale, zero| x.difference(zero) * scale);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::level::for_each_level;

    fn whole<'a, T>(n: usize, scale: &'a [f32], zeros: Option<&'a [T]>) -> Scaling<'a, T> {
        Scaling { lanes: Lanes { outer: 1, n: 1, inner: n }, scales: scale, zeros }
    }

    #[test]
    fn rounds_halves_to_even_and_saturates() {
        for_each_level(|_| {
            let x = [0.5, 1.5, 2.5, -0.5, -1.5, 1e9, -1e9, f32::NAN, f32::INFINITY, -f32::INFINITY];
            let mut bytes = [0u8; 10];
            quantize(whole(10, &[1.0], Some(&[3])), &x, &mut bytes);
            assert_eq!(bytes, [3, 5, 5, 3, 1, 255, 0, 3, 255, 0]);
            let mut words = [0i32; 10];
            quantize(whole(10, &[0.25], Some(&[-5])), &x, &mut words);
            let (most, least) = (i32::MAX, i32::MIN);
            assert_eq!(words, [-3, 1, 5, -7, -11, most, least, -5, most, least]);
        });
    }

    #[test]
    fn scales_belong_to_their_axis() {
        let lanes = Lanes { outer: 2, n: 2, inner: 3 };
        let scaling = Scaling { lanes, scales: &[1.0, 0.5], zeros: Some(&[0i8, 1]) };
        let x: Vec<f32> = (0..12).map(|i| i as f32).collect();
        let mut out = [0i8; 12];
        quantize(scaling, &x, &mut out);
        assert_eq!(out, [0, 1, 2, 7, 9, 11, 6, 7, 8, 19, 21, 23]);
        let mut back = [0f32; 12];
        dequantize(scaling, &out, &mut back);
        assert_eq!(back[..], x[..]);
        let last = Scaling { lanes: Lanes { outer: 6, n: 2, inner: 1 }, ..scaling };
        dequantize(Scaling { zeros: None, ..last }, &out, &mut back);
        assert_eq!(back[..4], [0.0, 0.5, 2.0, 3.5]);
    }

    #[test]
    fn differences_of_large_integers_do_not_overflow() {
        let mut out = [0f32];
        dequantize(whole(1, &[1.0], Some(&[i32::MIN])), &[i32::MAX], &mut out);
        assert_eq!(out, [4_294_967_300.0]);
    }
}
