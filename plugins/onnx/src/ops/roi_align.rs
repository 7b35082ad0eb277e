//! `RoiAlign`: means or maxima of samples between the elements of an image (arXiv:1703.06870).

use super::reduce::is_half;
use super::{Table, one};
use crate::content::scalar;
use crate::emit::Emitter;
use crate::node::{Cx, Inputs};
use crate::value::{Extent, R, T, Value, invalid};
use aimass_sdk::DType;

pub(super) const TABLE: Table = &[("RoiAlign", roi_align)];

/// Samples of one bin.
const SAMPLES_MAX: u64 = 1024;
/// Bins of one axis.
const BINS_MAX: i64 = 1 << 12;

/// One axis of all regions.
struct Axis {
    /// f32 [regions, 1]
    start: T,
    /// f32 [regions, 1]: extent of a bin
    bin: T,
    /// f32 [regions, 1]: how many samples a bin has
    samples: T,
    bins: u64,
    /// Extent of the image.
    extent: u64,
    /// Axis of [regions, height, width] that the bins lie along.
    along: usize,
}

/// The two elements around a sample of every bin, and their weights.
struct Pair {
    /// i64
    elements: [T; 2],
    /// f32
    weights: [T; 2],
    /// Whether the sample is one of its region's.
    counts: T,
}

fn roi_align(cx: &mut Cx<'_>, inputs: Inputs<'_>) -> R<Vec<Value>> {
    let (x, rois, batch) = (inputs.tensor(0)?, inputs.tensor(1)?, inputs.tensor(2)?);
    let maximum = match cx.attr_text("mode", "avg")? {
        "avg" => false,
        "max" => true,
        other => return Err(invalid(format!("mode: expected avg or max, got {other}"))),
    };
    if x.rank() != 4 || rois.fixed().is_none_or(|dims| dims.len() != 2 || dims[1] != 4) {
        return Err(invalid("expected an image of rank 4 and regions of [n, 4]"));
    }
    let (height, width) = axes(cx, x, rois)?;
    let ratio = cx.attr_int("sampling_ratio", 0)?;
    let samples = if ratio > 0 { [ratio as u64; 2] } else { most_samples(cx, &height, &width)? };
    if samples[0].saturating_mul(samples[1]) > SAMPLES_MAX {
        let message = format!("expected at most {SAMPLES_MAX} samples a bin, got {samples:?}");
        return Err(invalid(message));
    }
    let wide = if is_half(x.dtype) { DType::F32 } else { x.dtype };
    let [batches, channels] = [x.extent(0)?, x.extent(1)?];
    let pixels = cx.cast(x, wide)?;
    let pixels = cx.transpose(&pixels, &[0, 2, 3, 1])?;
    let elements = batches.saturating_mul(height.extent).saturating_mul(width.extent);
    let pixels = cx.reshape_to(&pixels, &[elements, channels])?;
    let batch = cx.cast(batch, DType::I64)?;
    let first = cx.mul_number(&batch, height.extent as f64)?;
    let first = cx.reshape(&first, &[rois.dims[0], Extent::Fixed(1), Extent::Fixed(1)])?;
    let mut total: Option<T> = None;
    for row in 0..samples[0] {
        let row = height.pair(cx, row)?;
        for column in 0..samples[1] {
            let column = width.pair(cx, column)?;
            let sample = Sample { first: &first, pairs: [&row, &column], maximum };
            let sample = sample.of(cx, &pixels, width.extent)?;
            total = Some(match (total, maximum) {
                (None, _) => sample,
                (Some(total), true) => cx.maximum(&total, &sample)?,
                (Some(total), false) => cx.add(&total, &sample)?,
            });
        }
    }
    let y = match total {
        Some(total) => finished(cx, &total, (&height, &width), maximum)?,
        None => {
            let bins = [height.bins, width.bins, channels].map(Extent::Fixed);
            let zero = scalar(wide, 0.0)?;
            cx.broadcast(&zero, &[rois.dims[0], bins[0], bins[1], bins[2]])?
        }
    };
    let y = cx.transpose(&y, &[0, 3, 1, 2])?;
    one(cx.cast(&y, x.dtype)?)
}

