//! `Resize` and `Upsample`: one axis after the other.

use super::reduce::is_float;
use super::taps::{Axis, Coordinates, Filter, Nearest, Taps};
use super::{Table, one};
use crate::content::{float_tensor, number_tensor, scalar};
use crate::emit::Emitter;
use crate::node::{Cx, Inputs, axis_of};
use crate::value::{Extent, R, Stop, T, TensorValue, Value, invalid};
use aimass_sdk::DType;

pub(super) const TABLE: Table = &[("Resize", resize), ("Upsample", upsample)];

/// Samples of one axis.
const SAMPLES_MAX: u64 = 1 << 22;
/// Samples of one place where they are added one by one.
const ADDED_MAX: usize = 64;

/// How all axes are resized.
struct Options {
    coordinates: &'static str,
    filter: Filter,
    antialias: bool,
    exclude_outside: bool,
    extrapolation: f64,
}

/// What one axis becomes.
#[derive(Clone, Copy)]
struct Target {
    axis: usize,
    to: u64,
    scale: f64,
    /// Start and end of what is resized.
    roi: (f64, f64),
}

fn upsample(cx: &mut Cx<'_>, inputs: Inputs<'_>) -> R<Vec<Value>> {
    let x = inputs.tensor(0)?;
    let scales = match inputs.tensor_opt(1)? {
        Some(scales) => cx.floats(scales)?,
        None => match cx.attr_floats_opt("scales")? {
            Some(scales) => scales.iter().map(|&scale| scale.into()).collect(),
            None => return Err(invalid("expected scales")),
        },
    };
    one(plain(cx, x, &scales)?)
}

/// The resizing of opsets up to 10: no choice but the mode.
fn plain(cx: &mut Cx<'_>, x: &T, scales: &[f64]) -> R<T> {
    let filter = match cx.attr_text("mode", "nearest")? {
        "nearest" => Filter::Nearest(Nearest::Floor),
        "linear" | "bilinear" => Filter::Linear,
        other => return Err(invalid(format!("mode: expected nearest or linear, got {other}"))),
    };
    let options = Options {
        coordinates: "asymmetric",
        filter,
        antialias: false,
        exclude_outside: false,
        extrapolation: 0.0,
    };
    let axes: Vec<usize> = (0..x.rank()).collect();
    let targets = by_scales(x, &axes, scales, None)?;
    resized(cx, x, &targets, &options)
}

fn resize(cx: &mut Cx<'_>, inputs: Inputs<'_>) -> R<Vec<Value>> {
    let x = inputs.tensor(0)?;
    let given = |index: usize| -> R<Option<&T>> {
        // In old opsets an empty tensor stands for one that is left out.
        Ok(inputs.tensor_opt(index)?.filter(|given| given.dims.first() != Some(&Extent::Fixed(0))))
    };
    if cx.opset < 11 {
        let scales = cx.floats(inputs.tensor(1)?)?;
        return one(plain(cx, x, &scales)?);
    }
    let options = options(cx)?;
    let roi = given(1)?.filter(|_| options.coordinates == "tf_crop_and_resize");
    let (scales, sizes) = (given(2)?, given(3)?);
    let known: Vec<&T> = [roi, scales, sizes].into_iter().flatten().collect();
    cx.observe(&known)?;
    let axes = match cx.attr_ints_opt("axes")? {
        Some(axes) => {
            axes.iter().map(|&axis| axis_of(axis, x.rank())).collect::<R<Vec<usize>>>()?
        }
        None => (0..x.rank()).collect(),
    };
    let roi = match roi {
        Some(roi) => Some(cx.floats(roi)?),
        None if options.coordinates == "tf_crop_and_resize" => {
            return Err(invalid("tf_crop_and_resize: expected roi"));
        }
        None => None,
    };
    if roi.as_ref().is_some_and(|roi| roi.len() != 2 * axes.len()) {
        return Err(invalid(format!("roi: expected {} numbers", 2 * axes.len())));
    }
    let targets = match (scales, sizes) {
        (Some(scales), _) => {
            let scales = cx.floats(scales)?;
            by_scales(x, &axes, &scales, roi.as_deref())?
        }
        (None, Some(sizes)) => {
            let sizes = cx.extents(sizes)?;
            let policy = cx.attr_text("keep_aspect_ratio_policy", "stretch")?;
            by_sizes(x, &axes, &sizes, (policy, roi.as_deref()))?
        }
        (None, None) => return Err(invalid("expected scales or sizes")),
    };
    one(resized(cx, x, &targets, &options)?)
}

