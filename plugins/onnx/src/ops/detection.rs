//! Regions of interest, boxes and unpooling.

use super::{Table, one};
use crate::content::scalar;
use crate::emit::Emitter;
use crate::node::{Cx, Inputs};
use crate::value::{Extent, R, T, TensorValue, Value, invalid, unsupported};
use aimass_sdk::DType;
use aimass_sdk::graph::{PadMode, ScatterMode};

pub(super) const TABLE: Table = &[
    ("ImageDecoder", |_, _| {
        Err(unsupported("pictures are decoded before a model, by a processor plugin"))
    }),
    ("MaxRoiPool", max_roi_pool),
    ("MaxUnpool", max_unpool),
    ("NonMaxSuppression", non_max_suppression),
];

/// Bins of a pooled axis.
const BINS_MAX: u64 = 256;

fn non_max_suppression(cx: &mut Cx<'_>, inputs: Inputs<'_>) -> R<Vec<Value>> {
    let (boxes, scores) = (inputs.tensor(0)?, inputs.tensor(1)?);
    let given: Vec<&T> =
        (2..5).filter_map(|index| inputs.tensor_opt(index).transpose()).collect::<R<_>>()?;
    cx.observe(&given)?;
    let most = match inputs.tensor_opt(2)? {
        Some(most) => u64::try_from(cx.int(most)?).unwrap_or(0),
        None => 0,
    };
    let number = |cx: &mut Cx<'_>, index: usize, default: f32| -> R<f32> {
        match inputs.tensor_opt(index)? {
            Some(number) => Ok(cx.float(number)? as f32),
            None => Ok(default),
        }
    };
    let (iou, score) = (number(cx, 3, 0.0)?, number(cx, 4, f32::NEG_INFINITY)?);
    let centered = match cx.attr_int("center_point_box", 0)? {
        0 => false,
        1 => true,
        other => return Err(invalid(format!("center_point_box: expected 0 or 1, got {other}"))),
    };
    let (&[batches, count, 4], &[_, classes, _]) = (&boxes.shape()?[..], &scores.shape()?[..])
    else {
        return Err(invalid("expected boxes [batches, n, 4] and scores [batches, classes, n]"));
    };
    let most = most.min(count);
    if batches.saturating_mul(classes).saturating_mul(most) == 0 {
        return one(TensorValue::of_bytes(DType::I64, &[0, 3], Vec::new()));
    }
    let kept = cx.keep(|cx| {
        let options = (most, iou, score);
        let (rows, count) = cx.non_max_suppression(boxes, scores, options, centered)?;
        Ok(vec![rows, count])
    })?;
    let [rows, count] = kept.as_slice() else { return Err(invalid("expected two tensors")) };
    let count = u64::try_from(cx.int(count)?).map_err(|_| invalid("a negative count"))?;
    one(cx.slice(rows, 0, (0, count), 1)?)
}

/// Puts maxima back where they came from; all else is 0.
fn max_unpool(cx: &mut Cx<'_>, inputs: Inputs<'_>) -> R<Vec<Value>> {
    let (x, indices) = (inputs.tensor(0)?, inputs.tensor(1)?);
    let shape = x.shape()?;
    let spatial = shape.len().saturating_sub(2);
    let numbers = |name: &str, count: usize, default: i64| -> R<Vec<i64>> {
        let given = cx.attr_ints_opt(name)?.map_or_else(|| vec![default; count], <[i64]>::to_vec);
        match given.len() == count && given.iter().all(|value| (0..1 << 32).contains(value)) {
            true => Ok(given),
            false => Err(invalid(format!("{name}: expected {count} numbers, got {given:?}"))),
        }
    };
    let (kernel, strides) = (numbers("kernel_shape", spatial, 1)?, numbers("strides", spatial, 1)?);
    let pads = numbers("pads", 2 * spatial, 0)?;
    let mut pooled = shape[..2.min(shape.len())].to_vec();
    for axis in 0..spatial {
        let steps = i128::from(shape[axis + 2]) - 1;
        let padded = i128::from(pads[axis]) + i128::from(pads[spatial + axis]);
        let extent = steps * i128::from(strides[axis]) - padded + i128::from(kernel[axis]);
        pooled.push(u64::try_from(extent).map_err(|_| invalid(format!("an extent of {extent}")))?);
    }
    let elements = pooled.iter().fold(1u64, |product, &extent| product.saturating_mul(extent));
    let zero = super::layout::zero(x.dtype)?;
    let empty = cx.broadcast(&zero, &[Extent::Fixed(elements)])?;
    let (x_flat, indices) = (super::index::flat(cx, x)?, super::index::flat(cx, indices)?);
    let y = cx.scatter_elements(&empty, &indices, &x_flat, (0, ScatterMode::Replace))?;
    let y = cx.reshape_to(&y, &pooled)?;
    let Some(wanted) = inputs.tensor_opt(2)? else { return one(y) };
    let wanted = cx.ints(wanted)?;
    let mut after = Vec::new();
    for (axis, &extent) in pooled.iter().enumerate() {
        let wanted = wanted.get(axis).and_then(|&wanted| u64::try_from(wanted).ok());
        let missing = wanted.and_then(|wanted| wanted.checked_sub(extent));
        after.push(missing.ok_or_else(|| {
            invalid(format!("output_shape: expected at least {pooled:?}, got {wanted:?}"))
        })?);
    }
    if after.iter().all(|&missing| missing == 0) {
        return one(y);
    }
    one(cx.pad(&y, (&vec![0; after.len()], &after), PadMode::Constant, 0.0)?)
}