/// Height and width of all regions.
fn axes(cx: &mut Cx<'_>, x: &T, rois: &T) -> R<(Axis, Axis)> {
    let default = if cx.opset < 16 { "output_half_pixel" } else { "half_pixel" };
    let half_pixel = match cx.attr_text("coordinate_transformation_mode", default)? {
        "half_pixel" => true,
        "output_half_pixel" => false,
        other => {
            let expected = "half_pixel or output_half_pixel";
            let message =
                format!("coordinate_transformation_mode: expected {expected}, got {other}");
            return Err(invalid(message));
        }
    };
    let scale = f64::from(cx.attr_float("spatial_scale", 1.0)?);
    let rois = cx.cast(rois, DType::F32)?;
    let mut made = Vec::new();
    for (name, at, axis, along) in [("output_height", 1, 2, 1), ("output_width", 0, 3, 2)] {
        let bins = cx.attr_int(name, 1)?;
        if !(1..=BINS_MAX).contains(&bins) {
            return Err(invalid(format!("{name}: expected 1 to {BINS_MAX}, got {bins}")));
        }
        let bound = |cx: &mut Emitter, at: u64| {
            let bound = cx.slice(&rois, 1, (at, at + 1), 1)?;
            let bound = cx.mul_number(&bound, scale)?;
            if half_pixel { cx.add_number(&bound, -0.5) } else { Ok(bound) }
        };
        let (start, end) = (bound(cx, at)?, bound(cx, at + 2)?);
        let mut span = cx.sub(&end, &start)?;
        if !half_pixel {
            span = cx.maximum(&span, &scalar(DType::F32, 1.0)?)?;
        }
        let bin = cx.mul_number(&span, 1.0 / bins as f64)?;
        let samples = match cx.attr_int("sampling_ratio", 0)? {
            ratio @ 1.. => {
                let ratio = scalar(DType::F32, ratio as f64)?;
                cx.broadcast(&ratio, &bin.dims)?
            }
            _ => {
                let samples = cx.ceil(&bin)?;
                cx.maximum(&samples, &scalar(DType::F32, 0.0)?)?
            }
        };
        let extent = x.extent(axis)?;
        made.push(Axis { start, bin, samples, bins: bins as u64, extent, along });
    }
    match <[Axis; 2]>::try_from(made) {
        Ok([height, width]) => Ok((height, width)),
        Err(_) => Err(invalid("expected two axes")),
    }
}

/// Most samples a bin has along each axis, which only the regions say.
fn most_samples(cx: &mut Emitter, height: &Axis, width: &Axis) -> R<[u64; 2]> {
    if height.start.dims.first() == Some(&Extent::Fixed(0)) {
        return Ok([0, 0]);
    }
    let kept = cx.keep(|cx| {
        let both = cx.concat(&[&height.samples, &width.samples], 1)?;
        let most = cx.reduce_max(&both, &[0], false)?;
        Ok(vec![cx.cast(&most, DType::I64)?])
    })?;
    let [most] = kept.as_slice() else { return Err(invalid("expected one tensor")) };
    match cx.ints(most)?[..] {
        [height, width] => Ok([height, width].map(|most| u64::try_from(most).unwrap_or(0))),
        _ => Err(invalid("expected two numbers")),
    }
}

impl Axis {
    /// [regions, n] as an operand for [regions, height, width].
    fn spread(&self, cx: &mut Emitter, x: &T) -> R<T> {
        cx.unsqueeze(x, 3 - self.along)
    }

