//! Discrete Fourier transforms of any length, of complex f32 and f64.
//!
//! Lengths with factors up to 13 are done in stages of these (Stockham, which needs no reordering),
//! other ones as a convolution of such a length (Bluestein). Several transforms run side by side,
//! each with the same operations in the same order whoever its neighbors are.

use crate::level::leveled;
use crate::pool::Team;
use crate::reduce::Lanes;
use aimass_tensor::Element;
use std::ops::{Add, Mul, Neg, Sub};

mod stages;

use stages::Stages;

/// A float that is transformed.
pub trait Float:
    Element + Add<Output = Self> + Sub<Output = Self> + Mul<Output = Self> + Neg<Output = Self>
{
    /// The nearest value.
    fn from_f64(value: f64) -> Self;
}

impl Float for f32 {
    #[inline(always)]
    fn from_f64(value: f64) -> f32 {
        value as f32
    }
}

impl Float for f64 {
    #[inline(always)]
    fn from_f64(value: f64) -> f64 {
        value
    }
}

/// Transforms that run side by side.
const SIDE_BY_SIDE: usize = 16;
/// Numbers that one task works on at once, unless one transform takes more.
const TASK_NUMBERS: usize = 1 << 15;

/// The factors and tables of one length.
pub struct Fourier<T> {
    n: usize,
    stages: Stages<T>,
    /// Of a length with larger factors.
    chirp: Option<Chirp<T>>,
}

/// What turns a transform into a convolution: `w[k] = e^(-i π k² / n)`.
struct Chirp<T> {
    /// `w`, real and imaginary.
    wave: [Vec<T>; 2],
    /// The transform of `1 / w`, over the length of the stages, divided by that length.
    spectrum: [Vec<T>; 2],
}

/// Real and imaginary parts of transforms side by side, and as much to work in.
struct Work<T> {
    parts: [Vec<T>; 2],
    spare: [Vec<T>; 2],
}

impl<T: Float> Work<T> {
    fn new(numbers: usize) -> Work<T> {
        let empty = || [vec![T::default(); numbers], vec![T::default(); numbers]];
        Work { parts: empty(), spare: empty() }
    }
}

impl<T: Float> Fourier<T> {
    /// Factors and tables of length `n`.
    pub fn new(n: usize) -> Fourier<T> {
        if let Some(stages) = Stages::new(n) {
            return Fourier { n, stages, chirp: None };
        }
        let inner = (2 * n - 1).next_power_of_two();
        let stages = Stages::powers_of_two(inner);
        let angle = |k: usize| {
            // k² modulo 2 n, exactly: the wave repeats there.
            let square = (k as u128 * k as u128 % (2 * n as u128)) as f64;
            -std::f64::consts::PI * square / n as f64
        };
        let wave = [
            (0..n).map(|k| T::from_f64(angle(k).cos())).collect(),
            (0..n).map(|k| T::from_f64(angle(k).sin())).collect(),
        ];
        let mut work = Work::new(inner);
        for k in 0..n {
            for at in [k, (inner - k) % inner] {
                work.parts[0][at] = T::from_f64(angle(k).cos() / inner as f64);
                work.parts[1][at] = T::from_f64(-angle(k).sin() / inner as f64);
            }
        }
        stages.run(1, &mut work.parts, &mut work.spare);
        let chirp = Chirp { wave, spectrum: work.parts };
        Fourier { n, stages, chirp: Some(chirp) }
    }

    /// The length.
    pub fn len(&self) -> usize {
        self.n
    }

    /// Whether there is nothing to transform.
    pub fn is_empty(&self) -> bool {
        self.n == 0
    }

    /// Bytes of memory that the tables take.
    pub fn bytes(&self) -> usize {
        let chirp = self.chirp.iter().flat_map(|c| c.wave.iter().chain(&c.spectrum));
        self.stages.bytes() + chirp.map(|table| size_of_val(&table[..])).sum::<usize>()
    }

