//! Fourier transforms.

use super::reduce::is_half;
use super::{Table, one};
use crate::content::{int_vector, number_tensor, scalar};
use crate::emit::Emitter;
use crate::node::{Cx, Inputs, axis_of};
use crate::value::{Extent, R, T, Value, invalid};
use aimass_sdk::DType;
use std::f64::consts::PI;

pub(super) const TABLE: Table = &[("DFT", dft), ("STFT", stft)];

/// Lengths up to which a transform is one product with a matrix.
const MATRIX_MAX: u64 = 512;
/// Longest transform.
const LENGTH_MAX: u64 = 1 << 24;
/// Samples of all frames together.
const FRAMES_MAX: u64 = 1 << 26;

/// What a transform does.
#[derive(Clone, Copy)]
struct Transform {
    /// Length of the signal, or of its whole spectrum.
    length: u64,
    inverse: bool,
    /// Only half of a symmetric spectrum is there.
    one_sided: bool,
}

fn length_of(cx: &mut Emitter, length: &T) -> R<u64> {
    let length = cx.int(length)?;
    let fits = u64::try_from(length).ok().filter(|length| (1..=LENGTH_MAX).contains(length));
    fits.ok_or_else(|| invalid(format!("expected a length of 1 to {LENGTH_MAX}, got {length}")))
}

fn dft(cx: &mut Cx<'_>, inputs: Inputs<'_>) -> R<Vec<Value>> {
    let x = inputs.tensor(0)?;
    let axis_input = inputs.tensor_opt(2)?;
    let given: Vec<&T> = [inputs.tensor_opt(1)?, axis_input].into_iter().flatten().collect();
    cx.observe(&given)?;
    let axis = match axis_input {
        Some(axis) => cx.int(axis)?,
        None => cx.attr_int("axis", if cx.opset < 20 { 1 } else { -2 })?,
    };
    let axis = axis_of(axis, x.rank())?;
    if axis + 1 >= x.rank() {
        return Err(invalid("expected an axis before the one of real and imaginary parts"));
    }
    let (inverse, one_sided) = (cx.attr_flag("inverse")?, cx.attr_flag("onesided")?);
    let own = x.extent(axis)?;
    let length = match inputs.tensor_opt(1)? {
        Some(length) => length_of(cx, length)?,
        None if inverse && one_sided => 2 * own.saturating_sub(1),
        None => own,
    };
    let transform = Transform { length, inverse, one_sided };
    let wide = if is_half(x.dtype) { DType::F32 } else { x.dtype };
    let wider = cx.cast(x, wide)?;
    let y = transformed(cx, &wider, axis, transform)?;
    one(cx.cast(&y, x.dtype)?)
}

/// The transform along `axis` of [.., parts] to [.., 2], or to [.., 1] of half a spectrum's inverse.
fn transformed(cx: &mut Emitter, x: &T, axis: usize, transform: Transform) -> R<T> {
    let Transform { length, inverse, one_sided } = transform;
    let parts = x.extent(x.rank() - 1)?;
    if parts != 1 && parts != 2 {
        return Err(invalid(format!("last axis: expected 1 or 2 parts, got {parts}")));
    }
    if length == 0 || length > LENGTH_MAX {
        return Err(invalid(format!("expected a length of 1 to {LENGTH_MAX}, got {length}")));
    }
    let half = length / 2 + 1;
    let needed = if inverse && one_sided { half } else { length };
    let x = fit(cx, x, axis, needed)?;
    let wanted = if one_sided && !inverse { half } else { length };
    if length <= MATRIX_MAX {
        return by_matrix(cx, &x, axis, (wanted, transform));
    }
    let mut x = complex(cx, &x)?;
    if inverse && one_sided {
        x = whole_spectrum(cx, &x, axis, length)?;
    }
    let y = cx.fft(&x, axis, inverse)?;
    let y = cx.slice(&y, axis, (0, wanted), 1)?;
    match inverse && one_sided {
        true => cx.slice(&y, y.rank() - 1, (0, 1), 1),
        false => Ok(y),
    }
}