    /// Sample `index` of every bin.
    fn pair(&self, cx: &mut Emitter, index: u64) -> R<Pair> {
        let last = self.extent.saturating_sub(1) as f64;
        let bins = cx.count_up(self.bins)?;
        let bins = cx.cast(&bins, DType::F32)?;
        // The distance from the start in bins: whole bins and a part of one.
        let part = cx.reciprocal(&self.samples)?;
        let part = cx.mul_number(&part, index as f64 + 0.5)?;
        let place = cx.add(&bins, &part)?;
        let place = cx.mul(&place, &self.bin)?;
        let place = cx.add(&place, &self.start)?;
        let above = cx.greater_equal(&place, &scalar(DType::F32, -1.0)?)?;
        let below = cx.less_equal(&place, &scalar(DType::F32, self.extent as f64)?)?;
        let inside = cx.logical_and(&above, &below)?;
        let counts = cx.greater(&self.samples, &scalar(DType::F32, index as f64)?)?;
        let inside = cx.logical_and(&inside, &counts)?;
        let place = cx.clamp(&place, 0.0, last)?;
        let low = cx.floor(&place)?;
        let high = cx.add_number(&low, 1.0)?;
        let high = cx.clamp(&high, 0.0, last)?;
        let upper = cx.sub(&place, &low)?;
        let lower = cx.sub(&scalar(DType::F32, 1.0)?, &upper)?;
        let zero = scalar(DType::F32, 0.0)?;
        let mut spread = |x: &T| self.spread(cx, x);
        let (low, high, inside) = (spread(&low)?, spread(&high)?, spread(&inside)?);
        let (lower, upper, counts) = (spread(&lower)?, spread(&upper)?, spread(&counts)?);
        Ok(Pair {
            elements: [cx.cast(&low, DType::I64)?, cx.cast(&high, DType::I64)?],
            weights: [cx.select(&inside, &lower, &zero)?, cx.select(&inside, &upper, &zero)?],
            counts,
        })
    }
}

/// One sample of every bin.
struct Sample<'a> {
    /// First row of each region's image: i64 [regions, 1, 1].
    first: &'a T,
    /// Row and column.
    pairs: [&'a Pair; 2],
    maximum: bool,
}

impl Sample<'_> {
    /// The sum, or the largest part of it, of the four elements around: [regions, height, width,
    /// channels].
    fn of(&self, cx: &mut Emitter, pixels: &T, width: u64) -> R<T> {
        let [rows, columns] = self.pairs;
        let mut total: Option<T> = None;
        for corner in 0..4 {
            let (row, column) = (corner / 2, corner % 2);
            let index = cx.add(self.first, &rows.elements[row])?;
            let index = cx.mul_number(&index, width as f64)?;
            let index = cx.add(&index, &columns.elements[column])?;
            let weight = cx.mul(&rows.weights[row], &columns.weights[column])?;
            let weight = cx.cast(&weight, pixels.dtype)?;
            let weight = cx.unsqueeze(&weight, 3)?;
            let element = cx.gather(pixels, &index, 0)?;
            let part = cx.mul(&element, &weight)?;
            total = Some(match (total, self.maximum) {
                (None, _) => part,
                (Some(total), true) => cx.maximum(&total, &part)?,
                (Some(total), false) => cx.add(&total, &part)?,
            });
        }
        let total = total.ok_or_else(|| invalid("expected corners"))?;
        if !self.maximum {
            return Ok(total);
        }
        let counts = cx.logical_and(&rows.counts, &columns.counts)?;
        let counts = cx.unsqueeze(&counts, 3)?;
        let lowest = scalar(total.dtype, f64::NEG_INFINITY)?;
        cx.select(&counts, &total, &lowest)
    }
}

/// Sums to means; maxima of nothing to 0.
fn finished(cx: &mut Emitter, total: &T, (height, width): (&Axis, &Axis), maximum: bool) -> R<T> {
    let samples = cx.mul(&height.samples, &width.samples)?;
    let samples = cx.reshape(&samples, &{
        let one = Extent::Fixed(1);
        [samples.dims[0], one, one, one]
    })?;
    if maximum {
        let some = cx.greater(&samples, &scalar(DType::F32, 0.0)?)?;
        let zero = scalar(total.dtype, 0.0)?;
        return cx.select(&some, total, &zero);
    }
    let samples = cx.maximum(&samples, &scalar(DType::F32, 1.0)?)?;
    let samples = cx.cast(&samples, total.dtype)?;
    cx.div(total, &samples)
}
