//! Sampling at computed places: `GridSample` and `AffineGrid`.

use super::reduce::{is_float, is_half};
use super::{Table, one};
use crate::content::{number_tensor, scalar};
use crate::emit::Emitter;
use crate::node::{Cx, Inputs};
use crate::value::{Extent, R, Stop, T, Value, invalid};
use aimass_sdk::DType;

pub(super) const TABLE: Table = &[("AffineGrid", affine_grid), ("GridSample", grid_sample)];

/// Spatial axes; each of them multiplies the samples of a place.
const SPATIAL_MAX: usize = 3;
/// Elements of the places of an affine grid.
const PLACES_MAX: u64 = 1 << 24;

/// What lies beyond the edge.
#[derive(Clone, Copy, PartialEq)]
enum Beyond {
    Zeros,
    Border,
    Reflection,
}

#[derive(Clone, Copy, PartialEq)]
enum Mode {
    Nearest,
    Linear,
    Cubic,
}

/// The samples of one axis: for each tap an index, its weight, and where it counts.
struct Tap {
    /// i64, within the axis.
    index: T,
    /// None means 1.
    weight: Option<T>,
}

fn affine_grid(cx: &mut Cx<'_>, inputs: Inputs<'_>) -> R<Vec<Value>> {
    let (theta, size) = (inputs.tensor(0)?, inputs.tensor(1)?);
    let size = cx.extents(size)?;
    let align_corners = cx.attr_flag("align_corners")?;
    let axes = size.len().saturating_sub(2);
    if !(2..=3).contains(&axes) || theta.rank() != 3 {
        return Err(invalid("expected theta of rank 3 and a size of 4 or 5 extents"));
    }
    let mut extents = Vec::new();
    for &(extent, rows) in &size[2..] {
        if rows {
            return Err(Stop::NotBatchable("an axis gets the extent of the rows".to_owned()));
        }
        extents.push(u64::try_from(extent).map_err(|_| invalid("size: a negative extent"))?);
    }
    let places = extents.iter().fold(1u64, |product, &extent| product.saturating_mul(extent));
    if places > PLACES_MAX {
        return Err(invalid(format!("expected at most {PLACES_MAX} places, got {places}")));
    }
    let homogeneous = places_of(&extents, align_corners);
    let wide = if is_half(theta.dtype) { DType::F32 } else { theta.dtype };
    let homogeneous = number_tensor(wide, &[places, axes as u64 + 1], &homogeneous)?;
    let columns = cx.cast(theta, wide)?;
    let columns = cx.transpose(&columns, &[0, 2, 1])?;
    let grid = match places {
        0 => return Err(invalid("size: expected extents above 0")),
        _ => cx.matmul(&homogeneous, &columns)?,
    };
    let mut dims = vec![theta.dims[0]];
    dims.extend(extents.iter().map(|&extent| Extent::Fixed(extent)));
    dims.push(Extent::Fixed(axes as u64));
    let grid = cx.reshape(&grid, &dims)?;
    one(cx.cast(&grid, theta.dtype)?)
}

/// Places of a grid from -1 to 1, the innermost axis first, and 1: [places, axes + 1].
fn places_of(extents: &[u64], align_corners: bool) -> Vec<f64> {
    let coordinate = |index: u64, extent: u64| match (align_corners, extent) {
        (true, 1) => -1.0,
        (true, _) => 2.0 * index as f64 / (extent - 1) as f64 - 1.0,
        (false, _) => (2 * index + 1) as f64 / extent as f64 - 1.0,
    };
    let count: u64 = extents.iter().product();
    let mut table = Vec::new();
    for place in 0..count {
        let mut rest = place;
        for &extent in extents.iter().rev() {
            table.push(coordinate(rest % extent, extent));
            rest /= extent;
        }
        table.push(1.0);
    }
    table
}

