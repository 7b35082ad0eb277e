//! Between floats and integers with a scale and a zero point (ONNX `QuantizeLinear-13` and
//! `DequantizeLinear-13`).

use crate::level::leveled;
use crate::pool::Team;
use crate::reduce::Lanes;
use aimass_tensor::Element;

/// Integer that a quantized tensor is made of.
pub trait Quantum: Element {
    /// `saturate(round(x) + zero)`, halves to even; NaN counts as 0.
    fn quantized(x: f32, zero: Self) -> Self;
    /// `self - zero` as a float, rounded once.
    fn difference(self, zero: Self) -> f32;
}

/// Adding this rounds a float of less than 2^22 to a whole number, which its low bits then hold.
const ROUNDER: f32 = 12_582_912.0;
/// Beyond every integer of 16 bits less a zero point of 16 bits.
const BOUND: f32 = 1_048_576.0;

macro_rules! short {
    ($($t:ty),*) => {$(
        impl Quantum for $t {
            #[inline(always)]
            fn quantized(x: f32, zero: Self) -> Self {
                // A conversion that saturates is not done in vectors; within these bounds, which no zero
                // point brings into range, the low bits of a sum with `ROUNDER` are the rounded number.
                let x = if x.is_nan() { 0.0 } else { x };
                let x = if x < -BOUND { -BOUND } else { x };
                let x = if x > BOUND { BOUND } else { x };
                let rounded = (x + ROUNDER).to_bits() as i32 - ROUNDER.to_bits() as i32;
                (rounded + zero as i32).clamp(<$t>::MIN as i32, <$t>::MAX as i32) as $t
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
    fn quantized(x: f32, zero: Self) -> Self {
        let sum = (x.round_ties_even() as i64).saturating_add(i64::from(zero));
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

/// `saturate(round(x / scale) + zero)`, halves to even; in parts on the threads of the team.
///
/// # Panics
/// If a slice has another size than `scaling` says.
pub fn quantize<T: Quantum>(team: Team<'_>, scaling: Scaling<'_, T>, x: &[f32], out: &mut [T]) {
    scaling.check(x.len(), out.len());
    in_parts(team, scaling.lanes, out, &|lanes, start, out| {
        quantize_part(Scaling { lanes, ..scaling }, &x[start..][..out.len()], out);
    });
}

/// `(x - zero) * scale`; in parts on the threads of the team.
///
/// # Panics
/// If a slice has another size than `scaling` says.
pub fn dequantize<T: Quantum>(team: Team<'_>, scaling: Scaling<'_, T>, x: &[T], out: &mut [f32]) {
    scaling.check(x.len(), out.len());
    in_parts(team, scaling.lanes, out, &|lanes, start, out| {
        dequantize_part(Scaling { lanes, ..scaling }, &x[start..][..out.len()], out);
    });
}

/// Elements of one part.
const PART: usize = 1 << 15;

/// Calls `work(lanes of the part, its first element, its output)` for parts of whole lanes, or of
/// any elements if all have one scale.
fn in_parts<T: Send>(
    team: Team<'_>,
    lanes: Lanes,
    out: &mut [T],
    work: &(dyn Fn(Lanes, usize, &mut [T]) + Sync),
) {
    let Lanes { n, inner, .. } = lanes;
    if out.is_empty() {
        return;
    }
    let unit = if n == 1 { 1 } else { n * inner };
    let part = PART.div_ceil(unit) * unit;
    team.chunks([out], [part], &|index, [out]| {
        let lanes = match n {
            1 => Lanes { outer: 1, n, inner: out.len() },
            _ => Lanes { outer: out.len() / unit, n, inner },
        };
        work(lanes, index * part, out);
    });
}

leveled! {
    fn quantize_part<T: Quantum>(scaling: Scaling<'_, T>, x: &[f32], out: &mut [T])
        = quantize_body(scaling, x, out);
}

#[inline(always)]
fn quantize_body<T: Quantum>(scaling: Scaling<'_, T>, x: &[f32], out: &mut [T]) {
    scaling.visit(x, out, |x: f32, scale, zero| T::quantized(x / scale, zero));
}

leveled! {
    fn dequantize_part<T: Quantum>(scaling: Scaling<'_, T>, x: &[T], out: &mut [f32])
        = dequantize_body(scaling, x, out);
}

#[inline(always)]
fn dequantize_body<T: Quantum>(scaling: Scaling<'_, T>, x: &[T], out: &mut [f32]) {
    scaling.visit(x, out, |x: T, scale, zero| x.difference(zero) * scale);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::level::for_each_level;
    use crate::pool::KernelPool;

    fn whole<'a, T>(n: usize, scale: &'a [f32], zeros: Option<&'a [T]>) -> Scaling<'a, T> {
        Scaling { lanes: Lanes { outer: 1, n: 1, inner: n }, scales: scale, zeros }
    }

    #[test]
    fn rounds_halves_to_even_and_saturates() {
        for_each_level(|_| {
            let x = [0.5, 1.5, 2.5, -0.5, -1.5, 1e9, -1e9, f32::NAN, f32::INFINITY, -f32::INFINITY];
            let mut bytes = [0u8; 10];
            quantize(Team::alone(), whole(10, &[1.0], Some(&[3])), &x, &mut bytes);
            assert_eq!(bytes, [3, 5, 5, 3, 1, 255, 0, 3, 255, 0]);
            let mut words = [0i32; 10];
            quantize(Team::alone(), whole(10, &[0.25], Some(&[-5])), &x, &mut words);
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
        quantize(Team::alone(), scaling, &x, &mut out);
        assert_eq!(out, [0, 1, 2, 7, 9, 11, 6, 7, 8, 19, 21, 23]);
        let mut back = [0f32; 12];
        dequantize(Team::alone(), scaling, &out, &mut back);
        assert_eq!(back[..], x[..]);
        let last = Scaling { lanes: Lanes { outer: 6, n: 2, inner: 1 }, ..scaling };
        dequantize(Team::alone(), Scaling { zeros: None, ..last }, &out, &mut back);
        assert_eq!(back[..4], [0.0, 0.5, 2.0, 3.5]);
    }

    #[test]
    fn parts_are_those_of_the_whole() {
        let pool = KernelPool::new(3);
        let x: Vec<f32> = (0..3 * PART).map(|i| (i % 1000) as f32 / 7.0).collect();
        let scales: Vec<f32> = (1..=48).map(|i| i as f32 / 8.0).collect();
        for (outer, n, inner) in [(1, 1, 3 * PART), (PART / 16, 48, 1), (48, 16, PART / 256)] {
            let lanes = Lanes { outer, n, inner };
            let scaling = Scaling::<u8> { lanes, scales: &scales[..n], zeros: None };
            let (mut alone, mut shared) = (vec![0; x.len()], vec![0; x.len()]);
            quantize(Team::alone(), scaling, &x, &mut alone);
            quantize(pool.team(3), scaling, &x, &mut shared);
            assert_eq!(alone, shared);
            let at = 2 * PART + 77;
            let scale = scales[at / inner % n];
            let want = (x[at] / scale).round_ties_even().min(255.0);
            assert_eq!(f32::from(shared[at]), want);
        }
    }

    #[test]
    fn differences_of_large_integers_do_not_overflow() {
        let mut out = [0f32];
        dequantize(Team::alone(), whole(1, &[1.0], Some(&[i32::MIN])), &[i32::MAX], &mut out);
        assert_eq!(out, [4_294_967_300.0]);
    }
}
