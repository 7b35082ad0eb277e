//! Operators that make a tensor from a rule: ranges, diagonals, windows and filters.

use super::{Table, one};
use crate::content::{encode, int_tensor, number_tensor};
use crate::emit::Emitter;
use crate::node::{Cx, Inputs};
use crate::proto::ElementType;
use crate::value::{Extent, R, T, TensorValue, Value, invalid, unsupported};
use aimass_sdk::DType;
use std::f64::consts::PI;

pub(super) const TABLE: Table = &[
    ("BlackmanWindow", |cx, x| {
        window(cx, x, |t| 0.42 - 0.5 * (2.0 * PI * t).cos() + 0.08 * (4.0 * PI * t).cos())
    }),
    ("EyeLike", eye_like),
    ("HammingWindow", |cx, x| window(cx, x, |t| 25.0 / 46.0 - 21.0 / 46.0 * (2.0 * PI * t).cos())),
    ("HannWindow", |cx, x| window(cx, x, |t| (PI * t).sin().powi(2))),
    ("MelWeightMatrix", mel_weight_matrix),
    ("Range", range),
    ("Trilu", trilu),
];

/// Elements that are written out here; longer patterns are computed by the host.
const WRITTEN_MAX: u64 = 1 << 16;
/// Elements of a window or a filter bank.
const TABLE_MAX: u64 = 1 << 22;

/// The dtype of an attribute that names one.
pub(super) fn attr_dtype(cx: &Cx<'_>, name: &str) -> R<Option<DType>> {
    let Some(element) = cx.attr_int_opt(name)? else { return Ok(None) };
    let element = ElementType(element);
    match element.dtype() {
        Some(dtype) => Ok(Some(dtype)),
        None => Err(unsupported(format!("elements of type {}", element.name()))),
    }
}

/// The index along one of two axes, at each place: i64 that broadcasts to [rows, columns].
pub(super) fn index_grid(cx: &mut Emitter, rows: u64, columns: u64) -> R<(T, T)> {
    if rows.saturating_mul(columns) > WRITTEN_MAX {
        let dims = [Extent::Fixed(rows), Extent::Fixed(columns)];
        return Ok((cx.iota(&dims, 0)?, cx.iota(&dims, 1)?));
    }
    let down = cx.count_up(rows)?;
    Ok((cx.unsqueeze(&down, 1)?, cx.count_up(columns)?))
}

fn eye_like(cx: &mut Cx<'_>, inputs: Inputs<'_>) -> R<Vec<Value>> {
    let x = inputs.tensor(0)?;
    let dtype = attr_dtype(cx, "dtype")?.unwrap_or(x.dtype);
    let [rows, columns] = x.shape()?[..] else {
        return Err(invalid(format!("expected a matrix, got rank {}", x.rank())));
    };
    let (row, column) = index_grid(cx, rows, columns)?;
    let diagonal = cx.attr_int("k", 0)?;
    let place = cx.add(&row, &int_tensor(&[], &[diagonal]))?;
    let eye = cx.equal(&place, &column)?;
    one(cx.cast(&eye, dtype)?)
}

fn trilu(cx: &mut Cx<'_>, inputs: Inputs<'_>) -> R<Vec<Value>> {
    let x = inputs.tensor(0)?;
    if x.rank() < 2 {
        return Err(invalid(format!("expected at least 2 axes, got {}", x.rank())));
    }
    let (rows, columns) = (x.extent(x.rank() - 2)?, x.extent(x.rank() - 1)?);
    let (row, column) = index_grid(cx, rows, columns)?;
    let right = cx.sub(&column, &row)?;
    let diagonal = match inputs.tensor_opt(1)? {
        Some(k) => cx.reshape_to(k, &[])?,
        None => int_tensor(&[], &[0]),
    };
    let stays = match cx.attr_int("upper", 1)? != 0 {
        true => cx.greater_equal(&right, &diagonal)?,
        false => cx.less_equal(&right, &diagonal)?,
    };
    let zero = super::layout::zero(x.dtype)?;
    one(cx.select(&stays, x, &zero)?)
}

fn range(cx: &mut Cx<'_>, inputs: Inputs<'_>) -> R<Vec<Value>> {
    let bounds = [inputs.tensor(0)?, inputs.tensor(1)?, inputs.tensor(2)?];
    cx.observe(&bounds)?;
    let dtype = bounds[0].dtype;
    if super::reduce::is_float(dtype) {
        let [start, limit, delta] =
            [cx.float(bounds[0])?, cx.float(bounds[1])?, cx.float(bounds[2])?];
        let count = ((limit - start) / delta).ceil().max(0.0);
        if !count.is_finite() {
            return Err(invalid(format!("no range goes from {start} to {limit} by {delta}")));
        }
        let count = count as u64;
        if count <= WRITTEN_MAX {
            let values: Vec<f64> = (0..count).map(|index| start + index as f64 * delta).collect();
            return one(number_tensor(dtype, &[count], &values)?);
        }
        let wide = if super::reduce::is_half(dtype) { DType::F32 } else { dtype };
        let index = cx.count_up(count)?;
        let index = cx.cast(&index, wide)?;
        let scaled = cx.mul_number(&index, delta)?;
        let moved = cx.add_number(&scaled, start)?;
        return one(cx.cast(&moved, dtype)?);
    }
    let [start, limit, delta] = [cx.int(bounds[0])?, cx.int(bounds[1])?, cx.int(bounds[2])?];
    let count = steps(start, limit, delta)?;
    if count <= WRITTEN_MAX {
        let value = |index: u64| start.wrapping_add((index as i64).wrapping_mul(delta));
        let values: Vec<i64> = (0..count).map(value).collect();
        return one(cx.cast(&int_tensor(&[count], &values), dtype)?);
    }
    let index = cx.count_up(count)?;
    let scaled = cx.mul(&index, &int_tensor(&[], &[delta]))?;
    let moved = cx.add(&scaled, &int_tensor(&[], &[start]))?;
    one(cx.cast(&moved, dtype)?)
}