/// Cuts or fills up with zeros.
fn fit(cx: &mut Emitter, x: &T, axis: usize, extent: u64) -> R<T> {
    let own = x.extent(axis)?;
    if own >= extent {
        return cx.slice(x, axis, (0, extent), 1);
    }
    let mut dims = x.dims.clone();
    dims[axis] = Extent::Fixed(extent - own);
    let zeros = cx.broadcast(&scalar(x.dtype, 0.0)?, &dims)?;
    cx.concat(&[x, &zeros], axis)
}

/// Adds imaginary parts of 0 to a real signal.
fn complex(cx: &mut Emitter, x: &T) -> R<T> {
    let parts = x.rank() - 1;
    if x.extent(parts)? == 2 {
        return Ok(x.clone());
    }
    let zeros = cx.broadcast(&scalar(x.dtype, 0.0)?, &x.dims)?;
    cx.concat(&[x, &zeros], parts)
}

/// The other half of a symmetric spectrum: conjugates in reverse.
fn whole_spectrum(cx: &mut Emitter, x: &T, axis: usize, length: u64) -> R<T> {
    let mirrored = cx.slice(x, axis, (1, length - length / 2), 1)?;
    let mirrored = cx.reverse(&mirrored, axis)?;
    let conjugate = number_tensor(x.dtype, &[2], &[1.0, -1.0])?;
    let mirrored = cx.mul(&mirrored, &conjugate)?;
    cx.concat(&[x, &mirrored], axis)
}

/// The matrix from [places, parts] to [frequencies, parts] (or the other way round), as a rank-4
/// table of `from`, `parts`, `to` and `to_parts`.
fn matrix(from: u64, parts: u64, to: (u64, u64), transform: Transform) -> Vec<f64> {
    let Transform { length, inverse, one_sided } = transform;
    let sign = if inverse { 1.0 } else { -1.0 };
    let scale = if inverse { 1.0 / length as f64 } else { 1.0 };
    let mut table = Vec::new();
    for place in 0..from {
        // Frequencies of half a spectrum count for their mirror images, too.
        let alone = place == 0 || (length % 2 == 0 && place == length / 2);
        let weight = if inverse && one_sided && !alone { 2.0 * scale } else { scale };
        for part in 0..parts {
            for frequency in 0..to.0 {
                let turn = (place * frequency % length) as f64 / length as f64;
                let (sin, cos) = (2.0 * PI * turn).sin_cos();
                let (real, imaginary) = (weight * cos, weight * sign * sin);
                match part {
                    0 => table.extend([real, imaginary].iter().take(to.1 as usize)),
                    _ => table.extend([-imaginary, real].iter().take(to.1 as usize)),
                }
            }
        }
    }
    table
}

fn by_matrix(cx: &mut Emitter, x: &T, axis: usize, (to, transform): (u64, Transform)) -> R<T> {
    let (from, parts) = (x.extent(axis)?, x.extent(x.rank() - 1)?);
    let to_parts = if transform.inverse && transform.one_sided { 1 } else { 2 };
    let table = matrix(from, parts, (to, to_parts), transform);
    let table = number_tensor(x.dtype, &[from * parts, to * to_parts], &table)?;
    // The axis goes next to the parts, and both become one.
    let rank = x.rank();
    let others = (0..rank - 1).filter(|&own| own != axis);
    let there: Vec<usize> = others.chain([axis, rank - 1]).collect();
    let mut back = vec![0; rank];
    for (at, &own) in there.iter().enumerate() {
        back[own] = at;
    }
    let moved = cx.transpose(x, &there)?;
    let mut dims = moved.dims[..rank - 2].to_vec();
    dims.push(Extent::Fixed(from * parts));
    if dims.len() == 1 {
        dims.insert(0, Extent::Fixed(1));
    }
    let flat = cx.reshape(&moved, &dims)?;
    let flat = cx.linear(&flat, &table, None, false)?;
    let mut dims = moved.dims[..rank - 2].to_vec();
    dims.extend([Extent::Fixed(to), Extent::Fixed(to_parts)]);
    let y = cx.reshape(&flat, &dims)?;
    cx.transpose(&y, &back)
}