fn options(cx: &Cx<'_>) -> R<Options> {
    const KNOWN: [&str; 7] = [
        "half_pixel",
        "half_pixel_symmetric",
        "pytorch_half_pixel",
        "align_corners",
        "asymmetric",
        "tf_half_pixel_for_nn",
        "tf_crop_and_resize",
    ];
    let named = cx.attr_text("coordinate_transformation_mode", "half_pixel")?;
    let coordinates = KNOWN.into_iter().find(|known| *known == named);
    let coordinates = coordinates.ok_or_else(|| {
        invalid(format!("coordinate_transformation_mode: expected one of {KNOWN:?}, got {named}"))
    })?;
    let nearest = match cx.attr_text("nearest_mode", "round_prefer_floor")? {
        "round_prefer_floor" => Nearest::RoundPreferFloor,
        "round_prefer_ceil" => Nearest::RoundPreferCeil,
        "floor" => Nearest::Floor,
        "ceil" => Nearest::Ceil,
        other => return Err(invalid(format!("nearest_mode: expected a rounding, got {other}"))),
    };
    let filter = match cx.attr_text("mode", "nearest")? {
        "nearest" => Filter::Nearest(nearest),
        "linear" => Filter::Linear,
        "cubic" => Filter::Cubic(cx.attr_float("cubic_coeff_a", -0.75)?.into()),
        other => {
            return Err(invalid(format!("mode: expected nearest, linear or cubic, got {other}")));
        }
    };
    Ok(Options {
        coordinates,
        filter,
        antialias: cx.attr_flag("antialias")?,
        exclude_outside: cx.attr_flag("exclude_outside")?,
        extrapolation: cx.attr_float("extrapolation_value", 0.0)?.into(),
    })
}

fn roi_of(roi: Option<&[f64]>, index: usize, axes: usize) -> (f64, f64) {
    match roi {
        Some(roi) => (roi[index], roi[axes + index]),
        None => (0.0, 1.0),
    }
}

fn by_scales(x: &T, axes: &[usize], scales: &[f64], roi: Option<&[f64]>) -> R<Vec<Target>> {
    if scales.len() != axes.len() {
        let (expected, got) = (axes.len(), scales.len());
        return Err(invalid(format!("scales: expected {expected} numbers, got {got}")));
    }
    let mut targets = Vec::new();
    for (index, (&axis, &scale)) in axes.iter().zip(scales).enumerate() {
        let (start, end) = roi_of(roi, index, axes.len());
        if scale == 1.0 && (start, end) == (0.0, 1.0) {
            continue;
        }
        if !(scale > 0.0 && scale.is_finite()) {
            return Err(invalid(format!("scales: expected numbers above 0, got {scale}")));
        }
        let to = (x.extent(axis)? as f64 * (end - start) * scale).floor() as u64;
        targets.push(Target { axis, to, scale, roi: (start, end) });
    }
    Ok(targets)
}

fn by_sizes(
    x: &T,
    axes: &[usize],
    sizes: &[(i64, bool)],
    (policy, roi): (&str, Option<&[f64]>),
) -> R<Vec<Target>> {
    if sizes.len() != axes.len() {
        let (expected, got) = (axes.len(), sizes.len());
        return Err(invalid(format!("sizes: expected {expected} numbers, got {got}")));
    }
    let mut targets = Vec::new();
    for (index, (&axis, &(size, rows))) in axes.iter().zip(sizes).enumerate() {
        if rows && x.dims[axis] == Extent::Batch && policy == "stretch" {
            continue;
        }
        if rows {
            return Err(Stop::NotBatchable("an axis gets the extent of the rows".to_owned()));
        }
        let to = u64::try_from(size).map_err(|_| invalid(format!("a size of {size}")))?;
        let scale = to as f64 / x.extent(axis)? as f64;
        targets.push(Target { axis, to, scale, roi: roi_of(roi, index, axes.len()) });
    }
    let scales = targets.iter().map(|target| target.scale);
    let scale = match policy {
        "stretch" => return Ok(targets),
        "not_larger" => scales.fold(f64::INFINITY, f64::min),
        "not_smaller" => scales.fold(0.0, f64::max),
        other => {
            let expected = "stretch, not_larger or not_smaller";
            let message = format!("keep_aspect_ratio_policy: expected {expected}, got {other}");
            return Err(invalid(message));
        }
    };
    for target in &mut targets {
        target.scale = scale;
        target.to = (scale * x.extent(target.axis)? as f64 + 0.5).floor() as u64;
    }
    Ok(targets)
}

fn resized(cx: &mut Emitter, x: &T, targets: &[Target], options: &Options) -> R<T> {
    let sampled = matches!(options.filter, Filter::Nearest(_));
    let mut y = x.clone();
    if !sampled && !is_float(x.dtype) {
        y = cx.cast(&y, DType::F64)?;
    }
    // Axes that shrink go first, so that the others have less to do.
    let mut order: Vec<&Target> = targets.iter().collect();
    order.sort_by(|a, b| a.scale.total_cmp(&b.scale));
    let mut outside = Vec::new();
    for target in order {
        let from = y.extent(target.axis)?;
        let same = target.to == from && (target.scale - 1.0).abs() < 1e-9;
        if same && target.roi == (0.0, 1.0) {
            continue;
        }
        let taps = taps(from, target, options)?;
        y = apply(cx, &y, target.axis, &taps)?;
        if !taps.outside.is_empty() {
            outside.push((target.axis, taps.outside));
        }
    }
    for (axis, places) in outside {
        y = extrapolate(cx, &y, (axis, &places), options.extrapolation)?;
    }
    if y.dtype != x.dtype {
        y = cx.round(&y)?;
    }
    cx.cast(&y, x.dtype)
}

