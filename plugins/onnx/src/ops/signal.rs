//! Fourier transforms.

use super::reduce::is_half;
use super::{Table, one};
use crate::content::{number_tensor, scalar};
use crate::emit::Emitter;
use crate::node::{Cx, Inputs, axis_of};
use crate::value::{Extent, R, T, Value, invalid};
use aimass_sdk::DType;

pub(super) const TABLE: Table = &[("DFT", dft), ("STFT", stft)];

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
    // Parts of a spectrum that cancel out are 0, and not the rounding of the others.
    let wider = cx.cast(x, DType::F64)?;
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
    if length <= 2 {
        return Ok(x.clone());
    }
    let mirrored = cx.slice(x, axis, (1, length - length / 2), 1)?;
    let mirrored = cx.reverse(&mirrored, axis)?;
    let conjugate = number_tensor(x.dtype, &[2], &[1.0, -1.0])?;
    let mirrored = cx.mul(&mirrored, &conjugate)?;
    cx.concat(&[x, &mirrored], axis)
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
    let (frame, place) = super::pattern::index_grid(cx, frames, length)?;
    let starts = cx.mul_number(&frame, step as f64)?;
    let places = cx.add(&starts, &place)?;
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