fn grid_sample(cx: &mut Cx<'_>, inputs: Inputs<'_>) -> R<Vec<Value>> {
    let (x, grid) = (inputs.tensor(0)?, inputs.tensor(1)?);
    let mode = match cx.attr_text("mode", "linear")? {
        "nearest" => Mode::Nearest,
        "linear" | "bilinear" => Mode::Linear,
        "cubic" | "bicubic" => Mode::Cubic,
        other => {
            return Err(invalid(format!("mode: expected nearest, linear or cubic, got {other}")));
        }
    };
    let beyond = match cx.attr_text("padding_mode", "zeros")? {
        "zeros" => Beyond::Zeros,
        "border" => Beyond::Border,
        "reflection" => Beyond::Reflection,
        other => {
            return Err(invalid(format!(
                "padding_mode: expected zeros, border or reflection, got {other}"
            )));
        }
    };
    let align_corners = cx.attr_flag("align_corners")?;
    let axes = x.rank().saturating_sub(2);
    if axes == 0 || axes > SPATIAL_MAX || grid.rank() != axes + 2 {
        let message = format!(
            "expected an image and a grid of 1 to {SPATIAL_MAX} spatial axes, got ranks {} and {}",
            x.rank(),
            grid.rank()
        );
        return Err(invalid(message));
    }
    if grid.extent(axes + 1)? != axes as u64 {
        return Err(invalid(format!("grid: expected {axes} coordinates a place")));
    }
    let extents = (2..x.rank()).map(|axis| x.extent(axis)).collect::<R<Vec<u64>>>()?;
    if extents.contains(&0) {
        return Err(invalid("expected an image with elements"));
    }
    let sampler = Sampler { mode, beyond, align_corners };
    let wide = if is_half(grid.dtype) { DType::F32 } else { grid.dtype };
    let mut grid = cx.cast(grid, wide)?;
    if x.dtype == DType::F64 {
        grid = cx.cast(&grid, DType::F64)?;
    }
    let mut taps = Vec::new();
    for (axis, &extent) in extents.iter().enumerate() {
        // Coordinates come innermost axis first.
        let at = (axes - 1 - axis) as u64;
        let coordinate = cx.slice(&grid, axes + 1, (at, at + 1), 1)?;
        let coordinate = flat_places(cx, &coordinate)?;
        taps.push(sampler.taps(cx, &coordinate, extent)?);
    }
    one(mixed(cx, x, &grid, (&extents, &taps))?)
}

/// [batch, .., 1] as [batch, places, 1].
fn flat_places(cx: &mut Emitter, x: &T) -> R<T> {
    let mut places = 1u64;
    for axis in 1..x.rank() {
        places = places.saturating_mul(x.extent(axis)?);
    }
    cx.reshape(x, &[x.dims[0], Extent::Fixed(places), Extent::Fixed(1)])
}

struct Sampler {
    mode: Mode,
    beyond: Beyond,
    align_corners: bool,
}

impl Sampler {
    /// The samples of every place along an axis; `coordinate` goes from -1 to 1.
    fn taps(&self, cx: &mut Emitter, coordinate: &T, extent: u64) -> R<Vec<Tap>> {
        let n = extent as f64;
        let (scale, offset) = match self.align_corners {
            true => ((n - 1.0) / 2.0, (n - 1.0) / 2.0),
            false => (n / 2.0, (n - 1.0) / 2.0),
        };
        let place = cx.mul_number(coordinate, scale)?;
        let mut place = cx.add_number(&place, offset)?;
        if self.mode == Mode::Nearest {
            place = cx.round(&place)?;
        }
        // Places out of all bounds would not fit an index.
        place = match self.beyond {
            Beyond::Zeros | Beyond::Border => cx.clamp(&place, -4.0, n + 4.0)?,
            Beyond::Reflection => self.reflected(cx, &place, extent)?,
        };
        if self.mode == Mode::Nearest {
            return Ok(vec![self.tap(cx, &place, None, extent)?]);
        }
        let floor = cx.floor(&place)?;
        let fraction = cx.sub(&place, &floor)?;
        let (first, weights) = match self.mode {
            Mode::Cubic => (-1.0, cubic(cx, &fraction)?),
            Mode::Linear | Mode::Nearest => {
                let one = scalar(fraction.dtype, 1.0)?;
                (0.0, vec![cx.sub(&one, &fraction)?, fraction])
            }
        };
        let mut taps = Vec::new();
        for (tap, weight) in weights.into_iter().enumerate() {
            let index = cx.add_number(&floor, first + tap as f64)?;
            taps.push(self.tap(cx, &index, Some(weight), extent)?);
        }
        Ok(taps)
    }

    /// A place between the borders, mirrored at them as often as it takes.
    fn reflected(&self, cx: &mut Emitter, place: &T, extent: u64) -> R<T> {
        let n = extent as f64;
        let (low, span) = match self.align_corners {
            true => (0.0, n - 1.0),
            false => (-0.5, n),
        };
        if span == 0.0 {
            return cx.mul_number(place, 0.0);
        }
        let distance = cx.add_number(place, -low)?;
        let distance = cx.abs(&distance)?;
        let period = scalar(place.dtype, 2.0 * span)?;
        let distance = cx.rem(&distance, &period)?;
        let mirrored = cx.sub(&period, &distance)?;
        let distance = cx.minimum(&distance, &mirrored)?;
        cx.add_number(&distance, low)
    }

    /// The element at a whole place.
    fn tap(&self, cx: &mut Emitter, place: &T, weight: Option<T>, extent: u64) -> R<Tap> {
        let last = extent as f64 - 1.0;
        let (place, weight) = match self.beyond {
            Beyond::Border => (place.clone(), weight),
            Beyond::Reflection => (self.reflected(cx, place, extent)?, weight),
            Beyond::Zeros => {
                let (zero, end) = (scalar(place.dtype, 0.0)?, scalar(place.dtype, last)?);
                let (above, below) = (cx.greater_equal(place, &zero)?, cx.less_equal(place, &end)?);
                let inside = cx.logical_and(&above, &below)?;
                let weight = match weight {
                    Some(weight) => cx.select(&inside, &weight, &zero)?,
                    None => cx.cast(&inside, place.dtype)?,
                };
                (place.clone(), Some(weight))
            }
        };
        let place = cx.clamp(&place, 0.0, last)?;
        // NaN becomes 0, so that every index is inside.
        let index = cx.cast(&place, DType::I64)?;
        Ok(Tap { index, weight })
    }
}