/// The largest element of every bin of every region: along the width first, then the height.
fn max_roi_pool(cx: &mut Cx<'_>, inputs: Inputs<'_>) -> R<Vec<Value>> {
    let (x, rois) = (inputs.tensor(0)?, inputs.tensor(1)?);
    let bins = match cx.attr_ints_opt("pooled_shape")? {
        Some(&[height, width]) => [height, width],
        _ => return Err(invalid("pooled_shape: expected height and width")),
    };
    let bins = bins.map(|bins| u64::try_from(bins).unwrap_or(0));
    if bins.iter().any(|bins| !(1..=BINS_MAX).contains(bins)) {
        return Err(invalid(format!("pooled_shape: expected 1 to {BINS_MAX} each, got {bins:?}")));
    }
    if x.rank() != 4 || rois.fixed().is_none_or(|dims| dims.len() != 2 || dims[1] != 5) {
        return Err(invalid("expected an image of rank 4 and regions of [n, 5]"));
    }
    let scale = f64::from(cx.attr_float("spatial_scale", 1.0)?);
    let column = |cx: &mut Emitter, at: u64| cx.slice(rois, 1, (at, at + 1), 1);
    let batch = column(cx, 0)?;
    let batch = cx.squeeze(&batch, 1)?;
    let batch = cx.cast(&batch, DType::I64)?;
    let mut y = cx.gather(x, &batch, 0)?;
    let mut empty = Vec::new();
    for (axis, bins, from) in [(3, bins[1], 1), (2, bins[0], 2)] {
        let (start, end) = (column(cx, from)?, column(cx, from + 2)?);
        let (pooled, without) = pool_axis(cx, &y, (axis, bins), (&start, &end, scale))?;
        y = pooled;
        empty.push(without);
    }
    let [of_width, of_height] = empty.as_slice() else { return Err(invalid("expected two axes")) };
    let nothing = cx.logical_or(of_width, of_height)?;
    let zero = scalar(x.dtype, 0.0)?;
    one(cx.select(&nothing, &zero, &y)?)
}

/// Pools one axis of [regions, channels, height, width] into bins; also says which bins are empty.
/// `start` and `end` are [regions, 1], both inside the region.
fn pool_axis(
    cx: &mut Emitter,
    x: &T,
    (axis, bins): (usize, u64),
    (start, end, scale): (&T, &T, f64),
) -> R<(T, T)> {
    let extent = x.extent(axis)?;
    let rounded = |cx: &mut Emitter, x: &T| {
        let wide = cx.cast(x, DType::F32)?;
        let scaled = cx.mul_number(&wide, scale)?;
        let raised = cx.add_number(&scaled, 0.5)?;
        cx.floor(&raised)
    };
    let (start, end) = (rounded(cx, start)?, rounded(cx, end)?);
    let span = cx.sub(&end, &start)?;
    let span = cx.add_number(&span, 1.0)?;
    let span = cx.maximum(&span, &scalar(DType::F32, 1.0)?)?;
    let size = cx.mul_number(&span, 1.0 / bins as f64)?;
    let places = cx.count_up(extent)?;
    let places = cx.cast(&places, DType::F32)?;
    let lowest = scalar(x.dtype, f64::NEG_INFINITY)?;
    let (mut pooled, mut empty) = (Vec::new(), Vec::new());
    for bin in 0..bins {
        let bound = |cx: &mut Emitter, at: u64| cx.mul_number(&size, at as f64);
        let (from, to) = (bound(cx, bin)?, bound(cx, bin + 1)?);
        let (from, to) = (cx.floor(&from)?, cx.ceil(&to)?);
        let (from, to) = (cx.add(&from, &start)?, cx.add(&to, &start)?);
        let from = cx.clamp(&from, 0.0, extent as f64)?;
        let to = cx.clamp(&to, 0.0, extent as f64)?;
        empty.push(cx.less_equal(&to, &from)?);
        let (inside, before) = (cx.greater_equal(&places, &from)?, cx.less(&places, &to)?);
        let inside = cx.logical_and(&inside, &before)?;
        let mut dims = vec![x.dims[0], Extent::Fixed(1), Extent::Fixed(1), Extent::Fixed(1)];
        dims[axis] = Extent::Fixed(extent);
        let inside = cx.reshape(&inside, &dims)?;
        let own = cx.select(&inside, x, &lowest)?;
        pooled.push(cx.reduce_max(&own, &[axis], true)?);
    }
    let pooled = cx.concat(&pooled.iter().collect::<Vec<_>>(), axis)?;
    let empty = cx.concat(&empty.iter().collect::<Vec<_>>(), 1)?;
    let mut dims = vec![x.dims[0], Extent::Fixed(1), Extent::Fixed(1), Extent::Fixed(1)];
    dims[axis] = Extent::Fixed(bins);
    Ok((pooled, cx.reshape(&empty, &dims)?))
}