fn taps(from: u64, target: &Target, options: &Options) -> R<Taps> {
    let coordinates = match options.coordinates {
        "half_pixel_symmetric" => Coordinates::HalfPixelSymmetric,
        "pytorch_half_pixel" => Coordinates::PytorchHalfPixel,
        "align_corners" => Coordinates::AlignCorners,
        "asymmetric" => Coordinates::Asymmetric,
        "tf_half_pixel_for_nn" => Coordinates::TfHalfPixelForNn,
        "tf_crop_and_resize" => Coordinates::TfCropAndResize(target.roi.0, target.roi.1),
        _ => Coordinates::HalfPixel,
    };
    let axis = Axis {
        from,
        to: target.to,
        scale: target.scale,
        coordinates,
        filter: options.filter,
        antialias: options.antialias,
        exclude_outside: options.exclude_outside,
    };
    let small = axis.count().checked_mul(target.to).is_some_and(|samples| samples <= SAMPLES_MAX);
    if !small || from > i32::MAX as u64 {
        return Err(invalid(format!(
            "expected an axis of fewer samples than {from} to {}",
            axis.to
        )));
    }
    if from == 0 && target.to > 0 {
        return Err(invalid("expected an axis with elements"));
    }
    Ok(axis.taps())
}

/// Takes the samples along an axis.
fn apply(cx: &mut Emitter, x: &T, axis: usize, taps: &Taps) -> R<T> {
    let from = x.extent(axis)?;
    if let Some(factor) = taps.repeats(from).filter(|_| x.rank() < 8) {
        let mut dims = x.dims.clone();
        dims.insert(axis + 1, Extent::Fixed(factor));
        let apart = cx.unsqueeze(x, axis + 1)?;
        let repeated = cx.broadcast(&apart, &dims)?;
        dims.remove(axis + 1);
        dims[axis] = Extent::Fixed(from * factor);
        return cx.reshape(&repeated, &dims);
    }
    if let Some((start, step)) = taps.strides() {
        let end = start + step * (taps.indices.len() as u64 - 1) + 1;
        return cx.slice(x, axis, (start, end), step);
    }
    let to = taps.indices.len() / taps.count.max(1);
    if taps.count == 1 && taps.weights.iter().all(|&weight| weight == 1.0) {
        return cx.gather(x, &index_tensor(&[to as u64], &taps.indices), axis);
    }
    if x.dtype == DType::F64 && taps.count <= ADDED_MAX {
        return added(cx, x, axis, taps);
    }
    let shape = [to as u64, taps.count as u64];
    let indices = index_tensor(&shape, &taps.indices);
    let weights: Vec<f32> = taps.weights.iter().map(|&weight| weight as f32).collect();
    cx.resample(x, axis, (&indices, &float_tensor(&shape, &weights)))
}

fn index_tensor(shape: &[u64], indices: &[i32]) -> T {
    let bytes = indices.iter().flat_map(|index| index.to_le_bytes()).collect();
    TensorValue::of_bytes(DType::I32, shape, bytes)
}

/// The weighted sum of samples in the precision of `x`.
fn added(cx: &mut Emitter, x: &T, axis: usize, taps: &Taps) -> R<T> {
    let mut total: Option<T> = None;
    for tap in 0..taps.count {
        let column = |row: usize| row * taps.count + tap;
        let rows = 0..taps.indices.len() / taps.count;
        let indices: Vec<i32> = rows.clone().map(|row| taps.indices[column(row)]).collect();
        let weights: Vec<f64> = rows.map(|row| taps.weights[column(row)]).collect();
        let mut shape = vec![1; x.rank() - axis];
        shape[0] = indices.len() as u64;
        let samples = cx.gather(x, &index_tensor(&[shape[0]], &indices), axis)?;
        let samples = cx.mul(&samples, &number_tensor(x.dtype, &shape, &weights)?)?;
        total = Some(match total {
            None => samples,
            Some(total) => cx.add(&total, &samples)?,
        });
    }
    total.ok_or_else(|| invalid("expected samples"))
}

/// Writes a value at places outside of the input.
fn extrapolate(cx: &mut Emitter, x: &T, (axis, places): (usize, &[bool]), value: f64) -> R<T> {
    let mut shape = vec![1; x.rank() - axis];
    shape[0] = places.len() as u64;
    let bytes = places.iter().map(|&outside| u8::from(outside)).collect();
    let outside = TensorValue::of_bytes(DType::Bool, &shape, bytes);
    let value = scalar(x.dtype, value)?;
    cx.select(&outside, &value, x)
}