/// Weights of the four elements around a fraction (Keys, 1981, with a = -0.75).
fn cubic(cx: &mut Emitter, fraction: &T) -> R<Vec<T>> {
    const A: f64 = -0.75;
    let horner = |cx: &mut Emitter, x: &T, factors: [f64; 4]| {
        let mut total = scalar(x.dtype, factors[0])?;
        for factor in &factors[1..] {
            total = cx.mul(&total, x)?;
            total = cx.add_number(&total, *factor)?;
        }
        Ok::<T, Stop>(total)
    };
    let near = [A + 2.0, -(A + 3.0), 0.0, 1.0];
    let far = [A, -5.0 * A, 8.0 * A, -4.0 * A];
    let beyond = cx.add_number(fraction, 1.0)?;
    let one = scalar(fraction.dtype, 1.0)?;
    let rest = cx.sub(&one, fraction)?;
    let beyond_rest = cx.add_number(&rest, 1.0)?;
    Ok(vec![
        horner(cx, &beyond, far)?,
        horner(cx, fraction, near)?,
        horner(cx, &rest, near)?,
        horner(cx, &beyond_rest, far)?,
    ])
}

/// The weighted sum of all combinations of taps: [batch, channels, places..].
fn mixed(cx: &mut Emitter, x: &T, grid: &T, (extents, taps): (&[u64], &[Vec<Tap>])) -> R<T> {
    let rank = x.rank();
    let elements = extents.iter().fold(1u64, |product, &extent| product.saturating_mul(extent));
    // Channels last, so that a sample is one run of memory.
    let order: Vec<usize> = [0].into_iter().chain(2..rank).chain([1]).collect();
    let pixels = cx.transpose(x, &order)?;
    let pixels = cx.reshape(&pixels, &[x.dims[0], Extent::Fixed(elements), x.dims[1]])?;
    let blends = taps.iter().any(|taps| taps.len() > 1);
    let wide = match x.dtype {
        dtype if is_half(dtype) => DType::F32,
        DType::Bool => DType::U8,
        dtype if blends && !is_float(dtype) => DType::F64,
        dtype => dtype,
    };
    let pixels = cx.cast(&pixels, wide)?;
    let combinations = taps.iter().map(Vec::len).product();
    let mut total: Option<T> = None;
    for combination in 0..combinations {
        let (mut index, mut weight, mut rest) = (None::<T>, None::<T>, combination);
        for (taps, &extent) in taps.iter().zip(extents) {
            let tap = &taps[rest % taps.len()];
            rest /= taps.len();
            index = Some(match index {
                None => tap.index.clone(),
                Some(index) => {
                    let row = cx.mul_number(&index, extent as f64)?;
                    cx.add(&row, &tap.index)?
                }
            });
            weight = match (weight, &tap.weight) {
                (Some(weight), Some(own)) => Some(cx.mul(&weight, own)?),
                (weight, own) => weight.or_else(|| own.clone()),
            };
        }
        let index = index.ok_or_else(|| invalid("expected spatial axes"))?;
        let mut samples = cx.gather_nd(&pixels, &index, 1)?;
        if let Some(weight) = weight {
            let weight = cx.cast(&weight, samples.dtype)?;
            samples = cx.mul(&samples, &weight)?;
        }
        total = Some(match total {
            None => samples,
            Some(total) => cx.add(&total, &samples)?,
        });
    }
    let total = total.ok_or_else(|| invalid("expected samples"))?;
    let mut dims = grid.dims[..rank - 1].to_vec();
    dims.push(x.dims[1]);
    let total = cx.reshape(&total, &dims)?;
    let back: Vec<usize> = [0, rank - 1].into_iter().chain(1..rank - 1).collect();
    let total = cx.transpose(&total, &back)?;
    cx.cast(&total, x.dtype)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_come_innermost_axis_first() {
        let table = places_of(&[2, 3], true);
        assert_eq!(table[..3], [-1.0, -1.0, 1.0]);
        assert_eq!(table[3..6], [0.0, -1.0, 1.0]);
        assert_eq!(table[15..], [1.0, 1.0, 1.0]);
        assert_eq!(places_of(&[1, 2], false), [-0.5, 0.0, 1.0, 0.5, 0.0, 1.0]);
        assert_eq!(places_of(&[1, 1], true), [-1.0, -1.0, 1.0]);
    }
}