/// How many whole numbers there are from `start` by `delta` before `limit`.
fn steps(start: i64, limit: i64, delta: i64) -> R<u64> {
    let (distance, delta) = (i128::from(limit) - i128::from(start), i128::from(delta));
    match delta {
        0 => Err(invalid("expected a delta other than 0")),
        _ if (distance > 0) != (delta > 0) => Ok(0),
        _ => {
            Ok(u64::try_from((distance.abs() + delta.abs() - 1) / delta.abs()).unwrap_or(u64::MAX))
        }
    }
}

/// A window function of the place in it, 0 to 1.
fn window(cx: &mut Cx<'_>, inputs: Inputs<'_>, at: impl Fn(f64) -> f64) -> R<Vec<Value>> {
    let size = cx.int(inputs.tensor(0)?)?;
    let size = table_extent(size, "size")?;
    let dtype = attr_dtype(cx, "output_datatype")?.unwrap_or(DType::F32);
    let span = match cx.attr_int("periodic", 1)? != 0 {
        true => size,
        false => size.saturating_sub(1),
    };
    let mut bytes = Vec::new();
    for index in 0..size {
        // A symmetric window of one element is a peak.
        let place = if span == 0 { 0.5 } else { index as f64 / span as f64 };
        bytes.extend(encode(dtype, at(place))?);
    }
    one(TensorValue::of_bytes(dtype, &[size], bytes))
}

fn table_extent(extent: i64, what: &str) -> R<u64> {
    u64::try_from(extent)
        .ok()
        .filter(|extent| *extent <= TABLE_MAX)
        .ok_or_else(|| invalid(format!("{what}: expected 0 to {TABLE_MAX}, got {extent}")))
}

fn mel_weight_matrix(cx: &mut Cx<'_>, inputs: Inputs<'_>) -> R<Vec<Value>> {
    let given = (0..5).map(|index| inputs.tensor(index)).collect::<R<Vec<&T>>>()?;
    cx.observe(&given)?;
    let bands = table_extent(cx.int(given[0])?, "num_mel_bins")?;
    let dft_length = table_extent(cx.int(given[1])?, "dft_length")?;
    let sample_rate = cx.float(given[2])?;
    let edges = (cx.float(given[3])?, cx.float(given[4])?);
    let dtype = attr_dtype(cx, "output_datatype")?.unwrap_or(DType::F32);
    let bins = dft_length / 2 + 1;
    if bins.saturating_mul(bands.max(1)) > TABLE_MAX {
        return Err(invalid(format!("expected fewer weights than {bins} bins by {bands} bands")));
    }
    let weights = mel_weights((bins, bands), dft_length, sample_rate, edges)?;
    one(number_tensor(dtype, &[bins, bands], &weights)?)
}

/// Triangles over the bins of a spectrum, evenly spaced on the mel scale: [bins, bands].
fn mel_weights(
    (bins, bands): (u64, u64),
    dft_length: u64,
    sample_rate: f64,
    (low, high): (f64, f64),
) -> R<Vec<f64>> {
    let mel = |hertz: f64| 2595.0 * (1.0 + hertz / 700.0).log10();
    let hertz = |mel: f64| 700.0 * (10f64.powf(mel / 2595.0) - 1.0);
    let step = (mel(high) - mel(low)) / (bands + 2) as f64;
    let mut corners = Vec::new();
    for corner in 0..bands + 2 {
        let frequency = hertz(corner as f64 * step + mel(low));
        let bin = ((dft_length + 1) as f64 * frequency / sample_rate).floor();
        if !(0.0..bins as f64).contains(&bin) {
            return Err(invalid(format!("expected bands within {bins} bins, got bin {bin}")));
        }
        corners.push(bin as usize);
    }
    let mut weights = vec![0.0; (bins * bands) as usize];
    for (band, corner) in corners.windows(3).enumerate() {
        let [left, center, right] = corner else { continue };
        let mut set = |bin: usize, weight| weights[bin * bands as usize + band] = weight;
        if left == center {
            set(*center, 1.0);
        }
        for bin in *left..*center {
            set(bin, (bin - left) as f64 / (center - left) as f64);
        }
        for bin in *center..*right {
            set(bin, (right - bin) as f64 / (right - center) as f64);
        }
        if left < center {
            set(*center, 1.0);
        }
    }
    Ok(weights)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_end_before_their_limit() {
        for (bounds, expected) in [
            ((0, 10, 3), 4),
            ((0, 9, 3), 3),
            ((10, 4, -2), 3),
            ((0, 0, 1), 0),
            ((5, 1, 1), 0),
            ((i64::MIN, i64::MAX, 1), u64::MAX),
        ] {
            assert_eq!(steps(bounds.0, bounds.1, bounds.2).unwrap(), expected, "{bounds:?}");
        }
        assert!(steps(0, 1, 0).is_err());
    }

    #[test]
    fn mel_bands_are_triangles_with_a_peak_of_one() {
        let weights = mel_weights((9, 8), 16, 8192.0, (0.0, 4096.0)).unwrap();
        for band in 0..8 {
            let column: Vec<f64> = (0..9).map(|bin| weights[bin * 8 + band]).collect();
            let peak = column.iter().copied().fold(0.0, f64::max);
            assert_eq!(peak, 1.0, "{column:?}");
        }
        assert!(mel_weights((9, 8), 16, 100.0, (0.0, 4096.0)).is_err(), "above the spectrum");
    }
}