fn stft(cx: &mut Cx<'_>, inputs: Inputs<'_>) -> R<Vec<Value>> {
    let (signal, step) = (inputs.tensor(0)?, inputs.tensor(1)?);
    let (window, length) = (inputs.tensor_opt(2)?, inputs.tensor_opt(3)?);
    let given: Vec<&T> = [Some(step), length].into_iter().flatten().collect();
    cx.observe(&given)?;
    let step = length_of(cx, step)?;
    if !(2..=3).contains(&signal.rank()) {
        return Err(invalid(format!(
            "expected [batch, length, parts], got rank {}",
            signal.rank()
        )));
    }
    let signal = if signal.rank() == 2 { cx.unsqueeze(signal, 2)? } else { signal.clone() };
    let length = match (length, window) {
        (Some(length), _) => length_of(cx, length)?,
        (None, Some(window)) => window.extent(0)?,
        (None, None) => signal.extent(1)?,
    };
    let Some(room) = signal.extent(1)?.checked_sub(length) else {
        let own = signal.extent(1)?;
        return Err(invalid(format!("expected a signal of at least {length} samples, got {own}")));
    };
    let frames = room / step + 1;
    if frames.saturating_mul(length) > FRAMES_MAX {
        return Err(invalid(format!("expected fewer than {frames} frames of {length}")));
    }
    let starts = cx.count_up(frames)?;
    let starts = cx.mul(&starts, &int_vector(&[step as i64]))?;
    let starts = cx.unsqueeze(&starts, 1)?;
    let places = cx.count_up(length)?;
    let places = cx.add(&starts, &places)?;
    let wide = if is_half(signal.dtype) { DType::F32 } else { signal.dtype };
    let wider = cx.cast(&signal, wide)?;
    let mut framed = cx.gather(&wider, &places, 1)?;
    if let Some(window) = window {
        let window = cx.cast(window, wide)?;
        let window = cx.unsqueeze(&window, 1)?;
        framed = cx.mul(&framed, &window)?;
    }
    let one_sided = cx.attr_int("onesided", 1)? != 0;
    let transform = Transform { length, inverse: false, one_sided };
    let y = transformed(cx, &framed, 2, transform)?;
    one(cx.cast(&y, signal.dtype)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn apply(x: &[f64], parts: u64, to: (u64, u64), transform: Transform) -> Vec<f64> {
        let from = x.len() as u64 / parts;
        let (table, columns) = (matrix(from, parts, to, transform), (to.0 * to.1) as usize);
        let column = |at| x.iter().enumerate().map(|(row, x)| x * table[row * columns + at]).sum();
        (0..columns).map(column).collect()
    }

    #[test]
    fn half_a_spectrum_gives_the_real_signal_back() {
        for length in [1u64, 2, 5, 8] {
            let signal: Vec<f64> = (0..length).map(|at| (at * at % 7) as f64 - 2.0).collect();
            let half = length / 2 + 1;
            let there = Transform { length, inverse: false, one_sided: true };
            let spectrum = apply(&signal, 1, (half, 2), there);
            let back = apply(&spectrum, 2, (length, 1), Transform { inverse: true, ..there });
            for (x, y) in signal.iter().zip(back) {
                assert!((x - y).abs() < 1e-12, "{length}: {x} {y}");
            }
        }
    }

    #[test]
    fn a_complex_signal_comes_back() {
        let signal = [1.0, -2.0, 0.5, 3.0, 0.0, 1.0];
        let there = Transform { length: 3, inverse: false, one_sided: false };
        let spectrum = apply(&signal, 2, (3, 2), there);
        assert!((spectrum[0] - 1.5).abs() < 1e-12 && (spectrum[1] - 2.0).abs() < 1e-12);
        let back = apply(&spectrum, 2, (3, 2), Transform { inverse: true, ..there });
        for (x, y) in signal.iter().zip(back) {
            assert!((x - y).abs() < 1e-12);
        }
    }
}