    /// Transforms `width` columns that lie side by side in `parts`, `[n, width]`.
    fn columns(&self, width: usize, work: &mut Work<T>) {
        let Work { parts, spare } = work;
        let Some(Chirp { wave, spectrum }) = &self.chirp else {
            self.stages.run(width, parts, spare);
            return;
        };
        let used = self.n * width;
        multiply(parts, wave, width);
        parts.iter_mut().for_each(|part| part[used..].fill(T::default()));
        self.stages.run(width, parts, spare);
        multiply(parts, spectrum, width);
        // Backwards is forwards with the parts exchanged.
        parts.swap(0, 1);
        self.stages.run(width, parts, spare);
        parts.swap(0, 1);
        multiply(parts, wave, width);
    }
}

/// Multiplies every row of `width` numbers by its number of the table.
fn multiply<T: Float>(parts: &mut [Vec<T>; 2], table: &[Vec<T>; 2], width: usize) {
    let [real, imaginary] = parts;
    let rows = real.chunks_exact_mut(width).zip(imaginary.chunks_exact_mut(width));
    for ((a, b), (&c, &d)) in rows.zip(table[0].iter().zip(&table[1])) {
        scale_row(a, b, [c, d]);
    }
}

leveled! {
    fn scale_row<T: Float>(a: &mut [T], b: &mut [T], factor: [T; 2]) = {
        let [c, d] = factor;
        for (a, b) in a.iter_mut().zip(b) {
            (*a, *b) = (*a * c - *b * d, *a * d + *b * c);
        }
    };
}

/// Transforms the middle axis of `[outer, n, inner]` complex numbers, pairs of a real and an
/// imaginary part; `inverse` is divided by `n` (ONNX `DFT-17`).
///
/// Transforms are shared out between the threads by `outer`. Scratch: four times the transforms
/// that run side by side.
///
/// # Panics
/// If a slice has another size, or `fourier` is of another length.
pub fn fourier_transform<T: Float>(
    team: Team<'_>,
    fourier: &Fourier<T>,
    lanes: Lanes,
    inverse: bool,
    (x, out): (&[T], &mut [T]),
) {
    let Lanes { n, inner, .. } = lanes;
    assert_eq!(fourier.n, n, "length of the transform");
    assert_eq!((x.len(), out.len()), (2 * lanes.elements(), 2 * lanes.elements()), "numbers");
    if x.is_empty() {
        return;
    }
    let length = fourier.stages.len();
    let width = SIDE_BY_SIDE.min((TASK_NUMBERS / length).max(1));
    // Backwards is forwards with the parts exchanged.
    let real_part = usize::from(inverse);
    let factor = T::from_f64(if inverse { 1.0 / n as f64 } else { 1.0 });
    // Where column `i`, element `k` of a task is, for neighbors along `outer` or along `inner`.
    let (task, along_outer) =
        if inner == 1 { (width * n * 2, true) } else { (n * inner * 2, false) };
    team.chunks([out], [task], &|index, [out]| {
        let x = &x[index * task..][..out.len()];
        let columns = out.len() / (2 * n);
        let (step, next) = if along_outer { (n, 1) } else { (1, inner) };
        let mut work = Work::new(length * width.min(columns));
        for first in (0..columns).step_by(width) {
            let count = width.min(columns - first);
            let at = |i: usize, k: usize| 2 * ((first + i) * step + k * next);
            let [real, imaginary] = &mut work.parts;
            for k in 0..n {
                for i in 0..count {
                    let pair = [x[at(i, k)], x[at(i, k) + 1]];
                    real[k * count + i] = pair[real_part];
                    imaginary[k * count + i] = pair[1 - real_part];
                }
            }
            let used = length * count;
            work.parts.iter_mut().chain(&mut work.spare).for_each(|part| part.truncate(used));
            fourier.columns(count, &mut work);
            for k in 0..n {
                for i in 0..count {
                    let to = at(i, k);
                    out[to + real_part] = work.parts[0][k * count + i] * factor;
                    out[to + 1 - real_part] = work.parts[1][k * count + i] * factor;
                }
            }
        }
    });
}

#[cfg(test)]
mod tests;
